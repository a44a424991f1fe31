"""Counts by host, domain, suffix and top-level domain, beside a loop over rows."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import domainstats, schema

HOSTS = ["www.a.co.uk", "b.a.co.uk", "c.example", "localhost", "127.0.0.1", "[::1]", "x.github.io"]
ROWS = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.sampled_from(["fetched", "gone", "unfetched"]),
              st.sampled_from([None, 200, 404])), max_size=30,
)  # fmt: skip
TABLES = st.lists(ROWS, max_size=4)


def table(rows: list[tuple[str, str, int | None]]) -> pa.Table:
    hosts, statuses, codes = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table({
        "host": pa.array(hosts, pa.string()).dictionary_encode(),
        "status": pa.array(statuses, pa.string()).dictionary_encode(),
        "http_status": pa.array(codes, pa.int16()),
    })  # fmt: skip


@given(TABLES, st.sampled_from(list(domainstats.GROUPS)), st.sampled_from(["status", "http_status"]), st.integers(0, 4))
def test_counts_are_what_a_loop_says(
    tables: list[list[tuple[str, str, int | None]]], by: str, column: str, top: int
) -> None:
    counts = domainstats.count([table(rows) for rows in tables], by, column)
    expected: Counter[tuple[str, str]] = Counter()
    totals: Counter[str] = Counter()
    for host, status, code in (row for rows in tables for row in rows):
        value = status if column == "status" else str(code) if code is not None else domainstats.NONE
        expected[domainstats.GROUPS[by](host), value] += 1
        totals[domainstats.GROUPS[by](host)] += 1
    found = {(row["group"], row["value"]): row["requests"] for row in counts.to_pylist()}
    assert found == expected
    shown = domainstats.as_table(domainstats.largest(counts, top), by, column).to_pylist()
    order = sorted(totals, key=lambda group: (-totals[group], group))[: top or None]
    assert [row[by] for row in shown] == order
    for row in shown:
        assert row["requests"] == totals[row[by]]
        values = {name: number for name, number in row.items() if name not in (by, "requests")}
        assert {name: n for name, n in values.items() if n} == {
            value: n for (group, value), n in expected.items() if group == row[by]
        }


@given(TABLES)
def test_counts_of_parts_add_up(tables: list[list[tuple[str, str, int | None]]]) -> None:
    whole = domainstats.count([table(rows) for rows in tables], "domain", "status")
    parts = [domainstats.count([table(rows)], "domain", "status") for rows in tables]
    order = [("group", "ascending"), ("value", "ascending")]
    assert domainstats.add_up(parts).sort_by(order).equals(whole.sort_by(order))


@pytest.mark.parametrize(
    ("host", "domain", "suffix", "tld"),
    [
        ("www.a.co.uk", "a.co.uk", "co.uk", "uk"),
        ("x.github.io", "x.github.io", "github.io", "io"),
        ("localhost", "localhost", "localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1", "(address)", "(address)"),
        ("[::1]", "[::1]", "(address)", "(address)"),
    ],
)
def test_groups(host: str, domain: str, suffix: str, tld: str) -> None:
    assert {by: group(host) for by, group in domainstats.GROUPS.items()} == {
        "host": host, "domain": domain, "suffix": suffix, "tld": tld,
    }  # fmt: skip


def test_every_status_is_a_column_and_nothing_is_a_table() -> None:
    names = ["domain", "requests", *schema.Status.__members__]
    assert domainstats.as_table(domainstats.COUNTS.empty_table(), "domain", "status").column_names == names
    found = domainstats.as_table(
        domainstats.count([table([(HOSTS[0], "gone", 404)])], "domain", "status"), "domain", "status"
    )
    assert found.column_names == names
