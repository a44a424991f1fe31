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
from collections.abc import Callable, Sequence
from queue import Empty, Full
from typing import TYPE_CHECKING, Any

import requests.certs
import socks
import urllib3
import urllib3.connection
import urllib3.connectionpool
from requests.adapters import HTTPAdapter
from urllib3._base_connection import ProxyConfig

from crawldb.settings import Settings
from jobs.fetching.addresses import is_public, refusal
from jobs.fetching.egress import Egress, Proxy, bind
from jobs.fetching.limits import is_local
from jobs.fetching.replies import MAX_HEAD, MAX_INTERIM, parse_fields

if TYPE_CHECKING:
    from jobs.fetching.errands import Errand

_MAX_LINE = 100 << 10
"""Bytes of one header line: libcurl's own limit."""
_FRAMING = {"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"}
"""All that urllib3 and http.client need to know of a header."""
_DIGITS = re.compile(r"[0-9]{1,19}").fullmatch
_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?\n?", re.DOTALL).fullmatch
_MOST = (1 << 63) - 1
"""Bytes that a body or chunk may say it has: a larger number is none, as for libcurl (RFC 9110 §8.6 warns of overflows)."""


class ExchangeError(Exception):
    """An exchange that failed before there was an answer: `reason` is one of the words of outcomes.py."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class LocalError(ExchangeError):
    """This machine's failure: no ports, no file descriptors, no memory."""


class ProxyError(ExchangeError):
    """The proxy's failure."""


class RefusedAddress(ExchangeError):
    """The address guard's doing."""


class Exchange:
    """One request under way: what its own thread and the watchdog both know of it.

    Times are of time.monotonic(). Its thread makes it the `current` one before it calls the adapter.
    """

    def __init__(self, errand: Errand, settings: Settings, egress: Egress) -> None:
        self.errand = errand
        self.egress = egress
        self.public_only = not settings.fetch.allow_private_addresses
        self.target = errand.url[len(errand.origin) :]
        """The request target as it goes over the wire: the canonical URL's own spelling."""
        self.deadline = time.monotonic() + settings.fetch.max_seconds
        self.sent: float | None = None
        """When the last byte of the request had been handed to the system."""
        self.answered: float | None = None
        """When the first line of an answer was there."""
        self.connected: tuple[float, float] | None = None
        """From when to when it connected; None: it took a kept connection."""
        self.encrypted: tuple[float, float] | None = None
        """From when to when the TLS handshake took."""
        self.reused = False
        """True if the connection had been used before."""
        self.ip_address: str | None = None
        self.version = 11
        """HTTP's, of the answer."""
        self.fields: list[tuple[str, str]] = []
        self.on_sent: Callable[[], None] | None = None
        """Called in the exchange's thread, once, when `sent` is known; or None."""
        self.cut: str | None = None
        """Why it was cut off."""
        self.socket: socket.socket | None = None
        self.lock = threading.Lock()

    @property
    def proxy(self) -> Proxy | None:
        """What it goes through."""
        return self.errand.route.proxy if self.errand.route is not None else None

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
        for _ in range(MAX_INTERIM):
            version, status, reason = self._read_status()
            if exchange.answered is None:
                exchange.answered = time.monotonic()
            fields = self._read_fields()
            if status >= 200 or status == 101:
                break
        else:
            raise http.client.HTTPException("too many 1xx answers")
        if not version.startswith("HTTP/"):
            raise http.client.BadStatusLine(version)
        self.version = exchange.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.code = self.status = status
        self.reason = reason.strip()
        exchange.fields = fields
        self._frame(fields, status)

    def _read_fields(self) -> list[tuple[str, str]]:
        lines: list[bytes] = []
        size = 0
        while True:
            line = self.fp.readline(_MAX_LINE + 1)
            size += len(line)
            if len(line) > _MAX_LINE or size > MAX_HEAD:
                raise http.client.HTTPException("header too long")
            if not line:
                raise http.client.IncompleteRead(b"")
            if line in (b"\r\n", b"\n"):
                return parse_fields(lines)
            lines.append(line)

    def _read_next_chunk_size(self) -> int:
        """http.client's own takes whatever int() does: -5, 0x5, 5_0."""
        line = self.fp.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise http.client.HTTPException("chunk extension too long")
        found = _CHUNK_SIZE(line)
        if found is None or int(found[1], 16) > _MOST:
            raise http.client.IncompleteRead(b"")
        return int(found[1], 16)

    def _read_and_discard_trailer(self) -> None:
        """http.client's own reads them without end."""
        size = 0
        while (line := self.fp.readline(_MAX_LINE + 1)) not in (b"\r\n", b"\n", b""):
            size += len(line)
            if size > MAX_HEAD:
                raise http.client.HTTPException("trailers too long")

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
        if coding and coding not in ("chunked", "identity"):
            raise http.client.HTTPException(f"Transfer-Encoding: {coding[:100]}")  # none was asked for
        if self.chunked:
            framing.pop("content-length", None)
        lengths = {length.strip() for length in framing.get("content-length", "").split(",")}
        if len(lengths) > 1:
            raise http.client.HTTPException("several different Content-Lengths")
        length = lengths.pop()
        self.length = int(length) if _DIGITS(length) and int(length) <= _MOST else None
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
        began = time.monotonic()
        addresses = self._destinations(exchange)
        # fetch.timeout is for all addresses together; each gets its share of what is left
        give_up = min(began + float(self.timeout or 0), exchange.deadline)
        problem = ExchangeError("timeout", f"{self.host}: no time left to connect")
        for position, address in enumerate(addresses):
            patience = (give_up - time.monotonic()) / (len(addresses) - position)
            if patience <= 0:
                break
            try:
                connection = self._connect_to(address, patience, exchange)
            except OSError as error:
                if is_local(error, address):
                    raise LocalError("connect", f"{type(error).__name__}: {error}") from None
                reason = "timeout" if isinstance(error, TimeoutError) else "connect"
                problem = ExchangeError(reason, f"{address} port {self.port}: {error}")
            else:
                self._ip_address = None if exchange.proxy is not None else address
                exchange.connected = (began, time.monotonic())
                return connection
        if exchange.proxy is not None and not exchange.cut:
            raise ProxyError("connect", problem.detail)
        raise problem

    def _destinations(self, exchange: Exchange) -> Sequence[str]:
        """The addresses to connect to: the errand's, or the proxy's."""
        proxy = exchange.proxy
        if proxy is None:
            return exchange.errand.addresses
        try:
            found = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ProxyError("connect", f"{proxy}: {error}") from None
        return [str(address[0]) for *_, address in found]

    def _connect_to(self, address: str, patience: float, exchange: Exchange) -> socket.socket:
        proxy = exchange.proxy
        if proxy is None and exchange.public_only and not is_public(address):
            raise RefusedAddress("private_address", refusal(address))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if proxy is not None and proxy.is_socks:
            connection: socket.socket = socks.socksocket(family, socket.SOCK_STREAM)
            name, password = proxy.user, proxy.password
            connection.set_proxy(socks.SOCKS5, address, proxy.port, proxy.resolves, name, password)  # type: ignore[attr-defined]
        else:
            connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (source := exchange.egress.source_for(exchange.errand.home.name, address)) is not None:
                bind(connection, source)
            connection.settimeout(patience)
            exchange.watch(connection)
            if proxy is not None and proxy.is_socks:
                self._through_socks(connection, exchange, address)
            else:
                connection.connect((address, self.port))
        except BaseException:
            with contextlib.suppress(ExchangeError):
                exchange.watch(None)
            connection.close()
            raise
        return connection

    def _through_socks(self, connection: socket.socket, exchange: Exchange, address: str) -> None:
        errand = exchange.errand
        name = errand.addresses[0] if errand.addresses else errand.home.name
        try:
            connection.connect((name.strip("[]"), self.port))
        except (socks.ProxyError, OSError) as error:
            cause = getattr(error, "socket_err", None) or error  # PySocks wraps errors, its own too
            reached = not isinstance(error, socks.ProxyConnectionError)
            if not reached and isinstance(cause, OSError) and is_local(cause, address):
                raise cause from None
            # Of the target, not of the proxy: RFC 1928 §6, replies 3 to 6
            if isinstance(cause, socks.SOCKS5Error) and str(cause)[:4] in ("0x03", "0x04", "0x05", "0x06"):
                raise ExchangeError("connect", f"{name} port {self.port}: {cause}") from None
            if exchange.cut or (reached and isinstance(cause, TimeoutError)):
                # It waits in vain itself: a target that does not answer must not take the proxy out
                raise ExchangeError("timeout", f"{name} port {self.port}: {cause}") from None
            raise ProxyError("connect", f"{exchange.proxy}: {error}") from None

    def connect(self) -> None:
        self._requests = 0
        super().connect()

    def request(self, method: str, url: str, *args: Any, **options: Any) -> None:
        """Connect if need be, then send; stamps the exchange in between and after."""
        exchange = current.exchange
        if self.sock is None:
            self.connect()
        exchange.reused = self._requests > 0
        self._requests += 1
        exchange.ip_address = self._ip_address
        exchange.watch(getattr(self.sock, "socket", self.sock))  # TLS within TLS is no socket, but has one
        target = exchange.target
        if exchange.proxy is not None and not exchange.proxy.is_socks and exchange.errand.url.startswith("http:"):
            target = exchange.errand.url
        super().request(method, target, *args, **options)
        exchange.sent = time.monotonic()
        if exchange.on_sent is not None:
            exchange.on_sent()


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    _began_tls: float | None = None
    """Through a tunnel: since when there is one."""

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
        is_the_proxys = exchange.proxy is not None and exchange.errand.url.startswith("http:")
        try:
            super().connect()
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            detail = f"{type(error).__name__}: {error}"
            if is_the_proxys and not exchange.cut:
                raise ProxyError("connect", f"{exchange.proxy}: {detail}") from None
            if exchange.cut or isinstance(error, TimeoutError):
                raise ExchangeError("timeout", f"TLS handshake: {error}") from None
            raise ExchangeError("tls", detail) from None
        finally:
            with exchange.lock:
                duplicate, exchange.socket = exchange.socket, None
            if duplicate is not None:
                duplicate.close()
        if exchange.connected is not None and not is_the_proxys:
            exchange.encrypted = (self._began_tls or exchange.connected[1], time.monotonic())

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> ssl.SSLSocket:
        """A proxy is verified always, for it gets a password: urllib3's own does to it what is done to pages."""
        context = self.proxy_config.ssl_context if self.proxy_config is not None else None
        assert context is not None
        try:
            return context.wrap_socket(sock, server_hostname=hostname)
        except (OSError, ValueError) as error:
            raise ProxyError("connect", f"{current.exchange.proxy}: {type(error).__name__}: {error}") from None

    def _tunnel(self) -> None:
        """Ask the proxy for a way through. It was reached: if it waits, or hangs up, or says so, the target is to
        blame, for a dead page must not take the proxy out.
        """
        exchange = current.exchange
        where = f"{exchange.proxy}: CONNECT {exchange.errand.home.name}"
        try:
            super()._tunnel()
        except (OSError, http.client.HTTPException) as error:
            if exchange.cut or isinstance(error, TimeoutError):
                raise ExchangeError("timeout", f"{where}: {error}") from None
            answer = re.search(r"Tunnel connection failed: (\d{3})", str(error))
            if answer is None:
                raise ExchangeError("broken", f"{where}: {type(error).__name__}: {error}") from None
            if answer[1] < "500":
                raise ProxyError("connect", f"{where}: {error}") from None
            raise ExchangeError("connect", f"{where}: {error}") from None
        self._began_tls = time.monotonic()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect. urllib3 warns here of every page that is not verified, which fetch.verify_tls has asked for."""
        if conn.is_closed:
            conn.connect()


def tls_context(verify: bool = True) -> ssl.SSLContext:
    """One context for all hosts: certificates are verified against the bundle that comes with requests."""
    context = ssl.create_default_context(cafile=authorities())
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def authorities() -> str:
    """The file of the certificate authorities that are trusted."""
    return str(requests.certs.where())  # type: ignore[attr-defined]


class DirectAdapter(HTTPAdapter):
    """requests' adapter without what a crawl does not want: cookies, proxies and settings from the environment, a
    parsed Response, a TLS context a connection. It serves the current exchange; see its `send`.

    `max_hosts` idle hosts keep their connections, `threads_per_host` each.
    """

    def __init__(self, threads_per_host: int, max_hosts: int, verify: bool) -> None:
        super().__init__(max_retries=False)
        self._threads_per_host = threads_per_host
        self._max_hosts = max_hosts
        self._verify = verify
        self._tls: dict[bool, ssl.SSLContext] = {}
        """By whether it verifies."""
        self._pools: dict[tuple[str, Proxy | None], _Pool | _TlsPool] = {}
        self._pools_lock = threading.Lock()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The current exchange's pool."""
        exchange = current.exchange
        key = exchange.errand.origin, exchange.proxy
        with self._pools_lock:
            pool = self._pools.pop(key, None)
            if pool is None:
                pool = self._new_pool(*key)
                if len(self._pools) >= self._max_hosts:
                    # The longest unused; urllib3 closes its idle connections when its last user lets go of it
                    del self._pools[next(iter(self._pools))]
            self._pools[key] = pool
        return pool

    def close_idle(self) -> None:
        """Close the connections that are kept for later: what they hold, this machine is short of."""
        with self._pools_lock:
            pools = list(self._pools.values())
        for pool in pools:
            if (queue := pool.pool) is None:
                continue
            with contextlib.suppress(Empty, Full):  # others take from it and put into it
                for _ in range(self._threads_per_host):
                    if (connection := queue.get_nowait()) is not None:  # urllib3's pools hold None for one to be made
                        connection.close()

    def close(self) -> None:
        with self._pools_lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()
        super().close()

    def _new_pool(self, origin: str, proxy: Proxy | None) -> _Pool | _TlsPool:
        parsed = urllib3.util.parse_url(origin)
        scheme, host, port = parsed.scheme, parsed.host or "", parsed.port
        options: dict[str, Any] = {"maxsize": self._threads_per_host}
        verify = self._verify
        if proxy is not None and not proxy.is_socks:
            if scheme == "http":  # the proxy is asked for the whole URL: a tunnel is for TLS
                scheme, host, port, verify = proxy.scheme, proxy.host, proxy.port, True
            else:
                url = urllib3.util.parse_url(proxy.url)
                options |= {"_proxy": url, "_proxy_headers": proxy.fields(),
                            "_proxy_config": ProxyConfig(self._context(True), False, None, None)}  # fmt: skip
        if scheme == "http":
            return _Pool(host, port, **options)
        return _TlsPool(host, port, ssl_context=self._context(verify), **options)

    def _context(self, verify: bool) -> ssl.SSLContext:
        context = self._tls.get(verify)
        if context is None:
            context = self._tls[verify] = tls_context(verify)
        return context

    def cert_verify(self, *args: Any, **options: Any) -> None:
        """The TLS context verifies."""

    def request_url(self, *args: Any, **options: Any) -> str:
        """A stand-in: the connection sends the exchange's own target, which urllib3 would spell otherwise."""
        return "/"

    def build_response(self, request: Any, response: Any) -> Any:
        """urllib3's response as it is."""
        return response
