"""Connections that can be cut off, that know when their request left, and that read answers as servers send them.

Owns the urllib3 and http.client subclasses under the `requests` engine, and the TLS context. What urllib3's own do
not do and a crawl needs:
- one deadline for a whole exchange, name look-up and connecting to all addresses included (a time-out for each
  packet lets a server drip for hours): `Exchange.cut_off` shuts the socket down from another thread;
- the moment a request left, after connecting;
- header fields as they came, also when there are hundreds or one is malformed (http.client stops reading at it).
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from typing import Any

import requests.certs
import urllib3
import urllib3.connection
import urllib3.connectionpool
from requests.adapters import HTTPAdapter

_MAX_LINE = 1 << 16
_MAX_HEAD = 1 << 18
"""Bytes of status line and header fields: browsers stop at this size too."""
_MAX_INTERIM = 20
"""1xx answers before the real one."""
_FRAMING = {"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"}
"""All that urllib3 and http.client need to know of a header."""
_DIGITS = re.compile(r"[0-9]{1,18}").fullmatch


class ExchangeError(Exception):
    """An exchange that failed before there was an answer: `reason` is one of the words of outcomes.py."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Exchange:
    """One request under way: what its own thread and the watchdog both know of it.

    Times are of time.monotonic(). Its thread makes it the `current` one before it calls the adapter.
    """

    __slots__ = ("answered", "cut", "deadline", "fields", "ip_address", "lock", "on_sent", "origin", "reused", "sent", "socket", "target")  # fmt: skip

    def __init__(self, url: str, origin: str, deadline: float) -> None:
        self.origin = origin
        self.target = url[len(origin) :]
        """The request target as it goes over the wire: the canonical URL's own spelling."""
        self.deadline = deadline
        self.sent: float | None = None
        """When the last byte of the request had been handed to the system."""
        self.answered: float | None = None
        """When the first line of an answer was there."""
        self.reused = False
        """True if the connection had been used before."""
        self.ip_address: str | None = None
        self.fields: list[tuple[str, str]] = []
        self.on_sent: Any = None
        """Called in the exchange's thread, once, when `sent` is known; or None."""
        self.cut: str | None = None
        """Why it was cut off."""
        self.socket: socket.socket | None = None
        self.lock = threading.Lock()

    def watch(self, connection: socket.socket | None) -> None:
        """From now on `cut_off` shuts down this socket."""
        with self.lock:
            self.socket = connection
            if self.cut and connection is not None:
                raise ExchangeError("timeout", "cut off")

    def cut_off(self, why: str) -> None:
        """End it now, from whatever thread: its reads and writes fail at once."""
        with self.lock:
            if self.cut is None:
                self.cut = why
            if self.socket is not None:
                # Not SSLSocket's own shutdown, which takes the TLS object away from under a reader.
                # An error: it is not connected, or no longer.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class _Current(threading.local):
    exchange: Exchange


current = _Current()


class Answer(http.client.HTTPResponse):
    """http.client's response with a header parser of our own; `exchange.fields` gets the fields as they came."""

    def begin(self, **_: object) -> None:
        """Read status line and header fields; 1xx answers before them are skipped. (Newer Pythons pass a limit.)"""
        if self.headers is not None:
            return
        exchange = current.exchange
        for _ in range(_MAX_INTERIM):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            if exchange.answered is None:
                exchange.answered = time.monotonic()
            fields = self._read_fields()
            if status >= 200 or status == 101:
                break
        else:
            raise http.client.HTTPException("too many 1xx answers")
        if not version.startswith("HTTP/"):
            raise http.client.BadStatusLine(version)
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.code = self.status = status
        self.reason = reason.strip()
        exchange.fields = fields
        self._frame(fields, status)

    def _read_fields(self) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        size = 0
        while True:
            line = self.fp.readline(_MAX_LINE + 1)
            size += len(line)
            if len(line) > _MAX_LINE or size > _MAX_HEAD:
                raise http.client.LineTooLong("header")
            if not line:
                raise http.client.IncompleteRead(b"")
            if line in (b"\r\n", b"\n"):
                return fields
            try:
                text = line.decode()
            except UnicodeDecodeError:
                text = line.decode("iso-8859-1")
            if line[0] in b" \t":  # obs-fold (RFC 9112 §5.2)
                if fields:
                    fields[-1] = (fields[-1][0], f"{fields[-1][1]} {text.strip()}".strip())
                continue
            name, colon, value = text.partition(":")
            if colon and name.strip():
                fields.append((name.strip(), value.strip()))

    def _frame(self, fields: list[tuple[str, str]], status: int) -> None:
        """How long the body is and whether the connection lives on (RFC 9112 §6.3, §9.3)."""
        message = http.client.HTTPMessage()
        framing: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            if key in _FRAMING:
                framing[key] = f"{framing[key]}, {value}" if key in framing else value
        coding = framing.get("transfer-encoding", "").lower()
        self.chunked = coding.rpartition(",")[2].strip() == "chunked"
        self.chunk_left = None
        if coding and self.chunked:
            if coding != "chunked":
                raise http.client.HTTPException(f"Transfer-Encoding: {coding}")
            framing.pop("content-length", None)
        lengths = {length.strip() for length in framing.get("content-length", "").split(",")}
        if len(lengths) > 1:
            raise http.client.HTTPException("several different Content-Lengths")
        length = lengths.pop()
        self.length = int(length) if _DIGITS(length) else None
        if self.length is None:
            framing.pop("content-length", None)
        else:
            framing["content-length"] = length
        if status in (204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        connection = framing.get("connection", "").lower()
        if self.version == 11:
            self.will_close = "close" in connection
        else:
            self.will_close = "keep-alive" not in connection and "keep-alive" not in framing
        if not self.chunked and self.length is None:
            self.will_close = True
        for key, value in framing.items():
            message.set_raw(key, value)
        self.headers = self.msg = message


class _Connection(urllib3.connection.HTTPConnection):
    """A connection that reports to the current exchange."""

    response_class = Answer
    _ip_address: str | None = None
    _requests = 0

    def _new_conn(self) -> socket.socket:
        exchange = current.exchange
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ExchangeError("dns", f"{self.host}: {error}") from None
        # fetch.timeout is for all addresses together; each gets its share of what is left
        give_up = min(time.monotonic() + float(self.timeout or 0), exchange.deadline)
        problem = ExchangeError("timeout", f"{self.host}: no time left to connect")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            patience = (give_up - time.monotonic()) / (len(addresses) - position)
            if patience <= 0:
                break
            connection = socket.socket(family, kind, protocol)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(patience)
                exchange.watch(connection)
                connection.connect(address)
            except OSError as error:
                exchange.watch(None)
                connection.close()
                reason = "timeout" if isinstance(error, TimeoutError) else "connect"
                problem = ExchangeError(reason, f"{address[0]!s} port {address[1]!s}: {error}")
            except BaseException:
                connection.close()
                raise
            else:
                self._ip_address = str(address[0])
                return connection
        raise problem

    def connect(self) -> None:
        self._requests = 0
        super().connect()

    def request(self, method: str, url: str, *args: Any, **options: Any) -> None:  # type: ignore[override]
        """Connect if need be, then send; stamps the exchange in between and after."""
        exchange = current.exchange
        if self.sock is None:
            self.connect()
        exchange.reused = self._requests > 0
        self._requests += 1
        exchange.ip_address = self._ip_address
        exchange.watch(self.sock)
        super().request(method, exchange.target, *args, **options)
        exchange.sent = time.monotonic()
        if exchange.on_sent is not None:
            exchange.on_sent()


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        try:
            # The handshake runs inside the ssl module on a socket that nobody else sees: a duplicate can end it
            current.exchange.watch(connection.dup())
        except BaseException:
            connection.close()
            raise
        return connection

    def connect(self) -> None:
        exchange = current.exchange
        try:
            super().connect()
        except TimeoutError as error:
            raise ExchangeError("timeout", f"TLS handshake: {error}") from None
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise ExchangeError("timeout" if exchange.cut else "tls", f"{type(error).__name__}: {error}") from None
        finally:
            with exchange.lock:
                duplicate, exchange.socket = exchange.socket, None
            if duplicate is not None:
                duplicate.close()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def tls_context() -> ssl.SSLContext:
    """One context for all hosts: certificates are verified against the bundle that comes with requests."""
    return ssl.create_default_context(cafile=requests.certs.where())  # type: ignore[attr-defined]


class DirectAdapter(HTTPAdapter):  # type: ignore[misc]
    """requests' adapter without what a crawl does not want: cookies, proxies and settings from the environment, a
    parsed Response, a TLS context a connection. It serves the current exchange; see its `send`.

    `max_hosts` idle hosts keep their connections, `threads_per_host` each.
    """

    def __init__(self, threads_per_host: int, max_hosts: int) -> None:
        super().__init__(max_retries=False)
        self._threads_per_host = threads_per_host
        self._max_hosts = max_hosts
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[str, _Pool | _TlsPool] = {}
        self._pools_lock = threading.Lock()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The current exchange's pool."""
        origin = current.exchange.origin
        with self._pools_lock:
            pool = self._pools.pop(origin, None)
            if pool is None:
                pool = self._new_pool(origin)
                if len(self._pools) >= self._max_hosts:
                    # The longest unused; urllib3 closes its idle connections when its last user lets go of it
                    del self._pools[next(iter(self._pools))]
            self._pools[origin] = pool
        return pool

    def forget(self, origin: str) -> None:
        """Close the idle connections of an origin that has nothing left to fetch."""
        with self._pools_lock:
            self._pools.pop(origin, None)

    def close(self) -> None:
        with self._pools_lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()
        super().close()

    def _new_pool(self, origin: str) -> _Pool | _TlsPool:
        parsed = urllib3.util.parse_url(origin)
        host = parsed.host or ""
        if parsed.scheme == "http":
            return _Pool(host, parsed.port, maxsize=self._threads_per_host)
        if self._tls is None:
            self._tls = tls_context()
        return _TlsPool(host, parsed.port, maxsize=self._threads_per_host, ssl_context=self._tls)

    def cert_verify(self, *args: Any, **options: Any) -> None:
        """The TLS context verifies."""

    def request_url(self, *args: Any, **options: Any) -> str:
        """A stand-in: the connection sends the exchange's own target, which urllib3 would spell otherwise."""
        return "/"

    def build_response(self, request: Any, response: Any) -> Any:
        """urllib3's response as it is."""
        return response
