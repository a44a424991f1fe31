"""updatedb: what a segment learned, into the crawldb.

map: content chunk + parsed chunk → outcomes and outlinks, one row per request → batches by shard
reduce: a shard's batches, merged → one sorted delta file
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import deltas, schema, shards
from crawldb.errors import CorruptionError, Interrupted
from crawldb.segments import Segment
from crawldb.settings import Policy
from crawldb.store import now_ms
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.protocol import shard_key


class UpdateDb(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        if control.STOP.is_set():
            raise Interrupted(15)
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        content = segment.read("content", item["content"], deltas.CONTENT_NEEDED)
        parsed = segment.read("parsed", item["parsed"], deltas.PARSED_NEEDED)
        if content["fingerprint"] != parsed["fingerprint"]:
            raise CorruptionError(f"{segment.path}: {item['parsed']} does not belong to {item['content']}")
        learned = deltas.from_pages(content, parsed, self.settings)
        for shard, part in shards.split(learned, self.context["shards"]):
            yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        delta = deltas.merge(batches)
        with shards.Writer(
            run.store.fs, run.store.part_path(self.context["version"], "delta", int(key)), schema.DELTA
        ) as writer:
            writer.write(delta)
        outcomes = schema.codes(delta["outcome"], schema.OUTCOME_NAMES)
        numbers = np.bincount(outcomes[outcomes >= 0], minlength=len(schema.OUTCOME_NAMES)).tolist()
        yield (
            None,
            {
                "shard": int(key),
                "file": writer.file.to_dict(),
                "outcomes": dict(zip(schema.OUTCOME_NAMES.to_pylist(), numbers, strict=True)),
                "links": {"requests": delta.num_rows - delta["inlinks"].null_count, "links": _sum(delta["inlinks"])},
            },
        )


def _sum(column: pa.ChunkedArray) -> int:
    return int(column.fill_null(0).to_numpy().sum())


def run(run: Run, segment: Segment) -> int:
    """Apply a parsed segment. Applying it again changes nothing."""
    watch = Stopwatch()
    snapshot = run.store.snapshot()
    if segment.name in snapshot.entry.applied:
        say(f"updatedb  {segment.name}: already applied, nothing to do")
        return 0
    segment.remove_garbage()
    parsed = {file.name.rpartition("-")[0]: file.name for file in segment.files("parsed")}
    items = [
        {"content": file.name, "parsed": parsed[file.name.rpartition("-")[0]]} for file in segment.files("content")
    ]
    context = {"version": snapshot.version + 1, "shards": snapshot.shards, "segment": segment.name}
    records = run.job(UpdateDb, items, context, "updatedb", "chunks") if items else []
    outcomes, links = add_up(records, "outcomes"), add_up(records, "links")
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records}
    statistics: dict[str, Any] = {"outcomes": dict(outcomes), **links}
    policy = Policy(run.settings.schedule, run.settings.score)
    entry = run.store.commit_delta(snapshot.entry, "updatedb", files, policy, now_ms(), segment.name, statistics)
    say(
        f"updatedb  {segment.name}: {sum(outcomes.values()):,} fetched{f' ({counts(outcomes)})' if outcomes.total() else ''}, "
        f"{links['links']:,} links to {links['requests']:,} requests; crawldb version {entry.version} {watch}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """`cobnut updatedb CRAWL_DIR [SEGMENT]`"""
    return segment_command("updatedb", "Put what a segment learned into the crawldb.", run, argv)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["updatedb", *sys.argv[1:]]))
