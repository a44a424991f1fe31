"""compact: fold the deltas of the crawldb and of the other stores into new bases, and let go of old versions.

map: a range of shards → base + deltas applied → new base files; no reduce
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from crawldb import schema, shards
from crawldb.errors import Interrupted
from crawldb.settings import StoreSettings
from crawldb.store import CRAWLDB, LogEntry, Snapshot, Store
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, counts, execute, parser, say


class Compact(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        store = run.store_named(self.context["store"])
        snapshot = store.snapshot(self.context["version"])
        progress = self.progress(snapshot.rows * (item["last"] - item["first"]) // snapshot.shards)
        by_status = np.zeros(len(schema.STATUS_NAMES), np.int64)
        files: dict[int, dict[str, Any]] = {}
        writer: shards.Writer | None = None
        current = -1
        try:
            for table in snapshot.scan_range(item["first"], item["last"]):
                if control.STOP.is_set():
                    raise Interrupted(15)
                if store.kind is CRAWLDB:
                    codes = schema.codes(table["status"], schema.STATUS_NAMES)
                    by_status += np.bincount(codes, minlength=len(by_status))
                for shard, part in shards.split(table, self.context["shards"]):
                    if shard != current:
                        if writer:
                            files[current] = writer.close().to_dict()
                        writer, current = store.writer(snapshot.version + 1, "base", shard), shard
                    assert writer is not None
                    writer.write(part)
                progress.update(table.num_rows)
            if writer:
                files[current] = writer.close().to_dict()
        except BaseException:
            if writer:
                writer.abort()
            raise
        names = schema.STATUS_NAMES.to_pylist()
        yield None, {"files": files, "statistics": dict(zip(names, by_status.tolist(), strict=True))}


def is_due(entry: LogEntry, settings: StoreSettings) -> bool:
    """True if the deltas exceed their share of the rows, or are too many."""
    delta_rows = sum(delta.rows for delta in entry.deltas)
    all_rows = delta_rows + (entry.base.rows if entry.base else 0)
    grown = delta_rows >= settings.compact_rows and delta_rows > settings.compact_share * all_rows
    return grown or len(entry.deltas) > settings.compact_deltas


def run(run: Run, number_of_shards: int | None = None) -> int:
    """Compact the newest version of the crawldb, whatever its deltas."""
    watch = Stopwatch()
    snapshot = run.store.snapshot()
    before = snapshot.bytes_on_disk
    wanted = number_of_shards or _enough_shards(snapshot.rows, snapshot.shards, run.settings.store)
    files, records = _new_base(run, snapshot, wanted)
    statistics: Counter[str] = Counter()
    for record in records:
        statistics.update(record["statistics"])
    now = run.now()
    entry = run.store.commit_base(snapshot.entry, wanted, files, now, {"status": dict(statistics)})
    expired = run.store.expire(run.settings.store, now)
    after = sum(layer.bytes for layer in entry.layers())
    say(
        f"compact   {sum(statistics.values()):,} requests ({counts(statistics)}) in {wanted} shards, "
        f"{before / 1e6:,.1f} → {after / 1e6:,.1f} MB; crawldb version {entry.version}, {expired} old removed {watch}"
    )
    return 0


def run_other(run: Run, store: Store) -> None:
    """Compact the newest version of a store that is not the crawldb, whatever its deltas; nothing if there is none."""
    watch = Stopwatch()
    snapshot = store.snapshot_or_new(run.settings.store)
    if not snapshot.entry.layers():
        return
    wanted = _enough_shards(snapshot.rows, snapshot.shards, run.settings.store)
    files, _ = _new_base(run, snapshot, wanted)
    number, now = sum(file.rows for file in files.values()), run.now()
    entry = store.commit_base(snapshot.entry, wanted, files, now, {store.kind.rows: number})
    store.expire(run.settings.store, now)
    after = sum(layer.bytes for layer in entry.layers())
    say(f"compact   {number:,} {store.kind.rows}, {snapshot.bytes_on_disk / 1e6:,.1f} → {after / 1e6:,.1f} MB {watch}")


def _new_base(run: Run, snapshot: Snapshot, wanted: int) -> tuple[dict[int, shards.File], list[Record]]:
    """The files, by shard, of a base that holds the state of `snapshot`, and the records of the tasks."""
    pieces = min(snapshot.shards, wanted)
    width = snapshot.shards // pieces
    items = [{"first": piece * width, "last": (piece + 1) * width} for piece in range(pieces)]
    context = {"version": snapshot.version, "shards": wanted, "store": snapshot.store.kind.name}
    records = run.job(Compact, items, context, "compact", "rows")
    files = {int(shard): shards.File.from_dict(file) for record in records for shard, file in record["files"].items()}
    return files, records


def _enough_shards(rows: int, now: int, settings: StoreSettings) -> int:
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
