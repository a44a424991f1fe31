"""One page in one tab of Chromium: given to it, its parts answered, waited for, written out.

Owns the interception of all that a page asks for, the wait conditions, and the script that serialises the DOM. The
browser itself is `chromium`'s, which parts a page may have is `parts`', who renders when is `rendering`'s.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from crawldb.errors import UsageError
from crawldb.settings import Settings
from crawldb.urls import host_of
from jobs.fetching.chromium import Chromium
from jobs.fetching.parts import FetchPart, Part, PartAnswer, PartCache, PartRules, part_of
from jobs.fetching.sending import user_agent

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession
    from playwright.async_api import Frame as PlaywrightFrame
    from playwright.async_api import Page as PlaywrightPage

T = TypeVar("T")

GRACE = 5.0
"""Seconds beyond browser.max_seconds in which a page's DOM must be got; a script that never yields fails the page."""

_COMMIT_SECONDS = 2.0
"""What Chromium gets to put up a document that a script led to, once it has its answer."""

_ENCODED = {"content-encoding", "content-length", "transfer-encoding", "connection", "trailer"}
"""Header fields that are no longer true of a content that we hold decoded."""

_BEYOND_THE_PAGE = {
    "report-to", "reporting-endpoints", "nel", "expect-ct", "alt-svc", "strict-transport-security", "accept-ch",
    "critical-ch", "speculation-rules", "clear-site-data", "content-disposition",
}  # fmt: skip
"""Header fields for a browser that lives on, or that would make a download of the page."""

_DOCUMENTS = re.compile(r"$|text/|application/(xhtml\+)?xml|application/json", re.IGNORECASE)
"""Media types that Chromium shows as a document; others would be downloads."""

_FIELD = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+: [^\r\n\0]*").fullmatch

_SERIALISE = """
(maxCharacters => {
  // Through the prototypes: an element named like a property of document would hide it.
  const get = (type, name) => Object.getOwnPropertyDescriptor(type.prototype, name).get;
  const shadowOf = get(Element, 'shadowRoot'), all = DocumentFragment.prototype.querySelectorAll;
  const roots = [], seek = elements => {
    for (const element of elements) {
      const root = shadowOf.call(element);
      if (root) { roots.push(root); seek(all.call(root, '*')); }
    }
  };
  seek(Document.prototype.querySelectorAll.call(document, '*'));
  const doctype = get(Document, 'doctype').call(document);
  const top = get(Document, 'documentElement').call(document);
  let html = doctype ? new XMLSerializer().serializeToString(doctype) + '\\n' : '';
  if (top) {
    const shell = document.implementation.createHTMLDocument('').importNode(top, false);
    const name = top.localName;
    const tag = shell.outerHTML;
    html += tag.slice(0, tag.lastIndexOf('</')) + top.getHTML({shadowRoots: roots}) + '</' + name + '>';
  }
  return {url: location.href, html: html.slice(0, maxCharacters).toWellFormed(), whole: html.length <= maxCharacters};
})
"""
"""Runs in a world of its own: what the page's scripts did to JavaScript's objects does not reach it."""


class Page(NamedTuple):
    """A page as the HTTP engine got it."""

    url: str
    """Canonical."""
    status: int
    headers: list[tuple[str, str]]
    content: bytes
    """Without content codings."""


class Rendered(NamedTuple):
    """What became of it."""

    url: str | None
    """Where it was in the end: scripts may have led to another address of the same host."""
    dom: bytes | None
    """The document type and all elements, open shadow trees as <template shadowrootmode>: HTML in UTF-8, whatever a
    meta element in it says. None: it failed."""
    detail: str | None
    """Why it failed; of a success: what was cut short or refused, such as a script's way to another host."""
    truncated: bool
    """True: the DOM was longer than browser.max_bytes."""


class Wait(NamedTuple):
    """browser.wait: the state of Playwright's to wait for, and then a selector or some seconds."""

    state: str
    selector: str | None = None
    seconds: float = 0.0


def wait_condition(text: str) -> Wait:
    """Read browser.wait.

    >>> wait_condition("selector:#app a")
    Wait(state='load', selector='#app a', seconds=0.0)
    """
    kind, _, value = (part.strip() for part in text.partition(":"))
    if kind in ("load", "networkidle") and not value:
        return Wait(kind)
    if kind == "selector" and value:
        return Wait("load", selector=value)
    if kind == "seconds" and re.fullmatch(r"\d+(\.\d+)?", value):
        return Wait("load", seconds=float(value))
    raise UsageError(f"browser.wait = {text!r}: expected load, networkidle, selector:CSS or seconds:N")


class Rules(NamedTuple):
    """What holds for all pages of a task. Raises UsageError for what is wrong in the settings."""

    wait: Wait
    parts: PartRules
    agent: str
    language: str
    max_seconds: float
    max_bytes: int
    max_requests: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        options = settings.browser
        language = re.match(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", settings.http.accept_language.strip())
        return cls(wait_condition(options.wait), PartRules(options), user_agent(settings),
                   language[0] if language else "en", options.max_seconds, options.max_bytes,
                   options.max_requests)  # fmt: skip


class _Ended(Exception):
    """Nothing more will come of the page."""


class Tab:
    """One page being rendered. `render` is called once; what fails for the page's own sake is in its result."""

    def __init__(self, page: Page, fetch_part: FetchPart, rules: Rules, cache: PartCache) -> None:
        self._page, self._fetch_part, self._rules, self._cache = page, fetch_part, rules, cache
        self._host = host_of(page.url)
        self._notes: dict[str, None] = {}
        self._asked = 0
        self._given = False
        self._answering: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why nothing more will come of the page; an exception if the engine broke its contract."""
        self._leaving: asyncio.Future[None] | None = None
        """Done when the document that a script led to stands or was refused."""
        self._awaited = False
        """That document has not been answered yet."""
        self._kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a script's way to another document was refused, and the page had time to go on."""

    async def render(self, chromium: Chromium) -> Rendered:
        """Raises what `fetch_part` raises. Takes GRACE seconds longer than browser.max_seconds at most, twice."""
        from playwright.async_api import Error

        deadline = asyncio.get_running_loop().time() + self._rules.max_seconds
        context: BrowserContext | None = None
        try:
            context = await asyncio.wait_for(self._context(chromium), self._rules.max_seconds + GRACE)
            return await self._render(context, deadline)
        except (_Ended, Error, asyncio.TimeoutError) as error:
            reason = self._ended.result() if self._ended.done() else str(error).partition("\n")[0]
            return _failed(reason or "its script did not yield")
        finally:
            for task in self._answering:
                task.cancel()
            if context is not None:
                try:
                    await asyncio.wait_for(context.close(), GRACE)
                except (Error, asyncio.TimeoutError):
                    chromium.suspect = True

    async def _context(self, chromium: Chromium) -> BrowserContext:
        """A fresh one: no cookie and nothing stored is shared with other pages."""
        major = chromium.version.partition(".")[0]
        return await chromium.browser.new_context(
            accept_downloads=False,
            service_workers="block",
            # Scripts look for the browser's name in it; the form is the one that search engines' crawlers use.
            user_agent=f"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; {self._rules.agent}) "
            f"Chrome/{major}.0.0.0 Safari/537.36",
            locale=self._rules.language,
            timezone_id="UTC",
            reduced_motion="reduce",
        )

    async def _render(self, context: BrowserContext, deadline: float) -> Rendered:
        loop = asyncio.get_running_loop()
        tab = await context.new_page()
        context.on("page", lambda popup: self._go_on(_close(popup)))
        tab.on("crash", lambda _: self._end("its renderer crashed, or wanted too much memory"))
        tab.on("close", lambda _: self._end("it closed itself"))
        tab.on("framenavigated", self._navigated)
        session = await context.new_cdp_session(tab)
        frame = (await session.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        session.on("Fetch.requestPaused", lambda event: self._go_on(self._answer(session, frame, event)))
        session.on("Page.frameRequestedNavigation", lambda event: self._requested(frame, event))
        await session.send("Page.enable")
        await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        try:
            await self._unless_ended(self._complete(tab), max(0.0, deadline - loop.time()))
        except asyncio.TimeoutError:
            self._note(f"taken after {self._rules.max_seconds:g} s, not yet complete")
        return await self._unless_ended(self._serialise(session, frame), GRACE)

    async def _unless_ended(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """The outcome of the work. Raises TimeoutError after so many seconds, and _Ended when the page has come to
        an end before."""
        task = asyncio.ensure_future(work)
        try:
            await _first(task, self._ended, timeout=timeout)
            if self._ended.done():
                raise _Ended(self._ended.result())
            if not task.done():
                raise asyncio.TimeoutError
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _complete(self, tab: PlaywrightPage) -> None:
        """Returns when the wait condition holds for a document that is not about to give way to another."""
        wait = self._rules.wait
        await tab.goto(self._page.url, wait_until="commit", timeout=0)
        while True:
            if not await self._loaded(tab):
                return
            if wait.selector is not None:
                await tab.wait_for_selector(f"css={wait.selector}", state="attached", timeout=0)
            await asyncio.sleep(wait.seconds)
            if self._leaving is None or self._leaving.done():
                return
            await asyncio.wait({self._leaving})

    async def _loaded(self, tab: PlaywrightPage) -> bool:
        """Wait for the state. False: it will not come, for Chromium reads no further in a page that is to leave."""
        state: Literal["load", "networkidle"] = "networkidle" if self._rules.wait.state == "networkidle" else "load"
        loaded = asyncio.ensure_future(tab.wait_for_load_state(state, timeout=0))
        try:
            await _first(loaded, self._kept)
            if loaded.done():
                loaded.result()
            return bool(loaded.done())
        finally:
            loaded.cancel()
            await asyncio.gather(loaded, return_exceptions=True)

    async def _serialise(self, session: CDPSession, frame: str) -> Rendered:
        max_bytes = self._rules.max_bytes
        world = await session.send("Page.createIsolatedWorld", {"frameId": frame})
        answer = await session.send("Runtime.evaluate", {
            "expression": f"{_SERIALISE}({max_bytes})", "contextId": world["executionContextId"], "returnByValue": True,
        })  # fmt: skip
        if "value" not in answer["result"]:
            return _failed("its DOM is too large to be written out")
        value = answer["result"]["value"]
        url, html = str(value["url"]), str(value["html"]).encode("utf-8", "replace")
        if not url.startswith(("http://", "https://")):
            return _failed("; ".join([*self._notes, f"it went to {url[:100]}"]))
        dom = html[:max_bytes].decode("utf-8", "ignore").encode() if len(html) > max_bytes else html
        return Rendered(url, dom, "; ".join(self._notes) or None, len(dom) < len(html) or not value["whole"])

    def _navigated(self, frame: PlaywrightFrame) -> None:
        """A document stands; a change of the address by script alone says so too, and then it is not yet ours."""
        if frame.parent_frame is None and not self._awaited:
            _finish(self._leaving)

    def _requested(self, frame: str, event: dict[str, Any]) -> None:
        """A script leads away; to mail addresses and the like no request follows, and the page is stuck."""
        if event.get("frameId") == frame and not str(event.get("url")).startswith(
            ("http:", "https:", "about:", "blob:")
        ):
            self._left(stays=True)

    def _leave(self) -> None:
        """A script leads to another document."""
        if self._leaving is None or self._leaving.done():
            self._leaving = asyncio.get_running_loop().create_future()
        self._awaited = True

    def _left(self, stays: bool) -> None:
        """That document was answered, or refused: then the page stays."""
        loop = asyncio.get_running_loop()
        self._awaited = False
        if stays:
            _finish(self._leaving)
            loop.call_later(_COMMIT_SECONDS, _finish, self._kept)
        else:
            loop.call_later(_COMMIT_SECONDS, _finish, self._leaving)

    def _go_on(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._answering.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def _note(self, text: str) -> None:
        self._notes[text] = None

    async def _answer(self, session: CDPSession, frame: str, event: dict[str, Any]) -> None:
        """Give Chromium what it asks for, or refuse it: a document by 204, so that what stands stays."""
        part = part_of(event)
        is_document = event.get("resourceType") == "Document"
        is_main = is_document and event.get("frameId") == frame
        if is_main and not self._given:
            self._given = True
            page = self._page
            status = page.status if 200 <= page.status < 600 and page.status not in (204, 205, 304) else 200
            await _fulfil(session, event, PartAnswer(status, page.headers, page.content))
            return
        if is_main:
            self._leave()
        answer = await self._fetch(part, is_main)
        if answer is not None and is_document and not _shows(answer):
            answer = None
        if is_main:
            self._left(stays=answer is None)
        if answer is not None:
            await _fulfil(session, event, answer)
        elif is_document:
            await _fulfil(session, event, PartAnswer(204, [], b""))
        else:
            await _send(session, "Fetch.failRequest",
                        {"requestId": event["requestId"], "errorReason": "BlockedByClient"})  # fmt: skip

    async def _fetch(self, part: Part | None, is_main: bool) -> PartAnswer | None:
        """The answer to a part; None: refused, by us or by who fetches."""
        if part is None or not self._rules.parts.allow(part):
            return None
        if is_main and part.url == self._page.url.partition("#")[0]:
            self._note("its reload was refused")  # it would do so again
            return None
        if is_main and host_of(part.url) != self._host:
            self._note(f"its way to {part.url[:500]} was refused")
            return None
        if not self._cache.has(part):
            if self._asked >= self._rules.max_requests:
                self._note(f"more than {self._rules.max_requests} parts")
                return None
            self._asked += 1
        answer = await self._cache.fetch(part, self._fetch_part)
        if answer is None or not 200 <= answer.status < 600 or len(answer.content) > self._rules.max_bytes:
            return None
        return answer


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _finish(waited: asyncio.Future[None] | None) -> None:
    if waited is not None and not waited.done():
        waited.set_result(None)


def _failed(detail: str) -> Rendered:
    return Rendered(None, None, detail, False)


def _shows(answer: PartAnswer) -> bool:
    """Whether Chromium would show the answer, or follow it, rather than download it."""
    kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
    return 300 <= answer.status < 400 or bool(_DOCUMENTS.match(kind.strip()))


async def _fulfil(session: CDPSession, event: dict[str, Any], answer: PartAnswer) -> None:
    fields = [f"{name}: {value}" for name, value in answer.headers
              if name.lower() not in _ENCODED and name.lower() not in _BEYOND_THE_PAGE]  # fmt: skip
    lines = [field.encode("latin-1", "replace") for field in fields if _FIELD(field)]
    await _send(session, "Fetch.fulfillRequest", {
        "requestId": event["requestId"], "responseCode": answer.status,
        "binaryResponseHeaders": base64.b64encode(b"\0".join(lines)).decode(),
        "body": base64.b64encode(answer.content).decode(),
    })  # fmt: skip


async def _send(session: CDPSession, method: str, values: dict[str, Any]) -> None:
    """Tell Chromium; that the request, the page or the browser has gone meanwhile is no matter here."""
    from playwright.async_api import Error

    with contextlib.suppress(Error):
        await session.send(method, values)


async def _close(popup: PlaywrightPage) -> None:
    from playwright.async_api import Error

    with contextlib.suppress(Error):
        await popup.close()
