"""The host store: what is known of each host, and how what a round learned of it is merged into that.

Owns the meaning of schema.HOST's columns: `merge`, the rows that a content chunk and a fetch task's robots.txt files
come to, and the lists of known robots.txt files that generate gives to the fetch tasks. A row of a delta is a row of
the state: what one commit learned of a host, as if there had been nothing before. `merge` is associative and does not
depend on order, so it serves mappers, reducers, merge-on-read and compaction alike. Opens no socket and does not know
what stands in a robots.txt.

How each column is merged:

    requests, the outcomes, reasons, bytes      added up
    first_seen                                  the earliest
    last_seen, answered_at, worked_at, failed_at    the latest
    robots                                      by origin, the one that was asked for last
    robots_at, crawl_delay                      those of the latest robots_at
    ranked_at, rank                             those of the latest ranked_at
    measured_at, latency                        those of the latest round; within a round added up
    counted_at, statuses                        those of the latest count; within a count added up

The robots.txt files themselves are a store of their own, `robotstxt`, so that who merges counters moves no files.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.schema import LATENCY_BUCKETS, FetchOutcome
from crawldb.segments import Segment
from crawldb.settings import Policy
from crawldb.store import Kind, Snapshot

Ints = NDArray[np.int64]

CONTENT_NEEDED = ("host", "outcome", "http_status", "reason", "fetched_at", "elapsed", "content_bytes")
"""Columns of a content chunk that `of_content` needs: not the content itself."""

_DECIDING = ("fingerprint", "robots_at", "measured_at", "ranked_at", "counted_at")
_SUMS = ("requests", *(outcome.name for outcome in FetchOutcome), "bytes")
_EARLIEST = ("first_seen",)
_LATEST = (
    "last_seen", "answered_at", "worked_at", "failed_at", "robots_at", "measured_at", "ranked_at", "counted_at",
)  # fmt: skip
_OF_THE_LATEST = {"crawl_delay": "robots_at", "rank": "ranked_at"}
"""Columns whose value is the one of the latest time in another; neither is negative."""
_NEVER = -(1 << 62)
"""Instead of a null where times are compared: earlier than all; -_NEVER is later than all."""
_KNOWN = [name for name in schema.HOSTLIST.names if name not in ("fingerprint", "host")]
"""What a fetch task is told of a robots.txt."""
_FAILURES = (FetchOutcome.retry, FetchOutcome.postponed)
_OUR_OWN = "proxy"
"""The reason of what is postponed without the host's fault."""
_LOOKED_UP_AT_ONCE = 4096
_FEW_ROWS = 4
"""Of a host on average, up to which they are merged one after the other."""


def fingerprints(hosts: Sequence[str]) -> NDArray[np.uint8]:
    """The keys of hosts, as an (n, 20) array."""
    digests = b"".join(hashlib.sha1(host.encode()).digest() for host in hosts)
    return np.frombuffer(digests, np.uint8).reshape(-1, 20)


def host_of_origin(origin: str) -> str:
    """The host of `scheme://host:port`, without port, as schema.CONTENT has it.

    >>> host_of_origin("https://example.com:8443"), host_of_origin("http://[::1]:80")
    ('example.com', '[::1]')
    """
    authority = origin.partition("://")[2]
    return authority[: authority.find("]") + 1] if authority[:1] == "[" else authority.partition(":")[0]


# -- merging -------------------------------------------------------------------------------------------------


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per host, sorted, of rows of schema.HOST in any order, or of some of its columns.

    `fingerprint` must be among the columns, with `crawl_delay` also `robots_at`, with `rank` `ranked_at`, with
    `latency` `measured_at`, and with `statuses` `counted_at`.
    """
    table = pa.concat_tables(tables)
    keys = shards.key_bytes(table["fingerprint"])
    if not len(keys):
        return table
    order = shards.sort_order(keys)
    ordered = keys[order]
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    if first.all() and (order[1:] > order[:-1]).all():
        return table
    rows = _Grouped(order, np.flatnonzero(first), np.cumsum(first) - 1)
    columns = [_merged(field.name, table, rows).cast(field.type) for field in table.schema]
    return pa.Table.from_arrays(columns, schema=table.schema)


@dataclass(frozen=True)
class _Grouped:
    """Rows put in order, so that those of one host stand together."""

    order: Ints
    starts: Ints
    """Where in `order` each host begins."""
    group: Ints
    """The number of the host, for each place in `order`."""

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def _steps(self) -> list[tuple[Ints, Ints]]:
        """The hosts that have a second row, a third, …, and its place."""
        sizes = np.diff(np.append(self.starts, len(self.order)))
        more = [np.flatnonzero(sizes > number) for number in range(1, int(sizes.max(initial=0)))]
        return [(hosts, self.starts[hosts] + number) for number, hosts in enumerate(more, 1)]

    def reduced(self, combine: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """One value a host, of the values at its places."""
        if len(self.order) > _FEW_ROWS * len(self.starts):
            reduced: NDArray[Any] = combine.reduceat(values, self.starts)
            return reduced
        reduced = values[self.starts]
        for hosts, places in self._steps:  # several times as fast as reduceat
            reduced[hosts] = combine(reduced[hosts], values[places])
        return reduced

    def latest(self, times: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which places have the latest time of their host."""
        values = _int64(times, _NEVER)[self.order]
        newest: NDArray[np.bool_] = values == self.reduced(np.maximum, values)[self.group]
        return newest


def _merged(name: str, table: pa.Table, rows: _Grouped) -> pa.Array:
    """A column, merged."""
    column, order, starts = table[name], rows.order, rows.starts
    if name in _SUMS:
        return pa.array(rows.reduced(np.add, column.to_numpy()[order]))
    if name in _EARLIEST:
        return _times(rows.reduced(np.minimum, _int64(column, -_NEVER)[order]))
    if name in _LATEST:
        return _times(rows.reduced(np.maximum, _int64(column, _NEVER)[order]))
    if name in _OF_THE_LATEST:
        there = rows.latest(table[_OF_THE_LATEST[name]]) & column.is_valid().to_numpy()[order]
        if not there.any():
            return pa.nulls(len(rows), column.type)
        value = rows.reduced(np.maximum, np.where(there, column.fill_null(0.0).to_numpy()[order], -1.0))
        return pa.array(value, mask=value < 0)
    if name == "latency":
        return _merged_latency(_buckets(column), rows.latest(table["measured_at"]), rows)
    if name == "robots":
        return _merged_robots(_whole(column), rows)
    if name == "reasons":
        return _merged_counts(_whole(column), rows)
    if name == "statuses":
        return _merged_counts(_whole(column), rows, rows.latest(table["counted_at"]))
    return _whole(column).take(pa.array(order[starts]))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)


def _int64(column: pa.ChunkedArray, null: int) -> Ints:
    values: Ints = column.cast(pa.int64()).fill_null(null).to_numpy()
    return values


def _times(values: Ints) -> pa.Array:
    return pa.array(values, pa.int64(), mask=np.abs(values) >= -_NEVER).cast(schema.TIME)


def _buckets(latency: pa.ChunkedArray) -> NDArray[np.int32]:
    parts = [chunk.flatten().to_numpy() for chunk in latency.chunks]
    counts = np.concatenate(parts) if parts else np.empty(0, np.int32)
    return counts.reshape(-1, LATENCY_BUCKETS)


def _latencies(counts: NDArray[Any]) -> pa.Array:
    flat = pa.array(counts.astype(np.int32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=schema.HOST.field("latency").type)


def _merged_latency(buckets: NDArray[np.int32], newest: NDArray[np.bool_], rows: _Grouped) -> pa.Array:
    """Those of the latest round, which mostly is one row of a host; where it is several, their sums."""
    places = np.flatnonzero(newest)
    begins = np.flatnonzero(np.append([True], rows.group[places][1:] != rows.group[places][:-1]))
    merged = buckets[rows.order[places[begins]]]
    several = np.diff(np.append(begins, len(places))) > 1
    if several.any():
        mine = places[several[rows.group[places]]]
        bounds = np.flatnonzero(np.append([True], rows.group[mine][1:] != rows.group[mine][:-1]))
        merged[several] = np.add.reduceat(buckets[rows.order[mine]], bounds, axis=0)
    return _latencies(merged)


def _entries(lists: pa.ListArray, rows: _Grouped, of: NDArray[np.bool_] | None = None) -> tuple[Ints, Ints]:
    """The places of all lists' entries among their values, in the order of the rows, and the group of each.

    With `of`, those of these places' lists alone.
    """
    bounds = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.where(lists.is_valid().to_numpy(zero_copy_only=False), np.diff(bounds), 0)[rows.order]
    if of is not None:
        lengths[~of] = 0
    place = np.arange(lengths.sum()) + np.repeat(bounds[rows.order] - (np.cumsum(lengths) - lengths), lengths)
    return place, np.repeat(rows.group, lengths)


def _merged_robots(lists: pa.ListArray, rows: _Grouped) -> pa.Array:
    """The lists of each host as one: by origin the file that was asked for last, in the order of the origins."""
    place, owner = _entries(lists, rows)
    robots = lists.values
    asked = robots.field("fetched_at").cast(pa.int64()).to_numpy(zero_copy_only=False)[place]
    order, starts = _by_origin(robots.field("origin").take(pa.array(place)), owner)
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    newest = asked[order] == np.maximum.reduceat(asked[order], starts)[run] if len(order) else np.empty(0, np.bool_)
    kept = order[newest]
    if len(kept) > len(starts):  # two answers in one millisecond: the same one, whatever the order
        kept = _decided(robots.take(pa.array(place[kept])), kept, run[newest])
    lengths = np.bincount(owner[kept], minlength=len(rows))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    some = np.bincount(rows.group[lists.is_valid().to_numpy(zero_copy_only=False)[rows.order]], minlength=len(rows))
    kept_robots = robots.take(pa.array(place[kept]))
    return pa.ListArray.from_arrays(pa.array(offsets), kept_robots, lists.type, mask=pa.array(some == 0))


def _by_origin(origin: pa.Array, owner: Ints) -> tuple[Ints, Ints]:
    """An order of entries, sorted by `owner`, in which equal origins of an owner stand together, and where each begins."""
    if not len(owner):
        return owner, owner
    other_owner = np.append([True], owner[1:] != owner[:-1])
    begins = other_owner | np.append([True], pc.not_equal(origin[1:], origin[:-1]).to_numpy(zero_copy_only=False))
    order = np.arange(len(owner))
    crowded = np.zeros(owner[-1] + 1, np.bool_)
    crowded[owner[begins & ~other_owner]] = True
    if crowded.any():  # hosts with several origins are few
        mine = np.flatnonzero(crowded[owner])
        encoded = origin.take(pa.array(mine)).dictionary_encode()
        name = _ranks(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
        by_name = np.lexsort((name, owner[mine]))
        order[mine] = mine[by_name]
        name, own = name[by_name], owner[mine][by_name]
        begins[mine] = np.append([True], (name[1:] != name[:-1]) | (own[1:] != own[:-1]))
    return order, np.flatnonzero(begins)


def _decided(robots: pa.StructArray, kept: Ints, run: Ints) -> Ints:
    """One of the `kept` places, which hold `robots`, for each run: the one whose text sorts last."""
    first = np.append([True], run[1:] != run[:-1])
    tied = np.isin(run, run[~first])
    texts = [repr(value) for value in robots.filter(pa.array(tied)).to_pylist()]
    best: dict[int, tuple[str, int]] = {}
    for number, text, place in zip(run[tied].tolist(), texts, kept[tied].tolist(), strict=True):
        best[number] = max(best.get(number, ("", -1)), (text, place))
    decided: Ints = kept[first]
    decided[np.searchsorted(run[first], list(best))] = [place for _, place in best.values()]
    return decided


def _merged_counts(maps: pa.MapArray, rows: _Grouped, of: NDArray[np.bool_] | None = None) -> pa.Array:
    """The maps of each host as one, the numbers added up; with `of` those of these places alone."""
    place, owner = _entries(maps, rows, of)
    if not len(place):
        return pa.nulls(len(rows), maps.type)
    encoded = maps.keys.dictionary_encode()
    names = encoded.dictionary
    rank = _ranks(names.to_pylist())
    ranked = rank[encoded.indices.to_numpy()[place]]
    return _counts(owner, ranked, maps.items.to_numpy()[place], names, rank, len(rows))


def _ranks(names: list[str]) -> Ints:
    """The place of each name in their order."""
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return rank


def _counts(owner: Ints, ranked: Ints, number: Ints, names: pa.Array, rank: Ints, owners: int) -> pa.Array:
    """A map for each owner from names to sums of numbers above 0; `rank` is each name's place in their order."""
    width = max(len(names), 1)
    key = owner * width + ranked
    if owners * width <= 8 * len(key) + (1 << 16):
        dense = np.bincount(key, weights=number, minlength=owners * width)
        key = np.flatnonzero(dense)
        sums = dense[key].astype(np.int64)
    else:
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.append([True], key[order][1:] != key[order][:-1])) if len(key) else order
        sums = np.add.reduceat(number[order], starts) if len(key) else number
        key = key[order][starts]
    lengths = np.bincount(key // width, minlength=owners)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    keys = names.take(pa.array(np.argsort(rank))).take(pa.array(key % width))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(sums, pa.int64()), mask=pa.array(lengths == 0))


# -- what a round learned ------------------------------------------------------------------------------------


def of_content(content: pa.Table, measured_at: int) -> pa.Table:
    """What the pages of a content chunk (CONTENT_NEEDED) tell of their hosts, for `merge`.

    `measured_at`: UTC milliseconds; what the chunks of one round have in common, later for a later round.
    """
    encoded = content["host"].combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.chunks)
    present, host = np.unique(encoded.indices.to_numpy(), return_inverse=True)
    hosts = encoded.dictionary.take(pa.array(present))
    rows = len(hosts)
    outcome = schema.codes(content["outcome"], schema.OUTCOME_NAMES).astype(np.int64)
    outcomes = np.bincount(host * len(FetchOutcome) + outcome, minlength=rows * len(FetchOutcome))
    outcomes = outcomes.reshape(rows, len(FetchOutcome))
    answered = content["http_status"].is_valid().to_numpy()
    elapsed = np.maximum(content["elapsed"].fill_null(0).to_numpy()[answered], 1)
    bucket = np.minimum(np.log2(elapsed).astype(np.int64), LATENCY_BUCKETS - 1)
    latency = np.bincount(host[answered] * LATENCY_BUCKETS + bucket, minlength=rows * LATENCY_BUCKETS)
    times = _int64(content["fetched_at"], 0)
    reason = pa.concat_arrays(
        [chunk.cast(pa.string()) for chunk in content["reason"].chunks] or [pa.array([], pa.string())]
    )
    status = content["http_status"].fill_null(0).to_numpy()
    refused = (status >= 500) | (status == 429)  # the host's failure, and not only this page's
    blameless = pc.equal(reason, _OUR_OWN).fill_null(False).to_numpy(zero_copy_only=False)
    failed = refused | (~answered & np.isin(outcome, _FAILURES) & ~blameless)

    def latest(of: NDArray[np.bool_]) -> Ints:
        found = np.full(rows, _NEVER)
        np.maximum.at(found, host[of], times[of])
        return found

    answered_at, first_seen = latest(answered), np.full(rows, -_NEVER)
    np.minimum.at(first_seen, host, times)
    length = content["content_bytes"].cast(pa.int64()).fill_null(0).to_numpy()
    said = reason.is_valid().to_numpy(zero_copy_only=False)
    names = reason.drop_null().dictionary_encode()
    rank = _ranks(names.dictionary.to_pylist())
    measured = np.full(rows, measured_at)
    measured[answered_at == _NEVER] = _NEVER
    columns: dict[str, Any] = {
        "host": hosts,
        "requests": outcomes.sum(axis=1),
        **{one.name: outcomes[:, one] for one in FetchOutcome},
        "reasons": _counts(
            host[said], rank[names.indices.to_numpy()], np.ones(int(said.sum()), np.int64), names.dictionary, rank, rows
        ),
        "bytes": np.bincount(host, weights=length, minlength=rows).astype(np.int64),
        "latency": _latencies(latency.reshape(rows, LATENCY_BUCKETS)),
        "measured_at": _times(measured),
        "answered_at": _times(answered_at),
        "worked_at": _times(latest(answered & ~refused)),
        "failed_at": _times(latest(failed)),
        "first_seen": _times(first_seen),
        "last_seen": _times(latest(np.ones(len(times), np.bool_))),
    }
    return _rows(columns, hosts)


def of_robots(learned: pa.Table) -> pa.Table:
    """What rows of schema.LEARNED tell of their hosts, for `merge`."""
    learned = learned.combine_chunks()
    rows = learned.num_rows
    columns = {
        name: pa.concat_arrays(learned[name].chunks) if rows else learned[name].type for name in learned.column_names
    }
    if not rows:
        return schema.HOST.empty_table()
    robots = pa.StructArray.from_arrays([columns[field.name] for field in schema.ORIGIN], fields=list(schema.ORIGIN))
    fails = columns["failing_since"].is_valid()
    return _rows({
        "host": columns["host"],
        "robots": pa.ListArray.from_arrays(
            pa.array(np.arange(rows + 1, dtype=np.int32)), robots, schema.HOST.field("robots").type
        ),
        "robots_at": pc.if_else(fails, pa.scalar(None, schema.TIME), columns["fetched_at"]),
        "crawl_delay": pc.if_else(fails, pa.scalar(None, pa.float32()), columns["crawl_delay"]),
    }, columns["host"])  # fmt: skip


def of_ranks(hosts: pa.Array, rank: NDArray[np.float64], ranked_at: int) -> pa.Table:
    """The rank of each host, computed at `ranked_at` (UTC milliseconds), for `merge`."""
    at = np.full(len(hosts), ranked_at)
    return _rows({"host": hosts, "rank": pa.array(rank), "ranked_at": _times(at)}, hosts)


def of_counts(counts: pa.Table, counted_at: int) -> pa.Table:
    """The requests of each host by status (domainstats.COUNTS), counted at `counted_at` (UTC ms), for `merge`."""
    group = counts["group"].combine_chunks().dictionary_encode()
    status = counts["value"].combine_chunks().dictionary_encode()
    rank = _ranks(status.dictionary.to_pylist())
    owner, ranked = group.indices.to_numpy(), rank[status.indices.to_numpy()]
    hosts = group.dictionary
    statuses = _counts(owner, ranked, counts["requests"].to_numpy(), status.dictionary, rank, len(hosts))
    return _rows({"host": hosts, "statuses": statuses, "counted_at": _times(np.full(len(hosts), counted_at))}, hosts)


def _rows(columns: dict[str, Any], hosts: pa.Array) -> pa.Table:
    """A table of schema.HOST of columns, with nothing for those that are not given."""
    rows = len(hosts)
    columns["fingerprint"] = pa.FixedSizeBinaryArray.from_buffers(
        schema.FINGERPRINT, rows, [None, pa.py_buffer(fingerprints(hosts.to_pylist()).tobytes())]
    )
    columns.setdefault("latency", _latencies(np.zeros((rows, LATENCY_BUCKETS), np.int32)))
    arrays = []
    for field in schema.HOST:
        column = columns.get(field.name)
        if column is None:
            column = pa.nulls(rows, field.type) if field.nullable else np.zeros(rows, np.int64)
        arrays.append(column if isinstance(column, pa.Array) else pa.array(column, field.type))
    return pa.Table.from_arrays(arrays, schema=schema.HOST)


# -- robots.txt files, to and from fetch tasks ---------------------------------------------------------------


def learned(robots: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Rows of schema.LEARNED of tuples: its columns but fingerprint and host in their order (times in ms)."""
    names = [name for name in schema.LEARNED.names if name not in ("fingerprint", "host")]
    values = list(zip(*robots, strict=True)) or [()] * len(names)
    columns: dict[str, Any] = dict(zip(names, values, strict=True))
    columns["fingerprint"] = [key.tobytes() for key in fingerprints(values[0])]
    columns["host"] = [host_of_origin(origin) for origin in values[0]]
    arrays = []
    for field in schema.LEARNED:
        if field.type == schema.TIME:
            arrays.append(pa.array(columns[field.name], pa.int64()).cast(schema.TIME))
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return shards.sort(pa.Table.from_arrays(arrays, schema=schema.LEARNED))


def known(hostlist: pa.Table) -> list[tuple[Any, ...]]:
    """The columns of schema.HOSTLIST but fingerprint and host, in their order (times in ms), of each row."""
    columns = [hostlist[name] for name in _KNOWN]
    plain = [column.cast(pa.int64()) if column.type == schema.TIME else column for column in columns]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def write_hostlists(
    snapshot: Snapshot, robots: Snapshot, segment: Segment, hosts: pa.ChunkedArray, task_of: Ints, fresh_since: int
) -> list[shards.File]:
    """What is known of the robots.txt of the hosts that fetch tasks will ask: a file for each task that has any.

    `snapshot` is of the host store, which knows the hosts' origins, `robots` of their files. `hosts` and `task_of` are
    the host and the task of each request. Files that were asked for before `fresh_since` (UTC milliseconds) are left
    out, for they will be asked for again, unless that failed: how long it fails matters. Memory is bounded, whatever
    the number of hosts: they are looked up some thousands at a time.
    """
    encoded = hosts.cast(pa.string()).combine_chunks().dictionary_encode()
    names, task = encoded.dictionary.to_pylist(), np.zeros(len(encoded.dictionary), np.int64)
    task[encoded.indices.to_numpy()] = task_of
    keys = fingerprints(names)
    order = shards.sort_order(keys)
    keys, task = keys[order], task[order]
    with contextlib.ExitStack() as stack:
        writers: dict[int, shards.Writer] = {}
        for first in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            some = keys[first : first + _LOOKED_UP_AT_ONCE]
            for table in snapshot.select(some, ["fingerprint", "robots"]):
                origins, row = _useful(table, fresh_since)
                place, _ = shards.match(keys, shards.key_bytes(table["fingerprint"]))
                for files, number in _files(robots, origins, task[place][row]):
                    if number not in writers:
                        path = segment.part_path("hostlist", number)
                        writer = shards.Writer(segment.fs, path, schema.HOSTLIST, robots.store.kind.row_group)
                        writers[number] = stack.enter_context(writer)
                    writers[number].write(files)
    return [writers[number].file for number in sorted(writers)]


def known_of(snapshot: Snapshot, robots: Snapshot, hosts: Sequence[str], fresh_since: int) -> pa.Table:
    """Rows of schema.HOSTLIST: what is known of the robots.txt of these hosts, as `write_hostlists` chooses it."""
    keys = fingerprints(sorted(set(hosts)))
    keys = keys[shards.sort_order(keys)]
    found = [schema.HOSTLIST.empty_table()]
    for table in snapshot.select(keys, ["fingerprint", "robots"]):
        origins, row = _useful(table, fresh_since)
        found += [files for files, _ in _files(robots, origins, np.zeros(len(row), np.int64))]
    return pa.concat_tables(found)


def _useful(table: pa.Table, fresh_since: int) -> tuple[list[str], Ints]:
    """The origins of some hosts whose robots.txt is fresh or fails, and the row of each one's host."""
    lists = _whole(table["robots"])
    row, robots = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
    fresh = robots.field("fetched_at").cast(pa.int64()).to_numpy(zero_copy_only=False) >= fresh_since
    kept = np.flatnonzero(fresh | robots.field("failing_since").is_valid().to_numpy(zero_copy_only=False))
    origins: list[str] = robots.field("origin").take(pa.array(kept)).to_pylist()
    return origins, row[kept]


def _files(robots: Snapshot, origins: list[str], task: Ints) -> Iterator[tuple[pa.Table, int]]:
    """The robots.txt files of origins, by task."""
    keys = fingerprints(origins)
    order = shards.sort_order(keys)
    keys, task = keys[order], task[order]
    for table in robots.select(keys):
        place, _ = shards.match(keys, shards.key_bytes(table["fingerprint"]))
        mine = task[place]
        for number in np.unique(mine).tolist():
            yield table.filter(pa.array(mine == number)), number


# -- reading -------------------------------------------------------------------------------------------------


def known_delays(snapshot: Snapshot, hosts: Sequence[str]) -> dict[str, float]:
    """The Crawl-delays, in seconds, that the robots.txt of these hosts asked for; those that are known."""
    keys = fingerprints(list(hosts))
    order = shards.sort_order(keys)
    found: dict[str, float] = {}
    for table in snapshot.select(keys[order], ["fingerprint", "host", "crawl_delay"]):
        found.update(_delays(table))
    return found


def all_delays(snapshot: Snapshot) -> dict[str, float]:
    """The same of all hosts: those that ask for a delay are few."""
    found: dict[str, float] = {}
    for table in snapshot.scan(["fingerprint", "host", "crawl_delay"]):
        found.update(_delays(table))
    return found


def _delays(table: pa.Table) -> dict[str, float]:
    asked = table.filter(table["crawl_delay"].is_valid())
    return dict(zip(asked["host"].to_pylist(), asked["crawl_delay"].to_pylist(), strict=True))


SITEMAPS = pa.schema([("host", pa.string()), ("origin", pa.string()), ("sitemap", pa.string())])


def sitemaps(snapshot: Snapshot, shard: int | None = None) -> Iterator[pa.Table]:
    """The sitemaps that the robots.txt of each origin named when it was last read, as they stand there: SITEMAPS.

    `shard` limits it to one shard of the store.
    """
    for table in snapshot.scan(["host", "robots"], shard):
        lists = _whole(table["robots"])
        robots, host = lists.flatten(), table["host"].take(pc.list_parent_indices(lists))
        named = robots.field("sitemaps")
        origin = pc.list_parent_indices(named)
        if len(origin):
            columns = [host.take(origin), robots.field("origin").take(origin), pc.list_flatten(named)]
            yield pa.Table.from_arrays(columns, schema=SITEMAPS)


def percentile(latency: pa.ChunkedArray, share: float) -> NDArray[np.float64]:
    """The time in ms that `share` of each row's answers took at most, as near as the buckets tell; NaN for no answer."""
    counts = _buckets(latency)
    below = np.cumsum(counts, axis=1)
    total = below[:, -1]
    wanted = share * total
    bucket = np.minimum((below < wanted[:, None]).sum(axis=1), LATENCY_BUCKETS - 1)
    row = np.arange(len(counts))
    within = counts[row, bucket]
    part = (wanted - (below[row, bucket] - within)) / np.maximum(within, 1)
    times: NDArray[np.float64] = np.where(total > 0, 2.0 ** (bucket + part), np.nan)
    return times


SHOWN = pa.schema([
    schema.HOST.field("host"), *(schema.HOST.field(name) for name in _SUMS), pa.field("failures", pa.int64()),
    schema.HOST.field("reasons"), schema.HOST.field("statuses"), schema.HOST.field("counted_at"),
    pa.field("latency_median", pa.int32()), pa.field("latency_95", pa.int32()),
    *(schema.HOST.field(name) for name in ("crawl_delay", "rank", "robots_at")),
    pa.field("robots", pa.map_(pa.string(), pa.int16())), pa.field("robots_failing_since", schema.TIME),
    pa.field("sitemaps", pa.list_(pa.string())), pa.field("failing_since", schema.TIME),
    *(schema.HOST.field(name) for name in ("answered_at", "worked_at", "failed_at", "first_seen", "last_seen")),
])  # fmt: skip
"""What `shown` makes of schema.HOST, for people and conditions: `latency_…` in ms, `robots` the status of each origin's
robots.txt, `failures` retry and postponed in all. `failing_since`: null for a host that worked when it was last asked;
else when it last did, or, if it never did, when it was first asked."""

_MADE_OF = {
    "failures": ("retry", "postponed"), "latency_median": ("latency", "measured_at"),
    "latency_95": ("latency", "measured_at"), "robots_failing_since": ("robots",), "sitemaps": ("robots",),
    "failing_since": ("worked_at", "failed_at", "first_seen"),
}  # fmt: skip


def needed(columns: Iterable[str]) -> list[str]:
    """The columns of schema.HOST that `shown` makes these of SHOWN from."""
    wanted = {name for column in columns for name in _MADE_OF.get(column, (column,))}
    return [name for name in schema.HOST.names if name in wanted or name == "host"]


def shown(table: pa.Table, columns: Sequence[str] = SHOWN.names) -> pa.Table:
    """Rows of schema.HOST (the `needed` columns) as rows of these columns of SHOWN."""
    kept = pa.schema([SHOWN.field(name) for name in columns])
    return pa.table({name: _MAKERS[name](table) if name in _MAKERS else table[name] for name in columns}, kept)


def _failures(table: pa.Table) -> pa.Array:
    return pc.add(table["retry"], table["postponed"])


def _percentile(share: float) -> Callable[[pa.Table], pa.Array]:
    def made(table: pa.Table) -> pa.Array:
        times = percentile(table["latency"], share)
        return pa.array(np.rint(np.nan_to_num(times)).astype(np.int32), mask=np.isnan(times))

    return made


def _files_of(table: pa.Table) -> tuple[pa.StructArray, Ints, pa.Array]:
    """What is known of robots.txt files, how many each host has, and where each host's begin."""
    lists = pa.concat_arrays([*table["robots"].chunks, pa.array([], table["robots"].type)]).fill_null([])
    lengths = np.diff(lists.offsets.to_numpy())
    return lists.flatten(), lengths, pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _statuses_of_files(table: pa.Table) -> pa.Array:
    robots, lengths, offsets = _files_of(table)
    maps = pa.MapArray.from_arrays(offsets, robots.field("origin"), robots.field("status"))
    return pc.if_else(pa.array(lengths > 0), maps, pa.scalar(None, maps.type))


def _files_failing_since(table: pa.Table) -> pa.Array:
    robots, lengths, _ = _files_of(table)
    failing = np.full(table.num_rows, -_NEVER)
    since = _int64(pa.chunked_array([robots.field("failing_since")]), -_NEVER)
    np.minimum.at(failing, np.repeat(np.arange(table.num_rows), lengths), since)
    return _times(failing)


def _all_sitemaps(table: pa.Table) -> pa.Array:
    robots, _, offsets = _files_of(table)
    named = robots.field("sitemaps").fill_null([])
    number = np.concatenate([[0], np.cumsum(np.diff(named.offsets.to_numpy()))])
    bounds = pa.array(number[offsets.to_numpy()].astype(np.int32))
    return pa.ListArray.from_arrays(bounds, pc.list_flatten(named), mask=pa.array(np.diff(bounds.to_numpy()) == 0))


def _failing_since(table: pa.Table) -> pa.Array:
    worked, failed = _int64(table["worked_at"], _NEVER), _int64(table["failed_at"], _NEVER)
    since = np.where(worked > _NEVER, worked, _int64(table["first_seen"], _NEVER))
    return _times(np.where(failed > worked, since, _NEVER))


_MAKERS: dict[str, Callable[[pa.Table], pa.Array]] = {
    "failures": _failures, "latency_median": _percentile(0.5), "latency_95": _percentile(0.95),
    "robots": _statuses_of_files, "robots_failing_since": _files_failing_since, "sitemaps": _all_sitemaps,
    "failing_since": _failing_since,
}  # fmt: skip


def busiest(tables: Iterable[pa.Table], top: int) -> pa.Table:
    """The `top` rows (of SHOWN, or of columns of it) with the most requests, the busiest first; holds about that many."""
    best: pa.Table | None = None
    for table in tables:
        both = table if best is None else pa.concat_tables([best, table])
        order = np.argsort(-both["requests"].to_numpy(), kind="stable")[:top]
        best = both.take(pa.array(order)).combine_chunks()
    return best if best is not None else SHOWN.empty_table()


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """The state with what some commits learned."""
    return merge([state, *(delta for delta, _ in deltas)])


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns are the state's."""
    return list(columns)


HOSTDB = Kind(
    "hostdb", schema.HOST, schema.HOST, _DECIDING, needed_of_delta, apply_all,
    "hosts", "no host store here yet; the first updatedb makes it", row_group=1 << 15, shards=1,
)  # fmt: skip
