"""`links.dat`: markup and the links that it has, in the manner of html5lib's tests; and the same pages in both readings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.settings import ParseSettings
from jobs.parsing import PageParser
from jobs.parsing.html import _as_utf8, _flattened, _read_events, _read_html

from .reading import make_settings, read
from .soup import SOUP

CASES_FILE = Path(__file__).parent / "links.dat"


class Case(NamedTuple):
    """A case of the file: each begins with #data; #set and #links follow; a link is `| url | anchor | rel | kind`."""

    markup: str
    settings: tuple[str, ...]
    links: list[tuple[str, str | None, str | None, str]]


def cases() -> Iterator[Case]:
    for block in CASES_FILE.read_text("utf-8").removeprefix("#data\n").split("\n#data\n"):
        head, _, links = block.partition("\n#links")
        markup, _, overrides = head.partition("\n#set\n")
        rows = [[cell.strip() or None for cell in row.split(" |")] for row in links.strip().splitlines()]
        found = [(str(url).removeprefix("| "), anchor, rel, str(kind)) for url, anchor, rel, kind in rows]
        yield Case(markup, tuple(overrides.split()), found)


CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=[case.markup[:40] for case in CASES])
def test_links_of_markup(case: Case) -> None:
    links = read(case.markup, "text/html; charset=utf-8", *case.settings).outlinks
    assert [(link.url, link.anchor, link.rel, link.kind) for link in links] == case.links


def both(markup: str | bytes) -> tuple[object, object]:
    """What the tree and the events make of a page."""
    settings = ParseSettings(links=["a", "area", "link", "iframe", "frame", "form", "img"])
    content = markup.encode("utf-8", "replace") if isinstance(markup, str) else markup
    body = _as_utf8(content, "text/html; charset=utf-8", settings)[1]
    stream = _flattened(body)
    return None if stream is None else _read_html(body, settings), _read_events(body, settings)


@pytest.mark.parametrize("case", CASES, ids=[case.markup[:40] for case in CASES])
def test_tree_and_events_read_alike(case: Case) -> None:
    tree, events = both(case.markup)
    assert tree == events


# A second html or body tag adds attributes to the first one in a tree, as it does in a browser, but is no event
@given(SOUP.filter(lambda markup: "<html" not in markup))
def test_tree_and_events_read_any_soup_alike(markup: str) -> None:
    tree, events = both(markup)
    if tree is not None:
        assert tree == events


@given(st.text(st.sampled_from("\x7f\x81\x8da/&#x78d1;129\n<>br "), max_size=40))
def test_a_page_cannot_write_the_marks(text: str) -> None:
    tree, events = both(f"<p>x{text}<a href='/b{text.replace(chr(39), '')}'>c</a>")
    assert tree is not None
    assert tree == events


@pytest.mark.parametrize("mark", ["\x7f", "\x81", "\x8d", "&#127;", "&#x7F", "&#0129;", "&#x0008D;"])
def test_marks_become_replacement_characters(mark: str) -> None:
    assert read(f"<p>a{mark} b").text == "a\ufffd b"


def test_unknown_elements_are_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"parse\.links = image: unknown; there are: a, area, link"):
        PageParser(make_settings("parse.links=a,image"))


def test_deep_pages_lose_nothing() -> None:
    for depth in (100, 252, 253, 260, 1000):
        page = "<div>" * depth + "deep <a href=/last>x</a>" + "</div>" * depth + "<p>end<a href=/end>y</a>"
        document = read(page)
        assert (document.text or "").startswith("deep x\nend")
        assert [link.anchor for link in document.outlinks] == ["x", "y"]
