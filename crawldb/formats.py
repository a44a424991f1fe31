"""How rows are written: the family of formats for dump.

A format writes tables of one schema to a binary stream and returns how many rows they were. All four write the rows
as they come and hold a bounded part of them.

Owns the layout of rows; how one value looks is `rowtext`'s business.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawldb import rowtext

Format = Callable[[Iterable[pa.Table], pa.Schema, IO[bytes], int], int]
"""(tables, their schema, output, columns of the terminal or 0 where there is none) -> rows written."""

_BATCH_ROWS = 1 << 15
_BATCH_BYTES = 16 << 20
"""Of Arrow data: the text of a batch is several times that and must stay below an array's 2 GiB."""
_PARQUET_ROWS = 1 << 17
_SAMPLE_ROWS = 1000
"""What a table's column widths are taken from."""


def jsonl(tables: Iterable[pa.Table], schema: pa.Schema, output: IO[bytes], width: int) -> int:
    """One JSON object a line, every column in it, in the schema's order; nulls are `null` (RFC 8259)."""
    keys = [("{" if place == 0 else ",") + json.dumps(name) + ":" for place, name in enumerate(schema.names)]

    def lines(batch: pa.RecordBatch) -> pa.Array:
        pieces = [piece for column, key in zip(batch.columns, keys, strict=True)
                  for piece in rowtext.json_pieces(column, key)]  # fmt: skip
        return rowtext.join([*pieces, "}\n"], null="null")

    return _write_lines(tables, output, lines)


def csv(tables: Iterable[pa.Table], schema: pa.Schema, output: IO[bytes], width: int) -> int:
    """RFC 4180: a header, CRLF, quotes where needed. Null is an empty field, the empty text is `""`."""
    output.write(",".join(_quoted(pa.array(schema.names, pa.string())).to_pylist()).encode() + b"\r\n")

    def lines(batch: pa.RecordBatch) -> pa.Array:
        pieces: list[Any] = []
        for column in batch.columns:
            pieces += ["" if column.null_count == len(column) else _field(column), ","]
        return rowtext.join([*pieces[:-1], "\r\n"], null="")

    return _write_lines(tables, output, lines)


def _field(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _field(column.dictionary).take(column.indices)
    text = rowtext.plain(column)
    nested = pa.types.is_nested(kind)
    return _quoted(text) if pa.types.is_string(kind) or nested else text


def _quoted(text: pa.Array) -> pa.Array:
    """In quotes where the text is empty or has a comma, a quote or a line break."""
    data = rowtext.data_of(text)
    special = any((data == ord(character)).any() for character in '",\r\n')
    empty = pc.equal(pc.binary_length(text), 0)
    if special:
        quoted = rowtext.join(['"', pc.replace_substring(text, '"', '""'), '"'])
        text = pc.if_else(pc.match_substring_regex(text, '[",\r\n]'), quoted, text)
    return pc.if_else(empty, '""', text) if pc.any(empty).as_py() else text


def _write_lines(tables: Iterable[pa.Table], output: IO[bytes], lines: Callable[[pa.RecordBatch], pa.Array]) -> int:
    rows = 0
    for batch in _batches(tables):
        text = lines(batch)
        if isinstance(text, pa.Scalar):  # every column of the batch is null in all rows
            text = pa.repeat(text, batch.num_rows)
        output.write(rowtext.data_of(text).data)
        rows += batch.num_rows
    return rows


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            yield from _halves(batch)


def _halves(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch, cut until its parts are small enough to be written as text."""
    if batch.num_rows > 1 and batch.nbytes > _BATCH_BYTES:
        middle = batch.num_rows // 2
        yield from _halves(batch.slice(0, middle))
        yield from _halves(batch.slice(middle))
    elif batch.num_rows:
        yield batch


def parquet(tables: Iterable[pa.Table], schema: pa.Schema, output: IO[bytes], width: int) -> int:
    """Parquet with zstd; columns of few distinct values are plain strings to other readers."""
    rows = 0
    with pq.ParquetWriter(pa.PythonFile(output, mode="w"), schema, compression="zstd") as writer:
        for table in _regrouped(tables):
            writer.write_table(table.unify_dictionaries().cast(schema), row_group_size=_PARQUET_ROWS)
            rows += table.num_rows
    return rows


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of about a row group, so that a selective filter does not make many small ones."""
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(part.num_rows for part in pending) >= _PARQUET_ROWS:
            yield pa.concat_tables(pending)
            pending = []
    if pending:
        yield pa.concat_tables(pending)


def table(tables: Iterable[pa.Table], schema: pa.Schema, output: IO[bytes], width: int) -> int:
    """Aligned columns under a header, for people.

    Widths come from the first rows. On a terminal (`width` > 0) the widest columns are cut until a row fits; without
    one nothing is cut, and a longer value further down pushes its row to the right.
    """
    rows = (row for batch in _batches(tables) for row in _cells(batch))
    sample = list(itertools.islice(rows, _SAMPLE_ROWS))
    right = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in schema]
    widths = [max(map(_columns, cells)) for cells in zip(schema.names, *sample, strict=True)]
    if width:
        _fit(widths, width - 2 * (len(widths) - 1))
    written = 0
    for row in itertools.chain([tuple(schema.names)], sample, rows):
        cells = (_cell(*cell, cut=bool(width)) for cell in zip(row, widths, right, strict=True))
        output.write("  ".join(cells).rstrip().encode() + b"\n")
        written += 1
    return written - 1


def _cells(batch: pa.RecordBatch) -> Iterator[tuple[str, ...]]:
    texts = [printable(rowtext.plain(column)) for column in batch.columns]
    return zip(*texts, strict=True)


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: pa.Array) -> list[str]:
    """Each value for a terminal: null as `-`, control characters escaped, since a server may have sent them."""
    return [
        "-" if value is None else _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
        for value in text.to_pylist()
    ]


def _fit(widths: list[int], room: int) -> None:
    """Narrow the widest columns, in place, until all fit; none below 3."""
    excess = sum(widths) - room
    while excess > 0 and max(widths) > 3:
        widest = max(widths)
        wide = [place for place, width in enumerate(widths) if width == widest]
        next_widest = max([width for width in widths if width < widest] + [3])
        step = max(1, min(widest - next_widest, -(-excess // len(wide))))
        for place in wide:
            taken = min(step, excess)
            widths[place] -= taken
            excess -= taken


def _cell(text: str, width: int, right: bool, *, cut: bool) -> str:
    if cut and _columns(text) > width:
        if text.isascii():
            text = text[: width - 1]
        while _columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    columns = _columns(text)
    padding = " " * (width - columns)
    return padding + text if right else text + padding


def _columns(text: str) -> int:
    """What a text takes on a terminal: East Asian characters take two columns, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


FORMATS: dict[str, Format] = {"table": table, "jsonl": jsonl, "csv": csv, "parquet": parquet}
