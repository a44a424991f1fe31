"""What hosts see of an engine: robots.txt first, the gap to the millisecond, not too many at once, and an end to it."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from crawldb.schema import FetchOutcome
from jobs.fetching import FetchResult

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]
ALLOW = b"User-agent: *\nDisallow: /private\n"


LATE = 0.03
"""Seconds by which the ticks of the test server's clock may shorten a gap. `make soak`
takes the kernel's word for when requests came, and is strict."""


def hosts(count: int) -> list[str]:
    return [f"127.0.9.{number}" for number in range(1, count + 1)]


def gaps(server: Any, host: str | None = None) -> list[float]:
    """Seconds between two arrivals at one host, robots.txt included."""
    times: dict[str, list[float]] = {}
    for arrival in server.arrivals:
        times.setdefault(arrival.host, []).append(arrival.time)
    return [
        later - earlier
        for name, moments in times.items()
        if host in (None, name)
        for earlier, later in itertools.pairwise(sorted(moments))
    ]


# The gap


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "close"])
@pytest.mark.parametrize("threads_per_host", [1, 3])
def test_the_gap_as_the_server_sees_it(
    crawl: Crawl, server: Any, tools: Any, keep: bool, threads_per_host: int
) -> None:
    server.on("/", tools.answer(200, b"x" * 30_000, close=not keep))
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(20) for number in range(3)]
    began = time.monotonic()
    run = crawl(urls, tools.polite(delay=0.4, threads_per_host=threads_per_host))
    assert Counter(result.outcome for result in run.results) == {O.success: 60}
    assert len(gaps(server)) == 20 * 3
    assert min(gaps(server)) >= 0.4 - LATE
    assert time.monotonic() - began < 20 * 3 * 0.4, "hosts do not wait for each other"


@pytest.mark.parametrize(("threads_per_host", "delay"), [(1, 0.0), (2, 0.0), (2, 0.1)])
def test_never_more_at_once(crawl: Crawl, server: Any, tools: Any, threads_per_host: int, delay: float) -> None:
    """But as many as there may be: the gap is from start to start, so slow answers do not stretch it."""
    server.on("/", tools.after(0.4, tools.says(tools.answer(200, b"x"))))
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(3) for number in range(3)]
    run = crawl(urls, tools.polite(threads_per_host=threads_per_host, delay=delay))
    assert len(run.results) == 9
    assert set(server.most_at_once.values()) == {threads_per_host}


def test_failures_keep_the_gap_too(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.says(b"", "close"))
    urls = [f"{server.url('/')}?n={number}" for number in range(3)]
    run = crawl(urls, tools.polite(delay=0.25))
    assert [result.reason for result in run.results] == ["broken"] * 3
    assert min(gaps(server)) >= 0.25 - LATE


# robots.txt


def test_robots_txt_comes_first_and_once(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/robots.txt", tools.answer(200, ALLOW))
    server.on("/a", tools.answer(200, b"a"))
    run = crawl([server.url("/a"), server.url("/private/x"), server.url("/b")])
    assert [arrival.target for arrival in server.arrivals] == ["/robots.txt", "/a", "/b"]
    assert server.arrivals[0].headers["User-Agent"] == "testbot"
    assert run.report.robots_fetched == 1
    refused = run.by_url[server.url("/private/x")]
    assert (refused.outcome, refused.reason, refused.http_status) == (O.gone, "robots_denied", None)
    assert refused.detail.endswith("robots.txt:2: Disallow: /private")


def test_each_origin_has_its_own_and_they_share_the_gap(crawl: Crawl, server: Any, tools: Any) -> None:
    other = type(server)()
    try:
        other.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /"))
        server.on("/a", tools.answer(200, b"a"))
        run = crawl([server.url("/a"), other.url("/a"), server.url("/a?n=2")], tools.polite(delay=0.25))
        assert [result.reason for result in run.results] == [None, "robots_denied", None]
        times = sorted(arrival.time for arrival in server.arrivals + other.arrivals)
        assert len(times) == 4
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.25 - LATE
    finally:
        other.close()


def test_what_robots_txt_refuses_does_not_wait_for_its_turn(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/robots.txt", tools.answer(200, ALLOW))
    began = time.monotonic()
    run = crawl([server.url(f"/private/{number}") for number in range(50)], tools.polite(delay=5.0))
    assert time.monotonic() - began < 10
    assert Counter(result.reason for result in run.results) == {"robots_denied": 50}


def test_a_crawl_delay_is_kept(crawl: Crawl, server: Any, tools: Any) -> None:
    """Longer than ours on one host, shorter on another, below the least on a third, too long on a fourth."""
    slow, quick, hasty, glacial = hosts(4)
    for host, delay in ((slow, "0.5"), (quick, "0.25"), (hasty, "0.001"), (glacial, "31")):
        server.on("/robots.txt", tools.answer(200, f"User-agent: *\nCrawl-delay: {delay}".encode()), host)
    server.on("/", tools.answer(200, b"x"))
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(4) for number in range(3)]
    began = time.monotonic()
    run = crawl(urls, tools.polite(delay=20.0, min_crawl_delay=0.2))
    assert time.monotonic() - began < 20
    assert min(gaps(server, slow)) >= 0.5 - LATE
    assert min(gaps(server, quick)) >= 0.25 - LATE
    assert min(gaps(server, hasty)) >= 0.2 - LATE
    assert gaps(server, glacial) == []
    assert Counter((result.outcome, result.reason) for result in run.results) == {
        (O.success, None): 9, (O.gone, "crawl_delay"): 3
    }  # fmt: skip


@pytest.mark.parametrize("queue_mode", ["host", "ip"])
def test_a_hosts_own_delay_is_kept(crawl: Crawl, server: Any, tools: Any, queue_mode: str) -> None:
    """Shorter than fetch.delay or longer; a longer Crawl-delay of robots.txt holds all the same."""
    slow, fast, asking = hosts(3)
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nCrawl-delay: 0.4"), asking)
    server.on("/", tools.answer(200, b"x"))
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(3) for number in range(3)]
    settings = tools.polite(delay=20.0, queue_mode=queue_mode)
    settings.hosts.delay = [f"{slow} 0.5", f"{fast} 0.2s", f"{asking} 0.1"]
    began = time.monotonic()
    run = crawl(urls, settings)
    assert Counter(result.outcome for result in run.results) == {O.success: 9}
    for host, delay in ((slow, 0.5), (fast, 0.2), (asking, 0.4)):
        assert min(gaps(server, host)) >= delay - LATE
    assert time.monotonic() - began < 20, "none waited for fetch.delay"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_unavailable_robots_txt_puts_the_origin_off(crawl: Crawl, server: Any, tools: Any, status: int) -> None:
    server.on("/robots.txt", tools.answer(status, b"", "Retry-After: 60"))
    run = crawl([server.url(f"/{number}") for number in range(20)], tools.polite(max_failures_per_host=1, delay=5.0))
    assert Counter((result.outcome, result.reason) for result in run.results) == {
        (O.postponed, "robots_unavailable"): 20
    }
    assert str(status) in run.results[0].detail
    assert all(59_000 <= result.retry_after - result.fetched_at <= 60_000 for result in run.results)
    assert [arrival.target for arrival in server.arrivals] == ["/robots.txt"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_without_a_robots_txt_all_is_allowed(crawl: Crawl, server: Any, tools: Any, status: int) -> None:
    server.on("/robots.txt", tools.answer(status, b"User-agent: *\nDisallow: /"))
    server.on("/a", tools.answer(200, b"a"))
    assert crawl(server.url("/a")).only.outcome is O.success


def chain(server: Any, tools: Any, hops: int, host: str = "127.0.9.1") -> None:
    """/robots.txt leads over so many redirects, each on another host, to a file that forbids /private."""
    path, at = "/robots.txt", host
    for hop in range(hops):
        target = server.url(f"/r{hop}.txt", f"127.0.9.{100 + hop}")
        server.on(path, tools.answer((301, 302, 303, 307, 308)[hop % 5], b"", f"Location: {target}"), at)
        path, at = f"/r{hop}.txt", f"127.0.9.{100 + hop}"
    server.on(path, tools.answer(200, ALLOW), at)


@pytest.mark.parametrize(("hops", "reason"), [(1, "robots_denied"), (5, "robots_denied"), (6, None)])
def test_redirects_of_robots_txt(crawl: Crawl, server: Any, tools: Any, hops: int, reason: str | None) -> None:
    """Five are followed; the rules hold for the origin that was asked first (RFC 9309 §2.3.1.2)."""
    chain(server, tools, hops)
    server.on("/private", tools.answer(200, b"x"))
    run = crawl([server.url("/private")])
    assert run.only.reason == reason
    assert run.report.robots_fetched == min(hops, 5) + 1


def test_a_hop_to_another_host_keeps_that_hosts_gap(crawl: Crawl, server: Any, tools: Any) -> None:
    chain(server, tools, 1)
    server.on("/", tools.answer(200, b"x"))
    other = "127.0.9.100"
    run = crawl([server.url("/"), *(f"{server.url('/', other)}?n={n}" for n in range(3))], tools.polite(delay=0.25))
    assert Counter(result.outcome for result in run.results) == {O.success: 4}
    assert len(gaps(server, other)) == 4
    assert min(gaps(server)) >= 0.25 - LATE


@pytest.mark.parametrize("location", ["", "Location: mailto:x", "Location: /robots.txt"])
def test_a_redirect_of_robots_txt_that_leads_nowhere_allows_all(
    crawl: Crawl, server: Any, tools: Any, location: str
) -> None:
    server.on("/robots.txt", tools.answer(302, b"", *[location] * bool(location)))
    server.on("/a", tools.answer(200, b"a"))
    assert crawl(server.url("/a")).only.outcome is O.success


def test_a_hop_that_fails_puts_the_origin_off(crawl: Crawl, server: Any, tools: Any) -> None:
    """The page's own host did answer: this is not the page's failure."""
    server.on("/robots.txt", tools.answer(302, b"", f"Location: http://127.0.9.200:{1}/robots.txt"))
    run = crawl([server.url("/a"), server.url("/b")])
    assert [(result.outcome, result.reason) for result in run.results] == [(O.postponed, "robots_unavailable")] * 2
    assert "127.0.9.200" in run.results[0].detail


@pytest.mark.parametrize(
    "reaction",
    [
        lambda tools: tools.says(b"", "close"),
        lambda tools: tools.drips(b"", b"", 60),
        lambda tools: tools.drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.02),
        lambda tools: tools.says(b"nonsense\r\n\r\n", "close"),
        lambda tools: tools.says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nUser-agent: *", "close"),
    ],
)
def test_a_network_error_on_robots_txt_puts_the_host_off(
    crawl: Crawl, server: Any, tools: Any, reaction: Callable[[Any], Any]
) -> None:
    """RFC 9309 §2.3.1.4. Half a robots.txt may lack the rule that counts: it is an error like the others."""
    server.on("/robots.txt", reaction(tools))
    run = crawl([server.url("/a"), server.url("/b")], tools.polite(timeout=0.25, max_seconds=0.5))
    for result in run.results:
        assert (result.outcome, result.reason, result.http_status) == (O.postponed, "robots_unavailable", None)
        assert result.detail.startswith("robots.txt: ")
    assert server.asked() == []
    assert run.report.robots[-1].failing_since is not None


def test_a_large_robots_txt_is_read_up_to_its_limit(crawl: Crawl, server: Any, tools: Any) -> None:
    filler = b"# " + b"x" * 97 + b"\n"
    server.on("/robots.txt", tools.answer(200, ALLOW + filler * 6000 + b"Disallow: /late\n"))
    server.on("/late", tools.answer(200, b"x"))
    run = crawl([server.url("/private"), server.url("/late")])
    assert {result.request.url: result.reason for result in run.results} == {
        server.url("/private"): "robots_denied", server.url("/late"): None
    }  # fmt: skip


def test_a_packed_robots_txt_with_a_byte_order_mark(crawl: Crawl, server: Any, tools: Any) -> None:
    import gzip

    server.on("/robots.txt", tools.answer(200, gzip.compress(b"\xef\xbb\xbf" + ALLOW), "Content-Encoding: gzip"))
    assert crawl(server.url("/private")).only.reason == "robots_denied"


# Hosts in trouble


@pytest.mark.parametrize(("status", "counts"), [(500, True), (429, True), (404, False), (403, False)])
def test_a_host_that_fails_too_often_is_left(crawl: Crawl, server: Any, tools: Any, status: int, counts: bool) -> None:
    server.on("/", tools.answer(status, b""))
    server.on("/", tools.answer(200, b"fine"), "127.0.9.2")
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(2) for number in range(10)]
    run = crawl(urls, tools.polite(max_failures_per_host=3))
    assert len([url for url in run.by_url if "127.0.9.2" in url]) == 10
    assert run.report.left == ({"host_failures": 7} if counts else {})
    assert len([arrival for arrival in server.asked() if arrival.host == "127.0.9.1"]) == (3 if counts else 10)


def test_only_failures_in_a_row_count(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/bad", tools.answer(500, b""))
    server.on("/good", tools.answer(200, b""))
    urls = [f"{server.url('/good' if number % 3 == 2 else '/bad')}?n={number}" for number in range(12)]
    assert len(crawl(urls, tools.polite(max_failures_per_host=3)).results) == 12
    run = crawl([f"{server.url('/bad')}?n={number}" for number in range(12)], tools.polite(max_failures_per_host=0))
    assert len(run.results) == 12, "0: never"


def test_a_host_that_does_not_exist_is_left_after_a_few(crawl: Crawl, server: Any, tools: Any) -> None:
    server.url("/")
    urls = [f"http://127.0.9.99:{server.port}/?n={number}" for number in range(10)]
    run = crawl(urls, tools.polite(max_failures_per_host=3), known=tools.no_robots(urls[0]))
    assert [result.reason for result in run.results] == ["connect"] * 3
    assert run.report.left == {"host_failures": 7}


# The end


def test_the_time_limit(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    urls = [f"{server.url('/')}?n={number}" for number in range(100)]
    began = time.monotonic()
    run = crawl(urls, tools.polite(delay=0.2, time_limit=0.5))
    assert time.monotonic() - began < 10
    assert 1 <= len(run.results) <= 4
    assert run.report.left == {"time_limit": 100 - len(run.results)}


def test_what_is_under_way_at_the_time_limit_may_finish(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.after(0.6, tools.says(tools.answer(200, b"x"))))
    run = crawl([server.url("/"), server.url("/?n=2")], tools.polite(time_limit=0.3))
    assert [result.content for result in run.results] == [b"x"]
    assert run.report.left == {"time_limit": 1}


@pytest.mark.parametrize(("takes", "emitted"), [(0.3, 1), (60.0, 0)])
def test_stop(crawl: Crawl, server: Any, tools: Any, takes: float, emitted: int) -> None:
    """What is under way gets fetch.shutdown_seconds; what it does not finish by then is left, and no failure."""
    stop = threading.Event()

    async def begin(exchange: Any) -> None:
        stop.set()
        await tools.after(takes, tools.says(tools.answer(200, b"x")))(exchange)

    server.on("/", begin)
    urls = [f"{server.url('/')}?n={number}" for number in range(10)]
    began = time.monotonic()
    run = crawl(urls, tools.polite(shutdown_seconds=1.0), stop)
    assert time.monotonic() - began < 10
    assert [result.content for result in run.results] == [b"x"] * emitted
    assert run.report.left == {"stopped": 10 - emitted}


def test_stop_while_all_wait(crawl: Crawl, server: Any, tools: Any) -> None:
    """Nothing is under way: there is nothing to wait for."""
    stop = threading.Event()
    server.on("/", tools.answer(200, b"x"))
    urls = [f"{server.url('/')}?n={number}" for number in range(10)]
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    run = crawl(urls, tools.polite(delay=30.0, shutdown_seconds=20.0), stop)
    assert time.monotonic() - began < 10
    assert (len(run.results), run.report.left) == (0, {"stopped": 10}), "the page waits for its gap after robots.txt"


def test_stop_before_the_beginning(crawl: Crawl, server: Any, tools: Any) -> None:
    stop = threading.Event()
    stop.set()
    run = crawl([server.url("/"), server.url("/b")], tools.polite(), stop)
    assert run.report.left == {"stopped": 2}
    assert server.arrivals == []


def test_a_name_look_up_that_hangs_holds_nobody_up(
    crawl: Crawl, server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be ended: its thread is left behind, and what it comes to is not emitted any more."""
    import socket

    stop, resume = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def hang(*arguments: Any, **options: Any) -> Any:
        stop.set()
        resume.wait(60)
        return look_up(*arguments, **options)

    server.url("/")
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    run = crawl(f"http://slow.example:{server.port}/", tools.polite(shutdown_seconds=0.1), stop)
    assert run.report.left == {"stopped": 1}
    resume.set()
    for thread in threading.enumerate():
        if thread.name.startswith("dns-"):
            thread.join(10)
    assert (run.results, run.report.fetched, server.arrivals) == ([], 0, [])


@pytest.mark.parametrize("stuck", ["connect", "handshake"])
def test_stop_while_connecting(crawl: Crawl, tools: Any, stuck: str) -> None:
    """A server that accepts nothing more: its queue of connections is full."""
    import socket

    stop = threading.Event()
    scheme = "http" if stuck == "connect" else "https"
    with socket.create_server(("127.0.9.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(3 if stuck == "connect" else 0):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.9.1", port))
            fillers.append(filler)
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        run = crawl(f"{scheme}://127.0.9.1:{port}/", tools.polite(timeout=30.0, shutdown_seconds=0.3), stop)
        for filler in fillers:
            filler.close()
    assert time.monotonic() - began < 10
    assert run.report.left == {"stopped": 1}


def test_what_emit_raises_is_raised(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    emitted: list[FetchResult] = []

    def full(result: FetchResult) -> None:
        emitted.append(result)
        if len(emitted) == 5:
            raise OSError(28, "No space left on device")

    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(5) for number in range(40)]
    with pytest.raises(OSError, match="No space left"):
        crawl(urls, emit=full)
    assert len(emitted) == 5, "nothing is emitted after it"


def test_results_come_one_at_a_time(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    inside: list[int] = []
    most: list[int] = []

    def emit(result: FetchResult) -> None:
        inside.append(1)
        time.sleep(0.002)
        most.append(len(inside))
        inside.pop()

    crawl([f"{server.url('/', host)}?n={number}" for host in hosts(10) for number in range(5)], emit=emit)
    assert (len(most), max(most)) == (50, 1)


def test_nothing_is_left_behind(crawl: Crawl, server: Any, tools: Any) -> None:
    """No threads and, as the server sees it, no connections."""
    server.on("/", tools.answer(200, b"x"))
    before = threading.active_count()
    crawl([server.url("/", host) for host in hosts(10)])
    assert threading.active_count() == before
    deadline = time.monotonic() + 5
    while server.open_connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.open_connections == 0


def test_no_requests_no_work(crawl: Crawl, tools: Any) -> None:
    run = crawl([])
    assert (run.results, run.report.fetched, run.report.left) == ([], 0, {})


def test_many_hosts_that_need_no_network(crawl: Crawl, tools: Any) -> None:
    """50,000 requests of 5,000 hosts, none of which may be sent: what is left is our own work."""
    asked = [
        tools.request(f"http://h{number % 5000}.example/{number}", headers={"X": "\n"}) for number in range(50_000)
    ]
    run = crawl(asked, tools.polite(threads=4))
    assert Counter(result.reason for result in run.results) == {"bad_request": 50_000}
