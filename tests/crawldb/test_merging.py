"""Stores of several crawls as one: the same in whatever grouping and order, and what each column is taken from."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import merging, schema
from crawldb.hosts import HOSTDB
from crawldb.store import CRAWLDB
from tests.crawldb import tables
from tests.crawldb.tables import DAY, NOW, key

FEW = [None, NOW, NOW + 1, NOW + DAY]
"""Few times, so that many rows tie."""


def row(number: int) -> tables.Row:
    """Some row of a state, with what sitemaps, duplicates and links say of it."""
    random = Random(number)
    usual = tables.state_row(number)
    return (
        usual
        | {
            "metadata": usual["metadata"] or None,  # no file has empty ones
            "fetched_at": random.choice(FEW),
            "due_at": random.choice(FEW[1:]),
            "interval_fixed": random.choice([None, None, True]),
            "discovered_at": random.choice(FEW),
            "score": random.choice([0.0, 1.5, -2.0]),
            "lastmod": random.choice(FEW),
            "changefreq": random.choice([None, "daily", "never"]),
            "sitemap_priority": random.choice([None, 0.5, 1.0]),
            "linked_at": random.choice(FEW),
            "duplicate_of": random.choice([None, key(3)]),
            "simhash": random.choice([None, 0, (1 << 64) - 1]),
            "headers": random.choice([None, None, [("Accept", "a")], [("Accept", "b")]]),
        }
    )


states = tables.tables_of([row], schema.STATE)


@settings(max_examples=60)
@given(st.lists(states, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_grouping_and_order_do_not_matter(parts: list[pa.Table], random: Random) -> None:
    whole = tables.rows(merging.merge(parts))
    shuffled = random.sample(parts, len(parts))
    assert tables.rows(merging.merge(shuffled)) == whole
    one_by_one = shuffled[0]
    for part in shuffled[1:]:
        one_by_one = merging.merge([one_by_one, part])
    assert tables.rows(one_by_one) == whole
    assert tables.rows(merging.merge([merging.merge(shuffled[:2]), *shuffled[2:], shuffled[0]])) == whole


@settings(max_examples=60)
@given(st.lists(states, min_size=1, max_size=4))
def test_each_column_is_taken_from_where_it_should(parts: list[pa.Table]) -> None:
    given_rows: dict[bytes, list[dict[str, Any]]] = {}
    for part in parts:
        for one in tables.rows(part):
            given_rows.setdefault(one["fingerprint"], []).append(one)
    merged = tables.rows(merging.merge(parts))
    assert [one["fingerprint"] for one in merged] == sorted(given_rows)
    for one in merged:
        candidates = given_rows[one["fingerprint"]]

        def known(name: str, candidates: list[dict[str, Any]] = candidates) -> list[Any]:
            return [candidate[name] for candidate in candidates if candidate[name] is not None]

        assert one["score"] == max(known("score"))
        assert one["depth"] == min(known("depth"))
        assert one["linked_at"] == max(known("linked_at"), default=None)
        assert one["priority"] == max(known("priority"), default=None)
        assert one["discovered_at"] == min(known("discovered_at"), default=None)
        assert one["lastmod"] == max(known("lastmod"), default=None)
        assert one["fetched_at"] == max(known("fetched_at"), default=None)
        together = {name for metadata in known("metadata") for name, _ in metadata}
        assert {name for name, _ in one["metadata"] or []} == together
        # What belongs to one fetch, one discovery or one sitemap stays together.
        for unit in (
            merging._OF_FETCH,
            ("discovered_at", "discovered_from"),
            ("lastmod", "changefreq", "sitemap_priority"),
        ):
            assert [one[name] for name in unit] in [[candidate[name] for name in unit] for candidate in candidates]


def test_the_later_fetch_counts_and_the_earlier_discovery() -> None:
    older = tables.state({"fingerprint": key(1), "status": "fetched", "fetched_at": NOW, "score": 3.0, "depth": 2,
                          "discovered_at": NOW - DAY, "discovered_from": key(9), "metadata": [("a", "1"), ("b", "z")]})  # fmt: skip
    newer = tables.state({"fingerprint": key(1), "status": "gone", "fetched_at": NOW + 1, "score": 1.0, "depth": 1,
                          "discovered_at": NOW, "metadata": [("b", "y"), ("c", "3")], "reason": "http_404"})  # fmt: skip
    other = tables.state({"fingerprint": key(0)}, {"fingerprint": key(2)})
    first, one, last = tables.rows(merging.merge([older, other, newer]))
    assert (one["status"], one["reason"], one["score"], one["depth"]) == ("gone", "http_404", 3.0, 1)
    assert (one["discovered_at"], one["discovered_from"]) == (NOW - DAY, key(9))
    assert one["metadata"] == [("a", "1"), ("b", "y"), ("c", "3")]
    assert [first, last] == tables.rows(other)


def test_of_unfetched_ones_a_fixed_interval_counts_then_what_is_due_first() -> None:
    linked = {"fingerprint": key(1), "due_at": NOW - DAY, "interval": 5}
    seed = {"fingerprint": key(1), "due_at": NOW, "interval": 7, "interval_fixed": True}
    (one,) = tables.rows(merging.merge([tables.state(linked), tables.state(seed)]))
    assert (one["interval"], one["due_at"]) == (7, NOW)
    (one,) = tables.rows(merging.merge([tables.state({**linked, "due_at": NOW + 9}), tables.state(linked)]))
    assert one["due_at"] == NOW - DAY


@pytest.mark.parametrize("kind", [CRAWLDB, HOSTDB])
def test_one_store_alone_stays_as_it_is(kind: Any) -> None:
    table = kind.state.empty_table()
    assert kind.merged([table]) is table
    assert kind.merged([table, table]).num_rows == 0
