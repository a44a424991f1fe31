"""What every target is, and what must hold of every page, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from crawldb.settings import Settings
from crawldb.urls import canonicalize
from jobs.parsing import Document, Page, PageParser, media_types
from jobs.parsing.media_types import ATOM, RSS
from jobs.parsing.parsers import PARSERS, WHOLE


class Target(NamedTuple):
    """Something that reads bytes."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    """Inputs to begin with: what it should understand, and what has gone wrong elsewhere."""
    longest: int = 1 << 16
    """Bytes of an input: more where a format has places far apart."""


def _settings() -> Settings:
    settings = Settings()
    settings.http.agent_name = "testbot"
    settings.filter.use = []
    settings.parse.simhash = True
    settings.parse.max_unpacked = 4 << 20  # what is unpacked takes its time, and that is the timeout's to end
    return settings


SETTINGS = _settings()
_PAGE_PARSER = PageParser(SETTINGS)
URL = "http://example.com/dir/page"
MAY_FAIL = WHOLE | {RSS, ATOM}
_MOST_TEXT = 40
"""Text is at most so many times as long as the input, and a page's title, links and the rest of it, too."""


def page_of(content: bytes, content_type: str | None, page_parser: PageParser = _PAGE_PARSER) -> Document:
    """What the whole room makes of a page, checked: everything in it can be written, every link is canonical.

    HTML, plain text and sitemaps are parsed whatever they are; files of other formats may be broken beyond reading.
    """
    kind = media_types.media_type(content, content_type)
    if kind in PARSERS and kind not in MAY_FAIL:
        PARSERS[kind](content, content_type, SETTINGS.parse)  # raises what PageParser would make a page's failure
    headers = [("Content-Type", content_type)] if content_type else []
    document = page_parser.parse(Page(URL, "example.com", 1, content, content_type, headers, False))
    assert document.parse_status != "failed" or kind in MAY_FAIL, document.parse_detail
    assert document.parse_detail != "memory"
    assert len(document.text or "") <= SETTINGS.parse.max_text
    assert len(document.main_text or "") <= SETTINGS.parse.max_text
    assert document.simhash is None or 0 <= document.simhash < 1 << 64
    said = [document.title, document.text, document.language, document.description, document.canonical_url,
            document.main_text, document.parse_detail, *(document.json_ld or ())]  # fmt: skip
    for name, value in (document.metadata or {}).items():
        said += [name, value]
    for link in document.outlinks:
        assert canonicalize(link.url) == link.url
        assert len(link.fingerprint) == 20
        said += [link.url, link.anchor, link.rel]
    size = sum(len(text.encode()) for text in said if text is not None)  # a lone surrogate cannot be encoded
    if kind not in WHOLE:  # those are compressed
        assert size <= _MOST_TEXT * (len(content) + 100) + 100 * len(document.outlinks)
    return document
