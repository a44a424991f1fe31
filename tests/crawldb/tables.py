"""Rows as dicts, with times as UTC milliseconds, into tables of the crawldb's schemas and back; and rows at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from crawldb import schema, shards

NOW = 1_795_000_000_000
"""A time, UTC milliseconds."""
SECOND = 1000
DAY = 86_400 * SECOND

STATE_DEFAULTS = {
    "status": "unfetched", "due_at": NOW - DAY, "interval": 30 * 86_400, "retries": 0, "score": 1.0, "depth": 1,
    "discovered_at": NOW - 50 * DAY,
}  # fmt: skip


def key(number: int) -> bytes:
    """The fingerprint of request `number`. They sort by number, and those of 4k … 4k + 3 share their first 8 bytes."""
    return (number // 4 * 0x0101_0101_0101 + 1).to_bytes(8, "big") + bytes(11) + bytes([number % 4])


def table(rows: Sequence[dict[str, Any]], wanted: pa.Schema) -> pa.Table:
    """The rows, by fingerprint; what a row does not say is null."""
    return shards.sort(as_they_come(rows, wanted))


def as_they_come(rows: Sequence[dict[str, Any]], wanted: pa.Schema) -> pa.Table:
    """The same in the order of `rows`."""
    columns = []
    for field in wanted:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_timestamp(field.type):
            columns.append(pa.array(values, pa.int64()).cast(field.type))
        elif pa.types.is_dictionary(field.type):
            columns.append(pa.array(values, pa.string()).dictionary_encode().cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=wanted)


def state(*rows: dict[str, Any]) -> pa.Table:
    """A crawldb's state, sorted; each row needs a fingerprint, the rest has defaults."""
    return table([{**STATE_DEFAULTS, **_named(row)} for row in rows], schema.STATE)


def delta(*rows: dict[str, Any]) -> pa.Table:
    """A delta, sorted; each row needs a fingerprint."""
    return table([_named(row) for row in rows], schema.DELTA)


def _named(row: dict[str, Any]) -> dict[str, Any]:
    host = f"host{row['fingerprint'][-1]}.test"
    return {"url": f"http://{host}/{row['fingerprint'].hex()}", "host": host, **row}


def rows(of: pa.Table) -> list[dict[str, Any]]:
    """The table's rows as dicts: what two tables must have in common to be the same."""
    plain = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in (of.column(name) for name in of.column_names)
    ]
    return pa.table(plain, of.column_names).to_pylist()


def by_key(of: pa.Table) -> dict[bytes, dict[str, Any]]:
    """`rows` by fingerprint."""
    found = {row["fingerprint"]: row for row in rows(of)}
    assert len(found) == of.num_rows
    return found


def shuffled_parts(of: pa.Table, part_of: Sequence[int]) -> list[pa.Table]:
    """The table cut into disjoint parts: row i goes to part `part_of[i]`; each part keeps the order of the rows."""
    which = np.asarray(part_of[: of.num_rows], np.int64)
    return [of.filter(pa.array(which == part)) for part in dict.fromkeys(which.tolist())]


# -- at random ----------------------------------------------------------------------------------------------
#
# One number is one row: Hypothesis chooses which requests there are and the number for each, a generator of random
# numbers the rest. Drawing every value by Hypothesis takes ten times as long and finds no more.

Row = dict[str, Any]


def _time(random: Random) -> int:
    return NOW + random.randint(-100 * DAY, 100 * DAY)


def _metadata(random: Random) -> list[tuple[str, str]] | None:
    return random.choice([None, None, [], [("lang", "ü")], [("lang", ""), ("team", "a")]])


def _answer(random: Random) -> Row:
    return {
        "http_status": random.choice([None, 200, 404, 503]),
        "reason": random.choice([None, "timeout", "http_404"]),
        "etag": random.choice([None, '"1"', '"2"']),
        "last_modified": random.choice([None, "Tue, 24 Nov 2026 10:00:00 GMT"]),
        "redirect_to": random.choice([None, "http://x.test/"]),
        "signature": random.choice([None, b"a" * 16, b"b" * 16]),
        "content_type": random.choice([None, "text/html", "image/png"]),
        "canonical": random.choice([None, None, key(7)]),
        "simhash": random.choice([None, 0, 2**64 - 1]),
    }


def _listing(random: Random) -> Row:
    return {
        "lastmod": random.choice([None, _time(random)]),
        "changefreq": random.choice([None, "always", "Weekly", "never", "now and then"]),
        "sitemap_priority": random.choice([None, 0.5]),
    }


def state_row(number: int) -> Row:
    """Some row of a state, without its fingerprint."""
    random = Random(number)
    status = random.choice(list(schema.Status)).name
    return (
        _answer(random)
        | _listing(random)
        | {
            "status": status,
            "duplicate_of": random.choice([None, key(3)]) if status == "duplicate" else None,
            "linked_at": random.choice([None, _time(random)]),
            "fetched_at": random.choice([None, _time(random)]),
            "due_at": _time(random),
            "modified_at": random.choice([None, _time(random)]),
            "interval": random.randint(1, 200 * 86_400),
            "interval_fixed": random.choice([None, True]),
            "retries": random.randint(0, 4),
            "score": random.randint(0, 1 << 20) / 1024,
            "depth": random.randint(0, 5),
            "priority": random.choice([None, -1, 2]),
            "metadata": _metadata(random),
            "discovered_at": random.choice([None, _time(random)]),
            "discovered_from": random.choice([None, key(random.randint(0, 40))]),
        }
    )


def fetched_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: a fetch."""
    random = Random(number)
    return _answer(random) | {
        "outcome": random.choice(list(schema.FetchOutcome)).name,
        "fetched_at": random.choice([NOW, _time(random)]),
        "retry_after": random.choice([None, _time(random)]),
        "depth": random.randint(0, 5),
        "priority": random.choice([None, -1, 2]),
        "metadata": _metadata(random),
    }


def linked_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: links."""
    random = Random(number)
    return {
        "inlinks": random.randint(1, 5),
        "inlink_score": random.randint(0, 1 << 40) / 2.0**32,
        "depth": random.randint(0, 5),
        "priority": random.choice([None, -1, 2]),
        "metadata": _metadata(random),
        "discovered_at": _time(random),
        "linked_at": _time(random),
        "discovered_from": key(random.randint(0, 40)),
    }


def fetched_and_linked_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: a fetch, and links to the same request."""
    fetch, link = fetched_row(number), linked_row(number + 1)
    return {**link, **fetch, "discovered_from": None, "depth": min(link["depth"], fetch["depth"])}


def listed_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: a line of a sitemap."""
    random = Random(number)
    return _listing(random) | {
        "listed": True,
        "score": random.choice([None, 0.75]),
        "depth": random.choice([None, 1]),
        "discovered_at": _time(random),
        "discovered_from": random.choice([None, key(3)]),
    }


def marked_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: what a command says of a request that is there, or was."""
    random = Random(number)
    mark = random.choice([None, "duplicate", "fetched", "orphan", "gone"])
    return {
        "mark": mark,
        "duplicate_of": key(5) if mark == "duplicate" else None,
        "new_score": None if mark else random.randint(0, 1 << 20) / 1024,
    }


def seed_row(number: int) -> Row:
    """Some row of a delta, without its fingerprint: a seed."""
    random = Random(number)
    return {
        "injected": True,
        "update": random.choice([None, True]),
        "score": random.choice([None, random.randint(0, 1 << 20) / 1024]),
        "interval": random.choice([None, random.randint(1, 200 * 86_400)]),
        "interval_fixed": random.choice([None, True]),
        "depth": 0,
        "priority": random.choice([None, -1, 2]),
        "metadata": _metadata(random),
        "method": random.choice([None, "POST"]),
        "body": random.choice([None, b"", b"\x00"]),
        "headers": random.choice([None, [("Accept", "*/*")]]),
        "discovered_at": _time(random),
    }


def tables_of(kinds: Sequence[Callable[[int], Row]], wanted: pa.Schema) -> st.SearchStrategy[pa.Table]:
    """Tables of a schema whose rows are of these kinds."""

    def build(numbers: dict[int, int]) -> pa.Table:
        found = [
            {**STATE_DEFAULTS, **row} if wanted is schema.STATE else row
            for row in (
                _named({"fingerprint": key(place), **kinds[number % len(kinds)](number)})
                for place, number in numbers.items()
            )
        ]
        return table(found, wanted)

    return st.dictionaries(st.integers(0, 30), st.integers(0, (1 << 32) - 1), max_size=10).map(build)


states = tables_of([state_row], schema.STATE)
seeds = tables_of([seed_row], schema.DELTA)
deltas = tables_of([fetched_row, linked_row, fetched_and_linked_row, seed_row, listed_row, marked_row], schema.DELTA)
