"""By which way every engine's requests leave, as servers and proxies see it: source addresses, proxies and secrets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.schema import FetchOutcome

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]
PROXY_HOST = "127.0.9.71"
SECRET = "pass%3Aword"  # in the file; it means:
PASSWORD = "pass:word"

_START = (
    # Python 3.14 makes no event loop by itself, and pproxy asks for one
    "import asyncio, sys; asyncio.set_event_loop(asyncio.new_event_loop()); "
    "from pproxy.server import main; main(sys.argv[1:])"
)


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


class Pproxy:
    """A real proxy in a process of its own: HTTP and SOCKS5 on one port, for user:pass:word alone.

    What it asks servers for comes from its own address.
    """

    def __init__(self, host: str, directory: Path, tls: dict[str, Path] | None = None) -> None:
        self.host = host
        self._log = directory / f"pproxy-{host}"
        options = ["--ssl", f"{tls['certificate']},{tls['key']}"] if tls else []
        for _ in range(5):  # somebody else may be faster to take the port
            self.port = free_port(host)
            listen = f"http+socks5{'+ssl' if tls else ''}://{host}:{self.port}/@in#user:{PASSWORD}"
            with self._log.open("wb") as log:
                command = [sys.executable, "-c", _START, "-l", listen, "--auth", "-1", "-v", *options]
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
            if self._accepts():
                return
            self.close()
        raise AssertionError(f"pproxy does not start: {self._log.read_text()[-2000:]}")

    def _accepts(self) -> bool:
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False

    def line(self, scheme: str, secret: str = SECRET) -> str:
        return f"{scheme}://user:{secret}@{self.host}:{self.port}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="module")
def pproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pproxy]:
    proxy = Pproxy(PROXY_HOST, tmp_path_factory.mktemp("pproxy"))
    yield proxy
    proxy.close()


class OddProxy:
    """Speaks as much SOCKS5 and HTTP as it takes to answer every CONNECT in the same way."""

    def __init__(self, socks: bytes | None, http: bytes | None) -> None:
        self.port = 0
        self.asked = 0
        self._socks, self._http = socks, http
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.9.72", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if await reader.readexactly(1) == b"\x05":
                await reader.readexactly((await reader.readexactly(1))[0])
                writer.write(b"\x05\x00")
                await reader.readexactly(4 + 4 + 2)
                answer = self._socks
            else:
                await reader.readuntil(b"\r\n\r\n")
                answer = self._http
            self.asked += 1
            if answer is None:
                await asyncio.sleep(60)
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def odd_proxy() -> Iterator[Callable[..., OddProxy]]:
    started: list[OddProxy] = []

    def start(socks: bytes | None = None, http: bytes | None = None) -> OddProxy:
        started.append(OddProxy(socks, http))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture
def through(tools: Any, tmp_path: Path) -> Callable[..., Any]:
    """Settings with these lines in the proxies file."""

    def make(*lines: str, pause: float = 0.05, **fetch: Any) -> Any:
        file = tmp_path / "proxies"
        file.write_text("\n".join(lines) + "\n")
        settings = tools.polite(**fetch)
        settings.egress.proxies_file, settings.egress.proxy_pause = str(file), pause
        return settings

    return make


@pytest.fixture
def peers(server: Any) -> dict[str, set[str]]:
    """By host: from where connections came to the server."""
    seen: dict[str, set[str]] = {}
    serve = server._serve

    async def noting(reader: Any, writer: Any) -> None:
        host = writer.get_extra_info("sockname")[0]
        seen.setdefault(host, set()).add(writer.get_extra_info("peername")[0])
        await serve(reader, writer)

    server._serve = noting
    return seen


@pytest.fixture
def trusted(certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requests.certs.where", lambda: str(certificates["certificate"]))


def hosts(count: int) -> list[str]:
    return [f"127.0.9.{number}" for number in range(1, count + 1)]


# Source addresses


def test_requests_leave_from_the_source_addresses_alone(
    crawl: Crawl, server: Any, tools: Any, peers: dict[str, set[str]]
) -> None:
    """And a host always sees the same one, over several connections and over two runs."""
    settings = tools.polite()
    settings.egress.source_addresses = ["127.0.8.1", "127.0.8.2"]
    server.on("/", tools.answer(200, b"x", close=True))
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts(16) for number in range(2)]
    for _ in range(2):
        assert {result.outcome for result in crawl(urls, settings).results} == {O.success}
    assert set(peers) == set(hosts(16))
    assert all(len(seen) == 1 for seen in peers.values())
    assert set.union(*peers.values()) == {"127.0.8.1", "127.0.8.2"}


def test_a_host_that_no_source_address_reaches_is_put_off(
    crawl: Crawl, server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPv6 alone here, IPv4 alone there: from an address that nobody named nothing leaves."""
    settings = tools.polite()
    settings.egress.source_addresses = ["127.0.8.1"]
    result = crawl(f"http://[::1]:{server.port or 1}/", settings).only
    assert (result.outcome, result.reason) == (O.postponed, "dns_unavailable")
    assert "egress.source_addresses" in result.detail


# Proxies


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_pages_come_through_a_proxy(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], peers: dict[str, set[str]],
    scheme: str,
) -> None:  # fmt: skip
    server.on("/", tools.answer(200, b"x"))
    server.on("/gone", tools.answer(404, b"x"))
    urls = [server.url("/"), f"{server.url('/')}?n=2", server.url("/gone")]
    run = crawl(urls, through(pproxy.line(scheme)))
    assert [(result.outcome, result.http_status) for result in run.results] == [
        (O.success, 200), (O.success, 200), (O.gone, 404)
    ]  # fmt: skip
    assert {result.ip_address for result in run.results} == {None}
    assert peers == {"127.0.9.1": {PROXY_HOST}}
    for arrival in server.arrivals:
        assert arrival.headers["Host"] == f"127.0.9.1:{server.port}"
        assert not any(name.lower().startswith("proxy-") for name in arrival.headers)
        assert "Authorization" not in arrival.headers
    assert run.report.notes == []


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.usefixtures("trusted")
def test_pages_come_through_a_proxy_over_tls(
    crawl: Crawl, tls_server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], scheme: str
) -> None:
    tls_server.on("/", tools.answer(200, b"x"))
    run = crawl([tls_server.url("/"), f"{tls_server.url('/')}?n=2"], through(pproxy.line(scheme)))
    assert [(result.content, result.tls, result.ip_address) for result in run.results] == [(b"x", "verified", None)] * 2
    assert tls_server.connections == 1
    for arrival in tls_server.arrivals:
        assert not any(name.lower().startswith("proxy-") for name in arrival.headers)


@pytest.mark.usefixtures("trusted")
def test_a_proxy_that_is_spoken_to_over_tls(
    crawl: Crawl, server: Any, tls_server: Any, tools: Any, certificates: dict[str, Path], through: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    server.on("/", tools.answer(200, b"x"))
    tls_server.on("/", tools.answer(200, b"y"))
    proxy = Pproxy("127.0.9.1", tmp_path, certificates)
    try:
        run = crawl([server.url("/"), tls_server.url("/")], through(proxy.line("https")))
    finally:
        proxy.close()
    assert {result.content for result in run.results} == {b"x", b"y"}


@pytest.mark.usefixtures("trusted")
def test_a_server_that_drips_through_tls_within_tls(
    crawl: Crawl, tls_server: Any, tools: Any, certificates: dict[str, Path], through: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    tls_server.on("/", tools.drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", 0.02))
    url = tls_server.url("/")
    proxy = Pproxy("127.0.9.1", tmp_path, certificates)
    try:
        run = crawl(url, through(proxy.line("https"), max_seconds=0.75), known=tools.no_robots(url))
    finally:
        proxy.close()
    assert (run.only.outcome, run.only.truncated, run.report.notes) == (O.success, "seconds", [])


def test_a_proxys_own_certificate_is_verified(
    crawl: Crawl, server: Any, tls_server: Any, tools: Any, certificates: dict[str, Path], through: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    """It would get the password, so also where pages' certificates are not; and it is not the page's failure."""
    proxy = Pproxy("127.0.9.1", tmp_path, certificates)
    urls = [server.url("/"), tls_server.url("/")]
    try:
        run = crawl(urls, through(proxy.line("https"), verify_tls=False), known=tools.no_robots(*urls))
    finally:
        proxy.close()
    assert [(result.outcome, result.reason) for result in run.results] == [(O.postponed, "proxy")] * 2


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_the_proxys_failure(
    crawl: Crawl, request: pytest.FixtureRequest, tools: Any, pproxy: Pproxy, through: Callable[..., Any], scheme: str,
    kind: str,
) -> None:  # fmt: skip
    target = request.getfixturevalue("server" if kind == "http" else "tls_server")
    target.on("/", tools.answer(200, b"x"))
    url = target.url("/")
    run = crawl(url, through(pproxy.line(scheme, "wr0ng")), known=tools.no_robots(url))
    assert (run.only.outcome, run.only.reason) == (O.postponed, "proxy")
    assert run.only.http_status is None
    assert target.arrivals == []
    [note] = run.report.notes
    assert f"{PROXY_HOST}:{pproxy.port}" in note
    assert "wr0ng" not in repr((run.results, run.report))
    assert "robots" not in (run.only.reason or "")


def test_robots_txt_does_not_fail_for_its_proxy(
    crawl: Crawl, server: Any, pproxy: Pproxy, through: Callable[..., Any]
) -> None:
    """The host is put off; nothing is learned of its robots.txt that the next round would believe."""
    run = crawl(server.url("/"), through(pproxy.line("http", "wr0ng")))
    assert run.only.outcome is O.postponed
    assert all(known.status is None for known in run.report.robots)


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("failing", ["dead", "wrong password"])
def test_another_proxy_of_the_pool_takes_over(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], peers: dict[str, set[str]],
    scheme: str, failing: str,
) -> None:  # fmt: skip
    port = free_port("127.0.9.73")
    bad = f"{scheme}://127.0.9.73:{port}" if failing == "dead" else pproxy.line(scheme, "wr0ng").replace("user", "who")
    server.on("/", tools.answer(200, b"x", close=True))
    urls = [server.url("/", host) for host in hosts(12)]
    run = crawl(urls, through(bad, pproxy.line(scheme), pause=60.0), known=tools.no_robots(*urls))
    assert [result.outcome for result in run.results] == [O.success] * 12
    assert set.union(*peers.values()) == {PROXY_HOST}
    [note] = run.report.notes
    assert "wr0ng" not in note
    assert PASSWORD not in note


def test_host_rules(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], peers: dict[str, set[str]]
) -> None:
    server.on("/", tools.answer(200, b"x"))
    lines = [f"{pproxy.line('socks5h')} 127.0.9.1", "direct 127.0.9.2", pproxy.line("http")]
    run = crawl([server.url("/", host) for host in hosts(3)], through(*lines))
    assert {result.outcome for result in run.results} == {O.success}
    assert peers["127.0.9.1"] == peers["127.0.9.3"] == {PROXY_HOST}
    assert PROXY_HOST not in peers["127.0.9.2"]
    by_host = {result.request.host: result.ip_address for result in run.results}
    assert by_host == {"127.0.9.1": None, "127.0.9.2": "127.0.9.2", "127.0.9.3": None}


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_what_the_target_does_is_no_failure_of_the_proxys(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], scheme: str, kind: str
) -> None:
    """Nobody listens there: the page's failure, at once, and the proxy goes on working for others."""
    server.on("/", tools.answer(200, b"x"))
    dead = f"{kind}://127.0.9.77:{free_port('127.0.9.77')}/"
    urls = [dead, server.url("/")]
    run = crawl(urls, through(pproxy.line(scheme), pause=600.0), known=tools.no_robots(*urls))
    assert run.by_url[dead].outcome is O.retry
    assert run.by_url[dead].http_status is None
    assert run.by_url[urls[1]].content == b"x"
    assert run.report.notes == []


def test_a_name_that_the_proxy_does_not_know(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any]
) -> None:
    server.on("/", tools.answer(200, b"x"))
    urls = ["http://no-such-host.invalid/", "https://no-such-host.invalid/", server.url("/")]
    run = crawl(urls, through(pproxy.line("socks5h"), pause=600.0), known=tools.no_robots(*urls))
    assert [run.by_url[url].outcome for url in urls] == [O.retry, O.retry, O.success]
    assert run.report.notes == []


@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.parametrize(
    ("code", "is_the_targets"), [(1, False), (2, False), (3, True), (4, True), (5, True), (6, True), (7, False)]
)
def test_what_a_socks_proxy_says(
    crawl: Crawl, tools: Any, odd_proxy: Callable[..., OddProxy], through: Callable[..., Any], kind: str, code: int,
    is_the_targets: bool,
) -> None:  # fmt: skip
    """RFC 1928 §6."""
    proxy = odd_proxy(socks=b"\x05" + bytes([code]) + b"\x00\x01\x00\x00\x00\x00\x00\x00")
    url = f"{kind}://127.0.9.1:1/"
    run = crawl(url, through(f"socks5://127.0.9.72:{proxy.port}"), known=tools.no_robots(url))
    expected = (O.retry, "connect", 1) if is_the_targets else (O.postponed, "proxy", 4)
    assert (run.only.outcome, run.only.reason, proxy.asked) == expected
    assert (run.report.notes == []) == is_the_targets


@pytest.mark.parametrize(
    ("status", "is_the_targets"),
    [(403, False), (407, False), (429, False), (500, True), (502, True), (503, True), (504, True)],
)
def test_what_an_http_proxy_says_to_connect(
    crawl: Crawl, tools: Any, odd_proxy: Callable[..., OddProxy], through: Callable[..., Any], status: int,
    is_the_targets: bool,
) -> None:  # fmt: skip
    proxy = odd_proxy(http=b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
    url = "https://127.0.9.1:1/"
    run = crawl(url, through(f"http://127.0.9.72:{proxy.port}"), known=tools.no_robots(url))
    expected = (O.retry, "connect", 1) if is_the_targets else (O.postponed, "proxy", 4)
    assert (run.only.outcome, run.only.reason, proxy.asked) == expected
    assert run.only.http_status is None
    assert run.only.response_headers == []
    assert (run.report.notes == []) == is_the_targets


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_target_that_never_connects(
    crawl: Crawl, tools: Any, odd_proxy: Callable[..., OddProxy], through: Callable[..., Any], scheme: str
) -> None:
    """The proxy was reached, and waits in vain itself: an unreachable page must not take the pool out."""
    proxy = odd_proxy()
    url = "https://127.0.9.1:1/"
    settings = through(f"{scheme}://127.0.9.72:{proxy.port}", timeout=0.25, max_seconds=2.0)
    run = crawl(url, settings, known=tools.no_robots(url))
    assert (run.only.outcome, run.only.reason) == (O.retry, "timeout")
    assert run.report.notes == []


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_gets_no_credentials_of_pages_and_pages_none_of_its(
    crawl: Crawl, server: Any, tools: Any, pproxy: Pproxy, through: Callable[..., Any], tmp_path: Path, scheme: str
) -> None:
    server.on("/", tools.answer(200, b"x"))
    url = server.url("/")
    credentials = tmp_path / "credentials.toml"
    credentials.write_text(f'["{url[:-1]}"]\nbasic = "me:mine"\n')
    credentials.chmod(0o600)
    run = crawl(url, through(pproxy.line(scheme), credentials_file=str(credentials)), known=tools.no_robots(url))
    assert run.only.content == b"x"
    [arrival] = server.asked("/")
    assert arrival.headers["Authorization"] == "Basic bWU6bWluZQ=="
    assert not any(name.lower().startswith("proxy-") for name in arrival.headers)
