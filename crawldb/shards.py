"""Sorted Parquet: writing, scanning, matching and looking up tables ordered by fingerprint.

Owns the physical layout of a shard (sort order, row groups, encodings) and the arithmetic on fingerprints.
Knows nothing of commits (`store`) and of what the columns mean (`update`).

A shard is a range of fingerprints: of 2^b shards, a fingerprint belongs to the one its first b bits name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crawldb.errors import ConflictError, CorruptionError
from crawldb.filesystem import FileSystem, unfinished
from crawldb.schema import SCHEMA_VERSION

ROW_GROUP = 1 << 17
"""Rows of a row group: the unit of reading, and so of memory; fewer where they are large, …"""

ROW_GROUP_BYTES = 128 << 20
"""… for in memory a row group has about so many bytes at most."""

_BEATEN = "{}: removed while it was written, because another writer committed first; run it again"
_VERSION_KEY = b"cobnut.schema_version"
_UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What Arrow raises for bytes that are not what they should be; a ValueError where they are no UTF-8."""
_KEY_BYTES = 20


# -- fingerprints as numbers ---------------------------------------------------------------------------------


def key_bytes(fingerprints: pa.ChunkedArray | pa.Array) -> NDArray[np.uint8]:
    """The fingerprints as an (n, 20) uint8 array, without a copy where they are one chunk."""
    if isinstance(fingerprints, pa.ChunkedArray):
        chunks = [key_bytes(chunk) for chunk in fingerprints.chunks]
        if len(chunks) == 1:
            return chunks[0]
        return np.concatenate(chunks) if chunks else np.empty((0, _KEY_BYTES), np.uint8)
    data = np.frombuffer(fingerprints.buffers()[1] or b"", np.uint8)
    start = fingerprints.offset * _KEY_BYTES
    return data[start : start + len(fingerprints) * _KEY_BYTES].reshape(-1, _KEY_BYTES)


def prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 8 bytes of each fingerprint as a number that sorts like them."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").ravel().astype(np.uint64)


def _whole(keys: NDArray[np.uint8]) -> NDArray[Any]:
    """All 20 bytes as something that sorts like them; the byte behind keeps NumPy from dropping trailing NULs."""
    padded = np.ones((len(keys), _KEY_BYTES + 1), np.uint8)
    padded[:, :_KEY_BYTES] = keys
    return padded.view(f"S{_KEY_BYTES + 1}").ravel()


def sort_order(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The stable order that sorts fingerprints."""
    prefix = prefixes(keys)
    order = np.argsort(prefix, kind="stable")
    prefix = prefix[order]
    ties = np.flatnonzero(prefix[1:] == prefix[:-1])
    if (keys[order[ties]] != keys[order[ties + 1]]).any():  # mostly they are the same fingerprint
        order = np.argsort(_whole(keys), kind="stable")
    return order


def sort(table: pa.Table) -> pa.Table:
    """The table's rows in fingerprint order; equal fingerprints keep their order."""
    return table.take(pa.array(sort_order(key_bytes(table["fingerprint"]))))


def match(keys: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each of `wanted`, where it stands or belongs in `keys`, and whether it is there. Both are sorted, unique."""
    prefix, wanted_prefix = prefixes(keys), prefixes(wanted)
    place = np.searchsorted(prefix, wanted_prefix)
    inside = place < len(keys)
    found = np.zeros(len(wanted), np.bool_)
    if len(keys):
        at = np.where(inside, place, 0)
        near = inside & (prefix[at] == wanted_prefix)
        found[near] = (keys[at[near]] == wanted[near]).all(axis=1)
        # Two fingerprints that share 8 bytes are rare (one pair in 2^64) and decided by all 20.
        if (near & ~found).any() or _has_ties(prefix) or _has_ties(wanted_prefix):
            whole, wanted_whole = _whole(keys), _whole(wanted)
            place = np.searchsorted(whole, wanted_whole)
            inside = place < len(keys)
            found = inside & (whole[np.where(inside, place, 0)] == wanted_whole)
    return place, found


def contains(keys: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of `wanted` (any order) are in `keys` (sorted, unique)."""
    order = sort_order(wanted)
    found = np.empty(len(wanted), np.bool_)
    found[order] = match(keys, wanted[order])[1]
    return found


def shard_of(keys: NDArray[np.uint8], shards: int) -> NDArray[np.int64]:
    """The shard each fingerprint belongs to; `shards` is a power of two up to 65536."""
    leading = keys[:, 0].astype(np.int64) << 8 | keys[:, 1]
    return leading >> (16 - (shards.bit_length() - 1))


def split(table: pa.Table, shards: int) -> Iterator[tuple[int, pa.Table]]:
    """A sorted table cut into the pieces that belong to each shard, empty ones left out."""
    bounds = np.searchsorted(shard_of(key_bytes(table["fingerprint"]), shards), np.arange(shards + 1))
    for shard in np.flatnonzero(np.diff(bounds)).tolist():
        yield shard, table.slice(bounds[shard], bounds[shard + 1] - bounds[shard])


def _rows_up_to(keys: NDArray[np.uint8], bound: bytes) -> int:
    """How many of `keys` (sorted) are at most `bound`."""
    prefix, wanted = prefixes(keys), np.uint64(int.from_bytes(bound[:8], "big"))
    first, last = (int(np.searchsorted(prefix, wanted, side)) for side in ("left", "right"))
    near = _whole(keys[first:last])  # links to one target share more than 8 bytes
    return first + int(np.searchsorted(near, _whole(np.frombuffer(bound, np.uint8).reshape(1, -1))[0], "right"))


def _has_ties(sorted_prefixes: NDArray[np.uint64]) -> bool:
    return bool((sorted_prefixes[1:] == sorted_prefixes[:-1]).any())


# -- files ---------------------------------------------------------------------------------------------------

_DICTIONARIES = frozenset({"interval", "retries", "depth", "priority", "http_status", "score"})
_LONG = frozenset({"url", "text", "title", "content", "outlinks", "response_headers", "request_headers"})
_DELTA_LENGTHS = frozenset({"url", "redirect_to", "text", "title"})


def _often_null(schema: pa.Schema) -> list[str]:
    """The leaf columns whose null counts are worth knowing: see `Reader._read`. No statistics of long texts."""
    leaves = []
    for field in schema:
        if field.nullable and field.name not in _LONG:
            nested = {"headers": ["key_value.key", "key_value.value"], "metadata": ["key_value.key", "key_value.value"]}
            leaves += [f"{field.name}.{leaf}" for leaf in nested.get(field.name, [])] or [field.name]
    return leaves


def _without_empty_maps(table: pa.Table) -> pa.Table:
    """The table with null for every empty map: null counts can't tell the two apart (see `Reader._read`)."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_map(field.type) and column.null_count < len(column):
            empty = np.concatenate([np.diff(chunk.offsets.to_numpy()) == 0 for chunk in column.chunks])
            if np.count_nonzero(empty) > column.null_count:
                filled = column.take(pa.array(np.arange(len(empty)), mask=empty))
                table = table.set_column(place, field, filled)
    return table


@dataclass(frozen=True)
class File:
    """A finished Parquet file, as the log and the manifests name it."""

    name: str
    rows: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {"name": self.name, "rows": self.rows, "bytes": self.bytes}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> File:
        """The inverse of `to_dict`."""
        return cls(values["name"], values["rows"], values["bytes"])


class Writer:
    """Writes one Parquet file that appears under its name, whole, when it is closed.

    >>> with Writer(fs, "/crawl/crawldb/00000000-base/part-00000-x.parquet", schema) as writer:  # doctest: +SKIP
    ...     writer.write(table)

    An exception inside the block leaves no file. `file` is set on success.
    """

    file: File

    def __init__(self, fs: FileSystem, path: str, schema: pa.Schema, row_group: int = ROW_GROUP) -> None:
        self._fs, self._path, self._row_group = fs, path, row_group
        self._schema = schema.with_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        self._rows = 0
        self._written = unfinished(path)
        try:
            self._output = fs.open_output(self._written)
        except FileNotFoundError:
            raise ConflictError(_BEATEN.format(path)) from None
        try:
            self._parquet = self._parquet_writer()
        except BaseException:  # it writes the first bytes already
            fs.abandon(self._output, self._written)
            raise

    def _parquet_writer(self) -> pq.ParquetWriter:
        names, types = self._schema.names, self._schema.types
        return pq.ParquetWriter(
            self._output,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[
                name
                for name, kind in zip(names, types, strict=True)
                if pa.types.is_dictionary(kind) or name in _DICTIONARIES
            ],
            column_encoding={name: "DELTA_LENGTH_BYTE_ARRAY" for name in names if name in _DELTA_LENGTHS},
            write_statistics=["fingerprint", *_often_null(self._schema)],
            write_page_checksum=True,
        )

    def write(self, table: pa.Table) -> None:
        """Append rows; they reach the file a row group at a time."""
        if not table.num_rows:
            return
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self._pending_bytes += table.nbytes
        if self._pending_rows >= self._row_group or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush(whole_groups_only=True)

    def close(self) -> File:
        """Finish the file and give it its name. If that fails, there is no file."""
        try:
            self._flush(whole_groups_only=False)
            self._parquet.close()
            size = self._output.tell()
            self._output.close()
            self._fs.publish(self._written, self._path)
        except FileNotFoundError:
            raise ConflictError(_BEATEN.format(self._path)) from None
        except BaseException:
            self.abort()
            raise
        self.file = File(self._path.rpartition("/")[2], self._rows, size)
        return self.file

    def abort(self) -> None:
        """Leave no file."""
        try:
            with contextlib.suppress(pa.ArrowException, OSError):  # a full disk has no room for the footer either
                self._parquet.close()
        finally:
            self._fs.abandon(self._output, self._written)

    def _flush(self, *, whole_groups_only: bool) -> None:
        if not self._pending_rows:
            return
        table = pa.concat_tables(self._pending)
        groups = -(-self._pending_bytes // ROW_GROUP_BYTES)
        group = min(self._row_group, -(-table.num_rows // groups)) if groups > 1 else self._row_group
        rows = table.num_rows - table.num_rows % group if whole_groups_only else table.num_rows
        if rows:
            ready = table.slice(0, rows).unify_dictionaries().select(self._schema.names).cast(self._schema)
            self._parquet.write_table(_without_empty_maps(ready), row_group_size=group)
        rest = table.slice(rows)
        self._pending, self._pending_rows = [rest] if rest.num_rows else [], rest.num_rows
        self._pending_bytes = rest.nbytes
        self._rows += rows

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Reader:
    """One Parquet file that `Writer` wrote. Columns of `schema` that it lacks, being older than they, are null."""

    def __init__(self, fs: FileSystem, path: str, schema: pa.Schema | None = None) -> None:
        self._path = path
        try:
            self._source = fs.open_input(path)
            self._parquet = pq.ParquetFile(self._source, page_checksum_verification=True)
            version = int((self._parquet.schema_arrow.metadata or {}).get(_VERSION_KEY, b"0"))
        except FileNotFoundError:
            raise CorruptionError(
                f"{path}: the file is missing: removed by hand, or by retention while it was wanted (store.keep_hours)"
            ) from None
        except _UNREADABLE as error:
            raise CorruptionError(f"{path}: not a readable Parquet file: {error}") from None
        if version > SCHEMA_VERSION:
            self.close()
            raise CorruptionError(
                f"{path}: schema version {version} is newer than this program's {SCHEMA_VERSION}; install a newer cobnut"
            )
        self._schema: pa.Schema = self._parquet.schema_arrow
        self._lacking = [field for field in schema or () if field.name not in self._schema.names]
        for field in self._lacking:
            self._schema = self._schema.append(field)

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return int(self._parquet.metadata.num_rows)

    def tables(self, columns: Sequence[str] | None = None, first_group: int = 0) -> Iterator[pa.Table]:
        """The row groups, in order, as tables of the wanted columns."""
        for group in range(first_group, self._parquet.metadata.num_row_groups):
            yield self._read(group, columns)

    def lookup(self, fingerprint: bytes) -> pa.Table:
        """The row of a fingerprint, or no row; reads one column of one row group, then that row group."""
        metadata = self._parquet.metadata
        place = next(i for i, name in enumerate(self._parquet.schema.names) if name == "fingerprint")
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(place).statistics
            if statistics is None or not statistics.has_min_max or statistics.min <= fingerprint <= statistics.max:
                keys = key_bytes(self._read(group, ["fingerprint"])["fingerprint"])
                at, found = match(keys, np.frombuffer(fingerprint, np.uint8).reshape(1, -1))
                if found[0]:
                    return self._read(group, None).slice(int(at[0]), 1)
        return self._schema.empty_table()

    def select(self, keys: NDArray[np.uint8], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows whose fingerprints are among `keys` (sorted, unique), from each row group that has any."""
        place = next(i for i, name in enumerate(self._parquet.schema.names) if name == "fingerprint")
        whole = _whole(keys)
        for group in range(self._parquet.metadata.num_row_groups):
            near = keys
            statistics = self._parquet.metadata.row_group(group).column(place).statistics
            if statistics is not None and statistics.has_min_max:
                bounds = _whole(np.frombuffer(statistics.min + statistics.max, np.uint8).reshape(2, _KEY_BYTES))
                near = keys[np.searchsorted(whole, bounds[0]) : np.searchsorted(whole, bounds[1], side="right")]
            if len(near):
                at, found = match(key_bytes(self._read(group, ["fingerprint"])["fingerprint"]), near)
                if found.any():
                    yield self._read(group, columns).take(pa.array(at[found]))

    def between(self, first: bytes, last: bytes, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows whose fingerprints are `first` to `last`, both included; reads the row groups that may have any."""
        place = next(i for i, name in enumerate(self._parquet.schema.names) if name == "fingerprint")
        for group in range(self._parquet.metadata.num_row_groups):
            statistics = self._parquet.metadata.row_group(group).column(place).statistics
            if (
                statistics is not None
                and statistics.has_min_max
                and not (statistics.min <= last and first <= statistics.max)
            ):
                continue
            keys = key_bytes(self._read(group, ["fingerprint"])["fingerprint"])
            start = _rows_up_to(keys, (int.from_bytes(first, "big") - 1).to_bytes(20, "big")) if any(first) else 0
            end = _rows_up_to(keys, last)
            if end > start:
                yield self._read(group, columns).slice(start, end - start)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole file, for files that are known to be small; nested columns by their path (`outlinks.list…`)."""
        tables = list(self.tables(columns))
        if tables:
            return pa.concat_tables(tables).unify_dictionaries()
        if self._lacking:
            return self._schema.empty_table().select(
                [name for name in columns or self._schema.names if "." not in name]
            )
        return self._parquet.read_row_groups([], columns=columns)

    def close(self) -> None:
        """Let go of the file."""
        self._parquet.close()
        self._source.close()

    def _read(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        """One row group. Columns that its statistics call all null, and most are, are made rather than decoded."""
        metadata = self._parquet.metadata.row_group(group)
        empty = self._all_null(metadata)
        empty.update(field.name for field in self._lacking)
        names = self._schema.names if columns is None else columns
        try:
            filled = [name for name in names if name not in empty]
            table = self._parquet.read_row_group(group, columns=filled, use_threads=False)
        except _UNREADABLE as error:
            raise CorruptionError(f"{self._path}: row group {group} cannot be read: {error}") from None
        if len(filled) == len(names):
            return table
        schema = self._schema
        wanted = dict.fromkeys(name.partition(".")[0] for name in names)
        fields = [schema.field(name) if name in empty else table.schema.field(name) for name in wanted]
        return pa.table(
            [pa.nulls(metadata.num_rows, field.type) if field.name in empty else table[field.name] for field in fields],
            pa.schema(fields),
        )

    def _all_null(self, metadata: Any) -> set[str]:
        """The top-level columns of a row group that hold nothing but nulls."""
        empty: dict[str, bool] = {}
        for place in range(metadata.num_columns):
            column = metadata.column(place)
            statistics = column.statistics
            null = statistics is not None and statistics.has_null_count and statistics.null_count == metadata.num_rows
            name = column.path_in_schema.partition(".")[0]
            empty[name] = empty.get(name, True) and null
        return {name for name, null in empty.items() if null}


class Sorted(Protocol):
    """Rows in fingerprint order: a `Reader`, or anything else that can be read forward."""

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows, in order, as tables of the wanted columns."""

    def close(self) -> None:
        """Let go of them."""


class Cursor:
    """Sorted rows read forward: a buffer from which those up to some fingerprint can be taken."""

    def __init__(self, reader: Sorted, columns: Sequence[str] | None) -> None:
        self._reader = reader
        self._tables = reader.tables(columns)
        self._buffer: pa.Table | None = None
        self._keys: NDArray[np.uint8] = np.empty((0, _KEY_BYTES), np.uint8)
        self._advance()

    @property
    def done(self) -> bool:
        """True when every row was taken."""
        return self._buffer is None

    @property
    def last(self) -> bytes:
        """The last fingerprint in the buffer."""
        return bytes(self._keys[-1])

    def take(self, bound: bytes) -> pa.Table | None:
        """The buffered rows whose fingerprint is at most `bound`; None if there are none."""
        if self._buffer is None:
            return None
        rows = len(self._keys)
        if self.last > bound:
            rows = _rows_up_to(self._keys, bound)
        taken = self._buffer.slice(0, rows) if rows else None
        if rows == len(self._keys):
            self._advance()
        elif rows:
            self._buffer, self._keys = self._buffer.slice(rows), self._keys[rows:]
        return taken

    def _advance(self) -> None:
        self._buffer = next((table for table in self._tables if table.num_rows), None)
        if self._buffer is None:
            self._keys = self._keys[:0]
            self._reader.close()
        else:
            self._keys = key_bytes(self._buffer["fingerprint"])
