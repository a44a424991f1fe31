"""robots.txt from round to round, and on the ways it takes: what is asked for, what is learned, and what never is."""

from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from crawldb.schema import FetchOutcome
from crawldb.urls import host_of
from jobs.fetching import KnownRobots, addresses, robots

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]

LATE = 0.1
"""Seconds by which the test server, in this very process, may notice one request later than another."""
DAY = 86_400_000


def now() -> int:
    return time.time_ns() // 1_000_000


def known(server: Any, body: bytes | None = None, *, age: int = 60_000, status: int | None = 200,
          failing_for: int | None = None) -> KnownRobots:  # fmt: skip
    """What an earlier round learned of the server's robots.txt, so many milliseconds ago."""
    origin = server.url("")
    failing_since = None if failing_for is None else now() - failing_for
    return KnownRobots(origin, f"{origin}/robots.txt", now() - age, status, body, False, failing_since)


def asked_for(server: Any) -> list[str]:
    return [arrival.target for arrival in server.arrivals]


# From earlier rounds


def test_a_fresh_one_is_not_asked_for_and_holds(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /\n"))
    body = b"User-agent: *\nCrawl-delay: 0.3\nDisallow: /private\n"
    urls = [f"{server.url('/')}?n={number}" for number in range(3)]
    run = crawl([server.url("/private/x"), *urls], tools.polite(delay=30.0), known=[known(server, body)])
    denied = run.by_url[server.url("/private/x")]
    assert (denied.outcome, denied.reason) == (O.gone, "robots_denied")
    assert denied.detail == f"{server.url('/robots.txt')}:3: Disallow: /private"
    assert Counter(result.outcome for result in run.results) == {O.gone: 1, O.success: 3}
    assert server.asked("/robots.txt") == []
    assert (run.report.robots_fetched, run.report.robots) == (0, [])
    times = [arrival.time for arrival in server.arrivals]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.3 - LATE


@pytest.mark.parametrize(
    ("status", "age", "failing_for"),
    [(200, 2 * DAY, None), (200, 4000_000, None), (200, -3000_000, None), (503, 60_000, 60_000), (None, 60_000, DAY)],
    ids=["a day old", "older than robots_max_age", "from the future", "failing", "no answer"],
)
def test_others_are_asked_for(
    crawl: Crawl, server: Any, tools: Any, status: int | None, age: int, failing_for: int | None
) -> None:
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /new\n"))
    server.on("/old", tools.answer(200, b"x"))
    before = known(server, b"User-agent: *\nDisallow: /old\n", age=age, status=status, failing_for=failing_for)
    run = crawl([server.url("/old"), server.url("/new")], tools.polite(robots_max_age=3600.0), known=[before])
    assert run.by_url[server.url("/old")].outcome is O.success
    assert run.by_url[server.url("/new")].reason == "robots_denied"
    assert asked_for(server) == ["/robots.txt", "/old"]
    (learned,) = run.report.robots
    assert (learned.status, learned.failing_since) == (200, None)


@pytest.mark.parametrize("trouble", ["503", "429", "no answer"])
@pytest.mark.parametrize(("days", "fetched"), [(29, False), (31, True)])
def test_what_fails_for_thirty_days_counts_as_not_there(
    crawl: Crawl, server: Any, tools: Any, trouble: str, days: int, fetched: bool
) -> None:
    failure = tools.says(b"", "close") if trouble == "no answer" else tools.answer(int(trouble), b"")
    server.on("/robots.txt", failure)
    server.on("/", tools.answer(200, b"x"))
    before = known(server, status=503, failing_for=days * DAY)
    run = crawl([server.url("/"), server.url("/?n=2")], tools.polite(), known=[before])
    expected = (O.success, None) if fetched else (O.postponed, "robots_unavailable")
    assert [(result.outcome, result.reason) for result in run.results] == [expected] * 2
    (learned,) = run.report.robots
    assert learned.failing_since == before.failing_since, "it fails on"
    assert learned.fetched_at > before.fetched_at


# What is learned


def test_what_is_learned_of_each_origin(crawl: Crawl, server: Any, tools: Any) -> None:
    plain, moved, missing, long, broken, hung_up = hosts = [f"127.0.9.{number}" for number in range(1, 7)]
    body = b"User-agent: *\nDisallow: /private\n"
    endless = body + b"# " * robots.MAX_BYTES
    server.on("/robots.txt", tools.answer(200, body), plain)
    server.on("/robots.txt", tools.answer(301, b"", f"Location: {server.url('/elsewhere.txt', plain)}"), moved)
    server.on("/elsewhere.txt", tools.answer(200, body + b"#"), plain)
    server.on("/robots.txt", tools.answer(404, body), missing)
    server.on("/robots.txt", tools.answer(200, endless), long)
    server.on("/robots.txt", tools.answer(503, body), broken)
    server.on("/robots.txt", tools.says(b"", "close"), hung_up)
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts for number in range(2)]
    began = now()
    run = crawl(urls)
    assert len(run.report.robots) == 6
    assert run.report.robots_fetched == 7
    learned = {host_of(one.origin): one for one in run.report.robots}
    assert {host: one.origin for host, one in learned.items()} == {host: server.url("", host) for host in hosts}
    assert [learned[host].status for host in hosts] == [200, 200, 404, 200, 503, None]
    assert [learned[host].body for host in hosts] == [
        body, body + b"#", None, endless[: robots.MAX_BYTES], None, None
    ]  # fmt: skip
    assert [learned[host].truncated for host in hosts] == [False, False, False, True, False, False]
    assert learned[plain].url == server.url("/robots.txt", plain)
    assert learned[moved].url == server.url("/elsewhere.txt", plain)
    assert all(began <= one.fetched_at <= now() for one in run.report.robots)
    assert [host for host in hosts if learned[host].failing_since is not None] == [broken, hung_up]
    assert learned[broken].failing_since == learned[broken].fetched_at


def test_what_was_learned_spares_the_next_round_the_asking(crawl: Crawl, server: Any, tools: Any) -> None:
    """Redirects included: the rules of the file that they led to are known."""
    server.on("/robots.txt", tools.answer(302, b"", f"Location: {server.url('/r.txt', '127.0.9.2')}"), "127.0.9.1")
    server.on("/r.txt", tools.answer(200, b"User-agent: *\nDisallow: /private\n"))
    first = crawl(server.url("/private"))
    server.arrivals.clear()
    second = crawl(server.url("/private"), known=first.report.robots)
    assert first.only.detail == second.only.detail == f"{server.url('/r.txt', '127.0.9.2')}:2: Disallow: /private"
    assert (server.arrivals, second.report.robots) == ([], [])


# The ways it takes


def public(monkeypatch: pytest.MonkeyPatch, *those: str) -> None:
    """Let these addresses, and no others, be on the Internet."""
    monkeypatch.setattr(addresses, "kind_of", lambda address: None if address in those else "loopback")


@pytest.mark.parametrize("named", [False, True])
def test_a_redirect_to_a_private_address(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """It is not followed, and as nobody knows what it says, its pages wait (RFC 9309 §2.3.1.4)."""
    public(monkeypatch, "127.0.9.1")
    inside = server.url("/r.txt", "127.0.9.2")
    if named:
        inside = names.url(server, "intranet.example", "127.0.9.2", "/r.txt")
    server.on("/robots.txt", tools.answer(302, b"", f"Location: {inside}"))
    run = crawl([server.url("/a"), server.url("/b")], tools.polite(allow_private_addresses=False))
    assert [(result.outcome, result.reason) for result in run.results] == [(O.postponed, "robots_unavailable")] * 2
    assert inside in run.results[0].detail
    assert "127.0.9.2" in run.results[0].detail
    assert [arrival.host for arrival in server.arrivals] == ["127.0.9.1"]
    (learned,) = run.report.robots
    assert (learned.url, learned.status) == (inside, None)
    assert learned.failing_since is not None


def test_a_redirect_to_a_host_that_does_not_resolve(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    server.on("/robots.txt", tools.answer(302, b"", "Location: http://nowhere.example/robots.txt"))
    run = crawl([server.url("/a"), server.url("/b")])
    assert [(result.outcome, result.reason) for result in run.results] == [(O.postponed, "robots_unavailable")] * 2
    assert "nowhere.example" in run.results[0].detail
    assert run.report.robots[0].failing_since is not None
    assert run.report.robots_fetched == 1


def test_a_redirect_to_a_new_host_is_looked_up_though_many_wait(
    crawl: Crawl, server: Any, tools: Any, names: Any
) -> None:
    """Hosts that share the queue of the one that is redirected cannot have their turn before it."""
    server.on("/robots.txt", tools.answer(404, b""))
    server.on("/", tools.answer(200, b"x"))
    server.on("/robots.txt", tools.answer(302, b"", f"Location: {names.url(server, 'rules.test', '127.0.9.2', '/r')}"),
              "127.0.9.3")  # fmt: skip
    urls = [names.url(server, f"host{number}.example.com", "127.0.9.1") for number in range(200)]
    urls.insert(0, names.url(server, "first.example.com", "127.0.9.3"))
    run = crawl(urls, tools.polite(queue_mode="domain", threads=4, time_limit=15.0))
    assert Counter(result.outcome for result in run.results) == {O.success: 201}


@pytest.mark.parametrize("loop", [["/robots.txt"], ["/a", "/b"], ["/a", "/b", "/robots.txt"]])
def test_redirects_in_a_circle(crawl: Crawl, server: Any, tools: Any, loop: list[str]) -> None:
    for source, target in itertools.pairwise(["/robots.txt", *loop, loop[0]]):
        server.on(source, tools.answer(302, b"", f"Location: {target}"))
    server.on("/page", tools.answer(200, b"x"))
    run = crawl(server.url("/page"))
    assert run.only.outcome is O.success
    assert len(server.arrivals) <= 7
    assert run.report.robots[0].status == 302


def test_http_and_https_have_one_each(crawl: Crawl, server: Any, tls_server: Any, tools: Any) -> None:
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /plain\n"))
    tls_server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /secret\n"))
    for one in (server, tls_server):
        one.on("/plain", tools.answer(200, b"x"))
        one.on("/secret", tools.answer(200, b"x"))
    urls = [one.url(path) for one in (server, tls_server) for path in ("/plain", "/secret")]
    run = crawl(urls, tools.polite(verify_tls=False))
    assert [run.by_url[url].reason for url in urls] == ["robots_denied", None, None, "robots_denied"]
    assert {one.origin for one in run.report.robots} == {server.url(""), tls_server.url("")}


@pytest.mark.parametrize("mode", ["host", "domain", "ip"])
@pytest.mark.parametrize("threads_per_host", [1, 3])
@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_what_is_denied_is_never_asked_for(
    crawl: Crawl, server: Any, tools: Any, names: Any, mode: str, threads_per_host: int, delay: float
) -> None:
    """Whoever shares the queue, wherever redirects lead, in whichever order."""
    hosts = {f"{name}.example.com": f"/private-{name}" for name in "abcdef"}

    async def rules(exchange: Any) -> None:
        denied = hosts[exchange.arrival.headers["Host"].partition(":")[0]]
        await tools.says(tools.answer(200, f"User-agent: *\nDisallow: {denied}\n".encode()))(exchange)

    server.on("/robots.txt", rules)
    asked = []
    for number, (host, denied) in enumerate(hosts.items()):
        base = names.url(server, host, f"127.0.9.{1 + number % 2}", "")
        server.on(f"/to{denied}", tools.answer(302, b"", f"Location: {denied}/target"))
        asked += [f"{base}{denied}", f"{base}/fine", f"{base}/to{denied}", f"{base}{denied}/other", f"{base}/also"]
    server.on("/fine", tools.answer(200, b"x"))
    server.on("/also", tools.answer(200, b"x"))
    settings = tools.polite(queue_mode=mode, threads_per_host=threads_per_host, delay=delay, redirects=5)
    run = crawl(asked, settings)
    assert Counter((result.reason, result.followed) for result in run.results) == {
        (None, False): 12, ("http_302", False): 6, ("robots_denied", False): 12, ("robots_denied", True): 6
    }  # fmt: skip
    assert [target for target in asked_for(server) if target.startswith("/private")] == []
    assert asked_for(server).count("/robots.txt") == len(hosts)


def test_a_name_server_that_is_out_of_order(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a redirect's target: the origin is put off, and the others of its queue go on."""
    monkeypatch.setattr("jobs.fetching.task._DNS_PAUSE", 0.01)
    names.at("rules.test", socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    server.on("/robots.txt", tools.answer(302, b"", "Location: http://rules.test/robots.txt"), "127.0.9.1")
    server.on("/", tools.answer(200, b"x"))
    moved = names.url(server, "moved.example.com", "127.0.9.1")
    other = names.url(server, "other.example.com", "127.0.9.2")
    run = crawl([moved, other], tools.polite(queue_mode="domain"))
    assert run.by_url[moved].reason == "robots_unavailable"
    assert run.by_url[other].outcome is O.success
