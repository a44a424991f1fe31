"""Targets for what is no page of the web's own: feeds, sitemaps, PDF, Office files, and a page's text.

Archives and PDF have checksums and tables of places that a mutation breaks before anything is read. So their targets
take an input in two ways: as the file, and as one part of a file that is put together here.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from crawldb import listings, schema
from crawldb.listings import Listings, Scope
from crawldb.urls import canonicalize
from jobs.parsing import PageParser, media_types
from jobs.parsing.media_types import ATOM, DOCX, ODS, ODT, PDF, PPTX, RSS, XLSX
from jobs.parsing.sitemaps import INDEX, SitemapReader, parse_sitemap
from tests.fuzz.pages import SETTINGS, URL, Target, page_of
from tests.jobs.parsing import test_feeds, test_office
from tests.jobs.parsing.test_pdf import pdf

_LONG = 1 << 18


def _entity_bomb(element: str, levels: int = 12) -> bytes:
    """A billion laughs, in this element."""
    names = "abcdefghijklmnop"
    entities = "".join(f'<!ENTITY {names[n + 1]} "{f"&{names[n]};" * 10}">' for n in range(levels))
    text = f"&{names[levels]};"
    return (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{entities}]><{element} a="{text}">{text}'
        f"<url><loc>http://example.com/{text}</loc></url><channel><item><title>{text}</title><link>{text}</link></item>"
        f"</channel></{element}>"
    ).encode()


NASTY_XML = (
    _entity_bomb("rss"), _entity_bomb("urlset"), _entity_bomb("feed"), b"<rss>" + b"<item>" * 10_000,
    b"<feed xml:base='http://[::1'><entry xml:base='//x:y'><link href='a'/></entry></feed>",
    b"<urlset>" + b"<url><loc>" * 5000, b"<urlset><url><loc>a&b&amp;c&#0;&#xd800;</loc></url></urlset>",
    b"<!DOCTYPE rss [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><rss><channel><title>&x;</title></channel></rss>",
    b"<rss xmlns:a='" + b"x" * 5000 + b"'><a:item/>", b"<feed " + b" ".join(b"a%d='b'" % n for n in range(2000)) + b"/>",
    b"<rss><channel><item><description>" + b"&lt;div>" * 3000 + b"</description></item></channel></rss>",
    b"<rss><!--" + b"-" * 3000, b"<rss><![CDATA[" + b"]" * 3000, b"<?xml version='1.0' encoding='utf-16'?><rss><channel/></rss>",
    "<?xml version='1.0' encoding='utf-16'?><feed><title>ä</title></feed>".encode("utf-16"),
    b"<rss><channel><item><title>a\0b\x0c\x1b</title><link>\x0b</link></item></channel></rss>",
)  # fmt: skip

# -- feeds -------------------------------------------------------------------------------------------------------


def feeds(data: bytes) -> None:
    """Whatever its root is, as a feed, and as what it would be taken for."""
    page_of(data, "application/rss+xml")
    if media_types.media_type(data, "application/rss+xml") not in (RSS, ATOM):
        page_of(b"<rss>" + data, "application/rss+xml")


def feed_seeds() -> Iterable[bytes]:
    """One of each format, and nasty ones."""
    yield from (test_feeds.RSS_2, test_feeds.RSS_1, test_feeds.ATOM, *NASTY_XML)


# -- sitemaps ----------------------------------------------------------------------------------------------------

_NOW = 1_800_000_000_000
_LISTINGS = Listings(SETTINGS, _NOW)
_SCOPES = (None, Scope.of(URL), Scope.of("http://example.com/s.xml", ["other.example"]))
_MOST_BYTES = 1 << 20
_SITEMAP_TYPES = (None, "text/xml; charset=iso-8859-1", "application/xml; charset=shift_jis", "text/plain; charset=x")


def sitemaps(data: bytes) -> None:
    """The first byte says how the rest comes: under which type, in gzip, cut off, and where its URLs may be."""
    how, content = data[0] if data else 0, data[1:]
    content_type = _SITEMAP_TYPES[how & 3]
    if how & 4:
        content = gzip.compress(content, 1, mtime=0)
    reader = SitemapReader(content, content_type, bool(how & 8), _MOST_BYTES)
    counts: Counter[str] = Counter()
    tables = []
    read = 0
    for entries in reader:
        assert len({len(column) for column in entries}) == 1
        read += len(entries)
        if reader.format != INDEX:
            rows = _LISTINGS.rows(entries, b"s" * 20, _SCOPES[(how >> 4) % 3], counts, URL if how & 128 else None)
            assert rows.schema.equals(schema.DELTA)
            assert rows.num_rows <= len(entries)
            tables.append(rows)
    assert reader.bytes <= _MOST_BYTES
    assert reader.format is not None or reader.reason is not None
    assert not read or reader.format is not None
    if tables:
        merged = listings.merge(tables)
        merged.validate(full=True)
        for url in merged["url"].to_pylist()[:50]:
            assert canonicalize(url) == url
    parse_sitemap(content, content_type, SETTINGS.parse)


def sitemap_seeds() -> Iterable[bytes]:
    """Each format, dates and priorities of all kinds, gzip of its own and a bomb in it."""
    dates = ("2026-11-24", "2026-11-24T10:00:00+14:00", "2026-02-30", "9999-12-31T23:59:59.999999999-99:99", "0000-00-00",
             "Tue, 31 Nov 2026 99:00:00 +9999", "Mon, 1 Jan 0001 00:00:00 +2359", "2026-11-24T24:00", "١٩٧٠-٠١-٠١", "1e9")  # fmt: skip
    entries = "".join(
        f"<url><loc>http://example.com/dir/{n}</loc><lastmod>{date}</lastmod><changefreq>DAILY</changefreq>"
        f"<priority>{priority}</priority></url>"
        for n, (date, priority) in enumerate(zip(dates, ("0.5", "nan", "-0", "1e400", "1_0", "٠", "2", "", " .3 ", "0x1"), strict=True))
    )  # fmt: skip
    urlset = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'.encode()
    index = (
        b"<sitemapindex><sitemap><loc>http://example.com/1.xml</loc><lastmod>2026</lastmod></sitemap></sitemapindex>"
    )
    lines = (
        b"http://example.com/dir/a\r\nhttp://h\xc3\xbc.example/\rhttp://example.com:99999/\n\nhttp://[::1\n"
        + b"\xff" * 9
    )
    several = gzip.compress(urlset[:300]) + gzip.compress(urlset[300:]) + b"\0\0"
    bomb = gzip.compress(b"<urlset>" + b" " * (8 << 20))
    for number, body in enumerate(
        (urlset, index, lines, several, bomb, gzip.compress(gzip.compress(urlset)), urlset.decode().encode("utf-16"), several[:99],
         lines.decode("latin-1").encode("utf-16"), test_feeds.RSS_2, test_feeds.RSS_1, test_feeds.ATOM, *NASTY_XML)
    ):  # fmt: skip
        yield bytes([number * 37 % 256]) + body
        yield b"\x80" + body


# -- Office ------------------------------------------------------------------------------------------------------

_PARTS = (
    ("word/document.xml", DOCX), ("docProps/core.xml", DOCX), ("word/_rels/document.xml.rels", DOCX),
    ("ppt/slides/slide1.xml", PPTX), ("xl/worksheets/sheet1.xml", XLSX), ("xl/sharedStrings.xml", XLSX),
    ("xl/workbook.xml", XLSX), ("xl/_rels/workbook.xml.rels", XLSX), ("content.xml", ODT), ("content.xml", ODS),
    ("meta.xml", ODT), ("META-INF/manifest.xml", ODT),
)  # fmt: skip
_WHOLE = {
    DOCX: test_office.docx(),
    PPTX: test_office.pptx(),
    XLSX: test_office.xlsx(),
    ODT: test_office.odt(),
    ODS: test_office.ods(),
}
_FILES: dict[str, dict[str, bytes]] = {}
for _kind, _content in _WHOLE.items():
    with zipfile.ZipFile(io.BytesIO(_content)) as _archive:
        _FILES[_kind] = {name: _archive.read(name) for name in _archive.namelist()}


def office(data: bytes) -> None:
    """The first byte says if the rest is a file, or which part of one."""
    number, content = data[0] if data else 0, data[1:]
    if number >= len(_PARTS):
        for kind in (DOCX, ODT):
            page_of(content, kind)
        return
    name, kind = _PARTS[number]
    page_of(test_office.archive({**_FILES[kind], name: content}, zipfile.ZIP_STORED), kind)


def office_seeds() -> Iterable[bytes]:
    """Each part of each, each file, and archives that unpack to more than they should, or say so."""
    for number, (name, kind) in enumerate(_PARTS):
        part = _FILES[kind].get(name, b"<manifest><encryption-data/></manifest>")
        for body in (
            part,
            part[: len(part) // 2],
            _entity_bomb(name.rpartition("/")[2].partition(".")[0]),
            b"<t>" * 10_000,
        ):
            yield bytes([number]) + body
    yield b"\0<w:document xmlns:w='w'>" + b"<w:hyperlink>" * 5000 + b"x" + b"</w:hyperlink>" * 5000 + b"</w:document>"
    yield b"\3<p:sld xmlns:p='p'>" + b"<p:t>" * 250 + b"x" + b"</p:t><p:Fallback/>" * 250
    yield b"\4<worksheet><c r='A1' t='s'><v>" + b"9" * 5000 + b"</v></c></worksheet>"
    yield b"\4<worksheet><c><f>" + b"HYPERLINK(" * 3000 + b"</f></c></worksheet>"
    yield b"\0<document><t></t><instrText>" + b'HYPERLINK "' * 3000 + b"</instrText></document>"
    for content in _WHOLE.values():
        yield b"\xff" + content
        yield b"\xff" + content[: len(content) // 2]
    bomb = b"<w:document xmlns:w='w'>" + b"<w:p/>" * (1 << 18) + b"</w:document>"
    for name in ("word/document.xml", "content.xml"):
        yield b"\xff" + test_office.archive({name: bomb})
        yield b"\xff" + test_office.archive({name: b"<" + b"a" * (8 << 20)})
        yield b"\xff" + test_office.archive({name: b"<a b='" + b"c" * (8 << 20)})
        yield b"\xff" + test_office.archive({name: b"<a/>"}, zipfile.ZIP_LZMA)
        many: dict[str, str | bytes] = {f"x{n}": b"" for n in range(1500)}
        yield b"\xff" + test_office.archive({name: b"<a/>", **many})
    slides: dict[str, str | bytes] = {f"ppt/slides/slide{'9' * n}.xml": b"<p/>" for n in range(1, 200)}
    yield b"\xff" + test_office.archive({"ppt/presentation.xml": b"", **slides})


# -- PDF ---------------------------------------------------------------------------------------------------------


def _pdf_of(objects: list[bytes]) -> bytes:
    """A file of these objects, the first of which is the catalog."""
    content, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return content + b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R/Info 5 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1, table, len(objects) + 1, len(content),
    )  # fmt: skip


def _stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d%b>>\nstream\n%b\nendstream" % (len(data), more, data)


_CATALOG, _PAGES = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
_PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F1 6 0 R>>>>/Annots 7 0 R>>"
_SHOWN, _INFORMATION = b"BT /F1 12 Tf 1 0 0 1 20 200 Tm (Some) Tj [(te) -99 (xt)] TJ T* <4142> ' ET", b"<</Title(T)>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 8 0 R/Encoding 9 0 R>>"
_ANNOTATIONS = b"[<</Subtype/Link/A<</S/URI/URI(http://other.example/)>>>>]"
_TO_UNICODE = b"1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfrange <41> <5a> <0061> endbfrange 1 beginbfchar <20> <d800> endbfchar"
_ENCODING = b"<</Type/Encoding/BaseEncoding/WinAnsiEncoding/Differences[65/B/C 3/uni0041]>>"
_OBJECTS = (_CATALOG, _PAGES, _PAGE, _SHOWN, _INFORMATION, _FONT, _ANNOTATIONS, _TO_UNICODE, _ENCODING)
_STREAMS = (3, 7)


def pdf_files(data: bytes) -> None:
    """The first byte says if the rest is a file, or which object of one."""
    number, content = data[0] if data else 255, data[1:]
    if number < 2 * len(_OBJECTS):
        objects = list(_OBJECTS)
        objects[number % len(_OBJECTS)] = content
        for place in _STREAMS:
            if number < len(_OBJECTS):
                objects[place] = _stream(objects[place])
            else:
                objects[place] = _stream(zlib.compress(objects[place], 1), b"/Filter/FlateDecode")
        content = _pdf_of(objects)
    page_of(content, PDF)


def pdf_seeds() -> Iterable[bytes]:
    """Each object, files as a library writes them, and what has kept readers busy: loops, depth, bombs."""
    for number, one in enumerate(_OBJECTS):
        yield bytes([number]) + one
        yield bytes([number]) + b"[" * 5000
        yield bytes([number]) + b"<</A" * 3000
        yield bytes([number]) + b"%d 0 R" % (number + 1)
    yield b"\1<</Type/Pages/Kids[2 0 R 2 0 R 3 0 R]/Count 3>>"
    yield b"\1<</Type/Pages/Kids[" + b"3 0 R " * 300 + b"]/Count 999999999>>"
    yield b"\2<</Type/Page/Parent 2 0 R/Contents[" + b"4 0 R " * 2000 + b"]/Annots[7 0 R 3 0 R]>>"
    yield b"\3" + b"q " * 10_000 + b"BT (x) Tj ET"
    yield b"\3BT " + b"(" * 5000 + b") Tj ET"
    yield b"\3BI /W 99999 /H 99999 ID " + b"E" * 5000
    yield b"\7" + b"1 beginbfrange <0000> <ffff> <0000> endbfrange " * 3
    yield b"\7" + b"1 beginbfrange <00000000> <ffffffff> <0000> endbfrange"
    yield b"\7" + b"<" * 5000
    for text in (b"(" * 2000, b"x" * 3000):
        yield b"\xff" + _pdf_of(
            [_CATALOG, _PAGES, _PAGE, _stream(b"BT " + text), *_OBJECTS[4:7], _stream(_TO_UNICODE), _ENCODING]
        )
    for data, filters in (
        (zlib.compress(b"(x) Tj " * (1 << 16), 9), b"/FlateDecode"),
        (zlib.compress(zlib.compress(b" " * (4 << 20), 9), 9), b"[/FlateDecode/FlateDecode]"),
        (b"z" * 5000, b"/ASCII85Decode"), (b"\x80" * 5000, b"/LZWDecode"), (b"\x81A" * 5000, b"/RunLengthDecode"),
        (b"41" * 5000 + b">", b"[" + b"/ASCIIHexDecode" * 50 + b"]"), (b"x", b"/JBIG2Decode"),
        (zlib.compress(b"\4" * 5000), b"/FlateDecode/DecodeParms<</Predictor 15/Columns 999999999/Colors 9>>"),
    ):  # fmt: skip
        objects = [
            _CATALOG,
            _PAGES,
            _PAGE,
            _stream(data, b"/Filter" + filters),
            *_OBJECTS[4:7],
            _stream(_TO_UNICODE),
            _ENCODING,
        ]
        yield b"\xff" + _pdf_of(objects)
    for content in (pdf("First page", "Second"), pdf("x", compressed=False), pdf("x", password="secret")):
        yield b"\xff" + content
        yield b"\xff" + content[: len(content) // 2]
        yield b"\xff" + content[: content.rindex(b"startxref")]
    yield (
        b"\xff%PDF-1.7\nxref\n0 999999999\n"
        + b"0000000000 00000 n \n" * 3000
        + b"trailer\n<</Size 9/Root 1 0 R/Prev 9>>\nstartxref\n9\n%%EOF"
    )
    yield b"\xff%PDF-1.7\n" + b"1 0 obj\n" * 8000
    yield b"\xff%PDF-1.7\n" + b"x" * 100_000 + b"\nstartxref\n-5\n%%EOF"


# -- a page's text -----------------------------------------------------------------------------------------------


_PAGES_WITH_MAIN_TEXT = PageParser(
    replace(SETTINGS, parse=replace(SETTINGS.parse, main_text=True, detect_language=True, min_detect=1))
)
_FILLER = b"This is a sentence of an article that is long enough to be taken for one. " * 4


def texts(data: bytes) -> None:
    """A page with main text, language and simhash; plain text, too."""
    page_of(data, "text/html; charset=utf-8", _PAGES_WITH_MAIN_TEXT)
    page_of(data, "text/plain; charset=utf-8", _PAGES_WITH_MAIN_TEXT)


def text_seeds() -> Iterable[bytes]:
    """Articles, and what their extraction has stumbled over."""
    yield (
        b"<html><body><article><h1>A</h1>"
        + b"".join(b"<p>%b</p>" % _FILLER for _ in range(6))
        + b"</article></body></html>"
    )
    yield b"<article>" + b"<div>" * 2000 + _FILLER + b"</div>" * 2000
    yield b"<article><table>" + b"<tr><td><table>" * 150 + _FILLER
    yield b"<article><ul>" + b"<li><ul>" * 300 + _FILLER
    yield b"<article><p>" + _FILLER + b"<a href=x>" * 500 + b"</article><head><meta name=date content='0000-99-99'>"
    yield b"<article><p>\x01\x0b\xff\xfe" + _FILLER + "\U000e0001\u202e\ufdd0".encode() + b"</p><pre>" + b"\0" * 500
    yield b"<blockquote>" * 400 + _FILLER + b"<br>" * 2000
    yield "".join(chr(code) for code in range(0x20, 0x3000, 7)).encode()
    yield "日本語のテキスト ภาษาไทย \U0001f600\U00020000 ".encode() * 20
    yield b"a " * 5000
    yield b"a" * 50_000


TARGETS = {
    "feeds": Target(feeds, feed_seeds),
    "sitemaps": Target(sitemaps, sitemap_seeds, _LONG),
    "office": Target(office, office_seeds, _LONG),
    "pdf": Target(pdf_files, pdf_seeds, _LONG),
    "texts": Target(texts, text_seeds),
}
