"""What a page asks for while it is rendered: its parts (scripts, styles, data, frames), and which it may have.

Owns the records `Part` and `PartAnswer`, the rules by which parts are refused and the cache that the pages of a task
share. Opens no socket: who fetches a part is given by the caller.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from crawldb.errors import UsageError
from crawldb.settings import BrowserSettings
from crawldb.urls import host_of

CACHE_BYTES = 64 << 20
"""Of scripts and stylesheets that the pages of a task share."""

KINDS = {"document", "stylesheet", "image", "media", "font", "script", "xhr", "fetch", "other"}
"""Chromium's resource types, as far as a page can be given them."""

_BY_SCRIPT = {"xhr", "fetch"}

_NOT_PASSED_ON = re.compile(r"(user-agent|accept-encoding|accept-language|cookie|host|connection|content-length"
                            r"|upgrade-insecure-requests|dnt|sec-.*|x-client-data)$", re.IGNORECASE)  # fmt: skip
"""Header fields of Chromium's that say who asks: that is for the engine to say."""


class Part(NamedTuple):
    """A request that a page makes."""

    url: str
    """http or https, without fragment, as Chromium spells it."""
    method: str
    """GET or HEAD; POST and OPTIONS (a preflight) of XMLHttpRequest and fetch() alone."""
    headers: dict[str, str]
    """What the page means: Accept, Content-Type, Origin, Referer, its own fields. Who asks is the engine's to add."""
    body: bytes | None
    kind: str
    """Of KINDS; document: a frame, or where a script leads the page itself."""


class PartAnswer(NamedTuple):
    """The answer to one, as the engine got it. A redirect is an answer too: Chromium then asks for the next part."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes
    """Without content codings."""


FetchPart = Callable[[Part], "Future[PartAnswer | None]"]
"""Fetch a part: returns at once and never raises; None: refused or failed.

It is called in the renderer's thread. A future that is still pending when nobody needs its answer any more is
cancelled, so the engine calls `set_running_or_notify_cancel()` on it before it asks, and gives up if that is False.
"""


def part_of(event: Mapping[str, Any]) -> Part | None:
    """The part that Chromium's Fetch.requestPaused tells of; None: one that cannot be fetched, such as a file's.

    Prefetches, event streams and icons go by other types there; their header fields tell them.
    """
    request = event["request"]
    url = str(request["url"])
    if not re.match(r"https?://[^/@]+/", url):
        return None
    kind = str(event.get("resourceType", "Other")).lower()
    headers = {str(name): str(value) for name, value in request["headers"].items()}
    fields = {name.lower(): value for name, value in headers.items()}
    if "prefetch" in fields.get("sec-purpose", "") + fields.get("purpose", ""):
        kind = "prefetch"
    elif fields.get("accept") == "text/event-stream":
        kind = "eventsource"
    elif kind == "other" and fields.get("accept", "").startswith("image/"):
        kind = "image"
    body = None
    if request.get("hasPostData"):
        pieces = [piece.get("bytes") for piece in request.get("postDataEntries") or ()]
        if not pieces or None in pieces:
            return None  # a file or blob: Chromium does not tell its content
        body = b"".join(map(base64.b64decode, pieces))
    headers = {name: value for name, value in headers.items() if not _NOT_PASSED_ON.match(name)}
    return Part(url, str(request["method"]), headers, body, kind)


class PartRules:
    """Which parts are never asked for, whatever robots.txt says. Raises UsageError for an unknown resource type."""

    def __init__(self, settings: BrowserSettings) -> None:
        unknown = [kind for kind in settings.block if kind not in KINDS]
        if unknown:
            raise UsageError(f"browser.block: {unknown[0]}: expected of {', '.join(sorted(KINDS))}")
        self._kinds = KINDS - set(settings.block)
        self._hosts = {host.strip().lower().removeprefix("*.") for host in settings.block_urls}
        self._max_bytes = settings.max_bytes

    def allow(self, part: Part) -> bool:
        """Whether to ask for it at all."""
        if part.kind not in self._kinds or len(part.body or b"") > self._max_bytes:
            return False
        if part.method not in ("GET", "HEAD") and not (part.method in ("POST", "OPTIONS") and part.kind in _BY_SCRIPT):
            return False
        labels = host_of(part.url).split(".")
        return not any(".".join(labels[start:]) in self._hosts for start in range(len(labels)))


class PartCache:
    """Scripts and stylesheets by URL, the longest unused go first; used in one event loop.

    A part that is under way for one page is waited for by the others. What lasts is a complete answer (200) to GET
    that its server does not forbid to store, and that does not depend on who asks.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._left = max_bytes
        self._answers: OrderedDict[tuple[str, str], PartAnswer] = OrderedDict()
        self._under_way: dict[tuple[str, str], asyncio.Task[PartAnswer | None]] = {}

    def has(self, part: Part) -> bool:
        """True if `fetch` would not ask for it."""
        key = _key(part)
        return key is not None and (key in self._answers or key in self._under_way)

    async def fetch(self, part: Part, fetch_part: FetchPart) -> PartAnswer | None:
        key = _key(part)
        if key is None:
            return await _outcome(fetch_part(part))
        if key in self._answers:
            self._answers.move_to_end(key)
            return self._answers[key]
        if key not in self._under_way:
            # Not the asking page's own task: others may wait for it when that page is done.
            self._under_way[key] = asyncio.ensure_future(self._ask(key, part, fetch_part))
        return await asyncio.shield(self._under_way[key])

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: tuple[str, str], part: Part, fetch_part: FetchPart) -> PartAnswer | None:
        try:
            answer = await _outcome(fetch_part(part))
        finally:
            del self._under_way[key]
        if answer is not None and _lasts(answer):
            self._answers[key] = answer
            self._left -= len(answer.content)
            while self._left < 0:
                _, oldest = self._answers.popitem(last=False)
                self._left += len(oldest.content)
        return answer


def _key(part: Part) -> tuple[str, str] | None:
    """Where its answer is kept. The origin belongs to it: servers allow each its own (CORS)."""
    if part.method != "GET" or part.kind not in ("script", "stylesheet"):
        return None
    return part.url, next((value for name, value in part.headers.items() if name.lower() == "origin"), "")


def _lasts(answer: PartAnswer) -> bool:
    said = " ".join(value for name, value in answer.headers if name.lower() == "cache-control").lower()
    varies = [value.strip() for name, value in answer.headers if name.lower() == "vary"]
    return answer.status == 200 and "no-store" not in said and "*" not in varies


async def _outcome(future: Future[PartAnswer | None]) -> PartAnswer | None:
    """Its result; None if the engine cancelled it. If the waiting task is cancelled, so is the future."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: Future[PartAnswer | None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    try:
        await done.wait()
    except asyncio.CancelledError:
        future.cancel()
        raise
    return None if future.cancelled() else future.result()
