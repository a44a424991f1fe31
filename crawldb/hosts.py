"""The host store: what is known of each host, and how what a round learned of it is merged into that.

Owns the meaning of schema.HOST's columns: `merge`, the rows that a content chunk and a fetch task's robots.txt files
come to, and the lists of known robots.txt files that generate gives to the fetch tasks. A row of a delta is a row of
the state: what one commit learned of a host, as if there had been nothing before. `merge` is associative and does not
depend on order, so it serves mappers, reducers, merge-on-read and compaction alike. Opens no socket and does not know
what stands in a robots.txt.

How each column is merged:

    requests, the outcomes, reasons, bytes      added up
    first_seen                                  the earliest
    last_seen, answered_at                      the latest
    robots                                      by origin, the one that was asked for last
    robots_at, crawl_delay                      those of the latest robots_at
    ranked_at, rank                             those of the latest ranked_at
    measured_at, latency                        those of the latest round; within a round added up
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
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

_DECIDING = ("fingerprint", "robots_at", "measured_at", "ranked_at")
_SUMS = ("requests", *(outcome.name for outcome in FetchOutcome), "bytes")
_EARLIEST, _LATEST = ("first_seen",), ("last_seen", "answered_at", "robots_at", "measured_at", "ranked_at")
_OF_THE_LATEST = {"crawl_delay": "robots_at", "rank": "ranked_at"}
"""Columns whose value is the one of the latest time in another; neither is negative."""
_NEVER = -(1 << 62)
"""Instead of a null where times are compared: earlier than all; -_NEVER is later than all."""
_ROBOTS = [field.name for field in schema.ROBOTS]
_KNOWN = [name for name in _ROBOTS if name != "sitemaps"]
"""What a fetch task is told of a robots.txt."""
_LOOKED_UP_AT_ONCE = 4096


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

    `fingerprint` must be among the columns, with `crawl_delay` also `robots_at`, with `rank` `ranked_at`, and with
    `latency` `measured_at`.
    """
    table = pa.concat_tables(tables).combine_chunks()  # `take` is five times slower on lists in several chunks
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
        merged = _merged(table.take(pa.array(rows)).combine_chunks(), sizes[several])
        source[several] = np.arange(len(merged)) + len(order)
        table = pa.concat_tables([table, merged]).combine_chunks()
    elif (source[1:] > source[:-1]).all():
        return table
    return table.take(pa.array(source))


def _merged(table: pa.Table, sizes: Ints) -> pa.Table:
    """`merge` of rows that stand group by group; `sizes` are the groups'."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    group = np.repeat(np.arange(len(sizes)), sizes)
    columns: list[Any] = []
    for field in table.schema:
        column = table[field.name]
        if field.name in _SUMS:
            merged = pa.array(np.add.reduceat(column.to_numpy(), starts))
        elif field.name in _EARLIEST:
            merged = _times(-_latest(-_int64(column, -_NEVER), starts))
        elif field.name in _LATEST:
            merged = _times(_latest(_int64(column, _NEVER), starts))
        elif field.name in _OF_THE_LATEST:
            newest = _of_the_latest(table[_OF_THE_LATEST[field.name]], starts, group)
            value = np.where(newest & column.is_valid().to_numpy(), column.fill_null(0.0).to_numpy(), -1.0)
            value = np.maximum.reduceat(value, starts)
            merged = pa.array(value, mask=value < 0).cast(field.type)
        elif field.name == "latency":
            counts = _buckets(column) * _of_the_latest(table["measured_at"], starts, group)[:, None]
            merged = _latencies(np.add.reduceat(counts, starts, axis=0))
        elif field.name == "robots":
            merged = _merged_robots(column.chunk(0), group, len(starts))
        elif field.name == "reasons":
            merged = _merged_reasons(column.chunk(0), group, len(starts))
        else:
            merged = column.take(pa.array(starts))
        columns.append(merged)
    return pa.Table.from_arrays(columns, schema=table.schema)


def _int64(column: pa.ChunkedArray, null: int) -> Ints:
    values: Ints = column.cast(pa.int64()).fill_null(null).to_numpy()
    return values


def _latest(times: Ints, starts: Ints) -> Ints:
    latest: Ints = np.maximum.reduceat(times, starts)
    return latest


def _times(values: Ints) -> pa.Array:
    return pa.array(values, pa.int64(), mask=np.abs(values) >= -_NEVER).cast(schema.TIME)


def _of_the_latest(times: pa.ChunkedArray, starts: Ints, group: Ints) -> NDArray[np.bool_]:
    """Which rows have the latest time of their group."""
    values = _int64(times, _NEVER)
    newest: NDArray[np.bool_] = values == _latest(values, starts)[group]
    return newest


def _buckets(latency: pa.ChunkedArray) -> NDArray[np.int32]:
    parts = [chunk.flatten().to_numpy() for chunk in latency.chunks]
    counts = np.concatenate(parts) if parts else np.empty(0, np.int32)
    return counts.reshape(-1, LATENCY_BUCKETS)


def _latencies(counts: NDArray[Any]) -> pa.Array:
    flat = pa.array(counts.astype(np.int32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=schema.HOST.field("latency").type)


def _merged_robots(lists: pa.ListArray, group: Ints, groups: int) -> pa.Array:
    """The lists of each group as one: by origin the file that was asked for last, in the order of the origins."""
    robots = lists.flatten()
    owner = group[pc.list_parent_indices(lists).to_numpy()]
    encoded = robots.field("origin").dictionary_encode()
    # An origin is of one host, and the groups stand in order, so the origins' numbers sort like their groups.
    origin = encoded.indices.to_numpy()
    asked = robots.field("fetched_at").cast(pa.int64()).to_numpy(zero_copy_only=False)
    order = np.lexsort((asked, origin))
    last = np.append(origin[order][1:] != origin[order][:-1], True) if len(order) else np.empty(0, np.bool_)
    kept = order[last]
    tied = np.flatnonzero(~last & np.append(asked[order][1:] == asked[order][:-1], False)) if len(order) else order
    differ = ~_same(robots, order[tied], order[tied + 1])
    for place in np.unique(origin[order[tied[differ]]]).tolist():  # two answers in one millisecond: whatever the order
        rows = np.flatnonzero(origin == place)
        rows = rows[asked[rows] == asked[rows].max()]
        texts = [repr(robots[row].as_py()) for row in rows.tolist()]
        kept[place] = rows[texts.index(max(texts))]
    of_group = owner[kept]
    lengths = np.bincount(of_group, minlength=groups)
    crowded = np.flatnonzero(lengths[of_group] > 1)
    if len(crowded):
        names = np.array(encoded.dictionary.take(pa.array(origin[kept[crowded]])).to_pylist())
        kept[crowded] = kept[crowded][np.lexsort((names, of_group[crowded]))]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    some = np.bincount(group[lists.is_valid().to_numpy(zero_copy_only=False)], minlength=groups) > 0
    return pa.ListArray.from_arrays(pa.array(offsets), robots.take(pa.array(kept)), lists.type, mask=pa.array(~some))


def _same(robots: pa.StructArray, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Which of the rows `left` are the same as those of `right`."""
    same = np.ones(len(left), np.bool_)
    for name in _ROBOTS:
        column = robots.field(name)
        one, other = column.take(pa.array(left)), column.take(pa.array(right))
        if pa.types.is_list(column.type):  # Arrow does not compare lists
            same &= np.array([a == b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)], np.bool_)
            continue
        equal = pc.equal(one, other).fill_null(False)
        same &= pc.or_(equal, pc.and_(one.is_null(), other.is_null())).to_numpy(zero_copy_only=False)
    return same


def _merged_reasons(maps: pa.MapArray, group: Ints, groups: int) -> pa.Array:
    """The maps of each group as one: numbers added up, in the order of the names; null for none."""
    lengths = np.diff(maps.offsets.to_numpy())
    first, last = int(maps.offsets[0].as_py()), int(maps.offsets[-1].as_py())
    owner = np.repeat(group, lengths)
    names = maps.keys.slice(first, last - first).dictionary_encode()
    rank = _ranks(names.dictionary.to_pylist())
    number = maps.items.slice(first, last - first).to_numpy()
    return _reasons(owner, rank[names.indices.to_numpy()], number, names.dictionary, rank, groups)


def _ranks(names: Sequence[str]) -> Ints:
    """The place of each name in their order."""
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return rank


def _reasons(owner: Ints, ranked: Ints, number: Ints, names: pa.Array, rank: Ints, owners: int) -> pa.Array:
    """A map for each owner from names to sums of numbers; `rank` is each name's place in their order."""
    key = owner * max(len(names), 1) + ranked
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.append([True], key[1:] != key[:-1])) if len(key) else np.empty(0, np.int64)
    sums = np.add.reduceat(number[order], starts) if len(key) else number
    lengths = np.bincount(owner[order[starts]], minlength=owners)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    by_rank = names.take(pa.array(np.argsort(rank)))
    keys = by_rank.take(pa.array(ranked[order[starts]]))
    maps = pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(sums, pa.int64()))
    return pc.if_else(pa.array(lengths > 0), maps, pa.scalar(None, maps.type))


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
    last_seen, answered_at, first_seen = np.full(rows, _NEVER), np.full(rows, _NEVER), np.full(rows, -_NEVER)
    np.maximum.at(last_seen, host, times)
    np.maximum.at(answered_at, host[answered], times[answered])
    np.minimum.at(first_seen, host, times)
    length = content["content_bytes"].cast(pa.int64()).fill_null(0).to_numpy()
    reason = pa.concat_arrays(
        [chunk.cast(pa.string()) for chunk in content["reason"].chunks] or [pa.array([], pa.string())]
    )
    said = reason.is_valid().to_numpy(zero_copy_only=False)
    names = reason.drop_null().dictionary_encode()
    rank = _ranks(names.dictionary.to_pylist())
    measured = np.full(rows, measured_at)
    measured[answered_at == _NEVER] = _NEVER
    columns: dict[str, Any] = {
        "host": hosts,
        "requests": outcomes.sum(axis=1),
        **{one.name: outcomes[:, one] for one in FetchOutcome},
        "reasons": _reasons(
            host[said], rank[names.indices.to_numpy()], np.ones(int(said.sum()), np.int64), names.dictionary, rank, rows
        ),
        "bytes": np.bincount(host, weights=length, minlength=rows).astype(np.int64),
        "latency": _latencies(latency.reshape(rows, LATENCY_BUCKETS)),
        "measured_at": _times(measured),
        "answered_at": _times(answered_at),
        "first_seen": _times(first_seen),
        "last_seen": _times(last_seen),
    }
    return _rows(columns, hosts)


def of_robots(learned: pa.Table) -> pa.Table:
    """What rows of schema.HOSTLIST tell of their hosts, for `merge`."""
    learned = learned.combine_chunks()
    rows = learned.num_rows
    columns = {
        name: pa.concat_arrays(learned[name].chunks) if rows else learned[name].type for name in learned.column_names
    }
    if not rows:
        return schema.HOST.empty_table()
    robots = pa.StructArray.from_arrays([columns[name] for name in _ROBOTS], fields=list(schema.ROBOTS))
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
    """Rows of schema.HOSTLIST of tuples: the fields of schema.ROBOTS in their order (times in ms, `sitemaps` last), and
    the crawl delay."""
    values = list(zip(*robots, strict=True)) or [()] * (len(_ROBOTS) + 1)
    hosts = [host_of_origin(origin) for origin in values[0]]
    columns = dict(zip([*_ROBOTS, "crawl_delay"], values, strict=True))
    arrays = []
    for field in schema.HOSTLIST:
        if field.name == "fingerprint":
            arrays.append(pa.array([key.tobytes() for key in fingerprints(hosts)], field.type))
        elif field.name == "host":
            arrays.append(pa.array(hosts, field.type))
        elif field.type == schema.TIME:
            arrays.append(pa.array(columns[field.name], pa.int64()).cast(schema.TIME))
        else:
            arrays.append(pa.array(columns[field.name], field.type))
    return shards.sort(pa.Table.from_arrays(arrays, schema=schema.HOSTLIST))


def known(hostlist: pa.Table) -> list[tuple[Any, ...]]:
    """The fields of schema.ROBOTS but the sitemaps in their order (times in ms), of each row of schema.HOSTLIST."""
    columns = [hostlist[name] for name in _KNOWN]
    plain = [column.cast(pa.int64()) if column.type == schema.TIME else column for column in columns]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def write_hostlists(
    snapshot: Snapshot, segment: Segment, hosts: pa.ChunkedArray, task_of: Ints, fresh_since: int
) -> list[shards.File]:
    """What is known of the robots.txt of the hosts that fetch tasks will ask: a file for each task that has any.

    `hosts` and `task_of` are the host and the task of each request. Files that were asked for before `fresh_since` (UTC
    milliseconds) are left out, for they will be asked for again, unless that failed: how long it fails matters.
    Memory is bounded, whatever the number of hosts: they are looked up some thousands at a time.
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
            for table in snapshot.select(some, ["fingerprint", "host", "robots"]):
                rows = _useful(table, fresh_since)
                place, _ = shards.match(keys, shards.key_bytes(table["fingerprint"]))
                mine = task[place][rows.pop("row")]
                flat = _hostlist(rows)
                for number in np.unique(mine).tolist():
                    if number not in writers:
                        path = segment.part_path("hostlist", number)
                        writer = shards.Writer(segment.fs, path, schema.HOSTLIST, HOSTDB.row_group)
                        writers[number] = stack.enter_context(writer)
                    writers[number].write(flat.filter(pa.array(mine == number)))
    return [writers[number].file for number in sorted(writers)]


def known_of(snapshot: Snapshot, hosts: Sequence[str], fresh_since: int) -> pa.Table:
    """Rows of schema.HOSTLIST: what is known of the robots.txt of these hosts, as `write_hostlists` chooses it."""
    keys = fingerprints(sorted(set(hosts)))
    keys = keys[shards.sort_order(keys)]
    found = [_hostlist(_useful(table, fresh_since))
             for table in snapshot.select(keys, ["fingerprint", "host", "robots"])]  # fmt: skip
    return pa.concat_tables([schema.HOSTLIST.empty_table(), *found])


def _useful(table: pa.Table, fresh_since: int) -> dict[str, Any]:
    """The robots.txt files of some hosts that are fresh or fail, as columns, and the row of each one's host."""
    lists = pa.concat_arrays(table["robots"].chunks)
    row, robots = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
    fresh = robots.field("fetched_at").cast(pa.int64()).to_numpy(zero_copy_only=False) >= fresh_since
    kept = pa.array(np.flatnonzero(fresh | robots.field("failing_since").is_valid().to_numpy(zero_copy_only=False)))
    row, robots = row[kept.to_numpy()], robots.take(kept)
    own = table.select(["fingerprint", "host"]).take(pa.array(row))
    return {"row": row, "fingerprint": own["fingerprint"], "host": own["host"],
            **{name: robots.field(name) for name in _KNOWN}}  # fmt: skip


def _hostlist(columns: dict[str, Any]) -> pa.Table:
    rows = len(columns["host"])
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in schema.HOSTLIST]
    return pa.Table.from_arrays(arrays, schema=schema.HOSTLIST)


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
        lists = pa.concat_arrays(table["robots"].chunks)
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
    schema.HOST.field("host"), *(schema.HOST.field(name) for name in _SUMS), schema.HOST.field("reasons"),
    pa.field("latency_median", pa.int32()), pa.field("latency_95", pa.int32()),
    *(schema.HOST.field(name) for name in ("crawl_delay", "rank", "robots_at")),
    pa.field("robots", pa.map_(pa.string(), pa.int16())), pa.field("robots_failing_since", schema.TIME),
    *(schema.HOST.field(name) for name in ("answered_at", "first_seen", "last_seen")),
])  # fmt: skip
"""What `shown` makes of schema.HOST, for people: `latency_…` in ms, `robots` the status of each origin's robots.txt."""

SHOWN_NEEDED = tuple(
    name for name in schema.HOST.names if name in SHOWN.names or name in ("latency", "measured_at", "ranked_at")
)


def shown(table: pa.Table) -> pa.Table:
    """Rows of schema.HOST (SHOWN_NEEDED) as rows of SHOWN."""
    lists = pa.concat_arrays([*table["robots"].chunks, pa.array([], table["robots"].type)]).fill_null([])
    lengths = np.diff(lists.offsets.to_numpy())
    robots = lists.flatten()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    origins = pa.MapArray.from_arrays(pa.array(offsets), robots.field("origin"), robots.field("status"))
    failing = np.full(table.num_rows, -_NEVER)
    since = _int64(pa.chunked_array([robots.field("failing_since")]), -_NEVER)
    np.minimum.at(failing, np.repeat(np.arange(table.num_rows), lengths), since)
    columns: dict[str, Any] = {
        "robots": pc.if_else(pa.array(lengths > 0), origins, pa.scalar(None, origins.type)),
        "robots_failing_since": _times(failing),
    }
    for name, share in (("latency_median", 0.5), ("latency_95", 0.95)):
        times = percentile(table["latency"], share)
        columns[name] = pa.array(np.rint(np.nan_to_num(times)).astype(np.int32), mask=np.isnan(times))
    return pa.table({name: columns[name] if name in columns else table[name] for name in SHOWN.names}, SHOWN)


def busiest(tables: Iterable[pa.Table], top: int) -> pa.Table:
    """The `top` rows of SHOWN with the most requests, the busiest first; holds about that many."""
    best = SHOWN.empty_table()
    for table in tables:
        both = pa.concat_tables([best, table])
        order = np.argsort(-both["requests"].to_numpy(), kind="stable")[:top]
        best = both.take(pa.array(order)).combine_chunks()
    return best


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """The state with what some commits learned."""
    return merge([state, *(delta for delta, _ in deltas)])


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns are the state's."""
    return list(columns)


HOSTDB = Kind(
    "hostdb", schema.HOST, schema.HOST, _DECIDING, needed_of_delta, apply_all,
    "hosts", "no host store here yet; the first updatedb makes it", row_group=4096, shards=1,
)  # fmt: skip
