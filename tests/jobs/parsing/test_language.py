"""The language of texts that declare none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.parsing.language import SAMPLE, detect
from tests.jobs.parsing.reading import read

TEXTS = {
    "en": "The museum was founded in the nineteenth century and shows paintings from all parts of the country.",
    "de": "Das Museum wurde im neunzehnten Jahrhundert gegründet und zeigt Gemälde aus allen Teilen des Landes.",
    "fr": "Le musée a été fondé au dix-neuvième siècle et présente des tableaux de toutes les régions du pays.",
    "sv": "Museet grundades på artonhundratalet och visar målningar från alla delar av landet.",
    "pl": "Muzeum zostało założone w dziewiętnastym wieku i pokazuje obrazy ze wszystkich części kraju.",
    "ru": "Музей был основан в девятнадцатом веке и показывает картины из всех частей страны.",
    "ja": "この美術館は十九世紀に設立され、全国各地の絵画を展示しています。来館者は毎日入口で切符を買うことができます。",
    "ar": "تأسس المتحف في القرن التاسع عشر ويعرض لوحات من جميع أنحاء البلاد. يمكن للزوار شراء التذاكر.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_sentences(language: str) -> None:
    assert detect(TEXTS[language], 40) == language
    document = read(f"<p>{TEXTS[language]}</p>")
    assert (document.language, document.language_by) == (language, "detected")


def test_what_is_declared_is_believed() -> None:
    document = read(f"<html lang=fr><p>{TEXTS['de']}</p>")
    assert (document.language, document.language_by) == ("fr", "declared")


@pytest.mark.parametrize(
    "text", ["", "short", "12 34 56 78 90 " * 10, "Home | News | Sport | Shop | Earth | Travel | Capital"]
)
def test_what_is_no_text_has_no_language(text: str) -> None:
    document = read(f"<p>{text}</p>")
    assert (document.language, document.language_by) == (None, None)


def test_settings() -> None:
    assert read(f"<p>{TEXTS['de']}</p>", "text/html", "parse.detect_language=false").language is None
    assert read(f"<p>{TEXTS['de']}</p>", "text/html", "parse.min_detect=500").language is None


def test_the_middle_of_a_long_text_decides() -> None:
    assert detect(TEXTS["en"] + TEXTS["de"] * (4 * SAMPLE // len(TEXTS["de"])) + TEXTS["en"], 40) == "de"


@given(st.text(max_size=300))
def test_any_text_has_a_language_or_none(text: str) -> None:
    language = detect(text, 10)
    assert language is None or (language.isalpha() and len(language) in (2, 3))
