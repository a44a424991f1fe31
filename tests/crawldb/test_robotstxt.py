"""The cache of robots.txt files: of each origin the file that was asked for last, however the rows come together."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from crawldb import hosts, robotstxt, schema
from tests.crawldb.tables import NOW

ORIGINS = ["http://a.test", "https://a.test", "https://b.test:8443", "http://[::1]"]


def rows_of(chosen: list[tuple[int, int]]) -> pa.Table:
    """A row for each (origin, number); the number decides when it was asked for and what came."""
    tables = []
    for place, number in chosen:
        random = Random(number)
        at, status = NOW + random.randint(0, 2), random.choice([None, 200, 404])
        body = random.choice([b"", b"\x00", b"Disallow: /"]) if status == 200 else None
        row = (ORIGINS[place], f"{ORIGINS[place]}/robots.txt", at, status, body, False, None, None, None)
        tables.append(robotstxt.files_of(hosts.learned([row])))
    return pa.concat_tables([schema.HOSTLIST.empty_table(), *tables])


def as_rows(of: pa.Table) -> list[dict[str, Any]]:
    of.validate(full=True)
    return list(of.to_pylist())


CHOSEN = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1 << 30)), max_size=10)


@given(CHOSEN, st.randoms(use_true_random=False))
def test_merging_depends_on_neither_order_nor_grouping(chosen: list[tuple[int, int]], random: Random) -> None:
    at_once = as_rows(robotstxt.merge([rows_of(chosen)]))
    mixed = random.sample(chosen, len(chosen))
    cut = random.randint(0, len(chosen))
    one, two = (robotstxt.merge([rows_of(part)]) for part in (mixed[:cut], mixed[cut:]))
    assert as_rows(robotstxt.merge([rows_of(mixed)])) == at_once
    assert as_rows(robotstxt.merge([two, one])) == at_once
    assert as_rows(robotstxt.merge([robotstxt.merge([one]), two])) == at_once


@given(CHOSEN)
def test_the_one_that_was_asked_for_last_stays(chosen: list[tuple[int, int]]) -> None:
    every = as_rows(rows_of(chosen))
    found = as_rows(robotstxt.merge([rows_of(chosen)]))
    assert [row["fingerprint"] for row in found] == sorted({row["fingerprint"] for row in every})
    for row in found:
        mine = [one for one in every if one["origin"] == row["origin"]]
        assert row in mine
        assert row["fetched_at"] == max(one["fetched_at"] for one in mine)
