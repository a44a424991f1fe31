"""Parts in line and pages under rendering, without a browser: each part gets one answer, never too many go at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import CobnutError
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.fetching.contract import FetchRequest, FetchResult
from jobs.fetching.errands import Errand, Host
from jobs.fetching.rendering import Page, Part, PartAnswer, Rendered, Renderer
from jobs.fetching.renderings import PARTS_AT_ONCE, PageRendered, PartAsked, Renderings

ANSWER = PartAnswer(200, [], b"x")


class Browser:
    """Renders nothing until it is told to."""

    def __init__(self, settings: Settings) -> None:
        self.given: list[tuple[Page, Callable[[Part], Future[PartAnswer | None]], Future[Rendered]]] = []
        self.closed = False

    def render(self, page: Page, fetch_part: Callable[[Part], Future[PartAnswer | None]]) -> Future[Rendered]:
        self.given.append((page, fetch_part, Future()))
        return self.given[-1][2]

    def close(self) -> None:
        self.closed = True


class Watched(Renderings):
    """With what it was told, and its browser."""

    def __init__(self, **browser: Any) -> None:
        settings = Settings()
        for name, value in browser.items():
            setattr(settings.browser, name, value)
        self.messages: list[PartAsked | PageRendered] = []
        self.browser = Browser(settings)
        super().__init__(settings, lambda _: cast(Renderer, self.browser), self.messages.append)


def part(host: str = "h.example") -> Errand:
    made = Errand(f"http://{host}/x.js", Host(host), None, 100)
    made.done = Future()
    return made


def result(content: bytes | None = b"<script src=a.js></script>", kind: str = "text/html") -> FetchResult:
    request = FetchRequest(b"", "http://h.example/", None, None, None, "h.example", None, None, 0)
    return FetchResult(request, FetchOutcome.success, 200, None, None, 0, 0, content=content,
                       response_headers=[("Content-Type", kind)])  # fmt: skip


def page_errand() -> Errand:
    return Errand("http://h.example/", Host("h.example"), result().request, 100)


def taken(renderings: Renderings) -> list[Errand]:
    found = []
    while (errand := renderings.next()) is not None:
        found.append(errand)
    return found


@given(st.lists(st.tuples(st.sampled_from(["line", "hold", "robots", "cancel", "next", "settle", "let_go", "let_go_of",
                                           "refuse_held"]), st.integers(0, 9)), max_size=60))  # fmt: skip
def test_every_part_gets_one_answer_and_six_of_a_host_go_at_once(steps: list[tuple[str, int]]) -> None:
    renderings = Watched()
    parts: list[Errand] = []
    held: list[Errand] = []
    sent: list[Errand] = []
    for step, number in steps:
        if step in ("line", "hold", "robots"):
            made = part(f"h{number % 2}.example")
            parts.append(made)
            if step == "line":
                renderings.line_up(made)
            elif step == "hold":
                renderings.hold(made)
                held.append(made)
            else:
                renderings.hold(made, made.origin)
        elif step == "cancel" and parts:
            future = parts[number % len(parts)].done
            assert future is not None
            future.cancel()
        elif step == "next" and (errand := renderings.next()) is not None:
            sent.append(errand)
        elif step == "settle" and sent:
            renderings.settle(sent.pop(number % len(sent)), ANSWER)
        elif step == "let_go" and held:
            letting = held.pop()
            if renderings.let_go(letting):
                renderings.line_up(letting)
        elif step == "let_go_of":
            for one in renderings.let_go_of(f"http://h{number % 2}.example"):
                renderings.line_up(one)
        elif step == "refuse_held":
            renderings.refuse_held()
        assert max(Counter(one.home.name for one in sent).values(), default=0) <= PARTS_AT_ONCE
        assert len(set(map(id, sent))) == len(sent)
    renderings.refuse_held()
    while renderings.is_busy:
        sent += taken(renderings)
        if sent:
            renderings.settle(sent.pop(), ANSWER)
    assert not sent
    assert all(one.done is not None and one.done.done() for one in parts)


def test_one_of_an_origin_asks_for_its_robots_txt() -> None:
    renderings = Watched()
    first, second, other = part(), part(), part("i.example")
    assert [renderings.hold(one, one.origin) for one in (first, second, other)] == [True, False, True]
    assert renderings.let_go_of(first.origin) == [first, second]
    assert renderings.hold(part(), first.origin)
    assert renderings.let_go_of("http://j.example") == []


def test_what_nobody_waits_for_is_not_sent_and_makes_room() -> None:
    renderings = Watched()
    parts = [part() for _ in range(PARTS_AT_ONCE + 2)]
    for one in parts:
        renderings.line_up(one)
    for one in parts[:2]:
        assert one.done is not None
        one.done.cancel()
    assert taken(renderings) == parts[2:]


def test_another_turn_needs_no_other_place_in_line() -> None:
    renderings = Watched()
    one = part()
    renderings.line_up(one)
    assert renderings.next() is one
    renderings.ready(one)
    assert renderings.next() is one
    renderings.settle(one, None)
    assert not renderings.is_busy
    assert one.done is not None
    assert one.done.result() is None


def test_pages() -> None:
    renderings = Watched(tabs=1, max_bytes=1000, hosts=["h.example"])
    assert renderings.wants("http://h.example/", "h.example", result())
    assert renderings.wants("http://h.example/", "h.example", result(kind="Application/XHTML+XML; charset=x"))
    assert not renderings.wants("http://h.example/", "h.example", result(kind="application/json"))
    assert not renderings.wants("http://h.example/", "h.example", result(None))
    while not renderings.is_full:
        renderings.start(page_errand(), result())
    given = renderings.browser.given
    assert len(given) == renderings.pages == 8
    asked = given[0][1](Part("http://h.example/a.js", "GET", {}, None, "script"))
    assert isinstance(renderings.messages[0], PartAsked)
    assert renderings.messages[0].done is asked
    for (*_, future), rendered in zip(given, (
        Rendered("http://h.example/b", b"<p>", None, False), Rendered("http://h.example/", b"<p>", "its note", True),
        Rendered(None, None, "it died", False),
    ), strict=False):  # fmt: skip
        future.set_result(rendered)
    made = [renderings.finish(message) for message in renderings.messages if isinstance(message, PageRendered)]
    assert [(one.rendered, one.rendered_url, one.detail) for one in made] == [
        (b"<p>", "http://h.example/b", None),
        (b"<p>", "http://h.example/", "rendering: its note; cut off after 1000 bytes"),
        (None, None, "rendering: it died"),
    ]
    assert not renderings.is_full
    given[3][2].set_exception(CobnutError("Chromium does not start"))
    last = renderings.messages[-1]
    assert isinstance(last, PageRendered)
    with pytest.raises(CobnutError, match="does not start"):
        renderings.finish(last)
    renderings.close()
    assert renderings.browser.closed


def test_without_a_renderer_no_page_is_wanted() -> None:
    renderings = Renderings(Settings(), None, lambda message: None)
    assert not renderings.wants("http://h.example/", "h.example", result())
    renderings.close()
