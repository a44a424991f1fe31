"""What an answer, or the lack of one, means for a request.

Owns the table HTTP status → outcome (Nutch's: lib-http HttpBase.java, fetcher FetcherThread.java), the words for
network errors, and Retry-After. Pure functions; no sockets.

The words in `reason` when there was no usable answer:
    dns       the host has no address
    connect   refused or unreachable
    timeout   fetch.timeout or fetch.max_seconds ran out
    tls       no encrypted connection, or a certificate that cannot be trusted
    broken    the connection ended before the answer did
    protocol  what came was not HTTP
    encoding  the content coding could not be undone
"""

from __future__ import annotations

import calendar
import http.client
import ssl
from collections.abc import Iterator
from email.utils import parsedate_tz

import requests.exceptions
import urllib3.exceptions

from crawldb.schema import FetchOutcome

_REDIRECTS = {
    300: FetchOutcome.redir_perm,
    301: FetchOutcome.redir_perm,
    302: FetchOutcome.redir_temp,
    303: FetchOutcome.redir_temp,
    305: FetchOutcome.redir_perm,
    307: FetchOutcome.redir_temp,
    308: FetchOutcome.redir_perm,
}
_OUTCOMES = {
    # 203 is a 200 that a proxy has changed; 206 comes to a seed that asked for a Range, and from servers that
    # were not asked for one: both bring content. Other 2xx do not bring the page (202: not yet, 204: none).
    200: FetchOutcome.success,
    203: FetchOutcome.success,
    206: FetchOutcome.success,
    304: FetchOutcome.notmodified,
    400: FetchOutcome.gone,
    401: FetchOutcome.gone,
    404: FetchOutcome.gone,
    410: FetchOutcome.gone,
    **_REDIRECTS,
}
_MAX_RETRY_AFTER = 366 * 86_400
"""Seconds; a server that says more has made a mistake."""


def of_status(status: int) -> tuple[FetchOutcome, str | None]:
    """Outcome and reason of an answer by its status alone; the reason of a 200 is None."""
    return _OUTCOMES.get(status, FetchOutcome.retry), None if status == 200 else f"http_{status}"


def is_redirect(status: int) -> bool:
    return status in _REDIRECTS


def is_host_failure(status: int) -> bool:
    """True if the answer says that the host, and not only this page, is in trouble (5xx) or has enough (429)."""
    return status >= 500 or status == 429


def of_error(error: BaseException) -> str:
    """The one-word reason of an exception that the HTTP libraries raised: the innermost that has one says it best."""
    for cause in reversed(list(_causes(error))):
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return "broken"
        if isinstance(cause, (ssl.SSLError, ssl.CertificateError, urllib3.exceptions.SSLError)):
            return "tls"
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError, requests.exceptions.Timeout)):
            return "timeout"
        if isinstance(cause, (http.client.IncompleteRead, ConnectionError)):  # RemoteDisconnected is one of these
            return "broken"
        if isinstance(cause, urllib3.exceptions.DecodeError):
            return "encoding"
        if isinstance(cause, (http.client.HTTPException, urllib3.exceptions.InvalidHeader, UnicodeError)):
            return "protocol"
    return "broken" if isinstance(error, OSError) else "protocol"


def describe(error: BaseException) -> str:
    """The innermost error's text, for `detail`: at most 300 characters."""
    innermost = list(_causes(error))[-1]
    return f"{type(innermost).__name__}: {innermost}"[:300]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, outermost first: urllib3 and requests keep it in args, reason or __cause__."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        reason = getattr(current, "reason", None)
        inner = [arg for arg in (*current.args, reason) if isinstance(arg, BaseException)]
        current = inner[-1] if inner else current.__cause__


def retry_after(value: str | None, now: int) -> int | None:
    """Retry-After (RFC 9110 §10.2.3: seconds or an HTTP date) in UTC milliseconds; None if absent or unusable.

    `now` is UTC milliseconds.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = int(value[:12])
    else:
        parts = parsedate_tz(value)
        if parts is None:
            return None
        try:
            seconds = calendar.timegm((*parts[:6], 0, 0, 0)) - (parts[9] or 0) - now // 1000
        except (ValueError, OverflowError):
            return None
        if seconds < 0:
            return None
    return now + min(seconds, _MAX_RETRY_AFTER) * 1000
