"""domainstats: how many requests of each host, domain, public suffix or top-level domain have which status.

map: crawldb shard → requests counted by group and value → batches by shard of the groups' fingerprints
reduce: a shard's batches, added up → its counts; with --keep also a delta file of the host store

Nutch's domainstats, crawlcomplete and protocolstats in one. The counts come to this command as columns of its records,
so it holds a row for each group and value, or with --top so many of each shard.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from crawldb import domainstats, formats, schema, shards, where
from crawldb import hosts as hostdb
from crawldb.errors import Interrupted, UsageError
from crawldb.output import write_table
from crawldb.settings import Policy
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, execute, parser, say
from jobs.protocol import shard_key

_SHARDS = 16
"""Of the groups, without --keep: what may be added up at once."""


class DomainStats(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        snapshot = run.store.snapshot(self.context["version"])
        column, text = self.context["column"], self.context["where"]
        condition = where.parse(text, self.context["now"]) if text else None
        wanted = dict.fromkeys(["host", column, *(condition.columns if condition else ())])
        progress = self.progress(snapshot.rows // snapshot.shards)

        def tables() -> Iterator[pa.Table]:
            for table in snapshot.scan([name for name in schema.STATE.names if name in wanted], item["shard"]):
                if control.STOP.is_set():
                    raise Interrupted(15)
                yield condition.filter(table) if condition else table
                progress.update(table.num_rows)

        counts = domainstats.count(tables(), self.context["by"], column)
        groups = counts["group"].combine_chunks().dictionary_encode()
        keys = hostdb.fingerprints(groups.dictionary.to_pylist())
        shard_of = pa.array(shards.shard_of(keys, self.context["shards"])).take(groups.indices).to_numpy()
        for shard in sorted(set(shard_of.tolist())):
            yield shard_key(shard), counts.filter(pa.array(shard_of == shard))

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        counts = domainstats.add_up(list(batches))
        record: Record = {}
        if self.context["keep"] is not None:
            store = Run(self.crawl_dir, self.settings, self.context["control"]).hosts
            with store.writer(self.context["keep"], "delta", int(key)) as writer:
                writer.write(hostdb.merge([hostdb.of_counts(counts, self.context["now"])]))
            record = {"shard": int(key), "file": writer.file.to_dict()}
        yield None, {**record, "counts": domainstats.largest(counts, self.context["top"]).to_pydict()}


def run(run: Run, by: str, column: str = "status", where: str = "", top: int = 0, keep: bool = False) -> pa.Table:
    """The counts, a row a group, the largest first; with `keep` they are in the host store afterwards."""
    watch = Stopwatch()
    snapshot = run.store.snapshot()
    hosts = run.hosts.snapshot_or_new(run.settings.store)
    context = {
        "version": snapshot.version, "by": by, "column": column, "where": where, "top": top, "now": run.now(),
        "shards": hosts.shards if keep else _SHARDS, "keep": hosts.version + 1 if keep else None,
    }  # fmt: skip
    items = [{"shard": shard} for shard in range(snapshot.shards)]
    records = run.job(DomainStats, items, context, "domainstats", "rows")
    if keep:
        files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records}
        number = sum(file.rows for file in files.values())
        policy = Policy(run.settings.schedule, run.settings.score)
        run.hosts.commit_delta(hosts.entry, "domainstats", files, policy, run.now(), statistics={"hosts": number})
        say(f"domainstats  the counts of {number:,} hosts are in the host store {watch}")
    counts = [pa.table(record["counts"], domainstats.COUNTS) for record in records]
    everything = pa.concat_tables([domainstats.COUNTS.empty_table(), *counts])
    return domainstats.as_table(domainstats.largest(everything, top), by, column)


def main(argv: list[str] | None = None) -> int:
    """`cobnut domainstats CRAWL_DIR [--by GROUP] [--count COLUMN] [--where EXPR] [--top N] [--keep]`"""
    arguments = parser(
        "domainstats", "Count the crawldb's requests by host, domain, public suffix or top-level domain, and status."
    )
    add = arguments.add_argument
    add("--by", choices=tuple(domainstats.GROUPS), default="domain",
        help="host, domain (registrable domain, the default), suffix (public suffix) or tld")  # fmt: skip
    add("--count", choices=domainstats.COUNTED, default="status",
        help="what becomes a column each: status (the default), http_status or reason")  # fmt: skip
    add("--where", metavar="EXPR", default="", help="only requests for which this is true, as for dump.py")
    add("--top", metavar="N", type=int, default=0, help="the N with the most requests; default: all")
    add("--format", choices=tuple(formats.FORMATS), default="table", help="default: table")
    add("--keep", action="store_true", help="with --by host: also put the counts by status into the host store, for "
        "dump.py --hosts and generate.host_rules (statuses['unfetched'] > 1000 → …)")  # fmt: skip
    add("-o", dest="output", metavar="FILE", help="write to FILE instead of stdout")
    options = arguments.parse_args(argv)
    if options.top < 0:
        arguments.error(f"--top {options.top}: must be at least 1")

    def counted(run_: Run) -> int:
        if options.keep and (options.by != "host" or options.count != "status" or options.where or options.top):
            raise UsageError("--keep takes all counts by host and status: it goes with --by host alone")
        where.parse(options.where or "true", run_.now())
        table = run(run_, options.by, options.count, options.where, options.top, options.keep)
        write_table(table, options.format, options.output)
        return 0

    return execute("domainstats", options, counted)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["domainstats", *sys.argv[1:]]))
