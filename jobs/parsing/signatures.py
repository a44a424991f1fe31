"""Signatures: 16 bytes that tell whether a page's content has changed, and whether two pages have the same.

A family of functions `(content, text) -> bytes`: the body, and the visible text or None where no parser took it.
A page without text is signed by its body, or else all framesets and script-only pages were duplicates.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable

Signature = Callable[[bytes, "str | None"], bytes]

PROFILE_MINIMUM_LETTERS = 2
"""text_profile: shorter words don't count."""
PROFILE_QUANTUM = 0.01
"""text_profile: frequencies are rounded down to multiples of this share of the highest one, at least 2."""

_word = re.compile(r"\w+").findall


def content_md5(content: bytes, text: str | None) -> bytes:
    """MD5 of the body: any byte counts."""
    return hashlib.md5(content, usedforsecurity=False).digest()


def text_md5(content: bytes, text: str | None) -> bytes:
    """MD5 of the visible text: markup, scripts and white space don't count."""
    return hashlib.md5(text.encode() if text else content, usedforsecurity=False).digest()


def text_profile(content: bytes, text: str | None) -> bytes:
    """MD5 of the frequent words, so that small edits, order and rare words don't count.

    After the idea of Nutch's TextProfileSignature: words are lower-cased, their frequencies quantised, and those that
    fall below the quantum dropped. A text in which no word is repeated counts with all its words.
    """
    frequencies = _frequencies(text.lower()) if text else {}
    if not frequencies:
        return text_md5(content, text)
    highest = max(frequencies.values())
    quantum = max(2, round(highest * PROFILE_QUANTUM)) if highest > 1 else 1
    profile = sorted([(-(count // quantum), word) for word, count in frequencies.items() if count >= quantum])
    lines = "\n".join([f"{word} {-times}" for times, word in profile])
    return hashlib.md5(lines.encode(), usedforsecurity=False).digest()


def _frequencies(text: str) -> dict[str, int]:
    """How often each word occurs. Counted by what white space separates, for only few of that has to be looked into."""
    frequencies: dict[str, int] = {}
    for token, count in Counter(text.split()).items():
        for word in (token,) if token.isalnum() else _word(token):
            if len(word) >= PROFILE_MINIMUM_LETTERS:
                frequencies[word] = frequencies.get(word, 0) + count
    return frequencies


SIGNATURES: dict[str, Signature] = {
    "content": content_md5,
    "text": text_md5,
    "text_profile": text_profile,
}
