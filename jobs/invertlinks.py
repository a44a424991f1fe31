"""invertlinks: what parsed segments say of links, into the link store.

map: content chunk + parsed chunk → a row per link                    → batches by shard of linkdb
                                  → a row per page that was parsed     → batches by shard of sourcedb
reduce: a shard's batches, merged → one sorted delta file

One delta for all segments that are not applied yet; neither store is read. linkdb's is committed first: until
sourcedb's is there, links that pages no longer have still count, and no link is missing. Each log knows the segments,
so whoever repeats a call that was killed between the two commits writes only what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from crawldb import links, shards
from crawldb.errors import CorruptionError, Interrupted
from crawldb.segments import Segment
from crawldb.settings import Policy
from crawldb.store import Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, execute, parser, say
from jobs.protocol import shard_key

_STORES = (links.LINKDB.name, links.SOURCEDB.name)
"""In the order of their commits."""


class InvertLinks(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        if control.STOP.is_set():
            raise Interrupted(15)
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(item["segment"])
        content = segment.read("content", item["content"], links.CONTENT_NEEDED)
        parsed = segment.read("parsed", item["parsed"], links.PARSED_NEEDED)
        if content["fingerprint"] != parsed["fingerprint"]:
            raise CorruptionError(f"{segment.path}: {item['parsed']} does not belong to {item['content']}")
        told = links.of_pages(content, parsed, segment.name, item["parsed"], self.settings.linkdb)
        for store, rows in zip(_STORES, told, strict=True):
            if store in item["stores"]:
                for shard, part in shards.split(rows, self.context[store]["shards"]):
                    yield f"{store}-{shard_key(shard)}", part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        store, _, shard = key.rpartition("-")
        rows = links.merge(batches)
        if store == links.LINKDB.name:
            rows = links.capped(rows, self.settings.linkdb.max_inlinks)
        with run.store_named(store).writer(self.context[store]["version"], "delta", int(shard)) as writer:
            writer.write(rows)
        yield None, {"store": store, "shard": int(shard), "file": writer.file.to_dict()}


def run(run: Run, segments: Sequence[Segment]) -> int:
    """Apply parsed segments to the link store. Applying one again changes nothing."""
    watch = Stopwatch()
    snapshots = {name: run.store_named(name).snapshot_or_new(run.settings.store) for name in _STORES}
    missing = {
        name: [segment.name for segment in segments if not segment.is_applied(snapshot.entry.applied)]
        for name, snapshot in snapshots.items()
    }
    items = [item for segment in segments for item in _chunks(segment, missing)]
    if not any(missing.values()):
        say(f"invertlinks all parsed segments are applied, nothing to do {watch}")
        return 0
    context = {name: {"version": snapshot.version + 1, "shards": snapshot.shards}
               for name, snapshot in snapshots.items()}  # fmt: skip
    records = run.job(InvertLinks, items, context, "invertlinks", "chunks") if items else []
    rows = {name: _commit(run, snapshots[name], name, missing[name], records) for name in _STORES}
    names = sorted({*missing[_STORES[0]], *missing[_STORES[1]]})
    what = names[0] if len(names) == 1 else f"{len(names):,} segments"
    say(f"invertlinks {what}: {rows['linkdb']:,} links of {rows['sourcedb']:,} pages {watch}")
    return 0


def _chunks(segment: Segment, missing: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The work on a segment, for those stores that lack it."""
    stores = [name for name in _STORES if segment.name in missing[name]]
    if not stores:
        return []
    parsed = {file.name.rpartition("-")[0]: file.name for file in segment.files("parsed")}
    return [
        {"segment": segment.name, "content": file.name, "parsed": parsed[file.name.rpartition("-")[0]],
         "stores": stores}
        for file in segment.files("content")
    ]  # fmt: skip


def _commit(run: Run, onto: Snapshot, name: str, segments: list[str], records: list[Record]) -> int:
    """Commit a store's delta; how many rows it has."""
    if not segments:
        return 0
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records if record["store"] == name}
    rows = sum(file.rows for file in files.values())
    policy = Policy(run.settings.schedule, run.settings.score)
    run.store_named(name).commit_delta(
        onto.entry, "invertlinks", files, policy, run.now(), segments[-1], {onto.store.kind.rows: rows}, segments[:-1]
    )
    return rows


def parsed_segments(run: Run) -> list[Segment]:
    """The segments that are parsed and that the link store does not know, oldest first."""
    applied = [set(run.store_named(name).snapshot_or_new(run.settings.store).entry.applied) for name in _STORES]
    return [
        segment for segment in run.segments.committed()
        if segment.is_complete("parsed") and not all(segment.is_applied(names) for names in applied)
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """`cobnut invertlinks CRAWL_DIR [SEGMENT…]`"""
    arguments = parser(
        "invertlinks",
        "Put the links of parsed segments into the link store: which page links to which request. With "
        "linkdb.update, crawl does it at the end of each round.",
    )
    arguments.add_argument(
        "segments", metavar="SEGMENT", nargs="*", help="their names; default: all that it does not know yet"
    )
    options = arguments.parse_args(argv)

    def named_or_new(run_: Run) -> int:
        names = list(dict.fromkeys(options.segments))
        if not run_.segments.committed():
            run_.store.snapshot()  # says what lacks: a mistyped directory is not one with nothing to do
        return run(run_, [run_.segments.find(name) for name in names] if names else parsed_segments(run_))

    return execute("invertlinks", options, named_or_new)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["invertlinks", *sys.argv[1:]]))
