"""Names and addresses, over all engines: look-ups that fail, take long or change, and where nobody connects to."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from crawldb.schema import FetchOutcome
from jobs.fetching import addresses, dns, task

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]

TRY_AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def pages(url: str, count: int) -> list[str]:
    return [f"{url}?n={number}" for number in range(count)]


def public(monkeypatch: pytest.MonkeyPatch, *those: str) -> None:
    """Let these addresses, and no others, be on the Internet."""
    monkeypatch.setattr(addresses, "kind_of", lambda address: None if address in those else "loopback")


# Look-ups that fail


def test_a_name_that_does_not_exist(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    run = crawl(pages("http://nowhere.example/", 10), tools.polite(max_failures_per_host=3, delay=5.0))
    assert [(result.outcome, result.reason) for result in run.results] == [(O.retry, "dns")] * 3
    assert "nowhere.example" in run.results[0].detail
    assert run.report.left == {"host_failures": 7}
    assert (run.report.robots_fetched, run.report.robots) == (0, [])
    assert names.asked == ["nowhere.example"]


def test_many_names_that_do_not_exist(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    """They are out of the way of those behind them."""
    server.on("/", tools.answer(200, b"x"))
    last = names.url(server, "last.example", "127.0.9.1")
    dead = [f"http://dead{number}.example/" for number in range(300)]
    run = crawl([*dead, last], tools.polite(threads=4, connections=4, time_limit=15.0))
    assert Counter(result.reason for result in run.results) == {"dns": 300, None: 1}


def test_a_name_server_that_answers_at_the_second_try(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "_DNS_PAUSE", 0.6)  # dns remembers even a passing failure for a second
    monkeypatch.setattr(dns, "_TEMPORARY_SECONDS", 0.1)
    server.on("/", tools.answer(200, b"x"))
    url = names.url(server, "late.example", "127.0.9.1")
    names.at("late.example", TRY_AGAIN, ("127.0.9.1",))
    run = crawl(url)
    assert run.only.outcome is O.success
    assert names.asked == ["late.example"] * 2


def test_a_name_server_that_never_answers(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the host: all its pages are for a later round, uncounted."""
    monkeypatch.setattr(task, "_DNS_PAUSE", 0.02)
    names.at("late.example", TRY_AGAIN)
    run = crawl(pages("http://late.example/", 20), tools.polite(max_failures_per_host=3))
    assert Counter((result.outcome, result.reason) for result in run.results) == {(O.postponed, "dns_unavailable"): 20}
    assert "late.example" in run.results[0].detail
    assert run.report.left == {}


# How they are made


def test_a_slow_look_up_holds_up_nobody_else(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    """It ends only when all others have been fetched."""
    others_done = threading.Event()
    server.on("/", tools.answer(200, b"x"))
    others = [names.url(server, f"host{number}.example", "127.0.9.1") for number in range(20)]
    slow = names.url(server, "slow.example", "127.0.9.2")

    def look_up() -> tuple[str, ...]:
        assert others_done.wait(15), "the others wait for it"
        return ("127.0.9.2",)

    names.at("slow.example", look_up)
    emitted: list[Any] = []

    def emit(result: Any) -> None:
        emitted.append(result)
        if len(emitted) == len(others):
            others_done.set()

    crawl([slow, *others], tools.polite(threads=2), emit=emit)
    assert [result.request.url for result in emitted][-1] == slow
    assert Counter(result.outcome for result in emitted) == {O.success: 21}


def test_look_ups_are_made_ahead_so_many_at_once_and_once_a_name(
    crawl: Crawl, server: Any, tools: Any, names: Any
) -> None:
    server.on("/", tools.answer(200, b"x"))
    lock, full = threading.Lock(), threading.Barrier(3)
    now_and_most = [0, 0]

    def look_up() -> tuple[str, ...]:
        with lock:
            now_and_most[0] += 1
            now_and_most[1] = max(now_and_most)
        full.wait(15)  # nobody gets on unless three are at it at once
        with lock:
            now_and_most[0] -= 1
        return ("127.0.9.1",)

    urls = []
    for number in range(12):
        urls += pages(names.url(server, f"host{number}.example", "127.0.9.1"), 3)
        names.at(f"host{number}.example", look_up)
    run = crawl(urls, tools.polite(dns_threads=3, threads=1, connections=1))
    assert Counter(result.outcome for result in run.results) == {O.success: 36}
    assert now_and_most == [0, 3]
    assert Counter(names.asked) == {f"host{number}.example": 1 for number in range(12)}


def test_a_look_up_is_repeated_when_it_is_old(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    """dns_max_age: then the new address is asked."""
    server.on("/", tools.answer(200, b"x", close=True))
    url = names.url(server, "moving.example", "127.0.9.2")
    names.at("moving.example", ("127.0.9.1",), ("127.0.9.2",))
    server.url("/", "127.0.9.1")
    run = crawl(pages(url, 2), tools.polite(delay=1.2, dns_max_age=1.1), known=tools.no_robots(url))
    assert [result.ip_address for result in run.results] == ["127.0.9.1", "127.0.9.2"]
    assert [arrival.host for arrival in server.arrivals] == ["127.0.9.1", "127.0.9.2"]
    assert names.asked == ["moving.example"] * 2


# Several addresses


@pytest.mark.parametrize("dead", ["127.0.9.200", "::1"])
def test_a_dead_address_is_passed_over_and_comes_last_from_then_on(
    crawl: Crawl, server: Any, tools: Any, names: Any, dead: str
) -> None:
    server.on("/", tools.answer(200, b"x", close=True))
    url = names.url(server, "two.example", "127.0.9.1")
    names.at("two.example", (dead, "127.0.9.1"))
    orders: list[tuple[str, ...]] = []
    original = task.FetchTask.next

    def watch(self: Any, now: float) -> Any:
        found = original(self, now)
        if isinstance(found, task.Errand):
            orders.append(found.addresses)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task.FetchTask, "next", watch)
        run = crawl(pages(url, 3), known=tools.no_robots(url))
    assert [(result.outcome, result.ip_address) for result in run.results] == [(O.success, "127.0.9.1")] * 3
    assert orders == [(dead, "127.0.9.1"), ("127.0.9.1", dead), ("127.0.9.1", dead)]


def test_all_addresses_are_dead(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    url = names.url(server, "two.example", "127.0.9.1")
    names.at("two.example", ("127.0.9.200", "127.0.9.201"))
    other = names.url(server, "other.example", "127.0.9.1")
    names.at("other.example", ("127.0.9.200", "127.0.9.1"))
    server.on("/", tools.answer(200, b"x"))
    run = crawl([url, other], tools.polite(ip_delay=0.05, time_limit=10.0), known=tools.no_robots(url, other))
    assert run.by_url[url].reason == "connect"
    assert run.by_url[other].outcome is O.success


@pytest.mark.parametrize(("version", "fetched"), [("4", True), ("any", True), ("6", False)])
def test_the_version_of_the_settings(
    crawl: Crawl, server: Any, tools: Any, names: Any, version: str, fetched: bool
) -> None:
    server.on("/", tools.answer(200, b"x"))
    url = names.url(server, "four.example", "127.0.9.1")
    run = crawl([url, server.url("/")], tools.polite(ip_version=version))
    for result in run.results:
        assert (result.outcome, result.reason) == ((O.success, None) if fetched else (O.retry, "dns"))


# The address guard


def refused(run: Any, count: int = 1) -> bool:
    return [(result.outcome, result.reason, result.http_status) for result in run.results] == [
        (O.gone, "private_address", None)
    ] * count


def test_private_addresses_are_not_connected_to(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    named = names.url(server, "inside.example", "127.0.9.2")
    run = crawl([server.url("/"), server.url("/b"), named], tools.polite(allow_private_addresses=False))
    assert refused(run, 3)
    assert {result.detail.partition(" ")[0] for result in run.results} == {"127.0.9.1", "127.0.9.2"}
    assert server.connections == 0
    assert (run.report.robots_fetched, run.report.robots) == (0, [])


@pytest.mark.parametrize("order", [1, -1])
def test_only_the_public_ones_of_a_names_addresses_are_used(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """Also when none of those answers."""
    public(monkeypatch, "127.0.9.1", "127.0.9.200")
    server.on("/", tools.answer(200, b"x"))
    url, dead = (names.url(server, name, "127.0.9.2") for name in ("mixed.example", "dead.example"))
    server.url("/", "127.0.9.1")
    names.at("mixed.example", ("127.0.9.2", "127.0.9.1")[::order])
    names.at("dead.example", ("127.0.9.2", "127.0.9.200")[::order])
    run = crawl([url, dead], tools.polite(allow_private_addresses=False), known=tools.no_robots(url, dead))
    assert (run.by_url[url].outcome, run.by_url[url].ip_address) == (O.success, "127.0.9.1")
    assert run.by_url[dead].reason == "connect"
    assert [arrival.host for arrival in server.arrivals] == ["127.0.9.1"]
    assert server.connections == 1


def test_a_name_that_moves_inside(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: each look-up counts."""
    public(monkeypatch, "127.0.9.1")
    server.on("/", tools.answer(200, b"x", close=True))
    url = names.url(server, "rebinding.example", "127.0.9.2")
    names.at("rebinding.example", ("127.0.9.1",), ("127.0.9.2",))
    server.url("/", "127.0.9.1")
    settings = tools.polite(allow_private_addresses=False, delay=1.1, dns_max_age=0.0)
    run = crawl(pages(url, 2), settings, known=tools.no_robots(url))
    assert run.by_url[f"{url}?n=0"].outcome is O.success
    moved = run.by_url[f"{url}?n=1"]
    assert (moved.outcome, moved.reason) == (O.gone, "private_address")
    assert [arrival.host for arrival in server.arrivals] == ["127.0.9.1"]


def test_the_guard_looks_at_the_address_it_connects_to(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was thought of it before: the last look is at the socket's own destination."""
    monkeypatch.setattr(task, "guard", Trusting)
    url = names.url(server, "inside.example", "127.0.9.2")
    run = crawl([url, server.url("/")], tools.polite(allow_private_addresses=False), known=tools.no_robots(
        url, server.url("/")))  # fmt: skip
    assert refused(run, 2)
    assert server.connections == 0


class Trusting:
    """An address guard that lets everybody in."""

    @staticmethod
    def is_public(address: str) -> bool:
        return bool(address)


def test_a_redirect_inside_is_recorded_and_not_followed(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    public(monkeypatch, "127.0.9.1")
    inside = server.url("/secret", "127.0.9.2")
    server.on("/", tools.answer(302, b"", f"Location: {inside}"))
    run = crawl(server.url("/"), tools.polite(allow_private_addresses=False, redirects=5))
    assert (run.only.outcome, run.only.redirect_to) == (O.redir_temp, inside)
    assert {arrival.host for arrival in server.arrivals} == {"127.0.9.1"}


def test_a_redirect_that_is_followed_obeys_the_guard(
    crawl: Crawl, server: Any, tools: Any, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host stays, its address moves inside."""
    public(monkeypatch, "127.0.9.1")
    url = names.url(server, "rebinding.example", "127.0.9.2", "/from")
    names.at("rebinding.example", ("127.0.9.1",), ("127.0.9.2",))
    server.url("/", "127.0.9.1")
    server.on("/from", tools.answer(302, b"", "Location: /to", close=True))
    settings = tools.polite(allow_private_addresses=False, delay=1.1, dns_max_age=0.0, redirects=1)
    run = crawl(url, settings, known=tools.no_robots(url))
    first, second = run.results
    assert (first.reason, first.followed) == ("http_302", False)
    assert (second.reason, second.followed, second.request.url) == ("private_address", True, url.replace("from", "to"))
    assert (run.report.fetched, run.report.followed) == (1, 1)
    assert [arrival.host for arrival in server.arrivals] == ["127.0.9.1"]


def test_what_is_looked_up_ends_with_the_phase(crawl: Crawl, server: Any, tools: Any, names: Any) -> None:
    """A look-up without an answer holds up no end."""
    resume = threading.Event()
    names.at("slow.example", lambda: ("127.0.9.1",) if resume.wait(30) else ())
    began = time.monotonic()
    run = crawl(pages("http://slow.example/", 3), tools.polite(time_limit=0.2))
    assert time.monotonic() - began < 15
    assert run.report.left == {"time_limit": 3}
    resume.set()
