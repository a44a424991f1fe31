"""What makes a URL one of endlessly many: session ids and the dates of calendars, recognised by rules.

Pure functions over canonical URLs, for the filters trap_session and trap_calendar; a limit that can be counted (depth,
segments, parameters) is `urlfilters`'s own business. The rules know names and the shapes of values, no site.
"""

from __future__ import annotations

import re

_VALUE_ENDS = r"(?=[&;/?]|$)"
_TOKEN = (
    r"(?:[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=(?:[a-z]*[0-9]){4})[0-9a-z]{20,})" + _VALUE_ENDS
)
"""What no person would have chosen as a value: digests, UUIDs, long letters mixed with digits."""

# Names that only session handling uses (the defaults of Java's servlets, PHP, ASP, ColdFusion, BroadVision and of shops
# like osCommerce and Zen Cart) need no special value; names that others use too (?sid=12 may be a story) need a token.
_SESSION_FIELD = re.compile(
    r"[?&;](?:(?:jsessionid|phpsessid|aspsessionid[a-z]{8}|asp\.net_sessionid|bv_sessionid|oscsid|xtcsid|zenid)=[^&;/?]{6,}"
    r"|cftoken=[0-9a-f-]{6,}" + _VALUE_ENDS +
    r"|(?:s|sid|ssid|sess|session|sessid|sess_id|sessionid|session_id|session_key|sessionkey)=" + _TOKEN + ")",
    re.IGNORECASE,
)  # fmt: skip
_SESSION_SEGMENT = re.compile(
    r"/\((?:[a-z]\([^()/]*\)){0,3}s\([0-9a-z]{20,32}\)(?:[a-z]\([^()/]*\)){0,3}\)/",  # ASP.NET without cookies
    re.IGNORECASE,
)


def has_session_id(url: str) -> bool:
    """True if the URL carries a visitor's session: it leads to a page that has another URL for every visitor.

    >>> has_session_id("http://shop.example/cart;jsessionid=1A530637289A03B07199A44E8D531427?item=2")
    True
    >>> has_session_id("http://news.example/read?sid=12"), has_session_id("http://news.example/?utm_source=mail")
    (False, False)
    """
    # Two searches, for each can skip to the characters that it begins with
    if "=" in url and _SESSION_FIELD.search(url, url.find("/", 8)) is not None:
        return True
    return "/(" in url and _SESSION_SEGMENT.search(url, 8) is not None


_YEAR = "(?P<year>(?:19|2[01])[0-9]{2})"
"""Who goes on to the next month for ever comes by here: 1900 to 2199. Larger numbers are mostly no years."""
_YEAR_LAST, _YEAR_ALONE = _YEAR.replace("year", "year_last"), _YEAR.replace("year", "year_alone")
_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_MONTH_1, _DAY_1 = "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH_NAME = "(?:jan|feb|mar|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]{0,6}"
_SLASH = "(?:-|%2F)"
_ANY_YEAR = re.compile("(?:19|2[01])[0-9]{2}")

# /2031/05, /2031-05-17: a date wherever it stands.
_PATH_DATE = re.compile(f"/{_YEAR}([/-]){_MONTH}(?:\\2{_DAY})?(?=[/.]|$)")
# Where the URL speaks of a calendar: also /2031, /2031/5, /203105, /20310517, /5-2031, /may/2031.
_CALENDAR_DATE = re.compile(
    f"/(?:{_YEAR}(?:([/-]){_MONTH_1}(?:\\2{_DAY_1})?|{_MONTH}{_DAY}?)?|(?:{_MONTH_1}|{_MONTH_NAME})[/-]{_YEAR_LAST})"
    "(?=[/.]|$)",
    re.IGNORECASE,
)
# A value that is a date (2031-05-17), whatever the field's name; or the name says so: month=203105, date=5-2031, year=2031.
_FIELD_DATE = re.compile(
    f"[?&](?:[^=&]*={_YEAR}({_SLASH}){_MONTH}(?:\\2{_DAY})?(?:T[^&]*)?"
    f"|[^=&]*(?:date|(?<![a-z])(?:datum|month|monat|mois|mes|cal)(?![a-z]))[^=&]*="
    f"(?:{_YEAR.replace('year', 'year_first')}(?:{_SLASH}?{_MONTH}{_DAY}?|{_SLASH}{_MONTH_1}(?:{_SLASH}{_DAY_1})?)"
    f"|{_MONTH_1}{_SLASH}(?:{_DAY_1}{_SLASH})?{_YEAR_LAST})"
    f"|[^=&]*(?<![a-z])(?:year|yr|jahr|annee|anno|ano)(?![a-z])[^=&]*={_YEAR_ALONE})(?=&|$)",
    re.IGNORECASE,
)
_CALENDAR = re.compile(
    r"calend|kalend|agenda"
    r"|(?<![a-z])(?:cal|events?|termine?|veranstaltung(?:en)?|schedules?|bookings?|availability)(?![a-z])",
    re.IGNORECASE,
)


def has_year(url: str) -> bool:
    """False: there is nothing in the URL that `is_far_date` could take for a year."""
    return ("20" in url or "19" in url or "21" in url) and _ANY_YEAR.search(url, 8) is not None


def is_far_date(url: str, first: int, last: int) -> bool:
    """True if the URL is a page of a calendar for a date outside the years `first` to `last`.

    A date after `last` counts wherever it stands: nothing was published on it. Archives have dates before `first`, so
    those count only for the overviews of what calls itself a calendar: its path ends in the month, or its query has it.

    >>> is_far_date("http://a.example/2099/05/", 2021, 2031), is_far_date("http://a.example/2009/05/", 2021, 2031)
    (True, False)
    >>> is_far_date("http://a.example/events/month/?date=2009-05", 2021, 2031)
    True
    """
    if "/20" not in url and "=" not in url and "/19" not in url and "/21" not in url and "-20" not in url:
        return False  # most links end here
    start = url.find("/", 8)
    if all(first <= int(year) <= last for year in _ANY_YEAR.findall(url, start)):
        return False
    end = url.find("?", start)
    path, query = (url[start:], "") if end < 0 else (url[start:end], url[end:])
    calendar = _CALENDAR.search(url, start) is not None
    for found in (_CALENDAR_DATE if calendar else _PATH_DATE).finditer(path):
        year = _year(found)
        is_overview = found.end() >= len(path.rstrip("/")) and found.end() - found.start() > len("/2009")
        if year > last or (calendar and year < first and is_overview):
            return True
    if query:
        for found in _FIELD_DATE.finditer(query):
            year = _year(found)
            if year > last or (calendar and year < first):
                return True
    return False


def _year(found: re.Match[str]) -> int:
    return int(next(year for year in found.groupdict().values() if year is not None))
