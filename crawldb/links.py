"""The link store: which page links to which request, and with what words.

Owns the meaning of schema.LINK's and schema.SOURCE's columns: the rows that a parsed chunk comes to, `merge`, and which
links count. Two stores hold it:

    linkdb/     a row per (target, source): anchor, rel, kind, and when the source was fetched with it
    sourcedb/   a row per page that was parsed: when it was last fetched, how many links it had, its URL, where they are

The key of a link begins with half of its target's fingerprint, so the links to a target stand together, are found by
the range of their keys, and no row grows however many there are. Two targets that share those 10 bytes are rare (one
pair in 2^80) and told apart by the whole fingerprint, which stands in the row.

A link that its page no longer has is not sought out and removed, which would take a look at what was known before.
Its row stays as it is, and `sourcedb` says that the page was fetched later: such a link does not count. Readers leave
it out, compaction drops it (`Current`). So a round writes what it learned, and no more.

A row of a delta is a row of the state. `merge` keeps the newest statement of each key; it is associative and does not
depend on order, so that segments may be applied in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.schema import FetchOutcome
from crawldb.settings import LinkdbSettings, Policy, Settings
from crawldb.store import Kind, Snapshot, Store

Ints = NDArray[np.int64]

CONTENT_NEEDED = ("fingerprint", "url", "host", "outcome", "fetched_at")
"""Columns of a content chunk that `of_pages` needs: not the content itself."""
PARSED_NEEDED = ("fingerprint", "parse_status", "outlinks")
"""Columns of a parsed chunk that `of_pages` needs."""

_HALF = 10
"""Bytes of the target's, and of the source's fingerprint in a link's key."""
_TELLS = (FetchOutcome.success, FetchOutcome.redir_temp, FetchOutcome.redir_perm, FetchOutcome.gone)
"""Outcomes that say which links a page has: one that is gone has none. A failure that may pass says nothing, and a
page that was not modified has those that it had."""
_TIMES = {"seen_at", "parsed_at"}
_NEVER = np.iinfo(np.int64).min


# -- what a round learned ------------------------------------------------------------------------------------


def of_pages(
    content: pa.Table, parsed: pa.Table, segment: str, file: str, settings: LinkdbSettings
) -> tuple[pa.Table, pa.Table]:
    """Rows of schema.LINK and of schema.SOURCE of a content chunk and the parsed chunk whose rows stand beside it.

    `segment` and `file` are where the parsed chunk is. Each row is the only one with its key, in the order of the keys.
    """
    outcome = schema.codes(content["outcome"], schema.OUTCOME_NAMES)
    tells = np.isin(outcome, [int(one) for one in _TELLS]) & content["fetched_at"].is_valid().to_numpy()
    tells &= ~pc.equal(parsed["parse_status"].cast(pa.string()), "failed").fill_null(False).to_numpy()
    lists = parsed["outlinks"].combine_chunks()
    lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
    page, link = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
    kept = tells[page]
    hosts = pa.concat_arrays(
        [chunk.cast(pa.string()) for chunk in content["host"].chunks] or [pa.array([], pa.string())]
    )
    if settings.ignore_internal:
        internal = pc.equal(link.field("host"), hosts.take(pa.array(page))).fill_null(False)
        kept &= ~internal.to_numpy(zero_copy_only=False)
    page, link = page[kept], link.filter(pa.array(kept))
    source = content["fingerprint"].combine_chunks()
    links = _rows(schema.LINK, {
        "fingerprint": keys(link.field("fingerprint"), shards.key_bytes(source)[page]),
        "target": link.field("fingerprint"),
        "source": source.take(pa.array(page)),
        "host": link.field("host"),
        "anchor": _anchors(link.field("anchor"), settings.max_anchor),
        "rel": link.field("rel"),
        "kind": link.field("kind"),
        "seen_at": content["fetched_at"].take(pa.array(page)),
    }, len(page))  # fmt: skip
    number = np.bincount(page, minlength=content.num_rows)[tells]
    told = pa.array(np.flatnonzero(tells))
    none = pa.array(number == 0)
    sources = _rows(schema.SOURCE, {
        "fingerprint": source.take(told),
        "url": pc.if_else(none, pa.scalar(None, pa.string()), content["url"].take(told).combine_chunks()),
        "host": pc.if_else(none, pa.scalar(None, pa.string()), hosts.take(told)),
        "links": pa.array(number.astype(np.int32)),
        "parsed_at": content["fetched_at"].take(told),
        "segment": pa.array([segment]).take(pa.array(np.zeros(len(number), np.int64))),
        "file": pa.array([file]).take(pa.array(np.zeros(len(number), np.int64))),
    }, len(number))  # fmt: skip
    return merge([links]), merge([sources])


def keys(targets: pa.Array, sources: NDArray[np.uint8]) -> pa.Array:
    """The key of each link; `sources` is an (n, 20) array beside `targets`."""
    halves = np.concatenate([shards.key_bytes(targets)[:, :_HALF], sources[:, :_HALF]], axis=1)
    return pa.FixedSizeBinaryArray.from_buffers(schema.FINGERPRINT, len(halves), [None, pa.py_buffer(halves.tobytes())])


def _anchors(anchors: pa.Array, characters: int) -> pa.Array:
    """Cut off; null for none."""
    cut = pc.utf8_slice_codeunits(anchors, 0, characters)
    return pc.if_else(pc.equal(pc.binary_length(cut), 0), pa.scalar(None, pa.string()), cut)


def _rows(kind: pa.Schema, columns: dict[str, Any], rows: int) -> pa.Table:
    arrays = []
    for field in kind:
        column = columns[field.name]
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=kind)


# -- merging -------------------------------------------------------------------------------------------------


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per key, sorted, of rows of schema.LINK or of schema.SOURCE in any order, or of some of their columns.

    The row of the latest time counts. `fingerprint` and the time, seen_at or parsed_at, must be among the columns.
    """
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    key = shards.key_bytes(table["fingerprint"])
    if not len(key):
        return table
    order = shards.sort_order(key)
    ordered = key[order].view(np.uint32)  # compared by fours
    starts = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
    if len(starts) < len(order):
        order = _newest(table, order, starts)
    elif (order[1:] > order[:-1]).all():
        return table
    return table.take(pa.array(order))


def _newest(table: pa.Table, order: Ints, starts: Ints) -> Ints:
    """The newest row of each group; `order` are the rows group by group, which begin at `starts`."""
    name = next(name for name in table.column_names if name in _TIMES)
    times = table[name].cast(pa.int64()).fill_null(_NEVER).to_numpy()[order]
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    place = np.flatnonzero(times == np.maximum.reduceat(times, starts)[group])
    first = np.concatenate([[True], group[place][1:] != group[place][:-1]])
    kept: Ints = order[place[first]]
    again = np.flatnonzero(~first)
    if len(again):
        rows, of = order[place[again]], group[place[again]]
        differ = ~_same(table, rows, kept[of])
        # Two statements of one millisecond that differ: one of them, whatever their order.
        for number in np.unique(of[differ]).tolist():
            alike = order[place[group[place] == number]]
            texts = [repr(list(row.values())) for row in table.take(pa.array(alike)).to_pylist()]
            kept[number] = alike[texts.index(max(texts))]
    return kept


def _same(table: pa.Table, left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Which of the rows `left` are the same as those of `right`."""
    same = np.ones(len(left), np.bool_)
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            codes = pa.concat_arrays([chunk.indices for chunk in column.chunks]).fill_null(-1).to_numpy()
            same &= codes[left] == codes[right]
            continue
        one, other = column.take(pa.array(left)), column.take(pa.array(right))
        equal = pc.equal(one, other).fill_null(False)
        same &= pc.or_(equal, pc.and_(one.is_null(), other.is_null())).to_numpy()
    return same


def capped(links: pa.Table, most: int) -> pa.Table:
    """The first `most` links to each target, of links in the order of their keys; 0: all."""
    if not most or links.num_rows <= most:
        return links
    within = _rank_within(shards.key_bytes(links["fingerprint"])) < most
    return links if within.all() else links.filter(pa.array(within))


def _rank_within(key: NDArray[np.uint8]) -> Ints:
    """For each link, how many links before it are to the same target."""
    rows = np.arange(len(key))
    new = np.concatenate([[True], (key[1:, :_HALF] != key[:-1, :_HALF]).any(axis=1)]) if len(key) else rows > 0
    rank: Ints = rows - np.maximum.accumulate(np.where(new, rows, 0))
    return rank


# -- which links count -----------------------------------------------------------------------------------------


class Sources:
    """When each page was last parsed: 16 bytes of memory a page."""

    def __init__(self, snapshot: Snapshot) -> None:
        prefixes, times = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for table in snapshot.scan(["fingerprint", "parsed_at"]):
            prefixes.append(shards.prefixes(shards.key_bytes(table["fingerprint"])))
            times.append(table["parsed_at"].cast(pa.int64()).to_numpy())
        self._prefixes, self._times = np.concatenate(prefixes), np.concatenate(times)

    def outdated(self, links: pa.Table) -> NDArray[np.bool_]:
        """Which of some links (source, seen_at) their pages no longer have."""
        wanted = shards.prefixes(shards.key_bytes(links["source"]))
        order = np.argsort(wanted)  # neighbours are near in memory
        # Of two pages that share 8 bytes (a pair in 2^64) one is taken for the other only where that keeps a link:
        place = np.empty(len(wanted), np.int64)
        place[order] = np.searchsorted(self._prefixes, wanted[order])
        inside = place < len(self._prefixes)
        place[~inside] = 0
        known = inside & (self._prefixes[place] == wanted) if len(self._prefixes) else inside
        seen = links["seen_at"].cast(pa.int64()).to_numpy()
        outdated: NDArray[np.bool_] = known.copy()
        outdated[known] = self._times[place[known]] > seen[known]
        following = np.minimum(place + 1, len(self._prefixes) - 1)
        twins = outdated & (following > place)
        twins[twins] = self._prefixes[following[twins]] == wanted[twins]
        outdated[twins] = self._times[following[twins]] > seen[twins]
        return outdated


class Current:
    """Of the link store's tables, given in the order of their keys, the links that count: no outdated ones, and at
    most linkdb.max_inlinks to one target. Needs the columns fingerprint, source and seen_at."""

    NEEDED = ("fingerprint", "source", "seen_at")

    def __init__(self, crawl_dir: str, settings: Settings) -> None:
        self._sources = Sources(Store(crawl_dir, SOURCEDB).snapshot_or_new(settings.store))
        self._most = settings.linkdb.max_inlinks
        self._last, self._passed = b"", 0

    def __call__(self, links: pa.Table) -> pa.Table:
        links = links.filter(pa.array(~self._sources.outdated(links)))
        if not self._most or not links.num_rows:
            return links
        key = shards.key_bytes(links["fingerprint"])
        rank = _rank_within(key)
        if key[0, :_HALF].tobytes() == self._last:
            carried = (key[:, :_HALF] == key[0, :_HALF]).all(axis=1)
            rank[carried] += self._passed
        self._last, self._passed = key[-1, :_HALF].tobytes(), int(rank[-1]) + 1
        return links if rank.max() < self._most else links.filter(pa.array(rank < self._most))


# -- reading -------------------------------------------------------------------------------------------------


def to_target(links: Snapshot, sources: Snapshot, target: bytes, most: int = 0) -> pa.Table:
    """The links to a request that count, with the columns of schema.LINK and of each one its page's `url`.

    Reads the row groups with links to it, and those of sourcedb with the pages that link.
    """
    found = links.between(target[:_HALF] + bytes(_HALF), target[:_HALF] + b"\xff" * _HALF)
    found = found.filter(pc.equal(found["target"], pa.scalar(target, schema.FINGERPRINT)))
    wanted = shards.key_bytes(found["source"])
    wanted = wanted[shards.sort_order(wanted)]
    pages = list(sources.select(wanted, ["fingerprint", "url", "parsed_at"]))
    page = pa.concat_tables(pages) if pages else schema.SOURCE.empty_table().select(["fingerprint", "url", "parsed_at"])
    have = shards.key_bytes(page["fingerprint"])
    order = shards.sort_order(shards.key_bytes(found["source"]))
    found = found.take(pa.array(order))
    place, known = shards.match(have, shards.key_bytes(found["source"]))
    own = page.take(pa.array(place, mask=~known))
    counts = pc.less_equal(own["parsed_at"], found["seen_at"]).fill_null(True)
    return capped(found.append_column("url", own["url"]).filter(counts), most)


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """The state with what some commits learned."""
    tables = [table for table in (state, *(delta for delta, _ in deltas)) if table.num_rows]
    return merge(tables) if len(tables) > 1 else [*tables, state][0]


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns are the state's."""
    return list(columns)


def _kept(crawl_dir: str, settings: Settings) -> Callable[[pa.Table], pa.Table]:
    return Current(crawl_dir, settings)


SOURCEDB = Kind(
    "sourcedb", schema.SOURCE, schema.SOURCE, ("fingerprint", "parsed_at"), needed_of_delta, apply_all,
    "pages", "no link store here yet; cobnut invertlinks makes it",
)  # fmt: skip

LINKDB = Kind(
    "linkdb", schema.LINK, schema.LINK, Current.NEEDED, needed_of_delta, apply_all,
    "links", "no link store here yet; cobnut invertlinks makes it", kept=_kept,
)  # fmt: skip
