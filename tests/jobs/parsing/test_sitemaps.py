"""Sitemaps in every format and encoding, broken ones, and those that mean harm."""

from __future__ import annotations

import gzip
import tracemalloc
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb.listings import Entries
from crawldb.settings import ParseSettings
from jobs.parsing import sitemaps
from jobs.parsing.sitemaps import SitemapReader, parse_sitemap

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
ENTRY = "<url><loc>https://a.example/{}</loc></url>"


def read(
    content: bytes | str, **options: object
) -> tuple[list[tuple[str, str | None, str | None, str | None]], SitemapReader]:
    reader = SitemapReader(content.encode() if isinstance(content, str) else content, **options)  # type: ignore[arg-type]
    rows = [row for entries in reader for row in zip(*entries, strict=True)]
    return rows, reader


def urls(content: bytes | str, **options: object) -> list[str]:
    return [row[0] for row in read(content, **options)[0]]


FULL = f"""<?xml version="1.0" encoding="UTF-8"?>
<urlset {XMLNS} xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml"
  xmlns:video="http://www.google.com/schemas/sitemap-video/1.1" xmlns:news="http://www.google.com/schemas/sitemap-news/0.9">
 <url>
  <loc> https://a.example/1?x=1&amp;y=2 </loc><lastmod>2026-01-02</lastmod>
  <changefreq>daily</changefreq><priority>0.9</priority>
  <image:image><image:loc>https://a.example/1.jpg</image:loc></image:image>
  <xhtml:link rel="alternate" hreflang="de" href="https://a.example/de/1"/>
  <video:video><video:player_loc>https://a.example/player</video:player_loc></video:video>
  <news:news><news:publication_date>2020-01-01</news:publication_date></news:news>
 </url>
 <!-- <url><loc>https://a.example/no</loc></url> -->
 <url><priority>0.1</priority><loc><![CDATA[https://a.example/2?a&b]]></loc></url>
 <url><loc>https://a.example/<!-- no -->3</loc></url>
 <url><image:loc>https://a.example/4.jpg</image:loc></url>
</urlset>"""
ENTRIES = [
    ("https://a.example/1?x=1&y=2", "2026-01-02", "daily", "0.9"),
    ("https://a.example/2?a&b", None, None, "0.1"),
    ("https://a.example/3", None, None, None),
]


def test_a_sitemap_with_extensions() -> None:
    rows, reader = read(FULL)
    assert rows == ENTRIES
    assert (reader.format, reader.reason, reader.without_location, reader.charset) == ("urlset", None, 1, "utf-8")


@pytest.mark.parametrize(
    "text",
    [
        FULL.replace(XMLNS, "xmlns='http://www.google.com/schemas/sitemap/0.84'"),
        FULL.replace(XMLNS, ""),
        FULL.replace(XMLNS, f"{XMLNS} xmlns:s='http://www.sitemaps.org/schemas/sitemap/0.9'")
        .replace("<url", "<s:url").replace("</url", "</s:url").replace("<loc", "<s:loc").replace("</loc", "</s:loc")
        .replace("<lastmod", "<s:lastmod").replace("</lastmod", "</s:lastmod").replace("<priority", "<s:priority")
        .replace("</priority", "</s:priority").replace("<changefreq", "<s:changefreq")
        .replace("</changefreq", "</s:changefreq"),
        "\n\n" + FULL.partition("\n")[2],
        "\ufeff" + FULL,
    ],
    ids=["another namespace", "no namespace", "prefixed", "blanks first", "BOM"],
)  # fmt: skip
def test_namespaces_and_beginnings(text: str) -> None:
    rows, reader = read(text)
    assert rows == ENTRIES
    assert reader.reason is None


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (FULL.replace("UTF-8", "ISO-8859-1").replace("3</loc>", "ü</loc>").encode("latin-1"), None),
        (
            FULL.replace("3</loc>", "ü</loc>").encode("latin-1"),
            "text/xml; charset=ISO-8859-1",
        ),  # it says UTF-8, and is not
        (FULL.replace("3</loc>", "ü</loc>").encode("cp1252"), None),
        (FULL.replace("UTF-8", "UTF-16").replace("3</loc>", "ü</loc>").encode("utf-16"), None),
        (FULL.replace("3</loc>", "ü</loc>").encode(), "text/xml; charset=ISO-8859-1"),  # the document knows better
    ],
)
def test_encodings(content: bytes, header: str | None) -> None:
    rows, reader = read(content, content_type=header)
    assert [row[0] for row in rows] == [*(row[0] for row in ENTRIES[:2]), "https://a.example/ü"]
    assert reader.reason is None


def test_gzip_also_in_members_and_over_the_transfer() -> None:
    content = FULL.encode()
    parts = gzip.compress(content[:100]) + gzip.compress(b"") + gzip.compress(content[100:])
    assert read(gzip.compress(content))[0] == read(parts)[0] == ENTRIES
    assert read(parts + b"\0" * 100)[0] == ENTRIES  # padding, as tapes have it
    many = b"<urlset>" + b"".join(ENTRY.format(n).encode() for n in range(5000)) + b"</urlset>"
    assert len(urls(gzip.compress(many))) == 5000
    rows, reader = read(gzip.compress(many)[:-300])
    assert 0 < len(rows) < 5000
    assert (reader.reason, reader.detail) == ("bad_gzip", "its end is missing")


def test_rss() -> None:
    rows, reader = read(
        """<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/">
        <channel><title>News</title><link>https://a.example/</link><atom:link rel="self" href="https://a.example/rss"/>
        <item><title>1</title><link>https://a.example/1</link><pubDate>Fri, 02 Jan 2026 03:04:05 +0100</pubDate></item>
        <item><guid>https://a.example/2</guid><dc:date>2026-01-02</dc:date></item>
        <item><guid isPermaLink="false">tag:3</guid></item></channel></rss>"""
    )
    assert rows == [
        ("https://a.example/1", "Fri, 02 Jan 2026 03:04:05 +0100", None, None),
        ("https://a.example/2", "2026-01-02", None, None),
    ]
    assert (reader.format, reader.without_location) == ("rss", 1)


def test_rss_1() -> None:
    rdf = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
    <channel><link>https://a.example/</link></channel><item><link>https://a.example/1</link></item></rdf:RDF>"""
    assert urls(rdf) == ["https://a.example/1"]


def test_atom() -> None:
    rows, reader = read(
        """<feed xmlns="http://www.w3.org/2005/Atom"><link href="https://a.example/"/>
        <entry><link rel="edit" href="/e"/><link href="https://a.example/1"/><updated>2026-01-02T03:04:05Z</updated></entry>
        <entry><link rel="alternate" href="/2"/></entry><entry><id>3</id></entry></feed>"""
    )
    assert rows == [("https://a.example/1", "2026-01-02T03:04:05Z", None, None), ("/2", None, None, None)]
    assert (reader.format, reader.without_location) == ("atom", 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text(encoding: str, end: str) -> None:
    lines = ["https://a.example/1", "", "  https://a.example/ü\t", "nonsense", "https://a.example/2"]
    rows, reader = read(end.join(lines).encode(encoding))
    assert [row[0] for row in rows] == ["https://a.example/1", "https://a.example/ü", "nonsense", "https://a.example/2"]
    assert (reader.format, reader.reason) == ("text", None)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("", "it is empty"), (" \n\0 ", "it is empty"), ("hello", "neither XML nor a list of URLs"),
        ("<!doctype html><title>x</title>", "an HTML page"), ("<HTML>", "an HTML page"), ("<opml></opml>", "the root is opml"),
        ('<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "an HTML page"),
        ("%PDF-1.7", "neither XML nor a list of URLs"),
    ],
)  # fmt: skip
def test_what_is_no_sitemap(content: str, detail: str) -> None:
    rows, reader = read(content)
    assert (rows, reader.format, reader.reason, reader.detail) == ([], None, "not_a_sitemap", detail)


def test_what_stands_before_an_error_is_read_and_the_place_is_told() -> None:
    good = "".join(f"\n{ENTRY.format(n)}" for n in range(3))
    rows, reader = read(f"<urlset>{good}\n<url><loc>https://a.example/x</wrong></url></urlset>")
    assert [row[0] for row in rows] == [f"https://a.example/{n}" for n in range(3)]
    assert reader.reason == "bad_xml"
    assert (reader.detail or "").startswith("line 5, column ")
    rows, reader = read(f"<urlset>{good}\n")
    assert (len(rows), reader.reason) == (3, "bad_xml")


def test_a_bare_ampersand_is_mended() -> None:
    good = "".join(ENTRY.format(n) for n in range(12_000))
    rows, reader = read(f"<urlset>{good}{ENTRY.format('?a=1&b=2&amp;c=3&copy')}{ENTRY.format('end')}</urlset>")
    assert [row[0] for row in rows[-2:]] == ["https://a.example/?a=1&b=2&c=3&copy", "https://a.example/end"]
    assert (len(rows), len({row[0] for row in rows}), reader.reason) == (12_002, 12_002, None)


@pytest.mark.parametrize("zipped", [False, True])
def test_no_more_than_max_bytes_are_read(zipped: bool) -> None:
    content = b"<urlset>" + b"".join(ENTRY.format(n).encode() for n in range(100)) + b"</urlset>"
    limit = 8 + 10 * len(ENTRY.format(0)) + 30
    rows, reader = read(gzip.compress(content) if zipped else content, max_bytes=limit)
    assert (len(rows), reader.reason, reader.bytes) == (10, "too_large", limit)
    rows, reader = read(content[:limit], truncated=True)
    assert (len(rows), reader.reason) == (10, "too_large")
    lines = b"\n".join(b"https://a.example/%d" % n for n in range(100))
    assert len(urls(lines, max_bytes=210)) == 10  # the half line is none


BOMB = """<?xml version="1.0"?><!DOCTYPE urlset [<!ENTITY a "aaaaaaaaaa">{}]>
<urlset><url><loc>https://a.example/&{};</loc></url><url><loc>https://a.example/2</loc><lastmod>&{};</lastmod></url>
<url x="&{};"><loc>https://a.example/3</loc></url></urlset>"""


@pytest.mark.parametrize("depth", [0, 1, 9, 15])
def test_entities_are_not_expanded(depth: int) -> None:
    names = "abcdefghijklmnopq"
    levels = "".join(f'<!ENTITY {names[n + 1]} "{f"&{names[n]};" * 10}">' for n in range(depth))
    last = names[depth]
    tracemalloc.start()
    rows, reader = read(BOMB.format(levels, last, last, last))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert rows[:1] in ([("https://a.example/2", None, None, None)], [])
    assert reader.without_location == 1 or reader.reason == "bad_xml"


def test_a_root_with_a_prefix_that_nobody_declared() -> None:
    rows, reader = read("<rdf:RDF><item><link>https://a.example/1</link></item></rdf:RDF>")
    assert ([row[0] for row in rows], reader.format, reader.reason) == (["https://a.example/1"], "rss", "bad_xml")


def test_nothing_is_fetched_for_a_document() -> None:
    rows, _ = read(
        '<!DOCTYPE urlset SYSTEM "http://127.0.0.1:9/x.dtd" [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        "<urlset><url><loc>https://a.example/1</loc></url><url><loc>&x;</loc></url></urlset>"
    )
    assert [row[0] for row in rows] == ["https://a.example/1"]


def test_depth_is_no_trouble() -> None:
    deep = "<urlset>" + ENTRY.format(1) + "<url>" * 100_000
    rows, reader = read(deep)
    assert reader.reason == "bad_xml"
    assert len(rows) <= 1


@pytest.mark.slow
def test_memory_is_bounded_by_the_piece() -> None:
    """A file of some MB in gzip, with something in it that takes the XML parser."""
    filler = b"<!-- " + b"x" * 200 + b" -->"
    content = b"<urlset>" + b"".join(ENTRY.format(n).encode() + filler for n in range(40_000)) + b"</urlset>"
    packed = gzip.compress(content, 1)
    del content
    reader = SitemapReader(packed)
    tracemalloc.start()
    total = sum(len(entries.urls) for entries in reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 40_000
    assert peak < 8 << 20 < reader.bytes


_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]) | st.sampled_from("&;<> amp"), max_size=12)
_field = st.sampled_from(["lastmod", "changefreq", "priority", "other", "loc"])


@given(
    st.lists(st.tuples(st.lists(st.tuples(_field, _text), max_size=4), _text, st.booleans()), max_size=6),
    st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>\n', "<?xml version='1.0'?>", "\ufeff"]),
    st.sampled_from([XMLNS, "", f'{XMLNS} a:b="c" xmlns:a="urn:x"']), st.integers(7, 60),
)  # fmt: skip
@settings(max_examples=60)
def test_the_pattern_reads_what_the_parser_reads(
    entries: list[tuple[list[tuple[str, str]], str, bool]], head: str, space: str, block: int
) -> None:
    """Also raw characters, which may make it ill-formed or another thing: then too they agree."""
    body = ""
    for fields, raw, escaped in entries:
        inner = "".join(f"<{name}>{escape(value) if escaped else value}</{name}>" for name, value in fields)
        body += f"<url><loc>{escape(raw) if escaped else raw}</loc>{inner}</url>{raw if not escaped else chr(10)}"
    content = f"{head}<urlset {space}>{body}</urlset>".encode()
    before = sitemaps._BLOCK
    try:
        sitemaps._BLOCK = block
        quick, reader = read(content)
        sitemaps._BLOCK = before
        slow = SitemapReader(content)
        rows = [row for part in slow._xml_with_mending(0) for row in zip(*part, strict=True)]
    finally:
        sitemaps._BLOCK = before
    assert quick == rows
    assert reader.reason == slow.reason


@given(st.binary(max_size=300) | st.lists(st.sampled_from(
    [b"<urlset>", b"</urlset>", b"<url>", b"</url>", b"<loc>", b"</loc>", b"https://a.example/", b"&", b"&x;", b"<!--",
     b"-->", b"<![CDATA[", b"]]>", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\xff\xfe", b"\0", b"<?xml version='1.0'?>", b"\n",
     b"<!DOCTYPE x [", b"<!ENTITY x '&x;'>", b"]>", b"<rss>", b"<item>", b"<link>", b"<feed>", b"\xe4"], ), max_size=20)
    .map(b"".join), st.booleans(), st.integers(1, 200))  # fmt: skip
def test_whatever_the_bytes_nothing_is_raised(content: bytes, truncated: bool, limit: int) -> None:
    for body in (content, gzip.compress(content)):
        rows, reader = read(body, truncated=truncated, max_bytes=limit, content_type="text/xml; charset=x")
        assert all(row[0] for row in rows)
        assert reader.bytes <= limit
        assert reader.reason is not None or reader.format is not None


def test_a_page_that_is_a_sitemap_has_links() -> None:
    extract = parse_sitemap(FULL.encode(), "application/xml", ParseSettings())
    assert [reference.href for reference in extract.references] == [row[0] for row in ENTRIES]
    assert (extract.charset, extract.text, extract.title) == ("utf-8", "", None)
    index = f"<sitemapindex {XMLNS}><sitemap><loc>https://a.example/s.xml</loc></sitemap></sitemapindex>"
    assert parse_sitemap(index.encode(), None, ParseSettings()).references[0].href == "https://a.example/s.xml"
    assert parse_sitemap(b"<html>", "text/html", ParseSettings()).references == []


def test_entries() -> None:
    entries = Entries(["a", "b"], [None, "x"], [None, None], ["1", None])
    assert entries.skip(1) == Entries(["b"], ["x"], [None], [None])
    assert entries.first(1) == Entries(["a"], [None], [None], ["1"])
    assert entries.first(5) is entries.skip(0) is entries
