"""The `curl` and `browser` engines: thousands of connections in one thread, by libcurl's event-driven interface.

Owns the event loop (sockets, timers, deadlines, stop), the easy handles and what libcurl's errors mean. What to do
next, `task` decides. libcurl refuses some HTTP that browsers and the `requests` engine read (a header line without a
colon): a host that speaks so is asked again, after its gap, and from then on, through `transport` in a few threads.

libcurl's own name look-ups, decoding, redirects, cookies and proxy settings from the environment are all off: those
are done here as for every engine. https://curl.se/libcurl/c/libcurl-multi.html ("multi_socket") describes the loop.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pycurl

from crawldb.settings import Settings
from jobs.fetching.addresses import is_public, refusal
from jobs.fetching.connections import Exchange, authorities
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.egress import Proxy, bind
from jobs.fetching.errands import Errand
from jobs.fetching.limits import is_local, raise_open_files
from jobs.fetching.rendering import Renderer
from jobs.fetching.replies import (
    DRAIN_BYTES,
    DRAIN_SECONDS,
    MAX_INTERIM,
    Failure,
    Reply,
    latency,
    parse_fields,
    read_body,
    wire_limit,
)
from jobs.fetching.sending import user_agent
from jobs.fetching.task import FetchTask
from jobs.fetching.transport import Transport

_TICK = 0.1
"""Seconds between two looks at the clock and at `stop`."""
_IDLE_CONNECTIONS = 10_000
_GARBLED_THREADS = 8
_BUFFER = 1 << 17
"""Bytes that libcurl reads at once."""
_STATUS_LINE = re.compile(rb"HTTP/(\d(?:\.\d)?) +(\d{3})(?!\d)").match
_VERSIONS = {1: "http/1.0", 2: "http/1.1", 3: "h2"}

_WHOLLY_SENT = getattr(pycurl, "POSTTRANSFER_TIME_T", pycurl.PRETRANSFER_TIME_T)
"""When the last byte of the request had left, in microseconds."""
_TOO_LARGE = 100
"""CURLE_TOO_LARGE: the header fields, for one."""
_PROXY = {pycurl.E_COULDNT_RESOLVE_PROXY, 97}
_TARGETS = {19, 21, 22, 24}
"""CURLPX_REPLY_…: CONNECTION_REFUSED, HOST_UNREACHABLE, NETWORK_UNREACHABLE, TTL_EXPIRED (curl/curl.h): what a SOCKS
proxy says of its target."""
_GARBLED = {pycurl.E_UNSUPPORTED_PROTOCOL, 8}
"""HTTP/0.9 or none at all; CURLE_WEIRD_SERVER_REPLY."""
_REASONS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_CONNECT: "connect",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    **dict.fromkeys((35, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91, 98), "tls"),
    **dict.fromkeys((16, 18, 52, 55, 56, 92, 95), "broken"),
}
"""libcurl's errors in the words of outcomes.py; all others are `protocol`. https://curl.se/libcurl/c/libcurl-errors.html"""


def fetch(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots] = (), renderer: Callable[[Settings], Renderer] | None = None,
) -> FetchReport:  # fmt: skip
    """Fetch them all with libcurl; see contract.Engine. Raises UsageError without http.agent_name."""
    user_agent(settings)
    if not requests:
        return FetchReport()
    return _Run(requests, settings, emit, stop, known, renderer).run()


fetch_and_render = functools.partial(fetch, renderer=Renderer)
"""The `browser` engine: the same, and Chromium for the pages that [browser] names."""


class _Socket(socket.socket):
    """A socket for pycurl, which makes a duplicate of it and lets go of this one."""

    def __del__(self) -> None:
        self.close()


class _Transfer:
    """An easy handle, and the one exchange that it is used for now."""

    def __init__(self, run: _Run) -> None:
        self.curl = pycurl.Curl()
        self.curl.transfer = self
        self._run = run
        self._headers: dict[str, str] | None = None
        self._proxy: Proxy | None = None
        self._pinned = False
        """True if RESOLVE is set."""
        self.reply = Reply(0)
        self.lines: list[bytes] = []
        """Status lines and header fields, as they came; libcurl bounds them (300 KiB)."""
        self.reset()
        settings = run.settings
        fetch = settings.fetch
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS_STR if hasattr(pycurl, "PROTOCOLS_STR") else pycurl.PROTOCOLS,
             "http,https" if hasattr(pycurl, "PROTOCOLS_STR") else pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.PROXY, ""),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.BUFFERSIZE, _BUFFER),
            (pycurl.CONNECTTIMEOUT_MS, max(int(fetch.timeout * 1000), 1)),
            (pycurl.TIMEOUT_MS, max(int(fetch.max_seconds * 1000), 1)),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, max(math.ceil(fetch.timeout), 1)),
            (pycurl.HTTP_VERSION,
             pycurl.CURL_HTTP_VERSION_2TLS if fetch.http_version == "2" else pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.CAINFO, run.authorities),
            (pycurl.PROXY_CAINFO, run.authorities),
            (pycurl.SSL_VERIFYPEER, int(fetch.verify_tls)),
            (pycurl.SSL_VERIFYHOST, 2 if fetch.verify_tls else 0),
            (pycurl.DNS_CACHE_TIMEOUT, -1),
            (pycurl.SHARE, run.share),
            (pycurl.HEADERFUNCTION, self.lines.append),
            (pycurl.WRITEFUNCTION, self._write),
            (pycurl.OPENSOCKETFUNCTION, self._open),
            (pycurl.PREREQFUNCTION, self._before_request),
        ):  # fmt: skip
            self.curl.setopt(option, value)

    def reset(self) -> None:
        """Forget the last exchange."""
        self.errand: Errand | None = None
        self.lines.clear()
        self.pieces: list[bytes] = []
        self.size = 0
        self.limit: int | None = None
        """Bytes of the body; None while there is none."""
        self.keeps = False
        """True if the body is wanted."""
        self.short = False
        """True if the body was cut off at its limit."""
        self.began = 0.0
        self.deadline = math.inf
        self.patience = 0.0
        self.local: str | None = None
        self.tries = 0
        self.sent = 0.0
        """When it was connected and about to send (monotonic)."""

    def start(self, errand: Errand, delay: float) -> None:
        """Make the handle ready for an errand."""
        curl = self.curl
        self.errand = errand
        self.reply = Reply(time.time_ns() // 1_000_000)
        self.patience = latency(delay)
        self.began = time.monotonic()
        if errand.is_beside:  # the page that it is for does not wait any longer
            self.deadline = self.began + self._run.settings.browser.max_seconds
        curl.setopt(pycurl.URL, errand.url)
        if errand.headers is not self._headers:
            curl.setopt(pycurl.HTTPHEADER, self._run.header_lines(errand))
            self._headers = errand.headers
        if errand.method != "GET" or errand.body is not None:
            self._set_method(errand)
        if self._pinned:
            curl.unsetopt(pycurl.RESOLVE)
            self._pinned = False
        if (pin := self._run.pin(errand)) is not None:
            curl.setopt(pycurl.RESOLVE, [pin])
            self._pinned = True
        proxy = errand.route.proxy if errand.route is not None else None
        if proxy is not self._proxy:
            self._set_proxy(proxy)

    @property
    def is_plain(self) -> bool:
        """False if the handle has options that the next exchange must not have."""
        return self.errand is None or (self.errand.method == "GET" and self.errand.body is None)

    def _set_method(self, errand: Errand) -> None:
        if errand.body is not None:
            self.curl.setopt(pycurl.POSTFIELDS, errand.body)
        if errand.method == "HEAD":
            self.curl.setopt(pycurl.NOBODY, 1)
        else:
            self.curl.setopt(pycurl.CUSTOMREQUEST, errand.method)

    def _set_proxy(self, proxy: Proxy | None) -> None:
        self._proxy = proxy
        if proxy is None:
            self.curl.setopt(pycurl.PROXY, "")
            self.curl.unsetopt(pycurl.PROXYUSERNAME)
            self.curl.unsetopt(pycurl.PROXYPASSWORD)
            return
        self.curl.setopt(pycurl.PROXY, proxy.url)
        for option, value in ((pycurl.PROXYUSERNAME, proxy.user), (pycurl.PROXYPASSWORD, proxy.password)):
            if value is None:
                self.curl.unsetopt(option)
            else:
                self.curl.setopt(option, value)

    # What libcurl calls

    def _open(self, purpose: int, address: Any) -> Any:
        """A socket to connect with: from the right address, and to no address that is not to be reached."""
        family, kind, protocol, (host, *_) = address
        host = host.decode() if isinstance(host, bytes) else host
        errand = self.errand
        if errand is None:
            return pycurl.SOCKET_BAD
        if self._run.public_only and self._proxy is None and not is_public(host):
            self.reply.refused_address = refusal(host)
            return pycurl.SOCKET_BAD
        connection = None
        try:
            connection = _Socket(family, kind, protocol)
            os.close(os.dup(connection.fileno()))  # pycurl does, and says nothing of use if it cannot
            if (source := self._run.task.egress.source_for(errand.home.name, host)) is not None:
                bind(connection, source)
        except OSError as error:
            if connection is not None:
                connection.close()
            if is_local(error):
                self.local = f"{type(error).__name__}: {error}"
            return pycurl.SOCKET_BAD
        return connection

    def _before_request(self, *_: Any) -> int:
        """libcurl is connected and about to send. It would send a request that found its kept connection closed again
        at once, a POST too: whether, and when, is the task's to decide."""
        self.tries += 1
        if self.tries > 1:
            return int(pycurl.PREREQFUNC_ABORT)
        self.sent = time.monotonic()
        if self._run.needs_sent and self.errand is not None:
            self._run.sent_now.append((self.errand, self.sent + self.patience))
        return int(pycurl.PREREQFUNC_OK)

    def _write(self, data: bytes) -> int | None:
        if self.limit is None:
            self.read_head()
            assert self.limit is not None
        self.size += len(data)
        if self.size > self.limit:
            if self.keeps:
                self.pieces.append(data[: len(data) - (self.size - self.limit - 1)])
            self.short = True
            return 0
        if self.keeps:
            self.pieces.append(data)
        return None

    def read_head(self) -> None:
        """Status and header fields of the answer, and how much of its body is wanted."""
        reply, errand = self.reply, self.errand
        assert errand is not None
        start = next((place for place in range(len(self.lines) - 1, -1, -1) if self.lines[place][:5] == b"HTTP/"), -1)
        found = _STATUS_LINE(self.lines[start]) if start >= 0 else None
        self.limit = 0
        if found is None:
            return
        reply.status = int(found[2])
        if reply.status < 200 and reply.status != 101:  # 1xx without an end: no answer
            reply.status = None
            return
        reply.fields = parse_fields(self.lines[start + 1 :])
        self.keeps = errand.wants(reply, self._run.settings)
        if self.keeps:
            self.limit = wire_limit(reply, errand.max_bytes)
        else:
            length = reply.header("content-length") or "0"
            self.limit = DRAIN_BYTES if not length.isdigit() or int(length) <= DRAIN_BYTES else 0
            self.deadline = time.monotonic() + DRAIN_SECONDS


class _Run:
    """One call of `fetch`: the loop and its transfers."""

    def __init__(
        self, requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None],
        stop: threading.Event, known: Sequence[KnownRobots], renderer: Callable[[Settings], Renderer] | None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._emit = emit
        self._stop = stop
        fetch = settings.fetch
        hosts = len({request.host for request in requests})
        at_once = min(fetch.connections, hosts * fetch.threads_per_host) if renderer is None else fetch.connections
        files, note = raise_open_files(min(hosts * fetch.threads_per_host, _IDLE_CONNECTIONS) + at_once + 100)
        at_once = max(min(at_once, (files - 100) // 2), 1)
        self.task = FetchTask(requests, settings, known, self._wake, at_once, renderer)
        if note is not None:
            self.task.report.notes.append(note)
        self.public_only = not fetch.allow_private_addresses
        self.authorities = authorities()
        self.needs_sent = self.task.needs_sent()
        self.sent_now: list[tuple[Errand, float]] = []
        """Errands whose requests have just left, and when they count as started."""
        self.share = pycurl.CurlShare()
        self.share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
        self._pins: dict[str, tuple[str, ...]] = {}
        """By origin: the addresses that libcurl was told."""
        self._idle: list[_Transfer] = []
        self._active: set[_Transfer] = set()
        self._poll = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._poll_unit = 1.0 if hasattr(select, "epoll") else 1000.0
        self._timer = math.inf
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max(min(files - at_once - 50, _IDLE_CONNECTIONS), at_once))
        self._most_connections = 0
        """0: libcurl may open as many as it is given transfers."""
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._poll.register(self._woken.fileno(), select.POLLIN)
        self._lenient: Transport | None = None
        self._lenient_threads: ThreadPoolExecutor | None = None
        self._lenient_active: dict[Errand, Exchange] = {}
        self._lenient_done: deque[tuple[Errand, Reply]] = deque()

    def run(self) -> FetchReport:
        """The loop."""
        give_up = math.inf
        next_tick = 0.0
        stopped = False
        task = self.task
        try:
            while True:
                now = time.monotonic()
                if now >= next_tick:
                    next_tick = now + _TICK
                    task.tick(now)
                    self._cut_off_the_late(now)
                    if self._stop.is_set() and not stopped:
                        stopped = True
                        task.close("stopped")
                        for transfer in self._active:
                            if transfer.errand is not None and transfer.errand.is_beside:
                                transfer.deadline = now  # its page is left
                        give_up = now + self.settings.fetch.shutdown_seconds
                wait = self._start_errands(now)
                self._hand_on()
                if wait is None and not self._active and not self._lenient_active:
                    break
                if now >= give_up:
                    break
                wait = min(math.inf if wait is None else wait, self._timer - now, next_tick - now, give_up - now)
                self._run_curl(max(wait, 0.0))
        finally:
            report = self._shut_down()
        return report

    def _start_errands(self, now: float) -> float | None:
        """Start all that may start now; the seconds until there may be more, None: nothing starts any more."""
        task = self.task
        self._limit_connections()
        while True:
            under_way = len(self._active) + len(self._lenient_active)
            pause = task.pause(now, under_way)
            if pause > 0:
                return pause
            errand = task.next(now)
            if not isinstance(errand, Errand):
                return errand
            if errand.home.garbled:
                self._start_lenient(errand)
                continue
            transfer = self._idle.pop() if self._idle else _Transfer(self)
            try:
                transfer.start(errand, task.delay(errand))
            except (pycurl.error, UnicodeError) as error:
                self._refused_by_curl(transfer, error)
                continue
            self._active.add(transfer)
            self._multi.add_handle(transfer.curl)

    def _limit_connections(self) -> None:
        """Where this machine has run short, let libcurl close idle connections before it opens others."""
        throttle = self.task.throttle
        most = throttle.allowed if throttle.allowed < throttle.maximum else 0
        if most != self._most_connections:
            self._most_connections = most
            self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, most)

    def _run_curl(self, wait: float) -> None:
        """Wait for sockets and the timer, let libcurl work, and finish what is done."""
        multi = self._multi
        try:
            events = self._poll.poll(wait * self._poll_unit)
        except InterruptedError:
            events = []
        for file, event in events:
            if file == self._woken.fileno():
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                continue
            mask = pycurl.CSELECT_IN if event & select.POLLIN else 0
            mask |= pycurl.CSELECT_OUT if event & select.POLLOUT else 0
            mask |= pycurl.CSELECT_ERR if event & (select.POLLERR | select.POLLHUP) else 0
            multi.socket_action(file, mask)
        if time.monotonic() >= self._timer:
            self._timer = math.inf
            multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if self.sent_now:
            for errand, at in self.sent_now:
                self.task.sent(errand, at)
            self.sent_now.clear()
        more = 1
        while more:
            more, succeeded, failed = multi.info_read()
            for curl in succeeded:
                self._finish(curl.transfer, 0, "")
            for curl, code, message in failed:
                self._finish(curl.transfer, code, message)
        while self._lenient_done:
            errand, reply = self._lenient_done.popleft()
            del self._lenient_active[errand]
            self.task.finished(errand, reply, time.monotonic())

    def _hand_on(self) -> None:
        for result in self.task.take():
            self._emit(result)
            self.task.count(result)

    def _cut_off_the_late(self, now: float) -> None:
        """End transfers that only drain a body, parts of pages, and lenient ones, that have taken too long."""
        for transfer in [one for one in self._active if now >= one.deadline]:
            if transfer.limit is not None and not transfer.keeps:
                transfer.short = True
                self._finish(transfer, pycurl.E_WRITE_ERROR, "")
            else:
                transfer.reply.cut = "timeout"
                self._finish(transfer, pycurl.E_OPERATION_TIMEDOUT, "its page waits no longer")
        for exchange in self._lenient_active.values():
            if now >= exchange.deadline:
                exchange.cut_off("timeout")

    def _shut_down(self) -> FetchReport:
        """End what is still under way, take stock, close all connections."""
        task = self.task
        task.close("stopped")
        now = time.monotonic()
        for transfer in list(self._active):
            transfer.reply.cut = "stopped"
            self._finish(transfer, pycurl.E_OPERATION_TIMEDOUT, "stopped")
        for exchange in self._lenient_active.values():
            exchange.cut_off("stopped")
        if self._lenient_threads is not None:
            self._lenient_threads.shutdown(wait=True)
            for errand, reply in self._lenient_done:
                task.finished(errand, reply, now)
        report = task.end()
        for transfer in self._idle:
            transfer.curl.transfer = None
            transfer.curl.close()
        self._idle.clear()
        self._multi.close()
        if self._lenient is not None:
            self._lenient.close()
        self._poll.unregister(self._woken.fileno())
        self._woken.close()
        self._waker.close()
        if hasattr(self._poll, "close"):
            self._poll.close()
        return report

    # -- libcurl's callbacks -----------------------------------------------------------------------------

    def _watch_socket(self, event: int, file: int, *_: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            with contextlib.suppress(OSError, KeyError):  # closed already
                self._poll.unregister(file)
            return
        mask = (select.POLLIN if event & pycurl.POLL_IN else 0) | (select.POLLOUT if event & pycurl.POLL_OUT else 0)
        try:
            self._poll.register(file, mask)
        except FileExistsError:
            self._poll.modify(file, mask)

    def _set_timer(self, milliseconds: int) -> None:
        self._timer = math.inf if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # it is awake; or has ended
            self._waker.send(b"\0")

    # -- what transfers ask ------------------------------------------------------------------------------

    @functools.lru_cache(64)  # noqa: B019  (the run is short-lived, and so are its headers)
    def _lines(self, items: tuple[tuple[str, str], ...]) -> list[bytes]:
        given = {name.lower() for name, _ in items}
        lines = [
            f"{name}: {value}" if value else f"{name};" for name, value in items if name.lower() != "content-length"
        ]
        # Without a value: libcurl's own fields of these names are not sent
        lines += [f"{name}:" for name in ("Accept", "Expect", "Content-Type") if name.lower() not in given]
        return [line.encode("iso-8859-1") for line in lines]

    def header_lines(self, errand: Errand) -> list[bytes]:
        """The errand's header fields for libcurl."""
        return self._lines(tuple(errand.headers.items()))

    def pin(self, errand: Errand) -> str | None:
        """An entry for libcurl's name cache, if it does not have this one: it never looks up a name itself."""
        addresses = errand.addresses
        if not addresses or self._pins.get(errand.origin) == addresses:
            return None
        self._pins[errand.origin] = addresses
        host = errand.home.name
        if host == addresses[0] or host[0] == "[":
            return None
        port = errand.origin[len(host) + errand.origin.index("//") + 3 :] or ("443" if errand.url[4] == "s" else "80")
        found = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
        return f"{host}:{port}:{found}"

    # -- the end of a transfer ---------------------------------------------------------------------------

    def _refused_by_curl(self, transfer: _Transfer, error: Exception) -> None:
        """libcurl does not take the request as it is: the page's own failure."""
        errand, reply = transfer.errand, transfer.reply
        assert errand is not None
        reply.fail(Failure("protocol", f"{type(error).__name__}: {error}"[:300]))
        transfer.curl.close()
        self.task.finished(errand, reply, time.monotonic())

    def _finish(self, transfer: _Transfer, code: int, message: str) -> None:
        errand, reply, curl = transfer.errand, transfer.reply, transfer.curl
        assert errand is not None
        self._multi.remove_handle(curl)
        self._active.discard(transfer)
        if transfer.limit is None and code != 8:
            transfer.read_head()
        if code and not transfer.short:
            self._book_failure(transfer, code, message)
        elif reply.status is None:
            reply.fail(Failure("protocol", "no HTTP answer"))
            reply.garbled = True
        elif not _head_is_complete(transfer.lines):
            reply.fail(Failure("broken", "the connection was closed within the header"))
            reply.fields = []
        elif transfer.keeps:
            self._book_body(transfer, None)
        self._book_times(transfer)
        plain = transfer.is_plain
        transfer.reset()
        if plain and len(self._idle) < self.settings.fetch.connections:
            self._idle.append(transfer)
        else:
            curl.transfer = None
            curl.close()
        self.task.finished(errand, reply, time.monotonic())

    def _book_body(self, transfer: _Transfer, failure: Failure | None) -> None:
        errand, pieces = transfer.errand, transfer.pieces
        assert errand is not None
        raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        read_body(transfer.reply, raw, transfer.short, failure, errand.max_bytes)

    def _book_failure(self, transfer: _Transfer, code: int, message: str) -> None:
        """What libcurl's error says of whom."""
        errand, reply, curl = transfer.errand, transfer.reply, transfer.curl
        assert errand is not None
        reason = _REASONS.get(code, "protocol")
        if transfer.tries > 1:
            reason, message, reply.reused = "broken", "the kept connection was closed", True
        elif sum(line[:5] == b"HTTP/" for line in transfer.lines) > MAX_INTERIM:
            reason, message = "protocol", "too many 1xx answers"
        elif code == _TOO_LARGE or (code == pycurl.E_RECV_ERROR and "header" in message.lower()):
            reason, message = "protocol", "header too long"
        failure = Failure(reason, f"{message or 'libcurl'} (libcurl {code})"[:300])
        if reply.cut is None and code == pycurl.E_OPERATION_TIMEDOUT:
            reply.cut = "timeout"
        # What came before the request left is a proxy's answer to CONNECT
        if reply.status is not None and _head_is_complete(transfer.lines) and transfer.sent:
            if transfer.keeps:
                self._book_body(transfer, failure)
            return
        reply.fields = []
        proxy = errand.route.proxy if errand.route is not None else None
        if transfer.local is not None:
            reply.local, failure = True, Failure("connect", transfer.local)
        elif code == pycurl.E_COULDNT_CONNECT and is_local(number := curl.getinfo(pycurl.OS_ERRNO), errand.address):
            reply.local, failure = True, Failure("connect", f"errno {number}: {message}")
        elif code == pycurl.E_OUT_OF_MEMORY:
            reply.local = True
        elif reply.refused_address is not None:
            failure = Failure("private_address", reply.refused_address)
        elif proxy is not None:
            # A proxy that was reached, and waits or hangs up, does so for its target: a dead page must not take it out
            answered = curl.getinfo(pycurl.HTTP_CONNECTCODE)
            if curl.getinfo(pycurl.PROXY_ERROR) in _TARGETS:
                failure = Failure("connect", failure.detail)
            elif answered >= 300:
                reply.proxy_failed = answered < 500
                failure = Failure("connect", failure.detail)
            elif reason == "tls":
                reply.proxy_failed = proxy.scheme == "https" and not answered
            elif reply.cut is None or not curl.getinfo(pycurl.CONNECT_TIME):
                reply.proxy_failed = code in _PROXY or not curl.getinfo(pycurl.CONNECT_TIME)
        reply.garbled = code in _GARBLED and reply.cut is None
        reply.fail(failure)

    def _book_times(self, transfer: _Transfer) -> None:
        reply, curl = transfer.reply, transfer.curl
        getinfo = curl.getinfo
        now = time.monotonic()
        reply.elapsed = int((now - transfer.began) * 1000)
        reply.answered = bool(transfer.lines)
        reply.reused = reply.reused or (bool(transfer.sent) and not getinfo(pycurl.NUM_CONNECTS))
        if not reply.reused:
            connected, encrypted = getinfo(pycurl.CONNECT_TIME), getinfo(pycurl.APPCONNECT_TIME)
            if connected:
                reply.connect_time = int((connected - getinfo(pycurl.NAMELOOKUP_TIME)) * 1000)
            if encrypted:
                reply.tls_time = int((encrypted - connected) * 1000)
        # Of libcurl's clock, which began when the transfer did; that is at the latest this long ago
        began = now - getinfo(pycurl.TOTAL_TIME)
        sent, answered = getinfo(pycurl.PRETRANSFER_TIME), getinfo(pycurl.STARTTRANSFER_TIME)
        if sent and reply.answered:
            reply.first_byte_time = int(max(answered - sent, 0.0) * 1000)
        wholly_sent = max(getinfo(_WHOLLY_SENT) / 1e6, sent)
        reply.started = began + min(answered or math.inf, wholly_sent + transfer.patience) if sent else now
        assert transfer.errand is not None
        if transfer.errand.route is None or transfer.errand.route.proxy is None:
            reply.ip_address = getinfo(pycurl.PRIMARY_IP) or None
        if reply.status is not None:
            reply.protocol = _VERSIONS.get(getinfo(pycurl.INFO_HTTP_VERSION))
            if transfer.errand.url.startswith("https:"):
                reply.tls = "verified" if self.settings.fetch.verify_tls else "unverified"

    # -- what libcurl does not read ----------------------------------------------------------------------

    def _start_lenient(self, errand: Errand) -> None:
        if self._lenient is None or self._lenient_threads is None:
            self._lenient = Transport(self.settings, self.task.egress, 1000)
            self._lenient_threads = ThreadPoolExecutor(_GARBLED_THREADS, "fetch-lenient")
        transport, exchange = self._lenient, self._lenient.exchange(errand)
        self._lenient_active[errand] = exchange
        delay = self.task.delay(errand)

        def work() -> None:
            self._lenient_done.append((errand, transport.send(exchange, delay)))
            self._wake()

        self._lenient_threads.submit(work)


def _head_is_complete(lines: list[bytes]) -> bool:
    return any(line in (b"\r\n", b"\n") for line in lines)
