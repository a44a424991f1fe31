"""compact: fold the deltas of the crawldb and of the other stores into new bases, and let go of old versions.

map: a range of shards → base + deltas applied, aged → new base files; no reduce
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crawldb import schema, shards, update
from crawldb.errors import Interrupted
from crawldb.settings import StoreSettings
from crawldb.store import CRAWLDB, LogEntry, Snapshot, Store
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, execute, parser, say


class Compact(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        store = run.store_named(self.context["store"])
        snapshot = store.snapshot(self.context["version"])
        progress = self.progress(snapshot.rows * (item["last"] - item["first"]) // snapshot.shards)
        current_rows = store.kind.kept(self.crawl_dir, self.settings) if store.kind.kept else None
        by_status = np.zeros(len(schema.STATUS_NAMES), np.int64)
        files: dict[int, dict[str, Any]] = {}
        writer: shards.Writer | None = None
        current = -1
        changed: Counter[str] = Counter()
        in_flight = [run.segments.at(name).fingerprints() for name in self.context["in_flight"]]
        try:
            for table in snapshot.scan_range(item["first"], item["last"]):
                if control.STOP.is_set():
                    raise Interrupted(15)
                progress.update(table.num_rows)
                if current_rows:
                    table = current_rows(table)
                if store.kind is CRAWLDB:
                    kept = np.zeros(table.num_rows, np.bool_)
                    for taken in in_flight:
                        kept |= shards.contains(taken, shards.key_bytes(table["fingerprint"]))
                    aged = update.age(table, self.settings.schedule, self.settings.store, self.context["now"], kept)
                    table = aged.state
                    changed.update({"orphaned": aged.orphans, "purged": aged.purged})
                    codes = schema.codes(table["status"], schema.STATUS_NAMES)
                    by_status += np.bincount(codes, minlength=len(by_status))
                for shard, part in shards.split(table, self.context["shards"]):
                    if shard != current:
                        if writer:
                            files[current] = writer.close().to_dict()
                        writer, current = store.writer(snapshot.version + 1, "base", shard), shard
                    assert writer is not None
                    writer.write(part)
            if writer:
                files[current] = writer.close().to_dict()
        except BaseException:
            if writer:
                writer.abort()
            raise
        names = schema.STATUS_NAMES.to_pylist()
        statistics = dict(zip(names, by_status.tolist(), strict=True))
        yield None, {"files": files, "statistics": statistics, "changed": dict(changed)}


def is_due(entry: LogEntry, settings: StoreSettings) -> bool:
    """True if the deltas exceed their share of the rows, or are too many."""
    delta_rows = sum(delta.rows for delta in entry.deltas)
    all_rows = delta_rows + (entry.base.rows if entry.base else 0)
    grown = delta_rows >= settings.compact_rows and delta_rows > settings.compact_share * all_rows
    return grown or len(entry.deltas) > settings.compact_deltas


def run(run: Run, number_of_shards: int | None = None) -> int:
    """Compact the newest version of the crawldb, whatever its deltas; mark its orphans, and purge what is to be."""
    watch, now = Stopwatch(), run.now()
    snapshot = run.store.snapshot()
    before = snapshot.bytes_on_disk
    wanted = number_of_shards or enough_shards(snapshot.rows, snapshot.shards, run.settings.store)
    # What is being fetched stays: its outcome would bring it back without its history.
    purges = run.settings.store.purge_gone or run.settings.store.purge_orphans
    in_flight = run.segments.in_flight(snapshot.entry.applied) if purges else []
    files, records = _new_base(run, snapshot, wanted, now, [segment.name for segment in in_flight])
    statistics: Counter[str] = Counter()
    for record in records:
        statistics.update(record["statistics"])
    changed = add_up(records, "changed")
    entry = run.store.commit_base(snapshot.entry, wanted, files, now, {"status": dict(statistics), **changed})
    expired = run.store.expire(run.settings.store, now)
    after = sum(layer.bytes for layer in entry.layers())
    aged = "".join(f", {number:,} {what}" for what, number in sorted(changed.items()) if number)
    say(
        f"compact   {sum(statistics.values()):,} requests ({counts(statistics)}){aged} in {wanted} shards, "
        f"{before / 1e6:,.1f} → {after / 1e6:,.1f} MB; crawldb version {entry.version}, {expired} old removed {watch}"
    )
    return 0


def run_other(run: Run, store: Store) -> None:
    """Compact the newest version of a store that is not the crawldb, whatever its deltas; nothing if there is none."""
    watch = Stopwatch()
    snapshot = store.snapshot_or_new(run.settings.store)
    if not snapshot.entry.layers():
        return
    wanted = enough_shards(snapshot.rows, snapshot.shards, run.settings.store)
    now = run.now()
    files, _ = _new_base(run, snapshot, wanted, now)
    number = sum(file.rows for file in files.values())
    entry = store.commit_base(snapshot.entry, wanted, files, now, {store.kind.rows: number})
    store.expire(run.settings.store, now)
    after = sum(layer.bytes for layer in entry.layers())
    say(f"compact   {number:,} {store.kind.rows}, {snapshot.bytes_on_disk / 1e6:,.1f} → {after / 1e6:,.1f} MB {watch}")


def _new_base(
    run: Run, snapshot: Snapshot, wanted: int, now: int, in_flight: Sequence[str] = ()
) -> tuple[dict[int, shards.File], list[Record]]:
    """The files, by shard, of a base that holds the state of `snapshot`, and the records of the tasks."""
    pieces = min(snapshot.shards, wanted)
    width = snapshot.shards // pieces
    items = [{"first": piece * width, "last": (piece + 1) * width} for piece in range(pieces)]
    context = {"version": snapshot.version, "shards": wanted, "store": snapshot.store.kind.name,
               "now": now, "in_flight": list(in_flight)}  # fmt: skip
    records = run.job(Compact, items, context, "compact", "rows")
    files = {int(shard): shards.File.from_dict(file) for record in records for shard, file in record["files"].items()}
    return files, records


def enough_shards(rows: int, now: int, settings: StoreSettings) -> int:
    """As many shards as there are, doubled until each has at most `rows_per_shard` rows."""
    while rows > now * settings.rows_per_shard and now < 1 << 16:
        now *= 2
    return now


def main(argv: list[str] | None = None) -> int:
    """`cobnut compact CRAWL_DIR`"""
    arguments = parser(
        "compact",
        "Fold the deltas of the crawldb, and of the other stores, into new bases. The rounds do it by themselves "
        "when it is due.",
    )
    arguments.add_argument("--shards", type=int, metavar="N", help="number of shards from now on, a power of two")
    options = arguments.parse_args(argv)
    if options.shards is not None and (
        options.shards < 1 or options.shards & (options.shards - 1) or options.shards > 65536
    ):
        arguments.error(f"--shards {options.shards}: expected a power of two up to 65536")

    def all_stores(run_: Run) -> int:
        run(run_, options.shards)
        for store in run_.other_stores():
            run_other(run_, store)
        return 0

    return execute("compact", options, all_stores)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["compact", *sys.argv[1:]]))
