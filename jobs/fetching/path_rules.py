"""Which Allow or Disallow rule settles a URL: RFC 9309 §2.2.2 and §2.2.3, compiled.

Owns the comparison of path patterns with URLs: spelling, `*` and `$`, the longest match. Does not read robots.txt and
does not know whose rules they are (`robots`).

Rules and URLs are compared in one spelling: all escapes are undone, each octet beyond ASCII is a character of Latin-1,
and `%2F` and `%3F` in a path are characters of their own, for there the plain ones divide. All other reserved characters
are the same escaped or not, as the RFC has it (its example: `?baz=https://foo.bar` is `?baz=https%3A%2F%2Ffoo.bar`). In
a query `%20` is `+`: canonical URLs know one of them only, whichever the page had.

No URL costs more than its length and the rules' explain: plain prefixes are looked up by their lengths, patterns with
stars go from chunk to chunk and never back, and where these are many, only those are tried that share four characters
with the URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from string import hexdigits
from typing import NamedTuple

_APART = 0xE000
"""Added to the code of an escaped character that differs from the plain one (Unicode's private use area)."""

_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")

_STILL_ESCAPED = re.compile("[^!#-$&-;=?-Z\\[\\]_a-z~]")
"""In the compared spelling: what counts as three octets, for a URL cannot hold it unescaped (RFC 3986 §2)."""

_PART_MATTERS = re.compile("%(?:2[0Ff]|3[Ff])| ")
"""What is compared in one way in a path and in another in a query."""

_FEW = 32
"""So many patterns with stars are tried one after the other; more are looked up."""

_GRAM = 4

_STARS = 8
"""A query may begin in so many stars of a pattern, counted from its start."""


class PathRule(NamedTuple):
    """An Allow or Disallow line."""

    allow: bool
    pattern: str
    """As in the file, without blanks around it; octets as Latin-1. One that is empty matches nothing."""
    line: int
    """In the file, from 1."""
    text: bytes
    """The whole line."""


class _Starred(NamedTuple):
    """A pattern with stars: what stands before, between and after them."""

    head: str
    between: tuple[str, ...]
    tail: str
    """What the URL must end with."""
    shortest: int
    """Characters of the shortest URL that matches."""

    def matches(self, text: str) -> bool:
        if len(text) < self.shortest or not text.startswith(self.head):
            return False
        at = len(self.head)
        for chunk in self.between:  # the first place is as good as any later one
            at = text.find(chunk, at)
            if at < 0:
                return False
            at += len(chunk)
        return not self.tail or (text.endswith(self.tail) and len(text) - len(self.tail) >= at)


_Ranked = list[tuple[int, str, _Starred]]
"""(rank, what a URL must contain to match, pattern), best rank first."""


class PathRules:
    """The rules of a group, to be asked about many URLs."""

    __slots__ = ("_by_gram", "_lengths", "_prefixes", "_rules", "_starred", "_whole")

    def __init__(self, rules: Iterable[PathRule]) -> None:
        given = [rule for rule in rules if rule.pattern]
        order = sorted((-_octets(rule.pattern), not rule.allow, number) for number, rule in enumerate(given))
        self._rules = [given[number] for _, _, number in order]
        """By rank: of the rules that match, the first counts."""
        self._prefixes: dict[str, int] = {}
        self._whole: dict[str, int] = {}
        starred: dict[_Starred, int] = {}
        for rank, rule in enumerate(self._rules):
            pattern = rule.pattern
            if "*" not in pattern:  # most by far
                if pattern[-1] == "$":
                    self._whole.setdefault(_compared(pattern[:-1]), rank)
                else:
                    self._prefixes.setdefault(_compared(pattern), rank)
                continue
            for chunks, anchored in _spellings(pattern):
                if len(chunks) == 1:
                    (self._whole if anchored else self._prefixes).setdefault(chunks[0], rank)
                else:
                    starred.setdefault(_starred(chunks, anchored), rank)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._starred: _Ranked = []
        self._by_gram: dict[str, _Ranked] = {}
        for shape, rank in starred.items():
            needle = max((shape.head, *shape.between, shape.tail), key=len)
            if len(starred) > _FEW and len(needle) >= _GRAM:
                self._by_gram.setdefault(needle[-_GRAM:], []).append((rank, needle, shape))
            else:
                self._starred.append((rank, needle, shape))

    def decisive(self, url: str) -> PathRule | None:
        """The rule that settles a canonical URL: of those that match the longest, Allow before Disallow; None: none."""
        path = url[url.find("/", 8) :]
        text = _compared(path) if "%" in path else path
        best = none = len(self._rules)
        if self._whole:
            best = self._whole.get(text, none)
        prefixes = self._prefixes
        for length in self._lengths:
            rank = prefixes.get(text[:length], none)
            if rank < best:
                best = rank
        if self._starred:
            best = _best(self._starred, text, best)
        if self._by_gram:
            grams = {text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)}
            for gram in self._by_gram.keys() & grams:
                best = _best(self._by_gram[gram], text, best)
        return None if best == none else self._rules[best]


def _best(patterns: _Ranked, text: str, best: int) -> int:
    """The best rank of `best` and the patterns that match."""
    for rank, needle, pattern in patterns:
        if rank >= best:
            break
        if needle in text and pattern.matches(text):
            return rank
    return best


def _starred(chunks: list[str], anchored: bool) -> _Starred:
    head, *between = chunks
    tail = between.pop() if anchored else ""
    return _Starred(head, tuple(between), tail, sum(map(len, chunks)))


def _spellings(pattern: str) -> Iterator[tuple[list[str], bool]]:
    """The chunks of a pattern with stars, between them, and whether the URL must end with the last one.

    Mostly once. Where an escape stands after a star, nobody knows if it is one of a path or of a query: `/*u=%2Fa` is
    one pattern for the path, and one with the `?` somewhere in the star.
    """
    anchored = pattern.endswith("$")
    parts = (pattern[:-1] if anchored else pattern).split("*")
    query = next((number for number, part in enumerate(parts) if "?" in part), len(parts))
    spelled = [_compared(part) if number <= query else _in_query(part) for number, part in enumerate(parts)]
    yield _without_empty(spelled, anchored)
    if query and any(_PART_MATTERS.search(part) for part in parts[1 : query + 1]):
        in_query = [_in_query(part) for part in parts]
        for star in range(1, min(query, len(parts) - 1, _STARS) + 1):
            yield _without_empty([*spelled[:star], "?", *in_query[star:]], anchored)


def _without_empty(parts: list[str], anchored: bool) -> tuple[list[str], bool]:
    """Chunks without those of stars side by side and of a star at the end."""
    chunks = [parts[0], *filter(None, parts[1:])]
    return chunks, anchored and parts[-1] != ""


def _octets(pattern: str) -> int:
    """What the longest match is measured by: octets of the pattern as a URL, its stars and its dollar among them."""
    if "%" not in pattern and pattern.isascii():
        return len(pattern) + (2 * len(_STILL_ESCAPED.findall(pattern)) if _STILL_ESCAPED.search(pattern) else 0)
    text = _compared(pattern)
    return len(text) + 2 * len(_STILL_ESCAPED.findall(text))


def _compared(path: str) -> str:
    """The compared spelling of a path and of the query after it."""
    if "%" not in path and " " not in path:
        return path
    path, mark, query = path.partition("?")
    if "%" in path:
        path = _ESCAPE.sub(lambda found: _IN_PATH[found[0]], path)
    return path + mark + _in_query(query) if mark else path


def _in_query(text: str) -> str:
    """The compared spelling of a query or of a piece of it."""
    if "%" in text:
        text = _ESCAPE.sub(lambda found: _PLAIN[found[0]], text)
    return text.replace(" ", "+")


_PLAIN = {f"%{high}{low}": chr(int(high + low, 16)) for high in hexdigits for low in hexdigits}
_IN_PATH = {escape: chr(ord(plain) + _APART) if plain in "/?" else plain for escape, plain in _PLAIN.items()}
