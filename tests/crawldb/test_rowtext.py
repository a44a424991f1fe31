"""Values as text: what json.loads reads back is what the column holds, whatever it is and wherever it was sliced."""

from __future__ import annotations

import base64
import json
import math
import struct
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import rowtext, schema

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SPECIAL = st.text(st.sampled_from('"\\\x00\x1f\x7f\b\f\n\r\t/é\u2028\U0001f600<'), max_size=6)
FLOAT32 = st.floats(width=32)
MAP = st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3, unique_by=lambda pair: pair[0])
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "string": (pa.string(), TEXT | SPECIAL),
    "name": (schema.NAME, TEXT | SPECIAL),
    "fingerprint": (schema.FINGERPRINT, st.binary(min_size=20, max_size=20)),
    "time": (schema.TIME, st.integers(-62135596800000, 253402300799999)),
    "recent time": (schema.TIME, st.integers(1_700_000_000_000, 1_700_100_000_000)),
    "float": (pa.float32(), FLOAT32),
    "small integer": (pa.int8(), st.integers(-128, 127)),
    "integer": (pa.int32(), st.integers(-(1 << 31), (1 << 31) - 1)),
    "boolean": (pa.bool_(), st.booleans()),
    "map": (schema.METADATA, MAP),
    "bytes": (pa.binary(), st.binary(max_size=9)),
}


def expected(kind: pa.DataType, value: Any) -> Any:
    """What JSON must say of a value, computed one by one."""
    if value is None:
        return None
    if pa.types.is_fixed_size_binary(kind):
        return value.hex()
    if pa.types.is_binary(kind):
        return base64.b64encode(value).decode()
    if pa.types.is_timestamp(kind):
        return (EPOCH + timedelta(milliseconds=value)).strftime("%Y-%m-%dT%H:%M:%S.").rjust(
            20, "0"
        ) + f"{value % 1000:03}Z"
    if pa.types.is_map(kind):
        return dict(value)
    if pa.types.is_floating(kind):
        return value if math.isfinite(value) else None
    return value


def as_json(column: pa.Array) -> list[Any]:
    """The column through json_pieces and json.loads; a raw control character would not be read."""
    pieces = ['{"before":0', *rowtext.json_pieces(column, ',"value":'), "}"]
    texts = rowtext.join(pieces, null="null")
    if isinstance(texts, pa.Scalar):  # every row is null
        return [json.loads(texts.as_py())["value"]] * len(column)
    return [json.loads(text)["value"] for text in texts.to_pylist()]


@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=60)
@given(data=st.data())
def test_json_reads_back_and_plain_text_is_the_same_without_quotes(name: str, data: st.DataObject) -> None:
    kind, strategy = VALUES[name]
    values = data.draw(st.lists(strategy | st.none() if data.draw(st.booleans()) else strategy, min_size=1, max_size=8))
    column = pa.array(values, kind)
    first = data.draw(st.integers(0, len(values) - 1))
    column, values = column.slice(first), values[first:]
    read = as_json(column)
    wanted = [expected(kind, value) for value in values]
    if pa.types.is_floating(kind):

        def bits(value: float | None) -> bytes | None:
            return None if value is None else struct.pack("f", value)

        assert list(map(bits, read)) == list(map(bits, wanted))
        assert all(value is None or type(value) is float for value in read)
    else:
        assert read == wanted
    for plain, value in zip(rowtext.plain(column).to_pylist(), read, strict=True):
        assert plain == value if isinstance(value, str) or value is None else json.loads(plain) == value


def test_a_name_column_of_several_dictionaries_is_read_chunk_by_chunk() -> None:
    column = pa.array(["a", "b", "a", None], schema.NAME)
    few = pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int32()), pa.array(["x", "y", 'z"', "w"]))
    assert as_json(column) == ["a", "b", "a", None]
    assert as_json(few) == ['z"', "x"]


@pytest.mark.parametrize(
    ("score", "text"),
    [(1.0, "1.0"), (0.1, "0.1"), (-0.0, "-0.0"), (1e10, "1e+10"), (9.999999e9, "9999999000.0"), (1e-7, "1e-7"),
     (16777216.0, "16777216.0")],
)  # fmt: skip
def test_scores_are_short_and_recognisable_as_floats(score: float, text: str) -> None:
    assert rowtext.plain(pa.array([score], pa.float32())).to_pylist() == [text]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951782399999, "2000-02-28T23:59:59.999Z"),
        (253402300800000, "10000-01-01T00:00:00.000Z"),
    ],
)
def test_times(time: int, text: str) -> None:
    alone = pa.array([time], pa.int64()).cast(schema.TIME)
    with_others = pa.array([time, 1_700_000_000_000, None], pa.int64()).cast(schema.TIME)
    assert rowtext.plain(alone).to_pylist() == [text]
    assert rowtext.plain(with_others).to_pylist() == [text, "2023-11-14T22:13:20.000Z", None]


NESTED = [
    (pa.list_(pa.string()), [["a", None, 'q"\\'], [], None, ["\n"]]),
    (pa.list_(pa.int32()), [[None, None], None, [1]]),
    (pa.list_(pa.struct([("name", pa.string()), ("value", pa.float32())])), [[{"name": "a", "value": 0.5}, None], None, []]),
    (pa.struct([("a", pa.string()), ("b", pa.list_(pa.bool_()))]), [{"a": None, "b": [True]}, None, {"a": "x", "b": None}]),
    (pa.struct([("a", pa.null())]), [{"a": None}, {"a": None}]),
    (pa.list_(pa.map_(pa.string(), pa.string())), [[[("k", "v")], []], [None]]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), NESTED, ids=lambda value: str(value)[:30])
def test_nested_values_are_json(kind: pa.DataType, values: list[Any]) -> None:
    def as_json(value: Any, of: pa.DataType) -> Any:
        return dict(value) if value is not None and pa.types.is_map(of) else value

    column = pa.array([None, *values], kind)[1:]
    expected = values
    if pa.types.is_list(kind) and pa.types.is_map(kind.value_type):
        expected = [[as_json(one, kind.value_type) for one in value] for value in values]
    texts = rowtext.plain(column).to_pylist()
    assert [None if text is None else json.loads(text) for text in texts] == expected
    lines = rowtext.join([*rowtext.json_pieces(column, '{"x":'), "}"], null="null").to_pylist()
    assert [json.loads(line)["x"] for line in lines] == expected


def test_bytes_of_any_length_type_are_base64() -> None:
    for kind in (pa.binary(), pa.large_binary()):
        assert rowtext.plain(pa.array([b"\xff", None], kind)).to_pylist() == ["/w==", None]
