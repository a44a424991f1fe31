"""The demo site answers as declared, its declarations agree with each other, and its truth follows from them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protego import Protego

from crawldb import urlfilters
from crawldb.errors import CobnutError
from crawldb.schema import Status
from crawldb.settings import Settings
from crawldb.urls import canonicalize, host_of
from jobs.demo.blog import CRAWL_DELAY
from jobs.demo.server import DemoServer
from jobs.demo.site import Host, Link, Resource, Seed, Site
from jobs.demo.truth import truth
from jobs.demo.web import demo_site

PORT = 8123
SITE = demo_site(PORT)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[DemoServer]:
    with DemoServer() as running:
        yield running


def ask(server: DemoServer, url: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """One request on a connection of its own; the target is sent as it stands in the URL."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", server.site.port, timeout=10)
    try:
        target = url.split("/", 3)[3]
        connection.request(
            method, "/" + target, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def references(resource: Resource) -> list[Link]:
    """Every link of the resource, whatever its kind."""
    return [*resource.links, *(link for link in (resource.redirect, resource.refresh) if link is not None)]


# -- the declarations


def test_it_is_a_small_web() -> None:
    served = [url for url in SITE.pages if SITE.host(url).listening]
    assert len(served) >= 300
    assert len({SITE.host(url).address for url in served}) >= 6
    assert 40 <= max(len(page.links) for page in SITE.pages.values()) <= 60
    assert all(address.startswith("127.") for address in SITE.hosts)
    reached = truth(SITE, 3)
    assert sum(row.requests for row in reached.values()) >= 300


def test_the_same_port_and_seed_make_the_same_site() -> None:
    assert demo_site(PORT) == SITE
    moved = demo_site(PORT + 1)
    assert [url.replace(str(PORT + 1), str(PORT)) for url in moved.pages] == list(SITE.pages)
    assert demo_site(PORT, seed=8).pages != SITE.pages


def test_every_page_is_declared_under_its_canonical_url() -> None:
    assert {url: canonicalize(url) for url in SITE.pages} == {url: url for url in SITE.pages}


def test_every_link_leads_to_something_declared() -> None:
    """Only what the URL filters refuse has no page."""
    astray = {(url, link.target) for url, page in SITE.pages.items() for link in references(page)
              if link.target is not None and not link.filtered and link.target not in SITE.pages}  # fmt: skip
    assert astray == set()
    declared = {link.target for page in SITE.pages.values() for link in references(page) if link.filtered}
    assert declared
    assert declared.isdisjoint(SITE.pages)


def test_the_default_url_filters_refuse_what_is_declared_as_filtered() -> None:
    defaults = Settings()
    defaults.filter.regex_file = str(REPOSITORY / "conf" / "regex-urlfilter.txt")
    refuse = urlfilters.build(defaults)
    wrong = [(url, link.target) for url, page in SITE.pages.items() for link in references(page) if link.target is not None
             and (refuse(urlfilters.Link(link.target, host_of(link.target), host_of(url), 1)) is not None) != link.filtered]  # fmt: skip
    assert wrong == []
    assert [refuse(urlfilters.Link(seed.url, host_of(seed.url), None, 0)) for seed in SITE.seed_list] == [None] * 5


def test_seed_lines_mean_what_they_say() -> None:
    for line, seed in zip(SITE.seeds(), SITE.seed_list, strict=True):
        spelled, *fields = line.split("\t")
        assert canonicalize(spelled) == seed.url
        assert dict(field.split("=") for field in fields) == seed.metadata
    assert {"score", "interval", "priority"} <= {key for seed in SITE.seed_list for key in seed.metadata}


def test_robots_txt_denies_what_is_declared_as_denied() -> None:
    for host in SITE.hosts.values():
        if host.robots.status != 200:
            continue
        rules = Protego.parse(host.robots.body.decode())
        mine = {url: page for url, page in SITE.pages.items() if SITE.host(url) is host}
        assert {url for url in mine if not rules.can_fetch(url, "cobnut-test")} == {
            url for url, page in mine.items() if page.denied
        }
        assert any(page.denied for page in mine.values())
        assert rules.crawl_delay("cobnut-test") == (CRAWL_DELAY if host.name == "Notes from the Weir" else None)


def test_no_host_fails_often_enough_to_be_given_up() -> None:
    """fetch.max_failures_per_host is 5: the truth must not depend on the order of requests."""
    failing: Counter[str] = Counter()
    for row in truth(SITE, 20, nofollow=False).values():
        failing[SITE.host(row.url).address] += row.status is Status.unfetched and row.reason != "robots_unavailable"
    assert max(failing.values()) < 5


@pytest.mark.parametrize("url", [url for url, page in SITE.pages.items() if page.title])
def test_links_in_the_page_resolve_as_declared(url: str) -> None:
    page = SITE.pages[url]
    assert page.charset is not None
    tree = lxml.html.document_fromstring(page.body.decode(page.charset).lstrip("\ufeff"))
    assert tree.findtext(".//title") == page.title
    base = tree.find(".//base")
    start = url if base is None else canonicalize(base.get("href"), url)
    found = [(canonicalize(element.get("href", element.get("src")), start), element.get("rel"), element.tag)
             for element in tree.iter("a", "area", "iframe", "frame")
             if element.get("href") is not None or element.get("src") is not None]  # fmt: skip
    assert found == [(link.target, link.rel, link.element) for link in page.links]

    canonical = tree.xpath("//link[@rel='canonical']/@href")
    assert canonical == ([page.canonical] if page.canonical else [])
    refresh = [content.partition("url=")[2] for content in tree.xpath("//meta[@http-equiv='refresh']/@content")]
    assert [canonicalize(target, url) for target in refresh if target] == (
        [page.refresh.target] if page.refresh else []
    )
    said = " ".join(tree.xpath("//meta[@name='robots']/@content")) + dict(page.headers).get("X-Robots-Tag", "")
    assert ("noindex" in said, "nofollow" in said) == (page.noindex, page.nofollow)


def test_redirects_point_where_they_are_declared_to() -> None:
    redirects = {url: page.redirect for url, page in SITE.pages.items() if page.redirect}
    assert {SITE.pages[url].status for url in redirects} == {301, 302, 303, 307, 308}
    assert {url: canonicalize(link.href, url) for url, link in redirects.items()} == {
        url: link.target for url, link in redirects.items()
    }
    shop = "http://127.10.3.1:8123"
    chain = [f"{shop}/sale"]
    while SITE.pages[chain[-1]].redirect:
        chain.append(SITE.pages[chain[-1]].redirect.target)  # type: ignore[union-attr, arg-type]
    assert len(chain) == 4
    assert redirects[f"{shop}/loop/self"].target == f"{shop}/loop/self"


def test_every_kind_of_trouble_is_there() -> None:
    statuses = {page.status for page in SITE.pages.values()}
    assert {200, 400, 401, 403, 404, 410, 500, 503} <= statuses
    assert any(page.recovered for page in SITE.pages.values())
    bodies = Counter(page.body for page in SITE.pages.values() if page.status == 200)
    assert sum(count > 1 for count in bodies.values()) >= 10
    charsets = {page.charset for page in SITE.pages.values()}
    assert {"utf-8", "iso-8859-1", "windows-1251", "shift_jis", "utf-16-le", "windows-1252"} <= charsets
    types = {(page.content_type or "").partition(";")[0] for page in SITE.pages.values()}
    assert {"text/html", "text/plain", "text/csv", "application/json", "application/pdf", "application/zip",
            "image/png", "application/xhtml+xml", "application/rss+xml", ""} <= types  # fmt: skip
    assert any(len(page.body) > 1 << 20 for page in SITE.pages.values())
    assert any(page.status == 200 and page.title and not page.links for page in SITE.pages.values())
    linked = {link.target for page in SITE.pages.values() for link in references(page)}
    assert "http://127.10.5.1:8123/orphan" in SITE.pages.keys() - linked


# -- the server


def test_every_declared_page_answers_as_declared(server: DemoServer) -> None:
    server.reset()
    site = server.site
    connections = {address: http.client.HTTPConnection(address, site.port, timeout=10) for address in site.hosts}
    try:
        for url, page in site.pages.items():
            host = site.host(url)
            if not host.listening:
                continue
            connection = connections[host.address]
            connection.request("GET", "/" + url.split("/", 3)[3], headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            body = response.read()
            assert response.status == page.status, url
            assert response.getheader("Content-Type") == page.content_type
            assert response.getheader("Location") == (page.redirect.href if page.redirect else None)
            assert response.getheader("ETag") == page.etag
            assert response.getheader("Last-Modified") == page.last_modified
            assert response.getheader("Content-Encoding") == ("gzip" if page.compressed else None)
            assert response.getheader("Transfer-Encoding") == ("chunked" if page.chunked else None)
            assert set(page.headers) <= set(response.getheaders())
            assert (gzip.decompress(body) if page.compressed else body) == page.body
    finally:
        for connection in connections.values():
            connection.close()
    served = [f"http://{request.host}:{site.port}{request.path}" for request in server.requests]
    assert served == [url for url in site.pages if site.host(url).listening]
    times = [request.time for request in server.requests]
    assert times == sorted(times)


def test_robots_txt_answers_as_declared(server: DemoServer) -> None:
    seen = []
    for host in server.site.hosts.values():
        if host.listening:
            response, body = ask(server, f"http://{host.address}:{server.site.port}/robots.txt")
            assert (response.status, body) == (host.robots.status, host.robots.body)
            seen.append(response.status)
    assert sorted(seen) == [200, 200, 200, 200, 200, 404, 503]


def test_a_host_that_refuses_connections(server: DemoServer) -> None:
    refusing = [host.address for host in server.site.hosts.values() if not host.listening]
    assert refusing
    for address in refusing:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, server.site.port), timeout=10)


def test_conditional_requests_are_answered_304(server: DemoServer) -> None:
    url, page = next((url, page) for url, page in server.site.pages.items() if page.etag and page.last_modified)
    assert page.etag is not None
    assert page.last_modified is not None
    for headers, status in (
        ({"If_None_Match": page.etag}, 304), ({"If_None_Match": f'"x", W/{page.etag}'}, 304), ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"x"'}, 200), ({"If_Modified_Since": page.last_modified}, 304),
        ({"If_Modified_Since": "Mon, 01 Jan 2001 00:00:00 GMT"}, 200),
        ({"If_None_Match": '"x"', "If_Modified_Since": page.last_modified}, 200),
    ):  # fmt: skip
        response, body = ask(server, url, **headers)
        assert (response.status, body) == (status, b"" if status == 304 else page.body)
        assert response.getheader("ETag") == page.etag


def test_a_page_without_gzip_for_clients_that_do_not_ask(server: DemoServer) -> None:
    url, page = next((url, page) for url, page in server.site.pages.items() if page.compressed)
    response, body = ask(server, url, Accept_Encoding="identity")
    assert (response.getheader("Content-Encoding"), body) == (None, page.body)


def test_a_page_that_recovers(server: DemoServer) -> None:
    server.reset()
    url = next(url for url, page in server.site.pages.items() if page.recovered)
    assert [ask(server, url)[0].status for _ in range(3)] == [503, 200, 200]
    server.reset()
    assert server.requests == []
    assert ask(server, url)[0].status == 503


def test_methods_and_unknown_paths(server: DemoServer) -> None:
    url = server.site.seed_list[0].url
    response, body = ask(server, url, "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.getheader("Content-Length") or 0) == len(server.site.pages[url].body)
    assert ask(server, url, "DELETE")[0].status == 405
    assert ask(server, url + "nowhere")[0].status == 404


def converse(server: DemoServer, data: bytes) -> bytes:
    """What the first host answers to these bytes until it closes the connection."""
    host = next(iter(server.site.hosts))
    with socket.create_connection((host, server.site.port), timeout=10) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    return received


def test_bodies_are_skipped_and_requests_answered_in_order(server: DemoServer) -> None:
    answer = converse(
        server,
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET /zzz\n"
        b"GET /special/about HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"405", b"200", b"404"]


@pytest.mark.parametrize(
    "data", [b"hello\r\n\r\n", b"GET http://a/ HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
             b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused(server: DemoServer, data: bytes) -> None:
    assert converse(server, data).startswith(b"HTTP/1.1 400 ")


def test_http_1_0_closes(server: DemoServer) -> None:
    assert converse(server, b"GET /robots.txt HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def small_site(port: int) -> Site:
    """Three hosts: a chain of pages, one that fails for ever, one without connections."""
    a, b, c = (f"http://127.11.{number}.1:{port}" for number in (1, 2, 3))

    def page(*links: Link, body: bytes = b"<p>page", **more: object) -> Resource:
        return Resource(body=body, links=links, **more)  # type: ignore[arg-type]

    return Site(
        port,
        {"127.11.1.1": Host("127.11.1.1", "a"), "127.11.2.1": Host("127.11.2.1", "b", Resource(503)),
         "127.11.3.1": Host("127.11.3.1", "c", listening=False)},
        {
            f"{a}/": page(Link("1", f"{a}/1"), Link("no", f"{a}/no", rel="nofollow"), Link("x.png", f"{a}/x.png", filtered=True),
                          Link("moved", f"{a}/moved"), Link("down", f"{a}/down"), Link(b, f"{b}/"), Link(c, f"{c}/"),
                          Link("tel:1", None), Link("secret", f"{a}/secret"), body=b"<p>start"),
            f"{a}/1": page(Link("2", f"{a}/2"), body=b"<p>one"),
            f"{a}/2": page(Link("/", f"{a}/"), Link("moved", f"{a}/moved")),
            f"{a}/moved": Resource(302, redirect=Link("late", f"{a}/late")),
            f"{a}/late": page(Link("quiet", f"{a}/quiet")),
            f"{a}/quiet": page(Link("no", f"{a}/no"), nofollow=True, refresh=Link("late", f"{a}/late")),
            f"{a}/down": Resource(500),
            f"{a}/no": page(),
            f"{a}/secret": page(denied=True),
            f"{b}/": page(),
            f"{c}/": page(),
        },
        (Seed(f"{a}/", f"{a}/", {}),),
    )  # fmt: skip


def ended(connection: socket.socket) -> bool:
    """True if the other side closed the connection without another byte."""
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_it_stops_at_once_and_leaves_nothing_behind() -> None:
    before = threading.active_count()
    server = DemoServer(small_site)
    with server:
        # One connection is idle, one waits in the middle of a request.
        idle = socket.create_connection(("127.11.1.1", server.site.port), timeout=10)
        half = socket.create_connection(("127.11.1.1", server.site.port), timeout=10)
        half.sendall(b"GET / HT")
        assert ask(server, f"http://127.11.1.1:{server.site.port}/")[0].status == 200
    assert threading.active_count() == before
    for connection in (idle, half):
        assert ended(connection)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.11.1.1", server.site.port), timeout=10)
    server.close()
    with DemoServer(server.site) as again:
        assert again.site is server.site
        assert ask(again, f"http://127.11.1.1:{again.site.port}/1")[0].status == 200


def test_closing_while_an_answer_is_held_back() -> None:
    def slow(port: int) -> Site:
        return Site(port, {"127.11.4.1": Host("127.11.4.1", "slow")},
                    {f"http://127.11.4.1:{port}/": Resource(body=b"x", delay=60.0)}, ())  # fmt: skip

    with DemoServer(slow) as server:
        connection = socket.create_connection(("127.11.4.1", server.site.port), timeout=10)
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not server.requests:
            pass
    assert ended(connection)


def test_a_slow_page_is_held_back_and_keeps_its_place() -> None:
    def slow(port: int) -> Site:
        origin = f"http://127.11.4.1:{port}"
        return Site(port, {"127.11.4.1": Host("127.11.4.1", "slow")},
                    {f"{origin}/slow": Resource(body=b"late", delay=0.1), f"{origin}/fast": Resource(body=b"soon")}, ())  # fmt: skip

    with (
        DemoServer(slow) as server,
        socket.create_connection(("127.11.4.1", server.site.port), timeout=10) as connection,
    ):
        connection.sendall(b"GET /slow HTTP/1.1\r\n\r\nGET /fast HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    assert received.index(b"late") < received.index(b"soon")
    slow_one, fast_one = server.requests
    assert fast_one.time - slow_one.time >= 0.1


def test_a_port_that_is_taken() -> None:
    with DemoServer(small_site) as server:
        with pytest.raises(CobnutError, match=f"cannot listen on 127.11.1.1:{server.site.port}: "):
            DemoServer(small_site, server.site.port)
        with pytest.raises(CobnutError, match="cannot listen on "):
            DemoServer(server.site)


def test_an_address_that_this_machine_does_not_have() -> None:
    elsewhere = Site(PORT, {"192.0.2.1": Host("192.0.2.1", "elsewhere")}, {}, ())
    with pytest.raises(CobnutError) as raised:
        DemoServer(elsewhere)
    assert "192.0.2.1:8123" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_foreground_server() -> None:
    process = subprocess.Popen([sys.executable, "-m", "jobs.demo"], cwd=REPOSITORY, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        assert " pages on 8 hosts, port " in process.stderr.readline()
        url = first.split("\t")[0]
        port = urlsplit(url).port
        assert port is not None
        connection = http.client.HTTPConnection("127.10.1.1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        second = subprocess.run([sys.executable, "-m", "jobs.demo", "--port", str(port)], cwd=REPOSITORY, text=True,
                                capture_output=True, check=False)  # fmt: skip
        assert second.returncode == 1
        assert "cannot listen on 127.10.1.1" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert [first.strip(), *process.stdout.read().splitlines()] == demo_site(port).seeds()


# -- the truth


def signature(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def test_the_truth_of_a_small_site_by_hand() -> None:
    site = small_site(1)
    a, b, c = ("http://127.11.1.1:1", "http://127.11.2.1:1", "http://127.11.3.1:1")
    rows = truth(site, 4)
    brief = {url: (row.status.name, row.http_status, row.reason, row.depth, row.retries, row.attempted_in, row.requests)
             for url, row in rows.items()}  # fmt: skip
    assert brief == {
        f"{a}/": ("fetched", 200, None, 0, 0, (1,), 1),
        f"{a}/1": ("fetched", 200, None, 1, 0, (2,), 1),
        f"{a}/2": ("fetched", 200, None, 2, 0, (3,), 1),
        f"{a}/moved": ("redir_temp", 302, "http_302", 1, 0, (2,), 1),
        f"{a}/late": ("fetched", 200, None, 1, 0, (3,), 1),
        f"{a}/quiet": ("fetched", 200, None, 2, 0, (4,), 1),
        f"{a}/down": ("unfetched", 500, "http_500", 1, 1, (2,), 1),
        f"{a}/secret": ("gone", None, "robots_denied", 1, 0, (2,), 0),
        f"{b}/": ("unfetched", None, "robots_unavailable", 1, 0, (2,), 0),
        f"{c}/": ("unfetched", None, "robots_unavailable", 1, 0, (2,), 0),
    }
    assert rows[f"{a}/moved"].redirect_to == rows[f"{a}/quiet"].redirect_to == f"{a}/late"
    assert rows[f"{a}/late"].discovered_from == {f"{a}/moved"}
    assert (rows[f"{a}/late"].discovered_in, rows[f"{a}/"].discovered_in) == (2, 0)
    assert rows[f"{a}/"].discovered_from == frozenset()
    assert rows[f"{a}/1"].signature == signature(b"<p>one")


def test_the_truth_with_other_settings() -> None:
    site = small_site(1)
    a, b, c = ("http://127.11.1.1:1", "http://127.11.2.1:1", "http://127.11.3.1:1")
    patient = truth(site, 4, retry_at_once=True)
    assert (patient[f"{a}/down"].status, patient[f"{a}/down"].attempted_in) == (Status.gone, (2, 3, 4))
    for silent in (b, c):
        assert (patient[f"{silent}/"].retries, patient[f"{silent}/"].attempted_in) == (0, (2, 3, 4))
    assert truth(site, 3, max_retries=1)[f"{a}/down"].status is Status.gone
    assert truth(site, 3, scope="host").keys() == {url for url in truth(site, 3) if url.startswith(a)}
    assert truth(site, 5, max_depth=1).keys() == {url for url, row in truth(site, 5).items() if row.depth <= 1}
    assert truth(site, 3, nofollow=False).keys() - truth(site, 3).keys() == {f"{a}/no"}
    assert truth(site, 1, max_bytes=4)[f"{a}/"].signature == signature(b"<p>s")


def test_a_page_that_recovers_does_so_in_the_truth() -> None:
    url = next(url for url, page in SITE.pages.items() if page.recovered)
    assert (truth(SITE, 5)[url].status, truth(SITE, 5)[url].retries) == (Status.unfetched, 1)
    row = truth(SITE, 5, retry_at_once=True)[url]
    assert (row.status, row.retries, row.requests) == (Status.fetched, 0, 2)


def test_the_truth_of_the_demo_site() -> None:
    rows = truth(SITE, 20)
    assert {row.status for row in rows.values()} == {
        Status.unfetched, Status.fetched, Status.gone, Status.redir_temp, Status.redir_perm}  # fmt: skip
    assert {"robots_denied", "robots_unavailable", "http_404", "http_410", "http_500", "http_503"} <= {
        row.reason for row in rows.values()}  # fmt: skip
    assert max(row.depth for row in rows.values()) >= 6
    assert SITE.pages.keys() - rows.keys() == {  # hidden by nofollow, by an error, or by not being linked
        url for url in SITE.pages if url.endswith(("/1999/", "/orphan", "/hidden", "/trap", "/sale/teapot", "/terms/secret",
                                                   "/behind-quiet")) or "/cart?" in url or "/spam/" in url}  # fmt: skip
    for row in rows.values():
        assert all(rows[source].attempted_in[0] == row.discovered_in for source in row.discovered_from)
        assert bool(row.discovered_from) == bool(row.discovered_in)


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=5), min_size=1), st.integers(0, 15))
@settings(max_examples=200, deadline=None)
def test_without_redirects_depth_and_round_are_the_distance(graph: dict[int, list[int]], rounds: int) -> None:
    origin = "http://127.11.1.1:1"
    pages = {f"{origin}/{node}": Resource(links=tuple(Link("", f"{origin}/{to}") for to in graph.get(node, ())))
             for node in range(13)}  # fmt: skip
    seed = f"{origin}/{next(iter(graph))}"
    rows = truth(Site(1, {"127.11.1.1": Host("127.11.1.1", "g")}, pages, (Seed(seed, seed, {}),)), rounds)
    distance = {seed: 0}
    for level in range(rounds):
        for url in [url for url, steps in distance.items() if steps == level]:
            for link in pages[url].links:
                distance.setdefault(link.target or "", level + 1)
    assert {url: row.depth for url, row in rows.items()} == distance
    assert {url: row.discovered_in for url, row in rows.items()} == distance
    assert all((row.status is Status.fetched) == (row.depth < rounds) for row in rows.values())


@given(st.integers(0, 8))
@settings(max_examples=9, deadline=None)
def test_another_round_only_adds(rounds: int) -> None:
    before, after = truth(SITE, rounds), truth(SITE, rounds + 1)
    for url, row in before.items():
        if row.attempted_in:
            assert (after[url].status, after[url].attempted_in, after[url].signature) == (
                row.status, row.attempted_in, row.signature)  # fmt: skip
        assert after[url].depth <= row.depth
        assert (after[url].discovered_in, after[url].discovered_from) == (row.discovered_in, row.discovered_from)
