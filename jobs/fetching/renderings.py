"""Pages under rendering, and the parts that they ask for: how many at once, and that each gets an answer.

Owns the counts and the waiting lines; which part may be asked for, and how, `task` decides, which lets a part through
these stages: held (for its host's addresses, for robots.txt), in line (beside at most PARTS_AT_ONCE of its host),
ready to be sent, settled. A part that its page no longer waits for is never sent. Pages beyond those that the tabs can
take are bounded too, so that what was fetched does not pile up in memory before a slow browser.

Not thread-safe, but for what the renderer calls: that only posts a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.fetching.contract import FetchResult
from jobs.fetching.rendering import Page, Part, PartAnswer, Rendered, Renderer, wanted

if TYPE_CHECKING:
    from jobs.fetching.errands import Errand

PARTS_AT_ONCE = 6
"""From one host: what browsers do (and RFC 9112 §9.4 leaves to them)."""

_PAGES_A_TAB = 8
"""Pages that may wait or be rendered for each tab before no further ones are fetched."""


class PartAsked(NamedTuple):
    """A message: a page asks for a part."""

    part: Part
    page: Errand
    done: Future[PartAnswer | None]


class PageRendered(NamedTuple):
    """A message: the renderer is done with a page."""

    result: FetchResult
    rendered: Future[Rendered]


class _Line:
    """The parts of one host."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Errand] = deque()
        self.running = 0


class Renderings:
    """`post` takes messages from the renderer's thread. Raises UsageError for wrong settings, and if there is no
    browser: before any page is fetched for it. Without `renderer` no page is rendered."""

    def __init__(
        self, settings: Settings, renderer: Callable[[Settings], Renderer] | None,
        post: Callable[[PartAsked | PageRendered], None],
    ) -> None:  # fmt: skip
        self._post = post
        self._wanted = wanted(settings) if renderer is not None else None
        self._renderer = renderer(settings) if renderer is not None else None
        self._most_pages = _PAGES_A_TAB * settings.browser.tabs
        self._max_bytes = settings.browser.max_bytes
        self.pages = 0
        """Under rendering, or waiting for it."""
        self._parts = 0
        """Asked for and not settled."""
        self._held: set[Errand] = set()
        self._without_rules: dict[str, list[Errand]] = {}
        """By origin: what waits for its robots.txt."""
        self._lines: dict[str, _Line] = {}
        self._ready: deque[Errand] = deque()

    @property
    def is_busy(self) -> bool:
        return bool(self.pages or self._parts or self._ready)

    @property
    def is_full(self) -> bool:
        """True: pages should not be fetched now, for they could have to wait long to be rendered."""
        return self.pages >= self._most_pages

    # -- pages -------------------------------------------------------------------------------------------

    def wants(self, url: str, host: str, result: FetchResult) -> bool:
        """Whether this page is to be rendered."""
        if self._wanted is None or result.content is None or result.outcome is not FetchOutcome.success:
            return False
        media_type = next((value for name, value in result.response_headers if name.lower() == "content-type"), "")
        is_html = media_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml", "")
        return self._wanted(url, host, is_html, result.content)

    def start(self, errand: Errand, result: FetchResult) -> None:
        """Render a page that is wanted; PageRendered tells of it."""
        assert self._renderer is not None
        assert result.content is not None
        page = Page(errand.url, result.http_status or 200, result.response_headers, result.content)
        post = self._post

        def fetch_part(part: Part) -> Future[PartAnswer | None]:
            done: Future[PartAnswer | None] = Future()
            post(PartAsked(part, errand, done))
            return done

        self.pages += 1
        self._renderer.render(page, fetch_part).add_done_callback(lambda future: post(PageRendered(result, future)))

    def finish(self, message: PageRendered) -> FetchResult:
        """The page's result, with its DOM or why there is none. Raises CobnutError if the browser does not start."""
        self.pages -= 1
        result, rendered = message.result, message.rendered.result()
        result.rendered, result.rendered_url = rendered.dom, rendered.url
        details = [rendered.detail] if rendered.detail else []
        if rendered.truncated:
            details.append(f"cut off after {self._max_bytes} bytes")
        if details:
            result.detail = f"rendering: {'; '.join(details)}"
        return result

    # -- parts -------------------------------------------------------------------------------------------

    def hold(self, part: Errand, origin: str | None = None) -> bool:
        """Keep a part until `let_go`; or, for its `origin`'s robots.txt, until `let_go_of`: True then for the first
        of an origin, which is the one to ask for it."""
        self._held.add(part)
        self._parts += 1
        if origin is None:
            return False
        waiting = self._without_rules.setdefault(origin, [])
        waiting.append(part)
        return len(waiting) == 1

    def let_go(self, part: Errand) -> bool:
        """End a part's hold. False if it has been settled meanwhile."""
        if part not in self._held:
            return False
        self._held.remove(part)
        self._parts -= 1
        return True

    def let_go_of(self, origin: str) -> list[Errand]:
        """End the holds for a robots.txt; the parts that have not been settled meanwhile."""
        return [part for part in self._without_rules.pop(origin, ()) if self.let_go(part)]

    def line_up(self, part: Errand) -> None:
        """Let a part go as soon as fewer than PARTS_AT_ONCE of its host are under way."""
        line = self._lines.setdefault(part.home.name, _Line())
        line.waiting.append(part)
        self._parts += 1
        self._fill(line)

    def ready(self, errand: Errand) -> None:
        """Send an errand at once: a robots.txt that parts wait for, or a part in line that has another turn."""
        self._ready.append(errand)

    def next(self) -> Errand | None:
        """The errand to send now. A part that nobody waits for any more is passed over."""
        while self._ready:
            errand = self._ready.popleft()
            if errand.done is None or errand.done.running() or errand.done.set_running_or_notify_cancel():
                return errand
            self._left(errand)
        return None

    def settle(self, part: Errand, answer: PartAnswer | None) -> None:
        """Answer a part that was in line; None refuses it."""
        _answer(part, answer)
        self._left(part)

    def refuse(self, part: Errand) -> None:
        """Answer a part that has not been in line, and is not held."""
        _answer(part, None)

    def refuse_held(self) -> None:
        """No more addresses and robots.txt files will come: refuse what waits for them."""
        for part in self._held:
            _answer(part, None)
        self._parts -= len(self._held)
        self._held.clear()
        self._ready = deque(errand for errand in self._ready if errand.done is not None)

    def close(self) -> None:
        """End the renderer; pages under way are given up."""
        if self._renderer is not None:
            self._renderer.close()

    def _left(self, part: Errand) -> None:
        self._parts -= 1
        line = self._lines[part.home.name]
        line.running -= 1
        self._fill(line)
        if not line.running and not line.waiting:
            del self._lines[part.home.name]

    def _fill(self, line: _Line) -> None:
        while line.waiting and line.running < PARTS_AT_ONCE:
            line.running += 1
            self._ready.append(line.waiting.popleft())


def _answer(part: Errand, answer: PartAnswer | None) -> None:
    """Once for a part; that nobody waits any more is no matter."""
    done = part.done
    assert done is not None
    if done.running() or done.set_running_or_notify_cancel():
        done.set_result(answer)
