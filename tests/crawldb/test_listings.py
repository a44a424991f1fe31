"""Entries to rows: where they may be, what they are worth, and what merging them does not depend on."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import schema, update
from crawldb.fingerprint import url_fingerprint
from crawldb.listings import MAX_URL, Entries, Listings, Scope, authority_of, merge, w3c_time
from crawldb.settings import Policy, Settings
from crawldb.urls import canonicalize
from tests.crawldb.tables import DAY, NOW

SITEMAP = "https://a.example/shop/sitemap.xml"
SOURCE = url_fingerprint(SITEMAP)


def unfiltered(**score: float) -> Settings:
    own = Settings()
    own.filter.use = []
    for name, value in score.items():
        setattr(own.score, name, value)
    return own


def rows(
    entries: Entries, scope: Scope | None = None, settings: Settings | None = None, **options: Any
) -> tuple[list[dict[str, Any]], Counter[str]]:
    counts: Counter[str] = Counter()
    table = Listings(settings or unfiltered(), NOW).rows(entries, SOURCE, scope, counts, **options)
    assert table.schema == schema.DELTA
    return table.to_pylist(), +counts


def test_a_row_is_a_link_from_the_sitemap() -> None:
    found, counts = rows(
        Entries(["https://a.example/1"], ["2026-01-02"], ["weekly"], ["0.25"]), settings=unfiltered(injected=2.0)
    )
    assert len(found) == 1
    row = {name: value for name, value in found[0].items() if value is not None}
    now = datetime.fromtimestamp(NOW / 1000, timezone.utc)
    assert row == {
        "fingerprint": url_fingerprint("https://a.example/1"), "url": "https://a.example/1", "host": "a.example",
        "score": 0.5, "depth": 1, "discovered_at": now, "discovered_from": SOURCE, "linked_at": now, "listed": True,
        "lastmod": datetime(2026, 1, 2, tzinfo=timezone.utc), "changefreq": "weekly", "sitemap_priority": 0.25,
    }  # fmt: skip
    assert counts == Counter()
    found, _ = rows(Entries.plain(["https://a.example/1"]))
    assert (found[0]["score"], found[0]["sitemap_priority"], found[0]["lastmod"]) == (0.5, None, None)


def test_values_that_say_nothing_cost_no_url() -> None:
    texts = ["https://a.example/1", "https://a.example/2", "https://a.example/3", "https://a.example/4"]
    found, counts = rows(
        Entries(
            texts,
            ["yesterday", "2999-01-01", None, "2026-02-30"],
            ["DAILY", "often", None, None],
            ["1.5", "nan", "1", "x"],
        )
    )
    assert [row["changefreq"] for row in found] == ["daily", None, None, None]
    assert [row["sitemap_priority"] for row in found] == [None, None, 1.0, None]
    assert [row["lastmod"] for row in found] == [None] * 4
    assert counts == {"bad_lastmod": 3, "bad_changefreq": 1, "bad_priority": 3}


@given(st.integers(MAX_URL - 40, MAX_URL + 40))
def test_urls_have_fewer_than_2048_characters(length: int) -> None:
    url = "https://a.example/".ljust(length, "x")
    found, counts = rows(Entries.plain([url, "https://a.example/"]))
    assert len(found) == (2 if length < 2048 else 1)
    assert counts == ({} if length < 2048 else {"too_long": 1})


PLACES = [
    ("https://a.example/shop/1", True), ("https://a.example/shop/", True), ("https://a.example/shop", False),
    ("https://a.example/shop2/1", False), ("https://a.example/1", False), ("http://a.example/shop/1", False),
    ("https://a.example:8443/shop/1", False), ("https://b.example/shop/1", False), ("https://www.a.example/shop/1", False),
    ("https://a.example/shop/../1", False), ("https://a.example/shop/%2e%2e/1", False), ("https://A.EXAMPLE:443/shop/ü?b&a", True),
]  # fmt: skip


@pytest.mark.parametrize(("url", "inside"), PLACES)
def test_a_sitemap_lists_what_is_below_its_directory(url: str, inside: bool) -> None:
    found, counts = rows(Entries.plain([url]), Scope.of(SITEMAP))
    assert len(found) == inside
    assert counts == ({} if inside else {"out_of_scope": 1})


@pytest.mark.parametrize(
    ("origin", "url", "inside"),
    [
        ("https://b.example", "https://b.example/x", True), ("http://b.example", "https://b.example/x", True),
        ("https://b.example", "https://b.example:8443/x", False), ("https://b.example:8443", "https://b.example:8443/x", True),
        ("https://a.example", "https://a.example/anything", True), ("https://b.example", "https://a.example/1", False),
        ("https://b.example", "https://a.example/shop/1", True), ("https://b.example", "https://c.b.example/", False),
    ],
)  # fmt: skip
def test_who_names_it_in_robots_txt_may_be_listed(origin: str, url: str, inside: bool) -> None:
    found, _ = rows(Entries.plain([url]), Scope.of(SITEMAP, [authority_of(origin)]))
    assert len(found) == inside


_hosts = st.sampled_from(
    ["https://a.example", "http://a.example", "https://a.example:8443", "https://b.example", "http://127.0.0.1:80"]
)
_paths = st.lists(st.sampled_from(["", "a", "b", "A", "ü", "..", "%2F", "a?b=/c/d", "x;y"]), max_size=4).map("/".join)


@given(_hosts, _paths, st.lists(st.tuples(_hosts, _paths), max_size=5), st.sets(_hosts, max_size=2))
def test_no_column_says_other_than_the_rule(
    host: str, path: str, others: list[tuple[str, str]], vouching: set[str]
) -> None:
    sitemap = canonicalize(f"{host}/{path}")
    assert sitemap is not None
    scope = Scope.of(sitemap, map(authority_of, vouching))
    texts = [f"{other}/{place}" for other, place in others]
    canonical = [url for text in texts if (url := canonicalize(text)) is not None]
    found, _ = rows(Entries.plain(texts), scope)
    assert [row["url"] for row in found] == [url for url in canonical if scope.allows(url)]
    for url in canonical:
        if scope.allows(url):
            same_directory = url.startswith(sitemap.partition("?")[0].rpartition("/")[0] + "/")
            assert same_directory or any(authority_of(url) == authority_of(one) for one in vouching)


def test_filters_speak_as_of_links_within_the_host(tmp_path: Path) -> None:
    own = Settings()
    own.filter.scope = "host"
    own.filter.max_depth = 1
    texts = [
        "https://b.example/1", "https://b.example/x.jpg", "https://b.example/a/a/a/", "https://b.example/2099/01/02",
        "https://b.example/?PHPSESSID=0123456789abcdef", "https://b.example/a/b/c/d/e/f",
    ]  # fmt: skip
    found, counts = rows(Entries.plain(texts), settings=own)
    assert [row["url"] for row in found] == [texts[0], texts[5]]
    assert {reason.partition(":")[0] for reason in counts} == {
        "regex",
        "repeated_segments",
        "trap_calendar",
        "trap_session",
    }
    own.filter.max_depth = 0
    own.filter.use = ["suffix"]  # one that has no answer for whole columns
    own.filter.suffix_file = str(tmp_path / "suffixes")
    Path(own.filter.suffix_file).write_text(".jpg\n")
    found, counts = rows(Entries.plain(texts[:2]), settings=own)
    assert ([row["url"] for row in found], counts) == (texts[:1], {"suffix": 1})


def test_relative_urls_are_for_feeds() -> None:
    entries = Entries.plain(["/x", "y", "//b.example/", "https://a.example/1"])
    assert [row["url"] for row in rows(entries)[0]] == ["https://a.example/1"]
    assert rows(entries)[1] == {"not_a_url": 3}
    assert [row["url"] for row in rows(entries, base=SITEMAP)[0]] == [
        "https://a.example/x", "https://a.example/shop/y", "https://b.example/", "https://a.example/1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026", "2026-01-01T00:00:00+00:00"), ("2026-11", "2026-11-01T00:00:00+00:00"),
        ("2026-11-24", "2026-11-24T00:00:00+00:00"), ("2026-11-24T10:15Z", "2026-11-24T10:15:00+00:00"),
        ("2026-11-24T10:15:30+05:30", "2026-11-24T04:45:30+00:00"), ("2026-11-24T10:15:30.45-08:00", "2026-11-24T18:15:30.450+00:00"),
        ("2026-11-24T10:15:30", "2026-11-24T10:15:30+00:00"), ("2026-11-24 10:15:30+0100", "2026-11-24T09:15:30+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"), ("Tue, 24 Nov 2026 10:15:30 GMT", "2026-11-24T10:15:30+00:00"),
        ("24 Nov 2026 10:15:30 -0000", "2026-11-24T10:15:30+00:00"),
    ],
)  # fmt: skip
def test_dates(text: str, time: str) -> None:
    wanted = int(datetime.fromisoformat(time).timestamp() * 1000)
    assert w3c_time(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-02-30", "20261124", "0000-01-01", "2026-1-1", "2026-11-24T25:00Z", "٢٠٢٦"]
)
def test_what_is_no_date(text: str) -> None:
    assert w3c_time(text) is None


_dates = st.one_of(
    st.datetimes(datetime(1900, 1, 1), datetime(2026, 11, 1)).map(lambda moment: moment.isoformat(timespec="seconds") + "Z"),
    st.dates().map(str), st.sampled_from(["2026-01-31", "2026-02-30", "2026-01-01T10:00:00+14:59", "2026-01-01T24:00:00Z", "x", "2024-02-29T00:00:00-00:00"]),
    st.none(),
)  # fmt: skip


@given(st.lists(_dates, max_size=6))
def test_dates_by_the_column_are_those_one_by_one(texts: list[str | None]) -> None:
    found, counts = rows(
        Entries([f"https://a.example/{n}" for n in range(len(texts))], texts, [None] * len(texts), [None] * len(texts))
    )
    wanted = [w3c_time(text) if text is not None else None for text in texts]
    wanted = [min(time, NOW) if time is not None and time <= NOW + DAY else None for time in wanted]
    assert [None if row["lastmod"] is None else int(row["lastmod"].timestamp() * 1000) for row in found] == wanted
    assert counts["bad_lastmod"] == wanted.count(None) - texts.count(None)


_entry = st.tuples(
    st.integers(0, 3), st.sampled_from([None, "2026-01-01", "2026-01-02"]), st.sampled_from([None, "daily", "never"]),
    st.sampled_from([None, "0", "0.5", "1.0"]),
)  # fmt: skip


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([None, b"a" * 20, b"b" * 20]), st.lists(_entry, max_size=5)), max_size=4),
    st.data(),
)
def test_merging_depends_on_neither_order_nor_grouping(
    sitemaps: list[tuple[bytes | None, list[Any]]], data: st.DataObject
) -> None:
    listings = Listings(unfiltered(), NOW)
    tables = [
        listings.rows(
            Entries([f"https://a.example/{number}" for number, *_ in entries], *([entry[column] for entry in entries] for column in (1, 2, 3))),
            source, None, Counter(),
        )
        for source, entries in sitemaps
    ]  # fmt: skip
    whole = merge([schema.DELTA.empty_table(), *tables])
    shuffled = data.draw(st.permutations(tables))
    cut = data.draw(st.integers(0, len(tables)))
    empty = schema.DELTA.empty_table()
    grouped = merge([merge([empty, *shuffled[:cut]]), merge([empty, *shuffled[cut:]])])
    assert grouped.to_pylist() == whole.to_pylist() == merge([whole, whole]).to_pylist()
    keys = [row["fingerprint"] for row in whole.to_pylist()]
    assert keys == sorted({url_fingerprint(f"https://a.example/{n}") for _, entries in sitemaps for n, *_ in entries})
    for row in whole.to_pylist():  # the latest word counts
        said = [w3c_time(lastmod or "") or 0 for _, entries in sitemaps for number, lastmod, *_ in entries
                if row["url"].endswith(f"/{number}")]  # fmt: skip
        assert (0 if row["lastmod"] is None else int(row["lastmod"].timestamp() * 1000)) == max(said)


def test_a_listed_request_enters_the_state_once() -> None:
    """Applying the same listing twice changes nothing more."""
    entries = Entries(
        ["https://a.example/1", "https://a.example/2"], ["2026-01-01", None], ["daily", None], ["1", None]
    )
    delta = merge([Listings(unfiltered(), NOW).rows(entries, SOURCE, None, Counter())])
    once = update.apply(schema.STATE.empty_table(), delta, Policy())
    assert update.apply(once, delta, Policy()).to_pylist() == once.to_pylist()
    assert sorted(once["score"].to_pylist()) == [0.5, 1.0]
    assert once["status"].to_pylist() == ["unfetched"] * 2
    assert once["due_at"].cast(pa.int64()).to_pylist() == [NOW] * 2


def test_authorities() -> None:
    for one, other in itertools.pairwise(["https://a.example/x", "http://a.example/y", "https://a.example"]):
        assert authority_of(one) == authority_of(other) == "a.example"
    assert authority_of("http://[::1]:8080/") == "[::1]:8080"
