"""Simhash: 64 bits of which near-duplicates share nearly all (Charikar: Similarity Estimation, STOC 2002).

Each bit says whether most of the text's features have it set in their hash. Features are the distinct shingles of
SHINGLE words, each counted once, so that what a site repeats on every page weighs little. For two texts whose features
have the cosine c, on average 64 · arccos(c) / π bits differ; a word that changes in n takes SHINGLE shingles with it,
so c ≈ 1 − SHINGLE / n.

Words are runs of letters, digits and marks without regard to case; a character of a script that is written without
spaces (Han, Kana, Thai, Lao, Khmer, Burmese) is a word of its own. All is columns: no Python loop over words.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SHINGLE = 2
"""Words of a feature: 1 takes pages on one subject for the same, 3 and more forgive less (see docs/duplicates.md)."""

_ODD = np.uint64(0x9E3779B97F4A7C15)
_APART, _WITHIN, _ALONE = 0, 1, 2
_UNSPACED = ((0x0E01, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3041, 0x30FF), (0x31F0, 0x31FF),
             (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D))  # fmt: skip


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """For each code point of the basic plane whether it stands between words, within one or is one; last, for those
    beyond: within (historic scripts, emoji), for Han beyond is looked at apart."""
    kinds = np.full((1 << 16) + 1, _APART, np.uint8)
    for code in range(1 << 16):
        if unicodedata.category(chr(code))[0] in "LNM":
            kinds[code] = _WITHIN
    for first, last in _UNSPACED:
        letters = kinds[first : last + 1]
        letters[letters == _WITHIN] = _ALONE
    kinds[-1] = _WITHIN
    return kinds


def simhash(text: str) -> int | None:
    """The simhash of a text; None if it has no word."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "replace"), np.uint32)
    kinds = _kinds()[np.minimum(codes, 1 << 16)]
    kinds = np.where((codes >= 0x20000) & (codes < 0x32000), np.uint8(_ALONE), kinds)
    places = np.flatnonzero(kinds)
    if not len(places):
        return None
    codes, kinds = codes[places], kinds[places]
    begins = np.ones(len(places), np.bool_)
    begins[1:] = (places[1:] != places[:-1] + 1) | (kinds[1:] == _ALONE) | (kinds[:-1] == _ALONE)
    starts = np.flatnonzero(begins)
    within = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    # A word's hash is the sum of a hash of each (character, place in the word).
    words = np.add.reduceat(_mixed(codes.astype(np.uint64) + (within.astype(np.uint64) << np.uint64(32))), starts)
    features = words[: max(len(words) - SHINGLE + 1, 1)].copy()
    for place in range(1, min(SHINGLE, len(words))):
        features = features * _ODD + words[place : place + len(features)]
    features = np.sort(_mixed(features))
    features = features[np.concatenate([[True], features[1:] != features[:-1]])]
    bits = np.unpackbits(features.view(np.uint8), bitorder="little").reshape(-1, 64)
    most = 2 * np.add.reduce(bits, axis=0, dtype=np.uint32) > len(features)
    return int(np.packbits(most, bitorder="little").view("<u8")[0])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each number in which every bit depends on every bit (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return found
