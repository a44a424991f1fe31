"""Counts by host, registrable domain, public suffix or top-level domain: Nutch's domainstats and crawlcomplete in one.

Pure functions over columns. Owns the groups, how rows of the crawldb are counted and counts are added up, and how they
look as a table of one row a group and one column a value. Holds a row for each group and value, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawldb import schema, urls

COUNTED = ("status", "http_status", "reason")
"""Columns of the crawldb whose values can be counted."""

COUNTS = pa.schema([("group", pa.string()), ("value", pa.string()), ("requests", pa.int64())])

NONE = "none"
"""The value where there is none: never answered, or no reason."""

_ADDRESS = "(address)"
_PENDING_ROWS = 1 << 19


def _is_address(host: str) -> bool:
    return host[:1] == "[" or host.rstrip(".").rpartition(".")[2].isdigit()


def suffix(host: str) -> str:
    """The public suffix of a host.

    >>> suffix("www.example.co.uk"), suffix("localhost"), suffix("127.0.0.1")
    ('co.uk', 'localhost', '(address)')
    """
    return _ADDRESS if _is_address(host) else urls.public_suffix(host)


def top_level_domain(host: str) -> str:
    """The last label of a host.

    >>> top_level_domain("www.example.co.uk"), top_level_domain("[::1]")
    ('uk', '(address)')
    """
    return _ADDRESS if _is_address(host) else host.rstrip(".").rpartition(".")[2]


GROUPS: dict[str, Callable[[str], str]] = {
    "host": lambda host: host, "domain": urls.registrable_domain, "suffix": suffix, "tld": top_level_domain,
}  # fmt: skip
"""What a request may be counted by: a function of its host."""


def count(tables: Iterable[pa.Table], by: str, column: str) -> pa.Table:
    """COUNTS of tables with the columns `host` and `column`, by a group of GROUPS."""
    pending: list[pa.Table] = []
    rows = 0
    for table in tables:
        if not table.num_rows:
            continue
        pending.append(_by_host(table, column))
        rows += pending[-1].num_rows
        if rows >= _PENDING_ROWS:
            pending = [add_up(pending)]
            # Many hosts must not be added up again with every table.
            rows = 0 if pending[0].num_rows < _PENDING_ROWS else -pending[0].num_rows
    by_host = add_up(pending)
    if by == "host":
        return by_host
    hosts = by_host["group"].combine_chunks().dictionary_encode()
    of = GROUPS[by]
    groups = pa.array([of(host) for host in hosts.dictionary.to_pylist()], pa.string())
    return add_up([by_host.set_column(0, "group", groups.take(hosts.indices))])


def _by_host(table: pa.Table, column: str) -> pa.Table:
    """COUNTS by host, of one table."""
    host, hosts = _codes(table["host"])
    value, values = _codes(table[column])
    pair = host * len(values) + value
    if len(hosts) * len(values) <= 4 * len(pair):
        counts = np.bincount(pair)
        pair = np.flatnonzero(counts)
        counts = counts[pair]
    else:
        pair, counts = np.unique(pair, return_counts=True)
    return pa.table(
        [hosts.take(pa.array(pair // len(values))), values.take(pa.array(pair % len(values))), pa.array(counts)], COUNTS
    )


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], pa.Array]:
    """Each value's number, and what the numbers stand for."""
    encoded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    encoded = encoded.unify_dictionaries()
    values = pa.concat_arrays([encoded.chunk(0).dictionary, pa.array([NONE], pa.string())])
    indices = [chunk.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return np.concatenate(indices).astype(np.int64), values


def add_up(tables: Sequence[pa.Table]) -> pa.Table:
    """COUNTS of COUNTS."""
    everything = pa.concat_tables([COUNTS.empty_table(), *tables])
    sums = everything.group_by(["group", "value"], use_threads=False).aggregate([("requests", "sum")])
    return sums.select(["group", "value", "requests_sum"]).rename_columns(COUNTS.names).combine_chunks()


def largest(counts: pa.Table, top: int) -> pa.Table:
    """Those of the `top` groups with the most requests, of equal ones the first by name; 0: of all."""
    if not top:
        return counts
    return counts.filter(pc.is_in(counts["group"], value_set=_totals(counts)["group"].slice(0, top)))


def _totals(counts: pa.Table) -> pa.Table:
    totals = counts.group_by("group", use_threads=False).aggregate([("requests", "sum")])
    return totals.sort_by([("requests_sum", "descending"), ("group", "ascending")])


def as_table(counts: pa.Table, by: str, column: str) -> pa.Table:
    """A row for each group, the largest first: its name, its requests, and how many have each value."""
    totals = _totals(counts)
    values = _in_order(counts, column)
    row = pc.index_in(counts["group"], value_set=totals["group"].combine_chunks()).to_numpy()
    place = pc.index_in(counts["value"], value_set=pa.array(values, pa.string())).to_numpy()
    matrix = np.zeros((totals.num_rows, len(values)), np.int64)
    matrix[row, place] = counts["requests"].to_numpy()
    columns = {by: totals["group"], "requests": totals["requests_sum"]}
    names = [value if value not in columns else f"{value}_" for value in values]
    return pa.table({**columns, **{name: matrix[:, number] for number, name in enumerate(names)}})


def _in_order(counts: pa.Table, column: str) -> list[str]:
    """The values that become columns: every status there is, of other columns those that were found."""
    if column == "status":
        return list(schema.STATUS_NAMES.to_pylist())
    found = counts.group_by("value").aggregate([("requests", "sum")])
    if column == "reason":
        found = found.sort_by([("requests_sum", "descending"), ("value", "ascending")])
        return list(found["value"].to_pylist())
    return sorted(found["value"].to_pylist(), key=lambda value: (value == NONE, value))
