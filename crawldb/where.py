"""The condition of `dump.py --where`, and of rules on hosts: a small part of SQL over the columns of a store.

    status = 'gone' AND reason LIKE 'http_%' AND NOT (host IN ('a.example', 'b.example') OR depth > 3)
    due_at < now() + 7 days AND metadata['collection'] IS NOT NULL AND url REGEXP '\\.pdf$'

    condition   condition OR condition · condition AND condition · NOT condition · (condition)
    predicate   value = == != <> < <= > >= value · value [NOT] IN (value, …) · value [NOT] BETWEEN value AND value
                value IS [NOT] NULL · text [NOT] LIKE 'pattern' · text [NOT] REGEXP 'regular expression'
    value       a column · metadata['key'] (of any map) · 'text' or "text" · 12 or 0.5 · true · false · null
                now() · a time + or - a duration · time - time · length(text or bytes) · lower(text)
    duration    90 seconds · 15 minutes · 12 hours · 7 days · 2 weeks · short: 90s 15m 12h 7d 2w

Words are read in any case, text is compared as it is. In LIKE, % stands for any text, _ for one character and a
backslash takes the next one literally; REGEXP is RE2's syntax and matches anywhere. A time is written
'2026-11-24' or '2026-11-24T10:15:00.000', in UTC unless it ends in an offset (+01:00); it may be compared as text
only to a time. Numbers compare to times' differences and to `interval` as seconds. Fingerprints and signatures are
hex text. Null is unknown, as in SQL: what compares to it is neither true nor false, and NOT does not change that.

Owns the language: words, grammar and where a mistake is. What it compiles to is `conditions`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawldb import schema
from crawldb.conditions import (
    KIND_NAMES,
    Condition,
    Mistake,
    Value,
    column_of,
    columns_of,
    comparison,
    duration,
    duration_of,
    fold,
    inverted,
    is_in,
    kind_of,
    literal_of,
    matched,
    milliseconds,
    mistake,
    nearest,
    predicate,
)
from crawldb.errors import UsageError


def parse(text: str, now: int, columns: pa.Schema = schema.STATE, source: str = "--where") -> Condition:
    """The condition on rows with these `columns` that `text` says; `now` (UTC ms) is what now() yields.

    Raises UsageError with the `source` (where the text stands), the position (characters from 1), what was expected
    there, and the nearest name.
    """
    try:
        return _Parser(text, now, columns).parse()
    except Mistake as error:
        raise UsageError(f"{source}: {error}") from None


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


def _tokens(text: str) -> list[_Token]:
    tokens, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            wrong = text[place]
            raise mistake(place, f"the quote {wrong} is not closed" if wrong in "'\""
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
_MOST_NESTED = 50


class _Parser:
    """Recursive descent, one method for each level of binding; it compiles as it reads."""

    def __init__(self, text: str, now: int, columns: pa.Schema) -> None:
        self._columns = columns
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
        return mistake(self._token.start, f"expected {expected}, found {self._token}")

    # -- conditions

    def _or(self) -> Value:
        return self._chain("or", pc.or_kleene, self._and)

    def _and(self) -> Value:
        return self._chain("and", pc.and_kleene, self._not)

    def _chain(self, word: str, combine: Callable[[Any, Any], Any], part: Callable[[], Value]) -> Value:
        first = part()
        if not self._is(word):
            return first
        parts = [self._boolean(first)]
        while self._take(word):
            parts.append(self._boolean(part()))
        return predicate(fold(combine, [value.evaluate for value in parts]), parts)

    def _not(self) -> Value:
        if not self._is("not"):
            return self._predicate()
        self._next += 1
        return inverted(self._nest(lambda: self._boolean(self._not())))

    def _nest(self, part: Callable[[], Value]) -> Value:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise mistake(self._token.start, f"nested more than {_MOST_NESTED} deep")
        value = part()
        self._nested -= 1
        return value

    @staticmethod
    def _boolean(value: Value) -> Value:
        if value.kind == "null":
            return Value("boolean", lambda table: pa.scalar(None, pa.bool_()), (), value.start)
        if value.kind != "boolean":
            raise mistake(
                value.start, f"expected a condition, found {KIND_NAMES[value.kind]} alone; compare it to something"
            )
        return value

    def _predicate(self) -> Value:
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
            return predicate(lambda table: test(left.evaluate(table)), [left])
        negated = self._is("not")
        ahead = int(negated)
        for word, read in (("in", self._in), ("between", self._between), ("like", self._like),
                           ("regexp", self._regexp)):  # fmt: skip
            if self._is(word, ahead):
                self._next += ahead + 1
                return inverted(read(left)) if negated else read(left)
        if negated:
            self._next += 1
            raise self._unexpected("IN, BETWEEN, LIKE or REGEXP after NOT")
        return left

    def _compare(self, operator: _Token, left: Value, right: Value) -> Value:
        compare = _COMPARISONS[operator.text]
        for value in (left, right):
            if value.kind == "null":
                raise mistake(operator.start, f"{operator.text} null is never true; write IS NULL or IS NOT NULL")
        left, right = matched(left, right)
        if left.kind in ("boolean", "bytes") and compare not in (pc.equal, pc.not_equal):
            raise mistake(operator.start, f"{KIND_NAMES[left.kind]} cannot be ordered; expected = or !=")
        return comparison(compare, left, right)

    def _in(self, left: Value) -> Value:
        self._expect("(", "after IN")
        equals: list[Value] = []
        literals: list[Any] = []
        while True:
            value, right = matched(left, self._sum())
            if right.kind in ("text", "hex") and right.literal is not None:
                literals.append(right.literal)
            else:
                equals.append(comparison(pc.equal, value, right))
            if not self._take(","):
                break
        self._expect(")", "or , in the list of IN")
        if literals:
            wanted = pa.array(literals, pa.string())
            equals.append(predicate(lambda table: is_in(left.evaluate(table), wanted), [left]))
        return predicate(fold(pc.or_kleene, [value.evaluate for value in equals]), equals)

    def _between(self, left: Value) -> Value:
        low = self._sum()
        self._expect("and", "after BETWEEN …")
        high = self._sum()
        parts = []
        for bound, compare in ((low, pc.greater_equal), (high, pc.less_equal)):
            value, right = matched(left, bound)
            if value.kind in ("boolean", "bytes"):
                raise mistake(left.start, f"{KIND_NAMES[value.kind]} cannot be ordered")
            parts.append(comparison(compare, value, right))
        return predicate(fold(pc.and_kleene, [part.evaluate for part in parts]), parts)

    def _like(self, left: Value) -> Value:
        pattern = self._pattern(left, "LIKE")
        return predicate(lambda table: pc.match_like(left.evaluate(table), pattern), [left])

    def _regexp(self, left: Value) -> Value:
        start = self._token.start
        pattern = self._pattern(left, "REGEXP")
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            why = str(error).partition(": ")[2].replace("\n", " ")
            raise mistake(start, f"not a regular expression: {why}") from None
        return predicate(lambda table: pc.match_substring_regex(left.evaluate(table), pattern), [left])

    def _pattern(self, left: Value, word: str) -> str:
        if left.kind not in ("text", "hex"):
            raise mistake(left.start, f"{word} works on text, this is {KIND_NAMES[left.kind]}")
        if self._token.kind != "text":
            raise self._unexpected(f"a text in quotes after {word}")
        return self._text()

    # -- values

    def _sum(self) -> Value:
        left = self._primary()
        while self._is("+") or self._is("-"):
            operator = self._token
            self._next += 1
            left = self._add(operator, left, self._primary())
        return left

    def _add(self, operator: _Token, left: Value, right: Value) -> Value:
        minus = operator.text == "-"
        if left.kind == "time" and right.kind == "time" and minus:

            def difference(table: pa.Table) -> Any:
                between = pc.subtract(milliseconds(left, table), milliseconds(right, table))
                return pc.divide(pc.cast(between, pa.float64()), 1000.0)

            return Value("duration", difference, columns_of(left, right), left.start)
        if right.kind == "text" and right.literal is not None:
            right = duration_of(right)
        if left.kind != "time" or right.kind not in ("duration", "number"):
            raise mistake(operator.start, f"{operator.text} takes a time and a duration, such as now() - 7 days")
        combine = pc.subtract if minus else pc.add

        def shifted(table: pa.Table) -> Any:
            seconds = pc.multiply(pc.cast(right.evaluate(table), pa.float64()), 1000.0)
            moved = combine(milliseconds(left, table), pc.cast(seconds, pa.int64(), safe=False))
            return pc.cast(moved, schema.TIME)

        return Value("time", shifted, columns_of(left, right), left.start)

    def _primary(self) -> Value:
        token = self._token
        if self._take("("):
            inner = self._nest(self._or)
            self._expect(")", "to close the one at character " + str(token.start + 1))
            return inner
        if token.kind == "text":
            return literal_of("text", self._text(), token.start)
        if token.kind == "number" or (self._is("-") and self._tokens[self._next + 1].kind == "number"):
            return self._number()
        if token.kind == "word":
            return self._word()
        raise self._unexpected("a column or a value")

    def _text(self) -> str:
        text = self._token.text
        self._next += 1
        return text[1:-1].replace(text[0] * 2, text[0])

    def _number(self) -> Value:
        start = self._token.start
        sign = -1 if self._take("-") else 1
        token = self._token
        self._next += 1
        # A longer one is beyond 64 bits; it compares as the float next to it.
        whole = token.text.isdigit() and len(token.text) <= 18
        number = sign * (int(token.text) if whole else float(token.text))
        unit = self._token
        if unit.kind != "word" or unit.text.lower() in _KEYWORDS or unit.text.lower() in self._columns.names:
            return literal_of("number", number, start)
        self._next += 1
        return duration(number, unit.text, start, unit.start)

    def _word(self) -> Value:
        token = self._token
        name = token.text.lower()
        self._next += 1
        if name == "null":
            return Value("null", lambda table: pa.scalar(None, pa.null()), (), token.start)
        if name in ("true", "false"):
            return literal_of("boolean", name == "true", token.start)
        if name == "interval" and self._token.kind == "text":  # PostgreSQL's interval '7 days'
            start = self._token.start
            return duration_of(literal_of("text", self._text(), start))
        if self._is("("):
            return self._function(token, name)
        if name in _KEYWORDS:
            self._next -= 1
            raise self._unexpected("a column or a value")
        if name not in self._columns.names:
            near = nearest(name, self._columns.names)
            raise mistake(token.start, f"no column {token} (text stands in quotes: '{token}'){near}")
        column = self._columns.field(name).type
        kind = kind_of(column)
        if kind is None:
            raise mistake(token.start, f"{name} has lists in it, which cannot be compared")
        if kind == "map" and self._take("["):
            if self._token.kind != "text":
                raise self._unexpected(f"a key in quotes: {name}['key']")
            key = pa.scalar(self._text())
            self._expect("]", "after the key")
            kind = kind_of(column.item_type)
            assert kind is not None, column
            return Value(kind, lambda table: pc.map_lookup(table[name], key, "first"), (name,), token.start)
        return Value(kind, column_of(name), (name,), token.start)

    def _function(self, token: _Token, name: str) -> Value:
        self._next += 1
        if name == "now":
            self._expect(")", "after now(")
            return Value("time", lambda table: self._now, (), token.start)
        if name not in ("length", "lower"):
            raise mistake(token.start, f"no function {token}; there are now(), length() and lower()")
        value = self._nest(self._sum)
        self._expect(")", f"after {name}(…")
        if value.kind not in (("text", "hex") if name == "lower" else ("text", "hex", "bytes")):
            raise mistake(value.start, f"{name}() takes a text, this is {KIND_NAMES[value.kind]}")
        if name == "lower":
            return Value("text", lambda table: pc.utf8_lower(value.evaluate(table)), value.columns, token.start)
        count = pc.binary_length if value.kind == "bytes" else pc.utf8_length
        return Value("number", lambda table: count(value.evaluate(table)), value.columns, token.start)
