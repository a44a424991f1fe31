"""A real HTTP/1.1 server for a declared site: keep-alive, conditional requests, gzip, chunks, on all its addresses.

Owns the sockets, one event loop in a thread of its own, and the record of every request. What to answer is the
site's business.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from crawldb.errors import CobnutError
from jobs.demo.site import Host, Resource, Site
from jobs.demo.web import demo_site

_MAX_HEAD = 1 << 16
_CHUNK = 1000
_BACKLOG = 256
_ATTEMPTS = 20

_MISSING = Resource(404, "text/plain", b"no such page\n")
_BAD_REQUEST = Resource(400, "text/plain", b"bad request\n")
_NOT_ALLOWED = Resource(405, "text/plain", b"only GET and HEAD\n", (("Allow", "GET, HEAD"),))


class Request(NamedTuple):
    """One request as it came in."""

    time: float
    """time.monotonic() when its head was complete."""
    host: str
    """The address that it came to."""
    method: str
    path: str
    """Path and query, as sent."""
    headers: dict[str, str]
    """Names in lower case."""


class DemoServer:
    """Serves a site while the `with` block runs.

    `site` is a Site, or a function from the port to one; then `port` chooses the port, 0 a free one. Raises
    CobnutError when the addresses or the port can't be had.
    """

    def __init__(self, site: Site | Callable[[int], Site] = demo_site, port: int = 0) -> None:
        self._sockets: list[socket.socket] = []
        if isinstance(site, Site):
            self._bind(site, site.port)
            self.site = site
        else:
            self.site = self._bind_free(site, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="demo-server", daemon=True)
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._asked: Counter[str] = Counter()
        self._connections: set[_Connection] = set()

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    def reset(self) -> None:
        """Forget the requests; pages that recover are broken again."""
        with self._lock:
            self._requests.clear()
            self._asked.clear()

    def __enter__(self) -> DemoServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket and end the thread; a second call does nothing."""
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join()
        for listener in self._sockets:
            listener.close()

    # -- sockets

    def _bind_free(self, build: Callable[[int], Site], port: int) -> Site:
        """Bind a port that is free on all of the site's addresses."""
        for _ in range(_ATTEMPTS):
            chosen = port or _free_port()
            site = build(chosen)
            try:
                self._bind(site, chosen)
            except CobnutError:
                if port:
                    raise
                last = f"no port is free on all of {', '.join(site.hosts)}"
                continue
            return site
        raise CobnutError(f"demo site: {last}; {_ADVICE}")

    def _bind(self, site: Site, port: int) -> None:
        bound: list[socket.socket] = []
        try:
            for host in site.hosts.values():
                bound.append(_listener(host, port))
        except OSError as error:
            for listener in bound:
                listener.close()
            raise CobnutError(
                f"demo site: cannot listen on {host.address}:{port}: {error.strerror}; {_ADVICE}"
            ) from None
        self._sockets = bound

    # -- the loop's thread

    def _run(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        try:
            hosts = zip(self.site.hosts.values(), self._sockets, strict=True)
            servers = [loop.run_until_complete(self._serve(*both)) for both in hosts if both[0].listening]
            loop.call_soon(self._ready.set)
            loop.run_forever()
            for server in servers:
                server.close()
            for connection in list(self._connections):
                connection.abort()
            while self._connections:
                loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            self._ready.set()  # if the loop never ran, nobody must wait for it

    async def _serve(self, host: Host, listener: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Connection(self, host), sock=listener, backlog=_BACKLOG)

    def _stop(self) -> None:
        assert self._loop is not None
        self._loop.stop()

    def _answer(self, host: Host, request: Request) -> Resource:
        """Record the request and choose its answer."""
        url = f"http://{host.address}:{self.site.port}{request.path}"
        with self._lock:
            self._requests.append(request)
            earlier = self._asked[url]
            self._asked[url] += 1
        if request.method not in ("GET", "HEAD"):
            return _NOT_ALLOWED
        if request.path == "/robots.txt":
            return host.robots
        return self.site.pages.get(url, _MISSING).answer(earlier)


class _Connection(asyncio.Protocol):
    """One connection: reads heads, answers one after the other."""

    def __init__(self, server: DemoServer, host: Host) -> None:
        self._server = server
        self._host = host
        self._buffer = bytearray()
        self._skip = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._server._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._read()

    def abort(self) -> None:
        self._transport.abort()

    def _read(self) -> None:
        """Answer the requests that are complete, unless an answer is being held back."""
        while self._waiting is None and not self._transport.is_closing():
            body = min(self._skip, len(self._buffer))
            del self._buffer[:body]
            self._skip -= body
            end = self._buffer.find(b"\r\n\r\n")
            if self._skip or end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    self._transport.abort()
                return
            head = self._buffer[:end].decode("latin-1")
            del self._buffer[: end + 4]
            self._handle(head, time.monotonic())

    def _handle(self, head: str, now: float) -> None:
        first, *lines = head.split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
            self._send(_BAD_REQUEST, "GET", {}, close=True)
            return
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not length.isdigit() or "transfer-encoding" in headers:
            self._send(_BAD_REQUEST, "GET", {}, close=True)
            return
        self._skip = int(length)
        request = Request(now, self._host.address, parts[0], parts[1], headers)
        answer = self._server._answer(self._host, request)
        wanted = headers.get("connection", "").lower()
        close = wanted == "close" or (parts[2] == "HTTP/1.0" and wanted != "keep-alive")
        if answer.delay:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(answer.delay, self._send_late, answer, request, close)
        else:
            self._send(answer, request.method, headers, close)

    def _send_late(self, answer: Resource, request: Request, close: bool) -> None:
        self._waiting = None
        self._send(answer, request.method, request.headers, close)
        self._read()

    def _send(self, answer: Resource, method: str, headers: dict[str, str], close: bool) -> None:
        self._transport.write(response(answer, method, headers, close))
        if close:
            self._transport.close()


def response(answer: Resource, method: str, headers: dict[str, str], close: bool = False) -> bytes:
    """The bytes that answer a request with these headers (names in lower case)."""
    unchanged = answer.status == 200 and _not_modified(answer, headers)
    status = 304 if unchanged else answer.status
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Server: cobnut-demo"]
    if close:
        lines.append("Connection: close")
    if answer.etag:
        lines.append(f"ETag: {answer.etag}")
    if answer.last_modified:
        lines.append(f"Last-Modified: {answer.last_modified}")
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if unchanged:
        return _head(lines)
    if answer.redirect is not None:
        lines.append(f"Location: {answer.redirect.href}")
    if answer.content_type:
        lines.append(f"Content-Type: {answer.content_type}")
    compressed = answer.compressed and "gzip" in headers.get("accept-encoding", "")
    body = answer.encoded_body() if compressed else answer.body
    if compressed:
        lines += ["Content-Encoding: gzip", "Vary: Accept-Encoding"]
    if answer.chunked:
        lines.append("Transfer-Encoding: chunked")
        pieces = [body[place : place + _CHUNK] for place in range(0, len(body), _CHUNK)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
    return _head(lines) + (b"" if method == "HEAD" else body)


def _head(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _not_modified(answer: Resource, headers: dict[str, str]) -> bool:
    """RFC 9110, 13.2.2: If-None-Match decides where it is sent. Dates are compared as text: clients echo ours."""
    if "if-none-match" in headers:
        tags = [tag.strip().removeprefix("W/") for tag in headers["if-none-match"].split(",")]
        return answer.etag is not None and (answer.etag.removeprefix("W/") in tags or tags == ["*"])
    return answer.last_modified is not None and headers.get("if-modified-since") == answer.last_modified


_ADVICE = (
    "the demo needs one port on several addresses 127.x.y.z; Linux has them all, elsewhere add them first "
    "(macOS: sudo ifconfig lo0 alias ADDRESS)"
)


def _listener(host: Host, port: int) -> socket.socket:
    """A bound socket. That of a host that refuses connections is never listened on: it only keeps others away."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.address, port))
        if host.listening:
            listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
