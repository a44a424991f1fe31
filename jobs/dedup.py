"""dedup: marks the duplicates among the pages of the crawldb.

Four jobs, of which the second and the third run for near-duplicates only; `crawldb.duplicates` says what they do with
the rows. Between them go files in the directory of the version that dedup hopes to commit.

    Same       map: crawldb shard → pages with content → batches by signature range
               reduce: a range → the marks of what is the same; the pages that stay
    Pairs      map: pages that stay → their simhashes → batches by table and block
               reduce: simhashes that are near to one another
    Near       map: pages that stay and have one of those simhashes
               reduce: all of these → the marks of what is nearly the same
    Mark       map: marks → by crawldb shard; reduce: a shard's marks, where they change something → one delta file
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import duplicates, shards
from crawldb.duplicates import MARKS, PAIRS, Blocks
from crawldb.errors import CobnutError, ConflictError, Interrupted
from crawldb.families import find
from crawldb.settings import Policy
from crawldb.store import LogEntry, Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, execute, parser, say
from jobs.protocol import shard_key

_CLAIMS = "canonical-"
"""What the keys of those pages begin with that name another as their canonical one."""


class DedupJob(CrawlJob):
    """What the four share: the version of the crawldb they read, and their files."""

    @cached_property
    def snapshot(self) -> Snapshot:
        """The crawldb as the command saw it."""
        return Run(self.crawl_dir, self.settings, self.context["control"]).store.snapshot(self.context["version"])

    def write(self, part: int, tables: Iterable[pa.Table], columns: pa.Schema) -> Record:
        """A file for the next job; its name and number of rows."""
        store = self.snapshot.store
        path = store.part_path(self.context["version"] + 1, "dedup", part)
        with shards.Writer(store.fs, path, columns) as writer:
            for table in tables:
                writer.write(table)
        return {"path": path, "rows": writer.file.rows}

    def read(self, file: Record) -> Iterator[pa.Table]:
        """The tables of such a file."""
        reader = shards.Reader(self.snapshot.store.fs, file["path"])
        try:
            for table in reader.tables():
                if control.STOP.is_set():
                    raise Interrupted(15)
                yield table
        finally:
            reader.close()


class Same(DedupJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        snapshot, settings = self.snapshot, self.settings.dedup
        progress = self.progress(snapshot.rows // snapshot.shards)
        for table in snapshot.scan(duplicates.needed(settings), item["shard"]):
            if control.STOP.is_set():
                raise Interrupted(15)
            rows = duplicates.candidates(table, settings)
            for part, mine in duplicates.by_range(rows, self.context["ranges"]):
                yield shard_key(part), mine
            if settings.canonical == "host":
                named = duplicates.claims(rows)
                for shard, mine in shards.split(_keyed(named, "canonical"), snapshot.shards):
                    yield _CLAIMS + shard_key(shard), mine.drop_columns(["fingerprint"])
            progress.update(table.num_rows)

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        rows = pa.concat_tables(batches).combine_chunks()
        if key.startswith(_CLAIMS):
            yield None, {"marks": self._canonical(int(key.removeprefix(_CLAIMS)), rows)}
            return
        marks, staying = duplicates.same(rows)
        record = {"pages": rows.num_rows, "marks": self.write(int(key), [marks], MARKS)}
        if self.settings.dedup.near:
            with_hash = staying.filter(staying["simhash"].is_valid()).drop_columns(["signature"])
            record["staying"] = self.write(int(key), [with_hash], with_hash.schema)
        yield None, record

    def _canonical(self, shard: int, named: pa.Table) -> Record:
        """The marks of pages that name one of a shard's."""
        snapshot, settings = self.snapshot, self.settings.dedup
        named = named.rename_columns({"page": "fingerprint"})
        keys = shards.key_bytes(named["canonical"])
        keys = keys[shards.sort_order(keys)]
        keys = keys[np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])]
        found = [duplicates.candidates(table, settings) for table in snapshot.select(keys, duplicates.needed(settings))]
        marks = [duplicates.by_canonical(named, pages) for pages in found]
        return self.write(shard, marks, MARKS)


def _keyed(rows: pa.Table, column: str) -> pa.Table:
    """The rows with `column` for their fingerprint, by which they are sorted, and their own as `page`."""
    return rows.rename_columns({"fingerprint": "page"}).append_column("fingerprint", rows[column])


class Pairs(DedupJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        for table in self.read(item["staying"]):
            for part, rows in self._blocks().split(table, self.context["ranges"]):
                yield shard_key(part), rows

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        rows = pa.concat_tables(batches).combine_chunks()
        yield None, {"pairs": self.write(int(key), [self._blocks().pairs(rows)], PAIRS)}

    def _blocks(self) -> Blocks:
        return Blocks.for_rows(self.context["rows"], self.settings.dedup.distance)


class Near(DedupJob):
    """See the module."""

    REDUCERS = 1

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        pairs = self._pairs()
        for table in self.read(item["staying"]):
            rows = duplicates.in_pairs(table, pairs)
            if rows.num_rows:
                yield "near", rows

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        rows = pa.concat_tables(batches).combine_chunks()
        yield None, {"marks": self.write(0, [duplicates.near(rows, self._pairs())], MARKS)}

    def _pairs(self) -> pa.Table:
        tables = [table for file in self.context["pairs"] for table in self.read(file)]
        return pa.concat_tables([PAIRS.empty_table(), *tables]).combine_chunks()


class Mark(DedupJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        number = self.snapshot.shards
        for table in self.read(item["marks"]):
            for shard, part in shards.split(shards.sort(table), number):
                yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        marks = pa.concat_tables(batches).combine_chunks()
        delta = duplicates.decide(marks)
        marked = delta.num_rows - delta["duplicate_of"].null_count
        counts = {"marked": marked, "unmarked": delta.num_rows - marked, "duplicates": duplicates.number_of(marks)}
        if not delta.num_rows:
            yield None, {"counts": counts}
            return
        store = self.snapshot.store
        with store.writer(self.context["version"] + 1, "delta", int(key)) as writer:
            writer.write(delta)
        yield None, {"counts": counts, "shard": int(key), "file": writer.file.to_dict()}


def run(run: Run) -> int:
    """Mark the duplicates of the newest version. Doing it again changes nothing."""
    watch = Stopwatch()
    settings = run.settings.dedup
    for name in settings.order:
        find(duplicates.PREFERENCES, name, "dedup.order")
    snapshot = run.store.snapshot()
    context = {"version": snapshot.version, "ranges": snapshot.shards}
    items = [{"shard": shard} for shard in range(snapshot.shards)]
    written: list[Record] = []
    try:
        found = run.job(Same, items, context, "dedup", "rows")
        marks = [record["marks"] for record in found]
        staying = [record["staying"] for record in found if "staying" in record]
        written += [*marks, *staying]
        near = _near(run, staying, context, written) if settings.near else []
        marks = [file for file in [*marks, *near] if file["rows"]]
        made = run.job(Mark, [{"marks": file} for file in marks], context, "dedup", "files") if marks else []
        pages, counts = sum(record.get("pages", 0) for record in found), add_up(made, "counts")
        files = {record["shard"]: shards.File.from_dict(record["file"]) for record in made if "file" in record}
        said = f"{pages:,} pages, {counts['duplicates']:,} duplicates"
        if not files:
            say(f"dedup     {said}; no mark changes {watch}")
            return 0
        policy = Policy(run.settings.schedule, run.settings.score)
        entry: LogEntry = run.store.commit_delta(
            snapshot.entry, "dedup", files, policy, run.now(), statistics={"pages": pages, **counts}
        )
    except (CobnutError, OSError) as error:
        # Who committed first has also removed, as garbage, what went from job to job here.
        beaten = run.store.versions()[-1] > snapshot.version
        if beaten and not isinstance(error, (Interrupted, ConflictError)):
            raise ConflictError(f"{run.crawl_dir}: another writer came first; this dedup changed nothing") from error
        raise
    finally:
        for file in written:  # what a killed command leaves, the next commit of this version removes
            run.store.fs.remove(file["path"])
            run.store.fs.remove_if_empty(file["path"].rpartition("/")[0])
    say(
        f"dedup     {said} ({counts['marked']:,} marked, {counts['unmarked']:,} no longer); "
        f"crawldb version {entry.version} {watch}"
    )
    return 0


def _near(run: Run, staying: list[Record], context: dict[str, Any], written: list[Record]) -> list[Record]:
    """The files with the marks of what is nearly the same."""
    items, rows = [{"staying": file} for file in staying if file["rows"]], sum(file["rows"] for file in staying)
    if not items:
        say("dedup     no page has a simhash: near-duplicates are found among pages parsed with parse.simhash = true")
        return []
    pairs = [record["pairs"] for record in run.job(Pairs, items, {**context, "rows": rows}, "dedup", "files")]
    written += pairs
    if not any(file["rows"] for file in pairs):
        return []
    marks = [record["marks"] for record in run.job(Near, items, {**context, "pairs": pairs}, "dedup", "files")]
    written += marks
    return marks


def main(argv: list[str] | None = None) -> int:
    """`cobnut dedup CRAWL_DIR [--group none|host|domain] [--near] [--order KEY,…]`"""
    arguments = parser(
        "dedup",
        "Mark the duplicates in the crawldb: of pages with the same content the best stays, the others get the status "
        "duplicate and are fetched again only as the schedule says.",
    )
    arguments.add_argument("--group", choices=("none", "host", "domain"), help="compare within these (dedup.group)")
    arguments.add_argument("--near", action="store_true", help="pages of nearly the same text too (dedup.near)")
    arguments.add_argument("--order", metavar="KEY,…", help="which one stays (dedup.order): score,length,https,…")
    options = arguments.parse_args(argv)
    if options.group is not None:
        options.overrides.append(f"dedup.group={options.group}")
    if options.near:
        options.overrides.append("dedup.near=true")
    if options.order is not None:
        options.overrides.append(f"dedup.order={options.order}")
    return execute("dedup", options, run)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["dedup", *sys.argv[1:]]))
