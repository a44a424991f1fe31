"""What every signature promises, and what each of them sees."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.families import find
from jobs.parsing import SIGNATURES, PageParser, Signature
from jobs.parsing.signatures import _frequencies, content_md5, text_md5, text_profile

from .reading import make_settings

EVERY = pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)


@EVERY
@given(content=st.binary(max_size=100), text=st.none() | st.text(max_size=100))
def test_sixteen_bytes_that_depend_on_nothing_else(signature: Signature, content: bytes, text: str | None) -> None:
    first = signature(content, text)
    assert isinstance(first, bytes)
    assert len(first) == 16
    assert signature(bytes(bytearray(content)), text) == first


@EVERY
def test_pages_without_text_are_told_apart_by_their_bodies(signature: Signature) -> None:
    for text in (None, ""):
        assert signature(b"<frameset><frame src=a>", text) != signature(b"<frameset><frame src=b>", text)


@EVERY
def test_other_words_are_another_page(signature: Signature) -> None:
    assert signature(b"<p>one", "one") != signature(b"<p>two", "two")


def test_what_each_sees() -> None:
    assert content_md5(b"<p>a", "a") != content_md5(b"<p >a", "a")
    assert text_md5(b"<p>a", "a") == text_md5(b"<p >a", "a")
    assert text_md5(b"", "a b") != text_md5(b"", "b a")
    assert text_profile(b"", "a bee sea") == text_profile(b"", "Sea, bee!")


@given(st.lists(st.sampled_from(["Mill", "mill,", "a", "x_y", "it's", "b-c", "é", "ß9", "水車", " ", "\n", "\u3000"])))
def test_words_are_counted_as_a_regular_expression_would(pieces: list[str]) -> None:
    text = " ".join(pieces).lower()
    assert _frequencies(text) == Counter(re.findall(r"\w{2,}", text))


def test_a_profile_outlives_small_edits() -> None:
    chance = random.Random(7)
    words = chance.choices(["mill", "river", "water", "wheel", "stone", "miller", "bread", "flour"], k=2000)
    edited = [*words, "updated", "yesterday", "at", "noon"]
    chance.shuffle(edited)
    assert text_profile(b"1", " ".join(words)) == text_profile(b"2", " ".join(edited))
    assert text_profile(b"1", " ".join(words)) != text_profile(b"1", " ".join(words[:1000]))


def test_an_unknown_signature_is_a_usage_error_and_one_from_outside_is_found() -> None:
    with pytest.raises(UsageError, match=r"parse\.signature = contnet: unknown; did you mean content\?"):
        PageParser(make_settings("parse.signature=contnet"))
    outside = find(SIGNATURES, "jobs.parsing.signatures:text_md5", "parse.signature")
    assert outside is text_md5
