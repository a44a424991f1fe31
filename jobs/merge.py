"""merge: the stores of several crawls, as a new crawl directory.

map: a range of fingerprints → the rows of all sources, each fingerprint once → new base files; no reduce

What becomes of a request that several crawls have, `crawldb.merging` says. Segments stay where they are, and which of
them were applied is not taken over: a segment's name means something in its own crawl only.

OUT/_merge.json, written first and removed last, names the versions that are merged: after a break-off the same command
goes on with the stores that lack.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import schema, shards, urlfilters
from crawldb.errors import ConflictError, Interrupted, UsageError
from crawldb.filesystem import is_uri, resolve
from crawldb.merging import merged
from crawldb.settings import Settings
from crawldb.store import CRAWLDB, Kind, Snapshot, Store
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import KINDS, Run, Stopwatch, add_common, add_up, counts, execute, say
from jobs.compact import enough_shards

_TOLD = "_merge.json"
_Versions = list[tuple[str, int]]
"""(crawl directory, version) of the sources that have a store."""


class Merge(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        store = run.store_named(self.context["store"])
        sources = [Store(path, store.kind).snapshot(version) for path, version in self.context["sources"]]
        wanted = wanted_by_filters(self.settings) if self.context["filter"] else None
        progress = self.progress(sum(source.rows for source in sources) // self.context["pieces"])
        by_status = np.zeros(len(schema.STATUS_NAMES), np.int64)
        refused = 0

        def rows() -> Iterator[pa.Table]:
            nonlocal refused, by_status
            for table in merged(sources, item["piece"], self.context["pieces"]):
                if control.STOP.is_set():
                    raise Interrupted(15)
                progress.update(table.num_rows)
                if wanted is not None:
                    kept = table.filter(pa.array(wanted(table)))
                    refused += table.num_rows - kept.num_rows
                    table = kept
                if store.kind is CRAWLDB:
                    codes = schema.codes(table["status"], schema.STATUS_NAMES)
                    by_status += np.bincount(codes, minlength=len(by_status))
                yield table

        files = write_base(store, self.context["version"], rows(), self.context["shards"])
        yield None, {
            "files": {shard: file.to_dict() for shard, file in files.items()}, "refused": {"rows": refused},
            "status": dict(zip(schema.STATUS_NAMES.to_pylist(), by_status.tolist(), strict=True)),
        }  # fmt: skip


def write_base(store: Store, version: int, tables: Iterable[pa.Table], number_of_shards: int) -> dict[int, shards.File]:
    """Rows in fingerprint order, as the files of a base."""
    files: dict[int, shards.File] = {}
    writer: shards.Writer | None = None
    current = -1
    try:
        for table in tables:
            for shard, part in shards.split(table, number_of_shards):
                if shard != current or writer is None:
                    if writer:
                        files[current] = writer.close()
                    writer, current = store.writer(version, "base", shard), shard
                writer.write(part)
        if writer:
            files[current] = writer.close()
    except BaseException:
        if writer:
            writer.abort()
        raise
    return files


def wanted_by_filters(settings: Settings) -> Callable[[pa.Table], NDArray[np.bool_]]:
    """What tells which rows of a crawldb the URL filters (filter.use) let pass: seeds as seeds, what was found by links
    as links of a page on the same host."""
    refuse = urlfilters.build(settings)
    columns = urlfilters.certainly_wanted(settings) if set(settings.filter.use) <= {"length", "regex"} else None

    def wanted(table: pa.Table) -> NDArray[np.bool_]:
        passes = np.zeros(table.num_rows, np.bool_)
        urls = table["url"].combine_chunks()
        if columns is not None:
            passes = columns(urls)
        asked = np.flatnonzero(~passes)
        some = table.select(["url", "host", "depth"]).take(pa.array(asked))
        rows = zip(*(some[name].to_pylist() for name in some.column_names), strict=True)
        passes[asked] = [
            refuse(urlfilters.Link(url, host, host if depth else None, depth or 0)) is None for url, host, depth in rows
        ]
        return passes

    return wanted


def run(run: Run, sources: list[str], filtered: bool) -> int:
    """Merge the stores of the crawl directories `sources` into the run's, which must be new."""
    plan = _begin(run, sources, filtered)
    # The crawldb last: a directory that has one is whole.
    for kind in sorted(KINDS.values(), key=lambda kind: kind is CRAWLDB):
        versions: _Versions = [(path, version) for path, version in plan["stores"].get(kind.name, [])]
        store = run.store_named(kind.name)
        if versions and not store.versions():
            _merge(run, store, versions, filtered)
    run.store.fs.remove(f"{_root(run)}/{_TOLD}")
    return 0


def _merge(run: Run, store: Store, versions: _Versions, filtered: bool) -> None:
    watch = Stopwatch()
    snapshots = [Store(path, store.kind).snapshot(version) for path, version in versions]
    pieces = min(snapshot.shards for snapshot in snapshots)
    most = max(snapshot.shards for snapshot in snapshots)
    wanted = enough_shards(sum(snapshot.rows for snapshot in snapshots), most, run.settings.store)
    new = store.new(run.settings.store)
    context = {
        "store": store.kind.name, "sources": versions, "version": new.version + 1, "shards": wanted, "pieces": pieces,
        "filter": filtered and _has_urls(store.kind),
    }  # fmt: skip
    items = [{"piece": piece} for piece in range(pieces)]
    records = run.job(Merge, items, context, "merge", "rows")
    files = {int(shard): shards.File.from_dict(file) for record in records for shard, file in record["files"].items()}
    refused = add_up(records, "refused")["rows"]
    status = add_up(records, "status")
    rows = sum(file.rows for file in files.values())
    statistics: dict[str, Any] = {"merged_from": dict(versions), "refused": refused}
    statistics |= {"status": dict(status)} if store.kind is CRAWLDB else {store.kind.rows: rows}
    store.commit_base(new.entry, wanted, files, run.now(), statistics, kind="merge")
    known = f" ({counts(status)})" if status.total() else ""
    say(
        f"merge     {store.kind.name}: {_rows_of(snapshots)} → {rows:,} {store.kind.rows}{known} in {wanted} shards"
        f"{f', {refused:,} refused by filters' if refused else ''} {watch}"
    )


def _rows_of(snapshots: list[Snapshot]) -> str:
    return " + ".join(f"{snapshot.rows:,}" for snapshot in snapshots)


def _has_urls(kind: Kind) -> bool:
    """Whether the URL filters can be asked about its rows."""
    return {"url", "host", "depth"} <= set(kind.state.names)


def _root(run: Run) -> str:
    return resolve(run.crawl_dir)[1]


def _begin(run: Run, sources: list[str], filtered: bool) -> dict[str, Any]:
    """What is merged: the plan of a call that was broken off, else a new one, written down. UsageError if the directory
    holds anything else."""
    fs, root = resolve(run.crawl_dir)
    paths = [resolve(source)[1] for source in sources]
    for number, (source, path) in enumerate(zip(sources, paths, strict=True)):
        if run.settings.run.runner == "hadoop" and not is_uri(source):
            raise UsageError(f"{source}: -r hadoop wants directories that every node sees: hdfs:///… or file:///…")
        if path == root:
            raise UsageError(f"{source}: is the directory to write to; merge makes a new one")
        if path in paths[:number]:
            raise UsageError(f"{source}: is named twice")
    if fs.exists(root) and not fs.is_directory(root):
        raise UsageError(f"{run.crawl_dir}: a file; merge makes a new directory")
    there = fs.all_names(root)
    if _TOLD in there:
        plan: dict[str, Any] = json.loads(fs.read(f"{root}/{_TOLD}"))
        if plan["sources"] != paths or plan["filter"] != filtered:
            raise UsageError(
                f"{run.crawl_dir}: holds an unfinished merge of {', '.join(plan['sources'])}"
                f"{' with --filter' if plan['filter'] else ''}; finish that by the same command, or remove the directory"
            )
        say("merge     going on with what was broken off")
        return plan
    if any(not name.startswith(f".{_TOLD}.") for name in there):
        raise UsageError(f"{run.crawl_dir}: is not empty; merge writes to a new directory")
    stores: dict[str, _Versions] = {}
    for source, path in zip(sources, paths, strict=True):
        found = {kind.name: versions[-1] for kind in KINDS.values() if (versions := Store(path, kind).versions())}
        if not found:
            raise UsageError(f"{source}: no {' or '.join(KINDS)} here; nothing to merge")
        for name, version in found.items():
            stores.setdefault(name, []).append((path, version))
        _tell_in_flight(Run(path, run.settings, run.control), source)
    plan = {"sources": paths, "filter": filtered, "stores": stores}
    try:
        fs.create(f"{root}/{_TOLD}", json.dumps(plan, indent=1).encode())
    except FileExistsError:
        raise ConflictError(f"{run.crawl_dir}: another merge began at the same moment; nothing was changed") from None
    return plan


def _tell_in_flight(source: Run, name: str) -> None:
    applied = source.store.snapshot().entry.applied if source.store.versions() else ()
    if in_flight := source.segments.in_flight(applied):
        say(f"merge     note: {name}: what {len(in_flight)} segments without updatedb hold is not in its crawldb yet")


def main(argv: list[str] | None = None) -> int:
    """`cobnut merge OUT_CRAWL_DIR CRAWL_DIR…`"""
    arguments = argparse.ArgumentParser(
        prog="cobnut merge", allow_abbrev=False,
        description="Merge the crawldbs of several crawls, and their other stores, into a new crawl directory. Of a "
        "request that several have, the later fetch counts. Segments are not copied.",
    )  # fmt: skip
    arguments.add_argument("crawl_dir", metavar="OUT_CRAWL_DIR", help="a directory that is not there yet, or empty")
    arguments.add_argument("sources", metavar="CRAWL_DIR", nargs="+", help="the crawls to merge; they stay as they are")
    arguments.add_argument("--filter", action="store_true", help="leave out what the URL filters (filter.use) refuse")
    add_common(arguments)
    options = arguments.parse_args(argv)
    return execute("merge", options, lambda run_: run(run_, options.sources, options.filter))


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["merge", *sys.argv[1:]]))
