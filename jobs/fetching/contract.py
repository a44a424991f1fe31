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
    """The queue it stands in."""
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
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes | None = None
    """Of a success alone; content codings are removed."""
    truncated: str | None = None
    """Why `content` is not all: bytes (fetch.max_bytes), seconds (time-outs), broken."""


@dataclass
class FetchReport:
    """What a run of an engine did: `fetched + left.total() == len(requests)`."""

    fetched: int = 0
    """Results emitted, those that needed no network (robots_denied, postponed, …) included."""
    left: Counter[str] = field(default_factory=Counter)
    """Requests without a result, by reason: stopped, time_limit, host_failures."""
    robots_fetched: int = 0
    """Requests made for robots.txt, redirects of it included."""


Engine = Callable[[Sequence[FetchRequest], Settings, Callable[[FetchResult], None], threading.Event], FetchReport]
"""`engine(requests, settings, emit, stop)` fetches and returns when nothing is left to do.

`emit(result)` is called from the engine's threads, one call at a time, at most once for a request. What it raises
ends the run and is raised to the caller. Once `stop` is set no request starts; those under way get
`fetch.shutdown_seconds`. A page's failure is a result and never an exception.
"""
