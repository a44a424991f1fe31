"""updatedb: what a segment learned, into the crawldb and the host store.

map: content chunk + parsed chunk → outcomes and outlinks, one row per request → batches by shard
                                  → what the answers tell of their hosts       → batches by shard of the host store
     robots.txt files of a fetch task                                          → likewise, and the files themselves
reduce: a shard's batches, merged → one sorted delta file

The robots.txt files are committed first, then the host store's delta, the crawldb's last. Each log knows the segment,
so whoever repeats an updatedb that was killed between two commits adds nothing to the first stores again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import deltas, robotstxt, schema, shards
from crawldb import hosts as hostdb
from crawldb.errors import CorruptionError, Interrupted
from crawldb.segments import Segment
from crawldb.settings import Policy
from crawldb.store import Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.protocol import shard_key

_HOSTS, _ROBOTS = "hosts-", "robots-"
"""What the keys of the shards of the host store, and of the robots.txt files, begin with."""


class UpdateDb(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        if control.STOP.is_set():
            raise Interrupted(15)
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        if "robots" in item:
            learned = segment.read("hosts", item["robots"])
            if self.context["robots"]:
                for shard, part in shards.split(robotstxt.files_of(learned), self.context["robots"]["shards"]):
                    yield _ROBOTS + shard_key(shard), part
            if self.context["hosts"]:
                yield from self._of_hosts(hostdb.of_robots(learned))
            return
        if "seeds" in item:
            seeds = deltas.of_fetchlist(segment.read("fetchlist", item["seeds"]), self.context["began"])
            for shard, part in shards.split(seeds, self.context["shards"]):
                yield shard_key(shard), part
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
        for prefix, name, store, merge in (
            (_HOSTS, "hosts", run.hosts, hostdb.merge), (_ROBOTS, "robots", run.robots, robotstxt.merge),
        ):  # fmt: skip
            if key.startswith(prefix):
                shard = int(key.removeprefix(prefix))
                with store.writer(self.context[name]["version"], "delta", shard) as writer:
                    writer.write(merge(batches))
                yield None, {"shard": shard, name: writer.file.to_dict()}
                return
        delta = deltas.with_seeds(batches)
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
    snapshot = run.store.snapshot_or_new(run.settings.store)
    if segment.is_applied(snapshot.entry.applied):
        say(f"updatedb  {segment.name}: already applied, nothing to do")
        return 0
    segment.remove_garbage()
    parsed = {file.name.rpartition("-")[0]: file.name for file in segment.files("parsed")}
    items = [
        {"content": file.name, "parsed": parsed[file.name.rpartition("-")[0]]} for file in segment.files("content")
    ]
    others = {"robots": run.robots.snapshot_or_new(run.settings.store),
              "hosts": run.hosts.snapshot_or_new(run.settings.store)}  # fmt: skip
    context: dict[str, Any] = {
        "version": snapshot.version + 1, "shards": snapshot.shards, "segment": segment.name, "began": segment.began,
    }  # fmt: skip
    for name, other in others.items():
        missing = segment.name not in other.entry.applied
        context[name] = {"version": other.version + 1, "shards": other.shards} if missing else None
    if context["robots"] or context["hosts"]:
        items += [{"robots": name} for name in segment.files_by_task("hosts").values()]
    if segment.manifest("fetchlist")["counts"].get("freegen"):
        items += [{"seeds": name} for name in segment.files_by_task("fetchlist").values()]
    records = run.job(UpdateDb, items, context, "updatedb", "chunks") if items else []
    policy = Policy(run.settings.schedule, run.settings.score)
    for name, other in others.items():
        if context[name]:
            _commit_other(run, other, segment, [record for record in records if name in record], name, policy)
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


def _commit_other(run: Run, onto: Snapshot, segment: Segment, records: list[Record], name: str, policy: Policy) -> None:
    files = {record["shard"]: shards.File.from_dict(record[name]) for record in records}
    statistics = {onto.store.kind.rows: sum(file.rows for file in files.values())}
    onto.store.commit_delta(onto.entry, "updatedb", files, policy, run.now(), segment.name, statistics)


def main(argv: list[str] | None = None) -> int:
    """`cobnut updatedb CRAWL_DIR [SEGMENT]`"""
    return segment_command("updatedb", "Put what a segment learned into the crawldb.", run, argv)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["updatedb", *sys.argv[1:]]))
