"""What is fuzzed: one target per reader of bytes that strangers wrote. Here those for the web's own texts.

A target is called with any bytes and must come back: no exception but those that it names, no hang, bounded memory. It
may assert what must hold of every result. To add one: a function, its seeds, and a line in TARGETS. `python -m
tests.fuzz` runs them all with atheris, `test_targets.py` briefly with Hypothesis.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from crawldb.urls import canonicalize
from jobs.demo.web import demo_site
from jobs.fetching import robots
from jobs.parsing import charset, media_types
from jobs.parsing.directives import directives, refresh_target
from tests.fuzz import archives, documents
from tests.fuzz.pages import SETTINGS, URL, Target, page_of
from tests.jobs.fetching.robots_cases import CASES

# -- pages -------------------------------------------------------------------------------------------------------

CONTENT_TYPES = (None, "text/html", "text/html; charset=utf-8", "application/xhtml+xml", "text/plain", "text/xml",
                 "text/html; charset=shift_jis", "text/html; charset=utf-16", "application/octet-stream")  # fmt: skip


def any_page(data: bytes) -> None:
    """The first byte says under which Content-Type the rest comes."""
    page_of(data[1:], CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else None)


def html(data: bytes) -> None:
    """Under text/html."""
    page_of(data, "text/html")


def xhtml(data: bytes) -> None:
    """Under application/xhtml+xml: the XML parser first."""
    page_of(data, "application/xhtml+xml")


NASTY_HTML = (
    b"<div>" * 3000 + b"deep", b"<table><tr><td>" * 500, b"<b><p>" * 300 + b"x", b"\0<html\0><title>a\0b</title>",
    b"<a href='/x'>" * 300, b"<title>unclosed", b"<!--" + b"-" * 500, b"<script>" + b"<!--<script>" * 50,
    b"<base href=/a/><base href='//other.test/'><a href=b>", b"<frameset><frame src=1><noframes><a href=2>",
    b"<meta charset=utf-16><meta charset=big5>\xa4\xa4", b"<meta http-equiv=refresh content='0;url=\"/next\"'>",
    b"<svg><a xlink:href=/x><title>t</title></svg><math><mi href=y>", b"<template><a href=/t></template><noscript><a href=/n>",
    b"&#xd800;&#0;&#x110000;&notit;&amp", b"<a href='http://[::1'>", b"<a href='http://\xff\xfe/'>", b"<plaintext>x</plaintext>",
    "\ufeff<p>\u202e\u0000\ud7ff".encode(), b"<img srcset='a 1x, b 2x,, ,c'>", b"<link rel=canonical href='  /c\n d '>",
    b"<?xml version='1.0' encoding='x'?><!DOCTYPE html [<!ENTITY a '&b;&b;'><!ENTITY b 'x'>]><html>&a;</html>",
    b"<select><option>" * 100, b"<p " + b"a=b " * 500 + b">", b"<" * 500, b"</" * 500, b"<a\n href\n=\n/x\n>",
    b"<html xmlns='http://www.w3.org/1999/xhtml'><body><a href='x'>y</a></body></html>",
)  # fmt: skip


def html_seeds() -> Iterable[bytes]:
    """The demo site's pages, cut off too, and what browsers have stumbled over."""
    site = demo_site(80)
    bodies = {page.body for page in site.pages.values() if b"<html" in page.body[:200].lower()}
    for body in sorted(bodies, key=len)[:: max(len(bodies) // 12, 1)]:
        yield body[:6000]
        yield body[: len(body) // 3]
    yield from NASTY_HTML


def any_page_seeds() -> Iterable[bytes]:
    """The same under each Content-Type, and the beginnings of other formats."""
    for number, body in enumerate(
        [*html_seeds(), b"%PDF-1.4", b"PK\x03\x04", b"\xff\xfe<\0p\0>\0", b"plain text", b""]
    ):
        yield bytes([number % len(CONTENT_TYPES)]) + body


# -- charsets ----------------------------------------------------------------------------------------------------


def charsets(data: bytes) -> None:
    """The first two bytes choose a label and how the rest is declared; what is UTF-8 must come through as it is."""
    labels = [*charset._CODECS, *charset._LABELS, "utf-7", "rot13", "\0", "x" * 300]
    label = labels[data[0] % len(labels)] if data else "utf-8"
    how, content = (data[1] % 4 if len(data) > 1 else 0), data[2:]
    header = f"text/html; charset={label}" if how in (1, 3) else None
    if how in (2, 3):
        content = f'<meta charset="{label}">'.encode("utf-8", "replace") + content
    name, start = charset.decide(content, header, "windows-1252")
    assert name in charset._CODECS
    text = charset.decode(content, name, start)
    text.encode()
    assert len(text) <= 2 * len(content) + 1
    if header is None and how == 0 and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        charset.is_utf8(content)


def charset_seeds() -> Iterable[bytes]:
    """A sentence in many encodings."""
    for number, (label, codec) in enumerate(charset._CODECS.items()):
        text = "Käse für 3 € Привет 日本語 中文 한국어 ελληνικά"
        yield bytes([number, len(label) % 4]) + text.encode(codec, "ignore")
    yield b"\0\0" + codecs.BOM_UTF8 + b"x"
    yield b"\0\1\x1b$B\x1b$B\x1b(B\x1b"


# -- what surrounds a page ---------------------------------------------------------------------------------------


def robots_txt(data: bytes) -> None:
    """The file, and what it says of some URLs; the first byte says if it is cut off."""
    read = robots.read(data[1:], bool(data[:1] > b"\x7f"), SETTINGS)
    assert read.delay is None or 0 <= read.delay < 1e12
    for url in (
        "http://example.com/",
        "http://example.com/a/b.html?q=%C3%BC",
        "http://example.com/" + "a/" * 200,
        *read.sitemaps[:3],
    ):
        refusal = read.refuse(url)
        assert refusal is None or refusal.detail is None or refusal.detail.encode()
    for sitemap in read.sitemaps:
        assert canonicalize(sitemap) == sitemap


def robots_seeds() -> Iterable[bytes]:
    """The cases of the tests, and patterns that make backtracking matchers slow."""
    for case in CASES[::3]:
        yield b"\0" + case.body[:3000]
    yield b"\0User-agent: *\nDisallow: /" + b"*a" * 200 + b"$\n"
    yield b"\xffUser-agent: testbot\nCrawl-delay: 1e400\nCrawl-delay: 99999999999999999999\nSitemap: \xff\nDisallow: /%\xff%0"


def header_values(data: bytes) -> None:
    """X-Robots-Tag, refresh and Content-Type values."""
    text = data.decode("latin-1")
    target = refresh_target(text)
    assert target is None or len(target) <= len(text)
    directives([("robots", text)], [("X-Robots-Tag", text)], "testbot")
    media_types.media_type(b"<p>", text)
    charset.decide(b"<p>", text, "utf-8")


def header_seeds() -> Iterable[bytes]:
    """Values as servers send them."""
    yield from (b"0; url='/x'", b"5;URL=http://a/", b"noindex, testbot: nofollow, unavailable_after: 1 Jan 2030",
                b"text/html;charset=\"utf-8\";x", b" " * 300 + b"1" + b" " * 300, b"1" * 300 + b";" * 300)  # fmt: skip


def urls(data: bytes) -> None:
    """A link as it may stand in a page: canonical once is canonical for good."""
    href = data.decode("utf-8", "replace")
    once = canonicalize(href, URL)
    if once is not None:
        once.encode("ascii")
        assert canonicalize(once) == once


def url_seeds() -> Iterable[bytes]:
    """Links as people write them."""
    yield from (
        b"../a/./b?c=d#e", b"//h\xc3\xbc.example:80/\xc3\xbc", b"HTTP://USER:pass@EXAMPLE.com:0443/%7e%zz", b"?q", b"#", b"\t\n",
        b"http://[::ffff:1.2.3.4]/", b"http://0x7f.1/", b"javascript:alert(1)", b"http:\\\\a\\b", b"http://xn--/", b"a:b@c",
    )  # fmt: skip


TARGETS: dict[str, Target] = {
    "html": Target(html, html_seeds),
    "xhtml": Target(xhtml, html_seeds),
    "pages": Target(any_page, any_page_seeds),
    "charsets": Target(charsets, charset_seeds),
    "robots": Target(robots_txt, robots_seeds),
    "headers": Target(header_values, header_seeds),
    "urls": Target(urls, url_seeds),
    **documents.TARGETS,
    **archives.TARGETS,
}
