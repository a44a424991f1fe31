"""RSS 0.9x, 1.0 and 2.0, and Atom: a feed's title and description, its entries' text and their links.

One reading for all of them, by elements' local names: feeds mix the formats' namespaces, and what is not well-formed
is read as far as it can be. An entry's link has its title as anchor. The text is the feed's title and description,
then each entry's title and summary; markup in those is read as HTML, and its links are not the feed's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

from lxml import etree

from crawldb.settings import ParseSettings
from jobs.parsing.charset import decide, decode
from jobs.parsing.contract import Extract, Reference
from jobs.parsing.html import parse_html
from jobs.parsing.markup import iso_time, local_name, xml_parser

MAX_TITLE = 1000
"""Characters kept of a title."""

_BASE = "{http://www.w3.org/XML/1998/namespace}base"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_ENTRIES = frozenset({"item", "entry"})
_NOT_DOCUMENT_RELS = frozenset({"self", "enclosure", "edit", "edit-media", "hub", "icon", "search", "service"})
"""Of Atom's link elements: what a reader does not follow."""
_UTF8 = "text/html; charset=utf-8"


def parse_feed(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`. Raises ValueError for what has no element at all."""
    charset, start = decide(content, content_type, settings.default_charset)
    body = decode(content, charset, start).replace("\0", "").lstrip().encode("utf-8", "replace")
    root = etree.fromstring(_without_declaration(body), xml_parser(recover=True))
    if root is None:
        raise ValueError("no XML")
    extract = Extract(charset=charset)
    return _Feed(settings, extract).read(root)


def _without_declaration(body: bytes) -> bytes:
    """The body is UTF-8 now, whatever its XML declaration says."""
    return body[body.find(b"?>") + 2 :] if body.startswith(b"<?xml") and b"?>" in body[:1024] else body


class _Feed:
    def __init__(self, settings: ParseSettings, extract: Extract) -> None:
        self._settings, self._extract = settings, extract
        self._lines: list[str] = []
        self._room = settings.max_text

    def read(self, root: etree._Element) -> Extract:
        extract = self._extract
        channel = next((child for child in root if local_name(child.tag) == "channel"), root)
        extract.language = self._plain(channel, "language") or channel.get(_LANG) or root.get(_LANG)
        extract.title = self._text(channel, "title")[:MAX_TITLE].replace("\n", " ").rstrip() or None
        extract.description = self._text(channel, "description", "subtitle", "tagline") or None
        extract.published = iso_time(self._plain(channel, "pubDate", "published", "issued"))
        extract.modified = iso_time(self._plain(channel, "lastBuildDate", "updated", "date", "modified"))
        for name, elements in (("author", ("managingEditor", "creator", "author")), ("generator", ("generator",))):
            value = self._text(channel, *elements)
            if value:
                extract.metadata[name] = " ".join(value.split())[:MAX_TITLE]
        self._add(extract.title)
        self._add(extract.description)
        self._link(channel, extract.title)
        for entry in root.iter():
            if local_name(entry.tag) in _ENTRIES:
                title = " ".join(self._text(entry, "title").split())
                self._link(entry, title[: self._settings.max_anchor].rstrip() or None)
                self._add(title)
                self._add(self._text(entry, "content", "encoded", "description", "summary", "abstract"))
        extract.text = "\n".join(self._lines)[: self._settings.max_text].rstrip()
        return extract

    def _add(self, line: str | None) -> None:
        if line and self._room > 0:
            self._lines.append(line)
            self._room -= len(line) + 1

    def _link(self, element: etree._Element, anchor: str | None) -> None:
        """The links of a feed or an entry: RSS has their target as text, Atom as an attribute."""
        found = False
        for child in element:
            if local_name(child.tag) != "link":
                continue
            rel = " ".join(child.get("rel", "").lower().split()) or None
            if rel in _NOT_DOCUMENT_RELS:
                continue
            href = (child.get("href") or "".join(_texts(child))).strip()
            if href:
                found = True
                self._refer(child, href, anchor, None if rel == "alternate" else rel)
        guid = next((child for child in element if local_name(child.tag) == "guid"), None)
        if not found and guid is not None and guid.get("isPermaLink", "true").strip().lower() != "false":
            self._refer(guid, "".join(_texts(guid)).strip(), anchor, None)
        source = next((child for child in element if local_name(child.tag) == "content" and child.get("src")), None)
        if source is not None:
            self._refer(source, source.get("src", ""), anchor, None)

    def _refer(self, element: etree._Element, href: str, anchor: str | None, rel: str | None) -> None:
        if href:
            self._extract.references.append(Reference(_resolved(element, href), anchor, rel))

    def _plain(self, element: etree._Element, *names: str) -> str:
        """The text of the first child that has one of these names, the earlier names first."""
        for child in _children(element, names):
            text = "".join(_texts(child)).strip()
            if text:
                return text
        return ""

    def _text(self, element: etree._Element, *names: str) -> str:
        """The same as a reader would see it: markup, escaped or not, is read as HTML."""
        if self._room <= 0:
            return ""
        for child in _children(element, names):
            if child.get("type", "") in ("xhtml", "application/xhtml+xml"):
                markup = etree.tostring(child, encoding="unicode", with_tail=False)
            else:
                # A person's element has elements, of which the first is the name
                named = next((part for part in child if local_name(part.tag) == "name"), child)
                markup = "".join(_texts(named))
            if "<" in markup or "&" in markup:
                read = parse_html(markup.encode("utf-8", "replace"), _UTF8, self._settings).text
            else:
                read = "\n".join(filter(None, (" ".join(line.split()) for line in markup.split("\n"))))
            if read:
                return read
        return ""


def _children(element: etree._Element, names: tuple[str, ...]) -> list[etree._Element]:
    found = [(names.index(name), child) for child in element if (name := local_name(child.tag)) in names]
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]


def _texts(element: etree._Element) -> Iterator[str]:
    """All text within; a reference to an entity that nobody declared is none."""
    if isinstance(element.tag, str) and element.text:
        yield element.text
    for child in element.iterdescendants():
        if isinstance(child.tag, str) and child.text:
            yield child.text
        if child.tail:
            yield child.tail


def _resolved(element: etree._Element, href: str) -> str:
    """`href` by the xml:base of the element and of those around it; what is still relative is so to the feed's URL."""
    at: Any = element
    while at is not None:
        base = at.get(_BASE)
        if base:
            try:
                href = urljoin(base.strip(), href)
            except ValueError:
                return href
        at = at.getparent()
    return href
