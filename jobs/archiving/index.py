"""Which archive holds what, and which version of it is in force at a time: what a replayed crawl is answered from.

Owns the index of an archive (a Parquet file, sorted by fingerprint) and the choice among several captures of a request.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crawldb import shards
from crawldb.errors import UsageError
from crawldb.filesystem import resolve
from crawldb.fingerprint import url_fingerprint
from crawldb.schema import FINGERPRINT, FetchOutcome
from crawldb.settings import Settings
from jobs.archiving.pages import About, ArchivedPage, ArchivedRobots, Found, Left, Place, Reader
from jobs.archiving.reading import Broken

PAGE, NOT_MODIFIED, ROBOTS, LEFT = range(4)
"""Kinds of captures."""

INDEX = pa.schema([
    pa.field("fingerprint", FINGERPRINT, False), pa.field("kind", pa.int8(), False),
    pa.field("at", pa.int64(), False), pa.field("offset", pa.int64(), False), pa.field("skip", pa.int32(), False),
    pa.field("payload_offset", pa.int64()), pa.field("payload_skip", pa.int32()),
    pa.field("segment", pa.string()), pa.field("generated_at", pa.int64()),
])  # fmt: skip
"""A capture each: what was asked for, when (ms), where its records begin, and of which of Cobnut's rounds it is."""


class Capture(NamedTuple):
    """A row of INDEX, and the archive it is of."""

    kind: int
    at: int
    place: Place
    about: About
    path: str


def robots_key(origin: str) -> bytes:
    """What an origin's robots.txt is looked up by."""
    return url_fingerprint(f"{origin}/robots.txt")


def read_archive(path: str, settings: Settings) -> tuple[pa.Table, list[Broken]]:
    """The index of an archive, and what in it is broken."""
    reader = Reader(path, settings)
    columns: dict[str, list[Any]] = {name: [] for name in INDEX.names}
    broken: list[Broken] = []
    for found in reader.pages():
        if isinstance(found, Broken):
            broken.append(found)
            continue
        key, kind, at = _what(found, reader.about)
        payload = found.place.payload if isinstance(found, ArchivedPage) else None
        row = (key, kind, at, found.place.offset, found.place.skip, *(payload or (None, None)), reader.about.segment,
               reader.about.generated_at)  # fmt: skip
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    arrays = [pa.array(column, field.type) for column, field in zip(columns.values(), INDEX, strict=True)]
    return shards.sort(pa.Table.from_arrays(arrays, schema=INDEX)), broken


def _what(found: ArchivedPage | ArchivedRobots | Left, about: About) -> tuple[bytes, int, int]:
    if isinstance(found, ArchivedPage):
        unmodified = found.result.outcome is FetchOutcome.notmodified
        return found.result.request.fingerprint, NOT_MODIFIED if unmodified else PAGE, found.result.fetched_at
    if isinstance(found, ArchivedRobots):
        return robots_key(found.known.origin), ROBOTS, found.known.fetched_at
    return found.fingerprint, LEFT, about.generated_at or 0


def index_path(directory: str, archive: str, settings: Settings) -> str:
    """Where the index of an archive is: another size, or another limit, is another archive."""
    fs, path = resolve(archive)
    if not fs.exists(path):
        raise UsageError(f"{archive}: no such archive")
    what = f"{path}\0{fs.size(path)}\0{settings.fetch.max_bytes}"
    return f"{directory}/index-{hashlib.sha1(what.encode()).hexdigest()[:16]}.parquet"


def load(archive: str, settings: Settings) -> pa.Table:
    """The index of an archive: as it was written down in warc.replay_index, else read from the archive itself."""
    if settings.warc.replay_index:
        fs, directory = resolve(settings.warc.replay_index)
        path = index_path(directory, archive, settings)
        if fs.exists(path):
            reader = shards.Reader(fs, path, INDEX)
            try:
                return reader.read(INDEX.names)
            finally:
                reader.close()
    index_path("", archive, settings)
    return read_archive(archive, settings)[0]


class Sessions(NamedTuple):
    """When what archives hold was fetched (ms): the rounds of Cobnut's own, one for all else."""

    starts: list[int]
    end: int

    def after(self, at: int) -> int:
        """The next round's virtual time, after one at `at`: when its generate was, or a second after all that there is."""
        return next((start for start in self.starts if start > at), max(at, self.end) + 1000)

    def until(self, at: int) -> float:
        """When the round that is on at `at` is over."""
        return next((start for start in self.starts if start > at), math.inf)


def sessions(tables: Iterable[pa.Table]) -> Sessions:
    """Of the indexes of some archives."""
    starts: set[int] = set()
    foreign: list[int] = []
    end = 0
    for table in tables:
        if not table.num_rows:
            continue
        at = table["at"].to_numpy()
        end = max(end, int(at.max()))
        generated = table["generated_at"]
        starts.update(generated.drop_null().unique().to_pylist())
        others = at[generated.is_null().to_numpy()]
        if len(others):
            foreign.append(int(others.min()))
    if foreign:
        starts.add(min(foreign))
    return Sessions(sorted(starts), end)


class Index:
    """What archives hold of the requests that it was told of."""

    def __init__(self, archives: Sequence[str], settings: Settings, keys: Iterable[bytes]) -> None:
        self._settings = settings
        self._captures: dict[bytes, list[Capture]] = {}
        self._readers: dict[str, Reader] = {}
        self._tables = {archive: load(archive, settings) for archive in archives}
        self.sessions = sessions(self._tables.values())
        self.add(keys)

    def add(self, keys: Iterable[bytes]) -> None:
        """Some more requests."""
        new = sorted({key for key in keys if key not in self._captures})
        if not new:
            return
        self._captures.update((key, []) for key in new)
        wanted = np.frombuffer(b"".join(new), np.uint8).reshape(-1, 20)
        for archive, table in self._tables.items():
            found = np.flatnonzero(shards.contains(wanted, shards.key_bytes(table["fingerprint"])))
            for key, kind, at, offset, skip, payload_offset, payload_skip, segment, generated_at in zip(
                *(column.to_pylist() for column in table.take(pa.array(found)).columns), strict=True
            ):
                payload = None if payload_offset is None else (payload_offset, payload_skip)
                capture = Capture(kind, at, Place(offset, skip, payload), About(segment, generated_at), archive)
                self._captures[key].append(capture)
        for key in new:
            self._captures[key].sort(
                key=lambda one: (one.at, one.kind == LEFT, one.path, one.place.offset, one.place.skip)
            )

    def page(self, key: bytes, at: int, validators: bool) -> Capture | None:
        """The capture of a request that is in force in the round at `at`; None if there is none.

        One of that round; else the last before, else the first after it. A 304 is no answer to who has no validators.
        """
        captures = [one for one in self._captures.get(key, ()) if one.kind != ROBOTS]
        found = self._in_force(captures, at)
        if found is not None and found.kind == NOT_MODIFIED and not validators:
            whole = [one for one in captures if one.kind == PAGE]
            earlier = [one for one in whole if one.at <= found.at]
            return earlier[-1] if earlier else self._in_force(whole, at) or found
        return found

    def robots(self, origin: str, at: int) -> Capture | None:
        """The same of an origin's robots.txt."""
        return self._in_force([one for one in self._captures.get(robots_key(origin), ()) if one.kind == ROBOTS], at)

    def _in_force(self, captures: Sequence[Capture], at: int) -> Capture | None:
        until = self.sessions.until(at)
        of_round = [one for one in captures if at <= one.at < until]
        if of_round:
            return of_round[0]
        captures = [one for one in captures if one.kind != LEFT]
        before = [one for one in captures if one.at < at]
        return before[-1] if before else captures[0] if captures else None

    def read(self, capture: Capture) -> Found | None:
        """What was captured; None or Broken if the archive does not hold it any more."""
        reader = self._readers.get(capture.path)
        if reader is None:
            reader = self._readers[capture.path] = Reader(capture.path, self._settings)
        place = capture.place
        return reader.at(Place(place.offset, place.skip, place.payload), capture.about)
