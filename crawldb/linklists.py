"""Links to and from one URL, as tables for people: what `dump.py --links-to` and `--links-from` show.

Owns where they are looked for. The links to a URL are a range of the link store. The links from a page are in the
parsed chunk that the link store names; where that is gone, other places are searched, and `tell` is told which, for
it takes long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawldb import links, schema, shards
from crawldb.fingerprint import url_fingerprint
from crawldb.segments import Segment, Segments
from crawldb.settings import StoreSettings
from crawldb.store import Snapshot, Store

SHOWN = pa.schema([
    pa.field("url", pa.string()), schema.LINK.field("anchor"), pa.field("rel", pa.string()),
    pa.field("kind", pa.string()), schema.LINK.field("seen_at"), pa.field("fingerprint", schema.FINGERPRINT),
])  # fmt: skip
"""`url` and `fingerprint` are of the link's other end."""

TABLE_COLUMNS = ("url", "anchor", "rel", "kind", "seen_at")
"""What a table shows unless --columns says otherwise."""

Tell = Callable[[str], None]


def to_url(crawl_dir: str, url: str) -> pa.Table:
    """The links to a canonical URL that count, in the order of their sources' fingerprints. UsageError if there is no
    link store."""
    snapshot = Store(crawl_dir, links.LINKDB).snapshot()
    # There is none yet where an invertlinks was killed between its commits.
    sources = Store(crawl_dir, links.SOURCEDB).snapshot_or_new(StoreSettings())
    return _shown(links.to_target(snapshot, sources, url_fingerprint(url)), "source")


def newest(shown: pa.Table, top: int) -> pa.Table:
    """The `top` links that were seen last; of equal ones the first."""
    order = np.argsort(-shown["seen_at"].cast(pa.int64()).to_numpy(), kind="stable")
    return shown.take(pa.array(order[:top]))


def from_url(crawl_dir: str, url: str, tell: Tell) -> pa.Table:
    """The links of a page, by its canonical URL, as it had them when it was last parsed; in its own order but where the
    link store must do."""
    page = url_fingerprint(url)
    store, segments = Store(crawl_dir, links.SOURCEDB), Segments(crawl_dir)
    known = store.snapshot().lookup(page) if store.versions() else schema.SOURCE.empty_table()
    if known.num_rows:
        segment = segments.at(str(known["segment"][0].as_py()))
        name = str(known["file"][0].as_py())
        if segment.fs.exists(f"{segment.dataset('parsed')}/{name}"):
            found = _in_chunk(segment, name, page)
            if found is not None:
                return found
    parsed = [segment for segment in segments.committed() if segment.is_complete("parsed")]
    tell(f"the link store does not say where its links are; looking for it in {len(parsed):,} segments")
    for segment in reversed(parsed):
        for file in segment.files("parsed"):
            keys = shards.key_bytes(segment.read("parsed", file.name, ["fingerprint"])["fingerprint"])
            if (keys == np.frombuffer(page, np.uint8)).all(axis=1).any():
                found = _in_chunk(segment, file.name, page)
                if found is not None:
                    return found
    linkdb = Store(crawl_dir, links.LINKDB)
    if not linkdb.versions():
        return SHOWN.empty_table()
    snapshot = linkdb.snapshot()
    tell(f"no segment on disk has it; looking through all {snapshot.rows:,} links of the link store")
    return _in_store(crawl_dir, snapshot, known, page)


def _in_chunk(segment: Segment, name: str, page: bytes) -> pa.Table | None:
    """The links of a page that a parsed chunk has; None if it says nothing of it."""
    at = segment.read("parsed", name, ["fingerprint", "outlinks"])
    row = at.filter(pc.equal(at["fingerprint"], pa.scalar(page, schema.FINGERPRINT))).combine_chunks()
    if not row.num_rows or row["outlinks"].null_count:
        return None
    link = row["outlinks"].chunk(0).flatten()
    content = next(
        file.name for file in segment.files("content") if file.name.rpartition("-")[0] == name.rpartition("-")[0]
    )
    fetched = segment.read("content", content, ["fingerprint", "fetched_at"])
    seen = fetched.filter(pc.equal(fetched["fingerprint"], pa.scalar(page, schema.FINGERPRINT)))["fetched_at"]
    columns = {name: link.field(name) for name in ("url", "anchor", "rel", "kind", "fingerprint")}
    columns["seen_at"] = seen.combine_chunks().take(pa.array(np.zeros(len(link), np.int64)))
    return pa.table({name: columns[name] for name in SHOWN.names}).cast(SHOWN)


def _in_store(crawl_dir: str, snapshot: Snapshot, known: pa.Table, page: bytes) -> pa.Table:
    """The links of a page, looked for among all."""
    source = pa.scalar(page, schema.FINGERPRINT)
    found = [table.filter(pc.equal(table["source"], source)) for table in snapshot.scan()]
    table = pa.concat_tables(found).unify_dictionaries() if found else schema.LINK.empty_table()
    if known.num_rows:
        table = table.filter(pc.greater_equal(table["seen_at"], known["parsed_at"][0]))
    targets = shards.key_bytes(table["target"])
    order = shards.sort_order(targets)
    requests = Store(crawl_dir).snapshot().select(targets[order], ["fingerprint", "url"])
    urls = {row["fingerprint"]: row["url"] for some in requests for row in some.to_pylist()}
    url = pa.array([urls.get(target) for target in table["target"].to_pylist()], pa.string())
    return _shown(table.append_column("url", url), "target")


def _shown(found: pa.Table, end: str) -> pa.Table:
    columns = {"fingerprint": found[end], **{name: found[name] for name in SHOWN.names if name != "fingerprint"}}
    return pa.table({name: columns[name] for name in SHOWN.names}).cast(SHOWN)
