"""Conditions on rows: what `dump.py`'s --host, --status and --where come to, evaluated a column at a time.

Owns the values of an expression (what kind they are, which can be compared, how a literal is read) and SQL's
three-valued logic over whole columns. The language that people write is `where`'s business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawldb import rowtext, schema
from crawldb.errors import UsageError

Evaluate = Callable[[pa.Table], Any]
"""The value of every row: an array, or a scalar if it is the same in all of them."""


@dataclass(frozen=True)
class Condition:
    """What must be true of a row: `columns` is all that a table needs for it."""

    columns: tuple[str, ...]
    evaluate: Evaluate

    def mask(self, table: pa.Table) -> pa.ChunkedArray:
        """True, false or null (unknown) for each row."""
        return _spread(self.evaluate(table), table.num_rows)

    def filter(self, table: pa.Table) -> pa.Table:
        """The rows for which the condition is true."""
        return table.filter(self.mask(table), null_selection_behavior="drop")


def one_of(column: str, values: Sequence[str]) -> Condition:
    """The condition that a text column has one of these values."""
    wanted = pa.array(values, pa.string())
    texts = column_of(column)
    return Condition((column,), _by_dictionary(lambda table: pc.is_in(texts(table), wanted), [column]))


def all_of(conditions: Sequence[Condition]) -> Condition:
    """The condition that all of `conditions` are true; of none, it always is."""
    columns = dict.fromkeys(name for condition in conditions for name in condition.columns)
    return Condition(tuple(columns), fold(pc.and_kleene, [condition.evaluate for condition in conditions]))


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean …?`, or all names."""
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


# -- values ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A part of the expression that has a value in each row."""

    kind: str
    """boolean, text, hex, number, time, duration (in seconds), bytes, map or null."""
    evaluate: Evaluate
    columns: tuple[str, ...]
    start: int
    """Where it begins in the text, from 0."""
    literal: Any = None
    """What it is if it is written out: a str, int, float or bool."""


_KINDS: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_dictionary, "text"),
    (pa.types.is_string, "text"),
    (pa.types.is_fixed_size_binary, "hex"),
    (pa.types.is_timestamp, "time"),
    (pa.types.is_integer, "number"),
    (pa.types.is_floating, "number"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_map, "map"),
    (pa.types.is_list, "list"),
)
KIND_NAMES = {"boolean": "a condition", "text": "a text", "hex": "a hex text", "number": "a number", "time": "a time",
      "duration": "a duration", "bytes": "bytes", "map": "a map", "list": "a list",
      "null": "null"}  # fmt: skip
"""What a kind is called in a message."""


def kind_of(of: pa.DataType) -> str | None:
    """The kind of a column's values; None for those that the language does not know."""
    return next((kind for test, kind in _KINDS if test(of)), None)


def column_of(name: str) -> Evaluate:
    """A column as the language sees it: names and hex as text."""

    def evaluate(table: pa.Table) -> pa.ChunkedArray:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            return column.cast(pa.string())
        if pa.types.is_fixed_size_binary(column.type):
            return pa.chunked_array([rowtext.plain(chunk) for chunk in column.chunks], pa.string())
        return column

    return evaluate


def _spread(value: Any, rows: int) -> pa.ChunkedArray:
    if isinstance(value, pa.Scalar):
        value = pa.repeat(value, rows)
    return value if isinstance(value, pa.ChunkedArray) else pa.chunked_array([value])


def fold(combine: Callable[[Any, Any], Any], parts: Sequence[Evaluate]) -> Evaluate:
    """All parts combined, from the left; of none, true."""

    def evaluate(table: pa.Table) -> Any:
        result = parts[0](table) if parts else pa.scalar(True)
        for part in parts[1:]:
            result = combine(result, part(table))
        return result

    return evaluate if len(parts) != 1 else parts[0]


def _by_dictionary(evaluate: Evaluate, columns: Sequence[str]) -> Evaluate:
    """The same, asked once for each distinct value where it depends on one dictionary-encoded column alone."""
    if len(columns) != 1:
        return evaluate
    name = columns[0]

    def evaluate_distinct(table: pa.Table) -> Any:
        column = table[name]
        if not pa.types.is_dictionary(column.type):
            return evaluate(table)
        parts = []
        for chunk in column.chunks:
            if len(chunk.dictionary) > len(chunk):  # of a whole row group: fewer rows than names
                parts += _spread(evaluate(pa.table({name: chunk.cast(pa.string())})), len(chunk)).chunks
                continue
            values = pa.concat_arrays([chunk.dictionary, pa.nulls(1, chunk.dictionary.type)])
            verdict = _spread(evaluate(pa.table({name: values})), len(values)).combine_chunks()
            parts.append(verdict.take(chunk.indices.fill_null(len(values) - 1)))
        return pa.chunked_array(parts, pa.bool_())

    return evaluate_distinct


def columns_of(*values: Value) -> tuple[str, ...]:
    """The columns that some values depend on, each once."""
    return tuple(dict.fromkeys(name for value in values for name in value.columns))


def predicate(evaluate: Evaluate, parts: Sequence[Value]) -> Value:
    """A boolean value computed from others."""
    columns = columns_of(*parts)
    return Value("boolean", _by_dictionary(evaluate, columns), columns, parts[0].start)


def inverted(value: Value) -> Value:
    """NOT: unknown stays unknown."""
    return predicate(lambda table: pc.invert(value.evaluate(table)), [value])


def comparison(compare: Callable[[Any, Any], Any], left: Value, right: Value) -> Value:
    """A comparison of two `matched` values: unknown where one of them is null."""
    return predicate(lambda table: compare(left.evaluate(table), right.evaluate(table)), [left, right])


def is_in(value: Any, wanted: pa.Array) -> Any:
    """SQL's IN for a list without null: unknown where the value is null."""
    found = pc.is_in(value, wanted)
    return pc.if_else(pc.is_valid(value), found, pa.scalar(None, pa.bool_()))


def milliseconds(time: Value, table: pa.Table) -> Any:
    """A time as UTC milliseconds."""
    return pc.cast(time.evaluate(table), pa.int64())


# -- literals and what they mean ---------------------------------------------------------------------------------

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400,
          "day": 86400, "w": 604800, "week": 604800}  # fmt: skip
_UNITS |= {unit + "s": seconds for unit, seconds in _UNITS.items() if len(unit) > 1}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?\s?(?:(Z)|([+-])(\d\d):?(\d\d))?)?", re.IGNORECASE
)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_SHORT_FLOATS = frozenset(
    field.name for fields in (schema.STATE, schema.HOST) for field in fields if field.type == pa.float32()
)
_MOST_SECONDS = 1e11
"""3,000 years: keeps times in milliseconds well inside 64 bits."""


class Mistake(UsageError):
    """An error in an expression; whoever parses it knows where the expression stands."""


def mistake(start: int, message: str) -> Mistake:
    """An error in an expression, at a place in its text (characters from 0)."""
    return Mistake(f"character {start + 1}: {message}")


def literal_of(kind: str, literal: Any, start: int) -> Value:
    """A value that is written out."""
    scalar = pa.scalar(literal)
    return Value(kind, lambda table: scalar, (), start, literal)


def duration(number: float, unit: str, start: int, unit_start: int) -> Value:
    """So many of a unit of time, in seconds; where both stand is for the message of the UsageError."""
    seconds = _UNITS.get(unit.lower())
    if seconds is None:
        raise mistake(unit_start, f"{unit} is no unit of time; expected seconds, minutes, hours, days or weeks")
    if abs(number * seconds) > _MOST_SECONDS:
        raise mistake(start, "a duration of more than 3,000 years")
    return literal_of("duration", number * seconds, start)


def duration_of(text: Value) -> Value:
    """The duration that a literal text says."""
    found = _DURATION.fullmatch(text.literal)
    if found is None:
        raise mistake(text.start, f"{text.literal!r} is no duration; expected one such as '7 days'")
    return duration(float(found[1]), found[2], text.start, text.start)


def matched(left: Value, right: Value) -> tuple[Value, Value]:
    """Two values that can be compared, a literal read as what the other one is; else UsageError."""
    if right.literal is None and left.literal is not None:
        right, left = matched(right, left)
        return left, right
    if right.kind == "null" or left.kind == "null":
        nothing = pa.scalar(None, pa.bool_())
        unknown = Value("boolean", lambda table: nothing, (), right.start)
        return unknown, unknown
    if right.literal is not None:
        right = _read_as(left, right)
    kinds = {left.kind, right.kind}
    for value in (left, right):
        if value.kind == "map":
            name = value.columns[0]
            raise mistake(value.start, f"{name} is a map; write {name}['key'], or {name} IS NULL")
        if value.kind == "list":
            raise mistake(value.start, f"{value.columns[0]} is a list; all that can be asked is IS NULL, IS NOT NULL")
    if len(kinds) > 1 and kinds not in ({"number", "duration"}, {"text", "hex"}):
        raise mistake(right.start, f"expected {KIND_NAMES[left.kind]} to compare with, found {KIND_NAMES[right.kind]}")
    return left, right


def _read_as(left: Value, right: Value) -> Value:
    """A literal in the form in which `left` can be compared to it."""
    literal, kind = right.literal, right.kind
    if kind == "text" and left.kind == "time":
        scalar = pa.scalar(_time_of(literal, right.start), pa.int64()).cast(schema.TIME)
        return Value("time", lambda table: scalar, (), right.start)
    if kind == "text" and left.kind == "duration":
        return duration_of(right)
    if kind == "text" and left.kind == "hex":
        return literal_of("hex", literal.lower(), right.start)
    if kind == "text" and left.columns == ("status",) and literal not in schema.Status.__members__:
        raise mistake(right.start, f"no status {literal!r}{nearest(literal, list(schema.Status.__members__))}")
    if kind == "number" and len(left.columns) == 1 and left.columns[0] in _SHORT_FLOATS:
        # The column's 0.1 is the float32 next to 0.1; whoever writes 0.1 means that one.
        scalar = pa.scalar(float(literal), pa.float32())
        return Value("number", lambda table: scalar, (), right.start, literal)
    return right


def _time_of(text: str, start: int) -> int:
    """UTC milliseconds of a time as it is written in an expression."""
    found = _TIME.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        date, minutes, seconds, fraction, _, sign, hours, rest = found.groups()
        moment = datetime.fromisoformat(f"{date}T{minutes or '00:00'}:{seconds or '00'}").replace(tzinfo=timezone.utc)
        offset = timedelta(hours=int(hours or 0), minutes=int(rest or 0)) * (-1 if sign == "-" else 1)
    except ValueError:
        raise mistake(
            start, f"{text!r} is no time; expected one such as '2026-11-24' or '2026-11-24T10:15:00'"
        ) from None
    whole = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc) - offset) // timedelta(milliseconds=1)
    return whole + int(f"{fraction or '0':0<3}"[:3])
