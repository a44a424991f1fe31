"""A segment's life: one round's fetchlist, content and parsed pages, and what is to be done next.

Owns the directory `segments/`: which segments exist, which datasets of them are complete, their manifests, and the
adoption of what killed tasks had finished. Knows nothing of how the files come about.

    segments/log/00000002.json               the commit of a segment: only what is named here exists; or the removal of
                                             some, or several as one merged from others, which are removed
    segments/20261124T101500Z/
        _generate.json                       the number in segments/log that its generate hoped for
        fetchlist/part-00000-….parquet       one per fetch task
        hostlist/part-00000-….parquet        what is known of the robots.txt of the hosts of that fetch task
        hosts/part-00000-….parquet           what that fetch task learned of them
        content/part-00000-0003-….parquet    chunks: fetch task, number of the chunk, whoever wrote it
        parsed/part-00000-0003-….parquet     one per content chunk, rows in the same order
        */_manifest.json                     the dataset is complete and consists of the files named here

A fetch or parse that was killed leaves finished chunks and no manifest; whoever runs the phase again adopts them.

A merged segment counts as applied to a store where all segments are that it was merged from: no log of a store names it.
A removed segment is gone with the log's word; whoever cleans up next removes what is left of its directory.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.errors import ConflictError, CorruptionError, UsageError
from crawldb.filesystem import FileSystem, resolve

DATASETS = ("fetchlist", "hostlist", "hosts", "content", "parsed")
"""Segments from before there was a host store have no hostlist and no hosts."""
SCHEMAS = {
    "fetchlist": schema.FETCHLIST, "hostlist": schema.HOSTLIST, "hosts": schema.LEARNED, "content": schema.CONTENT,
    "parsed": schema.PARSED,
}  # fmt: skip
PHASES = ("fetch", "parse", "updatedb")
"""What a committed segment still needs, in order: the first is missing content, then parsed, then the crawldb's log."""


@dataclass(frozen=True)
class Segment:
    """One committed segment."""

    fs: FileSystem
    path: str
    merged_from: tuple[str, ...] = field(default=(), compare=False)
    """The segments, none of them merged itself, whose pages it has; empty for one that was fetched."""

    def is_applied(self, applied: Collection[str]) -> bool:
        """Whether a store that applied these segments knows all that this one learned."""
        if self.merged_from:
            return all(name in applied for name in self.merged_from)
        return self.name in applied

    @property
    def name(self) -> str:
        """Its start time, `20261124T101500Z`."""
        return self.path.rpartition("/")[2]

    @property
    def began(self) -> int:
        """That time, UTC milliseconds."""
        return int(datetime.strptime(f"{self.name}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()) * 1000

    def dataset(self, dataset: str) -> str:
        """The directory of one of DATASETS."""
        return f"{self.path}/{dataset}"

    def is_complete(self, dataset: str) -> bool:
        """True if the dataset has its manifest."""
        return self.fs.exists(f"{self.dataset(dataset)}/_manifest.json")

    def manifest(self, dataset: str) -> dict[str, Any]:
        """The dataset's manifest: `files` and what its job counted."""
        path = f"{self.dataset(dataset)}/_manifest.json"
        try:
            manifest: dict[str, Any] = json.loads(self.fs.read(path))
        except FileNotFoundError:
            raise UsageError(f"{self.path}: {dataset} is not complete; run the phase that makes it first") from None
        except ValueError as error:
            raise CorruptionError(f"{path}: not a manifest: {error}") from None
        return manifest

    def files(self, dataset: str) -> list[shards.File]:
        """The files of a complete dataset."""
        try:
            return [shards.File.from_dict(file) for file in self.manifest(dataset)["files"]]
        except (KeyError, TypeError) as error:
            raise CorruptionError(f"{self.dataset(dataset)}/_manifest.json: not a manifest: {error!r}") from None

    def commit(self, dataset: str, files: list[shards.File], now: int, counts: dict[str, Any]) -> bool:
        """Complete a dataset. False if it already was: then what stands there counts, and nothing changed."""
        manifest = {"committed_at_ms": now, "rows": sum(file.rows for file in files), "counts": counts,
                    "files": [file.to_dict() for file in sorted(files, key=lambda file: file.name)]}  # fmt: skip
        try:
            self.fs.create(f"{self.dataset(dataset)}/_manifest.json", json.dumps(manifest, indent=1).encode())
        except FileExistsError:
            self._remove_unless_named(dataset, self.files(dataset))
            return False
        self._remove_unless_named(dataset, files)
        return True

    def remove_garbage(self) -> None:
        """Remove what killed commands left in the complete datasets: the last one to work here calls this."""
        for dataset in DATASETS:
            if self.is_complete(dataset):
                self._remove_unless_named(dataset, self.files(dataset))

    def _remove_unless_named(self, dataset: str, files: list[shards.File]) -> None:
        """Remove what killed attempts, or one that ran at the same time, left in a complete dataset."""
        named = {file.name for file in files} | {"_manifest.json"}
        for name in self.fs.all_names(self.dataset(dataset)):
            if name not in named:
                self.fs.remove(f"{self.dataset(dataset)}/{name}")

    def files_by_task(self, dataset: str) -> dict[int, str]:
        """The names of a dataset with (at most) one file a fetch task; none if the dataset is not there."""
        files = self.files(dataset) if self.is_complete(dataset) else []
        return {int(file.name.split("-")[1]): file.name for file in files}

    def part_path(self, dataset: str, *numbers: int) -> str:
        """A name for a new file of a dataset; every call yields another."""
        first, *more = numbers
        part = "".join([f"part-{first:05d}", *(f"-{number:04d}" for number in more)])
        return f"{self.dataset(dataset)}/{part}-{uuid.uuid4().hex[:12]}.parquet"

    def finished_parts(self, dataset: str, prefix: str) -> Iterator[tuple[str, str]]:
        """(name, path) of the finished files whose name starts with `prefix`, in a dataset that may be incomplete."""
        for name in self.fs.names(self.dataset(dataset)):
            if name.startswith(prefix) and name.endswith(".parquet"):
                yield name, f"{self.dataset(dataset)}/{name}"

    def read(self, dataset: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One file of a dataset, whole; `columns` may name parts of nested columns by their path."""
        path = f"{self.dataset(dataset)}/{name}"
        with contextlib.closing(shards.Reader(self.fs, path, SCHEMAS[dataset])) as reader:
            return reader.read(columns)

    def fingerprints(self, dataset: str = "fetchlist") -> NDArray[np.uint8]:
        """The fingerprints of a complete dataset, sorted, as an (n, 20) array."""
        parts = [np.empty((0, 20), np.uint8)]
        for file in self.files(dataset):
            parts.append(shards.key_bytes(self.read(dataset, file.name, ["fingerprint"])["fingerprint"]))
        keys = np.concatenate(parts)
        return keys[shards.sort_order(keys)]


class _LogEntry(NamedTuple):
    """What one entry of segments/log changes."""

    segments: tuple[str, ...]
    """That exist from now on, …"""
    removed: tuple[str, ...]
    """… and that no longer do."""
    merged_from: tuple[str, ...]
    """Of all `segments`."""


class Segments:
    """All segments of a crawl directory."""

    def __init__(self, crawl_dir: str) -> None:
        self.fs, self.path = resolve(crawl_dir)
        self.path += "/segments"

    def committed(self) -> list[Segment]:
        """The committed segments that are still there, oldest first."""
        known: dict[str, tuple[str, ...]] = {}
        for entry in self._entries():
            for name in entry.removed:
                known.pop(name, None)
            known |= dict.fromkeys(entry.segments, entry.merged_from)
        there = ((name, merged_from) for name, merged_from in known.items() if self.fs.exists(f"{self.path}/{name}"))
        return [Segment(self.fs, f"{self.path}/{name}", merged_from) for name, merged_from in there]

    def at(self, name: str) -> Segment:
        """The segment of this name, for those who know that it exists: a look at the log costs a file per round."""
        return Segment(self.fs, f"{self.path}/{name}")

    def find(self, name: str) -> Segment:
        """The committed segment of this name. UsageError if there is none."""
        for segment in self.committed():
            if segment.name == name:
                return segment
        raise UsageError(f"{self.path}: no segment {name}; cobnut generate makes one")

    def in_flight(self, applied: tuple[str, ...]) -> list[Segment]:
        """Segments that no updatedb has applied yet, oldest first; with what another store applied: those it lacks."""
        done = set(applied)
        return [segment for segment in self.committed() if not segment.is_applied(done)]

    def last_number(self) -> int:
        """The number of the newest entry of segments/log, -1 if there is none."""
        log = self._log()
        return int(log[-1][:-5]) if log else -1

    def begin(self, now: int, number: int) -> Segment:
        """A new segment's directory, for the entry `number` of segments/log; it exists only once it is committed."""
        ever = {name for entry in self._entries() for name in (*entry.segments, *entry.removed)}
        while True:
            name = datetime.fromtimestamp(now / 1000, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            segment = Segment(self.fs, f"{self.path}/{name}")
            # Another generate in the same second, what a crashed one left, or a clock that was set back.
            if name in ever or self.fs.exists(segment.path):
                now += 1000
                continue
            # Two may still come here at once, and a third take the directory for a crashed one's.
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self.fs.create(f"{segment.path}/_generate.json", json.dumps({"number": number}).encode())
                return segment

    def commit(self, segment: Segment, number: int, now: int, left_out: list[str]) -> None:
        """Let the segment exist. ConflictError if another one was committed since `last_number()` was `number` - 1."""
        entry = {"segment": segment.name, "committed_at_ms": now, "in_flight": left_out}
        try:
            self.fs.create(f"{self.path}/log/{number:08d}.json", json.dumps(entry, indent=1).encode())
        except FileExistsError:
            self.fs.remove(segment.path)
            raise ConflictError(
                f"{self.path}: another generate committed a segment first; nothing was changed"
            ) from None

    def commit_merged(self, segments: Sequence[Segment], number: int, now: int, sources: Sequence[Segment]) -> None:
        """Let `segments`, which hold what `sources` held, exist in their place. ConflictError as in `commit`."""
        origins = dict.fromkeys(name for source in sources for name in source.merged_from or (source.name,))
        self._change(number, {
            "segments": [segment.name for segment in segments], "committed_at_ms": now,
            "merged_from": list(origins), "removed": [source.name for source in sources],
        }, segments)  # fmt: skip

    def commit_removal(self, segments: Sequence[Segment], number: int, now: int) -> None:
        """Let some segments be gone. ConflictError as in `commit`. `remove_garbage` then removes their directories."""
        self._change(number, {"segments": [], "committed_at_ms": now, "removed": [one.name for one in segments]}, ())

    def _change(self, number: int, entry: dict[str, Any], begun: Sequence[Segment]) -> None:
        try:
            self.fs.create(f"{self.path}/log/{number:08d}.json", json.dumps(entry, indent=1).encode())
        except FileExistsError:
            for segment in begun:
                self.fs.remove(segment.path)
            raise ConflictError(
                f"{self.path}: another command committed first; nothing was changed: run it again"
            ) from None

    def remove_garbage(self) -> None:
        """Remove segments that crashed or beaten generates left: their number in the log went to another."""
        last = self.last_number()
        committed = {segment.name for segment in self.committed()}
        for name in self.fs.names(self.path):
            if name != "log" and name not in committed and _is_segment_name(name):
                self._remove_if_crashed(f"{self.path}/{name}", last)
        for name in self.fs.all_names(f"{self.path}/log"):  # `.00000007.json.…`, to become entry 7
            if name[0] == "." and name[1:9].isdigit() and int(name[1:9]) <= last:
                self.fs.remove(f"{self.path}/log/{name}")

    def _remove_if_crashed(self, path: str, last: int) -> None:
        """Remove the directory of an uncommitted segment, unless its generate may still win a number after `last`."""
        content = self.fs.all_names(path)  # in this order: whoever has content has had its _generate.json before
        try:
            number = json.loads(self.fs.read(f"{path}/_generate.json"))["number"]
        except FileNotFoundError:
            if all(name.startswith("._generate.json.") for name in content):
                # Killed while it began, or just beginning: then `begin` starts over.
                for name in content:
                    self.fs.remove(f"{path}/{name}")
                self.fs.remove_if_empty(path)
                return
            number = last  # what a beaten or killed generate, or a removal that was killed, left behind
        except (ValueError, KeyError, TypeError):
            return  # not ours
        if number <= last:
            self.fs.remove(path)

    def _entries(self) -> Iterator[_LogEntry]:
        """What the log says, oldest first."""
        for name in self._log():
            path = f"{self.path}/log/{name}"
            try:
                entry = json.loads(self.fs.read(path))
                segments = [entry["segment"]] if "segment" in entry else entry["segments"]
                texts = [*segments, *(removed := entry.get("removed", ())), *(origins := entry.get("merged_from", ()))]
                if not all(isinstance(text, str) for text in texts):
                    raise TypeError("names are texts")
            except (ValueError, KeyError, TypeError) as error:
                raise CorruptionError(f"{path}: not a log entry: {error!r}") from None
            yield _LogEntry(tuple(segments), tuple(removed), tuple(origins))

    def _log(self) -> list[str]:
        return [name for name in self.fs.names(f"{self.path}/log") if name.endswith(".json") and name[:-5].isdigit()]


def _is_segment_name(name: str) -> bool:
    try:
        return bool(datetime.strptime(name, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return False


def next_phase(segment: Segment) -> str:
    """Which of PHASES an in-flight segment is in."""
    if not segment.is_complete("content"):
        return "fetch"
    return "updatedb" if segment.is_complete("parsed") else "parse"
