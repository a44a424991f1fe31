"""What a round learned, as delta rows: outcomes of fetches, and links found, one row per request.

Pure functions over columns: `from_pages` makes rows of a content chunk and its parsed chunk, `merge` brings rows of
any number of chunks down to one per request. `merge` is associative and does not depend on order, so rows may be
merged in the mapper, again in the reducer, in any grouping, with the same result to the last bit.

A row of a request that was fetched says nothing of its discovery, for the crawldb knew it before; but for one that a
redirect was followed to, which says what led there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.families import find
from crawldb.scoring import SCORES, exact
from crawldb.settings import Settings

_REQUEST = ("fingerprint", "url", "method", "headers", "body", "host")
_ANSWER = (
    "outcome", "http_status", "reason", "fetched_at", "etag", "last_modified", "redirect_to", "retry_after", "signature",
    "content_type", "canonical", "simhash",
)  # fmt: skip

_OF_CONTENT = ("signature", "content_type", "canonical", "simhash")
"""What the parsed chunk tells of an answer."""

CONTENT_NEEDED = (
    *_REQUEST,
    *(name for name in _ANSWER if name not in _OF_CONTENT),
    "score",
    "depth",
    "priority",
    "metadata",
    "discovered_from",
)
"""Columns of a content chunk that `from_pages` needs: not the content itself."""

PARSED_NEEDED = (
    "fingerprint", *_OF_CONTENT, "outlinks.list.element.fingerprint", "outlinks.list.element.url",
    "outlinks.list.element.host", "outlinks.list.element.kind",
)  # fmt: skip
"""Columns of a parsed chunk that `from_pages` needs."""

_NO_DEPTH = np.iinfo(np.int16).max


def from_pages(content: pa.Table, parsed: pa.Table, settings: Settings) -> pa.Table:
    """Delta rows, one per request, of a content chunk and the parsed chunk whose rows stand beside it."""
    return merge([_outcomes(content, parsed), _links(content, parsed["outlinks"], settings)])


def _outcomes(content: pa.Table, parsed: pa.Table) -> pa.Table:
    columns: dict[str, Any] = {name: content[name] for name in CONTENT_NEEDED if name != "score"}
    columns["redirect_to"] = pc.coalesce(content["redirect_to"], _refresh_targets(parsed["outlinks"]))
    return _delta(columns | {name: parsed[name] for name in _OF_CONTENT}, content.num_rows)


def _refresh_targets(outlinks: pa.ChunkedArray) -> pa.Array:
    """Where each page's meta refresh points, null for a page without one."""
    lists = outlinks.combine_chunks()
    links = lists.flatten()
    refreshes = np.flatnonzero(pc.equal(links.field("kind"), "refresh").to_numpy(zero_copy_only=False))
    page, first = np.unique(pc.list_parent_indices(lists).to_numpy()[refreshes], return_index=True)
    row = np.zeros(len(lists), np.int64)
    row[page] = refreshes[first]
    return links.field("url").take(pa.array(row, mask=~np.isin(np.arange(len(lists)), page)))


def _links(content: pa.Table, outlinks: pa.ChunkedArray, settings: Settings) -> pa.Table:
    lists = outlinks.combine_chunks()
    page = pc.list_parent_indices(lists)
    link = lists.flatten()
    pages = page.to_numpy()
    number = np.bincount(pages, minlength=content.num_rows) if len(pages) else np.zeros(content.num_rows, np.int64)
    hosts = content["host"].cast(pa.string()).combine_chunks()
    internal = pc.equal(link.field("host"), hosts.take(page)).fill_null(False).to_numpy(zero_copy_only=False)
    score = content["score"].cast(pa.float64()).fill_null(0.0).to_numpy()
    contribute = find(SCORES, settings.score.name, "score.name").contribute
    is_link = pc.equal(link.field("kind"), "link").fill_null(False).to_numpy(zero_copy_only=False)
    depth = content["depth"].cast(pa.int64()).fill_null(0).to_numpy()[pages] + is_link
    return _delta({
        "fingerprint": link.field("fingerprint"),
        "url": link.field("url"),
        "host": link.field("host").dictionary_encode(),
        "inlinks": pa.array(np.ones(len(pages), np.int32)),
        "inlink_score": pa.array(exact(contribute(score[pages], number[pages], internal, settings.score))),
        "depth": pa.array(np.minimum(depth, _NO_DEPTH - 1).astype(np.int16)),
        "priority": content["priority"].take(page),
        "metadata": _inherited(content["metadata"], settings.request.inherit_metadata).take(page),
        "discovered_at": content["fetched_at"].take(page),
        "linked_at": content["fetched_at"].take(page),
        "discovered_from": content["fingerprint"].take(page),
    }, len(pages))  # fmt: skip


def _inherited(metadata: pa.ChunkedArray, keys: Sequence[str]) -> pa.ChunkedArray:
    """The metadata cut down to `keys`; null where nothing is left."""
    if not keys:
        return pa.chunked_array([pa.nulls(len(metadata), schema.METADATA)])
    kept = [[item for item in row or [] if item[0] in keys] or None for row in metadata.to_pylist()]
    return pa.chunked_array([pa.array(kept, schema.METADATA)])


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per request, sorted by fingerprint, of tables of schema.DELTA that `from_pages` or `merge` made.

    Of several fetches the latest counts. Links add up; the page that is nearest to a seed (then of the lowest
    fingerprint) is `discovered_from`, and its metadata are inherited.
    """
    table = pa.concat_tables(tables).unify_dictionaries()
    if not table.num_rows:
        return table
    keys = shards.key_bytes(table["fingerprint"])
    fetched = table["outcome"].is_valid().to_numpy()
    fetched_at = table["fetched_at"].cast(pa.int64()).fill_null(0).to_numpy()
    depth = table["depth"].cast(pa.int64()).fill_null(_NO_DEPTH).to_numpy()
    source = shards.key_bytes(table["discovered_from"].combine_chunks().fill_null(b"\xff" * 20))
    source = np.where(fetched[:, None], np.uint8(0xFF), source)
    preference = np.where(fetched, -1 - fetched_at, depth)  # the latest fetch, else the link from the nearest page
    order = shards.sort_order(source)
    order = order[np.argsort(preference[order], kind="stable")]
    order = order[shards.sort_order(keys[order])]
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
    if len(starts) == table.num_rows:
        return table.take(pa.array(order))

    first = order[starts]
    _settle_ties(table, first, order, starts, preference, source)
    inlinks = np.add.reduceat(table["inlinks"].fill_null(0).to_numpy()[order], starts)
    passed_on = np.add.reduceat(table["inlink_score"].fill_null(0.0).to_numpy()[order], starts)
    earliest = np.iinfo(np.int64).max
    discovered_at = table["discovered_at"].cast(pa.int64()).fill_null(earliest).to_numpy()[order]
    discovered_at = np.minimum.reduceat(discovered_at, starts)
    lowest = np.iinfo(np.int64).min
    linked_at = table["linked_at"].cast(pa.int64()).fill_null(lowest).to_numpy()[order]
    linked_at = np.maximum.reduceat(linked_at, starts)
    priority = table["priority"].cast(pa.int64()).fill_null(lowest).to_numpy()[order]
    priority = np.maximum.reduceat(priority, starts)
    nearest = np.minimum.reduceat(depth[order], starts)
    best = pa.array(first)
    answer = pa.array(first, mask=~fetched[first])
    columns: dict[str, Any] = {name: table[name].take(best) for name in (*_REQUEST, "metadata")}
    columns |= {name: table[name].take(answer) for name in _ANSWER}
    columns |= {
        "inlinks": pa.array(inlinks.astype(np.int32), mask=inlinks == 0),
        "inlink_score": pa.array(exact(passed_on), mask=inlinks == 0),
        "depth": pa.array(nearest, mask=nearest == _NO_DEPTH),
        "priority": pa.array(priority, mask=priority == lowest),
        "discovered_at": pa.array(discovered_at, mask=discovered_at == earliest).cast(schema.TIME),
        "discovered_from": table["discovered_from"].take(best),
        "linked_at": pa.array(linked_at, mask=linked_at == lowest).cast(schema.TIME),
    }
    return _delta(columns, len(starts))


def of_fetchlist(fetchlist: pa.Table, now: int) -> pa.Table:
    """Rows for `with_seeds` of a fetchlist whose requests came from no crawldb: they are seeds, found at `now` (UTC ms)."""
    rows = fetchlist.num_rows
    columns: dict[str, Any] = {name: fetchlist[name] for name in (*_REQUEST, "score", "depth", "priority", "metadata")}
    columns["injected"] = pa.repeat(True, rows)
    columns["discovered_at"] = pa.repeat(pa.scalar(now, schema.TIME), rows)
    return shards.sort(_delta(columns, rows))


def with_seeds(tables: Iterable[pa.Table]) -> pa.Table:
    """`merge` of tables some of which are of seeds (`injected`), each seed once: what was fetched, or linked to, was a
    seed first."""
    parts = list(tables)
    seeds = [part for part in parts if part.num_rows and part["injected"][0].as_py()]
    others = [part for part in parts if part.num_rows and not part["injected"][0].as_py()]
    if not seeds:
        return merge(parts)
    injected = shards.sort(pa.concat_tables(seeds).unify_dictionaries())
    if not others:
        return injected
    learned = merge(others)
    keys = shards.key_bytes(injected["fingerprint"])
    place, known = shards.match(keys, shards.key_bytes(learned["fingerprint"]))
    own = injected.take(pa.array(place, mask=~known))
    columns: dict[str, Any] = {name: learned[name] for name in schema.DELTA.names}
    columns |= {name: own[name] for name in ("injected", "score")}
    for name in ("depth", "priority", "metadata", "discovered_at"):
        columns[name] = _instead(own[name], learned[name], known)
    columns["discovered_from"] = _instead(own["discovered_from"], learned["discovered_from"], known)
    waiting = ~shards.contains(shards.key_bytes(learned["fingerprint"]), keys)
    return shards.sort(
        pa.concat_tables([_delta(columns, learned.num_rows), injected.filter(pa.array(waiting))]).unify_dictionaries()
    )


def _instead(one: pa.ChunkedArray, other: pa.ChunkedArray, where: NDArray[np.bool_]) -> pa.ChunkedArray:
    """`one` where the mask says so, else `other`, for any type."""
    both = pa.chunked_array([*other.chunks, *one.chunks], one.type).combine_chunks()
    rows = np.arange(len(where))
    return pa.chunked_array([both.take(pa.array(np.where(where, rows + len(where), rows)))])


def _settle_ties(
    table: pa.Table, first: NDArray[np.int64], order: NDArray[np.int64], starts: NDArray[np.int64],
    preference: NDArray[np.int64], source: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Where nothing sets two rows apart, let `first` name one whatever their order.

    Such are two fetches of a request in one millisecond, and one link of a page that was fetched twice.
    """
    ends = np.append(starts[1:], len(order))
    second = order[np.minimum(starts + 1, ends - 1)]
    tied = (second != first) & (preference[first] == preference[second])
    tied[tied] = (source[first[tied]] == source[second[tied]]).all(axis=1)
    for group in np.flatnonzero(tied).tolist():
        rows = order[starts[group] : ends[group]]
        same = (preference[rows] == preference[first[group]]) & (source[rows] == source[first[group]]).all(axis=1)
        rows = rows[same]
        shown = table.select((*_REQUEST, *_ANSWER, "metadata", "discovered_from")).take(pa.array(rows)).to_pylist()
        texts = [repr(list(row.values())) for row in shown]
        first[group] = rows[texts.index(min(texts))]


def _delta(columns: dict[str, Any], rows: int) -> pa.Table:
    """A table of schema.DELTA; columns that are not given are null."""
    arrays = []
    for field in schema.DELTA:
        column = columns.get(field.name)
        if column is None:
            column = pa.nulls(rows, field.type)
        arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema.DELTA)
