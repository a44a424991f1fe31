"""warc: segments to web archives, and web archives to segments.

export, map: content chunk (robots.txt files of a fetch task, what it left) → WARC files and their CDXJ; no reduce
import, map: WARC file → content chunks, fetchlist file, robots.txt files; no reduce
index, map: WARC file → which request is where in it, for `crawl --replay`; no reduce

A file of an export has the same name and the same bytes whoever writes it, and appears whole: a rerun writes what is
missing. An import is a segment, committed like one of generate's; the same archives make no second one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import hosts as hostdb
from crawldb import schema, shards
from crawldb.errors import ConflictError, Interrupted, UsageError
from crawldb.filesystem import FileSystem, is_uri, resolve
from crawldb.segments import Segment
from crawldb.settings import Policy, Settings
from jobs import control
from jobs.archiving import index, pages, rows
from jobs.archiving.pages import ArchivedPage, ArchivedRobots, Lineage
from jobs.archiving.reading import Broken
from jobs.archiving.records import WarcFile, compressor
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, execute, parser, say
from jobs.fetch import table_of
from jobs.fetching import FetchResult, robots
from jobs.fetching.sending import own_headers, user_agent

_TOLD = 10
"""Broken places of a file that are told one by one."""
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


# -- export --------------------------------------------------------------------------------------------------


class Export(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(item["segment"])
        dataset, name = item["dataset"], item["file"]
        kind = {"content": "", "hosts": "-robots", "fetchlist": "-left"}[dataset]
        number = name[: name.rindex("-")].removeprefix("part-")
        origin = rows.Origin(
            segment.name, f"{segment.name}/{dataset}/{name}", item["generated_at"], **_agent(self.settings)
        )
        export = _Files(self.context, f"{segment.name}-{number}{kind}", origin, self.settings)
        if (done := export.adopted()) is not None:
            yield None, done
            return
        table = segment.read(dataset, name)
        if dataset == "fetchlist":
            fetched = [segment.read("content", one, ["fingerprint"])["fingerprint"] for one in item["content"]]
            keys = [np.empty((0, 20), np.uint8), *map(shards.key_bytes, fetched)]
            sorted_keys = np.concatenate(keys)
            sorted_keys = sorted_keys[shards.sort_order(sorted_keys)]
            left = ~shards.contains(sorted_keys, shards.key_bytes(table["fingerprint"]))
            table = table.take(pa.array(np.flatnonzero(left)))
        progress = self.progress(table.num_rows)
        with export:
            for place, row in enumerate(rows.dicts(table)):
                if control.STOP.is_set():
                    raise Interrupted(15)
                archive = export.archive()
                {"content": archive.page, "hosts": archive.robots, "fetchlist": archive.left}[dataset](place, row)
                progress.update()
            yield None, export.publish()


def _agent(settings: Settings) -> dict[str, Any]:
    """Who asked, as far as the settings tell; an export needs no name."""
    try:
        return {"agent": user_agent(settings), "own": list(own_headers(settings).items())}
    except UsageError:
        return {"agent": "", "own": []}


class _Files:
    """The WARC files of one item, each up to a size."""

    def __init__(self, context: dict[str, Any], stem: str, origin: rows.Origin, settings: Settings) -> None:
        self._fs, self._directory = resolve(context["directory"])
        self._stem, self._origin = stem, origin
        self._gzip, self._max_bytes = context["gzip"], context["max_bytes"]
        self._compress = compressor(settings.warc.compression_level) if self._gzip else None
        self._open = contextlib.ExitStack()
        self._archives: list[rows.Archive] = []
        self._rows = 0

    def _name(self, part: int) -> str:
        return f"{self._stem}-{part:02d}.warc{'.gz' if self._gzip else ''}"

    def adopted(self) -> Record | None:
        """What an earlier attempt finished: the first file is the last one to appear."""
        path = f"{self._directory}/{self._name(0)}"
        if not self._fs.exists(path):
            return None
        there = pages.about(path)
        if there.source != self._origin.source:
            raise UsageError(f"{path}: there is another crawl's archive of this name; export to another directory")
        names = [name for name in self._fs.names(self._directory) if name.startswith(f"{self._stem}-") and
                 name.endswith(".warc.gz" if self._gzip else ".warc")]  # fmt: skip
        size = sum(self._fs.size(f"{self._directory}/{name}") for name in names)
        return {"adopted": {"files": len(names), "bytes": size}}

    def archive(self) -> rows.Archive:
        """Where the next row goes."""
        if not self._archives or self._archives[-1].file.size >= self._max_bytes:
            if self._archives:
                self._archives[-1].file.close()
            part = len(self._archives)
            file = self._open.enter_context(WarcFile(self._fs, f"{self._directory}/{self._name(part)}", self._compress))
            self._archives.append(rows.Archive(file, self._name(part), self._origin))
            self._archives[-1].info(part)
        self._rows += 1
        return self._archives[-1]

    def publish(self) -> Record:
        """Let all files appear, the first one last."""
        for archive in reversed(self._archives):
            text = "".join(f"{line}\n" for line in sorted(archive.lines)).encode()
            with contextlib.suppress(FileExistsError):
                self._fs.create(f"{archive.file.path}.cdxj", text)
            archive.file.publish()
        return {
            "written": {"files": len(self._archives), "bytes": sum(archive.file.size for archive in self._archives),
                        "rows": self._rows, "records": sum(archive.records for archive in self._archives)},
        }  # fmt: skip

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


def export(run: Run, names: list[str], directory: str, gzip: bool, max_bytes: int) -> int:
    """Write segments as archives into a directory."""
    watch = Stopwatch()
    if run.settings.run.runner == "hadoop" and not is_uri(directory):
        raise UsageError(f"-o {directory}: -r hadoop wants a directory that every node sees: hdfs:///… or file:///…")
    if not 1 <= run.settings.warc.compression_level <= 9:
        raise UsageError(f"warc.compression_level = {run.settings.warc.compression_level}: expected 1 to 9")
    segments = [run.segments.find(name) for name in names]
    segments = segments or [one for one in run.segments.committed() if one.is_complete("content")]
    if not segments:
        raise UsageError(f"{run.crawl_dir}: no segment is fetched yet")
    items = [item for segment in segments for item in _export_items(segment)]
    _, path = resolve(directory)
    context = {"directory": path, "gzip": gzip, "max_bytes": max_bytes}
    records = run.job(Export, items, context, "export", "rows") if items else []
    written, adopted = add_up(records, "written"), add_up(records, "adopted")
    before = f", {adopted['files']:,} files were there before" if adopted["files"] else ""
    say(
        f"warc      {len(segments):,} segments: {written['rows']:,} rows in {written['records']:,} records, "
        f"{written['files']:,} files, {written['bytes'] / 1e6:,.1f} MB in {directory}{before} {watch}"
    )
    return 0


def _export_items(segment: Segment) -> Iterator[dict[str, Any]]:
    generated_at = segment.manifest("fetchlist")["committed_at_ms"]
    contents = [file.name for file in segment.files("content")]
    shared = {"segment": segment.name, "generated_at": generated_at}
    for name in contents:
        yield {**shared, "dataset": "content", "file": name}
    for name in segment.files_by_task("hosts").values():
        yield {**shared, "dataset": "hosts", "file": name}
    if segment.manifest("content")["rows"] < segment.manifest("fetchlist")["rows"] or _has_left(segment):
        for task, name in segment.files_by_task("fetchlist").items():
            mine = [one for one in contents if one.startswith(f"part-{task:05d}-")]
            yield {**shared, "dataset": "fetchlist", "file": name, "content": mine}


def _has_left(segment: Segment) -> bool:
    """True if the fetch left requests for a later round."""
    return any(segment.manifest("content")["counts"].get("left", {}).values())


# -- import --------------------------------------------------------------------------------------------------


class Import(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        reader = pages.Reader(item["path"], self.settings)
        progress = self.progress(1)
        learned: list[tuple[Any, ...]] = []
        broken: list[Broken] = []
        number_broken = left = 0
        with _Chunks(segment, item["task"], self.settings) as chunks:
            for found in reader.pages():
                if control.STOP.is_set():
                    raise Interrupted(15)
                if isinstance(found, ArchivedPage):
                    chunks.add(found.result, found.lineage)
                elif isinstance(found, ArchivedRobots):
                    learned.append((*found.known, *_said(found, self.settings)))
                elif isinstance(found, Broken):
                    number_broken += 1
                    broken += [found] if len(broken) < _TOLD else []
                else:
                    left += 1
        hosts = []
        if learned:
            with shards.Writer(segment.fs, segment.part_path("hosts", item["task"]), schema.LEARNED) as writer:
                writer.write(hostdb.learned(learned))
            hosts = [writer.file.to_dict()]
        progress.update()
        yield None, {
            "content": [file.to_dict() for file in chunks.files],
            "fetchlist": [file.to_dict() for file in chunks.fetchlists], "hosts": hosts,
            "outcomes": dict(chunks.outcomes), "bytes": {"content": chunks.content_bytes},
            "read": {"records": reader.records, "skipped": reader.skipped, "broken": number_broken, "left": left,
                     "robots": len(learned)},
            "broken": [f"{item['name']}: offset {one.offset}: {one.why}" for one in broken],
        }  # fmt: skip


def _said(found: ArchivedRobots, settings: Settings) -> tuple[list[str] | None, float | None]:
    """The sitemaps and the Crawl-delay of a robots.txt, as fetch writes them down."""
    known = found.known
    if not known.body:
        return None, found.crawl_delay
    read = robots.read(known.body, known.truncated, settings)
    delay = found.crawl_delay if found.is_own else read.delay
    return robots.sitemap_lines(known.body, known.truncated) or None, delay


@dataclass
class _Chunks:
    """Collects pages and writes them as content chunks and a fetchlist; holds one chunk."""

    segment: Segment
    task: int
    settings: Settings
    files: list[shards.File] = field(default_factory=list)
    fetchlists: list[shards.File] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    content_bytes: int = 0
    _results: list[FetchResult] = field(default_factory=list)
    _lineages: list[Lineage] = field(default_factory=list)
    _bytes: int = 0
    _fetchlist: shards.Writer | None = None

    def add(self, result: FetchResult, lineage: Lineage) -> None:
        self._results.append(result)
        self._lineages.append(lineage)
        self._bytes += len(result.content or b"") + len(result.rendered or b"") + 2000
        self.outcomes[result.outcome.name] += 1
        self.content_bytes += len(result.content or b"")
        fetch = self.settings.fetch
        if len(self._results) >= fetch.chunk_rows or self._bytes >= fetch.chunk_bytes:
            self._write()

    def _write(self) -> None:
        results, lineages = self._results, self._lineages
        self._results, self._lineages, self._bytes = [], [], 0
        if not results:
            return
        results = [_at_row(result, row) for row, result in enumerate(results)]
        fetchlist = fetchlist_of(results, lineages)
        path = self.segment.part_path("content", self.task, len(self.files))
        with shards.Writer(self.segment.fs, path, schema.CONTENT, row_group=len(results)) as writer:
            writer.write(table_of(results, fetchlist))
        self.files.append(writer.file)
        if self._fetchlist is None:
            path = self.segment.part_path("fetchlist", self.task)
            self._fetchlist = shards.Writer(self.segment.fs, path, schema.FETCHLIST)
        self._fetchlist.write(fetchlist)

    def __enter__(self) -> _Chunks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            if self._fetchlist is not None:
                self._fetchlist.abort()
            return
        self._write()
        if self._fetchlist is not None:
            self.fetchlists.append(self._fetchlist.close())


def _at_row(result: FetchResult, row: int) -> FetchResult:
    result.request = result.request._replace(row=row)
    return result


def fetchlist_of(results: Sequence[FetchResult], lineages: Sequence[Lineage]) -> pa.Table:
    """Rows of schema.FETCHLIST for pages that nobody generated."""
    columns: dict[str, Any] = {
        name: [getattr(result.request, name) for result in results]
        for name in ("fingerprint", "url", "method", "headers", "body", "host")
    }
    columns["headers"] = [None if one is None else list(one.items()) for one in columns["headers"]]
    columns |= {name: [getattr(one, name) for one in lineages] for name in Lineage._fields}
    arrays = []
    for one in schema.FETCHLIST:
        values = columns.get(one.name, [None] * len(results))
        if pa.types.is_dictionary(one.type):
            arrays.append(pa.array(values, pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(values, one.type))
    return pa.Table.from_arrays(arrays, schema=schema.FETCHLIST)


@dataclass
class _Source:
    """An archive to import."""

    fs: FileSystem
    path: str
    name: str
    about: pages.About

    @property
    def mark(self) -> list[Any]:
        """What it is known by again."""
        return [os.path.basename(self.path), self.fs.size(self.path)]


def archives(given: Sequence[str]) -> list[str]:
    """The WARC files that paths name, directories searched, as resolved paths. UsageError for one that is not there."""
    found: list[str] = []
    for name in given:
        fs, path = resolve(name)
        if not fs.exists(path):
            raise UsageError(f"{name}: no such file or directory")
        inside = sorted(_warcs_in(fs, path)) if fs.is_directory(path) else [path]
        if not inside:
            raise UsageError(f"{name}: no .warc or .warc.gz in this directory")
        found += inside
    return list(dict.fromkeys(found))


def _warcs_in(fs: FileSystem, directory: str) -> Iterator[str]:
    for name in fs.names(directory):
        path = f"{directory}/{name}"
        if name.endswith((".warc", ".warc.gz")):
            yield path
        elif fs.is_directory(path):
            yield from _warcs_in(fs, path)


def import_(run: Run, given: list[str]) -> int:
    """Make segments of archives: one of all that are not Cobnut's, one for each that Cobnut exported, in their order."""
    groups: dict[str, list[_Source]] = {}
    for path in archives(given):
        fs, path = resolve(path)
        about = pages.about(path)
        groups.setdefault(about.segment or "", []).append(_Source(fs, path, path, about))
    imported = _imported(run)
    for name in sorted(groups):
        sources = groups[name]
        marks = sorted(source.mark for source in sources)
        if (there := next((segment for segment, what in imported if what == marks), None)) is not None:
            say(f"warc      {there}: already imported, nothing to do")
            continue
        _import_group(run, name, sources, marks)
        control.raise_if_interrupted()
    if not run.store.versions():  # so that updatedb has something to go on from
        policy = Policy(run.settings.schedule, run.settings.score)
        with contextlib.suppress(ConflictError):
            run.store.commit_delta(run.store.new(run.settings.store).entry, "import", {}, policy, run.now())
    return 0


def _imported(run: Run) -> list[tuple[str, Any]]:
    """The segments that are imports, and of what."""
    return [
        (segment.name, segment.manifest("content")["counts"].get("imported"))
        for segment in run.segments.committed()
        if segment.is_complete("content")
    ]


def _import_group(run: Run, name: str, sources: list[_Source], marks: list[list[Any]]) -> None:
    watch = Stopwatch()
    # In this order: a segment that is committed meanwhile is noticed.
    number = run.segments.last_number() + 1
    in_flight = run.segments.in_flight(run.store.snapshot().entry.applied if run.store.versions() else ())
    generated_at = min((one.about.generated_at for one in sources if one.about.generated_at), default=run.now())
    began = Segment(run.segments.fs, name).began if name else run.now()
    segment = run.segments.begin(began, number)
    try:
        run.hold_or_fail(segment)
        items = [{"task": task, "path": run.visible_to_tasks(source.path), "name": source.name}
                 for task, source in enumerate(sources)]  # fmt: skip
        records = run.job(Import, items, {"segment": segment.name}, "import", "files")
        files = {dataset: [shards.File.from_dict(file) for record in records for file in record[dataset]]
                 for dataset in ("content", "fetchlist", "hosts")}  # fmt: skip
        totals = {key: dict(add_up(records, key)) for key in ("outcomes", "bytes", "read")}
        segment.commit("hosts", files["hosts"], run.now(), {})
        segment.commit("content", files["content"], run.now(), {**totals, "imported": marks})
        segment.commit("fetchlist", files["fetchlist"], generated_at, {})
        run.segments.commit(segment, number, run.now(), [one.name for one in in_flight])
    except BaseException:
        run.abandon(segment)
        raise
    run.segments.remove_garbage()
    for line in [line for record in records for line in record["broken"]]:
        say(f"warc      {line}")
    read = totals["read"]
    broken = f", {read['broken']:,} broken" if read["broken"] else ""
    say(
        f"warc      {segment.name}: {sum(totals['outcomes'].values()):,} requests of {len(sources):,} files "
        f"({counts(totals['outcomes'])}); {read['records']:,} records, {read['skipped']:,} of them passed over{broken} "
        f"{watch}"
    )


# -- index ---------------------------------------------------------------------------------------------------


class IndexArchives(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        table, broken = index.read_archive(item["path"], self.settings)
        fs, path = resolve(item["index"])
        with contextlib.suppress(ConflictError, FileExistsError), shards.Writer(fs, path, index.INDEX) as writer:
            writer.write(table)
        yield None, {"captures": {"rows": table.num_rows, "broken": len(broken)}}


def write_indexes(run: Run, given: Sequence[str]) -> index.Sessions:
    """Index archives for a replay, those that are not yet, and let the settings name them; when what they hold was
    fetched."""
    watch = Stopwatch()
    found = archives(given)
    if run.settings.run.runner == "hadoop" and any(not is_uri(one) for one in given):
        raise UsageError("--replay: -r hadoop wants archives that every node sees: hdfs:///… or file:///…")
    directory = f"{run.crawl_dir}/replay"
    run.settings.warc.replay, run.settings.warc.replay_index = found, directory
    fs, _ = resolve(directory)
    items = [{"path": path, "index": index.index_path(directory, path, run.settings)} for path in found]
    missing = [item for item in items if not fs.exists(item["index"])]
    if missing:
        records = run.job(IndexArchives, missing, {}, "index", "files")
        captures = add_up(records, "captures")
        broken = f", {captures['broken']:,} broken" if captures["broken"] else ""
        say(f"warc      {len(missing):,} archives indexed: {captures['rows']:,} captures{broken} {watch}")
    return index.sessions(index.load(path, run.settings) for path in found)


# -- the command ---------------------------------------------------------------------------------------------


def _bytes(text: str) -> int:
    """`1GB` in bytes."""
    digits = text.rstrip("BKMGIibkmg").strip()
    unit = text[len(digits) :].strip().upper()
    try:
        size = int(float(digits) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text}: expected a size, such as 1GB") from None
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a size, such as 1GB")
    return size


def main(argv: list[str] | None = None) -> int:
    """`cobnut warc export CRAWL_DIR [SEGMENT…] -o DIR`, `cobnut warc import CRAWL_DIR WARC…`"""
    given = sys.argv[1:] if argv is None else argv
    what = given[0] if given else ""
    if what == "export":
        arguments = parser("warc export", "Write segments as WARC 1.1 files, a CDXJ index beside each.")
        arguments.add_argument("segments", metavar="SEGMENT", nargs="*", help="their names; default: all fetched ones")
        arguments.add_argument("-o", "--output", metavar="DIR", required=True, help="where the archives go")
        arguments.add_argument(
            "--gzip", action=argparse.BooleanOptionalAction, default=True, help="each record a gzip member"
        )
        arguments.add_argument(
            "--max-bytes", metavar="SIZE", type=_bytes, default=10**9, help="a file ends beyond this (default: 1GB)"
        )
        options = arguments.parse_args(given[1:])
        return execute(
            "warc export", options,
            lambda run: export(run, options.segments, options.output, options.gzip, options.max_bytes),
        )  # fmt: skip
    if what == "import":
        arguments = parser("warc import", "Make segments of WARC files, fetched as they are: parse comes next.")
        arguments.add_argument("archives", metavar="WARC", nargs="+", help="files, or directories of them")
        options = arguments.parse_args(given[1:])
        return execute("warc import", options, lambda run: import_(run, options.archives))
    arguments = argparse.ArgumentParser(
        prog="cobnut warc", allow_abbrev=False,
        usage="cobnut warc export CRAWL_DIR [SEGMENT…] -o DIR\n       cobnut warc import CRAWL_DIR WARC…",
        description="Segments to web archives, and web archives to segments; each with --help tells more.",
    )  # fmt: skip
    arguments.add_argument("what", choices=("export", "import"), help="which way")
    arguments.parse_args(given)
    return 2


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["warc", *sys.argv[1:]]))
