"""The compiled matcher beside a slow one that reads as RFC 9309 §2.2.2 does, and its cost where others explode."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.fetching import path_rules
from jobs.fetching.path_rules import PathRule, PathRules

ORIGIN = "https://h.example"


def compiled(*lines: tuple[bool, str]) -> PathRules:
    return PathRules(PathRule(allow, pattern, number, b"") for number, (allow, pattern) in enumerate(lines, 1))


def matches(pattern: str, path: str) -> bool:
    return compiled((False, pattern)).decisive(ORIGIN + path) is not None


# The slow one: octet by octet, each remembered with how it was written and where it stood

Octet = tuple[str, bool]
"""An octet, and whether it was escaped."""


def octets(text: str) -> list[Octet]:
    found = re.findall("%[0-9A-Fa-f]{2}|.", text, re.DOTALL)
    return [(chr(int(one[1:], 16)), True) if len(one) == 3 else (one, False) for one in found]


def same(rule: Octet, url: Octet, in_query: bool) -> bool:
    """Whether a rule's octet is a URL's that stands in its path or in its query."""
    if in_query:
        return rule[0].replace(" ", "+") == url[0].replace(" ", "+")
    return rule == url if rule[0] in "/?" and url[0] in "/?" else rule[0] == url[0]


def slowly(pattern: str, path: str) -> bool:
    """Whether a pattern matches: all places that each star can lead to, side by side."""
    url = octets(path)
    boundary = url.index(("?", False)) if ("?", False) in url else len(url)
    anchored = pattern.endswith("$")
    places = {0}
    for octet in octets(pattern[:-1] if anchored else pattern):
        if octet == ("*", False):
            places = set(range(min(places), len(url) + 1)) if places else places
        else:
            places = {at + 1 for at in places if at < len(url) and same(octet, url[at], at > boundary)}
    return len(url) in places if anchored else bool(places)


def slowly_decided(lines: Sequence[tuple[bool, str]], path: str) -> bool | None:
    """Allow (True), Disallow or nothing, by the longest of the patterns that match."""
    found = [(len(pattern), allow) for allow, pattern in lines if slowly(pattern, path)]
    return max(found)[1] if found else None


PIECES = [
    "a",
    "b",
    "ab",
    "/",
    "*",
    "?",
    "%2F",
    "%2f",
    "%3F",
    "%61",
    "=",
    "%3D",
    "%26",
    "&",
    "+",
    "%20",
    " ",
    "%2B",
    "$",
    ":",
    "%2A",
]
PATTERNS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join).map(lambda text: "/" + text) | st.lists(
    st.sampled_from(PIECES), max_size=6
).map(lambda pieces: "*" + "".join(pieces))
URL_PIECES = ["a", "b", "ab", "/", "?", "%2F", "%3F", "=", "%26", "&", "+", "%20", "%2B", "$", ":", "*"]
PATHS = st.lists(st.sampled_from(URL_PIECES), max_size=10).map(lambda pieces: "/" + "".join(pieces))


@given(PATTERNS, PATHS)
@example("/*%2Fa", "/?/a")
@example("/*%2Fa", "/b/a?b")
@example("/*b*%2Fa", "/?b?/a")
@example("/*%26*?*%2F", "/a&b?%2F")
@example("*%20$", "/?+")
@example("*%3F%2F", "/?%3F/")
def test_one_pattern_matches_as_the_slow_matcher_says(pattern: str, path: str) -> None:
    assert matches(pattern, path) is slowly(pattern, path)


SIMPLE = st.tuples(st.booleans(), st.text("ab/*$", max_size=6).map(lambda text: "/" + text))


@given(st.lists(SIMPLE, max_size=80), st.lists(st.text("ab/$", max_size=9).map(lambda text: "/" + text), max_size=5))
def test_many_rules_decide_as_the_slow_matcher_says(lines: list[tuple[bool, str]], paths: list[str]) -> None:
    rules = compiled(*lines)
    for path in paths:
        rule = rules.decisive(ORIGIN + path)
        assert (rule and rule.allow) == slowly_decided(lines, path)
        assert rule is None or slowly(rule.pattern, path)


WORDS = ["news", "sport", "filter_a=", "filter_b=", "print", ".pdf", "a"]


@given(st.integers(0, 2**32))
def test_looking_up_finds_what_trying_all_would(seed: int) -> None:
    choose = random.Random(seed)  # Hypothesis takes long over so many
    patterns = {"/*" + "".join(choose.choices([*WORDS, "*", "*", "/"], k=choose.randint(1, 6))) for _ in range(60)}
    lines = [(choose.random() < 0.4, pattern) for pattern in sorted(patterns)]
    rules = compiled(*lines)
    for _ in range(5):
        path = "/" + "/".join(choose.choices(WORDS, k=choose.randint(1, 5)))
        rule = rules.decisive(ORIGIN + path)
        assert (rule and rule.allow) == slowly_decided(lines, path)


@given(st.lists(SIMPLE, max_size=8), st.data())
def test_the_order_of_rules_does_not_matter(lines: list[tuple[bool, str]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(lines))
    for path in ("/", "/a", "/ab", "/a/b", "/b$"):
        one, other = (compiled(*rules).decisive(ORIGIN + path) for rules in (lines, shuffled))
        assert (one and (one.allow, len(one.pattern))) == (other and (other.allow, len(other.pattern)))


@given(st.text(st.characters(max_codepoint=255), max_size=30), st.text(st.characters(max_codepoint=255), max_size=30))
def test_nothing_makes_it_raise(pattern: str, path: str) -> None:
    compiled((False, pattern), (True, "*" + pattern), (False, pattern + "$")).decisive(f"{ORIGIN}/{path}")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [("", "/", False), ("/", "/", True), ("*", "/", True), ("$", "/", False), ("*$", "/", True), ("/***", "/", True)],
)
def test_the_shortest_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    ("pattern", "octets"),
    [("/a", 2), ("/a*$", 4), ("/%61", 2), ("/\xe3\x83\x84", 10), ("/%E3%83%84", 10), ("/a b", 6), ("/a%20b", 6),
     ("/a%2Fb", 6), ("/a?b=/c:d", 9), ("/a?b=%2fc%3ad", 9), ("/100%", 7), ("/100%25", 7), ("/a'\"", 6)],
)  # fmt: skip
def test_octets_are_those_of_one_spelling(pattern: str, octets: int) -> None:
    assert path_rules._octets(pattern) == octets


@pytest.mark.parametrize(
    ("patterns", "path"),
    [
        (["/" + "*a" * 30 + "*b"], "/" + "a" * 60_000),
        (["/" + "*a" * 30 + "*b$"], "/" + "a" * 60_000),
        (["/" + "*a" * 200_000 + "b"], "/" + "a" * 60_000),
        (["/" + "*aab" * 1000 + "*$"], "/" + "a" * 60_000 + "b"),
        (["/" + "*" * 400_000 + "b"], "/" + "a" * 60_000),
        (["/*" + "a" * 30_000 + "b"], "/" + "a" * 60_000),
        (["/" + "*%2F" * 100_000 + "b"], "/" + "%2F" * 20_000),
        (["/" + "%2F" * 100_000], "/" + "%2F" * 20_000),
        ([f"/*{number:05}*x" for number in range(30_000)], "/" + "0123456789" * 200),
        ([f"/{'a' * length}" for length in range(900)], "/" + "a" * 60_000),
        ([f"/*{'a' * length}b" for length in range(900)], "/" + "a" * 60_000),
    ],
    ids=["stars", "stars and end", "200,000 stars", "chunks that nearly fit", "stars side by side", "one long chunk",
         "escapes after stars", "escapes", "30,000 patterns with stars", "prefixes of all lengths", "chunks of all lengths"],
)  # fmt: skip
def test_no_pattern_makes_it_hang(patterns: list[str], path: str) -> None:
    """Backtracking would take years for the first, some seconds are for slow machines."""
    rules = compiled(*((False, pattern) for pattern in patterns))
    start = time.process_time()
    rules.decisive(ORIGIN + path)
    assert time.process_time() - start < 5
