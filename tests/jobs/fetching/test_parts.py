"""What a page may ask for, and what its neighbours asked for before."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import Future
from typing import Any

import pytest

from crawldb.errors import UsageError
from crawldb.settings import BrowserSettings
from jobs.fetching.parts import Part, PartAnswer, PartCache, PartRules, part_of


def part(url: str = "http://a.example/x.js", method: str = "GET", kind: str = "script", **headers: str) -> Part:
    return Part(url, method, headers, None, kind)


def event(url: str, kind: str = "Script", headers: dict[str, str] | None = None, **request: Any) -> dict[str, Any]:
    return {"resourceType": kind, "request": {"url": url, "method": "GET", "headers": headers or {}, **request}}


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (part(), True),
        (part(kind="stylesheet"), True),
        (part(kind="document"), True),
        (part(kind="image"), False),
        (part(kind="websocket"), False),
        (part(kind="eventsource"), False),
        (part(kind="ping"), False),
        (part(kind="prefetch"), False),
        (part(method="POST", kind="xhr"), True),
        (part(method="OPTIONS", kind="xhr"), True),
        (part(method="POST", kind="document"), False),
        (part(method="PUT", kind="xhr"), False),
        (part(method="DELETE", kind="fetch"), False),
        (part("https://doubleclick.net/x"), False),
        (part("https://a.b.doubleclick.net:8443/x"), False),
        (part("https://notdoubleclick.net/x"), True),
        (part("https://doubleclick.net.example/x"), True),
        (part("http://[::1]/x"), True),
    ],
)
def test_rules(asked: Part, allowed: bool) -> None:
    assert PartRules(BrowserSettings()).allow(asked) == allowed


def test_an_unknown_resource_type_is_said() -> None:
    settings = BrowserSettings()
    settings.block = ["images"]
    with pytest.raises(UsageError, match=r"browser\.block: images: expected of document, fetch"):
        PartRules(settings)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a.example/", "ws://a.example/", "chrome://version/", "http://me:secret@a.example/"],
)
def test_what_is_no_part(url: str) -> None:
    assert part_of(event(url)) is None


def test_a_part_says_what_the_page_means() -> None:
    body = {"hasPostData": True, "postDataEntries": [{"bytes": base64.b64encode(b"a\xff").decode()}]}
    made = part_of(event("http://a.example/", "XHR", {"User-Agent": "x", "X-Own": "y", "sec-ch-ua": "z"}, **body))
    assert made == Part("http://a.example/", "GET", {"X-Own": "y"}, b"a\xff", "xhr")
    assert part_of(event("http://a.example/", "XHR", hasPostData=True)) is None
    kinds = [("Fetch", {"Sec-Purpose": "prefetch;prerender"}, "prefetch"), ("XHR", {"Accept": "text/event-stream"},
             "eventsource"), ("Other", {"Accept": "image/webp,*/*"}, "image"), ("Other", {"Accept": "*/*"}, "other")]  # fmt: skip
    for kind, headers, expected in kinds:
        told = part_of(event("http://a.example/", kind, headers))
        assert told is not None
        assert told.kind == expected


def fetched(cache: PartCache, asked: Part, answer: PartAnswer | None) -> bool:
    """Ask the cache; whether it asked further."""
    further = []

    def fetch(part: Part) -> Future[PartAnswer | None]:
        further.append(part)
        future: Future[PartAnswer | None] = Future()
        future.set_result(answer)
        return future

    async def run() -> PartAnswer | None:
        return await cache.fetch(asked, fetch)

    assert asyncio.run(run()) == answer
    return bool(further)


@pytest.mark.parametrize(
    ("asked", "status", "headers", "is_kept"),
    [
        (part(), 200, [], True),
        (part(kind="stylesheet"), 200, [("Cache-Control", "max-age=0")], True),
        (part(), 200, [("cache-control", "private, No-Store")], False),
        (part(), 200, [("Vary", "Accept-Encoding")], True),
        (part(), 200, [("Vary", "*")], False),
        (part(), 302, [("Location", "/y")], False),
        (part(), 404, [], False),
        (part(method="HEAD"), 200, [], False),
        (part(kind="xhr"), 200, [], False),
    ],
)
def test_what_is_kept(asked: Part, status: int, headers: list[tuple[str, str]], is_kept: bool) -> None:
    cache = PartCache()
    answer = PartAnswer(status, headers, b"x")
    assert fetched(cache, asked, answer)
    assert cache.has(asked) == is_kept
    assert fetched(cache, asked, answer) != is_kept


def test_failures_are_not_kept_and_origins_apart() -> None:
    cache = PartCache()
    assert fetched(cache, part(), None)
    assert fetched(cache, part(), PartAnswer(200, [], b"x"))
    assert not cache.has(part(Origin="http://b.example"))


def test_the_cache_is_bounded() -> None:
    """What was not used for longest goes; what is larger than all is not kept."""
    cache = PartCache(max_bytes=10)
    urls = [part(f"http://a.example/{n}") for n in range(3)]
    for one in urls[:2]:
        fetched(cache, one, PartAnswer(200, [], b"12345"))
    assert not fetched(cache, urls[0], PartAnswer(200, [], b"12345"))
    fetched(cache, urls[2], PartAnswer(200, [], b"1"))
    assert [cache.has(one) for one in urls] == [True, False, True]
    fetched(cache, urls[1], PartAnswer(200, [], b"x" * 11))
    assert not any(map(cache.has, urls))


def test_a_cancelled_future_is_no_answer() -> None:
    async def run() -> PartAnswer | None:
        future: Future[PartAnswer | None] = Future()
        future.cancel()
        return await PartCache().fetch(part(), lambda _: future)

    assert asyncio.run(run()) is None
