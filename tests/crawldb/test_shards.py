"""Sorted Parquet: arithmetic on fingerprints against plain Python, and files that come back as they were written."""

from __future__ import annotations

import bisect
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import schema, shards
from crawldb.errors import ConflictError, CorruptionError
from crawldb.filesystem import LocalFileSystem
from crawldb.shards import Cursor, Reader, Writer

FS = LocalFileSystem()
SCHEMAS = {
    "state": schema.STATE, "delta": schema.DELTA, "fetchlist": schema.FETCHLIST, "content": schema.CONTENT,
    "parsed": schema.PARSED, "host": schema.HOST, "hostlist": schema.HOSTLIST,
    "learned": schema.LEARNED, "link": schema.LINK, "source": schema.SOURCE, "sitemap": schema.SITEMAP,
}  # fmt: skip

# Few values for each byte that matters, so that fingerprints share their first 8 bytes, or all but the last, or end
# in NUL bytes.
_BYTE = st.sampled_from([0, 1, 127, 128, 255])
FINGERPRINTS = st.builds(
    lambda first, eighth, ninth, last: bytes([first] + [0] * 6 + [eighth, ninth] + [0] * 10 + [last]),
    _BYTE, st.sampled_from([0, 255]), _BYTE, _BYTE,
) | st.binary(min_size=20, max_size=20)  # fmt: skip


def as_keys(fingerprints: list[bytes]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return shards.key_bytes(pa.array(fingerprints, schema.FINGERPRINT))


def spelled(kind: pa.DataType) -> str:
    """The type in a spelling that no version of Arrow changes."""
    if pa.types.is_dictionary(kind):
        return f"dictionary<{spelled(kind.index_type)}, {spelled(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{spelled(kind.key_type)}, {spelled(kind.item_type)}>"
    if pa.types.is_fixed_size_list(kind):
        return f"list<{spelled(kind.value_type)}>[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"list<{spelled(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{child.name}: {spelled(child.type)}' for child in kind)}>"
    return str(kind)


def as_bytes(keys: np.ndarray[Any, np.dtype[np.uint8]]) -> list[bytes]:
    return [key.tobytes() for key in keys]


# -- arithmetic ----------------------------------------------------------------------------------------------


@given(st.lists(FINGERPRINTS), st.integers(0, 5), st.integers(1, 5))
def test_key_bytes_of_slices_and_chunks(fingerprints: list[bytes], start: int, size: int) -> None:
    array = pa.array(fingerprints, schema.FINGERPRINT)
    assert as_bytes(shards.key_bytes(array)) == fingerprints
    assert as_bytes(shards.key_bytes(array.slice(start))) == fingerprints[start:]
    chunks = pa.chunked_array([array.slice(at, size) for at in range(0, len(array), size)], schema.FINGERPRINT)
    keys = shards.key_bytes(chunks)
    assert as_bytes(keys) == fingerprints
    assert keys.shape == (len(fingerprints), 20)


@given(st.lists(FINGERPRINTS))
def test_sort_order_is_the_stable_order_of_bytes(fingerprints: list[bytes]) -> None:
    expected = sorted(range(len(fingerprints)), key=fingerprints.__getitem__)
    assert shards.sort_order(as_keys(fingerprints)).tolist() == expected


@given(st.lists(FINGERPRINTS))
def test_sort_moves_whole_rows_and_keeps_the_order_of_equal_ones(fingerprints: list[bytes]) -> None:
    table = pa.table(
        {
            "fingerprint": pa.array(fingerprints, schema.FINGERPRINT),
            "row": pa.array(range(len(fingerprints)), pa.int64()),
        }
    )
    rows = list(zip(fingerprints, range(len(fingerprints)), strict=True))
    assert [tuple(row.values()) for row in shards.sort(table).to_pylist()] == sorted(rows)


@given(st.lists(FINGERPRINTS, unique=True), st.lists(FINGERPRINTS, unique=True))
def test_match_says_where_each_stands_or_belongs(keys: list[bytes], wanted: list[bytes]) -> None:
    keys.sort()
    wanted.sort()
    place, found = shards.match(as_keys(keys), as_keys(wanted))
    assert place.tolist() == [bisect.bisect_left(keys, key) for key in wanted]
    assert found.tolist() == [key in keys for key in wanted]


@given(st.lists(FINGERPRINTS, unique=True), st.lists(FINGERPRINTS))
def test_contains_is_membership_in_any_order(keys: list[bytes], wanted: list[bytes]) -> None:
    wanted += keys[::2]
    random.Random(len(keys)).shuffle(wanted)
    found = shards.contains(as_keys(sorted(keys)), as_keys(wanted))
    assert found.tolist() == [key in keys for key in wanted]


@given(st.lists(FINGERPRINTS), st.integers(0, 16))
def test_shard_is_the_number_the_leading_bits_make(fingerprints: list[bytes], bits: int) -> None:
    expected = [int.from_bytes(key, "big") >> (160 - bits) for key in fingerprints]
    assert shards.shard_of(as_keys(fingerprints), 1 << bits).tolist() == expected


@given(st.lists(FINGERPRINTS, unique=True), st.integers(0, 16))
def test_split_cuts_into_the_shards_and_loses_nothing(fingerprints: list[bytes], bits: int) -> None:
    fingerprints.sort()
    pieces = list(shards.split(pa.table({"fingerprint": pa.array(fingerprints, schema.FINGERPRINT)}), 1 << bits))
    assert [shard for shard, _ in pieces] == sorted({shard for shard, _ in pieces})
    assert all(piece.num_rows for _, piece in pieces)
    assert [key for _, piece in pieces for key in piece["fingerprint"].to_pylist()] == fingerprints
    for shard, piece in pieces:
        assert set(shards.shard_of(shards.key_bytes(piece["fingerprint"]), 1 << bits).tolist()) == {shard}


# -- files: what is written is read --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("row_group", [3, 7, 100])
def test_every_schema_comes_back_as_it_was_written(sample: Any, tmp_path: Path, name: str, row_group: int) -> None:
    for seed in range(2):
        table = sample.table(SCHEMAS[name], sample.keys(30, seed), seed)
        path = f"{tmp_path}/{seed}.parquet"
        with Writer(FS, path, SCHEMAS[name], row_group) as writer:
            for start in range(0, 30, 9):  # other pieces than the row groups, with dictionaries of their own
                piece = table.slice(start, 9)
                dictionaries = [field.name for field in piece.schema if pa.types.is_dictionary(field.type)]
                for column in dictionaries:
                    place = piece.schema.get_field_index(column)
                    own = piece[column].cast(pa.string()).dictionary_encode()
                    piece = piece.set_column(place, piece.schema.field(place), own)
                writer.write(piece)
        assert writer.file == shards.File(f"{seed}.parquet", 30, os.path.getsize(path))
        reader = Reader(FS, path)
        assert reader.rows == 30
        tables = list(reader.tables())
        assert [piece.num_rows for piece in tables] == [min(row_group, 30 - at) for at in range(0, 30, row_group)]
        for piece in tables:
            piece.validate(full=True)
            assert piece.schema.equals(SCHEMAS[name])
        assert sample.rows(pa.concat_tables(tables)) == sample.rows(table)
        assert sample.rows(reader.read()) == sample.rows(table)
        reader.close()


@pytest.mark.parametrize("name", SCHEMAS)
def test_any_columns_can_be_read_alone(sample: Any, tmp_path: Path, name: str) -> None:
    names = SCHEMAS[name].names
    chosen = random.Random(1)
    for seed in range(2):
        table = sample.table(SCHEMAS[name], sample.keys(20, seed), seed, null_share=0.6)
        with Writer(FS, f"{tmp_path}/{seed}", SCHEMAS[name], 11) as writer:
            writer.write(table)
        reader = Reader(FS, f"{tmp_path}/{seed}")
        for columns in [*([column] for column in names), *(chosen.sample(names, 5) for _ in range(10))]:
            read = reader.read(columns)
            assert sorted(read.column_names) == sorted(columns)
            assert sample.rows(read.select(columns)) == sample.rows(table.select(columns))
        reader.close()


def test_parts_of_nested_columns_can_be_read_alone(sample: Any, tmp_path: Path) -> None:
    table = sample.table(schema.PARSED, sample.keys(30), 3, null_share=0.1)
    with Writer(FS, f"{tmp_path}/x", schema.PARSED, 8) as writer:
        writer.write(table)
    reader = Reader(FS, f"{tmp_path}/x")
    read = reader.read(["fingerprint", "outlinks.list.element.fingerprint", "outlinks.list.element.url"])
    expected = [
        None if links is None else [{"fingerprint": link["fingerprint"], "url": link["url"]} for link in links]
        for links in table["outlinks"].to_pylist()
    ]
    assert read["outlinks"].to_pylist() == expected
    reader.close()


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_of_columns_that_are_null_altogether(sample: Any, tmp_path: Path, name: str) -> None:
    table = sample.table(SCHEMAS[name], sample.keys(20), null_share=1.0)
    with Writer(FS, f"{tmp_path}/x", SCHEMAS[name], 8) as writer:
        writer.write(table)
    reader = Reader(FS, f"{tmp_path}/x")
    read = reader.read()
    read.validate(full=True)
    assert sample.rows(read) == sample.rows(table)
    assert read.schema.equals(SCHEMAS[name])
    reader.close()


@pytest.mark.parametrize("company", [None, [("key", "value")], [("key", None)]])
def test_an_empty_map_is_null_whatever_stands_beside_it(sample: Any, tmp_path: Path, company: Any) -> None:
    table = sample.table(schema.STATE, sample.keys(4), null_share=0.0)
    for name in ("metadata", "headers"):
        place = table.schema.get_field_index(name)
        values = pa.array([[], company, None, []], schema.METADATA)
        table = table.set_column(place, table.schema.field(place), values)
    with Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
        writer.write(table)
    reader = Reader(FS, f"{tmp_path}/x")
    assert reader.read(["metadata"])["metadata"].to_pylist() == [None, company, None, None]
    assert reader.read()["headers"].to_pylist() == [None, company, None, None]
    reader.close()


def test_file_without_rows(tmp_path: Path) -> None:
    with Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
        writer.write(schema.STATE.empty_table())
    assert writer.file.rows == 0
    reader = Reader(FS, f"{tmp_path}/x")
    assert reader.rows == 0
    assert reader.read().schema.equals(schema.STATE)
    assert reader.read(["url", "host"]).column_names == ["url", "host"]
    assert reader.lookup(bytes(20)).num_rows == 0
    assert Cursor(reader, None).done


def test_column_order_of_what_is_written_does_not_matter(sample: Any, tmp_path: Path) -> None:
    table = sample.table(schema.FETCHLIST, sample.keys(5))
    with Writer(FS, f"{tmp_path}/x", schema.FETCHLIST) as writer:
        writer.write(table.select(table.column_names[::-1]))
    reader = Reader(FS, f"{tmp_path}/x")
    assert sample.rows(reader.read()) == sample.rows(table)
    reader.close()


def test_other_programs_read_the_file_as_it_is(sample: Any, tmp_path: Path) -> None:
    table = sample.table(schema.STATE, sample.keys(20))
    with Writer(FS, f"{tmp_path}/x", schema.STATE, 6) as writer:
        writer.write(table)
    assert sample.rows(pq.read_table(f"{tmp_path}/x")) == sample.rows(table)


# -- files: all or nothing -----------------------------------------------------------------------------------


def test_no_file_appears_before_it_is_finished(sample: Any, tmp_path: Path) -> None:
    writer = Writer(FS, f"{tmp_path}/x", schema.STATE, 2)
    writer.write(sample.table(schema.STATE, sample.keys(9)))
    assert FS.names(str(tmp_path)) == []
    writer.close()
    assert os.listdir(tmp_path) == ["x"]


def test_no_file_after_an_exception(sample: Any, tmp_path: Path) -> None:
    def fail_midway() -> None:
        with Writer(FS, f"{tmp_path}/x", schema.STATE, 2) as writer:
            writer.write(sample.table(schema.STATE, sample.keys(9)))
            raise RuntimeError("the job failed")

    with pytest.raises(RuntimeError, match="the job failed"):
        fail_midway()
    assert os.listdir(tmp_path) == []


def test_no_file_when_finishing_it_fails(sample: Any, tmp_path: Path) -> None:
    broken = sample.table(schema.STATE, sample.keys(9)).drop_columns(["url"])
    with pytest.raises(KeyError), Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
        writer.write(broken)  # no row group is full, so it's looked at when the file is closed
    assert os.listdir(tmp_path) == []


class FullDisk(LocalFileSystem):
    """Has room for `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open_output(self, path: str) -> Any:
        """A file that fails when there is no room."""
        disk = self
        file = super().open_output(path)

        class Output:
            closed = False

            def write(self, data: Any) -> int:
                disk.room -= len(data)
                if disk.room < 0:
                    raise OSError(28, "No space left on device")
                return int(file.write(data))

            def flush(self) -> None:
                file.flush()

            def tell(self) -> int:
                return int(file.tell())

            def close(self) -> None:
                self.closed = True
                file.close()

        return Output()


@pytest.mark.parametrize("room", [0, 3, 100, 2000, 6000])
def test_no_file_on_a_full_disk(sample: Any, tmp_path: Path, room: int) -> None:
    table = sample.table(schema.STATE, sample.keys(60), null_share=0.0)
    with (
        pytest.raises(OSError, match="No space left"),
        Writer(FullDisk(room), f"{tmp_path}/x", schema.STATE, 7) as writer,
    ):
        writer.write(table)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("moment", ["while it was open", "before it was closed"])
def test_writer_whose_directory_was_swept_was_beaten(sample: Any, tmp_path: Path, moment: str) -> None:
    path = f"{tmp_path}/00000003-delta/part"
    writer = Writer(FS, path, schema.STATE, 2)
    if moment == "before it was closed":
        writer.write(sample.table(schema.STATE, sample.keys(9)))
    FS.remove(f"{tmp_path}/00000003-delta")
    with pytest.raises(ConflictError, match=r"00000003-delta/part: .* run it again"):
        writer.close()
    assert os.listdir(tmp_path) == []


# -- files that are not what they should be ------------------------------------------------------------------


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptionError, match=f"^{tmp_path}/nothing.parquet: the file is missing"):
        Reader(FS, f"{tmp_path}/nothing.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet" * 100, b"PAR1" + bytes(100) + b"PAR1"])
def test_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CorruptionError, match=f"^{tmp_path}/x: not a readable Parquet file: "):
        Reader(FS, f"{tmp_path}/x")


def test_truncated_file_is_named(sample: Any, tmp_path: Path) -> None:
    with Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
        writer.write(sample.table(schema.STATE, sample.keys(20)))
    content = (tmp_path / "x").read_bytes()
    for size in (len(content) - 1, len(content) // 2, 10):
        (tmp_path / "y").write_bytes(content[:size])
        with pytest.raises(CorruptionError, match=f"^{tmp_path}/y: "):
            Reader(FS, f"{tmp_path}/y")


def test_any_bit_that_flipped_in_a_page_is_noticed(sample: Any, tmp_path: Path) -> None:
    """Zstandard alone lets many through: every page has a checksum of its own."""
    with Writer(FS, f"{tmp_path}/x", schema.STATE, 20) as writer:
        writer.write(sample.table(schema.STATE, sample.keys(60), null_share=0.0))
    content = (tmp_path / "x").read_bytes()
    metadata = pq.ParquetFile(f"{tmp_path}/x").metadata
    chosen = random.Random(2)
    for _ in range(60):
        column = metadata.row_group(chosen.randrange(3)).column(chosen.randrange(metadata.num_columns))
        # The last byte of a column is a page's, and no page header's.
        end = column.data_page_offset + column.total_compressed_size
        if column.dictionary_page_offset is not None:
            end = column.dictionary_page_offset + column.total_compressed_size
        broken = bytearray(content)
        broken[end - 1] ^= 1 << chosen.randrange(8)
        (tmp_path / "y").write_bytes(broken)
        reader = Reader(FS, f"{tmp_path}/y")
        with pytest.raises(CorruptionError, match=f"^{tmp_path}/y: row group [0-2] cannot be read: "):
            reader.read()
        reader.close()


def test_newer_schema_version_is_refused(sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(shards, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
        with Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
            writer.write(sample.table(schema.STATE, sample.keys(3)))
        Reader(FS, f"{tmp_path}/x").close()
    with pytest.raises(CorruptionError, match=r"/x: schema version 2 is newer than this program's 1; install a newer"):
        Reader(FS, f"{tmp_path}/x")


def test_schema_on_disk_is_the_one_that_was_agreed_on(tmp_path: Path, checkout: Path) -> None:
    """A change here changes files that are out there: think of those, raise SCHEMA_VERSION, then write the new file."""
    found: dict[str, Any] = {}
    for name, columns in SCHEMAS.items():
        with Writer(FS, f"{tmp_path}/{name}", columns):
            pass
        arrow = pq.read_schema(f"{tmp_path}/{name}")
        assert arrow.metadata[b"cobnut.schema_version"] == str(schema.SCHEMA_VERSION).encode()
        found[name] = {field.name: f"{spelled(field.type)}{'' if field.nullable else ' not null'}" for field in arrow}
    found["schema_version"] = schema.SCHEMA_VERSION
    golden = checkout / "tests/crawldb/golden/schema.json"
    assert found == json.loads(golden.read_text()), json.dumps(found, indent=1)


def test_columns_that_an_older_file_lacks_are_null(sample: Any, tmp_path: Path) -> None:
    """New nullable columns do not make older files unreadable, whichever columns are asked for."""
    keys = sample.keys(20)
    table = sample.table(schema.CONTENT, keys)
    newer = {"url", "elapsed", "protocol", "response_headers"}
    older = pa.schema([field for field in schema.CONTENT if field.name not in newer])
    with Writer(FS, f"{tmp_path}/x", older, 8) as writer:
        writer.write(table.select(older.names))
    with Writer(FS, f"{tmp_path}/empty", older):
        pass
    expected = [{**row, **dict.fromkeys(newer)} for row in sample.rows(table)]
    for columns in (None, ["url"], ["elapsed", "host", "protocol"], ["host"], ["response_headers", "fingerprint"]):
        names = schema.CONTENT.names if columns is None else columns
        reader = Reader(FS, f"{tmp_path}/x", schema.CONTENT)
        read = reader.read(columns)
        assert sorted(read.column_names) == sorted(names)
        assert all(read.schema.field(name).type == schema.CONTENT.field(name).type for name in names)
        assert sample.rows(read.select(names)) == [{name: row[name] for name in names} for row in expected]
        reader.close()
        none = Reader(FS, f"{tmp_path}/empty", schema.CONTENT)
        assert sorted(none.read(columns).column_names) == sorted(names)
        none.close()
    reader = Reader(FS, f"{tmp_path}/x", schema.CONTENT)
    assert sample.rows(reader.lookup(keys[9]).select(schema.CONTENT.names)) == [expected[9]]
    assert reader.lookup(bytes(20)).column_names == [*older.names, *(n for n in schema.CONTENT.names if n in newer)]
    reader.close()


@given(st.sets(st.integers(0, 59)), st.integers(1, 20))
def test_select_is_a_filter_by_fingerprint(
    sample: Any, tmp_path_factory: pytest.TempPathFactory, chosen: set[int], row_group: int
) -> None:
    keys = sample.keys(60)
    table = sample.table(schema.STATE, keys).select(["fingerprint", "url"])
    path = f"{tmp_path_factory.mktemp('select')}/x"
    with Writer(FS, path, table.schema, row_group) as writer:
        writer.write(table)
    wanted = sorted([keys[number] for number in chosen] + [bytes(20), b"\xff" * 20])
    reader = Reader(FS, path)
    found = [row for part in reader.select(as_keys(wanted), ["fingerprint", "url"]) for row in sample.rows(part)]
    assert found == [row for row in sample.rows(table) if row["fingerprint"] in wanted]
    reader.close()


# -- reading only what is wanted -----------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str] | None]]:
    """(row group, columns) of every read from now on."""
    made: list[tuple[int, list[str] | None]] = []
    read = Reader._read

    def note(self: Reader, group: int, columns: Any) -> pa.Table:
        made.append((group, columns))
        return read(self, group, columns)

    monkeypatch.setattr(Reader, "_read", note)
    return made


def test_lookup_finds_every_row_and_reads_one_row_group(
    sample: Any, tmp_path: Path, reads: list[tuple[int, list[str] | None]]
) -> None:
    keys = sample.keys(60)
    table = sample.table(schema.STATE, keys)
    with Writer(FS, f"{tmp_path}/x", schema.STATE, 8) as writer:
        writer.write(table)
    reader = Reader(FS, f"{tmp_path}/x")
    for place, key in enumerate(keys):
        reads.clear()
        assert sample.rows(reader.lookup(key)) == sample.rows(table.slice(place, 1))
        assert reads == [(place // 8, ["fingerprint"]), (place // 8, None)]
    reader.close()


def test_lookup_of_what_is_not_there_reads_keys_at_most(
    sample: Any, tmp_path: Path, reads: list[tuple[int, list[str] | None]]
) -> None:
    keys = sample.keys(60)
    with Writer(FS, f"{tmp_path}/x", schema.STATE, 8) as writer:
        writer.write(sample.table(schema.STATE, keys))
    reader = Reader(FS, f"{tmp_path}/x")
    for absent in [bytes(20), b"\xff" * 20, *(key[:19] + bytes([key[19] ^ 7]) for key in keys)]:
        reads.clear()
        found = reader.lookup(absent)
        assert found.num_rows == 0
        assert found.schema.equals(schema.STATE)
        assert len(reads) <= 1
        assert all(columns == ["fingerprint"] for _, columns in reads)
    reader.close()


def test_columns_that_are_null_are_not_decoded(sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = sample.table(schema.STATE, sample.keys(20), null_share=1.0)
    with Writer(FS, f"{tmp_path}/x", schema.STATE) as writer:
        writer.write(table)
    reader = Reader(FS, f"{tmp_path}/x")
    decoded: list[str] = []
    read_row_group = reader._parquet.read_row_group

    def note(group: int, columns: list[str], use_threads: bool) -> pa.Table:
        decoded.extend(columns)
        return read_row_group(group, columns=columns, use_threads=use_threads)

    monkeypatch.setattr(reader._parquet, "read_row_group", note)
    reader.read()
    assert decoded == [field.name for field in schema.STATE if not field.nullable]
    reader.close()


# -- Cursor --------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(FINGERPRINTS, unique=True, max_size=30), st.lists(FINGERPRINTS, max_size=12), st.integers(1, 8))
def test_cursor_yields_the_buffered_rows_up_to_each_bound(
    tmp_path_factory: pytest.TempPathFactory, keys: list[bytes], bounds: list[bytes], row_group: int
) -> None:
    keys.sort()
    only = pa.schema([schema.STATE.field("fingerprint")])
    path = f"{tmp_path_factory.mktemp('cursor')}/x"
    with Writer(FS, path, only, row_group) as writer:
        writer.write(pa.table({"fingerprint": pa.array(keys, schema.FINGERPRINT)}, only))
    cursor = Cursor(Reader(FS, path), ["fingerprint"])
    rest = list(keys)
    for bound in [*sorted(bounds), *(b"\xff" * 20 for _ in range(len(keys) + 1))]:
        assert cursor.done == (not rest)
        if rest:
            buffered = row_group - (len(keys) - len(rest)) % row_group
            assert cursor.last == rest[:buffered][-1]
            expected = [key for key in rest[:buffered] if key <= bound]
            taken = cursor.take(bound)
            assert (taken["fingerprint"].to_pylist() if taken else []) == expected
            del rest[: len(expected)]
    assert cursor.done
    assert cursor.take(b"\xff" * 20) is None
    assert not rest


def test_cursor_reads_a_row_group_only_when_the_one_before_is_used_up(
    sample: Any, tmp_path: Path, reads: list[tuple[int, list[str] | None]]
) -> None:
    keys = sample.keys(30)
    with Writer(FS, f"{tmp_path}/x", schema.STATE, 10) as writer:
        writer.write(sample.table(schema.STATE, keys))
    cursor = Cursor(Reader(FS, f"{tmp_path}/x"), ["fingerprint", "url"])
    for place, key in enumerate(keys):
        assert len(reads) == place // 10 + 1
        assert len(cursor._keys) == 10 - place % 10
        cursor.take(key)
    assert cursor.done
    assert reads == [(group, ["fingerprint", "url"]) for group in range(3)]
