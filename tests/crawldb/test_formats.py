"""The family of formats: one contract over all of them, and what is particular to each."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import formats, schema

COLUMNS = pa.schema([schema.STATE.field(name) for name in ("fingerprint", "url", "status", "score", "metadata")])


def rows(number: int, url: str = "https://a.example/") -> pa.Table:
    """So many rows, the status null in none and the score null in every third."""
    return pa.Table.from_pylist([
        {"fingerprint": place.to_bytes(20, "big"), "url": f"{url}{place}", "status": ("fetched", "gone")[place % 2],
         "score": None if place % 3 == 0 else place / 4, "metadata": [("k", '"')] if place % 5 == 0 else None}
        for place in range(number)
    ], schema=COLUMNS)  # fmt: skip


def written(name: str, tables: list[pa.Table], width: int = 0, columns: pa.Schema = COLUMNS) -> tuple[int, bytes]:
    """What a format writes, and how many rows it says it wrote."""
    output = io.BytesIO()
    number = formats.FORMATS[name](iter(tables), columns, output, width)
    return number, output.getvalue()


def read_jsonl(content: bytes) -> list[list[Any]]:
    return [list(json.loads(line).values()) for line in content.splitlines()]


def read_csv(content: bytes) -> list[list[Any]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]


def read_table(content: bytes) -> list[list[Any]]:
    return [line.split() for line in content.decode().splitlines()[1:]]


def read_parquet(content: bytes) -> list[list[Any]]:
    return [list(row.values()) for row in pq.read_table(io.BytesIO(content)).to_pylist()]


READERS: dict[str, Callable[[bytes], list[list[Any]]]] = {
    "jsonl": read_jsonl, "csv": read_csv, "table": read_table, "parquet": read_parquet,
}  # fmt: skip


def test_every_format_is_under_the_contract() -> None:
    assert READERS.keys() == formats.FORMATS.keys()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 4], [40, 2]])
def test_all_rows_in_order_however_they_are_cut(name: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_BATCH_ROWS", 16)
    monkeypatch.setattr(formats, "_PARQUET_ROWS", 32)
    monkeypatch.setattr(formats, "_SAMPLE_ROWS", 20)
    table = rows(sum(sizes))
    tables, place = [], 0
    for size in sizes:
        tables.append(table.slice(place, size))
        place += size
    number, content = written(name, tables)
    read = READERS[name](content)
    assert number == len(read) == sum(sizes)
    key = (lambda n: n.to_bytes(20, "big")) if name == "parquet" else (lambda n: f"{n:040x}")
    assert [row[0] for row in read] == [key(n) for n in range(sum(sizes))]
    assert read == READERS[name](written(name, [table])[1])


def test_rows_too_large_for_one_batch_are_cut() -> None:
    large = rows(3, "https://a.example/" + "x" * (formats._BATCH_BYTES // 2))
    number, content = written("jsonl", [large])
    assert number == 3
    assert [row[1] for row in read_jsonl(content)] == large["url"].to_pylist()


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\r\n'), max_size=8)


CSV_TEXT = ANY_TEXT if sys.version_info >= (3, 11) else ANY_TEXT.map(lambda text: text.replace("\0", ""))
"""Before Python 3.11 the csv module did not read NUL characters."""


@given(st.lists(st.tuples(CSV_TEXT, CSV_TEXT), min_size=1, max_size=5))
def test_csv_is_what_a_csv_reader_reads_back(texts: list[tuple[str, str]]) -> None:
    columns = pa.schema([("url", pa.string()), ("reason", schema.NAME)])
    table = pa.Table.from_pylist([{"url": url, "reason": reason} for url, reason in texts], schema=columns)
    _, content = written("csv", [table], columns=columns)
    assert [tuple(row) for row in read_csv(content)] == texts


def test_csv_tells_null_from_empty_and_ends_lines_with_crlf() -> None:
    columns = pa.schema([("etag", pa.string()), ("url", pa.string())])
    table = pa.table({"etag": pa.array(["", None, 'W/"a"']), "url": pa.array(["a,b", "c", ""])})
    assert written("csv", [table], columns=columns)[1] == b'etag,url\r\n"","a,b"\r\n,c\r\n"W/""a""",""\r\n'


def test_parquet_keeps_types_and_merges_small_tables() -> None:
    tables = [rows(7).slice(place, 1) for place in range(7)]
    file = pq.ParquetFile(io.BytesIO(written("parquet", tables)[1]))
    assert file.metadata.num_row_groups == 1
    assert file.schema_arrow.equals(COLUMNS)
    assert file.read().equals(rows(7))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_the_terminal(width: int) -> None:
    columns = pa.schema([schema.STATE.field(name) for name in ("url", "status", "score")])
    lines = written("table", [rows(5, "https://a.example/" + "path/" * 30).select(columns.names)], width, columns)[1]
    texts = lines.decode().splitlines()
    assert all(len(text) <= width for text in texts)
    assert all("…" in text for text in texts[1:])
    assert [text.rstrip()[-4:].strip() for text in texts[1:]] == ["-", "0.25", "0.5", "-", "1.0"]


def test_a_table_without_a_terminal_is_whole() -> None:
    url = "https://a.example/" + "path/" * 100
    assert f"{url}0" in written("table", [rows(1, url)])[1].decode()


def test_a_table_counts_wide_characters_and_escapes_control_characters() -> None:
    columns = pa.schema([("etag", pa.string()), ("url", pa.string())])
    table = pa.table({"etag": ["日本", "\x1b[31m\n\u202e", "e\u0301"], "url": ["u", "v", "w"]})
    text = written("table", [table], columns=columns)[1].decode()
    escaped = "\\u001b[31m\\u000a\\u202e"
    width = len(escaped) + 2
    assert text.splitlines() == [
        "etag".ljust(width) + "url",
        "日本".ljust(width - 2) + "u",
        f"{escaped}  v",
        "e\u0301".ljust(width + 1) + "w",
    ]


@given(st.lists(ANY_TEXT.map(lambda text: "".join(formats.printable(pa.array([text])))), min_size=1, max_size=4),
       st.integers(1, 12))  # fmt: skip
def test_a_cut_cell_is_never_wider_than_its_column(texts: list[str], width: int) -> None:
    for text in texts:
        assert formats._columns(formats._cell(text, width, False, cut=True)) == width


def test_lists_of_texts() -> None:
    values = [['https://a.test/1,"x"', "é"], None, [], ["\n"]]
    lists = pa.table(
        {"host": ["x", "a", "b", "c", "d"], "sitemaps": pa.array([["cut"], *values], pa.list_(pa.string()))}
    ).slice(1)
    written = io.BytesIO()
    assert formats.jsonl([lists], lists.schema, written, 0) == 4
    assert [json.loads(line)["sitemaps"] for line in written.getvalue().splitlines()] == values
    written = io.BytesIO()
    formats.csv([lists], lists.schema, written, 0)
    (_, *found) = csv.reader(io.StringIO(written.getvalue().decode(), newline=""))
    assert [json.loads(text) if text else None for _, text in found] == values


def test_rows_of_nothing_but_nulls() -> None:
    nothing = pa.table({"reason": pa.nulls(2, pa.string())})
    written = io.BytesIO()
    assert formats.jsonl([nothing], nothing.schema, written, 0) == 2
    assert written.getvalue() == b'{"reason":null}\n' * 2
