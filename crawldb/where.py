"""The condition of `dump.py --where`: a small part of SQL over the crawldb's columns.

    status = 'gone' AND reason LIKE 'http_%' AND NOT (host IN ('a.example', 'b.example') OR depth > 3)
    due_at < now() + 7 days AND metadata['collection'] IS NOT NULL AND url REGEXP '\\.pdf$'

    condition   condition OR condition · condition AND condition · NOT condition · (condition)
    predicate   value = == != <> < <= > >= value · value [NOT] IN (value, …) · value [NOT] BETWEEN value AND value
                value IS [NOT] NULL · text [NOT] LIKE 'pattern' · text [NOT] REGEXP 'regular expression'
    value       a column · metadata['key'] · headers['name'] · 'text' or "text" · 12 or 0.5 · true · false · null
                now() · a time + or - a duration · time - time · length(text or bytes) · lower(text)
    duration    90 seconds · 15 minutes · 12 hours · 7 days · 2 weeks · short: 90s 15m 12h 7d 2w

Words are read in any case, text is compared as it is. In LIKE, % stands for any text, _ for one character and a
backslash takes the next one literally; REGEXP is RE2's syntax and matches anywhere. A time is written
'2026-11-24' or '2026-11-24T10:15:00.000', in UTC unless it ends in an offset (+01:00); it may be compared as text
only to a time. Numbers compare to times' differences and to `interval` as seconds. Fingerprints and signatures are
hex text. Null is unknown, as in SQL: what compares to it is neither true nor false, and NOT does not change that.

Owns the language. Whose rows it is asked about is `dump`'s business.
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


def parse(text: str, now: int) -> Condition:
    """The condition that `text` says; `now` (UTC ms) is what now() yields.

    Raises UsageError with the position (characters from 1), what was expected there, and the nearest name.
    """
    return _Parser(text, now).parse()


def one_of(column: str, values: Sequence[str]) -> Condition:
    """The condition that a text column has one of these values."""
    wanted = pa.array(values, pa.string())
    column_of = _column(column)
    return Condition((column,), _by_dictionary(lambda table: pc.is_in(column_of(table), wanted), [column]))


def all_of(conditions: Sequence[Condition]) -> Condition:
    """The condition that all of `conditions` are true; of none, it always is."""
    columns = dict.fromkeys(name for condition in conditions for name in condition.columns)
    return Condition(tuple(columns), _fold(pc.and_kleene, [condition.evaluate for condition in conditions]))


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean …?`, or all names."""
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


# -- values ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Value:
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
)
_A = {"boolean": "a condition", "text": "a text", "hex": "a hex text", "number": "a number", "time": "a time",
      "duration": "a duration", "bytes": "bytes", "map": "a map", "null": "null"}  # fmt: skip


def _column(name: str) -> Evaluate:
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


def _fold(combine: Callable[[Any, Any], Any], parts: Sequence[Evaluate]) -> Evaluate:
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


# -- words -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str
    """word, number, text, symbol or end."""
    text: str
    start: int

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return "the end" if self.kind == "end" else text if len(text) <= 40 else text[:39] + "…"


_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<symbol><=|>=|<>|!=|==|[-+=<>(),\[\]])""",
    re.VERBOSE,
)


def _error(start: int, message: str) -> UsageError:
    return UsageError(f"--where: character {start + 1}: {message}")


def _tokens(text: str) -> list[_Token]:
    tokens, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            wrong = text[place]
            raise _error(place, f"the quote {wrong} is not closed" if wrong in "'\""
                         else f"unexpected {wrong!r}; text stands in quotes")  # fmt: skip
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found[0], place))
        place = found.end()
    return [*tokens, _Token("end", "", len(text))]


_KEYWORDS = frozenset(["and", "or", "not", "in", "is", "null", "like", "regexp", "between", "true", "false"])
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal, "==": pc.equal, "!=": pc.not_equal, "<>": pc.not_equal,
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400,
          "day": 86400, "w": 604800, "week": 604800}  # fmt: skip
_UNITS |= {unit + "s": seconds for unit, seconds in _UNITS.items() if len(unit) > 1}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?\s?(?:(Z)|([+-])(\d\d):?(\d\d))?)?", re.IGNORECASE
)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_MOST_SECONDS = 1e11
"""3,000 years: keeps times in milliseconds well inside 64 bits."""
_MOST_NESTED = 50


class _Parser:
    """Recursive descent, one method for each level of binding; it compiles as it reads."""

    def __init__(self, text: str, now: int) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._nested = 0
        self._now = pa.scalar(now, pa.int64()).cast(schema.TIME)

    def parse(self) -> Condition:
        condition = self._boolean(self._or())
        if self._token.kind != "end":
            raise self._unexpected("AND, OR or the end")
        return Condition(condition.columns, condition.evaluate)

    # -- reading

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _is(self, word: str, ahead: int = 0) -> bool:
        """True if the next token is this keyword or symbol."""
        token = self._tokens[min(self._next + ahead, len(self._tokens) - 1)]
        return token.kind in ("word", "symbol") and token.text.lower() == word

    def _take(self, word: str) -> bool:
        if self._is(word):
            self._next += 1
            return True
        return False

    def _expect(self, symbol: str, after: str) -> None:
        if not self._take(symbol):
            raise self._unexpected(f"{symbol.upper()} {after}")

    def _unexpected(self, expected: str) -> UsageError:
        return _error(self._token.start, f"expected {expected}, found {self._token}")

    # -- conditions

    def _or(self) -> _Value:
        return self._chain("or", pc.or_kleene, self._and)

    def _and(self) -> _Value:
        return self._chain("and", pc.and_kleene, self._not)

    def _chain(self, word: str, combine: Callable[[Any, Any], Any], part: Callable[[], _Value]) -> _Value:
        first = part()
        if not self._is(word):
            return first
        parts = [self._boolean(first)]
        while self._take(word):
            parts.append(self._boolean(part()))
        return _condition(_fold(combine, [value.evaluate for value in parts]), parts)

    def _not(self) -> _Value:
        if not self._is("not"):
            return self._predicate()
        self._next += 1
        return _inverted(self._nest(lambda: self._boolean(self._not())))

    def _nest(self, part: Callable[[], _Value]) -> _Value:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise _error(self._token.start, f"nested more than {_MOST_NESTED} deep")
        value = part()
        self._nested -= 1
        return value

    @staticmethod
    def _boolean(value: _Value) -> _Value:
        if value.kind == "null":
            return _Value("boolean", lambda table: pa.scalar(None, pa.bool_()), (), value.start)
        if value.kind != "boolean":
            raise _error(value.start, f"expected a condition, found {_A[value.kind]} alone; compare it to something")
        return value

    def _predicate(self) -> _Value:
        left = self._sum()
        token = self._token
        if token.text in _COMPARISONS and token.kind == "symbol":
            self._next += 1
            return self._compare(token, left, self._sum())
        if self._take("is"):
            negated = self._take("not")
            if not self._take("null"):
                raise self._unexpected("NULL" if negated else "NULL or NOT NULL")
            test = pc.is_valid if negated else pc.is_null
            return _condition(lambda table: test(left.evaluate(table)), [left])
        negated = self._is("not")
        ahead = int(negated)
        for word, read in (("in", self._in), ("between", self._between), ("like", self._like),
                           ("regexp", self._regexp)):  # fmt: skip
            if self._is(word, ahead):
                self._next += ahead + 1
                return _inverted(read(left)) if negated else read(left)
        if negated:
            self._next += 1
            raise self._unexpected("IN, BETWEEN, LIKE or REGEXP after NOT")
        return left

    def _compare(self, operator: _Token, left: _Value, right: _Value) -> _Value:
        compare = _COMPARISONS[operator.text]
        for value in (left, right):
            if value.kind == "null":
                raise _error(operator.start, f"{operator.text} null is never true; write IS NULL or IS NOT NULL")
        left, right = _matched(left, right)
        if left.kind in ("boolean", "bytes") and compare not in (pc.equal, pc.not_equal):
            raise _error(operator.start, f"{_A[left.kind]} cannot be ordered; expected = or !=")
        return _comparison(compare, left, right)

    def _in(self, left: _Value) -> _Value:
        self._expect("(", "after IN")
        equals: list[_Value] = []
        literals: list[Any] = []
        while True:
            value, right = _matched(left, self._sum())
            if right.kind in ("text", "hex") and right.literal is not None:
                literals.append(right.literal)
            else:
                equals.append(_comparison(pc.equal, value, right))
            if not self._take(","):
                break
        self._expect(")", "or , in the list of IN")
        if literals:
            wanted = pa.array(literals, pa.string())
            equals.append(_condition(lambda table: _is_in(left.evaluate(table), wanted), [left]))
        return _condition(_fold(pc.or_kleene, [value.evaluate for value in equals]), equals)

    def _between(self, left: _Value) -> _Value:
        low = self._sum()
        self._expect("and", "after BETWEEN …")
        high = self._sum()
        parts = []
        for bound, compare in ((low, pc.greater_equal), (high, pc.less_equal)):
            value, right = _matched(left, bound)
            if value.kind in ("boolean", "bytes"):
                raise _error(left.start, f"{_A[value.kind]} cannot be ordered")
            parts.append(_comparison(compare, value, right))
        return _condition(_fold(pc.and_kleene, [part.evaluate for part in parts]), parts)

    def _like(self, left: _Value) -> _Value:
        pattern = self._pattern(left, "LIKE")
        return _condition(lambda table: pc.match_like(left.evaluate(table), pattern), [left])

    def _regexp(self, left: _Value) -> _Value:
        start = self._token.start
        pattern = self._pattern(left, "REGEXP")
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            why = str(error).partition(": ")[2].replace("\n", " ")
            raise _error(start, f"not a regular expression: {why}") from None
        return _condition(lambda table: pc.match_substring_regex(left.evaluate(table), pattern), [left])

    def _pattern(self, left: _Value, word: str) -> str:
        if left.kind not in ("text", "hex"):
            raise _error(left.start, f"{word} works on text, this is {_A[left.kind]}")
        if self._token.kind != "text":
            raise self._unexpected(f"a text in quotes after {word}")
        return self._text()

    # -- values

    def _sum(self) -> _Value:
        left = self._primary()
        while self._is("+") or self._is("-"):
            operator = self._token
            self._next += 1
            left = self._add(operator, left, self._primary())
        return left

    def _add(self, operator: _Token, left: _Value, right: _Value) -> _Value:
        minus = operator.text == "-"
        if left.kind == "time" and right.kind == "time" and minus:

            def difference(table: pa.Table) -> Any:
                milliseconds = pc.subtract(_milliseconds(left, table), _milliseconds(right, table))
                return pc.divide(pc.cast(milliseconds, pa.float64()), 1000.0)

            return _Value("duration", difference, _columns(left, right), left.start)
        if right.kind == "text" and right.literal is not None:
            right = _duration_of(right)
        if left.kind != "time" or right.kind not in ("duration", "number"):
            raise _error(operator.start, f"{operator.text} takes a time and a duration, such as now() - 7 days")
        combine = pc.subtract if minus else pc.add

        def shifted(table: pa.Table) -> Any:
            seconds = pc.multiply(pc.cast(right.evaluate(table), pa.float64()), 1000.0)
            moved = combine(_milliseconds(left, table), pc.cast(seconds, pa.int64(), safe=False))
            return pc.cast(moved, schema.TIME)

        return _Value("time", shifted, _columns(left, right), left.start)

    def _primary(self) -> _Value:
        token = self._token
        if self._take("("):
            inner = self._nest(self._or)
            self._expect(")", "to close the one at character " + str(token.start + 1))
            return inner
        if token.kind == "text":
            return _literal("text", self._text(), token.start)
        if token.kind == "number" or (self._is("-") and self._tokens[self._next + 1].kind == "number"):
            return self._number()
        if token.kind == "word":
            return self._word()
        raise self._unexpected("a column or a value")

    def _text(self) -> str:
        text = self._token.text
        self._next += 1
        return text[1:-1].replace(text[0] * 2, text[0])

    def _number(self) -> _Value:
        start = self._token.start
        sign = -1 if self._take("-") else 1
        token = self._token
        self._next += 1
        # A longer one is beyond 64 bits; it compares as the float next to it.
        whole = token.text.isdigit() and len(token.text) <= 18
        number = sign * (int(token.text) if whole else float(token.text))
        unit = self._token
        if unit.kind != "word" or unit.text.lower() in _KEYWORDS or unit.text.lower() in schema.STATE.names:
            return _literal("number", number, start)
        self._next += 1
        return _duration(number, unit.text, start, unit.start)

    def _word(self) -> _Value:
        token = self._token
        name = token.text.lower()
        self._next += 1
        if name == "null":
            return _Value("null", lambda table: pa.scalar(None, pa.null()), (), token.start)
        if name in ("true", "false"):
            return _literal("boolean", name == "true", token.start)
        if name == "interval" and self._token.kind == "text":  # PostgreSQL's interval '7 days'
            start = self._token.start
            return _duration_of(_literal("text", self._text(), start))
        if self._is("("):
            return self._function(token, name)
        if name in _KEYWORDS:
            self._next -= 1
            raise self._unexpected("a column or a value")
        if name not in schema.STATE.names:
            near = nearest(name, schema.STATE.names)
            raise _error(token.start, f"no column {token} (text stands in quotes: '{token}'){near}")
        kind = next(kind for test, kind in _KINDS if test(schema.STATE.field(name).type))
        if kind == "map" and self._take("["):
            if self._token.kind != "text":
                raise self._unexpected(f"a key in quotes: {name}['key']")
            key = pa.scalar(self._text())
            self._expect("]", "after the key")
            return _Value("text", lambda table: pc.map_lookup(table[name], key, "first"), (name,), token.start)
        return _Value(kind, _column(name), (name,), token.start)

    def _function(self, token: _Token, name: str) -> _Value:
        self._next += 1
        if name == "now":
            self._expect(")", "after now(")
            return _Value("time", lambda table: self._now, (), token.start)
        if name not in ("length", "lower"):
            raise _error(token.start, f"no function {token}; there are now(), length() and lower()")
        value = self._nest(self._sum)
        self._expect(")", f"after {name}(…")
        if value.kind not in (("text", "hex") if name == "lower" else ("text", "hex", "bytes")):
            raise _error(value.start, f"{name}() takes a text, this is {_A[value.kind]}")
        if name == "lower":
            return _Value("text", lambda table: pc.utf8_lower(value.evaluate(table)), value.columns, token.start)
        count = pc.binary_length if value.kind == "bytes" else pc.utf8_length
        return _Value("number", lambda table: count(value.evaluate(table)), value.columns, token.start)


# -- meanings ----------------------------------------------------------------------------------------------------


def _columns(*values: _Value) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for value in values for name in value.columns))


def _condition(evaluate: Evaluate, parts: Sequence[_Value]) -> _Value:
    columns = _columns(*parts)
    return _Value("boolean", _by_dictionary(evaluate, columns), columns, parts[0].start)


def _inverted(value: _Value) -> _Value:
    return _condition(lambda table: pc.invert(value.evaluate(table)), [value])


def _comparison(compare: Callable[[Any, Any], Any], left: _Value, right: _Value) -> _Value:
    return _condition(lambda table: compare(left.evaluate(table), right.evaluate(table)), [left, right])


def _is_in(value: Any, wanted: pa.Array) -> Any:
    """SQL's IN for a list without null: unknown where the value is null."""
    found = pc.is_in(value, wanted)
    return pc.if_else(pc.is_valid(value), found, pa.scalar(None, pa.bool_()))


def _milliseconds(value: _Value, table: pa.Table) -> Any:
    return pc.cast(value.evaluate(table), pa.int64())


def _literal(kind: str, literal: Any, start: int) -> _Value:
    scalar = pa.scalar(literal)
    return _Value(kind, lambda table: scalar, (), start, literal)


def _duration(number: float, unit: str, start: int, unit_start: int) -> _Value:
    seconds = _UNITS.get(unit.lower())
    if seconds is None:
        raise _error(unit_start, f"{unit} is no unit of time; expected seconds, minutes, hours, days or weeks")
    if abs(number * seconds) > _MOST_SECONDS:
        raise _error(start, "a duration of more than 3,000 years")
    return _literal("duration", number * seconds, start)


def _duration_of(text: _Value) -> _Value:
    """The duration that a literal text says."""
    found = _DURATION.fullmatch(text.literal)
    if found is None:
        raise _error(text.start, f"{text.literal!r} is no duration; expected one such as '7 days'")
    return _duration(float(found[1]), found[2], text.start, text.start)


def _matched(left: _Value, right: _Value) -> tuple[_Value, _Value]:
    """Two values that can be compared, a literal read as what the other one is; else UsageError."""
    if right.literal is None and left.literal is not None:
        right, left = _matched(right, left)
        return left, right
    if right.kind == "null" or left.kind == "null":
        nothing = pa.scalar(None, pa.bool_())
        unknown = _Value("boolean", lambda table: nothing, (), right.start)
        return unknown, unknown
    if right.literal is not None:
        right = _read_as(left, right)
    kinds = {left.kind, right.kind}
    for value in (left, right):
        if value.kind == "map":
            name = value.columns[0]
            raise _error(value.start, f"{name} is a map; write {name}['key'], or {name} IS NULL")
    if len(kinds) > 1 and kinds not in ({"number", "duration"}, {"text", "hex"}):
        raise _error(right.start, f"expected {_A[left.kind]} to compare with, found {_A[right.kind]}")
    return left, right


def _read_as(left: _Value, right: _Value) -> _Value:
    """A literal in the form in which `left` can be compared to it."""
    literal, kind = right.literal, right.kind
    if kind == "text" and left.kind == "time":
        scalar = pa.scalar(_time_of(literal, right.start), pa.int64()).cast(schema.TIME)
        return _Value("time", lambda table: scalar, (), right.start)
    if kind == "text" and left.kind == "duration":
        return _duration_of(right)
    if kind == "text" and left.kind == "hex":
        return _literal("hex", literal.lower(), right.start)
    if kind == "text" and left.columns == ("status",) and literal not in schema.Status.__members__:
        raise _error(right.start, f"no status {literal!r}{nearest(literal, list(schema.Status.__members__))}")
    if kind == "number" and left.columns == ("score",):
        # The column's 0.1 is the float32 next to 0.1; whoever writes 0.1 means that one.
        scalar = pa.scalar(float(literal), pa.float32())
        return _Value("number", lambda table: scalar, (), right.start, literal)
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
        raise _error(
            start, f"{text!r} is no time; expected one such as '2026-11-24' or '2026-11-24T10:15:00'"
        ) from None
    whole = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc) - offset) // timedelta(milliseconds=1)
    return whole + int(f"{fraction or '0':0<3}"[:3])
