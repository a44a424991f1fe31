"""Dates as pages and feeds declare them: ISO 8601 (W3C's profile and what is written for it), RFC 2822.

Owns the reading of one date. Which of a page's dates counts is `metadata`'s business. No guessing: what could be read
in two ways (3/4/2020), or is written for people, is no date.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

MAX_LENGTH = 64
"""Characters of the longest date that is looked at."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_iso = re.compile(
    r"""(?P<year>\d{4})(?:-?(?P<month>\d\d)(?:-?(?P<day>\d\d)
    (?:(?:[Tt]|\s+)(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?
    \s*(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?)?)?)?""",
    re.VERBOSE | re.ASCII,
).fullmatch
# RFC 2822, section 3.3, and RFC 850's form of it. The library reads much more, some of it wrongly: "2020 May" is no date
_rfc = re.compile(
    r"(?:[A-Za-z]{3,9},?\s+)?\d{1,2}[\s-][A-Za-z]{3}[A-Za-z]*[\s-]\d{2,4}\s+\d\d?:\d\d(?::\d\d)?(?:\s+[A-Za-z0-9+-]{1,5})?"
    r"(?:\s*\([^()]*\))?",
    re.ASCII,
).fullmatch


def utc_ms(text: str) -> int | None:
    """`text` as UTC milliseconds, or None if it is no date; never raises. Without a zone it is UTC's; a year is its first day.

    >>> utc_ms("2024-05-01T12:00:00+02:00"), utc_ms("Wed, 01 May 2024 10:00:00 GMT"), utc_ms("yesterday")
    (1714557600000, 1714557600000, None)
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        return None
    try:
        found = _from_iso(text) or (parsedate_to_datetime(text) if _rfc(text) else None)
        if found is None:
            return None
        if found.tzinfo is None:
            found = found.replace(tzinfo=timezone.utc)
        return (found - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _from_iso(text: str) -> datetime | None:
    match = _iso(text)
    if match is None:
        return None
    parts = match.groupdict()
    offset = timedelta(hours=int(parts["hours"] or 0), minutes=int(parts["minutes"] or 0))
    if offset > timedelta(hours=23, minutes=59):
        return None
    hour, second = int(parts["hour"] or 0), int(parts["second"] or 0)
    moment = datetime(
        int(parts["year"]), int(parts["month"] or 1), int(parts["day"] or 1),
        0 if hour == 24 else hour, int(parts["minute"] or 0), min(second, 59) if second <= 60 else second,
        int((parts["fraction"] or "0")[:6].ljust(6, "0")),
        timezone(-offset if parts["sign"] == "-" else offset),
    )  # fmt: skip
    return moment + timedelta(days=1) if hour == 24 else moment
