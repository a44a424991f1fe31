"""Statistics against counting row by row, and the bound on the quantiles' error."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import schema, statistics
from tests.crawldb.tables import NOW

COLUMNS = pa.schema([schema.STATE.field(name) for name in statistics.COLUMNS])
HOSTS = [f"host{number}.example" for number in range(15)]
ROWS = st.builds(
    lambda *values: dict(zip(statistics.COLUMNS, values, strict=True)),
    st.sampled_from([status.name for status in schema.Status]),
    st.none() | st.sampled_from(["timeout", "http_404", "null"]),
    st.none() | st.sampled_from([-(1 << 15), 0, 200, 404, (1 << 15) - 1]),
    st.sampled_from([-128, 0, 1, 127]),
    st.none() | st.sampled_from([-(1 << 15), 0, 3]),
    st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 5, -5]),
    st.sampled_from(HOSTS),
)


def tables_of(parts: list[list[dict[str, Any]]]) -> list[pa.Table]:
    return [pa.Table.from_pylist(part, schema=COLUMNS) for part in parts]


def counts(rows: list[dict[str, Any]], name: str) -> dict[str, int]:
    return dict(Counter("null" if row[name] is None else str(row[name]) for row in rows))


@given(st.lists(st.lists(ROWS, max_size=12), max_size=4))
def test_counts_are_those_of_counting_row_by_row(parts: list[list[dict[str, Any]]]) -> None:
    rows = [row for part in parts for row in part]
    result = statistics.count(tables_of(parts), NOW)
    assert result["rows"] == len(rows)
    waiting = [row for row in rows if row["status"] != "orphan"]
    assert result["due_now"] == sum(row["due_at"] <= NOW for row in waiting)
    assert result["due_later"] == sum(row["due_at"] > NOW for row in waiting)
    later = [row["due_at"] for row in waiting if row["due_at"] > NOW]
    assert result["next_due_at"] == (statistics.time_text(min(later)) if later else None)
    for name in ("status", "http_status", "retries", "depth"):
        assert result[name] == counts(rows, name)
    texts = Counter(str(row["reason"]) if row["reason"] is not None else "null" for row in rows)
    assert result["reason"] == texts
    assert list(result["status"]) == [status.name for status in schema.Status if status.name in result["status"]]
    by_host = Counter(row["host"] for row in rows)
    largest = sorted(by_host.items(), key=lambda item: (-item[1], item[0]))[: statistics.TOP_HOSTS]
    assert [(host["host"], host["rows"]) for host in result["top_hosts"]] == largest
    assert result["hosts"] == len(by_host)


# At the very end of float32's range the shortest text of a number rounds to infinity.
FLOATS = st.floats(-(2.0**127), 2.0**127, width=32) | st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(st.none() | FLOATS, min_size=1, max_size=40), st.integers(1, 5))
def test_quantiles_are_within_their_bound(scores: list[float | None], parts: int) -> None:
    row = {"status": "fetched", "host": "a", "retries": 0, "due_at": NOW}
    rows = [{**row, "score": score} for score in scores]
    result = statistics.count(tables_of([rows[part::parts] for part in range(parts)]), NOW)["score"]
    numbers = sorted(score for score in scores if score is not None and math.isfinite(score))
    assert result["null"] == len(scores) - len(numbers)
    if not numbers:
        assert result["min"] is result["p50"] is result["max"] is result["mean"] is None
        return
    assert np.float32(result["min"]) == numbers[0]
    assert np.float32(result["max"]) == numbers[-1]
    for name, share in statistics.QUANTILES.items():
        exact = numbers[max(1, math.ceil(share * len(numbers))) - 1]
        # Numbers below the normal range (1.2e-38) have fewer bits to tell them apart.
        assert exact - abs(exact) / 512 - 2.0**-126 / 128 <= np.float32(result[name]) <= exact


def test_round_scores_are_exact() -> None:
    row = {"status": "fetched", "host": "a", "retries": 0, "due_at": NOW}
    scores = [-2.0, -0.5, 0.0, 0.25, 0.375, 1.0, 1.0, 1.5, 7.0, 100.0]
    result = statistics.count(tables_of([[{**row, "score": score} for score in scores]]), NOW)["score"]
    assert result == {"min": -2.0, "p25": 0.0, "p50": 0.375, "p75": 1.5, "p90": 7.0, "p99": 100.0, "max": 100.0,
                      "mean": 10.8625, "null": 0}  # fmt: skip


def test_hosts_beyond_the_limit_are_forgotten_smallest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics._Hosts, "_MOST", 4)
    monkeypatch.setattr(statistics._Hosts, "_PENDING", 3)
    hosts = statistics._Hosts()
    for number in range(50):
        names = ["big.example"] * 5 + ["large.example"] * 3 + [f"small{number}.example"]
        hosts.add(pa.array(names).dictionary_encode())
    known, top = hosts.result(2)
    assert top == [("big.example", 250), ("large.example", 150)]
    assert known <= 2 * 4


def test_both_ways_of_printing_say_the_same() -> None:
    row = {"status": "gone", "host": "a.example", "retries": 0, "due_at": NOW, "reason": "http_404"}
    known = {"version": 3, "kind": "inject", "committed_at": "2026-11-24T10:15:00.000Z", "shards": 1, "bytes": 1234,
             "base_rows": 0, "deltas": 2, "delta_rows": 20}  # fmt: skip
    result = known | statistics.count(tables_of([[row] * 20]), NOW)
    assert json.loads(statistics.to_json(result)) == result
    text = statistics.to_text(result)
    for line in ("rows       20", "bytes      1,234 (61.7 a row stored)", "files      1 shard, base: 0 rows, 2 deltas: 20 rows",
                 "due now    20", "due later  0"):  # fmt: skip
        assert line in text.splitlines()
    assert [line.split() for line in text.splitlines() if "http_404" in line] == [["http_404", "20", "100.0%"]]


def test_an_empty_crawldb_has_statistics() -> None:
    known = {"version": 0, "kind": "inject", "committed_at": "x", "shards": 1, "bytes": 0, "base_rows": 0, "deltas": 0,
             "delta_rows": 0}  # fmt: skip
    result = known | statistics.count([], NOW)
    assert result["rows"] == result["hosts"] == 0
    assert "due now    0\n" in statistics.to_text(result)
