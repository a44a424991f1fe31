"""What goes into a fetch engine and what comes out of it: the same for every engine.

Owns the records `FetchRequest`, `FetchResult` and `FetchReport` and the type `Engine`. Opens no socket.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings


class FetchRequest(NamedTuple):
    """One row of a fetchlist: what to ask a server for."""

    fingerprint: bytes
    url: str
    """Canonical."""
    method: str | None
    """None is GET."""
    headers: dict[str, str] | None
    """Of this request alone; they replace ours of the same name."""
    body: bytes | None
    host: str
    """Of the URL."""
    etag: str | None
    """For If-None-Match, as the server once sent it."""
    last_modified: str | None
    """For If-Modified-Since, as the server once sent it."""
    row: int
    """The caller's own mark, such as the row in the fetchlist; engines do not look at it."""


@dataclass(slots=True)
class FetchResult:
    """What one attempt came to. The fields are the columns of schema.CONTENT by the same names."""

    request: FetchRequest
    outcome: FetchOutcome
    http_status: int | None
    reason: str | None
    """One word, None for plain success: `http_404`, `robots_denied`, `timeout`, … (see outcomes.py)."""
    detail: str | None
    fetched_at: int
    """UTC milliseconds: when the attempt began."""
    elapsed: int
    """Milliseconds from there to the last byte."""
    redirect_to: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    retry_after: int | None = None
    """UTC milliseconds."""
    ip_address: str | None = None
    dns_time: int | None = None
    """Milliseconds, like the following; None: it did not happen for this request."""
    connect_time: int | None = None
    tls_time: int | None = None
    first_byte_time: int | None = None
    protocol: str | None = None
    """http/1.0, http/1.1 or h2."""
    tls: str | None = None
    """verified or unverified."""
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    request_headers: list[tuple[str, str]] | None = None
    """What was sent, without passwords and cookies; None: not kept."""
    content: bytes | None = None
    """Of a success alone; content codings are removed."""
    truncated: str | None = None
    """Why `content` is not all: bytes (fetch.max_bytes), seconds (time-outs), broken."""
    rendered: bytes | None = None
    """The DOM after the page's scripts ran, as HTML in UTF-8."""
    rendered_url: str | None = None
    discovered_from: bytes | None = None
    """Of a request that a redirect led to: the fingerprint of the one that answered with it."""
    followed: bool = False
    """True: of a request that a redirect led to, and not of one in the list."""


class KnownRobots(NamedTuple):
    """What was last learned of one origin's robots.txt, as the host store keeps it from round to round."""

    origin: str
    """`https://example.com:8443`, the port left out where it is the scheme's own."""
    url: str
    """Where the file was found, redirects followed."""
    fetched_at: int
    """UTC milliseconds: the last attempt."""
    status: int | None
    """Of the last answer; None: there was none."""
    body: bytes | None
    """Of a 2xx answer, at most 500 KiB."""
    truncated: bool
    """True: the file is longer."""
    failing_since: int | None
    """UTC milliseconds: the first of the attempts in a row that ended with 5xx, 429 or no answer; None: it does not fail."""


@dataclass
class FetchReport:
    """What a run of an engine did: `fetched + left.total() == len(requests)`."""

    fetched: int = 0
    """Results emitted, those that needed no network (robots_denied, postponed, …) included."""
    left: Counter[str] = field(default_factory=Counter)
    """Requests without a result, by reason: stopped, time_limit, min_rate, host_failures."""
    robots_fetched: int = 0
    """Requests made for robots.txt, redirects of it included."""
    followed: int = 0
    """Redirects followed at once: each brought a result for a request that was not in the list."""
    robots: list[KnownRobots] = field(default_factory=list)
    """What was learned of robots.txt files, one for each origin that was asked."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of this machine: too few open files, a dead proxy, …"""


Engine = Callable[
    [Sequence[FetchRequest], Settings, Callable[[FetchResult], None], threading.Event, Sequence[KnownRobots]],
    FetchReport,
]
"""`engine(requests, settings, emit, stop, known)` fetches and returns when nothing is left to do.

`emit(result)` is called from the engine's threads, one call at a time, at most once for a request. What it raises
ends the run and is raised to the caller. Once `stop` is set no request starts; those under way get
`fetch.shutdown_seconds`. `known` are robots.txt files of earlier rounds. A page's failure is a result and never an
exception.
"""
