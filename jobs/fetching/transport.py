"""One exchange with requests: an Errand goes out, a Reply comes back, in the caller's thread.

Owns the way between them: the prepared request straight to the adapter, the body read piece by piece within its
limits. `connections` has what urllib3 lacks; the `requests` engine runs this in its threads, the `curl` engine for the
hosts whose HTTP libcurl does not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from requests.models import PreparedRequest
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout

from crawldb.settings import Settings
from jobs.fetching import outcomes
from jobs.fetching.connections import (
    DirectAdapter,
    Exchange,
    ExchangeError,
    LocalError,
    ProxyError,
    RefusedAddress,
    current,
)
from jobs.fetching.egress import Egress
from jobs.fetching.errands import Errand
from jobs.fetching.replies import DRAIN_BYTES, DRAIN_SECONDS, Failure, Reply, latency, read_body, wire_limit

_PIECE = 1 << 16
"""Bytes read at once."""


class Transport:
    """Connections kept for `max_hosts` idle hosts; used from many threads at once."""

    def __init__(self, settings: Settings, egress: Egress, max_hosts: int) -> None:
        fetch = settings.fetch
        self._settings, self._egress = settings, egress
        self._timeout = Timeout(connect=fetch.timeout, read=fetch.timeout)
        self._adapter = DirectAdapter(fetch.threads_per_host, max_hosts, fetch.verify_tls)

    def exchange(self, errand: Errand) -> Exchange:
        """The exchange of an errand, for whoever wants to watch over it."""
        return Exchange(errand, self._settings, self._egress)

    def send(self, exchange: Exchange, delay: float, on_sent: Callable[[float], None] | None = None) -> Reply:
        """Send the request and read the answer. Never raises for what the network or the server does.

        `delay` is the gap that the errand's queue keeps; `on_sent` is called with the time that it counts from, as soon
        as that is known.
        """
        errand = exchange.errand
        request = PreparedRequest()
        request.method, request.body, request.url = errand.method, errand.body, errand.url
        request.headers = errand.headers  # type: ignore[assignment]  # a dict does, and urllib3 copies it
        proxy = exchange.proxy
        if proxy is not None and not proxy.is_socks and errand.url.startswith("http:"):
            request.headers = {**errand.headers, **proxy.fields()}  # type: ignore[assignment]
        patience = latency(delay)
        if on_sent is not None:
            exchange.on_sent = lambda: on_sent((exchange.sent or 0.0) + patience)
        began = time.monotonic()
        reply = Reply(time.time_ns() // 1_000_000)
        current.exchange = exchange
        try:
            answer: BaseHTTPResponse = self._adapter.send(request, stream=True, timeout=self._timeout)  # type: ignore[arg-type, assignment]
            try:
                reply.status = answer.status
                self._read(answer, reply, exchange)
            finally:
                exchange.watch(None)
                if answer.connection is not None:
                    answer.close()
        except ExchangeError as error:
            reply.fail(Failure(error.reason, error.detail))
            reply.local = isinstance(error, LocalError)
            if reply.local:
                self._adapter.close_idle()
            reply.proxy_failed = isinstance(error, ProxyError)
            reply.refused_address = error.detail if isinstance(error, RefusedAddress) else None
        except Exception as error:  # a page's failure is data, whatever the libraries call it
            reply.fail(Failure(outcomes.of_error(error), outcomes.describe(error)))
        if exchange.cut is not None and reply.status is None:
            reply.fail(Failure("timeout", "fetch.max_seconds ran out"))
        self._book(reply, exchange, began, patience)
        return reply

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def _read(self, answer: BaseHTTPResponse, reply: Reply, exchange: Exchange) -> None:
        """Read the body if it is wanted; of any other only what keeps the connection."""
        reply.fields = exchange.fields
        errand = exchange.errand
        if not errand.wants(reply, self._settings):
            _drain(answer, exchange)
            return
        limit = wire_limit(reply, errand.max_bytes)
        pieces: list[bytes] = []
        size = 0
        failure = None
        try:
            while size <= limit:
                piece = answer.read1(min(_PIECE, limit + 1 - size), decode_content=False)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
                if answer.length_remaining == 0:
                    break
        except Exception as error:  # whatever the libraries raise for it: the rest is missing
            failure = Failure(outcomes.of_error(error), outcomes.describe(error))
        if exchange.cut is not None and size <= limit:
            # A socket that was shut down reads like one that the server closed
            failure = Failure("timeout", "fetch.max_seconds ran out")
        raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        read_body(reply, raw, size > limit, failure, errand.max_bytes)

    def _book(self, reply: Reply, exchange: Exchange, began: float, patience: float) -> None:
        """What took how long, and from whom the answer came."""
        now = time.monotonic()
        reply.elapsed = _ms(began, now)
        reply.cut, reply.reused, reply.answered = exchange.cut, exchange.reused, exchange.answered is not None
        reply.ip_address, reply.fields = exchange.ip_address, exchange.fields
        if reply.status is not None:
            reply.protocol = "http/1.0" if exchange.version == 10 else "http/1.1"
            if exchange.errand.url.startswith("https:"):
                reply.tls = "verified" if self._settings.fetch.verify_tls else "unverified"
        if exchange.connected is not None:
            reply.connect_time = _ms(*exchange.connected)
        if exchange.encrypted is not None:
            reply.tls_time = _ms(*exchange.encrypted)
        answered = now if exchange.answered is None else exchange.answered
        if exchange.sent is not None:
            reply.first_byte_time = None if exchange.answered is None else _ms(exchange.sent, answered)
            answered = min(answered, exchange.sent + patience)
        reply.started = answered


def _ms(start: float, end: float) -> int:
    return int((end - start) * 1000)


def _drain(answer: BaseHTTPResponse, exchange: Exchange) -> None:
    """Read a body that nobody wants, if it is short and quick, so that the connection can be used again."""
    if (answer.length_remaining or 0) > DRAIN_BYTES:
        return
    exchange.deadline = min(exchange.deadline, time.monotonic() + DRAIN_SECONDS)
    try:
        size = 0
        while size <= DRAIN_BYTES:
            piece = answer.read1(_PIECE, decode_content=False)
            if not piece:
                break
            size += len(piece)
    except Exception:  # the answer is complete without it
        return
