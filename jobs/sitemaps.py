"""sitemaps: what sitemaps list, into the crawldb; what came of each sitemap, into the sitemap store.

map: sitemaps of some hosts, whole → robots.txt, politeness, HTTP → entries → filtered, fingerprinted → batches by shard
     a sitemap in a file           → the same
                                   → what came of each sitemap                    → a batch for the sitemap store
                                   → those of an index or behind a redirect       → at once, or another task's
reduce: a shard's batches, merged → one sorted delta file

A host is asked by one task alone. What a task finds that another should ask for (a redirect to another domain, the
sitemaps of an index that lies in a file) is read by a further run of the job over the rest; all runs end in one commit
of the crawldb, and one of the sitemap store after it. Whoever is killed before has committed nothing: the sitemaps are
then read again.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from crawldb import hosts as hostdb
from crawldb import listings, shards
from crawldb import sitemaps as sitemapdb
from crawldb.errors import Interrupted, UsageError
from crawldb.filesystem import is_uri, resolve
from crawldb.listings import Entries, Listings, Scope
from crawldb.schema import SITEMAPLIST, FetchOutcome
from crawldb.settings import Policy, Settings
from crawldb.sitemaps import Wanted
from crawldb.store import Snapshot, Store
from crawldb.urls import canonicalize, host_of
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, execute, parser, say
from jobs.fetching import FetchRequest, FetchResult, user_agent
from jobs.fetching.contract import KnownRobots
from jobs.fetching.engines import engine
from jobs.fetching.in_turns import InTurns
from jobs.parsing.sitemaps import ATOM, INDEX, RSS, SitemapReader
from jobs.protocol import shard_key

_SITEMAPS, _FILES, _FURTHER, _LEFT = "sitemaps", "files", "further", "left"
"""Keys that are no shards."""
_LEFT_SCHEMA = pa.schema([
    ("reasons", pa.list_(pa.string())), ("numbers", pa.list_(pa.int64())), ("notes", pa.list_(pa.string())),
])  # fmt: skip
_PENDING = 50_000
"""Rows that wait to be merged and handed over."""
_MAX_HOPS = 5
"""Redirects in a row that are followed, as for robots.txt."""
_REPORTED = 100
"""Sitemaps told of one by one."""
_ALL = 1 << 62
"""`read_before` that no reading is as late as: every sitemap is read."""
_REDIRECTED = frozenset({FetchOutcome.redir_temp, FetchOutcome.redir_perm})


class Sitemaps(CrawlJob):
    """See the module."""

    FETCHES = True

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        reading = Reading(self.settings, self.context["now"], item.get("task"), self.context["tasks"])
        if "path" in item:
            reading.of_file(item)
        else:
            yield from self._fetched(run, reading, item["list"])
        for key, table in reading.handed_over(everything=True):
            yield from self._by_shard(key, table)

    def _fetched(self, run: Run, reading: Reading, name: str) -> Iterator[tuple[str, pa.Table]]:
        """Fetch and read the sitemaps of a list, and at once those they lead to."""
        known = run.store_named("sitemapdb").snapshot_or_new(self.settings.store)
        wanted = _read_list(run, name)
        last = sitemapdb.last_readings(known, wanted)
        hosts = run.hosts.snapshot_or_new(self.settings.store)
        robots = run.robots.snapshot_or_new(self.settings.store)
        settings = _settings_for_sitemaps(self.settings)
        fetching = InTurns(engine(settings), settings, control.STOP)
        progress = self.progress(len(wanted))
        while wanted:
            reading.seen.update(one.url for one in wanted)
            requests = [self._request(one, row, last) for row, one in enumerate(wanted)]
            for result in fetching.results(requests, self._known_robots(hosts, robots, requests)):
                one = wanted[result.request.row]
                reading.take(one, result, last.get(one.fingerprint))
                progress.update()
                for key, table in reading.handed_over():
                    yield from self._by_shard(key, table)
            if control.STOP.is_set():
                raise Interrupted(15)
            wanted = reading.own_further()
            last = sitemapdb.last_readings(known, wanted)
        left = {"reasons": [list(fetching.left)], "numbers": [list(fetching.left.values())], "notes": [fetching.notes]}
        yield _LEFT, pa.table(left, _LEFT_SCHEMA)

    def _request(self, one: Wanted, row: int, last: dict[bytes, dict[str, Any]]) -> FetchRequest:
        """Conditional where an unchanged sitemap need not be read again: not an index, for what it names may change."""
        known = last.get(one.fingerprint)
        tags = (None, None)
        if self.context["conditional"] and known is not None and known["format"] != INDEX:
            tags = known["etag"], known["last_modified"]
        return FetchRequest(one.fingerprint, one.url, None, None, None, host_of(one.url), *tags, row)

    def _known_robots(self, hosts: Snapshot, robots: Snapshot, requests: Sequence[FetchRequest]) -> list[KnownRobots]:
        since = self.context["now"] - int(min(self.settings.fetch.robots_max_age, 86_400) * 1000)
        names = [request.host for request in requests]
        return [KnownRobots(*values) for values in hostdb.known(hostdb.known_of(hosts, robots, names, since))]

    def _by_shard(self, key: str, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        if key:
            yield key, table
            return
        for shard, part in shards.split(listings.merge([table]), self.context["shards"]):
            yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        if key == _LEFT:
            yield None, _left(batches)
        elif key == _FURTHER:
            for table in batches:
                yield None, {"further": [one.to_dict() for one in sitemapdb.from_table(table)]}
        elif key == _FILES:
            yield None, _told(pa.concat_tables(batches).unify_dictionaries())
        elif key == _SITEMAPS:
            store = run.store_named("sitemapdb")
            version = self.context["sitemapdb"]
            table = sitemapdb.merge([*self._earlier(store, version, key), *batches])
            with store.writer(version, "delta", 0) as writer:
                writer.write(table)
            yield None, {"key": key, "file": writer.file.to_dict(), **_told(table)}
        else:
            table = listings.merge([*self._earlier(run.store, self.context["version"], key), *batches])
            with run.store.writer(self.context["version"], "delta", int(key)) as writer:
                writer.write(table)
            yield None, {"key": key, "file": writer.file.to_dict()}

    def _earlier(self, store: Store, version: int, key: str) -> list[pa.Table]:
        """What the runs before this one wrote of a shard."""
        name = self.context["earlier"].get(key)
        if name is None:
            return []
        reader = shards.Reader(store.fs, f"{store.path}/{version:08d}-delta/{name}", store.kind.delta)
        try:
            return [reader.read().select(store.kind.delta.names)]
        finally:
            reader.close()


def _settings_for_sitemaps(settings: Settings) -> Settings:
    """The settings that an engine fetches sitemaps with: their own limits; what is refused of pages is not of them, and
    redirects are followed here."""
    own = settings.sitemap
    fetch = dataclasses.replace(
        settings.fetch, max_bytes=own.max_bytes, threads=min(settings.fetch.threads, own.connections),
        connections=min(settings.fetch.connections, own.connections), redirects=0, content_types=[], skip_extensions=[],
        engine="curl" if settings.fetch.engine == "browser" else settings.fetch.engine,
    )  # fmt: skip
    return dataclasses.replace(settings, fetch=fetch)


class Reading:
    """What one task reads: rows for the crawldb, what came of each sitemap, and the sitemaps that these lead to."""

    def __init__(self, settings: Settings, now: int, task: int | None, tasks: int) -> None:
        self.seen: set[str] = set()
        """URLs of the sitemaps that this task has asked for."""
        self._settings = settings.sitemap
        self._listings = Listings(settings, now)
        self._now, self._task, self._tasks = now, task, tasks
        self._rows: list[pa.Table] = []
        self._pending = 0
        self._readings: list[dict[str, Any]] = []
        self._files: list[dict[str, Any]] = []
        self._own: dict[str, Wanted] = {}
        self._others: dict[str, Wanted] = {}

    def of_file(self, item: dict[str, Any]) -> None:
        """Read a sitemap that lies in a file; `url` says which it is, None: nobody knows."""
        fs, path = resolve(item["path"])
        with fs.open_input(path) as file:
            content = file.read(self._settings.max_bytes + 1)
        url = item["url"]
        one = Wanted(url or item["name"])
        row = {
            "fingerprint": one.fingerprint,
            "url": one.url,
            "host": host_of(url) if url else "",
            "read_at": self._now,
        }
        truncated = len(content) > self._settings.max_bytes
        scope = Scope.of(url) if url and self._settings.scope else None
        row |= self._read(one, content[: self._settings.max_bytes], None, truncated, scope, url)
        (self._readings if url else self._files).append(row)

    def take(self, one: Wanted, result: FetchResult, last: dict[str, Any] | None) -> None:
        """Read a sitemap that was asked for, or learn why there is none."""
        row: dict[str, Any] = {
            "fingerprint": one.fingerprint, "url": one.url, "host": result.request.host, "read_at": result.fetched_at,
            "http_status": result.http_status, "reason": result.reason or result.outcome.name, "detail": result.detail,
            "index": one.index,
        }  # fmt: skip
        if result.outcome == FetchOutcome.success:
            scope = Scope.of(one.url, one.authorities) if self._settings.scope else None
            kind = next((value for name, value in result.response_headers if name.lower() == "content-type"), None)
            row |= self._read(one, result.content or b"", kind, result.truncated == "bytes", scope, one.url)
            if row["reason"] is None and result.truncated:
                row |= {"reason": "truncated", "detail": f"the answer is cut off ({result.truncated})"}
            if row["reason"] is None:
                row |= {"etag": result.etag, "last_modified": result.last_modified}
        elif result.outcome == FetchOutcome.notmodified and last is not None:
            row |= {"reason": "unchanged", "format": last["format"]}
            row |= {name: getattr(result, name) or last[name] for name in ("etag", "last_modified")}
        elif result.outcome in _REDIRECTED:
            row |= {"reason": "redirected", "detail": result.redirect_to}
            if result.redirect_to is None or one.hops >= _MAX_HOPS:
                row["reason"] = "redirects"
            else:
                self._lead_to(Wanted(result.redirect_to, one.authorities, one.hops + 1, one.index))
        self._readings.append(row)

    def _read(
        self,
        one: Wanted,
        content: bytes,
        content_type: str | None,
        truncated: bool,
        scope: Scope | None,
        url: str | None,
    ) -> dict[str, Any]:
        """Read a sitemap's bytes: what came of it, as columns of schema.SITEMAP."""
        reader = SitemapReader(content, content_type, truncated, self._settings.max_bytes)
        found = listed = 0
        left_out: Counter[str] = Counter()
        for entries in reader:
            room = max(self._settings.max_urls - found, 0)
            found += len(entries.urls)
            left_out["too_many_urls"] += max(len(entries.urls) - room, 0)
            entries = entries.first(room)
            if reader.format == INDEX:
                listed += self._read_index(one, entries, scope, left_out)
            else:
                base = url if reader.format in (RSS, ATOM) else None  # elsewhere a URL must be absolute
                rows = self._listings.rows(entries, one.fingerprint if url else None, scope, left_out, base)
                listed += rows.num_rows
                self._rows.append(rows)
                self._pending += rows.num_rows
        left_out["without_url"] += reader.without_location
        reason, detail = reader.reason, reader.detail
        if reader.format == INDEX and one.index is not None:
            reason, detail = "index_in_index", "an index may not name an index"
        return {
            "reason": reason, "detail": detail, "format": reader.format, "bytes": reader.bytes,
            "entries": found + reader.without_location, "listed": listed, "left_out": +left_out,
        }  # fmt: skip

    def _read_index(self, one: Wanted, entries: Entries, scope: Scope | None, left_out: Counter[str]) -> int:
        """Ask for the sitemaps of an index; how many those are."""
        if one.index is not None:
            left_out["index_in_index"] += len(entries.urls)
            return 0
        listed = 0
        for text in entries.urls:
            url = canonicalize(text) if len(text) < listings.MAX_URL else None
            if url is None:
                left_out["not_a_url" if len(text) < listings.MAX_URL else "too_long"] += 1
            elif scope is not None and not scope.allows(url):
                left_out["out_of_scope"] += 1
            else:
                self._lead_to(Wanted(url, one.authorities, 0, one.fingerprint))
                listed += 1
        return listed

    def _lead_to(self, further: Wanted) -> None:
        if further.url in self.seen:
            return
        mine = self._task is not None and sitemapdb.task_of(further.url, self._tasks) == self._task
        (self._own if mine else self._others).setdefault(further.url, further).authorities.update(further.authorities)

    def own_further(self) -> list[Wanted]:
        """The sitemaps that this task found and is to ask for itself; once."""
        found = [one for url, one in sorted(self._own.items()) if url not in self.seen]
        self._own.clear()
        return found

    def handed_over(self, *, everything: bool = False) -> Iterator[tuple[str, pa.Table]]:
        """What is ready to leave this task: rows under no key, all else under its own."""
        if self._pending >= _PENDING or (everything and self._pending):
            rows, self._rows, self._pending = self._rows, [], 0
            yield "", pa.concat_tables(rows).unify_dictionaries()
        if not everything:
            return
        for key, found in ((_SITEMAPS, self._readings), (_FILES, self._files)):
            if found:
                yield key, sitemapdb.readings(found)
        if self._others:
            yield _FURTHER, sitemapdb.to_table(list(self._others.values()))


def _read_list(run: Run, name: str) -> list[Wanted]:
    reader = shards.Reader(run.store.fs, name, SITEMAPLIST)
    try:
        return sitemapdb.from_table(reader.read())
    finally:
        reader.close()


def _left(batches: Iterable[pa.Table]) -> Record:
    left: Counter[str] = Counter()
    notes: list[str] = []
    for table in batches:
        for row in table.to_pylist():
            left.update(dict(zip(row["reasons"], row["numbers"], strict=True)))
            notes += row["notes"]
    return {"left": dict(left), "notes": list(dict.fromkeys(notes))}


def _told(table: pa.Table) -> Record:
    """What is told of sitemaps: the first of them by line, those with a reason first, and sums of all."""
    left_out: Counter[str] = Counter()
    lines: list[tuple[bool, str]] = []
    listed = 0
    for row in table.select(["url", "reason", "detail", "format", "entries", "listed", "left_out"]).to_pylist():
        left = dict(row["left_out"] or [])
        left_out.update(left)
        lines.append((row["reason"] is None, _line(row, left)))
        listed += 0 if row["format"] == INDEX else row["listed"] or 0  # what an index lists are no pages
    return {
        "sitemaps": table.num_rows, "outcomes": sitemapdb.of_reason(table), "listed": listed,
        "left_out": dict(left_out), "lines": [line for _, line in sorted(lines)[:_REPORTED]],
    }  # fmt: skip


def _line(row: dict[str, Any], left_out: dict[str, int]) -> str:
    said = []
    if row["reason"]:
        said.append(row["reason"] + (f" ({row['detail']})" if row["detail"] else ""))
    if row["format"] and row["entries"] is not None:
        what = "sitemaps" if row["format"] == INDEX else "URLs"
        said.append(f"{row['format']}, {row['listed']:,} of {row['entries']:,} {what}")
    return f"{row['url']}: {'; '.join(said)}" + (f" ({counts(left_out)})" if left_out else "")


# -- the command ---------------------------------------------------------------------------------------------


def run(
    run: Run, files: Sequence[str] = (), url: str | None = None, read_before: int = _ALL, conditional: bool = False
) -> int:
    """Read the sitemaps of files, or without files those that robots.txt files name and that were last read before
    `read_before` (UTC milliseconds; 0: never read). `conditional`: an unchanged one need not be read again."""
    watch = Stopwatch()
    snapshot, store = run.store.snapshot_or_new(run.settings.store), run.store_named("sitemapdb")
    read = store.snapshot_or_new(run.settings.store)
    tasks = run.settings.generate.tasks or run.processes()
    context: dict[str, Any] = {
        "now": run.now(), "tasks": tasks, "version": snapshot.version + 1, "shards": snapshot.shards,
        "sitemapdb": read.version + 1, "earlier": {},
        "conditional": conditional and run.settings.fetch.conditional and not run.settings.schedule.orphan_after,
    }  # fmt: skip
    lists = Lists(run, snapshot.version + 1, tasks)
    written: dict[str, shards.File] = {}
    told: list[Record] = []
    try:
        items = _items_of_files(run, files, url, lists) if files else _items_of_robots(run, lists, read, read_before)
        if not items:
            say(f"sitemaps  {'none is named' if read_before == _ALL else 'none is due'} {watch}")
            return 0
        user_agent(run.settings)  # refuse now rather than in the tasks
        while items:
            records = run.job(Sitemaps, items, context, "sitemaps", "sitemaps")
            if any(record.get("key") == _SITEMAPS for record in records):  # it has what the run before had, too
                told = [record for record in told if record.get("key") != _SITEMAPS]
            told += records
            written |= {record["key"]: shards.File.from_dict(record["file"]) for record in records if "file" in record}
            context["earlier"] = {key: file.name for key, file in written.items()}
            for record in records:
                lists.add([Wanted.from_dict(values) for values in record.get("further", [])])
            items = lists.items()
        _commit(run, snapshot, read, written, told, watch)
    finally:
        lists.remove()
    return 0


def run_due(this: Run) -> int:
    """Read what the setting sitemap.read wants to be read before a round."""
    when = this.settings.sitemap.read
    if when == "never" or not this.hosts.versions():
        return 0
    before = 0 if when == "once" else this.now() - this.settings.sitemap.interval * 1000
    return run(this, read_before=before, conditional=True)


class Lists:
    """The lists of sitemaps that the tasks are to read: one for each, in a file, hosts whole."""

    def __init__(self, run: Run, version: int, tasks: int) -> None:
        self._store, self._version, self._tasks = run.store, version, tasks
        self._writers: dict[int, shards.Writer] = {}
        self._paths: list[str] = []

    def add(self, wanted: Sequence[Wanted]) -> None:
        """Deal them out."""
        mine: dict[int, list[Wanted]] = {}
        for one in wanted:
            mine.setdefault(sitemapdb.task_of(one.url, self._tasks), []).append(one)
        for task, some in mine.items():
            if task not in self._writers:
                path = self._store.part_path(self._version, "sitemaps", task)
                self._writers[task] = shards.Writer(self._store.fs, path, SITEMAPLIST)
                self._paths.append(path)
            self._writers[task].write(sitemapdb.to_table(some))

    def items(self) -> list[dict[str, Any]]:
        """Work items for what was added since the last call."""
        items = []
        for task, writer in sorted(self._writers.items()):
            writer.close()
            path = f"{self._store.path}/{self._version:08d}-sitemaps/{writer.file.name}"
            items.append({"task": task, "list": path})
        self._writers.clear()
        return items

    def remove(self) -> None:
        """Leave nothing; what a kill left, the store removes as garbage when this version was committed."""
        for writer in self._writers.values():
            writer.abort()
        for path in self._paths:
            self._store.fs.remove(path)
        self._store.fs.remove_if_empty(f"{self._store.path}/{self._version:08d}-sitemaps")


def _items_of_robots(run: Run, lists: Lists, read: Snapshot, read_before: int) -> list[dict[str, Any]]:
    hosts = run.hosts.snapshot_or_new(run.settings.store)
    recent = sitemapdb.read_since(read, read_before) if read_before != _ALL else None
    for shard in range(hosts.shards):
        for wanted in sitemapdb.named_by_robots(hosts, shard):
            lists.add(wanted if recent is None else sitemapdb.without(wanted, recent))
    return lists.items()


def _items_of_files(run: Run, files: Sequence[str], url: str | None, lists: Lists) -> list[dict[str, Any]]:
    """A file is a sitemap if `url` says of what URL, or if it begins with `<`; else a list of sitemaps' URLs."""
    base = canonicalize(url) if url is not None else None
    if url is not None and (base is None or len(files) != 1):
        raise UsageError(f"--url {url}: expected one FILE and its http or https URL")
    items: list[dict[str, Any]] = []
    for name in files:
        path = name if is_uri(name) else str(Path(name).absolute())
        fs, place = resolve(path)
        if not fs.exists(place) or fs.is_directory(place):
            raise UsageError(f"{name}: no such file")
        with fs.open_input(place) as file:
            head = file.read(2)
            file.seek(0)
            unzipped = gzip.GzipFile(fileobj=file) if head == b"\x1f\x8b" else file
            try:
                start = unzipped.read(1024)
            except (OSError, EOFError) as error:
                raise UsageError(f"{name}: a broken gzip file: {error}") from None
            is_sitemap = (
                base is not None or start.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] == b"<"
            )
            if is_sitemap:
                items.append({"path": run.visible_to_tasks(path), "name": name, "url": base})
                continue
            file.seek(0)
            lists.add(_listed(name, gzip.GzipFile(fileobj=file) if head == b"\x1f\x8b" else file))
    return [*items, *lists.items()]


def _listed(name: str, file: Any) -> list[Wanted]:
    """The sitemaps of a list of URLs, one a line."""
    found = []
    for number, line in enumerate(file.read().decode("utf-8-sig", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text[0] == "#":
            continue
        url = canonicalize(text)
        if url is None:
            raise UsageError(f"{name}:{number}: {text[:200]}: expected the URL of a sitemap, or a file that is one")
        found.append(Wanted(url))
    return found


def _commit(
    run: Run, snapshot: Snapshot, read: Snapshot, written: dict[str, shards.File], told: list[Record], watch: Stopwatch
) -> None:
    left, outcomes, left_out = (add_up(told, key) for key in ("left", "outcomes", "left_out"))
    listed = sum(record.get("listed", 0) for record in told)
    _tell(told)
    policy = Policy(run.settings.schedule, run.settings.score)
    files = {int(key): file for key, file in written.items() if key != _SITEMAPS}
    statistics = {"sitemaps": dict(outcomes), "listed": listed, "left_out": dict(left_out)}
    version = snapshot.version
    if files:
        version = run.store.commit_delta(
            snapshot.entry, "sitemaps", files, policy, run.now(), statistics=statistics
        ).version
    if _SITEMAPS in written:
        read.store.commit_delta(
            read.entry, "sitemaps", {0: written[_SITEMAPS]}, policy, run.now(), statistics={"sitemaps": dict(outcomes)}
        )
    requests = sum(file.rows for file in files.values())
    say(
        f"sitemaps  {outcomes.total():,} sitemaps{f' ({counts(outcomes)})' if outcomes else ''}, {listed:,} URLs of "
        f"{requests:,} requests{f' (left out: {counts(left_out)})' if left_out else ''}"
        f"{f'; left for later: {counts(left)}' if left.total() else ''}; crawldb version {version} {watch}"
    )


def _tell(told: list[Record]) -> None:
    lines = list(itertools.chain.from_iterable(record.get("lines", []) for record in told))
    for note in dict.fromkeys(note for record in told for note in record.get("notes", [])):
        say(f"sitemaps  note: {note}")
    for line in lines[:_REPORTED]:
        say(f"sitemaps  {line}")
    more = sum(record.get("sitemaps", 0) for record in told) - len(lines[:_REPORTED])
    if more > 0:
        say(f"sitemaps  … and {more:,} more, in sitemapdb/")


def main(argv: list[str] | None = None) -> int:
    """`cobnut sitemaps CRAWL_DIR [--from-robots | FILE…]`"""
    arguments = parser(
        "sitemaps",
        "Put what sitemaps list into the crawldb: those that the robots.txt of known hosts name, or those of files.",
    )
    arguments.add_argument(
        "files", metavar="FILE", nargs="*",
        help="a sitemap (XML, in gzip or not), or a list of sitemaps' URLs, one a line; with --url any sitemap",
    )  # fmt: skip
    arguments.add_argument(
        "--from-robots", action="store_true", help="those that robots.txt files name; so it is without FILE"
    )
    arguments.add_argument(
        "--url", metavar="URL", help="where the sitemap in FILE is from: what it may list depends on that"
    )
    arguments.add_argument(
        "--due", action="store_true", help="only those that were never read, or not for sitemap.interval"
    )
    options: argparse.Namespace = arguments.parse_args(argv)
    if options.files and (options.from_robots or options.due):
        arguments.error("FILE goes without --from-robots and --due")
    if options.url and not options.files:
        arguments.error("--url is of a FILE")

    def read(run_: Run) -> int:
        if not options.files and not run_.hosts.versions():
            run_.store.snapshot()  # says what lacks: a mistyped directory is not one whose hosts name no sitemap
        if options.due:
            return run(run_, read_before=run_.now() - run_.settings.sitemap.interval * 1000, conditional=True)
        return run(run_, options.files, options.url)

    return execute("sitemaps", options, read)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["sitemaps", *sys.argv[1:]]))
