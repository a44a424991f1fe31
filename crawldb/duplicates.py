"""Which pages are the same, or nearly, and which of them stays: what `dedup` marks.

Pure functions over columns; the jobs that call them are in jobs/dedup.py. Nothing here reads, writes or changes a
status: marks do, in `update.apply`.

*The same* are pages with the same signature within a group (all pages, one host, one registrable domain). Of those the
best stays, by dedup.order, and the others are its duplicates. With dedup.canonical the wish of the pages comes first:
who names another page as its canonical one stands behind those that do not, and among these the one that most others
of the same content name stands first.

*Nearly the same* are pages whose simhashes (Charikar, STOC 2002; jobs/parsing/simhash.py) differ in at most
dedup.distance of 64 bits. `Blocks` finds all such pairs and no others (Manku, Jain, Das Sarma: Detecting Near-Duplicates
for Web Crawling, WWW 2007): the bits are cut into blocks, and two numbers that differ in at most k of them agree wholly
in all blocks but k. Likeness is not transitive, and a chain of small changes may lead anywhere. So nothing is a
duplicate by way of a third page: from the best page down, a page stays unless one that stays is within the distance, and
then it is a duplicate of the best of those.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.families import find
from crawldb.schema import Status
from crawldb.settings import DedupSettings
from crawldb.urls import registrable_domain

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bools = NDArray[np.bool_]

Preference = Callable[[pa.Table], NDArray[Any]]
"""Rows of the crawldb → a number for each; of duplicates the one with the smallest stays. No NaN."""

COLUMNS = (
    "fingerprint", "url", "host", "status", "signature", "simhash", "canonical", "duplicate_of", "score",
    "discovered_at", "fetched_at", "depth",
)  # fmt: skip
"""The state's columns that `candidates` looks at."""

MARKS = pa.schema([
    pa.field("fingerprint", schema.FINGERPRINT, nullable=False),
    pa.field("duplicate_of", schema.FINGERPRINT),
    pa.field("rule", pa.int8(), nullable=False),
    pa.field("marked", pa.bool_(), nullable=False),
    pa.field("was", schema.FINGERPRINT),
])  # fmt: skip
"""What one rule says of a page: whose duplicate it is (null: it stays), and how it is marked so far."""

CANONICAL, NEAR, SAME, STAYS = range(4)
"""The rules, by precedence: what a page says of itself, likeness, the signature; and that it is no duplicate."""

PAIRS = pa.schema([
    pa.field("group", pa.uint64(), nullable=False), pa.field("a", pa.uint64(), nullable=False),
    pa.field("b", pa.uint64(), nullable=False),
])  # fmt: skip
"""Simhashes a ≤ b that are within the distance, in one group; a = b: several pages have it."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
_NO_FINGERPRINT = b"\xff" * 20


# -- rows that take part -----------------------------------------------------------------------------------------


def candidates(requests: pa.Table, settings: DedupSettings) -> pa.Table:
    """The rows of some of the state that take part, as dedup's jobs hand them on.

    Those are pages with content whose status is fetched, notmodified or duplicate; and what is marked as duplicate,
    whatever else it is, since it may have to be unmarked.
    """
    status = schema.codes(requests["status"], schema.STATUS_NAMES)
    marked = status == Status.duplicate
    content = requests["signature"].is_valid().to_numpy()
    takes_part = marked | (content & ((status == Status.fetched) | (status == Status.notmodified)))
    if not takes_part.all():
        rows = pa.array(np.flatnonzero(takes_part))
        requests, marked = requests.take(rows), marked[takes_part]
    columns: dict[str, Any] = {
        "fingerprint": requests["fingerprint"],
        "signature": requests["signature"],
        "marked": pa.array(marked),
        "was": requests["duplicate_of"] if marked.any() else pa.nulls(len(marked), schema.FINGERPRINT),
    }
    if settings.group != "none":
        columns["group"] = pa.array(_groups(requests["host"], settings.group))
    if settings.canonical != "off":
        columns["canonical"] = requests["canonical"]
    if settings.canonical == "host":
        columns["site"] = pa.array(_groups(requests["host"], "host"))
    if settings.near:
        columns["simhash"] = requests["simhash"]
    for number, name in enumerate(settings.order):
        columns[f"order{number}"] = pa.array(find(PREFERENCES, name, "dedup.order")(requests))
    return pa.table(columns)


def _groups(hosts: pa.ChunkedArray, mode: str) -> Hashes:
    """For each row a number that stands for its host, or its registrable domain: a hash, the same in every task."""
    encoded = hosts.cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    if mode == "domain":
        names = [registrable_domain(name) for name in names]
    numbers = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") for name in names]
    found: Hashes = np.array(numbers, np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def by_range(rows: pa.Table, ranges: int) -> Iterator[tuple[int, pa.Table]]:
    """The candidates cut by their signature's leading bits, so that equal ones come together."""
    number = shards.shard_of(_bytes(rows["signature"], 16), ranges).astype(np.uint16)
    order = np.argsort(number, kind="stable")  # of 16 bits: NumPy's radix sort
    bounds = np.searchsorted(number[order], np.arange(ranges + 1))
    sorted_rows = rows.take(pa.array(order))
    for place in np.flatnonzero(np.diff(bounds)).tolist():
        yield place, sorted_rows.slice(bounds[place], bounds[place + 1] - bounds[place])


def claims(rows: pa.Table) -> pa.Table:
    """Of some candidates, those that name another page as canonical, sorted by that page; fewer columns."""
    named = rows.filter(rows["canonical"].is_valid()).select(["fingerprint", "marked", "was", "canonical", "site"])
    return named.take(pa.array(shards.sort_order(shards.key_bytes(named["canonical"]))))


# -- the same ----------------------------------------------------------------------------------------------------


def same(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Candidates of some signatures, all of them → MARKS of the duplicates and of what stays and is marked; and the
    candidates that stay."""
    number = rows.num_rows
    group = _group(rows)
    signature = _bytes(rows["signature"], 16).view(np.uint64)
    first, second = signature[:, 0], signature[:, 1]
    signed = rows["signature"].is_valid().to_numpy()
    key = first + group * _ODD
    order = np.argsort(key)
    ordered = key[order]
    again = ordered[1:] == ordered[:-1]
    repeated = np.zeros(number, np.bool_)
    repeated[1:] |= again
    repeated[:-1] |= again
    some = order[repeated & signed[order]]  # the others are the only ones of their kind, which are most
    stays = np.ones(number, np.bool_)
    standing = np.empty(0, np.int64)
    losers = np.empty(0, np.int64)
    if len(some):
        starts = _runs(key[some], first[some], second[some], group[some])
        if starts is None:  # two groups with one key: sort them apart
            some = some[np.lexsort((second[some], first[some], group[some]))]
            starts = _starts(first[some], second[some], group[some])
        of_group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(some))))
        best = some[_best(rows, some, starts, of_group)]
        stays[some] = False
        stays[best] = True
        lost = ~stays[some]
        losers, standing = some[lost], best[of_group[lost]]
    freed = np.flatnonzero(stays & rows["marked"].to_numpy())
    marks = pa.concat_tables([
        _marks(rows, losers, SAME, rows["fingerprint"].take(pa.array(standing))),
        _marks(rows, freed, STAYS, None),
    ])  # fmt: skip
    return marks, rows.filter(pa.array(stays))


def _runs(key: Hashes, *exact: NDArray[Any]) -> Ints | None:
    """Where runs of equal keys begin; None if in one of them the exact values differ."""
    starts = _starts(key)
    return starts if len(_starts(key, *exact)) == len(starts) else None


def _starts(*columns: NDArray[Any]) -> Ints:
    changes = np.zeros(len(columns[0]), np.bool_)
    changes[:1] = True
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changes)


def _best(rows: pa.Table, some: Ints, starts: Ints, of_group: Ints) -> Ints:
    """The place in `some` of each group's best."""
    alive = np.ones(len(some), np.bool_)
    for key in _order(rows, some, of_group):
        worst = np.inf if key.dtype.kind == "f" else np.iinfo(key.dtype).max
        lowest = np.minimum.reduceat(np.where(alive, key, worst), starts)
        alive &= key == lowest[of_group]
    return np.flatnonzero(alive)


def _order(rows: pa.Table, some: Ints, of_group: Ints | None = None) -> Iterator[NDArray[Any]]:
    """The keys, the most significant first, by which `some` rows stand in order; the smaller the better."""
    at = pa.array(some)
    if "canonical" in rows.column_names:
        canonical = rows["canonical"].take(at)
        names_other = canonical.is_valid().to_numpy()
        yield names_other.astype(np.int8)
        if of_group is not None and names_other.any():
            yield -_votes(shards.key_bytes(rows["fingerprint"].take(at)), canonical, names_other, of_group)
    for number in itertools.count():
        if f"order{number}" not in rows.column_names:
            break
        yield rows[f"order{number}"].to_numpy()[some]
    keys = shards.key_bytes(rows["fingerprint"])[some]
    yield shards.prefixes(keys)
    yield np.ascontiguousarray(keys[:, 8:16]).view(">u8").ravel().astype(np.uint64)
    yield np.ascontiguousarray(keys[:, 16:]).view(">u4").ravel().astype(np.uint32)


def _votes(keys: NDArray[np.uint8], canonical: pa.ChunkedArray, names_other: Bools, of_group: Ints) -> Ints:
    """How many of a row's group name it as canonical."""
    by_key = shards.sort_order(keys)
    wanted = shards.key_bytes(canonical.filter(pa.array(names_other)))
    by_wanted = shards.sort_order(wanted)
    place, found = _match(keys[by_key], wanted[by_wanted])
    target = by_key[place[found]]
    voter = np.flatnonzero(names_other)[by_wanted[found]]
    target = target[of_group[target] == of_group[voter]]
    return np.bincount(target, minlength=len(keys)).astype(np.int64)


def _match(keys: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> tuple[Ints, Bools]:
    """`shards.match` where `wanted`, sorted, may have one key several times."""
    if not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    new = np.concatenate([[True], (wanted[1:] != wanted[:-1]).any(axis=1)])
    place, found = shards.match(keys, wanted[new])
    which = np.cumsum(new) - 1
    return place[which], found[which]


def by_canonical(named: pa.Table, pages: pa.Table) -> pa.Table:
    """`claims`, and the candidates among the pages that they name → MARKS.

    A claim holds if the page that it names was fetched, is of the same host and names no other page itself.
    """
    fit = pages.filter(pc.and_(pages["canonical"].is_null(), pages["signature"].is_valid()))
    order = shards.sort_order(shards.key_bytes(named["canonical"]))
    named = named.take(pa.array(order))
    place, found = _match(shards.key_bytes(fit["fingerprint"]), shards.key_bytes(named["canonical"]))
    holds = np.flatnonzero(found)
    holds = holds[named["site"].to_numpy()[holds] == fit["site"].to_numpy()[place[holds]]]
    return _marks(named, holds, CANONICAL, named["canonical"].take(pa.array(holds)))


def _marks(rows: pa.Table, at: Ints, rule: int, duplicate_of: pa.ChunkedArray | None) -> pa.Table:
    chosen = pa.array(at)
    none = pa.chunked_array([pa.nulls(len(at), schema.FINGERPRINT)])
    return pa.table([
        rows["fingerprint"].take(chosen), none if duplicate_of is None else duplicate_of,
        pa.array(np.full(len(at), rule, np.int8)), rows["marked"].take(chosen), rows["was"].take(chosen),
    ], MARKS)  # fmt: skip


def decide(marks: pa.Table) -> pa.Table:
    """All MARKS of a shard → the rows of schema.DELTA of those pages whose mark changes, sorted.

    A delta's row needs a URL and a host only where the request is new, which none of these is; theirs are empty.
    """
    keys = shards.key_bytes(marks["fingerprint"])
    order = np.argsort(marks["rule"].to_numpy(), kind="stable")
    order = order[shards.sort_order(keys[order])]
    ordered = keys[order]
    if len(order):
        order = order[np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])]
    first = marks.take(pa.array(order))
    duplicate = first["duplicate_of"].is_valid().to_numpy()
    unchanged = pc.equal(first["duplicate_of"], first["was"]).fill_null(False).to_numpy()
    marked = first["marked"].to_numpy()
    changed = np.where(duplicate, ~(marked & unchanged), marked)
    first, duplicate = first.filter(pa.array(changed)), duplicate[changed]
    rows = first.num_rows
    status = np.where(duplicate, np.int8(Status.duplicate), np.int8(Status.fetched)).astype(np.int8)
    given: dict[str, Any] = {
        "fingerprint": first["fingerprint"],
        "url": pa.repeat("", rows),
        "host": pa.repeat("", rows).dictionary_encode(),
        "mark": schema.from_codes(status, schema.STATUS_NAMES),
        "duplicate_of": first["duplicate_of"],
    }
    return pa.Table.from_arrays(
        [given[field.name].cast(field.type) if field.name in given else pa.nulls(rows, field.type)
         for field in schema.DELTA], schema=schema.DELTA,
    )  # fmt: skip


def number_of(marks: pa.Table) -> int:
    """How many pages are duplicates by all MARKS of a shard."""
    duplicate = marks.filter(marks["duplicate_of"].is_valid())
    return int(pc.count_distinct(duplicate["fingerprint"]).as_py())


# -- nearly the same ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """A way to find all pairs of 64-bit numbers that differ in at most `distance` bits.

    The bits are cut into `distance` + `agreeing` blocks. A pair agrees in at least `agreeing` of them, so it comes
    together in one of the tables, one for each choice of so many blocks, by the bits of those blocks.
    """

    distance: int
    agreeing: int

    @classmethod
    def for_rows(cls, rows: int, distance: int) -> Blocks:
        """As few tables as there can be with about 64 comparisons a row: more rows need longer keys, which means more
        tables to hand around."""
        for agreeing in (1, 2, 3):
            plan = cls(distance, agreeing)
            if len(plan.masks()) * rows / 2.0 ** (64 * agreeing / (distance + agreeing) + 1) <= 64:
                break
        return plan

    def masks(self) -> list[int]:
        """For each table the bits it compares."""
        blocks = self.distance + self.agreeing
        bounds = [64 * number // blocks for number in range(blocks + 1)]
        bits = [(1 << high) - (1 << low) for low, high in itertools.pairwise(bounds)]
        return [sum(chosen) for chosen in itertools.combinations(bits, self.agreeing)]

    def buckets(self, table: int, group: Hashes, simhash: Hashes) -> Hashes:
        """What must be equal for two rows to be compared in a table: a hash of its bits and the group."""
        kept = simhash & np.uint64(self.masks()[table])
        return mixed(kept + group * _ODD + np.uint64(table))

    def split(self, rows: pa.Table, parts: int) -> Iterator[tuple[int, pa.Table]]:
        """Candidates with a simhash → for each part its rows (table, group, simhash); what is to be compared comes into
        one part."""
        rows = rows.filter(rows["simhash"].is_valid())
        group, simhash = _group(rows), rows["simhash"].to_numpy()
        for table in range(len(self.masks())):
            part = (self.buckets(table, group, simhash) >> np.uint64(32)) % np.uint64(parts)
            order = np.argsort(part.astype(np.uint16), kind="stable")
            bounds = np.searchsorted(part[order], np.arange(parts + 1))
            for number in np.flatnonzero(np.diff(bounds)).tolist():
                mine = order[bounds[number] : bounds[number + 1]]
                yield number, pa.table({"table": np.full(len(mine), table, np.int16), "group": group[mine],
                                        "simhash": simhash[mine]})  # fmt: skip

    def pairs(self, rows: pa.Table) -> pa.Table:
        """The PAIRS among the rows of a part, each once."""
        found: list[tuple[Hashes, Hashes, Hashes]] = []
        tables = rows["table"].to_numpy()
        for table in np.unique(tables).tolist():
            mine = np.flatnonzero(tables == table)
            group, simhash = rows["group"].to_numpy()[mine], rows["simhash"].to_numpy()[mine]
            order = np.lexsort((simhash, group))
            group, simhash = group[order], simhash[order]
            starts = _starts(group, simhash)
            several = np.diff(np.append(starts, len(group))) > 1
            group, simhash = group[starts], simhash[starts]
            found.append((group[several], simhash[several], simhash[several]))
            bucket = self.buckets(table, group, simhash)
            order = np.argsort(bucket)
            found += self._near(bucket[order], group[order], simhash[order])
        group, a, b = (np.concatenate(columns) for columns in zip(*found, strict=True)) if found else [_no_hashes()] * 3
        order = np.lexsort((b, a, group))
        order = order[_starts(group[order], a[order], b[order])]
        return pa.table([pa.array(column[order]) for column in (group, a, b)], PAIRS)

    def _near(self, bucket: Hashes, group: Hashes, simhash: Hashes) -> Iterator[tuple[Hashes, Hashes, Hashes]]:
        """The pairs within the buckets, which are sorted: all that stand 1 apart, then 2, … as far as a bucket goes."""
        first, step = np.arange(len(bucket)), 0
        while len(first):
            step += 1
            first = first[first + step < len(bucket)]
            first = first[bucket[first] == bucket[first + step]]
            a, b = simhash[first], simhash[first + step]
            near = (np.bitwise_count(a ^ b) <= self.distance) & (group[first] == group[first + step])
            a, b = a[near], b[near]
            yield group[first[near]], np.minimum(a, b), np.maximum(a, b)


def _no_hashes() -> Hashes:
    return np.empty(0, np.uint64)


def mixed(values: Hashes) -> Hashes:
    """A hash of each number in which every bit depends on every bit (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Hashes = values ^ (values >> np.uint64(31))
    return found


def in_pairs(rows: pa.Table, pairs: pa.Table) -> pa.Table:
    """Those of some candidates that have one of the pairs' simhashes in its group."""
    rows = rows.filter(rows["simhash"].is_valid())
    wanted = np.sort(np.concatenate([_node(pairs["group"].to_numpy(), pairs[side].to_numpy()) for side in "ab"]))
    mine = _node(_group(rows), rows["simhash"].to_numpy())
    place = np.searchsorted(wanted, mine)
    there = np.zeros(len(mine), np.bool_)
    inside = place < len(wanted)
    there[inside] = wanted[place[inside]] == mine[inside]
    return rows.filter(pa.array(there))


def _node(group: Hashes, simhash: Hashes) -> Hashes:
    """One number for a simhash within a group."""
    found: Hashes = mixed(mixed(group) + simhash)
    return found


def near(rows: pa.Table, pairs: pa.Table) -> pa.Table:
    """The candidates that have the pairs' simhashes (and others, it may be), and all PAIRS → MARKS."""
    order = np.lexsort(tuple(reversed(list(_order(rows, np.arange(rows.num_rows))))))
    rows = rows.take(pa.array(order))
    node = _node(_group(rows), rows["simhash"].to_numpy())
    # The best row of each simhash, and the simhashes by that row: a number is a rank now, the lower the better.
    names, best, of_row = np.unique(node, return_index=True, return_inverse=True)
    by_rank = np.argsort(best)
    rank = np.empty(len(names), np.int64)
    rank[by_rank] = np.arange(len(names))
    ends = [rank[np.searchsorted(names, _node(pairs["group"].to_numpy(), pairs[side].to_numpy()))] for side in "ab"]
    stands = standing(len(names), np.minimum(*ends), np.maximum(*ends))
    represented = best[by_rank][stands[rank[of_row.ravel()]]]
    lost = np.flatnonzero(represented != np.arange(len(represented)))
    return _marks(rows, lost, NEAR, rows["fingerprint"].take(pa.array(represented[lost])))


_ROUNDS = 50


def standing(number: int, better: Ints, worse: Ints) -> Ints:
    """For each of `number` nodes, 0 being the best, which one stands for it: itself if it stays.

    From the best down, a node stays unless it has an edge to one that stays; such a one is represented by the best of
    those. In every round all nodes stay whose better neighbours are all decided against; that this takes few rounds is
    usual, and what is left after many is looked at one by one.
    """
    apart = better != worse
    better, worse = better[apart], worse[apart]
    undecided, stays = np.ones(number, np.bool_), np.zeros(number, np.bool_)
    a, b = better, worse
    for _ in range(_ROUNDS):
        if not len(a):
            break
        waiting = np.zeros(number, np.bool_)
        waiting[b] = True
        new = undecided & ~waiting
        stays |= new
        undecided &= ~new
        undecided[b[new[a]]] = False
        left = undecided[a] & undecided[b]
        a, b = a[left], b[left]
    stays |= undecided if not len(a) else False
    if len(a):
        _one_by_one(undecided, stays, a, b)
    own = np.arange(number)
    found = stays[better]
    best = np.full(number, number)
    np.minimum.at(best, worse[found], better[found])
    return np.where(stays, own, best)


def _one_by_one(undecided: Bools, stays: Bools, better: Ints, worse: Ints) -> None:
    refused: set[int] = set()
    order = np.argsort(better, kind="stable")
    starts = np.searchsorted(better[order], np.arange(len(stays) + 1))
    for node in np.flatnonzero(undecided).tolist():
        if node not in refused:
            stays[node] = True
            refused.update(worse[order[starts[node] : starts[node + 1]]].tolist())


# -- columns -----------------------------------------------------------------------------------------------------


def _group(rows: pa.Table) -> Hashes:
    if "group" not in rows.column_names:
        return np.zeros(rows.num_rows, np.uint64)
    values: Hashes = rows["group"].to_numpy()
    return values


def _bytes(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    """A fixed-size binary column as an (n, width) array; what stands where it is null is arbitrary."""
    chunk = column.combine_chunks()
    chunk = pa.concat_arrays(chunk.chunks) if isinstance(chunk, pa.ChunkedArray) else chunk
    data = np.frombuffer(chunk.buffers()[1] or b"", np.uint8)
    return data[chunk.offset * width : (chunk.offset + len(chunk)) * width].reshape(-1, width)


def _numbers(column: pa.ChunkedArray, missing: float) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.nan_to_num(column.cast(pa.float64()).fill_null(missing).to_numpy(), nan=missing)
    return values


def _highest_score(requests: pa.Table) -> NDArray[Any]:
    return -_numbers(requests["score"], 0.0).astype(np.float32)


def _shortest_url(requests: pa.Table) -> NDArray[Any]:
    length: NDArray[np.int32] = pc.binary_length(requests["url"]).to_numpy()
    return length


def _https(requests: pa.Table) -> NDArray[Any]:
    secure: Bools = pc.starts_with(requests["url"], "https:").to_numpy()
    return (~secure).astype(np.int8)


def _first_discovered(requests: pa.Table) -> NDArray[Any]:
    return _times(requests["discovered_at"])


def _last_fetched(requests: pa.Table) -> NDArray[Any]:
    return -np.where(requests["fetched_at"].is_null().to_numpy(), 0, _times(requests["fetched_at"]))


def _nearest(requests: pa.Table) -> NDArray[Any]:
    return _numbers(requests["depth"], math.inf).astype(np.float32)


def _times(column: pa.ChunkedArray) -> Ints:
    values: Ints = column.cast(pa.int64()).fill_null(np.iinfo(np.int64).max).to_numpy()
    return values


PREFERENCES: dict[str, Preference] = {
    "score": _highest_score,
    "length": _shortest_url,
    "https": _https,
    "discovered": _first_discovered,
    "fetched": _last_fetched,
    "depth": _nearest,
}


def needed(settings: DedupSettings) -> Sequence[str]:
    """The state's columns that `candidates` needs under these settings."""
    unneeded = {
        "host": settings.group == "none" and settings.canonical != "host",
        "canonical": settings.canonical == "off",
        "simhash": not settings.near,
        "score": "score" not in settings.order,
        "discovered_at": "discovered" not in settings.order,
        "fetched_at": "fetched" not in settings.order,
        "depth": "depth" not in settings.order,
        "url": not {"length", "https"} & {*settings.order},
    }
    outside = any(":" in name for name in settings.order)
    return [name for name in COLUMNS if outside or not unneeded.get(name)]
