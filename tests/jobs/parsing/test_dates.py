"""Dates as pages write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.parsing.dates import utc_ms

NOON = int(datetime(2024, 5, 1, 12, tzinfo=timezone.utc).timestamp() * 1000)
DAY = NOON - 12 * 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", NOON),
        (" 2024-05-01T12:00Z\n", NOON),
        ("2024-05-01T14:00:00+02:00", NOON),
        ("2024-05-01T14:00:00+0200", NOON),
        ("2024-05-01T14:00:00 +02", NOON),
        ("2024-05-01 07:30:00.250-04:30", NOON + 250),
        ("20240501T120000Z", NOON),
        ("2024-05-01 12:00:00", NOON),
        ("2024-05-01 12:00:00 UTC", NOON),
        ("2024-05-01T12:00:00.123456789Z", NOON + 123),
        ("2024-05-01", DAY),
        ("20240501", DAY),
        ("2024-05", DAY),
        ("2024", int(datetime(2024, 1, 1, tzinfo=timezone.utc).timestamp() * 1000)),
        ("2024-04-30T24:00:00Z", DAY),
        ("2024-05-01T11:59:60Z", NOON - 1000),
        ("1969-12-31T23:59:59Z", -1000),
        ("Wed, 01 May 2024 12:00:00 GMT", NOON),
        ("Wed, 1 May 2024 14:00:00 +0200 (CEST)", NOON),
        ("1 May 2024 12:00", NOON),
        ("Wednesday, 01-May-24 12:00:00 GMT", NOON),
        ("2024-13-01", None),
        ("2024-02-30", None),
        ("2024-05-01T25:00:00Z", None),
        ("2024-05-01T12:00:00+99:00", None),
        ("05/01/2024", None),
        ("May 1, 2024", None),
        ("yesterday", None),
        ("1714564800", None),
        ("", None),
        ("٢٠٢٤-٠٥-٠١", None),
        ("0001-01-01T00:00:00+14:00", -62135647200000),
        ("9999-12-31T24:00:00Z", None),
        ("Wed, 99 May 2024 12:00:00 GMT", None),
        (" " * 10 + "2024-05-01" + " " * 100_000, DAY),
        ("2024-05-01T12:00:00." + "0" * 100, None),
    ],
)
def test_dates(text: str, expected: int | None) -> None:
    assert utc_ms(text) == expected


@given(st.datetimes(datetime(1900, 1, 1), datetime(2199, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_what_is_written_is_read_back(moment: datetime, minutes: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    exact = (there - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)
    assert utc_ms(there.isoformat()) == exact
    assert utc_ms(format_datetime(there)) == exact // 1000 * 1000


@given(st.text(st.sampled_from("0123456789-:T+Z., MayWedGMT()/"), max_size=40) | st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    found = utc_ms(text)
    assert found is None or abs(found) < 1 << 53
