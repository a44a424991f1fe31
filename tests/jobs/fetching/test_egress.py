"""Source addresses and proxies: each host keeps its own, a proxy that fails is spared, no password is shown."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.settings import Settings
from jobs.fetching.egress import Egress, Proxy, Route, _proxies, bind, parse_proxy

SECRET = "s3cr3t"
HOSTS = [f"host{number}.example" for number in range(600)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def egress(tmp_path: Path | None = None, text: str = "", clock: Clock | None = None, **changes: Any) -> Egress:
    settings = Settings()
    settings.fetch.ip_version = changes.pop("ip_version", "any")
    for key, value in changes.items():
        setattr(settings.egress, key, value)
    if tmp_path is not None:
        file = tmp_path / "proxies.txt"
        file.write_text(text, "utf-8")
        settings.egress.proxies_file = str(file)
    return Egress(settings, clock=clock or Clock())


# -- source addresses ------------------------------------------------------------------------------------------------

SOURCES = ["127.0.9.51", "127.0.9.52", "127.0.9.53", "127.0.9.54"]


def test_without_settings_the_system_chooses() -> None:
    ours = egress()
    assert ours.source_for("a.example", "192.0.2.1") is None
    assert ours.can_reach("192.0.2.1")
    assert ours.can_reach("2001:db8::1")
    assert ours.route("a.example") == Route(None, 0.0)
    assert ours.notes() == []


def test_each_host_stays_on_one_source_address() -> None:
    ours, again = egress(source_addresses=SOURCES), egress(source_addresses=SOURCES[::-1])
    chosen = {host: ours.source_for(host, "192.0.2.1") for host in HOSTS}
    assert chosen == {host: again.source_for(host, "192.0.2.9") for host in HOSTS}, "in any order, for any address"
    counts = Counter(chosen.values())
    assert set(counts) == set(SOURCES)
    assert min(counts.values()) > 100


def test_one_address_more_moves_few_hosts_and_only_to_itself() -> None:
    before, after = egress(source_addresses=SOURCES[:3]), egress(source_addresses=SOURCES)
    moved = [host for host in HOSTS if before.source_for(host, "192.0.2.1") != after.source_for(host, "192.0.2.1")]
    assert {after.source_for(host, "192.0.2.1") for host in moved} == {SOURCES[3]}
    assert 100 < len(moved) < 200


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def test_the_source_is_of_the_destinations_family() -> None:
    ours = egress(source_addresses=["127.0.9.51"])
    assert ours.source_for("a.example", "2001:db8::1") is None
    assert ours.can_reach("192.0.2.1")
    assert not ours.can_reach("2001:db8::1"), "the system would choose one that nobody named"
    if has_ipv6():
        ours = egress(source_addresses=["127.0.9.51", "[::1]"])
        assert ours.source_for("a.example", "2001:db8::1") == "::1"
        assert ours.source_for("a.example", "192.0.2.1") == "127.0.9.51"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("198.51.100.77", "is no address of this machine"),
        ("2001:db8::77", "is no address of this machine"),
        ("eth0", "expected an IPv4 or IPv6 address"),
        ("127.0.0.1:80", "expected an IPv4 or IPv6 address"),
        ("0.0.0.0", "no address to connect from"),
        ("ff02::1", "no address to connect from"),
    ],
)
def test_an_address_that_cannot_be_a_source(address: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        egress(source_addresses=["127.0.9.51", address])
    assert str(caught.value).startswith(f"egress.source_addresses: {address}")


def test_sources_of_the_family_that_is_not_to_be_used() -> None:
    with pytest.raises(UsageError, match="no IPv6 address"):
        egress(source_addresses=["127.0.9.51"], ip_version="6")


ENDS = [
    (socket.AF_INET, "127.0.9.51", "127.0.9.60"),
    (socket.AF_INET, "127.0.9.52", "127.0.9.60"),
    *([(socket.AF_INET6, "::1", "::1")] if has_ipv6() else []),
]


@pytest.mark.parametrize(("family", "source", "destination"), ENDS)
def test_the_server_sees_the_source(family: int, source: str, destination: str) -> None:
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((destination, 0))
        server.listen()
        bind(client, source)
        client.connect(server.getsockname())
        connection, peer = server.accept()
        connection.close()
        assert peer == client.getsockname()
        assert peer[0] == source


@pytest.mark.parametrize(("family", "source", "_"), ENDS)
def test_the_port_is_chosen_when_it_connects(family: int, source: str, _: str) -> None:
    """So that it needs to be free only towards one destination. Other systems than Linux choose it at once."""
    with socket.socket(family) as client:
        bind(client, source)
        address, port = client.getsockname()[:2]
        assert address == source
        assert (port == 0) == (sys.platform == "linux")


# -- the proxies file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("https://Proxy.example/", Proxy("https", "proxy.example", 443)),
        ("socks5://10.0.0.1:9050", Proxy("socks5", "10.0.0.1", 9050)),
        ("SOCKS5H://[2001:DB8::1]", Proxy("socks5h", "2001:db8::1", 1080)),
        ("http://us%40er:p%3Ass%2F@proxy.example:3128", Proxy("http", "proxy.example", 3128, "us@er", "p:ss/")),
        ("http://user@proxy.example:3128", Proxy("http", "proxy.example", 3128, "user", None)),
        ("http://b\u00fccher.example:3128", Proxy("http", "xn--bcher-kva.example", 3128)),
    ],
)
def test_a_proxys_url(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


def test_what_an_engine_asks_of_a_proxy() -> None:
    http = parse_proxy("http://Aladdin:open%20sesame@[::1]:3128")
    assert (http.url, str(http), http.is_socks, http.resolves) == (
        "http://[::1]:3128",
        "http://[::1]:3128",
        False,
        True,
    )
    assert http.fields() == {"Proxy-Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
    assert parse_proxy("http://a.example").fields() == {}
    socks = [parse_proxy(f"{scheme}://a:b@c.example") for scheme in ("socks5", "socks5h")]
    assert [(proxy.is_socks, proxy.resolves, proxy.fields()) for proxy in socks] == [
        (True, False, {}),
        (True, True, {}),
    ]


def test_a_proxy_shows_no_password() -> None:
    proxy = parse_proxy(f"http://user:{SECRET}@proxy.example:3128")
    assert proxy.password == SECRET
    for shown in (str(proxy), repr(proxy), f"{proxy}", repr(Route(proxy)), proxy.url):
        assert SECRET not in shown


FILE = """
# comment
http://a.example:1          # the pool
http://b.example:2
socks5h://c.example:3

http://d.example:4  *.shop.example  Exact.example [::1]  # a comment
direct              intern.example *.intern.example b\u00fccher.example
http://e.example:5  deep.shop.example shop.example 192.0.2.7
"""


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("www.shop.example", "http://d.example:4"),
        ("a.b.shop.example", "http://d.example:4"),
        ("deep.shop.example", "http://d.example:4"),
        ("shop.example", "http://e.example:5"),
        ("exact.example", "http://d.example:4"),
        ("[::1]", "http://d.example:4"),
        ("intern.example", None),
        ("x.intern.example", None),
        ("xn--bcher-kva.example", None),
        ("192.0.2.7", "http://e.example:5"),
    ],
)
def test_the_first_line_that_matches_decides(tmp_path: Path, host: str, proxy: str | None) -> None:
    route = egress(tmp_path, FILE).route(host)
    assert route.wait == 0.0
    assert (route.proxy and route.proxy.url) == proxy


def test_all_others_have_the_pool_and_stay_on_one(tmp_path: Path) -> None:
    ours = egress(tmp_path, FILE)
    chosen = {host: str(ours.route(host).proxy) for host in [*HOSTS, "notshop.example", "[::2]", "192.0.2.8"]}
    assert set(chosen.values()) == {"http://a.example:1", "http://b.example:2", "socks5h://c.example:3"}
    again = egress(tmp_path, "\n".join(reversed(FILE.replace(":1 ", ":1 ").splitlines())))
    assert chosen == {host: str(again.route(host).proxy) for host in chosen}
    assert min(Counter(chosen.values()).values()) > 150


def test_patterns_alone_leave_the_others_direct(tmp_path: Path) -> None:
    ours = egress(tmp_path, "http://a.example:1 *.example.org\n")
    assert ours.route("example.com") == Route(None)
    assert ours.route("www.example.org").proxy is not None


def test_direct_for_some_and_a_star(tmp_path: Path) -> None:
    ours = egress(tmp_path, "direct example.org\nhttp://a.example:1 *\nhttp://b.example:2\n")
    assert ours.route("example.org").proxy is None
    assert str(ours.route("example.com").proxy) == str(ours.route("[::1]").proxy) == "http://a.example:1"


@pytest.mark.parametrize(
    "line",
    [
        f"proxy.example:{SECRET}",
        f"user:{SECRET}@proxy.example:3128",
        f"ftp://user:{SECRET}@proxy.example",
        f"socks4://user:{SECRET}@proxy.example",
        f"http://user:{SECRET}@proxy.example:99999",
        f"http://user:{SECRET}@proxy.example:0",
        f"http://user:{SECRET}/x@proxy.example:3128",
        f"http://user:{SECRET}#x@proxy.example:3128",
        f"http://user:{SECRET}@[::1",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@a b@proxy.example",
        f"http://user:{SECRET}%0D%0A@proxy.example",
        f"http://user:{SECRET}@proxy.example/path",
        f"http://user:x@proxy.example {SECRET}@example.org",
        f"http://user:x@proxy.example http://{SECRET}/",
        f"http://user:x@proxy.example *{SECRET}.example",
        f"DIRECT {SECRET}.example",
    ],
)
def test_a_bad_line_is_told_without_its_password(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"proxies\.txt:3: ") as caught:
        egress(tmp_path, f"# proxies\nhttp://good.example:1\n{line}\n")
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.__suppress_context__


@given(st.text(max_size=60))
def test_a_proxys_url_or_a_value_error(text: str) -> None:
    for candidate in (text, f"http://{text}", f"socks5://{text}@proxy.example"):
        with contextlib.suppress(ValueError):
            proxy = parse_proxy(candidate)
            assert parse_proxy(proxy.url) == Proxy(proxy.scheme, proxy.host, proxy.port)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no proxy in it"):
        egress(tmp_path, "# nothing\n")
    with pytest.raises(UsageError, match="No such file"):
        egress(proxies_file=str(tmp_path / "none.txt"))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        egress(proxies_file=str(tmp_path / "binary"))


# -- health ----------------------------------------------------------------------------------------------------------

POOL = "http://a.example:1\nhttp://b.example:2\nhttp://c.example:3\n"


def test_hosts_of_a_failed_proxy_move_and_the_others_stay(tmp_path: Path) -> None:
    clock = Clock()
    ours = egress(tmp_path, POOL, clock, proxy_pause=60.0)
    before = {host: ours.route(host).proxy for host in HOSTS}
    failed = before[HOSTS[0]]
    ours.failed(failed, "connection refused")
    after = {host: ours.route(host) for host in HOSTS}
    assert not any(route.wait for route in after.values())
    assert failed not in {route.proxy for route in after.values()}
    assert all(after[host].proxy == before[host] for host in HOSTS if before[host] != failed)
    assert len({str(after[host].proxy) for host in HOSTS if before[host] == failed}) == 2, "to both of the others"
    assert ours.notes() == [f"the proxy {failed} failed 1 times in a row: connection refused"]


def test_after_its_pause_one_host_tries_it_first(tmp_path: Path) -> None:
    clock = Clock()
    ours = egress(tmp_path, POOL, clock, proxy_pause=60.0)
    proxy = ours.route(HOSTS[0]).proxy
    its = [host for host in HOSTS if ours.route(host).proxy == proxy]
    ours.failed(proxy)
    clock.now += 59.9
    assert all(ours.route(host).proxy != proxy for host in its)
    clock.now += 0.1
    assert [host for host in its if ours.route(host).proxy == proxy] == its[:1]
    assert [host for host in its if ours.route(host).proxy == proxy] == its[:1], "the same one, if it asks again"
    ours.failed(proxy)
    assert all(ours.route(host).proxy != proxy for host in its)
    clock.now += 60
    assert ours.route(its[1]).proxy == proxy
    ours.worked(proxy)
    assert all(ours.route(host).proxy == proxy for host in its)
    assert ours.notes() == []


def test_a_trial_that_nobody_reports_on_passes_on(tmp_path: Path) -> None:
    clock = Clock()
    ours = egress(tmp_path, POOL, clock, proxy_pause=60.0)
    proxy = ours.route(HOSTS[0]).proxy
    its = [host for host in HOSTS if ours.route(host).proxy == proxy]
    ours.failed(proxy)
    clock.now += 60
    assert ours.route(its[0]).proxy == proxy
    assert ours.route(its[1]).proxy != proxy
    clock.now += 60
    assert ours.route(its[1]).proxy == proxy


def test_when_all_are_out_the_route_says_how_long(tmp_path: Path) -> None:
    clock = Clock()
    ours = egress(tmp_path, POOL, clock, proxy_pause=60.0)
    for name in "abc":
        proxy = next(ours.route(host).proxy for host in HOSTS if str(ours.route(host).proxy)[7] == name)
        ours.failed(proxy)
        clock.now += 10
    for host in HOSTS[:50]:
        route = ours.route(host)
        assert (str(route.proxy), route.wait) == ("http://a.example:1", 30.0), "never without a proxy"
    clock.now += 30
    routes = [ours.route(host) for host in HOSTS[:50]]
    assert [route.wait for route in routes] == [0.0] + [1.0] * 49, "one tries, the others ask again soon"


def test_a_host_with_a_proxy_of_its_own_waits_for_it(tmp_path: Path) -> None:
    ours = egress(tmp_path, "http://d.example:4 *.shop.example\n" + POOL, proxy_pause=60.0)
    ours.failed(ours.route("www.shop.example").proxy)
    assert ours.route("www.shop.example").wait == 60.0
    assert ours.route("example.com").wait == 0.0


def test_going_direct_never_fails(tmp_path: Path) -> None:
    ours = egress(tmp_path, "direct\nhttp://a.example:1\n")
    ours.failed(None)
    ours.worked(None)
    assert {ours.route(host).proxy is None for host in HOSTS} == {True, False}
    ours.failed(Proxy("http", "a.example", 1))
    assert {ours.route(host) for host in HOSTS} == {Route(None)}


@given(
    st.lists(
        st.tuples(st.sampled_from(["failed", "worked", "route"]), st.integers(0, 2), st.floats(0, 100)), max_size=30
    )
)
def test_a_route_is_always_one_that_may_be_taken(events: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    ours = egress(clock=clock, proxy_pause=60.0)
    proxies = [Proxy("http", f"{name}.example", 1) for name in "abc"]
    ours._pool = _proxies(proxies)
    out: dict[Proxy, float] = {}
    for what, number, seconds in events:
        clock.now += seconds
        if what == "failed":
            ours.failed(proxies[number])
            out[proxies[number]] = clock.now + 60
        elif what == "worked":
            ours.worked(proxies[number])
            out.pop(proxies[number], None)
        route = ours.route(HOSTS[number])
        assert route.proxy in proxies
        assert 0 <= route.wait <= 60 + 1e-9
        if route.wait == 0:
            assert out.get(route.proxy, 0) <= clock.now
        else:
            assert len(out) == 3
