"""What came back: the body, read within its bounds, and the FetchResult it makes.

Owns the reading of a urllib3 answer (fetch.max_bytes of a wanted body, little of any other, codings undone piece by
piece) and the moment that a request counts as started. What a status or an error means, `outcomes` says.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from urllib3.response import BaseHTTPResponse

from crawldb.schema import FetchOutcome
from crawldb.urls import canonicalize
from jobs.fetching import outcomes
from jobs.fetching.connections import Exchange, ExchangeError
from jobs.fetching.contract import FetchRequest, FetchResult
from jobs.fetching.robots import Refusal

_PIECE = 1 << 16
"""Bytes read at once."""
_DRAIN_BYTES = 1 << 16
_DRAIN_SECONDS = 1.0
"""An answer's body that nobody wants is read so far, to keep the connection; a longer one ends it."""
_WIRE_SLACK = 1 << 16
"""Bytes over fetch.max_bytes that may come over the wire: codings can make small content larger, not much."""
_UNDECODABLE = {"br", "zstd", "compress", "x-compress", "sdch", "dcb", "dcz"}
"""Real codings that may lack a decoder here. Other unknown words in Content-Encoding are taken for mistakes."""
_LATENCY_SHARE, _LATENCY_SECONDS = 0.5, 0.25
"""A request counts as started when its answer begins: by then the server had it for certain, however long it stood
in a queue there, so the server sees the gap. An answer that takes longer than this (so much of the delay, at most so
many seconds) is slow for reasons of its own, and the gap counts from that long after the request was sent."""


@dataclass(slots=True)
class Reply:
    """What one exchange came to: an answer, or an error in `reason` with `status` None."""

    exchange: Exchange
    began: int
    """UTC milliseconds."""
    elapsed: int = 0
    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    content: bytes | None = None
    truncated: str | None = None

    def header(self, name: str) -> str | None:
        """The first header field of this name (lower case)."""
        for field, value in self.exchange.fields:
            if field.lower() == name:
                return value
        return None

    @property
    def stopped(self) -> bool:
        """True if we cut it off to end the run, so that it says nothing about the page."""
        return self.exchange.cut == "stopped" and (self.status is None or self.truncated in ("seconds", "broken"))

    def started(self, delay: float) -> float:
        """When the request counts as started at the server (see _LATENCY_SHARE)."""
        exchange = self.exchange
        answered = time.monotonic() if exchange.answered is None else exchange.answered
        if exchange.sent is None:
            return answered
        return min(answered, exchange.sent + latency(delay))


def latency(delay: float) -> float:
    """Seconds from sending a request to the latest moment that counts as its start, where `delay` is kept."""
    return min(delay * _LATENCY_SHARE, _LATENCY_SECONDS)


def read(answer: BaseHTTPResponse, reply: Reply, max_bytes: int, is_robots: bool) -> None:
    """Read the body of a success into `reply`; of any other answer only what keeps the connection."""
    status = answer.status
    wanted = 200 <= status < 300 if is_robots else outcomes.of_status(status)[0] is FetchOutcome.success
    if not wanted:
        _drain(answer, reply.exchange)
        return
    content, reply.truncated, error = _body(answer, max_bytes)
    if reply.truncated != "bytes" and reply.exchange.cut is not None:
        # A socket that was shut down reads like one that the server closed
        reply.truncated = "seconds"
        error = error or ExchangeError("timeout", "fetch.max_seconds ran out")
    if reply.truncated is None and status == 206 and not _is_whole(reply.header("content-range")):
        reply.truncated = "broken"
    if error is not None:
        reply.detail = outcomes.describe(error)
        if not content:  # nothing of the page is there
            reply.status = None
            reply.reason = "timeout" if reply.truncated == "seconds" else outcomes.of_error(error)
            if isinstance(error, ExchangeError):
                reply.reason = error.reason
    reply.content = content


def _body(answer: BaseHTTPResponse, max_bytes: int) -> tuple[bytes, str | None, Exception | None]:
    """The body without its content coding, at most max_bytes of it; why it is cut off; the error that ended it."""
    coding = answer.headers.get("content-encoding", "").lower()
    if coding:
        unknown = {word.strip() for word in coding.split(",")} - set(answer.CONTENT_DECODERS)
        if unknown & _UNDECODABLE:
            return b"", "broken", ExchangeError("encoding", f"Content-Encoding: {coding}")
        coding = "" if unknown else coding
    pieces: list[bytes] = []
    size = 0
    error: Exception | None = None
    try:
        while size <= max_bytes:
            piece = answer.read1(min(_PIECE, max_bytes + 1 - size), decode_content=bool(coding))
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if not coding and answer.length_remaining == 0:
                break
            if coding and answer.tell() > max_bytes + _WIRE_SLACK:  # type: ignore[attr-defined]
                return b"".join(pieces)[:max_bytes], "bytes", None
    except Exception as caught:  # whatever the libraries raise for it: the rest is missing
        error = caught
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if size > max_bytes:
        return content[:max_bytes], "bytes", None
    if error is None:
        return content, None, None
    return content, "seconds" if outcomes.of_error(error) == "timeout" else "broken", error


def _drain(answer: BaseHTTPResponse, exchange: Exchange) -> None:
    """Read a body that nobody wants, if it is short and quick, so that the connection can be used again."""
    if (answer.length_remaining or 0) > _DRAIN_BYTES:
        return
    exchange.deadline = min(exchange.deadline, time.monotonic() + _DRAIN_SECONDS)
    try:
        size = 0
        while size <= _DRAIN_BYTES:
            piece = answer.read1(_PIECE, decode_content=False)
            if not piece:
                break
            size += len(piece)
    except Exception:  # the answer is complete without it
        return


def _is_whole(content_range: str | None) -> bool:
    """True if a 206's Content-Range covers all of the page after all."""
    match = re.fullmatch(r"bytes\s+0-(\d{1,18})/(\d{1,18})", (content_range or "").strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def result_of(request: FetchRequest, reply: Reply) -> FetchResult:
    """What the reply means for the page."""
    result = result_without_answer(request, FetchOutcome.retry, reply.reason, reply.detail)
    result.fetched_at, result.elapsed = reply.began, reply.elapsed
    result.ip_address = reply.exchange.ip_address
    result.response_headers = reply.exchange.fields
    if reply.status is None:
        return result
    status = result.http_status = reply.status
    result.outcome, result.reason = outcomes.of_status(status)
    result.etag, result.last_modified = reply.header("etag"), reply.header("last-modified")
    if result.outcome is FetchOutcome.success:
        result.content, result.truncated = reply.content, reply.truncated
    elif outcomes.is_redirect(status):
        location = reply.header("location")
        result.redirect_to = canonicalize(location, request.url) if location is not None else None
        if result.redirect_to is None:
            result.outcome, result.reason = FetchOutcome.gone, "bad_redirect"
            result.detail = f"HTTP {status} without Location" if location is None else f"Location: {location[:200]}"
    elif status in (429, 503):
        result.retry_after = outcomes.retry_after(reply.header("retry-after"), reply.began)
    return result


def result_without_answer(
    request: FetchRequest, outcome: FetchOutcome, reason: str | None, detail: str | None
) -> FetchResult:
    """A result without an answer, as of now."""
    return FetchResult(request, outcome, None, reason, detail, time.time_ns() // 1_000_000, 0)


def result_of_refusal(request: FetchRequest, refusal: Refusal) -> FetchResult:
    """What robots.txt settles without the network."""
    result = result_without_answer(request, refusal.outcome, refusal.reason, refusal.detail)
    result.retry_after = refusal.retry_after
    return result
