"""segments merge: several segments as one, of a request that was fetched several times the newest answer.

First job: content chunk → (fingerprint, when, where) by shard → which rows a newer answer supersedes, a file a shard
Second job: some chunks of about the size of one → without those rows, as one chunk of content, parsed and fetchlist

Only segments that are in the crawldb are merged, so what is merged is in it, too (`Segment.is_applied`). All becomes
true at once, with one entry of segments/log: the new segments are there, the old ones are not. What a killed merge
leaves is removed as garbage by whoever makes the next segment, before that entry the new files, after it the old ones.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import refusals, schema, shards
from crawldb.errors import CobnutError, ConflictError, CorruptionError, Interrupted, UsageError
from crawldb.segments import Segment
from crawldb.settings import FetchSettings
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, parser, say
from jobs.protocol import shard_key

_ATTEMPTS = 5
"""How often the merge is made anew because another segment was committed meanwhile."""

_SUPERSEDED = "superseded"
"""The directory, in the new segment's, of what the first job finds out; gone before the segment is committed."""
_PLACE = pa.schema([
    pa.field("fingerprint", schema.FINGERPRINT, nullable=False), pa.field("chunk", pa.int32()), pa.field("row", pa.int32()),
])  # fmt: skip


class Chunk(NamedTuple):
    """A chunk of a segment that is merged."""

    segment: str
    content: str
    parsed: str
    rows: int
    bytes: int


class Supersede(CrawlJob):
    """The first job."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        if control.STOP.is_set():
            raise Interrupted(15)
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        table = run.segments.at(item["segment"]).read("content", item["content"], ["fingerprint", "fetched_at"])
        rows = np.arange(table.num_rows, dtype=np.int32)
        table = table.append_column("chunk", pa.array(np.full(len(rows), item["chunk"], np.int32)))
        table = shards.sort(table.append_column("row", pa.array(rows)))
        for shard, part in shards.split(table, self.context["shards"]):
            yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        table = pa.concat_tables(batches).combine_chunks()
        old = (
            table.take(pa.array(superseded(table)))
            .select(_PLACE.names)
            .sort_by([("chunk", "ascending"), ("row", "ascending")])
        )
        if not old.num_rows:
            return
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        path = run.segments.at(self.context["into"]).part_path(_SUPERSEDED, int(key))
        with shards.Writer(run.segments.fs, path, _PLACE) as writer:
            writer.write(old)
        numbers = Counter(old["chunk"].to_pylist())
        yield None, {"file": writer.file.name, "superseded": {str(chunk): rows for chunk, rows in numbers.items()}}


def superseded(table: pa.Table) -> NDArray[np.int64]:
    """The rows (fingerprint, fetched_at, chunk, row) to which there is a newer one: of the same time, that of a later
    chunk, then of a later row."""
    fetched_at = table["fetched_at"].cast(pa.int64()).fill_null(-1).to_numpy()
    order = np.lexsort((table["row"].to_numpy(), table["chunk"].to_numpy(), fetched_at))
    keys = shards.key_bytes(table["fingerprint"])
    order = order[shards.sort_order(keys[order])]
    ordered = keys[order]
    older = (ordered[1:] == ordered[:-1]).all(axis=1)
    rows: NDArray[np.int64] = order[:-1][older]
    return rows


class Rewrite(CrawlJob):
    """The second job."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        into = run.segments.at(item["into"])
        if "hosts" in item:
            with shards.Writer(into.fs, into.part_path("hosts", 0), schema.HOSTLIST) as writer:
                for segment, name in item["hosts"]:
                    writer.write(run.segments.at(segment).read("hosts", name))
            yield None, {"into": item["into"], "hosts": writer.file.to_dict()}
            return
        content, parsed = [], []
        for part in item["parts"]:
            if control.STOP.is_set():
                raise Interrupted(15)
            segment = run.segments.at(part["segment"])
            answers, pages = segment.read("content", part["content"]), segment.read("parsed", part["parsed"])
            if answers["fingerprint"] != pages["fingerprint"]:
                raise CorruptionError(f"{segment.path}: {part['parsed']} does not belong to {part['content']}")
            kept = self._kept(run, part["chunk"], answers.num_rows)[part["first"] : part["last"]]
            content.append(answers.select(schema.CONTENT.names).take(pa.array(kept)))
            parsed.append(pages.select(schema.PARSED.names).take(pa.array(kept)))
        answers, pages = pa.concat_tables(content).unify_dictionaries(), pa.concat_tables(parsed).unify_dictionaries()
        files = {
            dataset: self._write(into, dataset, item["number"], table)
            for dataset, table in (("content", answers), ("parsed", pages), ("fetchlist", _requests(answers)))
        }
        self.progress(1).update(1)
        yield None, {"into": item["into"], "files": files, **_counted(answers, pages)}

    def _kept(self, run: Run, chunk: int, rows: int) -> NDArray[np.int64]:
        """The rows of a chunk that nothing supersedes, in order."""
        newest = np.ones(rows, np.bool_)
        path = f"{run.segments.at(self.context['into']).path}/{_SUPERSEDED}"
        for name in self.context["superseded"].get(str(chunk), ()):
            reader = shards.Reader(run.segments.fs, f"{path}/{name}", _PLACE)
            try:
                for table in reader.tables(["chunk", "row"]):
                    newest[table["row"].to_numpy()[table["chunk"].to_numpy() == chunk]] = False
            finally:
                reader.close()
        return np.flatnonzero(newest)

    def _write(self, into: Segment, dataset: str, number: int, table: pa.Table) -> dict[str, Any]:
        numbers = (number,) if dataset == "fetchlist" else (number, 0)
        wanted = {"content": schema.CONTENT, "parsed": schema.PARSED, "fetchlist": schema.FETCHLIST}[dataset]
        rows = max(table.num_rows, 1)
        with shards.Writer(into.fs, into.part_path(dataset, *numbers), wanted, row_group=rows) as writer:
            writer.write(table)
        return writer.file.to_dict()


def _requests(answers: pa.Table) -> pa.Table:
    """The fetchlist that these answers would be of."""
    columns = {name: answers[name] for name in schema.FETCHLIST.names if name not in ("etag", "last_modified")}
    columns |= {name: pa.nulls(answers.num_rows, pa.string()) for name in ("etag", "last_modified")}
    return pa.table({name: columns[name] for name in schema.FETCHLIST.names}).cast(schema.FETCHLIST)


def _counted(answers: pa.Table, pages: pa.Table) -> dict[str, Any]:
    def numbers(column: pa.ChunkedArray) -> dict[str, int]:
        counted = column.value_counts().to_pylist()
        return {entry["values"]: entry["counts"] for entry in counted if entry["values"] is not None}

    return {
        "outcomes": numbers(answers["outcome"].cast(pa.string())),
        "reasons": numbers(answers["reason"].cast(pa.string())),
        "bytes": {"content": pc.sum(answers["content_bytes"].cast(pa.int64())).as_py() or 0},
        "parsed": numbers(pages["parse_status"].cast(pa.string())),
        "links": {"kept": len(pages["outlinks"].combine_chunks().flatten())},
    }


# -- the plan ------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """The rows `first` up to, not including, `last` of those that nothing supersedes in a chunk."""

    chunk: int
    first: int
    last: int


def planned(
    chunks: Sequence[Chunk], left: Sequence[int], slice_rows: int, fetch: FetchSettings
) -> list[list[list[Part]]]:
    """The new segments, of at most `slice_rows` rows each (0: one of all), as chunks of parts of the old chunks, in order.

    `left` is how many rows of each chunk stay. A new chunk has about the rows and bytes of a fetched one.
    """
    segments: list[list[list[Part]]] = [[]]
    in_segment = in_chunk = size = 0
    for number, (chunk, rows) in enumerate(zip(chunks, left, strict=True)):
        first = 0
        row_bytes = chunk.bytes / max(chunk.rows, 1)
        while first < rows:
            if slice_rows and in_segment == slice_rows:
                segments.append([])
                in_segment = in_chunk = 0
            fits = rows - first if not slice_rows else min(rows - first, slice_rows - in_segment)
            if not segments[-1] or in_chunk + fits > fetch.chunk_rows or size + fits * row_bytes > fetch.chunk_bytes:
                segments[-1].append([])
                in_chunk = size = 0
            segments[-1][-1].append(Part(number, first, first + fits))
            first, in_segment, in_chunk = first + fits, in_segment + fits, in_chunk + fits
            size += int(fits * row_bytes)
    return segments


def chunks_of(segments: Sequence[Segment]) -> list[Chunk]:
    """The chunks of parsed segments, in order."""
    chunks = []
    for segment in segments:
        parsed = {file.name.rpartition("-")[0]: file for file in segment.files("parsed")}
        for file in segment.files("content"):
            beside = parsed[file.name.rpartition("-")[0]]
            chunks.append(Chunk(segment.name, file.name, beside.name, file.rows, file.bytes + beside.bytes))
    return chunks


def chosen(run: Run, names: Sequence[str]) -> list[Segment]:
    """The segments of these names, or all that are in the crawldb, oldest first. UsageError if one can't be merged."""
    applied = run.store.snapshot().entry.applied
    committed = run.segments.committed()
    known = {segment.name for segment in committed}
    for name in names:
        if name not in known:
            raise UsageError(f"{run.segments.path}: no segment {name}; cobnut segments list shows what there is")
    segments = [one for one in committed if one.name in names or (not names and one.is_applied(applied))]
    for segment in segments:
        if not segment.is_applied(applied):
            raise UsageError(f"{segment.path}: is not in the crawldb yet; run cobnut updatedb first")
    for store in run.other_stores():
        if store.versions():
            there = store.snapshot().entry.applied
            has = [segment.is_applied(there) for segment in segments]
            if any(has) and not all(has):
                lacks = segments[has.index(False)].name
                raise UsageError(
                    f"{run.crawl_dir}: {store.kind.name} has applied some of the segments and not {lacks}; let it have "
                    "all of them first, or merge without that one"
                )
    return segments


# -- the command ---------------------------------------------------------------------------------------------


def merge(run: Run, sources: Sequence[Segment], slice_rows: int) -> list[Segment]:
    """Merge these segments; what they have become. ConflictError if another was committed meanwhile: nothing changed."""
    number = run.segments.last_number() + 1
    now = run.now()
    begun = [run.segments.begin(now, number)]
    try:
        run.hold_or_fail(begun[0])
        chunks = chunks_of(sources)
        items = [{**chunk._asdict(), "chunk": place} for place, chunk in enumerate(chunks)]
        into = begun[0].name
        found = (
            run.job(Supersede, items, {"into": into, "shards": run.store.snapshot().shards}, "merge", "chunks")
            if items
            else []
        )
        by_chunk: dict[str, list[str]] = {}
        for record in found:
            for chunk in record["superseded"]:
                by_chunk.setdefault(chunk, []).append(record["file"])
        old = add_up(found, "superseded")
        left = [chunk.rows - old[str(place)] for place, chunk in enumerate(chunks)]
        plan = planned(chunks, left, slice_rows, run.settings.fetch)
        while len(begun) < len(plan):
            begun.append(run.hold_or_fail(run.segments.begin(now, number)))
        items = [
            {"into": segment.name, "number": place,
             "parts": [{**chunks[part.chunk]._asdict(), **part._asdict()} for part in parts]}
            for segment, of_segment in zip(begun, plan, strict=True) for place, parts in enumerate(of_segment)
        ]  # fmt: skip
        hosts = [(source.name, name) for source in sources for name in source.files_by_task("hosts").values()]
        if hosts:
            items.append({"into": into, "hosts": hosts})
        records = run.job(Rewrite, items, {"into": into, "superseded": by_chunk}, "merge", "chunks") if items else []
        run.segments.fs.remove(f"{begun[0].path}/{_SUPERSEDED}")
        for segment in begun:
            _complete(segment, [record for record in records if record["into"] == segment.name], sources, now,
                      refused=segment is begun[0])  # fmt: skip
        run.segments.commit_merged(begun, number, now, sources)
    except BaseException as error:
        for segment in begun:
            run.abandon(segment)
        # Who committed this number first may also have removed, as garbage, what was being written here.
        beaten = isinstance(error, (CobnutError, OSError)) and run.segments.last_number() >= number
        if beaten and not isinstance(error, (Interrupted, ConflictError)):
            raise ConflictError(
                f"{run.segments.path}: another command committed a segment first; run it again"
            ) from None
        raise
    return begun


def _complete(segment: Segment, records: list[Record], sources: Sequence[Segment], now: int, *, refused: bool) -> None:
    """Commit the datasets of a new segment. `refused`: it is the one that tells of the links which were refused."""
    rewritten = [record for record in records if "files" in record]
    totals = {key: dict(add_up(rewritten, key)) for key in ("outcomes", "reasons", "bytes", "parsed", "links")}
    told = [source.manifest("parsed")["counts"] for source in sources] if refused else []
    by_host = refusals.added(counts.get("refused_by_host", {}) for counts in told)
    counts: dict[str, dict[str, Any]] = {
        "fetchlist": {}, "hostlist": {}, "hosts": {},
        "content": {key: totals[key] for key in ("outcomes", "reasons", "bytes")},
        "parsed": {**{key: totals[key] for key in ("parsed", "links")}, "refused": dict(refusals.by_reason(by_host)),
                   "refused_by_host": refusals.by_host(by_host)},
    }  # fmt: skip
    for dataset, counted in counts.items():
        if dataset == "hosts":
            files = [record["hosts"] for record in records if "hosts" in record]
        else:
            files = [record["files"][dataset] for record in rewritten if dataset in record["files"]]
        merged_from = [source.name for source in sources]
        segment.commit(
            dataset, [shards.File.from_dict(file) for file in files], now, {**counted, "merged_from": merged_from}
        )


def run(run: Run, names: Sequence[str], slice_rows: int = 0) -> int:
    """Merge the segments of these names, or all that are in the crawldb, into one, or several of `slice_rows` rows."""
    watch = Stopwatch()
    run.segments.remove_garbage()
    for attempt in range(_ATTEMPTS):
        sources = chosen(run, names)
        if not sources or (len(sources) == 1 and not slice_rows):
            say(f"segments  {len(sources)} segments to merge: nothing to do")
            return 0
        for source in sources:
            run.hold_or_fail(source)
        try:
            made = merge(run, sources, slice_rows)
            break
        except ConflictError as error:
            if attempt == _ATTEMPTS - 1:
                raise
            say(f"segments  {error}")
    before = sum(file.rows for source in sources for file in source.files("content"))
    for source in sources:
        run.abandon(source)
    run.segments.remove_garbage()
    after = sum(file.rows for segment in made for file in segment.files("content"))
    say(
        f"segments  {len(sources)} segments, {before:,} answers → {', '.join(segment.name for segment in made)}, "
        f"{after:,} answers, {before - after:,} older ones dropped {watch}"
    )
    return 0


def arguments() -> argparse.ArgumentParser:
    """`cobnut segments merge CRAWL_DIR [SEGMENT…] [--slice ROWS]`"""
    made = parser("segments merge", "Make one of several segments that are in the crawldb; of a request that was fetched "
                  "several times, the newest answer.")  # fmt: skip
    made.add_argument(
        "segments", metavar="SEGMENT", nargs="*", help="their names; default: all that are in the crawldb"
    )
    made.add_argument("--slice", metavar="ROWS", type=int, default=0, help="several segments, of so many answers each")
    return made


def run_with(run_: Run, options: argparse.Namespace) -> int:
    """`run` with the command's options."""
    if options.slice < 0:
        raise UsageError(f"--slice {options.slice}: expected a number of answers")
    return run(run_, options.segments, options.slice)
