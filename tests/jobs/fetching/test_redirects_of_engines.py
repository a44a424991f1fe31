"""Redirects that are followed at once (fetch.redirects), over all engines, and what they leave in the crawldb."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crawldb.fingerprint import fingerprint
from crawldb.schema import FetchOutcome
from crawldb.store import Store
from jobs.cli import main

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]

LATE = 0.1
"""Seconds by which the test server, in this very process, may notice one request later than another."""


def lead(server: Any, tools: Any, *paths: str, status: int = 302) -> list[str]:
    """Let each path redirect to the next one, and the last one be a page; their URLs."""
    for source, target in itertools.pairwise(paths):
        server.on(source, tools.answer(status, b"", f"Location: {target}"))
    server.on(paths[-1], tools.answer(200, b"there"))
    return [server.url(path) for path in paths]


def asked(server: Any) -> list[str]:
    return [arrival.target for arrival in server.asked()]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_chain_within_a_host(crawl: Crawl, server: Any, tools: Any, status: int) -> None:
    urls = lead(server, tools, "/a", "/b", "/c", status=status)
    run = crawl(urls[0], tools.polite(redirects=5))
    assert [result.request.url for result in run.results] == urls
    assert [result.redirect_to for result in run.results] == [urls[1], urls[2], None]
    assert [result.http_status for result in run.results] == [status, status, 200]
    assert [result.followed for result in run.results] == [False, True, True]
    assert run.results[-1].content == b"there"
    for result in run.results[1:]:
        assert result.request.fingerprint == fingerprint(result.request.url)
        assert result.request.row == run.results[0].request.row
        assert (result.request.method, result.request.etag, result.request.body) == (None, None, None)
    assert (run.report.fetched, run.report.followed, run.report.left) == (1, 2, {})
    assert run.report.robots_fetched == 1


@pytest.mark.parametrize(("redirects", "hops"), [(0, 0), (1, 1), (2, 2), (3, 3), (9, 4)])
def test_so_many_hops(crawl: Crawl, server: Any, tools: Any, redirects: int, hops: int) -> None:
    urls = lead(server, tools, "/a", "/b", "/c", "/d", "/e")
    run = crawl(urls[0], tools.polite(redirects=redirects))
    assert asked(server) == ["/a", "/b", "/c", "/d", "/e"][: hops + 1]
    assert run.report.followed == hops
    if hops < 4:
        assert run.results[-1].redirect_to == urls[hops + 1], "the rest is for the next round"


@pytest.mark.parametrize("circle", [["/a"], ["/a", "/b"], ["/a", "/b", "/c"]])
def test_a_circle_ends(crawl: Crawl, server: Any, tools: Any, circle: list[str]) -> None:
    for source, target in itertools.pairwise([*circle, circle[0]]):
        server.on(source, tools.answer(302, b"", f"Location: {target}"))
    run = crawl(server.url(circle[0]), tools.polite(redirects=50))
    assert Counter(asked(server)) == dict.fromkeys(circle, 1)
    assert run.report.followed == len(set(circle)) - 1


def test_another_hosts_page_is_for_the_next_round(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    server.on("/there", tools.answer(200, b"x"))
    named = names.url(server, "b.example.com", "127.0.9.1", "/there")
    for path, target in (("/a", server.url("/there", "127.0.9.2")), ("/b", named)):
        server.on(path, tools.answer(302, b"", f"Location: {target}"))
    run = crawl([server.url("/a"), server.url("/b")], tools.polite(redirects=5, queue_mode="ip"))
    assert [result.outcome for result in run.results] == [O.redir_temp] * 2
    assert asked(server) == ["/a", "/b"]


def test_another_origin_of_the_host_has_its_own_robots_txt(
    crawl: Crawl, server: Any, tls_server: Any, tools: Any
) -> None:
    tls_server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /private\n"))
    tls_server.on("/fine", tools.answer(200, b"x"))
    for path in ("/fine", "/private"):
        server.on(path, tools.answer(301, b"", f"Location: {tls_server.url(path)}"))
    run = crawl([server.url("/fine"), server.url("/private")], tools.polite(redirects=5, verify_tls=False))
    assert run.by_url[tls_server.url("/fine")].content == b"x"
    assert run.by_url[tls_server.url("/private")].reason == "robots_denied"
    assert [arrival.target for arrival in tls_server.arrivals] == ["/robots.txt", "/fine"]


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_a_hop_that_robots_txt_denies(crawl: Crawl, server: Any, tools: Any, delay: float) -> None:
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /private\n"))
    urls = lead(server, tools, "/a", "/private", "/c")
    run = crawl(urls[0], tools.polite(redirects=5, delay=delay))
    assert [result.request.url for result in run.results] == urls[:2]
    denied = run.results[1]
    assert (denied.outcome, denied.reason, denied.followed) == (O.gone, "robots_denied", True)
    assert (run.report.fetched, run.report.followed) == (1, 1)
    assert asked(server) == ["/a"]


def test_a_target_that_is_in_the_list_is_fetched_once(crawl: Crawl, server: Any, tools: Any) -> None:
    urls = lead(server, tools, "/a", "/b")
    lead(server, tools, "/c", "/b")
    run = crawl([*urls, server.url("/c")], tools.polite(redirects=5))
    assert Counter(asked(server)) == {"/a": 1, "/b": 1, "/c": 1}
    assert (run.report.fetched, run.report.followed) == (3, 0)


def test_a_target_of_several_is_fetched_once(crawl: Crawl, server: Any, tools: Any) -> None:
    for source in ("/a", "/b", "/c"):
        lead(server, tools, source, "/there")
    run = crawl([server.url(path) for path in ("/a", "/b", "/c")], tools.polite(redirects=5))
    assert Counter(asked(server)) == {"/a": 1, "/b": 1, "/c": 1, "/there": 1}
    assert (run.report.fetched, run.report.followed) == (3, 1)


def test_filters_refuse_targets(crawl: Crawl, server: Any, tools: Any) -> None:
    lead(server, tools, "/a", "/" + "x" * 100)
    lead(server, tools, "/b", "/there")
    settings = tools.polite(redirects=5)
    settings.filter.use = ["length"]
    settings.filter.max_url_length = 60
    run = crawl([server.url("/a"), server.url("/b")], settings)
    assert asked(server) == ["/a", "/b", "/there"] or asked(server) == ["/a", "/there", "/b"]
    assert len(run.by_url[server.url("/a")].redirect_to) > 60, "it is recorded all the same"


@pytest.mark.parametrize("status", [301, 303, 307])
def test_a_post_is_not_followed(crawl: Crawl, server: Any, tools: Any, status: int) -> None:
    urls = lead(server, tools, "/a", "/b", status=status)
    run = crawl(tools.request(urls[0], method="POST", body=b"x"), tools.polite(redirects=5))
    assert run.only.redirect_to == urls[1]
    assert asked(server) == ["/a"]


def test_what_is_sent_for_a_page_alone_is_not_sent_on(crawl: Crawl, server: Any, tools: Any) -> None:
    urls = lead(server, tools, "/a", "/b")
    crawl(tools.request(urls[0], etag='"1"', headers={"X-Own": "1"}), tools.polite(redirects=5))
    first, second = server.asked()
    assert {"If-None-Match", "X-Own"} <= set(first.headers)
    assert not {"If-None-Match", "X-Own"} & set(second.headers)


@pytest.mark.parametrize("threads_per_host", [1, 3])
def test_the_gap_is_kept_between_hops(crawl: Crawl, server: Any, tools: Any, threads_per_host: int) -> None:
    urls = lead(server, tools, "/a", "/b", "/c")
    other = server.url("/other")
    run = crawl([urls[0], other], tools.polite(redirects=5, delay=0.25, threads_per_host=threads_per_host))
    assert len(run.results) == 4
    times = [arrival.time for arrival in server.arrivals]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.25 - LATE


def test_a_host_that_fails_keeps_its_count_over_hops(crawl: Crawl, server: Any, tools: Any) -> None:
    """Redirects' targets that are left with a failing host are in nobody's count of what is left."""
    for number in range(6):
        lead(server, tools, f"/a{number}", f"/b{number}")
        server.on(f"/b{number}", tools.answer(500, b""))
    urls = [server.url(f"/a{number}") for number in range(6)]
    run = crawl(urls, tools.polite(redirects=5, max_failures_per_host=1), known=tools.no_robots(urls[0]))
    assert run.report.fetched + run.report.left["host_failures"] == 6
    assert Counter(result.reason for result in run.results) == {
        "http_302": run.report.fetched, "http_500": run.report.followed
    }  # fmt: skip


def test_a_round_with_a_redirect_that_is_followed(server: Any, tools: Any, tmp_path: Path) -> None:
    """Both pages are in the crawldb as if the second one had been linked, listed and fetched; its links count."""
    (tmp_path / "seeds.txt").write_text(f"{server.url('/start')}\n")
    html = "Content-Type: text/html"
    server.on("/start", tools.answer(200, b'<p>Begin <a href="/old">here</a>, or <a href="/there">there</a>.', html))
    server.on("/old", tools.answer(301, b"", "Location: /new"))
    server.on("/there", tools.answer(302, b"", "Location: /private/x"))
    server.on("/new", tools.answer(200, b'<title>New</title><p>All is new <a href="/next">and next</a>.', html))
    server.on("/robots.txt", tools.answer(200, b"User-agent: *\nDisallow: /private\n"))
    settings = {"http.agent_name": "testbot", "fetch.delay": 0, "fetch.allow_private_addresses": "true",
                "fetch.redirects": 3}  # fmt: skip
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    crawl_dir = tmp_path / "crawl"
    assert main(["crawl", *given, "-s", str(tmp_path / "seeds.txt"), str(crawl_dir), "2"]) == 0
    tables = Store(str(crawl_dir)).snapshot().scan()
    rows = {row["url"]: row for table in tables for row in table.to_pylist()}
    start, old, new, following = (rows[server.url(path)] for path in ("/start", "/old", "/new", "/next"))
    assert Counter(asked(server)) == {"/start": 1, "/old": 1, "/new": 1, "/there": 1}
    assert (start["status"], start["depth"]) == ("fetched", 0)
    assert (old["status"], old["http_status"], old["redirect_to"]) == ("redir_perm", 301, server.url("/new"))
    assert (new["status"], new["http_status"], new["redirect_to"]) == ("fetched", 200, None)
    assert new["signature"] is not None
    assert (old["depth"], new["depth"]) == (1, 1), "a redirect is no step"
    assert (old["discovered_from"], new["discovered_from"]) == (start["fingerprint"], old["fingerprint"])
    assert new["score"] > 0
    assert (following["status"], following["depth"]) == ("unfetched", 2)
    assert following["discovered_from"] == new["fingerprint"]
    denied = rows[server.url("/private/x")]
    assert (denied["status"], denied["reason"]) == ("gone", "robots_denied")
    assert denied["discovered_from"] == rows[server.url("/there")]["fingerprint"]
