"""The same rows from every engine, whatever a server answers; HTTP/2; what secrets are sent where."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest

from crawldb.schema import FetchOutcome
from jobs.fetching import ENGINES, FetchResult

if __import__("sys").version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]
PAGE = b"<html><title>A page</title>" + b"text " * 3000 + b"</html>"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TIMES = ("fetched_at", "elapsed", "dns_time", "connect_time", "tls_time", "first_byte_time")


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.fixture
def trusted(certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.certs.where", lambda: str(certificates["certificate"]))


def row(result: FetchResult, *without: str) -> dict[str, Any]:
    """All that two engines must agree about."""
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {name: value for name, value in fields.items() if name not in (*TIMES, *without)}


def run_all(tools: Any, asked: list[Any], settings: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What each engine makes of the same list: by engine, rows by URL."""
    rows: dict[str, Any] = {}
    for name, engine in ENGINES.items():
        results: list[FetchResult] = []
        engine([tools.request(item) if isinstance(item, str) else item for item in asked], settings, results.append,
               threading.Event(), ())  # fmt: skip
        rows[name] = {result.request.url: row(result, *without) for result in results}
        assert len(rows[name]) == len(asked)
    return rows


# Identical rows

SITE = {
    "/plain": OK + b"Content-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    "/fields": OK + b"X-A: 1\r\nx-a: 2\r\nX-Empty:\r\nX-Fold: a\r\n b\r\nX-Latin: caf\xe9\r\nX-Utf8: caf\xc3\xa9\r\n"
    b"Content-Length: 2\r\n\r\nhi",
    "/empty": OK + b"Content-Length: 0\r\n\r\n",
    "/gzip": OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(PAGE),
    "/br": OK + b"Content-Encoding: br\r\nConnection: close\r\n\r\n" + brotli.compress(PAGE),
    "/zstd": OK + b"Content-Encoding: zstd\r\nConnection: close\r\n\r\n" + zstd.compress(PAGE),
    "/stacked": OK + b"Content-Encoding: gzip\r\nContent-Encoding: br\r\nConnection: close\r\n\r\n"
    + brotli.compress(gzip.compress(PAGE)),
    "/chunked": OK + CHUNKED + b"\r\n" + chunked(b"hel", b"lo"),
    "/chunked/br": OK + CHUNKED + b"Content-Encoding: br\r\n\r\n" + chunked(*[brotli.compress(PAGE)[:9],
                                                                             brotli.compress(PAGE)[9:]]),
    "/unknown-coding": OK + b"Content-Encoding: sdch\r\nConnection: close\r\n\r\nhello",
    "/301": b"HTTP/1.1 301 Moved\r\nLocation: /plain\r\nContent-Length: 4\r\n\r\nmove",
    "/302": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.9.2/\r\nContent-Length: 0\r\n\r\n",
    "/307": b"HTTP/1.1 307 X\r\nContent-Length: 0\r\n\r\n",
    "/404": b"HTTP/1.1 404 X\r\nContent-Length: 5\r\n\r\nhello",
    "/410": b"HTTP/1.1 410 X\r\nContent-Length: 5\r\n\r\nhello",
    "/304": b'HTTP/1.1 304 X\r\nETag: "new"\r\nLast-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\n\r\n',
    "/429": b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n",
    "/500": b"HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\nhello",
    "/204": b"HTTP/1.1 204 X\r\n\r\n",
    "/206": b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nhello",
    "/long": OK + b"Connection: close\r\n\r\n" + b"x" * 100_000,
    "/long/length": OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000,
    "/long/gzip": OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"x" * 100_000),
    "/http10": b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\nhello",
    "/close": OK + b"Connection: close\r\n\r\nhello",
    "/unreadable": OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\nhello",
    "/cut": OK + CHUNKED + b"Connection: close\r\n\r\n9\r\nhel",
    "/cut/length": OK + b"Connection: close\r\nContent-Length: 9\r\n\r\nhel",
    "/cut/head": OK + b"X: y\r\nConnection: close\r\nX: y",
    "/103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
    "/two-lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "/no-colon": OK + b"nonsense\r\nContent-Length: 5\r\n\r\nhello",
    "/no-status": b"hello, this is no HTTP\r\nConnection: close\r\n\r\n",
}  # fmt: skip
OWN_WORDS = {"/cut", "/cut/length", "/cut/head", "/two-lengths", "/no-status"}
"""Where `detail` is what the engine's library calls it."""


def test_every_engine_makes_the_same_rows(server: Any, tools: Any) -> None:
    for path, written in SITE.items():
        server.on(path, tools.says(written))
    asked = [server.url(path) for path in SITE]
    settings = tools.polite(max_bytes=50_000, max_failures_per_host=0, backoff=1.0)
    rows = run_all(tools, asked, settings)
    for path in SITE:
        mine = {name: made[server.url(path)] for name, made in rows.items()}
        if path in OWN_WORDS:
            assert all(one.pop("detail") for one in mine.values())
        assert mine["curl"] == mine["requests"], path
        assert mine["browser"] == mine["curl"], path
    made = {path: rows["curl"][server.url(path)] for path in SITE}
    for path in ("/gzip", "/br", "/zstd", "/stacked", "/chunked/br"):
        assert (made[path]["content"], made[path]["truncated"]) == (PAGE, None), path
    assert made["/304"]["etag"] == '"new"'
    assert made["/fields"]["response_headers"][:6] == [
        ("X-A", "1"), ("x-a", "2"), ("X-Empty", ""), ("X-Fold", "a b"), ("X-Latin", "caf\u00e9"), ("X-Utf8", "caf\u00e9")
    ]  # fmt: skip
    assert made["/http10"]["protocol"] == "http/1.0"
    assert {made[path]["truncated"] for path in ("/long", "/long/length", "/long/gzip")} == {"bytes"}


@pytest.mark.usefixtures("trusted")
def test_the_same_rows_over_tls(tls_server: Any, tools: Any) -> None:
    for path, written in SITE.items():
        tls_server.on(path, tools.says(written))
    asked = [tls_server.url(path) for path in SITE]
    rows = run_all(tools, asked, tools.polite(max_bytes=50_000, max_failures_per_host=0, backoff=1.0))
    for url in asked:
        mine = {name: {**made[url], "detail": bool(made[url]["detail"])} for name, made in rows.items()}
        assert mine["curl"] == mine["requests"], url
        assert mine["browser"] == mine["curl"], url
        assert mine["curl"]["tls"] == (None if mine["curl"]["http_status"] is None else "verified")


def test_what_codings_are_asked_for(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    crawl(server.url("/"))
    for arrival in server.arrivals:
        words = {word.partition(";")[0].strip() for word in arrival.headers["Accept-Encoding"].split(",")}
        assert {"gzip", "deflate", "br", "zstd"} <= words


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("verify", [True, False, None], ids=["verified", "unverified", "http"])
def test_the_verdict_on_tls(
    crawl: Crawl, request: pytest.FixtureRequest, tools: Any, monkeypatch: pytest.MonkeyPatch, verify: bool | None
) -> None:
    served = request.getfixturevalue("server" if verify is None else "tls_server")
    served.on("/", tools.answer(200, b"x"))
    if verify is False:
        monkeypatch.undo()  # nobody vouches for it
    result = crawl(served.url("/"), tools.polite(verify_tls=verify is not False)).only
    assert result.content == b"x"
    assert result.tls == {True: "verified", False: "unverified", None: None}[verify]


# Times


@pytest.mark.usefixtures("trusted")
def test_where_the_time_goes(
    crawl: Crawl, server: Any, tls_server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name takes 0.1 s to look up, and the server 0.2 s to think; the second request finds the connection there."""

    def slow(host: str, *_: Any, **options: Any) -> Any:
        time.sleep(0.1)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.9.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    server.on("/", tools.after(0.2, tools.says(tools.answer(200, b"x"))))
    server.url("/")
    url = f"http://slow.example:{server.port}/"
    first, second = crawl([url, f"{url}?n=2"], known=tools.no_robots(url)).results
    assert (first.content, second.content, first.ip_address) == (b"x", b"x", "127.0.9.1")
    assert 95 <= first.dns_time < 5000
    assert 0 <= first.connect_time < 5000
    assert (second.dns_time, second.connect_time) == (None, None)
    for result in (first, second):
        assert 195 <= result.first_byte_time <= result.elapsed < 10_000
        assert (result.tls_time, result.protocol) == (None, "http/1.1")


@pytest.mark.usefixtures("trusted")
def test_where_the_time_goes_over_tls(crawl: Crawl, tls_server: Any, tools: Any) -> None:
    tls_server.on("/", tools.answer(200, b"x"))
    url = tls_server.url("/")
    first, second = crawl([url, f"{url}?n=2"], known=tools.no_robots(url)).results
    assert 0 <= first.connect_time <= first.elapsed
    assert 0 <= first.tls_time <= first.elapsed
    assert (second.connect_time, second.tls_time) == (None, None)
    assert 0 <= first.first_byte_time <= first.elapsed


# HTTP/2


class Http2Server:
    """hypercorn, a real server of HTTP/2 over TLS, in a thread."""

    def __init__(self, certificates: dict[str, Path]) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        self.seen: list[tuple[str, str, tuple[str, int], dict[str, str], bytes]] = []
        """HTTP version, method, the client's address, header fields, body."""
        listener = socket.create_server(("127.0.9.1", 0))
        self.port = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.certfile, config.keyfile = str(certificates["certificate"]), str(certificates["key"])
        config.graceful_timeout, config.errorlog = 0.1, None
        config.include_date_header = config.include_server_header = False  # another for each version of HTTP
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        started = threading.Event()

        def run() -> None:
            async def main() -> None:
                started.set()
                await serve(self._app, config, shutdown_trigger=self._end.wait)  # type: ignore[arg-type]

            self._loop.run_until_complete(main())

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        started.wait(10)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if path != "/robots.txt":
            self.seen.append((scope["http_version"], scope["method"], scope["client"], headers, body))
        status, content = (404, b"none") if path in ("/robots.txt", "/gone") else (200, PAGE)
        fields = [(b"content-type", b"text/html"), (b"x-twice", b"1"), (b"x-twice", b"2"), (b"etag", b'"e"'),
                  (b"date", b"now"), (b"server", b"test")]  # fmt: skip
        if path == "/br":
            content = brotli.compress(PAGE)
            fields.append((b"content-encoding", b"br"))
        fields.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content if scope["method"] != "HEAD" else b""})

    def url(self, path: str) -> str:
        return f"https://127.0.9.1:{self.port}{path}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def http2(certificates: dict[str, Path], trusted: None) -> Iterator[Http2Server]:
    served = Http2Server(certificates)
    yield served
    served.close()


PATHS = ["/", "/br", "/gone", "/more"]


@pytest.mark.parametrize("version", ["2", "1.1"])
def test_http2_where_the_server_offers_it(crawl: Crawl, http2: Http2Server, tools: Any, version: str) -> None:
    expected = "h2" if version == "2" and crawl.engine != "requests" else "http/1.1"  # type: ignore[attr-defined]
    asked = [*(http2.url(path) for path in PATHS), tools.request(http2.url("/form"), method="POST", body=b"a=\x00")]
    run = crawl(asked, tools.polite(http_version=version))
    assert [run.by_url[http2.url(path)].content for path in PATHS] == [PAGE, PAGE, None, PAGE]
    assert run.by_url[http2.url("/gone")].reason == "http_404"
    assert {result.protocol for result in run.results} == {expected}
    assert {result.tls for result in run.results} == {"verified"}
    assert len({client for _, _, client, _, _ in http2.seen}) == 1, "one connection for all"
    assert {seen for seen, *_ in http2.seen} == {"2" if expected == "h2" else "1.1"}
    assert [(method, body) for _, method, _, _, body in http2.seen] == [("GET", b"")] * 4 + [("POST", b"a=\x00")]
    for _, _, _, headers, _ in http2.seen:
        assert headers["user-agent"] == "testbot"
        assert "br" in headers["accept-encoding"]


def test_http2_makes_the_same_rows(http2: Http2Server, tools: Any) -> None:
    asked: list[Any] = [http2.url(path) for path in PATHS]
    asked.append(tools.request(http2.url("/head"), method="HEAD"))
    rows = run_all(tools, asked, tools.polite(), without=("protocol",))
    assert rows["curl"] == rows["requests"]
    assert rows["browser"] == rows["curl"]
    twice = [value for name, value in rows["curl"][http2.url("/")]["response_headers"] if name == "x-twice"]
    assert twice == ["1", "2"]


def test_many_requests_on_one_http2_connection(crawl: Crawl, http2: Http2Server, tools: Any) -> None:
    urls = [f"{http2.url('/')}?n={number}" for number in range(60)]
    run = crawl(urls, tools.polite(threads_per_host=8))
    assert {result.content for result in run.results} == {PAGE}
    if crawl.engine != "requests":  # type: ignore[attr-defined]
        assert len({client for _, _, client, _, _ in http2.seen}) == 1


# What is not wanted


def endless(tools: Any, *fields: str) -> tuple[Any, list[int]]:
    """A reaction that writes until the client has gone, and how much it wrote."""
    written = [0]

    async def react(exchange: Any) -> None:
        await exchange.write("\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode())
        while not exchange.writer.is_closing() and written[0] < 1 << 28:
            await exchange.write(b"x" * 65536)
            written[0] += 65536

    return react, written


@pytest.mark.parametrize(
    ("settings", "fields", "reason"),
    [
        ({"content_types": ["text/*"]}, ["Content-Type: video/mp4"], "content_type"),
        ({"content_types": ["text/html", "application/pdf"]}, ["Content-Type: Text/Plain; charset=x"], "content_type"),
        ({"skip_extensions": [".iso"]}, ["Content-Disposition: attachment; filename=\"a.ISO\""], "extension"),
        ({"skip_extensions": [".iso"]}, ["Content-Disposition: attachment; filename*=UTF-8''a.iso"], "extension"),
    ],
)  # fmt: skip
def test_a_body_that_is_not_wanted_ends_after_the_header(
    crawl: Crawl, server: Any, tools: Any, settings: dict[str, Any], fields: list[str], reason: str
) -> None:
    react, written = endless(tools, *fields)
    server.on("/", react)
    server.on("/after", tools.answer(200, b"fine", "Content-Type: text/html"))
    run = crawl([server.url("/"), server.url("/after")], tools.polite(**settings))
    result = run.by_url[server.url("/")]
    assert (result.outcome, result.reason, result.http_status, result.content) == (O.gone, reason, 200, None)
    assert result.response_headers
    assert run.by_url[server.url("/after")].content == b"fine"
    assert written[0] < 32 << 20, "what buffers on the way hold, and no more"


def test_what_is_wanted_comes(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/a", tools.answer(200, b"a", "Content-Type: TEXT/html;charset=utf-8"))
    server.on("/b", tools.answer(200, b"b"))
    server.on("/c.iso", tools.answer(200, b"c"))
    server.on("/d", tools.answer(200, b"d", "Content-Disposition: inline; filename=d.html"))
    paths = ["/a", "/b", "/c.iso?x=.html", "/d?x=.iso"]
    run = crawl([server.url(path) for path in paths], tools.polite(content_types=["text/*"], skip_extensions=[".iso"]))
    results = [run.by_url[server.url(path)] for path in paths]
    assert [result.reason for result in results] == [None, None, "extension", None]
    assert server.asked("/c.iso?x=.html") == []


# Cookies


def test_cookies_are_off_by_default(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x", "Set-Cookie: a=1"))
    crawl([server.url("/"), f"{server.url('/')}?n=2"])
    assert not any("Cookie" in arrival.headers for arrival in server.arrivals)


def test_cookies_of_a_host_go_back_to_it_alone(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x", "Set-Cookie: a=1", "Set-Cookie: s=2; Secure", "Set-Cookie: p=3; Path=/p"))
    urls = [f"{server.url(path, host)}?n={n}" for n, path in enumerate(["/", "/", "/p"]) for host in ("127.0.9.1",)]
    server.on("/", tools.answer(200, b"x"), host="127.0.9.2")
    urls += [f"{server.url('/', '127.0.9.2')}?n={n}" for n in range(2)]
    crawl(urls, tools.polite(cookies=True))
    sent = [(arrival.host, arrival.headers.get("Cookie")) for arrival in server.asked()]
    assert [cookie for host, cookie in sent if host == "127.0.9.1"] == [None, "a=1", "p=3; a=1"]
    assert [cookie for host, cookie in sent if host == "127.0.9.2"] == [None, None]


@pytest.mark.usefixtures("trusted")
def test_secure_cookies_do_not_go_over_http(crawl: Crawl, server: Any, tls_server: Any, tools: Any) -> None:
    tls_server.on("/", tools.answer(200, b"x", "Set-Cookie: s=1; Secure", "Set-Cookie: a=2"))
    server.on("/", tools.answer(200, b"x"))
    crawl([tls_server.url("/"), server.url("/"), f"{tls_server.url('/')}?n=2"], tools.polite(cookies=True))
    assert server.asked("/")[0].headers["Cookie"] == "a=2"
    assert tls_server.asked("/?n=2")[0].headers["Cookie"] == "s=1; a=2"


# Credentials

SECRET = "c0bnut-s3cret"


@pytest.fixture
def credentials(tmp_path: Path) -> Callable[..., str]:
    def write(origin: str) -> str:
        file = tmp_path / "credentials.toml"
        file.write_text(f'["{origin}"]\nbasic = "me:{SECRET}"\nheaders = {{ X-Api-Key = "{SECRET}" }}\n')
        file.chmod(0o600)
        return str(file)

    return write


@pytest.mark.usefixtures("trusted")
def test_credentials_go_to_their_origin_alone(
    crawl: Crawl, server: Any, tls_server: Any, tools: Any, credentials: Callable[..., str]
) -> None:
    """Not to another port, host or scheme; robots.txt of the origin is asked for with them too."""
    other = type(server)()
    try:
        for one in (server, tls_server, other):
            one.on("/", tools.answer(200, b"x"))
        urls = [tls_server.url("/"), server.url("/"), other.url("/"), server.url("/", "127.0.9.2")]
        run = crawl(urls, tools.polite(credentials_file=credentials(tls_server.url(""))))
        assert {result.content for result in run.results} == {b"x"}
        [arrival] = tls_server.asked("/")
        assert arrival.headers["Authorization"].startswith("Basic ")
        assert arrival.headers["X-Api-Key"] == SECRET
        for arrival in server.arrivals + other.arrivals:
            assert not {"Authorization", "X-Api-Key"} & set(arrival.headers)
    finally:
        other.close()
    assert SECRET not in repr(run)
    assert arrival.headers["User-Agent"] == "testbot"


def test_credentials_do_not_follow_a_redirect_elsewhere(
    crawl: Crawl, server: Any, tools: Any, credentials: Callable[..., str]
) -> None:
    """fetch.redirects follows within the host, which may have another port."""
    other = type(server)()
    try:
        other.on("/there", tools.answer(200, b"there"))
        server.on("/a", tools.answer(302, b"", f"Location: {other.url('/there')}"))
        server.on("/b", tools.answer(302, b"", "Location: /c"))
        server.on("/c", tools.answer(200, b"c"))
        settings = tools.polite(credentials_file=credentials(server.url("")), redirects=2)
        run = crawl([server.url("/a"), server.url("/b")], settings)
        assert run.by_url[other.url("/there")].content == b"there"
        assert "Authorization" not in other.asked("/there")[0].headers
        assert server.asked("/c")[0].headers["X-Api-Key"] == SECRET
    finally:
        other.close()


@pytest.mark.parametrize("engine", ["requests", "curl"])
def test_nothing_below_the_crawl_directory_holds_a_secret(
    server: Any, tools: Any, credentials: Callable[..., str], tmp_path: Path, engine: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A whole round, also where the server sends a page that fails and one that wants more."""
    from jobs.crawl import main

    server.on("/", tools.answer(200, b"<a href=/b>b</a>", "Content-Type: text/html"))
    server.on("/b", tools.answer(401, b"", 'WWW-Authenticate: Basic realm="x"'))
    seeds = tmp_path / "seeds.txt"
    seeds.write_text(server.url("/") + "\n")
    settings = {"http.agent_name": "testbot", "fetch.delay": "0", "fetch.allow_private_addresses": "true",
                "fetch.engine": engine, "fetch.credentials_file": credentials(server.url(""))}  # fmt: skip
    arguments = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    crawl_dir = tmp_path / "crawl"
    main([*arguments, "-s", str(seeds), str(crawl_dir), "2"])
    assert server.asked("/b")[0].headers["X-Api-Key"] == SECRET
    encoded = server.asked("/b")[0].headers["Authorization"].partition(" ")[2].encode()
    files = [Path(folder) / name for folder, _, names in os.walk(crawl_dir) for name in names]
    assert len(files) > 5
    for file in files:
        data = file.read_bytes()
        assert SECRET.encode() not in data, file
        assert encoded not in data, file
    output = capfd.readouterr()
    assert SECRET not in output.out + output.err
