"""Duplicates: which of equal pages stays, all near pairs and no others, and who stands for whom."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import duplicates, schema, shards
from crawldb.duplicates import Blocks
from crawldb.settings import DedupSettings
from tests.crawldb.tables import DAY, NOW, key, rows, state

SAME, OTHER = b"s" * 16, b"o" * 16


def page(number: int, url: str = "http://a.test/x", signature: bytes | None = SAME, **row: Any) -> dict[str, Any]:
    return {"fingerprint": key(number), "url": url, "host": url.split("/")[2], "status": "fetched",
            "signature": signature, **row}  # fmt: skip


def marked(*pages: dict[str, Any], **options: Any) -> dict[int, int | None]:
    """Page → whose duplicate it becomes, None where it is unmarked; by number, only what changes."""
    settings = DedupSettings(**options)
    candidates = duplicates.candidates(state(*pages).select(duplicates.needed(settings)), settings)
    marks = [duplicates.same(candidates)[0]]
    if settings.canonical == "host":
        marks.append(duplicates.by_canonical(duplicates.claims(candidates), candidates))
    numbers = {key(number): number for number in range(100)}
    delta = duplicates.decide(pa.concat_tables(marks))
    assert {(row["mark"] == "duplicate") == (row["duplicate_of"] is not None) for row in rows(delta)} <= {True}
    return {numbers[row["fingerprint"]]: numbers.get(row["duplicate_of"]) for row in rows(delta)}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"score": 2.0}, {"score": 1.0}),
        ({"score": 1.0}, {"score": None}),
        ({"url": "http://a.test/x"}, {"url": "http://a.test/xy"}),
        ({"url": "https://a.test/"}, {"url": "http://a.test/x"}),  # as long
        ({"discovered_at": NOW - DAY}, {"discovered_at": NOW}),
        ({"discovered_at": NOW}, {"discovered_at": None}),
        ({}, {}),  # the lower fingerprint
    ],
)
def test_the_best_stays(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert marked(page(1, **better), page(2, **worse)) == {2: 1}
    if better != worse:
        assert marked(page(2, **better), page(1, **worse)) == {1: 2}


def test_the_order_is_a_setting() -> None:
    pages = page(1, "http://a.test/long", score=9.0, fetched_at=NOW), page(2, "http://a.test/x", fetched_at=NOW - DAY)
    assert marked(*pages) == {2: 1}
    assert marked(*pages, order=["length", "score"]) == {1: 2}
    assert marked(*pages, order=["fetched"]) == {2: 1}


def test_what_takes_part() -> None:
    pages = [page(1)]
    pages += [page(2 + place, status=status.name, fetched_at=NOW) for place, status in enumerate(schema.Status)]
    pages += [page(20, signature=None), page(21, signature=None), page(22, signature=OTHER)]
    taking_part = {2 + place for place, status in enumerate(schema.Status)
                   if status.name in ("fetched", "notmodified", "duplicate")}  # fmt: skip
    assert marked(*pages) == dict.fromkeys(taking_part, 1)


def test_groups() -> None:
    pages = (
        page(1, "http://a.x.test/"),
        page(2, "http://b.x.test/"),
        page(3, "http://a.x.test/y"),
        page(4, "http://y.test/"),
    )
    assert marked(*pages) == {1: 4, 2: 4, 3: 4}
    assert marked(*pages, group="host") == {3: 1}
    assert marked(*pages, group="domain") == {2: 1, 3: 1}


def test_only_changes_are_marked() -> None:
    duplicate = {"status": "duplicate"}
    assert marked(page(1), page(2, **duplicate, duplicate_of=key(1))) == {}
    assert marked(page(1), page(2, **duplicate, duplicate_of=key(9))) == {2: 1}
    assert marked(page(1), page(2, **duplicate, duplicate_of=None)) == {2: 1}
    assert marked(page(1, **duplicate, duplicate_of=key(2)), page(2)) == {1: None, 2: 1}
    assert marked(page(1, signature=OTHER, **duplicate, duplicate_of=key(2)), page(2)) == {1: None}
    assert marked(page(1, signature=None, **duplicate, duplicate_of=key(2)), page(2)) == {1: None}


def test_canonical_links_within_a_group() -> None:
    named = page(3, score=0.0)
    pages = page(1, canonical=key(3)), page(2), named
    assert marked(*pages) == {1: 3, 2: 3}
    assert marked(*pages, canonical="off") == {2: 1, 3: 1}
    # Who names another stands back, even where that is not here.
    assert marked(page(1, canonical=key(9)), page(2)) == {1: 2}
    # The most votes; but none of another group counts.
    voters = [page(number, canonical=key(4)) for number in (5, 6)]
    assert marked(page(1), page(4), page(7, canonical=key(1)), *voters) == dict.fromkeys((1, 5, 6, 7), 4)
    others = [page(number, signature=OTHER, canonical=key(4)) for number in (10, 11, 12)]
    assert marked(page(1), page(4), page(7, canonical=key(1)), *others) == {4: 1, 7: 1, 11: 10, 12: 10}


def test_canonical_links_within_a_host() -> None:
    def alone(number: int, url: str = "http://a.test/x", **row: Any) -> dict[str, Any]:
        return page(number, url, signature=bytes([number] * 16), **row)

    host = {"canonical": "host"}
    assert marked(alone(1, canonical=key(2)), alone(2), **host) == {1: 2}
    assert marked(alone(1, canonical=key(2)), alone(2)) == {}
    assert marked(alone(1, canonical=key(2)), alone(2, "http://b.test/"), **host) == {}
    assert marked(alone(1, canonical=key(2)), alone(2, status="gone"), **host) == {}
    assert marked(alone(1, canonical=key(2)), alone(2, canonical=key(3)), alone(3), **host) == {2: 3}
    assert marked(alone(1, canonical=key(2)), alone(2, canonical=key(1)), **host) == {}
    # What it says of itself comes before its signature.
    pages = page(1, canonical=key(3)), page(2), alone(3)
    assert marked(*pages, **host) == {1: 3}


pages = st.builds(
    lambda number, seed: page(
        number, f"http{'s' * (seed & 1)}://{'ab'[seed >> 1 & 1]}.test/{'x' * (seed >> 2 & 1)}",
        bytes([seed >> 3 & 3] * 16), score=float(seed >> 5 & 1), status=["fetched", "notmodified", "duplicate"][seed >> 6 & 1],
    ),
    st.integers(0, 40), st.integers(0, 127),
)  # fmt: skip


@given(st.lists(pages, max_size=20, unique_by=lambda page: page["fingerprint"]), st.sampled_from(["none", "host"]))
def test_exactly_one_of_each_group_stays(found: list[dict[str, Any]], group: str) -> None:
    expected: dict[int, int | None] = {}
    order = sorted(
        found, key=lambda row: (-row["score"], len(row["url"]), row["url"][:5] != "https", row["fingerprint"])
    )
    best: dict[Any, bytes] = {}
    numbers = {key(number): number for number in range(41)}
    for row in order:
        first = best.setdefault((row["signature"], row["host"] if group == "host" else ""), row["fingerprint"])
        if first != row["fingerprint"]:
            expected[numbers[row["fingerprint"]]] = numbers[first]
    assert marked(*found, group=group) == expected


def test_ranges_keep_equal_signatures_together() -> None:
    random = np.random.default_rng(0)
    found = state(*[page(number, signature=bytes(random.integers(0, 256, 16, np.uint8))) for number in range(200)])
    candidates = duplicates.candidates(found, DedupSettings())
    parts = dict(duplicates.by_range(candidates, 8))
    assert sum(part.num_rows for part in parts.values()) == 200
    assert all(row["signature"][0] >> 5 == number for number, part in parts.items() for row in part.to_pylist())


# -- nearly the same ---------------------------------------------------------------------------------------------


def near_rows(hashes: list[int], groups: list[int] | None = None) -> pa.Table:
    """Candidates with these simhashes: page i is better than page i + 1."""
    columns: dict[str, Any] = {
        "fingerprint": pa.array([key(number) for number in range(len(hashes))], schema.FINGERPRINT),
        "marked": pa.array([False] * len(hashes)),
        "was": pa.nulls(len(hashes), schema.FINGERPRINT),
        "simhash": pa.array(hashes, pa.uint64()),
        "order0": pa.array(np.arange(len(hashes))),
    }
    if groups:
        columns["group"] = pa.array(groups, pa.uint64())
    return pa.table(columns)


def all_pairs(found: pa.Table, blocks: Blocks, parts: int) -> set[tuple[int, int, int]]:
    """(group, a, b) by way of the parts."""
    batches: dict[int, list[pa.Table]] = {}
    for half in (found.slice(0, found.num_rows // 2), found.slice(found.num_rows // 2)):
        for number, batch in blocks.split(half, parts):
            batches.setdefault(number, []).append(batch)
    tables = [blocks.pairs(pa.concat_tables(part)) for part in batches.values()]
    return {(row["group"], row["a"], row["b"]) for table in tables for row in table.to_pylist()}


hashes = st.lists(
    st.tuples(st.sampled_from([0, 0x0123_4567_89AB_CDEF, 2**64 - 1]), st.sets(st.integers(0, 63), max_size=5)).map(
        lambda drawn: drawn[0] ^ sum(1 << bit for bit in drawn[1])
    ),
    min_size=2, max_size=12,
)  # fmt: skip


@settings(max_examples=60)
@given(hashes, st.integers(0, 4), st.integers(1, 3), st.booleans())
def test_all_near_pairs_and_no_others(found: list[int], distance: int, agreeing: int, grouped: bool) -> None:
    groups = [place % 2 for place in range(len(found))] if grouped else [0] * len(found)
    expected = {
        (groups[a], min(found[a], found[b]), max(found[a], found[b]))
        for a, b in itertools.combinations(range(len(found)), 2)
        if groups[a] == groups[b] and (found[a] ^ found[b]).bit_count() <= distance
    }
    assert all_pairs(near_rows(found, groups), Blocks(distance, agreeing), 3) == expected


def test_more_rows_need_longer_keys() -> None:
    assert [Blocks.for_rows(rows, 3).agreeing for rows in (10, 10**6, 10**8)] == [1, 1, 2]
    for blocks in (Blocks(3, 1), Blocks(3, 2), Blocks(5, 3)):
        assert sum(mask.bit_count() for mask in blocks.masks()) * (blocks.distance + blocks.agreeing) == (
            64 * blocks.agreeing * len(blocks.masks())
        )


@given(st.integers(1, 9).flatmap(lambda number: st.tuples(st.just(number), st.sets(
    st.tuples(st.integers(0, number - 1), st.integers(0, number - 1)), max_size=20))))  # fmt: skip
def test_who_stands_for_whom(graph: tuple[int, set[tuple[int, int]]]) -> None:
    number, edges = graph
    stays: list[int] = []
    expected = []
    for node in range(number):
        known = [other for other in stays if (other, node) in edges or (node, other) in edges]
        stays += [] if known else [node]
        expected.append(min(known, default=node))
    pairs = np.array(sorted(edges), np.int64).reshape(-1, 2)
    found = duplicates.standing(number, pairs.min(axis=1), pairs.max(axis=1)).tolist()
    assert found == expected


def test_a_long_chain_is_not_transitive() -> None:
    nodes = np.arange(500)
    assert duplicates.standing(500, nodes[:-1], nodes[1:]).tolist() == (nodes // 2 * 2).tolist()


def test_near_pages_become_duplicates_of_the_best() -> None:
    found = near_rows([0b0, 0b1, 0b0, 0b11111, 0b11110001, 1 << 40])
    pairs = pa.table(
        list(zip(*sorted(all_pairs(found, Blocks(3, 1), 2)), strict=True)), names=["group", "a", "b"]
    ).cast(duplicates.PAIRS)  # fmt: skip
    chosen = duplicates.in_pairs(found, pairs)
    marks = duplicates.near(chosen.take(pa.array(np.arange(chosen.num_rows)[::-1])), pairs)
    numbers = {key(number): number for number in range(10)}
    assert {numbers[row["fingerprint"]]: numbers[row["duplicate_of"]] for row in marks.to_pylist()} == {
        1: 0,
        2: 0,
        5: 0,
    }


def test_marks_of_rules_by_precedence() -> None:
    def mark(number: int, of: int | None, rule: int) -> dict[str, Any]:
        return {"fingerprint": key(number), "duplicate_of": None if of is None else key(of), "rule": rule,
                "marked": True, "was": key(9)}  # fmt: skip

    marks = pa.Table.from_pylist(
        [mark(1, None, duplicates.STAYS), mark(1, 5, duplicates.NEAR), mark(2, 6, duplicates.SAME),
         mark(2, 7, duplicates.CANONICAL), mark(3, 9, duplicates.NEAR)], duplicates.MARKS,
    )  # fmt: skip
    assert [row["duplicate_of"] for row in rows(duplicates.decide(marks))] == [key(5), key(7)]
    assert duplicates.number_of(marks) == 3
    assert shards.key_bytes(duplicates.decide(marks)["fingerprint"]).shape == (2, 20)
