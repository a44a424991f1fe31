"""The language of a text that does not say which it is in.

py3langid decides: bytes' n-grams and naive Bayes, with a confidence that is comparable over lengths. Its model is
loaded by the first page that needs it (0.7 CPU seconds, 90 MB); a page costs a quarter of a millisecond.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

SAMPLE = 1000
"""Characters that are looked at, from the middle of a long text: navigation often is in another language."""
CONFIDENCE = 0.5
"""Below it there is no language. Sentences of twenty characters are above it, lists of names and code mostly not."""

_NO_LANGUAGE = frozenset({"zxx", "und", "qaa"})


def detect(text: str, minimum: int) -> str | None:
    """The language code of `text` (ISO 639-1 where it has one), or None if it is shorter than `minimum` or unclear."""
    if len(text) < minimum:
        return None
    start = max(0, (len(text) - SAMPLE) // 2)
    language, confidence = _classifier()(text[start : start + SAMPLE])
    return None if confidence < CONFIDENCE or language in _NO_LANGUAGE else language


@functools.lru_cache(1)
def _classifier() -> Callable[[str], tuple[str, float]]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    classify: Callable[[str], tuple[str, float]] = identifier.classify
    return classify
