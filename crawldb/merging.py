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
_LAST = np.iinfo(np.int64).max

_OWN = ("score", "priority", "depth", "linked_at", "metadata")
_OF_DISCOVERY = ("discovered_at", "discovered_from")
_OF_SITEMAP = ("lastmod", "changefreq", "sitemap_priority")
"""The columns that do not come with the later fetch."""

_OF_FETCH = tuple(name for name in schema.STATE.names if name not in (*_OWN, *_OF_DISCOVERY, *_OF_SITEMAP))


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per request, sorted, of rows of schema.STATE in any order."""
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    keys = shards.key_bytes(table["fingerprint"])
    order = shards.sort_order(keys)
    ordered = keys[order]
    new = np.append([True], (ordered[1:] != ordered[:-1]).any(axis=1))[: len(order)]
    if new.all():
        return table.take(pa.array(order))
    groups = _Groups(table, order, np.flatnonzero(new))
    fixed = table["interval_fixed"].fill_null(False).to_numpy().astype(np.int64)
    fetch = groups.first([-_times(table["fetched_at"]), -fixed, _times(table["due_at"])], _OF_FETCH)
    # A known time before an unknown one.
    found_at = np.where(_nulls(table["discovered_at"]), -_NEVER, _times(table["discovered_at"]))
    linked = (~_nulls(table["discovered_from"])).astype(np.int64)
    discovery = groups.first([found_at, linked], _OF_DISCOVERY)
    listing = groups.first([-_times(table["lastmod"])], _OF_SITEMAP)
    columns: list[Any] = []
    for field in table.schema:
        column = table[field.name]
        if field.name in ("score", "priority"):
            merged = groups.largest(column)
        elif field.name == "depth":
            merged = pc.negate(groups.largest(pc.negate(column)))
        elif field.name == "linked_at":
            merged = groups.largest(column.cast(pa.int64()))
        elif field.name == "metadata":
            merged = groups.all_metadata(column)
        elif field.name in _OF_DISCOVERY:
            merged = column.take(discovery)
        elif field.name in _OF_SITEMAP:
            merged = column.take(listing)
        else:
            merged = column.take(fetch)
        columns.append(merged if merged.type == field.type else merged.cast(field.type))
    return pa.Table.from_arrays(columns, schema=table.schema)


class _Groups:
    """The rows of a table by request: those of one stand together in `order`, the first at one of `starts`."""

    def __init__(self, table: pa.Table, order: Ints, starts: Ints) -> None:
        self._table, self._order, self._starts = table, order, starts
        self._sizes = np.diff(np.append(starts, len(order)))
        self._group = np.repeat(np.arange(len(starts)), self._sizes)

    def first(self, keys: Sequence[Ints], settled: Sequence[str]) -> pa.Array:
        """For each group, the row that comes first by `keys`; of equal ones the one whose `settled` columns read first,
        so that the order of the rows does not matter."""
        equal = np.ones(len(self._order), np.bool_)
        for key in keys:
            values = np.where(equal, key[self._order], _LAST)
            equal &= values == np.minimum.reduceat(values, self._starts)[self._group]
        candidates, of = self._order[equal], self._group[equal]
        leads = np.append([True], of[1:] != of[:-1])
        first = candidates[leads]
        if len(first) == len(candidates):
            return pa.array(first)
        rivals, of_rivals = candidates[~leads], of[~leads]
        same = np.ones(len(rivals), np.bool_)
        settled = [name for name in settled if name in self._table.column_names]
        for name in settled:
            same &= _same(self._table[name], first[of_rivals], rivals)
        differ = np.unique(of_rivals[~same])
        bounds = zip(np.searchsorted(of, differ), np.searchsorted(of, differ, side="right"), strict=True)
        for group, (start, end) in zip(differ.tolist(), bounds, strict=True):
            rows = candidates[start:end]
            shown = self._table.select(settled).take(pa.array(rows)).to_pylist()
            texts = [repr(list(row.values())) for row in shown]
            first[group] = rows[texts.index(min(texts))]
        return pa.array(first)

    def largest(self, column: pa.ChunkedArray) -> pa.Array:
        """The largest number of each group; null where none has one."""
        floating = pa.types.is_floating(column.type)
        low = -np.inf if floating else _NEVER
        values = column.cast(pa.float64() if floating else pa.int64()).fill_null(low).to_numpy()
        largest = np.maximum.reduceat(values[self._order], self._starts)
        return pa.array(largest, mask=largest == low)

    def all_metadata(self, column: pa.ChunkedArray) -> pa.Array:
        """The keys of all maps of a group in one, each with the value that sorts first."""
        some = np.add.reduceat((~_nulls(column)).astype(np.int64)[self._order], self._starts)
        several = (self._sizes > 1) & (some > 0)
        source = self._order[self._starts]
        if not several.any():
            return column.take(pa.array(source))
        rows = self._order[np.repeat(several, self._sizes)]
        group = np.repeat(np.arange(np.count_nonzero(several)), self._sizes[several])
        united = _united(pa.concat_arrays(column.take(pa.array(rows)).chunks), group, int(group[-1]) + 1)
        source[several] = np.arange(len(united)) + len(column)
        return pa.chunked_array([*column.chunks, united]).combine_chunks().take(pa.array(source))


def _same(column: pa.ChunkedArray, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Which of the rows `left` have what those of `right` have. Maps are the same where both are null."""
    one, other = column.take(pa.array(left)), column.take(pa.array(right))
    empty = pc.and_(one.is_null(), other.is_null())
    if pa.types.is_map(column.type):
        return np.asarray(empty.to_numpy())
    if pa.types.is_dictionary(column.type):
        one, other = one.cast(pa.string()), other.cast(pa.string())
    return np.asarray(pc.or_(pc.equal(one, other).fill_null(False), empty).to_numpy())


def _united(maps: pa.MapArray, group: Ints, groups: int) -> pa.Array:
    """A map for each group with the keys of all its maps, each with the value that sorts first."""
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
