"""The values of a column as text, a whole column at a time: for jsonl, csv and tables.

Owns how a value looks: fingerprints, signatures and simhashes as lower-case hex, times as ISO 8601 in UTC with
milliseconds (2026-11-24T10:15:00.000Z), numbers in their shortest form, a map or a struct as a JSON object, a list as
a JSON array, other bytes as base64 (RFC 4648).
A score that is no number (NaN, infinite) has no JSON form and counts as null. Does not know rows or files: `formats`
does.

A *piece* of a row's text is a `str`, the same in every row, or an array with a text for each row.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_DAY = 86_400_000
_MAX_DAYS = 4096
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31, in days since 1970: what has a year of four digits."""
_EXPONENT_FROM = 1e10
"""From here on Arrow writes floats with an exponent."""


def join(pieces: Sequence[Any], null: str | None = None) -> pa.Array:
    """The pieces of each row, end to end. A null makes the row null, unless `null` is written for it."""
    merged: list[Any] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    if null is None:
        return pc.binary_join_element_wise(*merged, "")
    return pc.binary_join_element_wise(*merged, "", null_handling="replace", null_replacement=null)


def plain(column: pa.Array) -> pa.Array:
    """Each value's text, as csv and tables show it; null stays null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(column.dictionary).take(column.indices)
    if pa.types.is_string(kind):
        return column
    if pa.types.is_fixed_size_binary(kind):
        return _fixed(_hex(column), column, "", "")
    if pa.types.is_timestamp(kind):
        times = _times(column)
        return _slow_times(column) if times is None else _fixed(times, column, "", "")
    if pa.types.is_floating(kind):
        return _floats(column)
    if pa.types.is_uint64(kind):
        return _fixed(_hex_of_64(column), column, "", "")
    if pa.types.is_integer(kind):
        return _integers(column, "")
    if pa.types.is_map(kind):
        return _objects(column)
    if pa.types.is_list(kind):
        return _lists(column)
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()],
                        pa.string())  # fmt: skip
    return column.cast(pa.string())


def json_pieces(column: pa.Array, before: str) -> list[Any]:
    """`before` and each value as JSON, in as few pieces as can be, for `join(…, null="null")`."""
    kind = column.type
    if column.null_count == len(column):
        return [before + "null"]
    if pa.types.is_dictionary(kind):
        names = column.dictionary
        if len(names) > len(column):  # of a whole row group: not worth escaping for these few rows
            return json_pieces(column.cast(pa.string()), before)
        if column.null_count or names.null_count:
            return [before, join(['"', escape(names), '"']).take(column.indices)]
        return [join([before + '"', escape(names), '"']).take(column.indices)]
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_timestamp(kind):
        matrix = _hex(column) if pa.types.is_fixed_size_binary(kind) else _times(column)
        if matrix is not None:
            if column.null_count:
                return [before, _fixed(matrix, column, '"', '"')]
            return [_fixed(matrix, column, before + '"', '"')]
    if pa.types.is_uint64(kind):
        digits = _hex_of_64(column)
        return (
            [before, _fixed(digits, column, '"', '"')]
            if column.null_count
            else [_fixed(digits, column, before + '"', '"')]
        )
    if pa.types.is_integer(kind):
        return [before, _integers(column, "")] if column.null_count else [_integers(column, before)]
    if is_json(kind):
        return [before, plain(column)]
    text = escape(column) if pa.types.is_string(kind) else plain(column)
    return [before, join(['"', text, '"'])] if column.null_count else [before + '"', text, '"']


def is_json(kind: pa.DataType) -> bool:
    """Whether the text of such values is JSON as it stands, and no text in JSON."""
    tests = (pa.types.is_floating, pa.types.is_boolean, pa.types.is_map, pa.types.is_list, pa.types.is_struct)
    return any(test(kind) for test in tests)


def escape(text: pa.Array) -> pa.Array:
    """Each value as it stands between the quotes of a JSON string (RFC 8259 §7)."""
    data = data_of(text)
    if not len(data):
        return text
    if (data == 0x5C).any():
        text = pc.replace_substring(text, "\\", "\\\\")
    if (data == 0x22).any():
        text = pc.replace_substring(text, '"', '\\"')
    if data.min() < 0x20:
        for code in np.unique(data[data < 0x20]).tolist():
            text = pc.replace_substring(text, chr(code), json.dumps(chr(code))[1:-1])
    return text


def data_of(text: pa.Array) -> Bytes:
    """The bytes of all values of a string array."""
    _, offsets, data = text.buffers()
    if not len(text) or data is None:
        return np.empty(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    return np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]


def _fixed(matrix: Bytes, like: pa.Array, before: str, after: str) -> pa.Array:
    """The rows of `matrix` between `before` and `after` as strings, null where `like` is null."""
    rows, width = matrix.shape
    head, tail = before.encode(), after.encode()
    whole = len(head) + width + len(tail)
    data = np.empty((rows, whole), np.uint8)
    data[:, : len(head)] = np.frombuffer(head, np.uint8)
    data[:, len(head) : len(head) + width] = matrix
    data[:, len(head) + width :] = np.frombuffer(tail, np.uint8)
    valid = None
    if like.null_count:
        valid = pa.py_buffer(np.packbits(like.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(whole)
    return pa.Array.from_buffers(pa.string(), rows, [valid, pa.py_buffer(offsets), pa.py_buffer(data)])


_HEX_PAIRS = np.frombuffer(bytes(range(256)).hex().encode(), np.uint16)


def _hex_of_64(column: pa.Array) -> Bytes:
    """16 lower-case digits for each value of a column of uint64, the highest first: a fingerprint, not an amount, and
    more than a JavaScript number holds (RFC 8259 §6)."""
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(">u8")
    return _hex(pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(values), [None, pa.py_buffer(values.tobytes())]))


def _hex(column: pa.Array) -> Bytes:
    """Two lower-case digits for each byte of a fixed-size binary column, (rows, 2 × size)."""
    size = column.type.byte_width
    data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    data = data[column.offset * size : (column.offset + len(column)) * size]
    return _HEX_PAIRS[data].view(np.uint8).reshape(len(column), 2 * size)


def _texts(texts: list[str]) -> NDArray[np.void]:
    """Texts of one length as NumPy items that are copied whole."""
    return np.frombuffer("".join(texts).encode(), f"V{len(texts[0])}")


_MINUTES = _texts([f"T{minute // 60:02}:{minute % 60:02}" for minute in range(24 * 60)])
_SECONDS = _texts([f":{second:02}" for second in range(60)])
_MILLISECONDS = _texts([f".{millisecond:03}Z" for millisecond in range(1000)])


def _times(column: pa.Array) -> Bytes | None:
    """The 24 characters of each time, (rows, 24); None where years or their span are out of the ordinary."""
    bounds = pc.min_max(column)
    low, high = bounds["min"].value, bounds["max"].value
    if low is None:
        return np.zeros((len(column), 24), np.uint8)
    first, last = low // _DAY, high // _DAY
    if first < _FIRST_DAY or last > _LAST_DAY or last - first > _MAX_DAYS:
        return None
    if column.null_count:
        column = column.fill_null(pa.scalar(low, column.type))
    day, rest = np.divmod(column.view(pa.int64()).to_numpy(), _DAY)
    calendar = np.datetime_as_string(np.arange(first, last + 1).astype("M8[D]"), unit="D")
    days = _texts(calendar.tolist())
    minute, millisecond = np.divmod(rest.astype(np.int32), 60_000)
    second, millisecond = np.divmod(millisecond, 1000)
    text = np.empty(len(day), [("day", "V10"), ("minute", "V6"), ("second", "V3"), ("rest", "V5")])
    text["day"] = days[day - first]
    text["minute"] = _MINUTES[minute]
    text["second"] = _SECONDS[second]
    text["rest"] = _MILLISECONDS[millisecond]
    return text.view(np.uint8).reshape(-1, 24)


def _slow_times(column: pa.Array) -> pa.Array:
    text = column.cast(pa.timestamp("ms")).cast(pa.string())
    return join([pc.replace_substring(text, " ", "T"), "Z"])


def _integers(column: pa.Array, before: str) -> pa.Array:
    """`before` and the digits. The numbers of a crawldb repeat: each distinct one is written once."""
    distinct = column.dictionary_encode()
    return join([before, distinct.dictionary.cast(pa.string())]).take(distinct.indices)


def _floats(column: pa.Array) -> pa.Array:
    """The shortest text that reads back as the same float32, always recognisable as a float."""
    values = column.to_numpy(zero_copy_only=False)
    text = column.cast(pa.string())
    finite = np.isfinite(values)
    if not finite.all():
        text = pc.if_else(pa.array(finite), text, None)
    whole = finite & (np.floor(values) == values) & (np.abs(values) < _EXPONENT_FROM)
    return pc.if_else(pa.array(whole), join([text, ".0"]), text) if whole.any() else text


def _objects(column: pa.Array) -> pa.Array:
    """Maps of text to text as JSON objects."""
    offsets = column.offsets.to_numpy()
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    pieces = [*json_pieces(column.keys.slice(first, length), ""), *json_pieces(column.items.slice(first, length), ":")]
    members = join(pieces, null="null") if length else pa.array([], pa.string())
    lists = pa.ListArray.from_arrays(pa.array(offsets - first, pa.int32()), members)
    text = join(["{", pc.binary_join(lists, ","), "}"])
    return pc.if_else(column.is_valid(), text, None) if column.null_count else text


def _lists(column: pa.Array) -> pa.Array:
    """Lists as JSON arrays."""
    offsets = column.offsets.to_numpy()
    first, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    members = join([pa.repeat("", length), *json_pieces(column.values.slice(first, length), "")], null="null")
    lists = pa.ListArray.from_arrays(pa.array(offsets - first, pa.int32()), members)
    text = join(["[", pc.binary_join(lists, ","), "]"])
    return pc.if_else(column.is_valid(), text, None) if column.null_count else text


def _structs(column: pa.Array) -> pa.Array:
    """Structs as JSON objects with all their fields."""
    pieces: list[Any] = [pa.repeat("{", len(column))]
    for place, field in enumerate(column.type):
        pieces += json_pieces(column.field(place), ("," if place else "") + json.dumps(field.name) + ":")
    text = join([*pieces, "}"], null="null")
    return pc.if_else(column.is_valid(), text, None) if column.null_count else text
