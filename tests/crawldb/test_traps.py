"""Session ids and calendars: what is one, and above all what is none."""

from __future__ import annotations

import doctest

import pytest

from crawldb import traps
from crawldb.traps import has_session_id, is_far_date
from crawldb.urls import canonicalize


def test_the_examples() -> None:
    assert doctest.testmod(traps).failed == 0


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("/a;jsessionid=ABC123.node1", True),
        ("/a;jsessionid=1A530637289A03B07199A44E8D531427?b=c", True),
        ("/a?JSESSIONID=1A530637289A", True),
        ("/a?b=c&phpsessid=k3jd83jf0a", True),
        ("/a.asp?ASPSESSIONIDQQBCDRST=LKJHGFDSAPOIUYTR", True),
        ("/a?cfid=12&cftoken=12345678", True),
        ("/a?BV_SessionID=%40%40%40%400812765.1101", True),
        ("/shop/?osCsid=0a1b2c3d4e5f", True),
        ("/a?sid=0123456789abcdef0123456789abcdef", True),
        ("/showthread.php?s=0123456789abcdef0123456789abcdef&t=5", True),
        ("/a?session_id=7f9c24e8-3b12-4fef-91e0-56a2d5a8b1c2", True),
        ("/a?sess=Zk3J8dk2LpQ9xw7TyU4n", True),
        ("/(S(lit3py55t21z5v55vlm25s55))/x.aspx", True),
        ("/(X(1)S(lit3py55t21z5v55vlm25s55))/x.aspx", True),
        ("/a?sid=12", False),
        ("/a?s=cats", False),
        ("/a?session=introductiontopython3", False),
        ("/a?session=2026-11-24-keynote-and-opening", False),
        ("/a?sessionid=42", False),
        ("/a?utm_source=x&fbclid=IwAR0123456789abcdefghijk", False),
        ("/a?user=0123456789abcdef0123456789abcdef", False),
        ("/a?cfid=12", False),
        ("/Foo_(S(1))/", False),
        ("/sid=0123456789abcdef0123456789abcdef", False),
        ("/", False),
    ],
)
def test_session_ids(tail: str, expected: bool) -> None:
    url = canonicalize(f"http://sid.example{tail}")
    assert url is not None
    assert has_session_id(url) == expected


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        # the future, wherever
        ("/2032/05/", True),
        ("/blog/2150-01-31/x", True),
        ("/x?date=2099-05-01", True),
        ("/x?day=2040-05-06T10%3A00", True),
        ("/x?month=5&year=2099", True),
        ("/x?month=204005", True),
        ("/x?date=2040%2F5%2F6", True),
        ("/kalender/?datum=01-05-2040", True),
        ("/events/2099/", True),
        ("/calendar/may-2099", True),
        ("/calendar/20400506/", True),
        ("/calendar/week/5/2040.html", True),
        ("/event/list?tribe-bar-date=2040-01", True),
        # the past, of calendars' overviews
        ("/events/2009/05/", True),
        ("/events/2009-05", True),
        ("/calendar/5/2009", True),
        ("/cal?month=5&year=2009", True),
        ("/veranstaltungen/?monat=2009-05", True),
        # archives and what calendars announced
        ("/2009/05/17/story.html", False),
        ("/2009/05/", False),
        ("/archive?year=2009&month=5", False),
        ("/events/2009/05/17/gala", False),
        ("/events/2015/", False),
        ("/newspaper/1923-05-12/", False),
        # around now
        ("/2031/12/31/", False),
        ("/calendar/2021/01/", False),
        ("/calendar/?date=2026-11-24", False),
        # no dates
        ("/questions/2099/7/", False),
        ("/p/item-2099", False),
        ("/plot?x=100&y=2099", False),
        ("/x?photo=204005", False),
        ("/x?start=204005", False),
        ("/2099", False),
        ("/5000/05/", False),
        ("/calendar/", False),
        ("/historical/2099/", False),
    ],
)
def test_far_dates(tail: str, expected: bool) -> None:
    url = canonicalize(f"http://calendar-2099.example{tail}")
    assert url is not None
    assert is_far_date(url, 2021, 2031) == expected


def test_long_urls_take_linear_time() -> None:
    for part in ("/events/2040-13", "&date=2040-", "?sid=a1", ";s=((", "/(S(", "=2a3b4c5d6e", "(A("):
        url = "http://a.example/" + part * 5000
        has_session_id(url)
        is_far_date(url, 2021, 2031)
