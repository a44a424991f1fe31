"""A store on disk, the crawldb or another `Kind`: a log of commits over base and delta files.

Owns what counts: a version of a store is what `log/NNNNNNNN.json` says it is, and nothing else. Owns commits,
snapshots, retention and the removal of what crashed writers left. What the crawldb's columns mean is `update`'s
business, what the host store's do `hosts`'s, how a file is laid out `shards`'s.

    crawldb/log/00000007.json          one file per commit: the whole list of files of that version
    crawldb/00000003-base/part-…       the state of every request as of version 3
    crawldb/00000004-delta/part-…      what commit 4 learned; the state is the base with the deltas applied in order

A writer puts its files into a directory that carries the version it hopes to commit, under names nobody else uses,
and then creates the log entry, which fails if another writer was faster. So a directory numbered up to the newest
version holds committed files or garbage, never the work of a writer that may still win; that is what makes
removing garbage safe without locks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import merging, schema, shards, update
from crawldb.errors import ConflictError, CorruptionError, UsageError
from crawldb.filesystem import resolve
from crawldb.settings import Policy, Settings, StoreSettings
from crawldb.shards import Cursor, Reader


@dataclass(frozen=True)
class Layer:
    """The files of one base or delta: by shard, at most one each."""

    version: int
    """The commit that brought it."""
    kind: str
    """`base`, or the command that wrote the delta: inject, updatedb, …"""
    directory: str
    files: dict[int, shards.File]
    policy: Policy = field(default_factory=Policy)
    """The settings that `apply` uses for this delta, as they were at the commit."""

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files.values())

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a log entry."""
        return {"version": self.version, "kind": self.kind, "directory": self.directory, "rows": self.rows,
                "policy": self.policy.to_dict(),
                "files": {str(shard): file.to_dict() for shard, file in sorted(self.files.items())}}  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Layer:
        """The inverse of `to_dict`."""
        files = {int(shard): shards.File.from_dict(file) for shard, file in values["files"].items()}
        return cls(values["version"], values["kind"], values["directory"], files, Policy.from_dict(values["policy"]))


@dataclass(frozen=True)
class Kind:
    """What sets one store of a crawl directory apart from another."""

    name: str
    """Its directory."""
    state: pa.Schema
    delta: pa.Schema
    deciding: tuple[str, ...]
    """The state's columns that `apply_all` always needs."""
    needed_of_delta: Callable[[Sequence[str]], list[str]]
    """The delta's columns that `apply_all` needs to compute these of the state."""
    apply_all: Callable[[pa.Table, Iterable[tuple[pa.Table, Policy]]], pa.Table]
    """The state after some deltas, in their order. Tables are sorted by fingerprint, each once; so is the result."""
    rows: str
    """What its rows are."""
    missing: str
    """What is said where there is none."""
    row_group: int = shards.ROW_GROUP
    shards: int = 0
    """Of a new store; 0: store.shards."""
    kept: Callable[[str, Settings], Callable[[pa.Table], pa.Table]] | None = None
    """(crawl directory, settings) → what compaction leaves of the state's tables, given in order; None: all."""
    of_segments: bool = True
    """Whether its rows come from segments, so that its log names those that it has applied."""
    merge: Callable[[Iterable[pa.Table]], pa.Table] | None = None
    """One row per fingerprint, sorted, of rows of several stores' states. None: as `apply_all` takes a delta, for kinds
    whose deltas are states of their own."""

    def merged(self, states: Sequence[pa.Table]) -> pa.Table:
        """The states of several stores of this kind (sorted, each fingerprint once) as one."""
        if len(states) == 1:
            return states[0]
        if self.merge is not None:
            return self.merge(states)
        return self.apply_all(states[0], [(state, Policy()) for state in states[1:]])


CRAWLDB = Kind(
    "crawldb", schema.STATE, schema.DELTA, update.DECIDING, update.needed_of_delta, update.apply_all,
    "requests", "no crawldb here; inject seeds first (crawl.sh -s SEEDS CRAWL_DIR ROUNDS)", merge=merging.merge,
)  # fmt: skip


@dataclass(frozen=True)
class LogEntry:
    """One version of a store: all it consists of, and what brought it."""

    version: int
    kind: str
    committed_at: int
    """UTC milliseconds."""
    shards: int
    base: Layer | None
    deltas: tuple[Layer, ...]
    segment: str | None = None
    """The segment that this commit applied."""
    applied: tuple[str, ...] = ()
    """All segments applied so far, this one included."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """What the commit brought (inject, updatedb) or the whole state by status (compact)."""

    def layers(self) -> list[Layer]:
        """Base and deltas, oldest first."""
        return [*([self.base] if self.base else []), *self.deltas]

    def to_json(self) -> bytes:
        """As it stands in the log."""
        return json.dumps({
            "version": self.version, "kind": self.kind, "schema_version": schema.SCHEMA_VERSION,
            "committed_at": datetime.fromtimestamp(self.committed_at / 1000, timezone.utc).isoformat(),
            "committed_at_ms": self.committed_at,
            "shards": self.shards, "segment": self.segment, "statistics": self.statistics,
            "base": self.base.to_dict() if self.base else None, "deltas": [delta.to_dict() for delta in self.deltas],
            "applied": list(self.applied),
        }, indent=1).encode()  # fmt: skip

    @classmethod
    def from_json(cls, text: bytes, path: str) -> LogEntry:
        """The inverse of `to_json`; CorruptionError names `path`."""
        try:
            values = json.loads(text)
            if values["schema_version"] > schema.SCHEMA_VERSION:
                raise CorruptionError(
                    f"{path}: schema version {values['schema_version']} is newer than this program's "
                    f"{schema.SCHEMA_VERSION}; install a newer cobnut"
                )
            return cls(
                values["version"], values["kind"], values["committed_at_ms"], values["shards"],
                Layer.from_dict(values["base"]) if values["base"] else None,
                tuple(Layer.from_dict(delta) for delta in values["deltas"]),
                values["segment"], tuple(values["applied"]), values["statistics"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptionError(f"{path}: not a log entry: {error!r}") from None


class Store:
    """A crawl directory's crawldb, or its store of another kind.

    >>> snapshot = Store("/crawl").snapshot()            # doctest: +SKIP
    >>> for table in snapshot.scan(["url", "status"]):   # doctest: +SKIP
    ...     print(table.num_rows)
    """

    def __init__(self, crawl_dir: str, kind: Kind = CRAWLDB) -> None:
        self.crawl_dir = crawl_dir
        self.kind = kind
        self.fs, self.path = resolve(crawl_dir)
        self.path += f"/{kind.name}"

    def versions(self) -> list[int]:
        """The versions in the log, oldest first."""
        names = self.fs.names(f"{self.path}/log")
        return [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()]

    def snapshot(self, as_of: int | None = None) -> Snapshot:
        """The newest version, or version `as_of`. UsageError where there is none."""
        versions = self.versions()
        if not versions:
            raise UsageError(f"{self.crawl_dir}: {self.kind.missing}")
        if as_of is not None and as_of not in versions:
            raise UsageError(f"--as-of {as_of}: there are the versions {_ranges(versions)}")
        return Snapshot(self, self.entry(versions[-1] if as_of is None else as_of))

    def snapshot_or_new(self, settings: StoreSettings) -> Snapshot:
        """The newest version; of a store that is not there yet an empty one, version -1."""
        return self.snapshot() if self.versions() else self.new(settings)

    def new(self, settings: StoreSettings) -> Snapshot:
        """An empty store, version -1."""
        return Snapshot(self, LogEntry(-1, "new", 0, self.kind.shards or settings.shards, None, ()))

    def entry(self, version: int) -> LogEntry:
        """The log entry of a version. FileNotFoundError if there is none."""
        path = self.log_path(version)
        return LogEntry.from_json(self.fs.read(path), path)

    def entries(self) -> dict[int, LogEntry]:
        """All log entries by version, oldest first."""
        entries = {}
        for version in self.versions():
            with contextlib.suppress(FileNotFoundError):  # retention of another process
                entries[version] = self.entry(version)
        return entries

    def log_path(self, version: int) -> str:
        """Where the log entry of a version is."""
        return f"{self.path}/log/{version:08d}.json"

    # -- writing -------------------------------------------------------------------------------------------

    def part_path(self, version: int, kind: str, shard: int) -> str:
        """A name for a file of shard `shard` that a writer hoping for `version` may use; every call yields another."""
        return f"{self.path}/{version:08d}-{kind}/part-{shard:05d}-{uuid.uuid4().hex[:12]}.parquet"

    def writer(self, version: int, kind: str, shard: int) -> shards.Writer:
        """Writes a file of shard `shard`, kind `base` or `delta`, for who hopes for `version`."""
        columns = self.kind.state if kind == "base" else self.kind.delta
        return shards.Writer(self.fs, self.part_path(version, kind, shard), columns, self.kind.row_group)

    def commit_delta(
        self, onto: LogEntry, kind: str, files: dict[int, shards.File], policy: Policy, now: int,
        segment: str | None = None, statistics: dict[str, Any] | None = None, more_segments: Sequence[str] = (),
    ) -> LogEntry:  # fmt: skip
        """Make `files` (of `part_path(onto.version + 1, "delta", shard)`) the newest delta, of these segments.

        ConflictError if the newest version is no longer `onto`; then nothing changed.
        """
        version = onto.version + 1
        delta = Layer(version, kind, f"{version:08d}-delta", files, policy)
        applied = (*onto.applied, *more_segments, *([segment] if segment else []))
        deltas = (*onto.deltas, delta) if files else onto.deltas
        return self._commit(onto, replace(
            onto, version=version, kind=kind, committed_at=now, deltas=deltas, segment=segment, applied=applied,
            statistics=statistics or {},
        ))  # fmt: skip

    def commit_base(
        self, onto: LogEntry, number_of_shards: int, files: dict[int, shards.File], now: int,
        statistics: dict[str, Any], kind: str = "compact",
    ) -> LogEntry:  # fmt: skip
        """Make `files` (of `part_path(onto.version + 1, "base", shard)`) the base that replaces all of `onto`.

        `kind` is the command that does it.
        """
        version = onto.version + 1
        base = Layer(version, "base", f"{version:08d}-base", files)
        return self._commit(onto, replace(
            onto, version=version, kind=kind, committed_at=now, shards=number_of_shards, base=base, deltas=(),
            segment=None, statistics=statistics,
        ))  # fmt: skip

    def _commit(self, onto: LogEntry, entry: LogEntry) -> LogEntry:
        # A writer that slept long enough for retention to remove its number's entry would find the name free again.
        beaten = any(version > onto.version for version in self.versions())
        if not beaten:
            try:
                self.fs.create(self.log_path(entry.version), entry.to_json())
            except FileExistsError:
                beaten = True
        if beaten:
            entries = self.entries()
            self._remove_garbage(entry.version, entry.version, list(entries.values()))
            other = entries.get(entry.version) or list(entries.values())[-1]
            raise ConflictError(
                f"{self.crawl_dir}: another {other.kind} committed version {other.version} first; "
                f"this {entry.kind} changed nothing: run it again"
            )
        # The version before too: its writer may have been killed between its commit and this.
        self._remove_garbage(onto.version, entry.version, [onto, entry])
        return entry

    # -- garbage -------------------------------------------------------------------------------------------

    def _remove_garbage(self, first: int, last: int, kept: list[LogEntry]) -> None:
        """Remove all from the directories of the versions `first` to `last` that none of the `kept` entries names."""
        named = {f"{layer.directory}/{file.name}" for entry in kept for layer in entry.layers()
                 for file in layer.files.values()}  # fmt: skip
        for directory in self.fs.names(self.path):
            if directory[:8].isdigit() and directory[8:9] == "-" and first <= int(directory[:8]) <= last:
                for name in self.fs.all_names(f"{self.path}/{directory}"):
                    if f"{directory}/{name}" not in named:
                        self.fs.remove(f"{self.path}/{directory}/{name}")
                self.fs.remove_if_empty(f"{self.path}/{directory}")
        for name in self.fs.all_names(f"{self.path}/log"):  # `.00000007.json.…`, to become entry 7
            if name[0] == "." and name[1:9].isdigit() and int(name[1:9]) <= last:
                self.fs.remove(f"{self.path}/log/{name}")

    def expire(self, settings: StoreSettings, now: int) -> int:
        """Remove the versions that retention no longer keeps, and every file no kept version needs.

        Returns how many versions were removed. The newest version's files are never touched.
        """
        entries = self.entries()
        versions = list(entries)
        young = now - int(settings.keep_hours * 3_600_000)
        # A version is in use until its successor's commit, so that moment decides, not its own.
        superseded_at = {v: entries[after].committed_at for v, after in itertools.pairwise(versions)}
        recent = set(versions[-max(settings.keep_versions, 1) :])
        expired = [v for v in versions if v not in recent and superseded_at[v] < young]
        for version in expired:  # the entries first: an entry whose files are gone would be a lie
            self.fs.remove(self.log_path(version))
        kept = [entry for version, entry in entries.items() if version not in expired]
        self._remove_garbage(0, versions[-1], kept)
        return len(expired)


class Snapshot:
    """One version of a store, to read. It stays readable until retention removes it."""

    def __init__(self, store: Store, entry: LogEntry) -> None:
        self.store = store
        self.entry = entry
        self._kind = store.kind

    @property
    def version(self) -> int:
        """The version's number in the log."""
        return self.entry.version

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self.entry.shards

    @property
    def rows(self) -> int:
        """Rows of base and deltas: at least the number of requests."""
        return sum(layer.rows for layer in self.entry.layers())

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of base and deltas."""
        return sum(layer.bytes for layer in self.entry.layers())

    def scan(self, columns: Sequence[str] | None = None, shard: int | None = None) -> Iterator[pa.Table]:
        """The state of every request in fingerprint order, in tables of at most a few row groups.

        `columns` are names of the state's schema (default: all); the tables have exactly these, in this order.
        `shard` limits the scan to one shard.
        """
        wanted = list(self._kind.state.names if columns is None else columns)
        for number in range(self.shards) if shard is None else [shard]:
            yield from self._scan_shard(number, wanted)

    def scan_range(self, first: int, last: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """`scan` of the shards `first` up to, not including, `last`."""
        for number in range(first, last):
            yield from self.scan(columns, number)

    def select(self, keys: NDArray[np.uint8], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The state of those of `keys` (an (n, 20) array, sorted, unique) that there are, in order; a table a shard.

        Reads the row groups with some of them, one at a time.
        """
        wanted = list(self._kind.state.names if columns is None else columns)
        needed = self._needed(wanted)
        bounds = np.searchsorted(shards.shard_of(keys, self.shards), np.arange(self.shards + 1))
        for shard in np.flatnonzero(np.diff(bounds)).tolist():
            mine = keys[bounds[shard] : bounds[shard + 1]]
            state = self._found(shard, needed, partial(Reader.select, keys=mine))
            if state.num_rows:
                yield state.select(wanted)

    def between(self, first: bytes, last: bytes, columns: Sequence[str] | None = None) -> pa.Table:
        """The state of the keys `first` to `last`, both included, which lie in one shard.

        Reads the row groups that may have some of them.
        """
        wanted = list(self._kind.state.names if columns is None else columns)
        shard = int(shards.shard_of(np.frombuffer(first, np.uint8).reshape(1, -1), self.shards)[0])
        find = partial(Reader.between, first=first, last=last)
        return self._found(shard, self._needed(wanted), find).select(wanted)

    def _found(self, shard: int, needed: list[str], find: Callable[..., Iterator[pa.Table]]) -> pa.Table:
        """The state of those rows of a shard that `find` yields of each of its files."""
        state = self._kind.state.empty_table().select(needed)
        learned = []
        for layer in self.entry.layers():
            if shard not in layer.files:
                continue
            names = needed if layer.kind == "base" else self._kind.needed_of_delta(needed)
            with self._open(layer, shard) as reader:
                found = list(find(reader, columns=names))
            if not found:
                continue
            table = pa.concat_tables(found).unify_dictionaries().select(names)
            if layer.kind == "base":
                state = table
            else:
                learned.append((table, layer.policy))
        return self._kind.apply_all(state, learned)

    def lookup(self, fingerprint: bytes) -> pa.Table:
        """The state of one request: one row or none, all columns. Reads one row group per layer."""
        key = np.frombuffer(fingerprint, np.uint8).reshape(1, -1)
        shard = int(shards.shard_of(key, self.shards)[0])
        state = self._kind.state.empty_table()
        for layer in self.entry.layers():
            if shard not in layer.files:
                continue
            with self._open(layer, shard) as reader:
                row = reader.lookup(fingerprint)
            if layer.kind == "base":
                state = row.select(state.column_names) if row.num_rows else state
            elif row.num_rows:
                state = self._kind.apply_all(state, [(row.select(self._kind.delta.names), layer.policy)])
        return state

    def _scan_shard(self, shard: int, wanted: list[str]) -> Iterator[pa.Table]:
        layers = [layer for layer in self.entry.layers() if shard in layer.files]
        if len(layers) == 1 and layers[0].kind == "base":
            with self._open(layers[0], shard) as reader:
                yield from (table.select(wanted) for table in reader.tables(wanted) if table.num_rows)
            return
        needed = self._needed(wanted)
        no_state = self._kind.state.empty_table().select(needed)
        with contextlib.ExitStack() as open_files:
            base: Cursor | None = None
            deltas: list[tuple[Cursor, Policy]] = []
            for layer in layers:
                reader = open_files.enter_context(self._open(layer, shard))
                if layer.kind == "base":
                    base = Cursor(reader, needed)
                else:
                    deltas.append((Cursor(reader, self._kind.needed_of_delta(needed)), layer.policy))
            cursors = [*([base] if base else []), *(cursor for cursor, _ in deltas)]
            while any(not cursor.done for cursor in cursors):
                bound = min(cursor.last for cursor in cursors if not cursor.done)
                state = (base.take(bound) if base else None) or no_state
                learned = [(table, policy) for cursor, policy in deltas if (table := cursor.take(bound)) is not None]
                yield self._kind.apply_all(state, learned).select(wanted)

    def _needed(self, wanted: list[str]) -> list[str]:
        return [name for name in self._kind.state.names if name in wanted or name in self._kind.deciding]

    @contextlib.contextmanager
    def _open(self, layer: Layer, shard: int) -> Iterator[Reader]:
        file = layer.files[shard]
        path = f"{self.store.path}/{layer.directory}/{file.name}"
        reader = Reader(self.store.fs, path, self._kind.state if layer.kind == "base" else self._kind.delta)
        try:
            if reader.rows != file.rows:
                raise CorruptionError(f"{path}: {reader.rows} rows; the log says {file.rows}")
            yield reader
        finally:
            reader.close()


def now_ms() -> int:
    """The time: UTC milliseconds. Only commands and the fetch ask for it; everything below takes `now`."""
    return time.time_ns() // 1_000_000


def _ranges(versions: Sequence[int]) -> str:
    """`3, 5-9`."""
    parts: list[list[int]] = []
    for version in versions:
        if parts and parts[-1][1] == version - 1:
            parts[-1][1] = version
        else:
            parts.append([version, version])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
