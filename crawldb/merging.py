"""Stores of several crawls as one: what becomes of a request that more than one of them has, and reading them side by side.

Owns `merge` for the crawldb, and `merged`, which reads any number of stores of one kind forward by fingerprint. Other
kinds whose deltas are states of their own (the host store) are merged as deltas are. Writes nothing: jobs/merge.py does.

What each column of a request is taken from. `merge` is associative and does not depend on order, so crawldbs may be
merged in any grouping, with the same result:

    score, priority                             the largest
    depth                                       the smallest
    discovered_at, discovered_from              of the earlier discovery; a seed's before a link's
    linked_at                                   the latest
    lastmod, changefreq, sitemap_priority       of the later lastmod
    metadata                                    all keys of all; of a key with two values the one that sorts first
    everything else                             of the later attempt to fetch it (as in Nutch's mergedb); of requests
                                                that none has asked for, of the one with a fixed interval, then of
                                                the one that is due first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards

if TYPE_CHECKING:
    from crawldb.store import Snapshot

Ints = NDArray[np.int64]

_NEVER = -(1 << 62)
"""Instead of a null where times are compared: earlier than all."""

_OWN = ("score", "priority", "depth", "discovered_at", "discovered_from", "linked_at", "lastmod", "changefreq",
        "sitemap_priority", "metadata")  # fmt: skip
"""The columns that do not come with the later fetch."""

_OF_FETCH = tuple(name for name in schema.STATE.names if name not in _OWN)


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per request, sorted, of rows of schema.STATE in any order."""
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    keys = shards.key_bytes(table["fingerprint"])
    if not len(keys):
        return table
    order = shards.sort_order(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
    sizes = np.diff(np.append(starts, len(order)))
    several = sizes > 1
    source = order[starts]
    if several.any():
        rows = order[np.repeat(several, sizes)]
        both = _merged(table.take(pa.array(rows)).combine_chunks(), sizes[several])
        source[several] = np.arange(len(both)) + len(order)
        table = pa.concat_tables([table, both]).unify_dictionaries().combine_chunks()
    return table.take(pa.array(source))


def _merged(table: pa.Table, sizes: Ints) -> pa.Table:
    """`merge` of rows that stand group by group; `sizes` are the groups'."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    group = np.repeat(np.arange(len(sizes)), sizes)
    fixed = table["interval_fixed"].fill_null(False).to_numpy().astype(np.int64)
    fetch = _first(table, group, [-_times(table["fetched_at"]), -fixed, _times(table["due_at"])], _OF_FETCH)
    # A known time before an unknown one.
    found_at = np.where(_nulls(table["discovered_at"]), -_NEVER, _times(table["discovered_at"]))
    linked = (~_nulls(table["discovered_from"])).astype(np.int64)
    discovery = _first(table, group, [found_at, linked], ("discovered_at", "discovered_from"))
    listing = _first(table, group, [-_times(table["lastmod"])], ("lastmod", "changefreq", "sitemap_priority"))
    columns: list[Any] = []
    for field in table.schema:
        column = table[field.name]
        if field.name in ("score", "priority"):
            merged = _largest(column, starts)
        elif field.name == "depth":
            merged = pc.negate(_largest(pc.negate(column), starts))
        elif field.name == "linked_at":
            merged = _largest(column.cast(pa.int64()), starts)
        elif field.name == "metadata":
            merged = _all_metadata(column, group, len(starts))
        elif field.name in ("discovered_at", "discovered_from"):
            merged = column.take(pa.array(discovery))
        elif field.name in ("lastmod", "changefreq", "sitemap_priority"):
            merged = column.take(pa.array(listing))
        else:
            merged = column.take(pa.array(fetch))
        columns.append(merged if merged.type == field.type else merged.cast(field.type))
    return pa.Table.from_arrays(columns, schema=table.schema)


def _first(table: pa.Table, group: Ints, keys: Sequence[Ints], settled: Sequence[str]) -> Ints:
    """For each group, the row that comes first by `keys`; of equal ones the one whose `settled` columns read first, so
    that the order of the rows does not matter."""
    order = np.lexsort((*reversed(keys), group))
    starts = np.flatnonzero(np.concatenate([[True], group[order][1:] != group[order][:-1]]))
    first: Ints = order[starts]
    group_start = np.repeat(first, np.diff(np.append(starts, len(order))))
    tied = np.ones(len(order), np.bool_)
    for key in keys:
        tied &= key[order] == key[group_start]
    rival = tied & (order != group_start)
    if not rival.any():
        return first
    rows, rivals = group_start[rival], order[rival]
    same = np.ones(len(rows), np.bool_)
    for name in settled:
        if name in table.column_names:
            same &= _same(table[name], rows, rivals)
    for number in np.unique(group[rows[~same]]).tolist():
        place = np.flatnonzero(tied & (group[order] == number))
        shown = table.select([name for name in settled if name in table.column_names])
        texts = [repr(list(row.values())) for row in shown.take(pa.array(order[place])).to_pylist()]
        first[number] = order[place[texts.index(min(texts))]]
    return first


def _same(column: pa.ChunkedArray, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Which of the rows `left` have what those of `right` have. Maps are the same where both are null."""
    one, other = column.take(pa.array(left)), column.take(pa.array(right))
    empty = pc.and_(one.is_null(), other.is_null())
    if pa.types.is_map(column.type):
        return np.asarray(empty.to_numpy())
    if pa.types.is_dictionary(column.type):
        one, other = one.cast(pa.string()), other.cast(pa.string())
    return np.asarray(pc.or_(pc.equal(one, other).fill_null(False), empty).to_numpy())


def _largest(column: pa.ChunkedArray, starts: Ints) -> pa.Array:
    """The largest number of each group; null where none has one."""
    floating = pa.types.is_floating(column.type)
    low = -np.inf if floating else _NEVER
    values = column.cast(pa.float64() if floating else pa.int64()).fill_null(low).to_numpy()
    largest = np.maximum.reduceat(values, starts)
    return pa.array(largest, mask=largest == low)


def _all_metadata(column: pa.ChunkedArray, group: Ints, groups: int) -> pa.Array:
    """The keys of all maps of a group in one, each with the value that sorts first."""
    maps = pa.concat_arrays(column.chunks)
    if maps.null_count == len(maps):
        return pa.nulls(groups, column.type)
    lengths = np.where(maps.is_valid().to_numpy(zero_copy_only=False), np.diff(maps.offsets.to_numpy()), 0)
    owner = np.repeat(group, lengths)
    # Masked maps may have entries below them: only those of the valid ones are taken.
    entries = np.repeat(maps.offsets.to_numpy()[:-1] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    place = pa.array(entries + np.arange(len(owner)))
    keys, values = maps.keys.take(place), maps.items.take(place)
    key, value = _ranks(keys), _ranks(values)
    order = np.lexsort((value, key, owner))
    kept = np.ones(len(order), np.bool_)
    kept[1:] = (owner[order][1:] != owner[order][:-1]) | (key[order][1:] != key[order][:-1])
    chosen = order[kept]
    sizes = np.bincount(owner[chosen], minlength=groups)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    merged = pa.MapArray.from_arrays(offsets, keys.take(pa.array(chosen)), values.take(pa.array(chosen)))
    return pc.if_else(pa.array(sizes > 0), merged, pa.scalar(None, merged.type))


def _ranks(texts: pa.Array) -> Ints:
    """Each text's place in their order; equal ones have the same. A null is last."""
    encoded = texts.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    rank = np.empty(len(names) + 1, np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    rank[-1] = len(names)
    return np.asarray(rank[encoded.indices.fill_null(len(names)).to_numpy()])


def _times(column: pa.ChunkedArray) -> Ints:
    values: Ints = column.cast(pa.int64()).fill_null(_NEVER).to_numpy()
    return values


def _nulls(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    values: NDArray[np.bool_] = column.is_null().to_numpy()
    return values


# -- several stores, side by side ----------------------------------------------------------------------------


class _Range:
    """Some shards of a snapshot, for a Cursor."""

    def __init__(self, snapshot: Snapshot, first: int, last: int) -> None:
        self._snapshot, self._first, self._last = snapshot, first, last

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Their rows, in order."""
        return self._snapshot.scan_range(self._first, self._last, columns)

    def close(self) -> None:
        """The snapshot opens and closes its files itself."""


def merged(snapshots: Sequence[Snapshot], piece: int, pieces: int) -> Iterator[pa.Table]:
    """The rows of several stores of one kind as one, in fingerprint order: of the fingerprints, cut into so many equal
    `pieces`, that `piece`.

    `pieces` is a power of two, at most the least number of shards of a store. Holds a few row groups of each store.
    """
    cursors = []
    for snapshot in snapshots:
        width = snapshot.shards // pieces
        cursors.append(shards.Cursor(_Range(snapshot, piece * width, (piece + 1) * width), None))
    kind = snapshots[0].store.kind
    while waiting := [cursor for cursor in cursors if not cursor.done]:
        bound = min(cursor.last for cursor in waiting)
        parts = [table for cursor in waiting if (table := cursor.take(bound)) is not None]
        yield kind.merged(parts)
