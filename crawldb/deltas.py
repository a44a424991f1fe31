"""What a round learned, as delta rows: outcomes of fetches, and links found, one row per request.

Pure functions over columns: `from_pages` makes rows of a content chunk and its parsed chunk, `merge` brings rows of
any number of chunks down to one per request. `merge` is associative and does not depend on order, so rows may be
merged in the mapper, again in the reducer, in any grouping, with the same result to the last bit.
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
from crawldb.scoring import SCORES
from crawldb.settings import Settings

_REQUEST = ("fingerprint", "url", "method", "headers", "body", "host")
_ANSWER = (
    "outcome", "http_status", "reason", "fetched_at", "etag", "last_modified", "redirect_to", "retry_after", "signature",
)  # fmt: skip

CONTENT_NEEDED = (
    *_REQUEST,
    *(name for name in _ANSWER if name != "signature"),
    "score",
    "depth",
    "priority",
    "metadata",
)
"""Columns of a content chunk that `from_pages` needs: not the content itself."""

PARSED_NEEDED = (
    "fingerprint", "signature", "outlinks.list.element.fingerprint", "outlinks.list.element.url",
    "outlinks.list.element.host", "outlinks.list.element.kind",
)  # fmt: skip
"""Columns of a parsed chunk that `from_pages` needs."""


def from_pages(content: pa.Table, parsed: pa.Table, settings: Settings) -> pa.Table:
    """Delta rows, one per request, of a content chunk and the parsed chunk whose rows stand beside it."""
    return merge([_outcomes(content, parsed["signature"]), _links(content, parsed["outlinks"], settings)])


def _outcomes(content: pa.Table, signatures: pa.ChunkedArray) -> pa.Table:
    columns: dict[str, Any] = {name: content[name] for name in CONTENT_NEEDED if name != "score"}
    return _delta({**columns, "signature": signatures}, content.num_rows)


def _links(content: pa.Table, outlinks: pa.ChunkedArray, settings: Settings) -> pa.Table:
    lists = outlinks.combine_chunks()
    page = pc.list_parent_indices(lists)
    link = lists.flatten()
    pages = page.to_numpy()
    number = np.bincount(pages, minlength=content.num_rows) if len(pages) else np.zeros(content.num_rows, np.int64)
    hosts = content["host"].cast(pa.string()).combine_chunks()
    internal = pc.equal(link.field("host"), hosts.take(page)).to_numpy(zero_copy_only=False)
    score = content["score"].cast(pa.float64()).fill_null(0.0).to_numpy()
    contribute = find(SCORES, settings.score.name, "score.name").contribute
    is_link = pc.equal(link.field("kind"), "link").to_numpy(zero_copy_only=False)
    depth = content["depth"].cast(pa.int64()).fill_null(0).to_numpy()[pages] + is_link
    return _delta({
        "fingerprint": link.field("fingerprint"),
        "url": link.field("url"),
        "host": link.field("host").dictionary_encode(),
        "inlinks": pa.array(np.ones(len(pages), np.int32)),
        "inlink_score": pa.array(contribute(score[pages], number[pages], internal, settings.score)),
        "depth": pa.array(np.minimum(depth, np.iinfo(np.int16).max).astype(np.int16)),
        "priority": content["priority"].take(page),
        "metadata": _inherited(content["metadata"], settings.request.inherit_metadata).take(page),
        "discovered_at": content["fetched_at"].take(page),
        "discovered_from": content["fingerprint"].take(page),
    }, len(pages))  # fmt: skip


def _inherited(metadata: pa.ChunkedArray, keys: Sequence[str]) -> pa.ChunkedArray:
    """The metadata cut down to `keys`; null where nothing is left."""
    if not keys:
        return pa.chunked_array([pa.nulls(len(metadata), schema.METADATA)])
    kept = [[item for item in row or [] if item[0] in keys] or None for row in metadata.to_pylist()]
    return pa.chunked_array([pa.array(kept, schema.METADATA)])


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per request, sorted by fingerprint, of tables of schema.DELTA.

    Of several fetches the latest counts. Links add up; the page that is nearest to a seed (then of the lowest
    fingerprint) is `discovered_from`, and its metadata are inherited.
    """
    table = pa.concat_tables(tables).unify_dictionaries()
    if not table.num_rows:
        return table
    depth = table["depth"].cast(pa.int64()).fill_null(np.iinfo(np.int16).max).to_numpy()
    inlinks = table["inlinks"].fill_null(0).to_numpy()
    source = table["discovered_from"].combine_chunks()
    source_prefix = shards.prefixes(shards.key_bytes(source.fill_null(b"\xff" * 20)))
    order = np.lexsort((source_prefix, depth, inlinks == 0))  # links first, the best of them first
    order = order[shards.sort_order(shards.key_bytes(table["fingerprint"])[order])]
    keys = shards.key_bytes(table["fingerprint"])[order]
    starts = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)]))
    linked = inlinks[order[starts]] > 0
    if len(starts) == table.num_rows:
        return table.take(pa.array(order))

    first = pa.array(order[starts])
    link_row = pa.array(order[starts], mask=~linked)
    fetch_row = _latest_fetch(table, order, starts)
    discovered_at = table["discovered_at"].cast(pa.int64()).fill_null(np.iinfo(np.int64).max).to_numpy()[order]
    earliest = np.minimum.reduceat(discovered_at, starts)
    priority = table["priority"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()[order]
    highest = np.maximum.reduceat(priority, starts)
    nearest = np.minimum.reduceat(depth[order], starts)
    passed_on = table["inlink_score"].fill_null(0.0).to_numpy()[order]
    columns: dict[str, Any] = {name: table[name].take(first) for name in _REQUEST}
    columns |= {name: table[name].take(fetch_row) for name in _ANSWER}
    columns |= {
        "inlinks": pa.array(np.add.reduceat(inlinks[order], starts).astype(np.int32), mask=~linked),
        "inlink_score": pa.array(np.add.reduceat(passed_on, starts), mask=~linked),
        "depth": pa.array(nearest, mask=nearest == np.iinfo(np.int16).max),
        "priority": pa.array(highest, mask=highest == np.iinfo(np.int64).min),
        "metadata": table["metadata"].take(first),
        "discovered_at": pa.array(earliest, mask=earliest == np.iinfo(np.int64).max).cast(schema.TIME),
        "discovered_from": table["discovered_from"].take(link_row),
    }
    return _delta(columns, len(starts))


def _latest_fetch(table: pa.Table, order: NDArray[np.int64], starts: NDArray[np.int64]) -> pa.Array:
    """For each group of rows of `order` that begin at `starts`: the row of its latest fetch, or null."""
    fetched = table["outcome"].is_valid().to_numpy()
    when = np.where(fetched, table["fetched_at"].cast(pa.int64()).fill_null(0).to_numpy(), -1)[order]
    latest = np.maximum.reduceat(when, starts)
    lengths = np.diff(np.append(starts, len(order)))
    is_latest = np.flatnonzero((when == np.repeat(latest, lengths)) & (when >= 0))
    group = np.repeat(np.arange(len(starts)), lengths)[is_latest]
    row = np.zeros(len(starts), np.int64)
    row[group[::-1]] = order[is_latest[::-1]]
    return pa.array(row, mask=latest < 0)


def _delta(columns: dict[str, Any], rows: int) -> pa.Table:
    """A table of schema.DELTA; columns that are not given are null."""
    arrays = []
    for field in schema.DELTA:
        column = columns.get(field.name)
        if column is None:
            column = pa.nulls(rows, field.type)
        arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema.DELTA)
