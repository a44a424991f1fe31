"""The main text, as an option."""

from __future__ import annotations

import pytest

from jobs.parsing.main_text import main_text
from tests.jobs.parsing.reading import read

PARAGRAPHS = [
    f"This is sentence number {number} of an article that is long enough to be taken for one." for number in range(8)
]
PAGE = (
    "<html><head><title>T</title></head><body><nav><ul><li><a href=/1>Home</a></li><li><a href=/2>Shop</a></li></ul></nav>"
    f"<article><h1>Café</h1>{''.join(f'<p>{text}</p>' for text in PARAGRAPHS)}</article><footer>Imprint</footer></body></html>"
)


def test_the_article_without_what_is_around_it() -> None:
    document = read(PAGE, "text/html; charset=utf-8", "parse.main_text=true")
    assert document.main_text is not None
    assert all(text in document.main_text for text in PARAGRAPHS)
    assert "Café" in document.main_text
    assert "Shop" not in document.main_text
    assert "Shop" in (document.text or "")
    assert read(PAGE).main_text is None
    assert read("words " * 100, "text/plain", "parse.main_text=true").main_text is None


def test_its_failure_costs_the_main_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def fail(*_: object, **__: object) -> str:
        raise RecursionError("too deep")

    monkeypatch.setattr(trafilatura, "extract", fail)
    document = read(PAGE, "text/html", "parse.main_text=true")
    assert (document.parse_status, document.title, document.main_text) == ("parsed", "T", None)


def test_limit_and_nothing_to_find() -> None:
    assert main_text(PAGE.encode(), "utf-8", 50) is not None
    assert len(main_text(PAGE.encode(), "utf-8", 50) or "") <= 50
    assert main_text(b"", "utf-8", 50) is None
    assert main_text(b"\0<<<", "utf-16le", 50) is None
