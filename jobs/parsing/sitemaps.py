"""What stands in a sitemap: sitemaps.org's XML and its indexes, RSS, Atom, plain text; any of them in gzip.

Owns the reading of a sitemap's bytes into `Entries`, as they stand: no URL is resolved, no date read (`listings` does),
nothing fetched. It is read in pieces, so that memory depends on the piece and not on the file; entities that a
document declares are never expanded. Extensions (images, video, news, xhtml:link) are passed over.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from lxml import etree

from crawldb.listings import Entries
from crawldb.settings import ParseSettings
from jobs.parsing.contract import Extract, Reference
from jobs.parsing.media_types import HTML, XHTML, sniff

URLSET, INDEX, RSS, ATOM, LINES = "urlset", "index", "rss", "atom", "text"
"""The formats."""

BATCH = 10_000
"""Entries at most that are handed over at once."""

_BLOCK = 1 << 18
"""Bytes that a parser is given at once."""
_HEAD = 1024
_FORMATS = {"urlset": URLSET, "sitemapindex": INDEX, "rss": RSS, "rdf": RSS, "feed": ATOM}
"""By the root's name, in lower case."""
_ITEMS = {URLSET: "url", INDEX: "sitemap", RSS: "item", ATOM: "entry"}
_DATES = frozenset({"pubDate", "{http://purl.org/dc/elements/1.1/}date"})
_BARE_AMPERSAND = re.compile(rb"&(?!(?:[A-Za-z]\w*|#[0-9]+|#x[0-9A-Fa-f]+);)")
_AMPERSAND_CUT = re.compile(rb"&[\w#]{0,10}\Z")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)


class SitemapReader:
    """Reads one sitemap: iterate over it once, and then see what it was. Whatever the bytes are, nothing is raised.

    >>> reader = SitemapReader(b"https://example.com/a\\nhttps://example.com/b\\n")
    >>> [entries.urls for entries in reader], reader.format, reader.reason
    ([['https://example.com/a', 'https://example.com/b']], 'text', None)
    """

    def __init__(
        self, content: bytes, content_type: str | None = None, truncated: bool = False, max_bytes: int = 50 << 20
    ) -> None:
        """`max_bytes`: read at most, of what is left when gzip is undone. `truncated`: there was more than `content`."""
        self.format: str | None = None
        """None: it is no sitemap."""
        self.reason: str | None = None
        """Why it was not, or not wholly, read: too_large, bad_gzip, bad_xml, not_a_sitemap; None: it was."""
        self.detail: str | None = None
        self.without_location = 0
        """Entries without a URL, or with one that an entity would have to be expanded for."""
        self.charset: str | None = None
        self.bytes = 0
        """That were read, gzip undone."""
        self._content, self._truncated, self._max_bytes = content, truncated, max_bytes
        charset = _CHARSET.search(content_type or "")
        self._declared = charset[1] if charset else None

    def __iter__(self) -> Iterator[Entries]:
        head = b"".join(self._first_bytes())
        start = _decoded_head(head).lstrip(" \t\r\n\0\ufeff")
        if not start.strip():
            self._fails("not_a_sitemap", "it is empty")
        elif not start.startswith("<"):
            yield from self._lines(start)
        elif sniff(head) in (HTML, XHTML):
            self._fails("not_a_sitemap", "an HTML page")
        else:
            done = yield from self._plain_urlset()
            if done >= 0:
                yield from self._xml_with_mending(done)
        if self._truncated:
            self.reason, self.detail = "too_large", f"more than {self._max_bytes:,} bytes; the rest is left out"

    def _fails(self, reason: str, detail: str) -> None:
        if self.reason is None:
            self.reason, self.detail = reason, detail

    # -- bytes -------------------------------------------------------------------------------------------

    def _first_bytes(self) -> Iterator[bytes]:
        blocks, length = self._blocks(), 0
        for block in blocks:
            yield block[: _HEAD - length]
            length += len(block)
            if length >= _HEAD:
                return

    def _blocks(self) -> Iterator[bytes]:
        """The bytes in pieces, gzip undone, at most max_bytes in all."""
        source = _gunzipped(self._content) if self._content[:2] == b"\x1f\x8b" else _pieces(self._content)
        self.bytes = 0
        try:
            for block in source:
                if self.bytes + len(block) > self._max_bytes:
                    block = block[: self._max_bytes - self.bytes]
                    self._truncated = True
                self.bytes += len(block)
                if block:
                    yield block
                if self._truncated and self.bytes >= self._max_bytes:
                    return
        except zlib.error as error:
            if not self._truncated:
                self._fails("bad_gzip", str(error))

    # -- text --------------------------------------------------------------------------------------------

    def _lines(self, start: str) -> Iterator[Entries]:
        """A URL a line, UTF-8 (sitemaps.org). It takes one to begin with, else anything would be a sitemap."""
        if not _URL.match(start):
            self._fails("not_a_sitemap", "neither XML nor a list of URLs")
            return
        self.format = LINES
        rest = b""
        utf16 = self._content[:2] in (b"\xff\xfe", b"\xfe\xff")
        self.charset = "utf-16" if utf16 else "utf-8"
        blocks = iter([b"".join(self._blocks()).decode("utf-16", "replace").encode()]) if utf16 else self._blocks()
        for block in blocks:
            lines = (rest + block).replace(b"\r", b"\n").split(b"\n")
            rest = lines.pop()
            yield from self._text_batches(lines)
        if not self._truncated:  # else half a URL is another URL
            yield from self._text_batches([rest])

    def _text_batches(self, lines: list[bytes]) -> Iterator[Entries]:
        urls = [url for line in lines if (url := line.decode("utf-8", "replace").strip(" \t\0\ufeff"))]
        for first in range(0, len(urls), BATCH):
            yield Entries.plain(urls[first : first + BATCH])

    # -- XML ---------------------------------------------------------------------------------------------

    def _plain_urlset(self) -> Generator[Entries, None, int]:
        """The entries of a urlset as nearly every program writes it, read by a pattern in a fifth of the time.

        Returns -1 if that was all; else how many it read before something that takes an XML parser to understand.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        done, text, begun = 0, "", False
        found: list[tuple[str | None, ...]] = []
        try:
            for block in self._blocks():
                text += decoder.decode(block)
                if not begun:
                    head = _URLSET_HEAD.match(text.removeprefix("\ufeff"))
                    if head is None:
                        return 0
                    text, begun = text.removeprefix("\ufeff")[head.end() :], True
                    self.format, self.charset = URLSET, "utf-8"
                end = 0
                for entry in iter(_PLAIN_URL.scanner(text).match, None):  # type: ignore[attr-defined]
                    found.append(entry.groups())
                    end = entry.end()
                text = text[end:]
                if len(found) >= BATCH:
                    yield _columns(found)
                    done += len(found)
                    found = []
                if len(text) > _LONGEST_ENTRY:
                    break
            if found:
                yield _columns(found)
                done += len(found)
            if self._truncated or _URLSET_END.fullmatch(text + decoder.decode(b"", final=True)):
                return -1
        except UnicodeDecodeError:
            pass
        return done

    def _xml_with_mending(self, done: int) -> Iterator[Entries]:
        """The entries up to the first error, without the first `done`; of the two commonest errors, a wrong encoding and
        a bare &, it is mended, and reading begins again, what was read before left out."""
        encoding, mend = None, False
        while True:
            count = 0
            try:
                for entries in self._xml(encoding, mend):
                    fresh = entries.skip(max(done - count, 0))
                    count += len(entries)
                    if fresh.urls:
                        yield fresh
                return
            except etree.XMLSyntaxError as error:
                self.without_location = 0
                done = max(done, count)
                code, position = error.code, error.position
                if encoding is None and code in (
                    etree.ErrorTypes.ERR_INVALID_ENCODING,
                    etree.ErrorTypes.ERR_INVALID_CHAR,
                ):
                    encoding = _usable(self._declared) or "windows-1252"
                    continue
                if not mend and code in _AMPERSAND_ERRORS and b"<![CDATA[" not in self._content:
                    mend = True
                    continue
                if not self._truncated:
                    line, column = position
                    message = (error.msg or "").partition(", line ")[0]
                    self._fails("bad_xml", f"line {line}, column {column}: {message}"[:300])
                return

    def _xml(self, encoding: str | None, mend: bool) -> Iterator[Entries]:
        parser: Any = etree.XMLPullParser(
            events=("end",), tag=[f"{{*}}{name}" for name in _ITEMS.values()], encoding=encoding,
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        )  # fmt: skip
        batch = Entries([], [], [], [])
        read: Callable[[Any, Entries], bool] | None = None
        error: etree.XMLSyntaxError | None = None
        blocks = _mended(self._blocks()) if mend else self._blocks()
        while error is None:
            block = next(blocks, None)
            try:
                if block is None:
                    if not self._truncated:
                        root = parser.close()
                        self._format_of(root)
                    break
                parser.feed(block)
            except etree.XMLSyntaxError as found:
                error = found
            last = None
            for _, element in parser.read_events():
                if read is None:
                    root = element.getroottree().getroot()
                    if not self._format_of(root):
                        return
                    read = _READERS[self.format or ""](element)
                if not read(element, batch):
                    self.without_location += 1
                last = element
                if len(batch.urls) >= BATCH:
                    yield batch
                    batch = Entries([], [], [], [])
            if last is not None and error is None:
                del last.getparent()[:-1]  # the parser may still be adding to the last one's tail
        if batch.urls:
            yield batch
        if error is not None:
            raise error

    def _format_of(self, root: Any) -> bool:
        name = root.tag.rpartition("}")[2].rpartition(":")[2]  # a prefix that nobody declared stays in the tag
        self.format = _FORMATS.get(name.lower())
        self.charset = (root.getroottree().docinfo.encoding or "utf-8").lower()
        if self.format is None:
            self._fails("not_a_sitemap", f"the root is {name[:50]}")
        return self.format is not None


_AMPERSAND_ERRORS = frozenset({
    etree.ErrorTypes.ERR_NAME_REQUIRED, etree.ErrorTypes.ERR_ENTITYREF_SEMICOL_MISSING,
    etree.ErrorTypes.ERR_INVALID_CHARREF, etree.ErrorTypes.ERR_ENTITYREF_NO_NAME,
})  # fmt: skip


_URLSET_HEAD = re.compile(
    r"""\s*(?:<\?xml\ version=["']1\.0["'](?:\ encoding=["'](?:UTF|utf)-8["'])?(?:\ standalone=["']yes["'])?\ ?\?>\s*)?
    (?:<\?xml-stylesheet\ [^<>?&\x00-\x08\x0b-\x1f]*\?>\s*)?<urlset(?:\s+[\w:]+="[^"<&\x00-\x1f]*")*\s*>""",
    re.VERBOSE | re.ASCII,
)
_CHARACTERS = r"[^<>&\x00-\x08\x0b-\x1f\ufffe\uffff]"
_VALUE = f"({_CHARACTERS}*)"
_PLAIN_URL = re.compile(
    rf"\s*<url>\s*<loc>({_CHARACTERS}+(?:&amp;{_CHARACTERS}*)*)</loc>\s*(?:<lastmod>{_VALUE}</lastmod>\s*)?"
    rf"(?:<changefreq>{_VALUE}</changefreq>\s*)?(?:<priority>{_VALUE}</priority>\s*)?</url>",
    re.ASCII,
)
"""An entry that is well-formed and means what it says whatever stands around it: no reference but &amp;, no comment, nothing else."""
_URLSET_END = re.compile(r"\s*</urlset>\s*", re.ASCII)
_LONGEST_ENTRY = 1 << 16


def _columns(found: list[tuple[str | None, ...]]) -> Entries:
    urls, *others = (
        [value.strip() or None if value else None for value in column] for column in zip(*found, strict=True)
    )
    return Entries([url.replace("&amp;", "&") if url else "" for url in urls], *others)


def _usable(charset: str | None) -> str | None:
    """The charset if libxml2 knows it."""
    try:
        etree.XMLPullParser(encoding=charset)
    except LookupError:
        return None
    return charset


def _decoded_head(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    return head.decode("utf-8", "replace").replace("\0", "")


def _pieces(content: bytes) -> Iterator[bytes]:
    for first in range(0, len(content), _BLOCK):
        yield content[first : first + _BLOCK]


def _gunzipped(content: bytes) -> Iterator[bytes]:
    """gzip undone, of all members; zlib.error for what is broken, at the place."""
    place = 0
    while content[place : place + 2] == b"\x1f\x8b":
        member = zlib.decompressobj(31)
        while not member.eof:
            fed = content[place : place + _BLOCK] if not member.unconsumed_tail else member.unconsumed_tail
            if not fed:
                raise zlib.error("its end is missing")
            if not member.unconsumed_tail:
                place += len(fed)
            yield member.decompress(fed, _BLOCK)
        place -= len(member.unused_data) + len(member.unconsumed_tail)


def _mended(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes with `&amp;` for every & that begins no reference."""
    rest = b""
    for block in blocks:
        block = rest + block
        cut = _AMPERSAND_CUT.search(block, max(len(block) - 12, 0))
        rest = block[cut.start() :] if cut else b""
        yield _BARE_AMPERSAND.sub(b"&amp;", block[: len(block) - len(rest)])
    yield _BARE_AMPERSAND.sub(b"&amp;", rest)


# -- elements ------------------------------------------------------------------------------------------------


def _text(element: Any) -> str:
    """The text of an element, without its comments; empty if an entity stands in it."""
    if not len(element):
        return (element.text or "").strip()
    if any(child.tag is etree.Entity for child in element):
        return ""
    return "".join([element.text or "", *(child.tail or "" for child in element)]).strip()


def _of_protocol(first: Any) -> Callable[[Any, Entries], bool]:
    """Reads `url` and `sitemap` elements of the namespace that the first one has."""
    space = first.tag[: first.tag.find("}") + 1]
    places = {f"{space}{name}": place for place, name in enumerate(("loc", "lastmod", "changefreq", "priority"))}

    def read(element: Any, entries: Entries) -> bool:
        values: list[str | None] = [None, None, None, None]
        for child in element:
            place = places.get(child.tag)
            if place is not None and values[place] is None:
                values[place] = (child.text or "").strip() if not len(child) else _text(child)
        url, lastmod, changefreq, priority = values
        if not url:
            return False
        entries.urls.append(url)
        entries.lastmods.append(lastmod or None)
        entries.changefreqs.append(changefreq or None)
        entries.priorities.append(priority or None)
        return True

    return read


def _of_rss(first: Any) -> Callable[[Any, Entries], bool]:
    """Reads `item` elements: their link, else a guid that is one; when it was published."""
    space = first.tag[: first.tag.find("}") + 1]

    def read(element: Any, entries: Entries) -> bool:
        link = guid = date = None
        for child in element:
            name = child.tag
            if name == f"{space}link" and not link:
                link = _text(child)
            elif name == f"{space}guid" and child.get("isPermaLink", "true").strip().lower() == "true":
                guid = _text(child)
            elif name in _DATES and not date:
                date = _text(child)
        return _add_feed_entry(entries, link or guid, date)

    return read


def _of_atom(first: Any) -> Callable[[Any, Entries], bool]:
    """Reads `entry` elements: the alternate link; when it was last updated."""
    space = first.tag[: first.tag.find("}") + 1]

    def read(element: Any, entries: Entries) -> bool:
        link = date = None
        for child in element:
            if (
                child.tag == f"{space}link"
                and not link
                and child.get("rel", "alternate").strip().lower() == "alternate"
            ):
                link = (child.get("href") or "").strip()
            elif child.tag in (f"{space}updated", f"{space}modified") and not date:
                date = _text(child)
        return _add_feed_entry(entries, link, date)

    return read


def _add_feed_entry(entries: Entries, link: str | None, date: str | None) -> bool:
    if not link:
        return False
    entries.urls.append(link)
    entries.lastmods.append(date or None)
    entries.changefreqs.append(None)
    entries.priorities.append(None)
    return True


_READERS: dict[str, Callable[[Any], Callable[[Any, Entries], bool]]] = {
    URLSET: _of_protocol, INDEX: _of_protocol, RSS: _of_rss, ATOM: _of_atom,
}  # fmt: skip


# -- a sitemap that a crawl comes upon as a page -------------------------------------------------------------


def parse_sitemap(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """A `contract.Parser`: what a sitemap or an index lists, as links. Without a word for people there is no text.

    What is no sitemap, or broken, has the links that stand before the error.
    """
    reader = SitemapReader(content, content_type)
    urls = [url for entries in reader for url in entries.urls]
    references = [Reference(url, None, None) for url in dict.fromkeys(urls)]
    return Extract(charset=reader.charset, references=references)
