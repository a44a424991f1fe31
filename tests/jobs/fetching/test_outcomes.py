"""HTTP's words in the crawldb's: statuses, errors, Retry-After."""

from __future__ import annotations

import http.client
import ssl

import pytest
import requests.exceptions
import urllib3.exceptions

from crawldb.schema import FetchOutcome
from jobs.fetching import outcomes

NAMED = {
    FetchOutcome.success: {200, 203, 206},
    FetchOutcome.redir_perm: {300, 301, 305, 308},
    FetchOutcome.redir_temp: {302, 303, 307},
    FetchOutcome.notmodified: {304},
    FetchOutcome.gone: {400, 401, 404, 410},
}


def test_every_status_has_its_outcome() -> None:
    for status in range(100, 1000):
        outcome, reason = outcomes.of_status(status)
        expected = [named for named, statuses in NAMED.items() if status in statuses] or [FetchOutcome.retry]
        assert [outcome] == expected
        assert reason == (None if status == 200 else f"http_{status}")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), "timeout"),  # type: ignore[arg-type]
        (requests.exceptions.ReadTimeout("x"), "timeout"),
        (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("x", ConnectionResetError(104, "r"))), "broken"),
        (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("x", http.client.RemoteDisconnected("r"))), "broken"),
        (requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("x", http.client.BadStatusLine("r"))), "protocol"),
        (urllib3.exceptions.ProtocolError("x", http.client.IncompleteRead(b"")), "broken"),
        (urllib3.exceptions.IncompleteRead(3, 4), "broken"),
        (urllib3.exceptions.DecodeError("x", OSError("y")), "encoding"),
        (requests.exceptions.SSLError(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("x"))), "tls"),
        (urllib3.exceptions.SSLError(ssl.SSLEOFError(8, "eof")), "broken"),
        (OSError(5, "x"), "broken"),
        (ValueError("x"), "protocol"),
    ],
)  # fmt: skip
def test_errors_have_one_word(error: Exception, word: str) -> None:
    assert outcomes.of_error(error) == word
    assert 0 < len(outcomes.describe(error)) <= 300


NOW = 1_795_000_000_000
"""2026-11-18T11:06:40Z."""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999", 366 * 86_400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Wed, 18 Nov 2026 11:06:50 GMT", 10),
        ("Wed, 18 Nov 2026 13:06:50 +0200", 10),
        ("Wed, 18 Nov 2020 13:46:40 GMT", None),
        ("Wed, 99 Xxx 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: int | None) -> None:
    result = outcomes.retry_after(value, NOW)
    assert result == (None if seconds is None else NOW + seconds * 1000)
