"""The sitemap store: what came of each sitemap when it was last read; and the lists of those to read.

Owns the meaning of schema.SITEMAP's columns, which sitemaps are due again, and how sitemaps are dealt out to tasks so
that a host is asked by one task alone. A row of a delta is a row of the state, and the latest reading counts. What
stands in a sitemap, `listings` knows; nothing is fetched here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import hosts as hostdb
from crawldb import schema, shards
from crawldb.fingerprint import url_fingerprint
from crawldb.listings import authority_of
from crawldb.settings import Policy
from crawldb.store import Kind, Snapshot
from crawldb.urls import canonicalize, host_of, registrable_domain


@dataclass
class Wanted:
    """A sitemap to read."""

    url: str
    """Canonical."""
    authorities: set[str] = field(default_factory=set)
    """Hosts, with port if it is not the scheme's own, that vouch for it: see `listings.Scope`."""
    hops: int = 0
    """Redirects that led there."""
    index: bytes | None = None
    """The fingerprint of the index that names it."""
    fingerprint: bytes = b""

    def __post_init__(self) -> None:
        self.fingerprint = url_fingerprint(self.url)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a commit record."""
        return {"url": self.url, "authorities": sorted(self.authorities), "hops": self.hops,
                "index": self.index.hex() if self.index else None}  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Wanted:
        """The inverse of `to_dict`."""
        index = bytes.fromhex(values["index"]) if values["index"] else None
        return cls(values["url"], set(values["authorities"]), values["hops"], index)


def task_of(url: str, tasks: int) -> int:
    """The task, of so many, that asks for a sitemap: hosts of one registrable domain stay together, for a sitemap often
    redirects to another."""
    return zlib.crc32(registrable_domain(host_of(url)).encode()) % tasks


def named_by_robots(hosts: Snapshot, shard: int) -> Iterator[list[Wanted]]:
    """The sitemaps that robots.txt files of a shard of the host store name; those that are no URLs are left out."""
    for table in hostdb.sitemaps(hosts, shard):
        found = []
        for origin, text in zip(table["origin"].to_pylist(), table["sitemap"].to_pylist(), strict=True):
            url = canonicalize(text, f"{origin}/robots.txt")
            if url is not None:
                found.append(Wanted(url, {authority_of(origin)}))
        if found:
            yield found


def to_table(wanted: Sequence[Wanted]) -> pa.Table:
    """Rows of schema.SITEMAPLIST, one for each authority."""
    rows: list[tuple[Wanted, str | None]] = []
    for one in wanted:
        rows += [(one, authority) for authority in sorted(one.authorities)] or [(one, None)]
    columns: dict[str, list[Any]] = {
        "fingerprint": [one.fingerprint for one, _ in rows],
        "url": [one.url for one, _ in rows],
        "host": [host_of(one.url) for one, _ in rows],
        "authority": [authority for _, authority in rows],
        "hops": [one.hops for one, _ in rows],
        "index": [one.index for one, _ in rows],
    }
    arrays = [
        pa.array(columns[column.name], pa.string()).dictionary_encode()
        if column.type == schema.NAME
        else pa.array(columns[column.name], column.type)
        for column in schema.SITEMAPLIST
    ]
    return pa.Table.from_arrays(arrays, schema=schema.SITEMAPLIST)


def from_table(table: pa.Table) -> list[Wanted]:
    """The inverse of `to_table`: one for each URL, by URL."""
    found: dict[str, Wanted] = {}
    columns = [table[name].to_pylist() for name in ("url", "authority", "hops", "index")]
    for url, authority, hops, index in zip(*columns, strict=True):
        one = found.setdefault(url, Wanted(url, hops=hops, index=index))
        one.hops = min(one.hops, hops)
        if authority is not None:
            one.authorities.add(authority)
    return [found[url] for url in sorted(found)]


def last_readings(snapshot: Snapshot, wanted: Sequence[Wanted]) -> dict[bytes, dict[str, Any]]:
    """What is known of those that were read before, by fingerprint: `read_at` (UTC ms), format, etag, last_modified."""
    if not wanted or not snapshot.entry.layers():
        return {}
    keys = np.frombuffer(b"".join(sorted({one.fingerprint for one in wanted})), np.uint8).reshape(-1, 20)
    known: dict[bytes, dict[str, Any]] = {}
    for table in snapshot.select(keys, ["fingerprint", "read_at", "format", "etag", "last_modified"]):
        table = table.set_column(1, "read_at", table["read_at"].cast(pa.int64()))
        known.update((row.pop("fingerprint"), row) for row in table.to_pylist())
    return known


def read_since(snapshot: Snapshot, time: int) -> NDArray[np.uint8]:
    """The keys, sorted, of the sitemaps that were last read at `time` (UTC milliseconds) or later."""
    found = [np.empty((0, 20), np.uint8)]
    for table in snapshot.scan(["fingerprint", "read_at"]):
        late = table["read_at"].cast(pa.int64()).to_numpy() >= time
        found.append(shards.key_bytes(table["fingerprint"])[late])
    return np.concatenate(found)


def without(wanted: Sequence[Wanted], keys: NDArray[np.uint8]) -> list[Wanted]:
    """Those that are not among `keys` (sorted)."""
    own = np.frombuffer(b"".join(one.fingerprint for one in wanted), np.uint8).reshape(-1, 20)
    return [one for one, known in zip(wanted, shards.contains(keys, own).tolist(), strict=True) if not known]


def readings(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of schema.SITEMAP of dicts of its columns (`read_at` in ms), for `merge`."""
    arrays = []
    for column in schema.SITEMAP:
        values = [row.get(column.name) for row in rows]
        if column.type == schema.NAME:
            arrays.append(pa.array(values, pa.string()).dictionary_encode())
        elif column.type == schema.TIME:
            arrays.append(pa.array(values, pa.int64()).cast(schema.TIME))
        elif pa.types.is_map(column.type):
            arrays.append(pa.array([sorted(value.items()) if value else None for value in values], column.type))
        else:
            arrays.append(pa.array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=schema.SITEMAP)


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per sitemap, sorted, of rows of schema.SITEMAP or some of its columns: the latest reading; of several in
    one millisecond the one that stands last."""
    table = pa.concat_tables(tables).unify_dictionaries()
    if not table.num_rows:
        return table
    keys = shards.key_bytes(table["fingerprint"])
    order = np.argsort(table["read_at"].cast(pa.int64()).to_numpy(), kind="stable")
    order = order[shards.sort_order(keys[order])]
    ordered = keys[order]
    last = np.concatenate([(ordered[1:] != ordered[:-1]).any(axis=1), [True]])
    return table.take(pa.array(order[last]))


def of_reason(table: pa.Table) -> dict[str, int]:
    """How many sitemaps came to what: by reason, those that were read as `read`."""
    counts = pc.value_counts(table["reason"].cast(pa.string()).combine_chunks()).to_pylist()
    return {count["values"] or "read": count["counts"] for count in counts}


def apply_all(state: pa.Table, deltas: Iterable[tuple[pa.Table, Policy]]) -> pa.Table:
    """The state after some commits."""
    return merge([state, *(delta for delta, _ in deltas)])


def needed_of_delta(columns: Sequence[str]) -> list[str]:
    """The delta's columns are the state's."""
    return list(columns)


SITEMAPDB = Kind(
    "sitemapdb", schema.SITEMAP, schema.SITEMAP, ("fingerprint", "read_at"), needed_of_delta, apply_all,
    "sitemaps", "no sitemap was read here yet; cobnut sitemaps does it", shards=1, of_segments=False,
)  # fmt: skip
