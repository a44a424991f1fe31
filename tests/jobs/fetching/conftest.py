"""A web server on 127.x.y.z that does whatever it is told, and a way to run an engine against it."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crawldb.settings import Settings
from crawldb.urls import canonicalize, host_of, origin_of
from jobs.fetching import ENGINES, FetchReport, FetchRequest, FetchResult, KnownRobots


class Arrival(NamedTuple):
    """A request as the server saw it; `time` is of time.monotonic(), when its head had been read."""

    time: float
    host: str
    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Exchange:
    """What a reaction works with."""

    def __init__(self, arrival: Arrival, writer: asyncio.StreamWriter) -> None:
        self.arrival = arrival
        self.writer = writer
        self.open = True

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.open = False

    def reset(self) -> None:
        """End the connection with RST."""
        self.open = False
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER
        self.writer.transport.abort()


Reaction = Callable[[Exchange], Awaitable[None]]


def answer(status: int = 200, body: bytes = b"", *fields: str, close: bool = False) -> bytes:
    """A well-formed answer; a Content-Length is added unless `fields` frame it."""
    lines = [f"HTTP/1.1 {status} Some Reason", *fields]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in fields) and not close:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(data: bytes, then: str = "keep") -> Reaction:
    """Write `data` as it is, then keep, close or reset the connection."""

    async def react(exchange: Exchange) -> None:
        await exchange.write(data)
        if then == "close" or b"\r\nConnection: close\r\n" in data:
            exchange.close()
        elif then == "reset":
            await asyncio.sleep(0.05)  # so that the data is read before the RST
            exchange.reset()

    return react


def drips(head: bytes, piece: bytes, seconds: float, count: int = 1_000_000) -> Reaction:
    """Write `head`, then `piece` every so many seconds."""

    async def react(exchange: Exchange) -> None:
        await exchange.write(head)
        for _ in range(count):
            await exchange.write(piece)
            await asyncio.sleep(seconds)
        exchange.close()

    return react


def after(seconds: float, reaction: Reaction) -> Reaction:
    """React so much later."""

    async def react(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await reaction(exchange)

    return react


def arrived(writer: asyncio.StreamWriter) -> float:
    """When the last data of a connection came, by the kernel (tcp_info.tcpi_last_data_recv, in its ticks of some
    milliseconds): this process, which crawls as well, may get round to reading it much later."""
    now = time.monotonic()
    if sys.platform != "linux":
        return now
    information = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (ago,) = struct.unpack_from("I", information, 52)
    return now - min(ago, 60_000) / 1000


class Server:
    """Listens on one port of any number of loopback addresses; what is not told otherwise is 404."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.arrivals: list[Arrival] = []
        self.most_at_once: Counter[str] = Counter()
        self.port = 0
        self.scheme = "https" if tls else "http"
        self.connections = 0
        self._tls = tls
        self._at_once: Counter[str] = Counter()
        self._reactions: dict[tuple[str | None, str], Reaction] = {}
        self._listening: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.9.1") -> str:
        """The URL of a path here; starts to listen on the host."""
        if host not in self._listening:
            asyncio.run_coroutine_threadsafe(self._listen(host), self._loop).result(10)
        return f"{self.scheme}://{host}:{self.port}{path}"

    def on(self, path: str, reaction: Reaction | bytes, host: str | None = None) -> None:
        """What to do when asked for a path (without query), on one host or all."""
        self._reactions[host, path] = says(reaction) if isinstance(reaction, bytes) else reaction

    def asked(self, path: str | None = None) -> list[Arrival]:
        """What was asked for, robots.txt apart unless it is named."""
        return [a for a in self.arrivals if (a.target != "/robots.txt" if path is None else a.target == path)]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self, host: str) -> None:
        server = await asyncio.start_server(self._serve, host, self.port, ssl=self._tls, backlog=500, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._listening[host] = server

    async def _end(self) -> None:
        for server in self._listening.values():
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # for transports to close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        host = writer.get_extra_info("sockname")[0]
        try:
            while await self._one(reader, writer, host, number):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        except asyncio.CancelledError:
            writer.transport.abort()  # the test has ended
        finally:
            self._tasks.discard(task)
            writer.close()

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, number: int) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        now = arrived(writer)
        line, *fields = head.decode("iso-8859-1").split("\r\n")
        method, target, _ = line.split(" ")
        headers = dict(text.split(": ", 1) for text in fields if text)
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        arrival = Arrival(now, host, number, method, target, headers, body)
        self.arrivals.append(arrival)
        self._at_once[host] += 1
        self.most_at_once[host] = max(self.most_at_once[host], self._at_once[host])
        exchange = Exchange(arrival, writer)
        path = target.partition("?")[0]
        reaction = self._reactions.get((host, path)) or self._reactions.get((None, path)) or says(answer(404, b"none"))
        try:
            await reaction(exchange)
        finally:
            self._at_once[host] -= 1
        return exchange.open


@dataclass
class Outcome:
    """What a run of an engine came to."""

    report: FetchReport
    results: list[FetchResult] = field(default_factory=list)

    @property
    def by_url(self) -> dict[str, FetchResult]:
        return {result.request.url: result for result in self.results}

    @property
    def only(self) -> FetchResult:
        assert len(self.results) == 1
        return self.results[0]


def request(url: str, **fields: Any) -> FetchRequest:
    """A fetchlist row for `url`."""
    values: dict[str, Any] = {
        "fingerprint": hashlib.sha1(repr((url, fields)).encode()).digest(), "url": url, "method": None, "headers": None,
        "body": None, "host": host_of(url), "etag": None, "last_modified": None, "row": 0,
    }  # fmt: skip
    return FetchRequest(**{**values, **fields})


def polite(**fetch: Any) -> Settings:
    """Settings with a name and no delay, but for what `fetch` says."""
    settings = Settings()
    settings.http.agent_name = "testbot"
    settings.fetch.delay = 0.0
    settings.fetch.timeout = 5.0
    settings.fetch.allow_private_addresses = True
    for name, value in fetch.items():
        assert hasattr(settings.fetch, name)
        setattr(settings.fetch, name, value)
    return settings


def no_robots(*urls: str) -> list[KnownRobots]:
    """What the host store knows of these URLs' origins: there was no robots.txt a minute ago."""
    now = time.time_ns() // 1_000_000 - 60_000
    return [KnownRobots(origin_of(url), f"{origin_of(url)}/robots.txt", now, 404, None, False, None) for url in urls]


_EACH = [pytest.param(name, marks=pytest.mark.slow) if name == "browser" else name for name in sorted(ENGINES)]
"""The browser engine is the curl engine where nothing is rendered: the quick tests do without it."""


@pytest.fixture(params=_EACH)
def crawl(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """`crawl(requests_or_urls, settings, …)` runs every engine in turn."""
    engine = ENGINES[request.param]

    def run(
        asked: list[FetchRequest | str] | FetchRequest | str,
        settings: Settings | None = None,
        stop: threading.Event | None = None,
        emit: Callable[[FetchResult], None] | None = None,
        known: Sequence[KnownRobots] = (),
    ) -> Outcome:
        items = [asked] if isinstance(asked, (str, FetchRequest)) else asked
        requests = [make_request(item) if isinstance(item, str) else item for item in items]
        for item in requests:
            assert canonicalize(item.url) == item.url or item.url.startswith("bad"), "tests ask for canonical URLs"
        results: list[FetchResult] = []
        report = engine(requests, settings or polite(), emit or results.append, stop or threading.Event(), known)
        assert report.fetched + sum(report.left.values()) == len(requests)
        if emit is None:
            assert report.fetched + report.followed == len(results)
            assert len({id(result.request) for result in results}) == len(results), "two results for one request"
        return Outcome(report, results)

    run.engine = request.param  # type: ignore[attr-defined]
    return run


make_request = request
"""The same, where a fixture has its name."""


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


@dataclass
class Tools:
    """The helpers of this file, for test modules, which cannot import it."""

    answer = staticmethod(answer)
    says = staticmethod(says)
    drips = staticmethod(drips)
    after = staticmethod(after)
    request = staticmethod(make_request)
    polite = staticmethod(polite)
    no_robots = staticmethod(no_robots)


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for 127.0.9.1 that signs itself: `certificate` and `key` (PEM files)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.9.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.9.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    files = {"certificate": directory / "certificate.pem", "key": directory / "key.pem"}
    files["certificate"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files["key"].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def tls_server(certificates: dict[str, Path]) -> Iterator[Server]:
    """A server with that certificate, whatever its host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates["certificate"], certificates["key"])
    served = Server(context)
    yield served
    served.close()


class Names:
    """Stands in for socket.getaddrinfo: knows the names it is told, and no others; addresses are what they are."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, list[Any]] = {}
        self._look_up = socket.getaddrinfo

    def at(self, name: str, *answers: tuple[str, ...] | OSError | Callable[[], tuple[str, ...]]) -> None:
        """What look-ups of a name come to, one after the other, the last one for good: addresses, an error, or what a
        function returns."""
        self._answers[name] = list(answers)

    def url(self, server: Server, name: str, address: str, path: str = "/") -> str:
        """The URL of a path at `name`, which is at `address`, where the server listens from now on."""
        server.url("/")  # first, on the address that all servers have: so no two of them take one port
        server.url("/", address)
        self.at(name, (address,))
        return f"{server.scheme}://{name}:{server.port}{path}"

    def getaddrinfo(self, host: str, port: Any, family: int = 0, *arguments: Any, **options: Any) -> list[Any]:
        if not host or host[-1].isdigit() or ":" in host:
            return self._look_up(host, port, family, *arguments, **options)
        self.asked.append(host)
        answers = self._answers.get(host) or [socket.gaierror(socket.EAI_NONAME, "Name or service not known")]
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        addresses = answer() if callable(answer) else answer
        families = {one: socket.AF_INET6 if ":" in one else socket.AF_INET for one in addresses}
        found = [(families[one], socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses
                 if family in (socket.AF_UNSPEC, families[one])]  # fmt: skip
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The name server of the test."""
    fake = Names()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    return fake
