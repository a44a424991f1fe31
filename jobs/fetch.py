"""fetch: a segment's requests to content.

map: fetchlist file → robots.txt, politeness, HTTP → content chunks, each committed as it fills; no reduce

A killed task loses at most the chunk that was being filled and the one that was being written: whoever fetches the fetchlist file again adopts the
finished chunks and asks for the rest.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import hosts as hostdb
from crawldb import schema, shards
from crawldb.schema import FetchOutcome
from crawldb.segments import Segment
from crawldb.settings import FetchSettings
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.fetching import FetchRequest, FetchResult, robots
from jobs.fetching.contract import KnownRobots
from jobs.fetching.engines import engine as engine_of

_CARRIED = [
    name for name in schema.FETCHLIST.names if name in schema.CONTENT.names and name not in ("etag", "last_modified")
]
"""What a content row takes over from its fetchlist row."""
_COUNTED = ("outcomes", "reasons", "bytes", "left", "robots", "followed", "adopted")
"""The counters of a task's record."""


class Fetch(CrawlJob):
    """See the module."""

    FETCHES = True

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        fetchlist = segment.read("fetchlist", item["file"])
        adopted = Adopted(segment, item["task"])
        waiting = np.flatnonzero(~shards.contains(adopted.fingerprints, shards.key_bytes(fetchlist["fingerprint"])))
        requests = requests_of(fetchlist.take(pa.array(waiting)), waiting)
        progress = self.progress(fetchlist.num_rows)
        progress.update(fetchlist.num_rows - len(waiting))
        chunks = Chunks(segment, item["task"], adopted.next_number, fetchlist, self.settings.fetch)

        def keep(result: FetchResult) -> None:
            chunks.add(result)
            progress.update()

        # What generate found out for this task's hosts stands beside the rules by name, for hosts that it did not know.
        delays = replace(self.settings.hosts, delay=[*self.settings.hosts.delay, *item["delays"]])
        settings = replace(self.settings, hosts=delays)
        engine = engine_of(self.settings)
        with chunks:
            report = engine(requests, settings, keep, control.STOP, known_robots(segment, item["known"]))
        learned = self._learned(segment, item["task"], report.robots)
        yield (
            None,
            {
                "hosts": [file.to_dict() for file in learned],
                "files": [file.to_dict() for file in [*adopted.files, *chunks.files]],
                "outcomes": dict(adopted.outcomes + chunks.outcomes),
                "reasons": dict(chunks.reasons),
                "bytes": {"content": chunks.content_bytes},
                "left": dict(report.left),
                "robots": {"fetched": report.robots_fetched},
                "followed": {"redirects": report.followed},
                "notes": report.notes,
                "adopted": {"pages": int(sum(file.rows for file in adopted.files))},
            },
        )

    def _learned(self, segment: Segment, task: int, learned: list[KnownRobots]) -> list[shards.File]:
        """What was learned of robots.txt files, with the sitemaps and the Crawl-delay of each, as a file for the host
        store."""
        if not learned:
            return []
        rows = [(*known, *self._said(known)) for known in learned]
        with shards.Writer(segment.fs, segment.part_path("hosts", task), schema.LEARNED) as writer:
            writer.write(hostdb.learned(rows))
        return [writer.file]

    def _said(self, known: KnownRobots) -> tuple[list[str] | None, float | None]:
        """The sitemaps and the Crawl-delay of a robots.txt."""
        if not known.body:
            return None, None
        sitemaps = robots.sitemap_lines(known.body, known.truncated)
        return sitemaps or None, robots.read(known.body, known.truncated, self.settings).delay


def known_robots(segment: Segment, name: str | None) -> list[KnownRobots]:
    """What the host store knew of the hosts of a fetch task: the hostlist file `name`, None for nothing."""
    return [KnownRobots(*values) for values in hostdb.known(segment.read("hostlist", name))] if name else []


class Adopted:
    """The chunks that earlier attempts at a fetch task finished: disjoint ones, in the order of their names."""

    def __init__(self, segment: Segment, task: int) -> None:
        self.files: list[shards.File] = []
        self.outcomes: Counter[str] = Counter()
        self.fingerprints = np.empty((0, 20), np.uint8)
        self.next_number = 0
        for name, path in segment.finished_parts("content", f"part-{task:05d}-"):
            chunk = segment.read("content", name, ["fingerprint", "outcome"])
            keys = shards.key_bytes(chunk["fingerprint"])
            self.next_number = max(self.next_number, int(name.split("-")[2]) + 1)
            if shards.contains(self.fingerprints, keys).any():
                continue  # two attempts ran at once: the pages that only this one has are fetched again
            keys = np.concatenate([self.fingerprints, keys])
            self.fingerprints = keys[shards.sort_order(keys)]
            self.files.append(shards.File(name, chunk.num_rows, segment.fs.size(path)))
            codes = schema.codes(chunk["outcome"], schema.OUTCOME_NAMES)
            numbers = np.bincount(codes, minlength=len(FetchOutcome)).tolist()
            self.outcomes.update({outcome.name: numbers[outcome] for outcome in FetchOutcome})


class Chunks:
    """Collects results and commits them as content chunks, closed by rows, bytes or age.

    A thread of its own writes them, so that a slow file system does not hold up the network; while a chunk is being
    written, the next one fills, and no more than that. What is not committed yet is lost if the process is killed, and
    nothing else is.
    """

    def __init__(
        self, segment: Segment, task: int, first_number: int, fetchlist: pa.Table, settings: FetchSettings
    ) -> None:
        self.files: list[shards.File] = []
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.content_bytes = 0
        self._segment, self._task, self._number, self._fetchlist = segment, task, first_number, fetchlist
        self._settings = settings
        self._changed = threading.Condition()
        """Over all that follows."""
        self._results: list[FetchResult] = []
        self._bytes = 0
        self._opened = 0.0
        self._full = False
        self._finished = False
        self._error: BaseException | None = None
        self._writer = threading.Thread(target=self._write_all, name="chunks", daemon=True)

    def add(self, result: FetchResult) -> None:
        """Keep a result; waits while two chunks wait to be written. An error in writing an earlier one is raised here."""
        with self._changed:
            while self._full and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if not self._results:
                self._opened = time.monotonic()
            self._results.append(result)
            self._bytes += len(result.content or b"") + len(result.rendered or b"") + 2000
            if len(self._results) >= self._settings.chunk_rows or self._bytes >= self._settings.chunk_bytes:
                self._full = True
                self._changed.notify_all()

    def _write_all(self) -> None:
        poll = min(1.0, self._settings.chunk_seconds / 4)
        while True:
            with self._changed:
                while not (self._full or self._finished or self._is_old()):
                    self._changed.wait(poll)
                results, self._results, self._bytes, self._full = self._results, [], 0, False
                finished = self._finished
                self._changed.notify_all()
            try:
                self._write(results)
            except BaseException as error:  # raised again in the thread that adds
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            if finished:
                return

    def _is_old(self) -> bool:
        return bool(self._results) and time.monotonic() - self._opened >= self._settings.chunk_seconds

    def _write(self, results: list[FetchResult]) -> None:
        """Commit these results as a chunk."""
        if not results:
            return
        for result in results:
            self.outcomes[result.outcome.name] += 1
            self.content_bytes += len(result.content or b"")
            if result.reason:
                self.reasons[result.reason] += 1
        path = self._segment.part_path("content", self._task, self._number)
        with shards.Writer(self._segment.fs, path, schema.CONTENT, row_group=len(results)) as writer:
            writer.write(table_of(results, self._fetchlist))
        self.files.append(writer.file)
        self._number += 1

    def __enter__(self) -> Chunks:
        self._writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._finished = True
            self._changed.notify_all()
        self._writer.join()
        if self._error is not None and kind is None:
            raise self._error


def requests_of(fetchlist: pa.Table, rows: np.ndarray[Any, Any]) -> list[FetchRequest]:
    """The requests of a fetchlist's rows; `rows` are their places in the whole fetchlist."""
    plain = fetchlist.select(["fingerprint", "url", "method", "headers", "body", "host", "etag", "last_modified"])
    columns = [plain[name].to_pylist() for name in plain.column_names]
    columns[3] = [dict(headers) if headers else None for headers in columns[3]]
    return [FetchRequest(*values) for values in zip(*columns, rows.tolist(), strict=True)]


def table_of(results: list[FetchResult], fetchlist: pa.Table) -> pa.Table:
    """Results as rows of schema.CONTENT, with what their fetchlist rows carry."""
    rows = fetchlist.select(_CARRIED).take(pa.array([result.request.row for result in results]))
    columns: dict[str, Any] = {name: rows[name] for name in _CARRIED}
    if any(result.followed for result in results):
        columns |= _followed(results, rows)
    columns |= {
        "content_bytes": pa.array([None if one.content is None else len(one.content) for one in results], pa.int32()),
        "outcome": schema.from_codes(np.array([result.outcome for result in results], np.int8), schema.OUTCOME_NAMES),
        "response_headers": _header_column([result.response_headers for result in results]),
        "request_headers": _header_column([result.request_headers for result in results]),
    }
    for name in schema.CONTENT.names:
        if name not in columns:
            field = schema.CONTENT.field(name)
            values = [getattr(result, name) for result in results]
            if field.type == pa.binary():
                columns[name] = binary_column(values)
                continue
            dictionary = pa.types.is_dictionary(field.type)
            column = pa.array(
                values, pa.string() if dictionary else pa.int64() if field.type == schema.TIME else field.type
            )
            columns[name] = column.dictionary_encode() if dictionary else column.cast(field.type)
    return pa.table({name: columns[name] for name in schema.CONTENT.names}, schema.CONTENT)


def _header_column(lists: Sequence[list[tuple[str, str]] | None]) -> pa.Array:
    """Header fields as a column of schema.HEADERS."""
    fields = [field for one in lists if one for field in one]
    bounds = np.cumsum([0, *(len(one or ()) for one in lists)])
    names = pa.array([name for name, _ in fields], pa.string())
    values = pa.array([value for _, value in fields], pa.string())
    missing = pa.array([one is None for one in lists]) if None in lists else None
    pairs = pa.StructArray.from_arrays([names, values], fields=list(schema.HEADERS.value_type))
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), pairs, schema.HEADERS, mask=missing)


def _followed(results: list[FetchResult], rows: pa.Table) -> dict[str, pa.Array]:
    """The request's columns where some results are of redirects' targets: those are requests of their own, which have
    only their lineage from the fetchlist row that led to them."""
    followed = np.array([result.followed for result in results])
    columns: dict[str, pa.Array] = {
        "fingerprint": pa.array([result.request.fingerprint for result in results], schema.FINGERPRINT),
        "url": pa.array([result.request.url for result in results], pa.string()),
        "host": pa.array([result.request.host for result in results], pa.string()).dictionary_encode(),
    }
    own = pa.array(np.arange(len(results)), mask=followed)
    return columns | {name: rows[name].take(own) for name in ("method", "headers", "body")}


def binary_column(values: list[bytes | None]) -> pa.Array | pa.ChunkedArray:
    """Bytes as a column: joined at once, for pa.array copies pages twice as its buffer grows."""
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value or b"") for value in values], out=bounds[1:])
    if bounds[-1] > np.iinfo(np.int32).max:  # more than one array of pa.binary() can hold
        return pa.array(values, pa.binary())
    there = None
    if None in values:
        there = pa.array([value is not None for value in values]).buffers()[1]
    buffers = [there, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(b"".join(value or b"" for value in values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def run(run: Run, segment: Segment) -> int:
    """Fetch a segment. If it is fetched already, nothing happens."""
    watch = Stopwatch()
    if segment.is_complete("content"):
        say(f"fetch     {segment.name}: already fetched, nothing to do")
        return 0
    known = segment.files_by_task("hostlist")
    delays = segment.manifest("fetchlist")["counts"].get("delays", {})
    items = [
        {"task": task, "file": name, "known": known.get(task), "delays": delays.get(str(task), [])}
        for task, name in segment.files_by_task("fetchlist").items()
    ]
    records = run.job(Fetch, items, {"segment": segment.name}, "fetch", "pages")
    files = [shards.File.from_dict(file) for record in records for file in record["files"]]
    totals = {key: dict(add_up(records, key)) for key in _COUNTED}
    learned = [shards.File.from_dict(file) for record in records for file in record["hosts"]]
    segment.commit("hosts", learned, run.now(), {})
    segment.commit("content", files, run.now(), totals)
    left = f", left for later: {counts(totals['left'])}" if any(totals["left"].values()) else ""
    again = f", {totals['adopted']['pages']:,} from before" if totals["adopted"]["pages"] else ""
    why = f" [{counts(totals['reasons'])}]" if totals["reasons"] else ""
    requests = sum(file.rows for file in segment.files("fetchlist"))
    followed = totals["followed"]["redirects"]
    if followed:
        again += f", {followed:,} redirects followed"
    for note in dict.fromkeys(note for record in records for note in record["notes"]):
        say(f"fetch     note: {note}")
    say(
        f"fetch     {segment.name}: {sum(totals['outcomes'].values()) - followed:,} of {requests:,} requests{again}: "
        f"{counts(totals['outcomes'])}{why}; {totals['bytes']['content'] / 1e6:,.1f} MB{left}{_planned(segment)} {watch}"
    )
    return 0


def _planned(segment: Segment) -> str:
    """How long generate thought this would take, to stand beside how long it took."""
    plan = segment.manifest("fetchlist")["counts"].get("plan")
    return f"; planned: {plan['seconds']:,.0f} s" if plan else ""


def main(argv: list[str] | None = None) -> int:
    """`cobnut fetch CRAWL_DIR [SEGMENT]`"""
    return segment_command(
        "fetch", "Fetch a segment. Run again after a break-off, it goes on with what is missing.", run, argv
    )


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["fetch", *sys.argv[1:]]))
