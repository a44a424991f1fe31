"""Whole pages, and whatever bytes are taken for one."""

from __future__ import annotations

import hashlib
import threading
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.fingerprint import url_fingerprint
from crawldb.schema import PARSED_COLUMNS
from crawldb.urls import canonicalize, host_of
from jobs.parsing import PARSERS, Document, Extract, Page, PageParser

from .reading import URL, make_settings, read
from .soup import SOUP

PARSER = PageParser(make_settings())


def check(document: Document) -> None:
    """What holds for the document of any page at URL."""
    assert document.parse_status in ("parsed", "no_parser")
    for value in (document.text, document.title, document.language, document.canonical_url, document.parse_detail):
        assert value is None or value.encode().decode() == value
        assert value is None or "\0" not in value
    if document.content_type in ("text/html", "application/xhtml+xml"):
        for value in (
            document.text,
            document.title,
            document.description,
            *(link.anchor for link in document.outlinks),
        ):
            assert value is None or not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in value)
    for name, value in (document.metadata or {}).items():
        assert name == name.lower()
        assert value
        assert value.encode()
    assert document.signature is not None
    assert len(document.signature) == 16
    urls = [link.url for link in document.outlinks]
    assert len(set(urls)) == len(urls)
    assert URL not in urls
    for link in document.outlinks:
        assert canonicalize(link.url) == link.url
        assert (link.host, link.fingerprint) == (host_of(link.url), url_fingerprint(link.url))
        for text in (link.anchor, link.rel):
            assert text is None or (text and text == " ".join(text.split()) and text.encode())
    if document.canonical_url is not None:
        assert canonicalize(document.canonical_url) == document.canonical_url


CONTENT_TYPES = st.sampled_from(
    [None, "text/html", "text/html; charset=utf-8", "text/html; charset=utf-16", "text/html; charset=shift_jis",
     "text/html; charset=iso-2022-jp", "application/xhtml+xml", "text/plain", "text/xml", "image/png", "\xe9/;;"]
)  # fmt: skip


@given(st.binary(max_size=400), CONTENT_TYPES)
def test_any_bytes_are_a_page(content: bytes, content_type: str | None) -> None:
    check(PARSER.parse(Page(URL, "h.example", 1, content, content_type, [("X-Robots-Tag", repr(content))], True)))


@given(SOUP, CONTENT_TYPES, st.sampled_from(["utf-8", "utf-16-le", "cp932"]))
def test_any_tag_soup_is_a_page(markup: str, content_type: str | None, codec: str) -> None:
    check(PARSER.parse(Page(URL, "h.example", 1, markup.encode(codec, "replace"), content_type, [], False)))


@given(SOUP)
def test_a_page_leaves_nothing_behind_for_the_next(markup: str) -> None:
    page = Page(URL, "h.example", 0, b"<title>t</title><p>a<a href=/b>c</a>", "text/html", [], False)
    before = PARSER.parse(page)
    PARSER.parse(page._replace(content=markup.encode("utf-8", "replace")))
    assert PARSER.parse(page) == before


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * DEEP + b"deep <a href=/last>x</a>",
        b"<b>" * DEEP + b"deep <a href=/last>x</a>" + b"</b>" * DEEP,
        b"<ul><li>" * DEEP + b"deep <a href=/last>x</a>",
        b"<table><tr><td>" * (DEEP // 3) + b"deep <a href=/last>x</a>",
        # End tags that match nothing: each is looked for among all open elements
        b"<div>" * (DEEP // 2) + b"</p></b></i>" * (DEEP // 2) + b"deep <a href=/last>x</a>",
        b"<p>deep " + b"w &amp; " * 1_500_000 + b"<a href=/last>x</a>",
        b"<p>deep<a href=/last>" + b"w" * 12_000_000,
        b"deep" + b"\0" * 1_000_000 + b"<a href=/last>x</a>",
        b"deep<!-- " + b"<a href=/no>" * 50_000 + b" --><a href=/last>x</a>",
        b"deep<script>" + b"<a href=/no>" * 50_000 + b"</script><a href=/last>x</a>",
        b"deep<a " + b" ".join(b"a%d=1" % number for number in range(50_000)) + b" href=/last>x</a>",
        b"deep<meta http-equiv=refresh content='" + b"1" * 500_000 + b"'><a href=/last>x</a>",
        b"deep<a href='" + b"/no" * 500_000 + b"'></a><a href=/last>x</a>",
    ],
    ids=["div", "b", "li", "table", "unmatched", "entities", "text", "nul", "comment", "script", "attributes", "refresh",
         "href"],
)  # fmt: skip
def test_hostile_pages_are_read_to_their_end(body: bytes) -> None:
    document = PARSER.parse(Page(URL, "h.example", 0, body, "text/html; charset=utf-8", [], False))
    check(document)
    assert (document.text or "").startswith("deep")
    assert document.outlinks[-1].url == "http://h.example/last"


def test_entities_of_a_dtd_are_not_expanded() -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    body = f'<!DOCTYPE html [<!ENTITY e0 "x">{entities}]><html xmlns="http://www.w3.org/1999/xhtml">&e11;</html>'
    check(read(body, "application/xhtml+xml"))
    outside = '<!DOCTYPE html [<!ENTITY e SYSTEM "file:///etc/hostname">]><html>{}</html>'
    assert read(outside.format("<p>a</p>"), "application/xhtml+xml").text == "a"
    assert "&e;" in (read(outside.format("&e;"), "application/xhtml+xml").text or "")


@pytest.mark.parametrize(
    ("content", "content_type", "kind"),
    [
        (b"\xff\xd8\xff", "image/jpeg", "image/jpeg"),
        (b"GIF89a x", "text/html", "image/gif"),
        (b"\x89PNG\r\n\x1a\n", None, "image/png"),
        (b"<svg>", "image/svg+xml", "image/svg+xml"),
        (b"a{b:c}", "text/css; charset=utf-8", "text/css"),
    ],
)
def test_what_no_parser_takes(content: bytes, content_type: str | None, kind: str) -> None:
    document = read(content, content_type, headers=(("X-Robots-Tag", "noindex"),))
    assert (document.parse_status, document.parse_detail, document.content_type) == ("no_parser", kind, kind)
    assert (document.text, document.charset, document.outlinks) == (None, None, [])
    assert document.signature == hashlib.md5(content).digest()
    assert document.noindex


def test_a_parser_that_fails_costs_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(content: bytes, content_type: str | None, settings: object) -> Extract:
        raise RecursionError("too much")

    monkeypatch.setitem(PARSERS, "text/css", fail)
    document = read(b"x", "text/css", headers=(("X-Robots-Tag", "nofollow"),))
    assert (document.parse_status, document.parse_detail) == ("failed", "RecursionError: too much")
    assert document.nofollow
    assert document.signature == hashlib.md5(b"x").digest()


def test_parsers_from_outside() -> None:
    also = "parse.parsers=text/x-log=text/plain,Application/X-Page=jobs.parsing.html:parse_html"
    assert read(b"<p>a", "text/x-log", also).text == "<p>a"
    assert read(b"<p>a", "application/x-page", also).text == "a"
    for entry in ("text/x", "x=text/plain", "text/x=text/plian", "text/x=nowhere:parse"):
        with pytest.raises(UsageError, match=r"parse\.parsers = "):
            PageParser(make_settings(f"parse.parsers={entry}"))


def test_a_whole_page() -> None:
    body = (
        "<!DOCTYPE html><html lang=fr><head><meta charset=iso-8859-1><title>Le moulin à eau</title>"
        "<meta name=robots content=noindex><link rel=canonical href=/moulin></head>"
        "<body><nav><a href=/>Accueil</a></nav><main><h1>Le moulin</h1><p>Près de la <a href=riviere>rivière</a>.</p>"
    ).encode("latin-1")
    document = read(body, "text/html")
    signature = document.signature
    assert signature == hashlib.md5(body).digest()
    links = [(link.url, link.anchor) for link in document.outlinks]
    assert links == [("http://h.example/", "Accueil"), ("http://h.example/d/riviere", "rivière")]
    document.outlinks = []
    assert document == Document(
        parse_status="parsed", content_type="text/html", charset="windows-1252", title="Le moulin à eau",
        text="Accueil\nLe moulin\nPrès de la rivière.", language="fr",
            language_by="declared", canonical_url="http://h.example/moulin",
            canonical=url_fingerprint("http://h.example/moulin"),
        noindex=True, nofollow=False, signature=signature, metadata={"robots": "noindex"},
    )  # fmt: skip


def test_links_of_a_rendered_page_are_relative_to_where_its_scripts_led() -> None:
    body = b"<a href=x>x</a><a href='#top'>y</a><link rel=canonical href=c>"
    page = Page(URL, "h.example", 0, body, "text/html; charset=utf-8", [], False, "http://h.example/route/7?a=b#here")
    document = PARSER.parse(page)
    assert [link.url for link in document.outlinks] == ["http://h.example/route/x", "http://h.example/route/7?a=b"]
    assert document.canonical_url == "http://h.example/route/c"
    with_base = PARSER.parse(page._replace(content=b"<base href=../up/>" + body))
    assert with_base.outlinks[0].url == "http://h.example/up/x"
    assert PARSER.parse(page._replace(base_url="about:blank")).outlinks[0].url == "http://h.example/d/x"


def test_empty_content() -> None:
    for content_type in (None, "text/html", "text/plain", "application/xhtml+xml"):
        document = read(b"", content_type)
        assert (document.parse_status, document.text, document.outlinks) == ("parsed", "", [])


def test_a_document_has_the_columns_of_the_schema() -> None:
    columns = {column.name for column in PARSED_COLUMNS} - {"fingerprint"}
    assert set(Document.__slots__) == columns  # type: ignore[attr-defined]


def test_threads_do_not_share_their_readers() -> None:
    pages = [f"<title>{n}</title>" + f"<p>{n} <a href=/{n}>{n}</a>" * 50 for n in range(4)]
    wrong: list[int] = []

    def work(n: int) -> None:
        page = Page(URL, "h.example", 0, pages[n].encode(), "text/html", [], False)
        for _ in range(30):
            document = PARSER.parse(page)
            if (document.title, [link.anchor for link in document.outlinks]) != (str(n), [str(n)]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
