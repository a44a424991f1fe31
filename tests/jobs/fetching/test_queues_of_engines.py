"""What shares a gap, how it grows, and when a host leaves the round: queue modes, delays and pauses, over all engines."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

import pytest

from crawldb.schema import FetchOutcome
from jobs.fetching import task

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]

LATE = 0.1
"""Seconds by which the test server, in this very process, may notice one request later than another."""


def gaps(arrivals: Iterable[Any]) -> list[float]:
    """Seconds from each arrival to the next."""
    times = sorted(arrival.time for arrival in arrivals)
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def keep(arrivals: Iterable[Any], gap: float) -> bool:
    """True if the arrivals kept this gap, also summed up over any number of them in a row."""
    times = sorted(arrival.time for arrival in arrivals)
    return all(
        times[last] - times[first] >= (last - first) * gap - LATE
        for first, last in itertools.combinations(range(len(times)), 2)
    )


def pages(url: str, count: int) -> list[str]:
    return [f"{url}?n={number}" for number in range(count)]


def of(server: Any, *names: str) -> list[Any]:
    """What came for these names."""
    return [one for one in server.arrivals if one.headers["Host"].partition(":")[0] in names]


class Slow:
    """A reaction that takes its time, and counts how many requests it has at once."""

    def __init__(self, tools: Any, seconds: float) -> None:
        self.at_once = self.most = 0
        self._react, self._seconds = tools.says(tools.answer(200, b"x")), seconds

    async def __call__(self, exchange: Any) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self._seconds)
        self.at_once -= 1
        await self._react(exchange)


# Who shares a queue


@pytest.mark.parametrize(
    ("mode", "addresses", "shares"),
    [
        ("domain", ("127.0.9.1", "127.0.9.2"), True),
        ("host", ("127.0.9.1", "127.0.9.1"), False),
        ("ip", ("127.0.9.1", "127.0.9.1"), True),
        ("ip", ("127.0.9.1", "127.0.9.2"), False),
    ],
)
def test_who_shares_a_gap(
    crawl: Crawl, server: Any, tools: Any, names: Any, mode: str, addresses: tuple[str, str], shares: bool
) -> None:
    server.on("/", tools.answer(200, b"x"))
    first = names.url(server, "a.example.com", addresses[0])
    second = names.url(server, "b.example.com", addresses[1])
    settings = tools.polite(queue_mode=mode, delay=0.3)
    run = crawl(pages(first, 2) + pages(second, 2), settings, known=tools.no_robots(first, second))
    assert Counter(result.outcome for result in run.results) == {O.success: 4}
    assert len(server.arrivals) == 4
    assert keep(of(server, "a.example.com"), 0.3)
    assert keep(of(server, "b.example.com"), 0.3)
    assert keep(server.arrivals, 0.3) == shares


@pytest.mark.parametrize(("mode", "most"), [("host", 4), ("domain", 2), ("ip", 2)])
def test_who_shares_a_limit(crawl: Crawl, server: Any, tools: Any, names: Any, mode: str, most: int) -> None:
    slow = Slow(tools, 0.1)
    server.on("/", slow)
    urls = [names.url(server, name, "127.0.9.1") for name in ("a.example.com", "b.example.com")]
    asked = [page for url in urls for page in pages(url, 4)]
    run = crawl(asked, tools.polite(queue_mode=mode, threads_per_host=2), known=tools.no_robots(*urls))
    assert Counter(result.outcome for result in run.results) == {O.success: 8}
    assert slow.most == most


# Two gaps at once


def test_the_gaps_of_twenty_hosts_and_of_their_address(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    hosts = [f"host{number}.example" for number in range(20)]
    urls = [names.url(server, host, "127.0.9.1") for host in hosts]
    run = crawl(
        [page for url in urls for page in pages(url, 2)], tools.polite(delay=0.5, ip_delay=0.06),
        known=tools.no_robots(*urls),
    )  # fmt: skip
    assert Counter(result.outcome for result in run.results) == {O.success: 40}
    assert keep(server.arrivals, 0.06)
    assert all(keep(of(server, host), 0.5) for host in hosts)


def test_the_gap_of_an_address_does_not_wait_for_answers(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    slow = Slow(tools, 0.5)
    server.on("/", slow)
    urls = [names.url(server, f"host{number}.example", "127.0.9.1") for number in range(3)]
    run = crawl(
        [page for url in urls for page in pages(url, 4)], tools.polite(threads_per_host=2, ip_delay=0.1),
        known=tools.no_robots(*urls),
    )  # fmt: skip
    assert Counter(result.outcome for result in run.results) == {O.success: 12}
    assert keep(server.arrivals, 0.1)
    assert 3 <= slow.most <= 6


def test_the_gap_of_an_address_that_turns_out_to_be_dead(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    """Whoever waits for that address goes on when another one has taken its place."""
    server.on("/", tools.answer(200, b"x"))
    urls = [names.url(server, f"host{number}.example", "127.0.9.1") for number in range(3)]
    for number in range(3):
        names.at(f"host{number}.example", ("127.0.9.200", "127.0.9.1"))
    run = crawl(
        [page for url in urls for page in pages(url, 2)], tools.polite(ip_delay=0.1, time_limit=10.0),
        known=tools.no_robots(*urls),
    )  # fmt: skip
    assert Counter(result.outcome for result in run.results) == {O.success: 6}


# A gap that grows


@pytest.mark.parametrize(
    ("takes", "crawl_delay", "settings", "least", "most"),
    [
        (0.25, None, {"delay": 0.1}, 0.5, 2.0),
        (0.25, None, {"delay": 0.1, "max_delay": 0.35}, 0.35, 0.47),
        (0.0, None, {"delay": 0.3}, 0.3, 2.0),
        (0.0, 0.3, {"delay": 0.0}, 0.3, 2.0),
        (0.25, 0.1, {"delay": 0.0}, 0.5, 2.0),
    ],
    ids=["stretched", "bounded", "not below delay", "not below Crawl-delay", "above Crawl-delay"],
)
def test_a_gap_adapts_to_the_answers(
    crawl: Crawl, server: Any, tools: Any, takes: float, crawl_delay: float | None, settings: dict[str, float],
    least: float, most: float,
) -> None:  # fmt: skip
    server.on("/", tools.after(takes, tools.says(tools.answer(200, b"x"))))
    if crawl_delay is not None:
        server.on("/robots.txt", tools.answer(200, f"User-agent: *\nCrawl-delay: {crawl_delay}\n".encode()))
    run = crawl(pages(server.url("/"), 2), tools.polite(delay_factor=2.0, **settings))
    assert Counter(result.outcome for result in run.results) == {O.success: 2}
    assert min(gaps(server.asked())) >= least - LATE / 2
    assert min(gaps(server.asked())) < most


@pytest.mark.parametrize("trouble", ["500", "no answer"])
def test_failures_in_a_row_double_the_gap_until_a_success(crawl: Crawl, server: Any, tools: Any, trouble: str) -> None:
    failure = tools.says(b"", "close") if trouble == "no answer" else tools.says(tools.answer(int(trouble), b""))
    failing = [True, True, True, False, False, False]

    async def react(exchange: Any) -> None:
        await (failure if failing.pop(0) else tools.says(tools.answer(200, b"x")))(exchange)

    server.on("/", react)
    url = server.url("/")
    settings = tools.polite(delay=0.12, backoff=2.0, max_delay=0.6, max_failures_per_host=0)
    run = crawl(pages(url, 6), settings, known=tools.no_robots(url))
    assert Counter(result.outcome for result in run.results) == {O.retry: 3, O.success: 3}
    first, second, third, *usual = gaps(server.arrivals)
    assert first >= 0.24 - LATE
    assert second >= 0.48 - LATE
    assert 0.6 - LATE <= third < 5
    assert min(usual) >= 0.12 - LATE
    assert min(usual) < 2


def test_a_steep_back_off_has_its_bound_too(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(500, b""))
    run = crawl(pages(server.url("/"), 5), tools.polite(backoff=1e200, max_failures_per_host=0))
    assert Counter(result.reason for result in run.results) == {"http_500": 5}
    server.arrivals.clear()
    run = crawl(
        pages(server.url("/"), 4), tools.polite(delay=0.05, max_delay=0.2, backoff=1e200, max_failures_per_host=0)
    )
    assert Counter(result.reason for result in run.results) == {"http_500": 4}
    assert keep(server.asked(), 0.2)


# A break that the server asks for


def test_a_short_break_is_waited_for(crawl: Crawl, server: Any, tools: Any) -> None:
    hosts = {429: "127.0.9.1", 503: "127.0.9.2"}
    server.on("/", tools.answer(200, b"x"))
    urls = []
    for status, host in hosts.items():
        busy = tools.says(tools.answer(status, b"", "Retry-After: 1"))
        server.on("/busy", tools.after(0.3, busy), host)
        urls += [server.url("/busy", host), *pages(server.url("/", host), 2)]
    run = crawl(urls, tools.polite(max_retry_after=5.0))
    assert Counter(result.outcome for result in run.results) == {O.retry: 2, O.success: 4}
    for status, host in hosts.items():
        busy = run.by_url[server.url("/busy", host)]
        assert (busy.outcome, busy.reason, busy.http_status) == (O.retry, f"http_{status}", status)
        assert busy.retry_after == busy.fetched_at + 1000
        first, second = gaps(arrival for arrival in server.asked() if arrival.host == host)
        assert first >= 1.3 - LATE, "it counts from the answer"
        assert second < 5


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_long_break_ends_the_hosts_round(
    crawl: Crawl, server: Any, tools: Any, status: int, form: str, delay: float
) -> None:
    value = "3600" if form == "seconds" else formatdate(time.time() + 3600, usegmt=True)
    server.on("/busy", tools.answer(status, b"", f"Retry-After: {value}"))
    server.on("/", tools.answer(200, b"x"))
    other = server.url("/", "127.0.9.2")
    urls = [server.url("/busy"), *pages(server.url("/"), 20)]
    run = crawl([*urls, *pages(other, 2)], tools.polite(max_retry_after=60.0, delay=delay))
    now = time.time_ns() // 1_000_000
    assert [arrival.target for arrival in server.asked() if arrival.host == "127.0.9.1"] == ["/busy"]
    assert run.by_url[urls[0]].reason == f"http_{status}"
    assert all(run.by_url[url].outcome is O.success for url in pages(other, 2))
    for url in urls[1:]:
        result = run.by_url[url]
        assert (result.outcome, result.reason, result.http_status) == (O.postponed, "retry_after", None)
        assert f"/busy answered {status} with Retry-After: {value}" in result.detail
    for url in urls:
        assert abs(run.by_url[url].retry_after - now - 3_600_000) < 15_000


def test_what_comes_later_stays_away_too(crawl: Crawl, server: Any, tools: Any) -> None:
    """A redirect that is under way when the host asks for its break leads nowhere until that is over."""
    asked = threading.Event()

    async def lead(exchange: Any) -> None:
        while not asked.is_set():
            await asyncio.sleep(0.01)
        await tools.after(0.2, tools.says(tools.answer(302, b"", "Location: /target")))(exchange)

    async def refuse(exchange: Any) -> None:
        asked.set()
        await tools.says(tools.answer(503, b"", "Retry-After: 3600"))(exchange)

    server.on("/lead", lead)
    server.on("/busy", refuse)
    server.on("/target", tools.answer(200, b"x"))
    url = server.url("/lead")
    run = crawl([url, server.url("/busy")], tools.polite(threads_per_host=2, redirects=3), known=tools.no_robots(url))
    assert server.asked("/target") == []
    target = run.by_url[server.url("/target")]
    assert (target.outcome, target.reason, target.followed) == (O.postponed, "retry_after", True)
    assert (run.report.fetched, run.report.followed) == (2, 1)


@pytest.mark.parametrize("queue_mode", ["host", "domain"])
def test_a_break_for_robots_txt_holds_nothing_up(
    crawl: Crawl, server: Any, tools: Any, names: Any, queue_mode: str
) -> None:
    """Its pages are put off until it is over; nobody needs to wait for them."""
    server.on("/robots.txt", tools.answer(503, b"", "Retry-After: 30"))
    url = names.url(server, "a.example.com", "127.0.9.1")
    began = time.monotonic()
    run = crawl(pages(url, 20), tools.polite(max_retry_after=60.0, queue_mode=queue_mode))
    assert time.monotonic() - began < 15
    assert Counter((result.outcome, result.reason) for result in run.results) == {
        (O.postponed, "robots_unavailable"): 20
    }
    assert all(29_000 <= result.retry_after - result.fetched_at <= 30_000 for result in run.results)
    assert len(server.arrivals) == 1


# A host that leaves the round, a phase that ends


@pytest.mark.parametrize("mode", ["host", "domain", "ip"])
def test_failures_count_by_host_whoever_shares_its_queue(
    crawl: Crawl, server: Any, tools: Any, names: Any, mode: str
) -> None:
    good, bad = names.url(server, "good.example.com", "127.0.9.1"), names.url(server, "bad.example.com", "127.0.9.1")

    async def react(exchange: Any) -> None:
        status = 200 if exchange.arrival.headers["Host"].startswith("good.") else 500
        await tools.says(tools.answer(status, b"x"))(exchange)

    server.on("/", react)
    asked = [page for pair in zip(pages(bad, 8), pages(good, 8), strict=True) for page in pair]
    run = crawl(asked, tools.polite(queue_mode=mode, max_failures_per_host=3), known=tools.no_robots(good, bad))
    assert Counter(result.reason for result in run.results) == {None: 8, "http_500": 3}
    assert run.report.left == {"host_failures": 5}
    assert len(of(server, "bad.example.com")) == 3


@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        ({"min_rate": 1000.0, "min_rate_after": 0.0}, True),
        ({"min_rate": 1000.0, "min_rate_after": 60.0}, False),
        ({"min_rate": 0.5, "min_rate_after": 0.0}, False),
    ],
    ids=["too slow", "too early", "fast enough"],
)
def test_a_rate_that_is_too_low_ends_the_phase(
    crawl: Crawl, server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], ends: bool
) -> None:
    monkeypatch.setattr(task, "_RATE_WINDOW", 1)
    server.on("/", tools.answer(200, b"x"))
    run = crawl(pages(server.url("/"), 60 if ends else 7), tools.polite(delay=0.2, **settings))
    if ends:
        assert 1 <= len(run.results) < 30
        assert run.report.left == {"min_rate": 60 - len(run.results)}
    else:
        assert (len(run.results), run.report.left) == (7, {})


def test_the_time_limit_while_redirects_and_robots_txt_are_under_way(crawl: Crawl, server: Any, tools: Any) -> None:
    """What is under way may finish, and nothing follows from it."""
    slow = server.url("/", "127.0.9.2")
    for number in range(20):
        reaction = tools.says(tools.answer(302, b"", f"Location: /hop{number + 1}"))
        server.on(f"/hop{number}", tools.after(0.15, reaction))
    server.on("/robots.txt", tools.after(0.8, tools.says(tools.answer(200, b""))), "127.0.9.2")
    run = crawl([server.url("/hop0"), *pages(slow, 3)], tools.polite(time_limit=0.4, redirects=20))
    assert run.report.left == {"time_limit": 3}
    assert run.report.fetched == 1
    assert 1 <= run.report.followed < 15
    assert [arrival.target for arrival in server.arrivals if arrival.host == "127.0.9.2"] == ["/robots.txt"]
    assert "http://127.0.9.2" in {known.origin.rpartition(":")[0] for known in run.report.robots}
