"""Simhash: what it looks at, and how far apart texts are that differ by so much."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.settings import Settings
from jobs.parsing.contract import Page
from jobs.parsing.page_parser import PageParser
from jobs.parsing.simhash import SHINGLE, simhash


def text(words: int, seed: int) -> list[str]:
    """Words by Zipf's law, as texts have them."""
    choose = random.Random(seed)
    vocabulary = [f"{first}{second}{third}" for first in "bdfgklm" for second in ["a", "ei", "o", "u"] for third in
                  ["", "st", "rn", "llig", "mpe", "nter", "x", "tion", "ck"] for _ in range(8)]  # fmt: skip
    vocabulary = [f"{word}{number}" for number, word in enumerate(vocabulary)]
    weights = list(itertools.accumulate(1 / (place + 1) for place in range(len(vocabulary))))
    return choose.choices(vocabulary, cum_weights=weights, k=words)


def edited(words: list[str], number: int, seed: int) -> list[str]:
    """With so many words replaced, all in a row."""
    at = random.Random(seed).randrange(len(words) - number)
    return [*words[:at], *text(number, seed + 1), *words[at + number :]]


def distance(a: list[str], b: list[str]) -> int:
    left, right = simhash(" ".join(a)), simhash(" ".join(b))
    assert left is not None
    assert right is not None
    return (left ^ right).bit_count()


def test_space_punctuation_and_case_do_not_count() -> None:
    assert simhash("One two, three! Four") == simhash("one\n\n two «three»  FOUR.")
    assert simhash("one two three four") != simhash("one two four three")


@pytest.mark.parametrize("nothing", ["", "  \n", "… – !?", "\u3002"])
def test_no_words(nothing: str) -> None:
    assert simhash(nothing) is None


def test_a_single_word_has_a_simhash() -> None:
    assert simhash("word") not in (None, simhash("words"))


def test_scripts_without_spaces_are_words_by_character() -> None:
    assert simhash("日本語の文") == simhash("日 本 語 の 文")
    assert simhash("ไทย") == simhash("ไ ท ย")
    assert simhash("𠀀𠀁") == simhash("𠀀 𠀁")
    assert simhash("한국어") != simhash("한 국 어")


def test_it_does_not_change_from_version_to_version() -> None:
    assert simhash("The quick brown fox jumps over the lazy dog") == GOLDEN


GOLDEN = 0x501626062DFC42A1


@given(st.text())
def test_any_text(found: str) -> None:
    value = simhash(found)
    assert value is None or 0 <= value < 1 << 64
    assert simhash(f" {found}.\n") == value


def test_repeated_text_weighs_no_more() -> None:
    words = text(50, 1)
    assert distance(words, words * 3) <= 8  # a new shingle or two where it begins again


def test_small_edits_are_near_and_other_pages_are_not() -> None:
    """A floor well below what benchmarks/duplicates.py measures."""
    assert SHINGLE == 2
    originals = [text(600, seed) for seed in range(0, 6000, 100)]
    near = [distance(page, edited(page, 3, 7 + place)) <= 3 for place, page in enumerate(originals)]
    assert sum(near) >= 0.7 * len(near)
    assert min(distance(a, b) for a, b in itertools.combinations(originals[:40], 2)) > 8


@pytest.mark.parametrize("wanted", [True, False])
def test_the_page_parser_computes_it_by_setting(wanted: bool) -> None:
    settings = Settings()
    settings.parse.simhash = wanted
    parser = PageParser(settings)
    page = Page("http://a.test/", "a.test", 0, b"<title>t</title><p>One two three", "text/html", [], False)
    assert parser.parse(page).simhash == (simhash("One two three") if wanted else None)
    assert parser.parse(page._replace(content=b"<p>")).simhash is None
