"""A whole page in, a whole document out: `PageParser` puts the parts of this room together."""

from __future__ import annotations

import re

from crawldb.errors import CobnutError, UsageError
from crawldb.families import find
from crawldb.fingerprint import url_fingerprint
from crawldb.refusals import Refused
from crawldb.settings import Settings
from crawldb.urls import canonicalize
from jobs.parsing.contract import Document, Extract, Outlink, Page, Parser
from jobs.parsing.dates import utc_ms
from jobs.parsing.directives import directives, refresh_target
from jobs.parsing.language import detect
from jobs.parsing.main_text import main_text, require_main_text
from jobs.parsing.media_types import HTML, XHTML, media_type
from jobs.parsing.outlinks import Outlinks
from jobs.parsing.parsers import PARSERS, WHOLE
from jobs.parsing.reader import LINK_ELEMENTS
from jobs.parsing.signatures import SIGNATURES
from jobs.parsing.simhash import simhash

_language_tag = re.compile(r"[A-Za-z]{1,8}(?:[-_][A-Za-z0-9]{1,8}){0,6}").fullmatch


class PageParser:
    """Parses pages one by one. Raises UsageError for wrong settings, and nothing for a page."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.parse
        for element in self._settings.links:
            if element not in LINK_ELEMENTS:
                raise UsageError(f"parse.links = {element}: unknown; there are: {', '.join(LINK_ELEMENTS)}")
        self._agent = settings.http.agent_name.strip().lower()
        self._signature = find(SIGNATURES, settings.parse.signature, "parse.signature")
        self._parsers = PARSERS | dict(_outside(entry) for entry in settings.parse.parsers)
        self._outlinks = Outlinks(settings)
        if settings.parse.main_text:
            require_main_text()

    def parse(self, page: Page) -> Document:
        """What `page` says."""
        kind = media_type(page.content, page.content_type, page.url)
        parser = self._parsers.get(kind)
        if parser is None:
            return self.failed(page, kind, kind, "no_parser")
        if page.truncated and kind in WHOLE:
            return self.failed(page, "truncated", kind)
        try:
            document = self._document(page, kind, parser(page.content, page.content_type, self._settings))
        except CobnutError:
            raise  # Ctrl-C is not the page's failure
        except MemoryError:
            return self.failed(page, "memory", kind)
        except Exception as error:  # a parser's bug costs one page, not the round
            return self.failed(page, f"{type(error).__name__}: {error}"[:500], kind)
        self._read_text(document, page)
        document.signature = self._signature(page.content, document.text)
        if self._settings.simhash and document.text:
            document.simhash = simhash(document.text)
        return document

    def failed(self, page: Page, detail: str, kind: str | None = None, status: str = "failed") -> Document:
        """What is known of a page that was not parsed, and why."""
        document = Document(status, detail, kind or media_type(page.content, page.content_type, page.url))
        document.noindex, document.nofollow = directives([], page.headers, self._agent)
        document.signature = self._signature(page.content, None)
        return document

    def redirect(
        self, page_url: str, host: str, depth: int, target: str | None, kind: str = "redirect"
    ) -> tuple[list[Outlink], Refused]:
        """The link that a redirect is, filtered like any other; a redirect's target has the page's own depth."""
        return self._outlinks.redirect(page_url, host, depth, target, kind)

    def _read_text(self, document: Document, page: Page) -> None:
        """What is taken from the text as a whole."""
        settings = self._settings
        if settings.main_text and document.content_type in (HTML, XHTML) and document.charset:
            document.main_text = main_text(page.content, document.charset, settings.max_text)
        if settings.detect_language and document.language is None and document.text:
            document.language = detect(document.main_text or document.text, settings.min_detect)
            document.language_by = "detected" if document.language else None

    def _document(self, page: Page, kind: str, extract: Extract) -> Document:
        base = (canonicalize(page.base_url, page.url) if page.base_url else None) or page.url
        if extract.base is not None:
            base = canonicalize(extract.base, base) or base
        noindex, nofollow = directives(extract.robots, page.headers, self._agent)
        refresh = extract.refresh or _header(page, "refresh")
        outlinks, refused = self._outlinks.of_page(
            page.url, page.host, page.depth, base, extract.references, nofollow,
            refresh_target(refresh) if refresh else None,
        )  # fmt: skip
        canonical = canonicalize(extract.canonical, base) if extract.canonical else None
        language = _language(extract.language or _header(page, "content-language"))
        return Document(
            "parsed", None, kind, extract.charset, extract.title, extract.text,
            language=language, language_by="declared" if language else None, description=extract.description,
            published_at=utc_ms(extract.published) if extract.published else None,
            modified_at=utc_ms(extract.modified) if extract.modified else None,
            metadata=extract.metadata or None, json_ld=extract.json_ld or None,
            canonical_url=canonical,
            canonical=url_fingerprint(canonical) if canonical and canonical != page.url else None,
            noindex=noindex, nofollow=nofollow, outlinks=outlinks, refused=refused,
        )  # fmt: skip


def _outside(entry: str) -> tuple[str, Parser]:
    """The media type and the parser that an entry of parse.parsers names."""
    kind, _, name = entry.partition("=")
    if "/" not in kind or not name:
        raise UsageError(f"parse.parsers = {entry}: expected MEDIA/TYPE=module:function, such as text/x=mine.x:parse")
    return kind.strip().lower(), find(PARSERS, name.strip(), "parse.parsers")


def _header(page: Page, wanted: str) -> str | None:
    for name, value in page.headers:
        if len(name) == len(wanted) and name.lower() == wanted:
            return value
    return None


def _language(declared: str | None) -> str | None:
    """A single language tag, as it was written; lists and what is no tag count as not declared."""
    declared = (declared or "").strip()
    return declared if _language_tag(declared) else None
