"""The cache of robots.txt files: one row for each origin, the file that was asked for last.

Owns the merging of schema.HOSTLIST's rows. A store beside the host store's counters, for these are merged by every
updatedb and read by every generate, and the files, larger by far, are wanted for the hosts of a round alone. What
stands in a file is not known here; which origins a host has, the host store knows (`hosts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.settings import Policy
from crawldb.store import Kind

Ints = NDArray[np.int64]


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per origin, sorted: of rows of schema.HOSTLIST in any order the one that was asked for last."""
    table = pa.concat_tables(tables)
    keys = shards.key_bytes(table["fingerprint"])
    asked = table["fetched_at"].cast(pa.int64()).to_numpy()
    order = shards.sort_order(keys)
    other = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    if not other.all():
        group = np.cumsum(np.append([False], other))
        starts = np.flatnonzero(np.append([True], other))
        newest = asked[order] == np.maximum.reduceat(asked[order], starts)[group]
        order, group = order[newest], group[newest]
        first = np.append([True], group[1:] != group[:-1])
        order = order[first] if first.all() else _decided(table, order, group, first)
    elif (order[1:] > order[:-1]).all():
        return table
    return table.take(pa.array(order))


def _decided(table: pa.Table, order: Ints, group: Ints, first: NDArray[np.bool_]) -> Ints:
    """One row of each group. Two answers in one millisecond: the one whose text sorts last, whatever their order."""
    tied = np.isin(group, group[~first])
    texts = [repr(row) for row in table.take(pa.array(order[tied])).to_pylist()]
    best: dict[int, tuple[str, int]] = {}
    for number, text, row in zip(group[tied].tolist(), texts, order[tied].tolist(), strict=True):
        best[number] = max(best.get(number, ("", -1)), (text, row))
    decided: Ints = order[first]
    decided[list(best)] = [row for _, row in best.values()]
    return decided


def files_of(learned: pa.Table) -> pa.Table:
    """The files among rows of schema.LEARNED, for `merge`."""
    return learned.select(schema.HOSTLIST.names)


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """The state with what some commits learned."""
    return merge([state, *(delta for delta, _ in deltas)])


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns are the state's."""
    return list(columns)


ROBOTSDB = Kind(
    "hostdb/robots", schema.HOSTLIST, schema.HOSTLIST, tuple(schema.HOSTLIST.names), needed_of_delta, apply_all,
    "robots.txt files", "no robots.txt files here yet; the first updatedb keeps them", row_group=4096, shards=1,
)  # fmt: skip
