"""RSS and Atom, as they should be and as they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb.settings import ParseSettings
from jobs.parsing.feeds import parse_feed
from tests.jobs.parsing.reading import read

RSS_2 = """<?xml version="1.0" encoding="iso-8859-1"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:content="http://purl.org/rss/1.0/modules/content/"
     xmlns:atom="http://www.w3.org/2005/Atom"><channel>
<title>News &amp; more</title><link>http://h.example/</link><description>All of it</description>
<atom:link rel="self" href="http://h.example/feed"/><language>de-AT</language>
<pubDate>Tue, 10 Jun 2003 04:00:00 GMT</pubDate><lastBuildDate>Wed, 11 Jun 2003 04:00:00 +0200</lastBuildDate>
<managingEditor>ed@h.example</managingEditor>
<item><title>Första</title><link>http://h.example/1?a=1&amp;b=2</link>
<description>&lt;p&gt;One&lt;/p&gt;&lt;script&gt;no&lt;/script&gt;&lt;a href="/inner"&gt;two&lt;/a&gt;</description></item>
<item><title>Second</title><guid>http://h.example/2</guid><content:encoded><![CDATA[<b>Bold</b> words]]></content:encoded></item>
<item><title>Third</title><guid isPermaLink="false">tag:3</guid></item>
</channel></rss>""".encode("iso-8859-1")
RSS_1 = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="http://h.example/"><title>Old</title>
<link>http://h.example/</link><description>RDF</description><dc:language>en</dc:language><dc:date>2001-02-03</dc:date>
<items><rdf:Seq><rdf:li rdf:resource="http://h.example/1"/></rdf:Seq></items></channel>
<item rdf:about="http://h.example/1"><title>Item</title><link>http://h.example/1</link></item></rdf:RDF>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en" xml:base="http://h.example/blog/">
<title type="html">A &lt;em&gt;blog&lt;/em&gt;</title><subtitle>Of things</subtitle><updated>2003-12-13T18:30:02Z</updated>
<link href="."/><link rel="self" href="feed.atom"/><link rel="next" href="?page=2"/><author><name>Ann</name><uri>x:y</uri></author>
<entry xml:base="2003/"><title>Entry</title><link rel="alternate" href="12.html"/><link rel="enclosure" href="a.mp3"/>
<summary>Short</summary><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">Long <p>text</p></div></content></entry>
<entry><title>Elsewhere</title><content src="http://other.example/"/></entry></feed>"""


def links(content: bytes, content_type: str = "application/xml") -> list[tuple[str, str | None, str | None]]:
    return [(link.url, link.anchor, link.rel) for link in read(content, content_type).outlinks]


def test_rss_2() -> None:
    document = read(RSS_2, "application/rss+xml")
    assert (document.parse_status, document.content_type, document.charset) == (
        "parsed", "application/rss+xml", "windows-1252",
    )  # fmt: skip
    assert (document.title, document.description, document.language) == ("News & more", "All of it", "de-AT")
    assert document.text == "News & more\nAll of it\nFörsta\nOne\ntwo\nSecond\nBold words\nThird"
    assert document.metadata == {"author": "ed@h.example"}
    assert links(RSS_2) == [
        ("http://h.example/", "News & more", None), ("http://h.example/1?a=1&b=2", "Första", None),
        ("http://h.example/2", "Second", None),
    ]  # fmt: skip
    extract = parse_feed(RSS_2, None, ParseSettings())
    assert (extract.published, extract.modified) == ("2003-06-10T04:00:00+00:00", "2003-06-11T04:00:00+02:00")


def test_rss_1() -> None:
    document = read(RSS_1, "text/xml")
    assert (document.content_type, document.title, document.language) == ("application/rss+xml", "Old", "en")
    assert document.text == "Old\nRDF\nItem"
    assert links(RSS_1) == [("http://h.example/", "Old", None), ("http://h.example/1", "Item", None)]
    assert parse_feed(RSS_1, None, ParseSettings()).modified == "2001-02-03"


def test_atom_and_its_bases() -> None:
    document = read(ATOM, None)
    assert (document.content_type, document.title, document.language) == ("application/atom+xml", "A blog", "en")
    assert document.text == "A blog\nOf things\nEntry\nLong\ntext\nElsewhere"
    assert document.metadata == {"author": "Ann"}
    assert links(ATOM) == [
        ("http://h.example/blog/", "A blog", None), ("http://h.example/blog/?page=2", "A blog", "next"),
        ("http://h.example/blog/2003/12.html", "Entry", None), ("http://other.example/", "Elsewhere", None),
    ]  # fmt: skip


def test_links_without_a_base_are_relative_to_the_feed() -> None:
    assert links(b"<rss><channel><item><title>x</title><link>one</link></item></channel></rss>") == [
        ("http://h.example/d/one", "x", None)
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"<rss><channel><title>T &nbsp; &bad; & more</title><item><title>a</title><link>http://h.example/1</link></item>",
        b"\xef\xbb\xbf  <?xml version='1.0'?><rss><channel><item><title>a</title><link>http://h.example/1</link></item><i",
        b"<rss><channel><item><title>a\x00</title><link>http://h.example/1\n</link></item></channel></rss> trailing <x",
        "<?xml version='1.0' encoding='utf-16'?><rss><channel><item><title>a</title><link>http://h.example/1</link></item>"
        "</channel></rss>".encode("utf-16"),
    ],
)
def test_what_is_not_well_formed_is_read_as_far_as_it_goes(content: bytes) -> None:
    assert links(content, "application/rss+xml") == [("http://h.example/1", "a", None)]


def test_entities_are_neither_expanded_nor_fetched() -> None:
    bomb = "<!DOCTYPE rss [<!ENTITY a0 'ha'>"
    bomb += "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    bomb += "<!ENTITY file SYSTEM 'file:///etc/passwd'>]><rss><channel><title>{}</title><link>{}</link></channel></rss>"
    document = read(bomb.replace("{}", "x&a11;&file;y"), "application/rss+xml")
    assert len(document.text or "") < 1000
    assert "root:" not in (document.text or "")


def test_text_keeps_to_its_limit() -> None:
    items = "<item><title>word</title><description>words</description><link>http://h.example/{}</link></item>" * 50
    document = read(f"<rss><channel>{items}</channel></rss>", "text/xml", "parse.max_text=100")
    assert document.text is not None
    assert len(document.text) <= 100


def test_what_is_no_xml_is_failed() -> None:
    document = read(b"words", "application/rss+xml")
    assert document.parse_status == "failed"


@settings(deadline=None)
@given(st.data(), st.sampled_from([RSS_2, RSS_1, ATOM]))
def test_mutated_feeds_are_parsed_or_failed(data: st.DataObject, content: bytes) -> None:
    mutated = bytearray(content)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=20)
    ):
        mutated[place] = byte
    cut = data.draw(st.integers(0, len(content)))
    document = read(bytes(mutated[:cut]), "application/atom+xml")
    assert document.parse_status in ("parsed", "failed", "no_parser")
    assert len(document.text or "") <= 4 * len(content)
