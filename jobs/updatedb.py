"""updatedb: what a segment learned, into the crawldb and the host store.

map: content chunk + parsed chunk → outcomes and outlinks, one row per request → batches by shard
                                  → what the answers tell of their hosts       → batches by shard of the host store
     robots.txt files of a fetch task                                          → likewise
reduce: a shard's batches, merged → one sorted delta file

The host store's delta is committed first. Its log knows the segment like the crawldb's does, so whoever repeats an
updatedb that was killed between the two commits adds nothing to the host store again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import deltas, schema, shards
from crawldb import hosts as hostdb
from crawldb.errors import CorruptionError, Interrupted
from crawldb.segments import Segment
from crawldb.settings import Policy
from crawldb.store import Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.protocol import shard_key

_HOSTS = "hosts-"
"""What the keys of the host store's shards begin with."""


class UpdateDb(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        if control.STOP.is_set():
            raise Interrupted(15)
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        if "robots" in item:
            yield from self._of_hosts(hostdb.of_robots(segment.read("hosts", item["robots"])))
            return
        columns = tuple(dict.fromkeys((*deltas.CONTENT_NEEDED, *hostdb.CONTENT_NEEDED)))
        content = segment.read("content", item["content"], columns)
        parsed = segment.read("parsed", item["parsed"], deltas.PARSED_NEEDED)
        if content["fingerprint"] != parsed["fingerprint"]:
            raise CorruptionError(f"{segment.path}: {item['parsed']} does not belong to {item['content']}")
        learned = deltas.from_pages(content, parsed, self.settings)
        for shard, part in shards.split(learned, self.context["shards"]):
            yield shard_key(shard), part
        if self.context["hosts"]:
            yield from self._of_hosts(hostdb.of_content(content, self.context["began"]))

    def _of_hosts(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        for shard, part in shards.split(hostdb.merge([rows]), self.context["hosts"]["shards"]):
            yield _HOSTS + shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        if key.startswith(_HOSTS):
            shard = int(key.removeprefix(_HOSTS))
            with run.hosts.writer(self.context["hosts"]["version"], "delta", shard) as writer:
                writer.write(hostdb.merge(batches))
            yield None, {"shard": shard, "hosts": writer.file.to_dict()}
            return
        delta = deltas.merge(batches)
        with run.store.writer(self.context["version"], "delta", int(key)) as writer:
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
    hosts = run.hosts.snapshot_or_new(run.settings.store)
    context: dict[str, Any] = {
        "version": snapshot.version + 1, "shards": snapshot.shards, "segment": segment.name, "began": segment.began,
        "hosts": None,
    }  # fmt: skip
    if segment.name not in hosts.entry.applied:
        context["hosts"] = {"version": hosts.version + 1, "shards": hosts.shards}
        items += [{"robots": name} for name in segment.files_by_task("hosts").values()]
    records = run.job(UpdateDb, items, context, "updatedb", "chunks") if items else []
    policy = Policy(run.settings.schedule, run.settings.score)
    if context["hosts"]:
        _commit_hosts(run, hosts, segment, [record for record in records if "hosts" in record], policy)
    records = [record for record in records if "file" in record]
    outcomes, links = add_up(records, "outcomes"), add_up(records, "links")
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records}
    statistics: dict[str, Any] = {"outcomes": dict(outcomes), **links}
    entry = run.store.commit_delta(snapshot.entry, "updatedb", files, policy, run.now(), segment.name, statistics)
    say(
        f"updatedb  {segment.name}: {sum(outcomes.values()):,} fetched{f' ({counts(outcomes)})' if outcomes.total() else ''}, "
        f"{links['links']:,} links to {links['requests']:,} requests; crawldb version {entry.version} {watch}"
    )
    return 0


def _commit_hosts(run: Run, onto: Snapshot, segment: Segment, records: list[Record], policy: Policy) -> None:
    files = {record["shard"]: shards.File.from_dict(record["hosts"]) for record in records}
    statistics = {"hosts": sum(file.rows for file in files.values())}
    run.hosts.commit_delta(onto.entry, "updatedb", files, policy, run.now(), segment.name, statistics)


def main(argv: list[str] | None = None) -> int:
    """`cobnut updatedb CRAWL_DIR [SEGMENT]`"""
    return segment_command("updatedb", "Put what a segment learned into the crawldb.", run, argv)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["updatedb", *sys.argv[1:]]))
