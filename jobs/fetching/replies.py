"""What came back: one answer as every engine reports it, and the FetchResult it makes.

Owns the record `Reply`, the reading of header fields, what becomes of a body (its content coding undone, cut at its
limit), and the moment that a request counts as started. Opens no socket. What a status or an error means, `outcomes`
says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crawldb.schema import FetchOutcome
from crawldb.urls import canonicalize
from jobs.fetching import outcomes
from jobs.fetching.contract import FetchRequest, FetchResult
from jobs.fetching.decoding import decode
from jobs.fetching.robots import Refusal

Fields = list[tuple[str, str]]

MAX_HEAD = 1 << 18
"""Bytes of status line and header fields: browsers stop at this size too."""
MAX_INTERIM = 20
"""1xx answers before the real one."""
DRAIN_BYTES = 1 << 16
DRAIN_SECONDS = 1.0
"""An answer's body that nobody wants is read so far, to keep the connection; a longer one ends it."""
WIRE_SLACK = 1 << 16
"""Bytes over the limit that may come over the wire: codings can make small content larger, not much."""
_LATENCY_SHARE, _LATENCY_SECONDS = 0.005, 0.25
"""A request counts as started when its answer begins, for by then the server had it for certain, but no later than
this after it was sent (so much of the delay, at most so many seconds): the way to the server may take a little longer
for one request than for the next, and the server should see the gap all the same."""


class Failure(NamedTuple):
    """Why there is no answer, or not all of it: `reason` is one of the words of outcomes.py."""

    reason: str
    detail: str


@dataclass(slots=True)
class Reply:
    """What one exchange came to: an answer, or an error in `reason` with `status` None."""

    began: int
    """UTC milliseconds."""
    started: float | None = None
    """When the request counts as started at the server (monotonic seconds); None: it never left."""
    elapsed: int = 0
    """Milliseconds, as are the following; None where it did not happen for this request."""
    dns_time: int | None = None
    connect_time: int | None = None
    tls_time: int | None = None
    first_byte_time: int | None = None
    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    fields: Fields = field(default_factory=list)
    """Header fields as they came."""
    content: bytes | None = None
    """Of an answer whose body is wanted."""
    truncated: str | None = None
    ip_address: str | None = None
    protocol: str | None = None
    tls: str | None = None
    answered: bool = False
    """True if the first line of an answer was there."""
    reused: bool = False
    """True if the connection had been used before."""
    cut: str | None = None
    """Why we ended it: stopped, timeout; None: we did not."""
    local: bool = False
    """This machine's failure (no ports, no file descriptors): it says nothing about the page."""
    proxy_failed: bool = False
    """The proxy's failure."""
    refused_address: str | None = None
    """The address that the guard kept us from connecting to."""
    garbled: bool = False
    """HTTP that this engine's library does not read, and another may."""

    def header(self, name: str) -> str | None:
        """The first header field of this name (lower case)."""
        for key, value in self.fields:
            if key.lower() == name:
                return value
        return None

    @property
    def stopped(self) -> bool:
        """True if we cut it off to end the run, so that it says nothing about the page."""
        return self.cut == "stopped" and (self.status is None or self.truncated in ("seconds", "broken"))

    def fail(self, failure: Failure) -> None:
        """There is no usable answer."""
        self.status, self.content = None, None
        self.reason, self.detail = failure


def latency(delay: float) -> float:
    """Seconds from sending a request to the latest moment that counts as its start, where `delay` is kept."""
    return min(delay * _LATENCY_SHARE, _LATENCY_SECONDS)


def parse_fields(lines: Iterable[bytes]) -> Fields:
    """Header fields of raw lines, without the status line, up to the empty one; what is no field is passed over.

    UTF-8 where it is that, else Latin-1; folded lines (RFC 9112 §5.2) are joined.
    """
    fields: Fields = []
    for line in lines:
        if line in (b"\r\n", b"\n"):
            break
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode("iso-8859-1")
        if line[0] in b" \t":
            if fields:
                fields[-1] = (fields[-1][0], f"{fields[-1][1]} {text.strip()}".strip())
            continue
        name, colon, value = text.partition(":")
        if colon and name.strip():
            fields.append((name.strip(), value.strip()))
    return fields


def read_body(reply: Reply, raw: bytes, cut_short: bool, failure: Failure | None, max_bytes: int) -> None:
    """Take over the body of a wanted answer.

    `raw` is what came over the wire, `cut_short` says that we stopped at the limit, `failure` what ended it early.
    """
    # A field that is there several times is one list (RFC 9110 §5.3)
    coding = ", ".join(value for name, value in reply.fields if name.lower() == "content-encoding")
    decoded = decode(raw, coding, max_bytes)
    reply.content, reply.truncated = decoded.content, decoded.truncated
    if cut_short:
        reply.truncated = "bytes"
    if failure is not None and reply.truncated != "bytes":
        reply.truncated = "seconds" if failure.reason == "timeout" else "broken"
        reply.detail = failure.detail
        if not reply.content:
            reply.fail(failure)
    elif cut_short and not reply.content and max_bytes:
        reply.fail(Failure("encoding", f"Content-Encoding: {coding}: nothing comes of {len(raw):,} bytes"))
    elif decoded.error is not None and reply.truncated != "bytes":
        reply.detail = decoded.error
        if not reply.content:
            reply.fail(Failure("encoding", decoded.error))
    if reply.truncated is None and reply.status == 206 and not _is_whole(reply.header("content-range")):
        reply.truncated = "broken"


def wire_limit(reply: Reply, max_bytes: int) -> int:
    """Bytes of a body beyond which reading ends."""
    return max_bytes if reply.header("content-encoding") is None else max_bytes + WIRE_SLACK


def _is_whole(content_range: str | None) -> bool:
    """True if a 206's Content-Range covers all of the page after all."""
    match = re.fullmatch(r"bytes\s+0-(\d{1,18})/(\d{1,18})", (content_range or "").strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def result_of(request: FetchRequest, reply: Reply) -> FetchResult:
    """What the reply means for the page."""
    result = FetchResult(
        request, FetchOutcome.retry, reply.status, reply.reason, reply.detail, reply.began, reply.elapsed,
        ip_address=reply.ip_address, dns_time=reply.dns_time, connect_time=reply.connect_time, tls_time=reply.tls_time,
        first_byte_time=reply.first_byte_time, protocol=reply.protocol, tls=reply.tls, response_headers=reply.fields,
    )  # fmt: skip
    status = reply.status
    if status is None:
        return result
    result.outcome, result.reason = outcomes.of_status(status)
    for name, value in reply.fields:
        key = name.lower()
        if key == "etag":
            result.etag = result.etag or value
        elif key == "last-modified":
            result.last_modified = result.last_modified or value
    if result.outcome is FetchOutcome.success:
        if reply.reason is not None:  # the settings want no such content
            result.outcome, result.reason = FetchOutcome.gone, reply.reason
        else:
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
    request: FetchRequest, outcome: FetchOutcome, reason: str | None, detail: str | None, retry_after: int | None = None
) -> FetchResult:
    """A result without an answer, as of now."""
    result = FetchResult(request, outcome, None, reason, detail, time.time_ns() // 1_000_000, 0)
    result.retry_after = retry_after
    return result


def result_of_refusal(request: FetchRequest, refusal: Refusal) -> FetchResult:
    """What robots.txt settles without the network."""
    return result_without_answer(request, *refusal)


def unwanted(reply: Reply, content_types: Sequence[str], skip_extensions: Sequence[str]) -> Failure | None:
    """Why the settings do not want the body of a success, by its header fields."""
    if content_types:
        media_type = (reply.header("content-type") or "").partition(";")[0].strip().lower()
        if media_type and not any(_is_type(media_type, wanted) for wanted in content_types):
            return Failure("content_type", f"Content-Type: {media_type[:200]}")
    if skip_extensions and (disposition := reply.header("content-disposition")):
        match = re.search(r"filename\*?\s*=\s*(?:[\w-]*'[^']*')?\"?([^\";]+)", disposition, re.IGNORECASE)
        if match and match[1].strip().lower().endswith(tuple(skip_extensions)):
            return Failure("extension", f"Content-Disposition: {disposition[:200]}")
    return None


def _is_type(media_type: str, wanted: str) -> bool:
    wanted = wanted.strip().lower()
    return media_type == wanted or (wanted.endswith("/*") and media_type.startswith(wanted[:-1])) or wanted == "*/*"
