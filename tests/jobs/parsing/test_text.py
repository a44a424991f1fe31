"""Title, language and visible text, as a reader of the page would have them."""

from __future__ import annotations

import pytest

from .reading import read


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain", "plain"),
        ("<p>a<p>b", "a\nb"),
        ("<p>a</p>b", "a\nb"),
        ("a<div>b</div>c", "a\nb\nc"),
        ("<div><div>a</div><div><p>b</p></div></div>", "a\nb"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("a<hr>b", "a\nb"),
        ("a <b>bold</b> <i>it</i>alic", "a bold italic"),
        ("a<span>b</span>c", "abc"),
        ("<p>a\n  b\t c</p>", "a b c"),
        ("<p> a </p>\n\n<p> </p><p>b</p>", "a\nb"),
        ("<p>a&nbsp;&nbsp;b&#160;c", "a b c"),
        ("<ul><li>a<li>b</ul>c", "a\nb\nc"),
        ("<dl><dt>a<dd>b</dl>", "a\nb"),
        ("<h1>a</h1>b<h2>c</h2>", "a\nb\nc"),
        ("<table><tr><td>a<td>b<tr><th>c</th><td>d</td></table>", "a b\nc d"),
        ("<table><caption>t</caption><tbody><tr><td>a</td></tr></tbody></table>", "t\na"),
        ("<select><option>a<option>b</select>", "a\nb"),
        ("a<script>var x = '<p>no</p>';</script>b", "ab"),
        ("a<style>p { color: red }</style>b", "ab"),
        ("a<template><p>no</p></template>b", "ab"),
        ("a<noscript>no <b>no</b></noscript>b", "ab"),
        ("a<iframe src=x>no</iframe>b", "ab"),
        ("a<video><p>no</p></video>b", "ab"),
        ("a<!-- no -->b", "ab"),
        ("a<!-- <p>no</p> -->b", "ab"),
        ("a<?php no ?>b", "ab"),
        ("<template>x<template>y</template>z</template>b", "b"),
        ("a<template shadowrootmode=Closed><b>b</b><template>no</template>c</template>d", "abcd"),
        ("a<template shadowrootmode=none>no</template>b", "ab"),
        ("<noscript><style>x</style>y</noscript>b", "b"),
        ("<head><title>no</title></head>a", "a"),
        ("<svg><title>no</title></svg>a", "a"),
        ("<pre>a\n  b\nc</pre>d", "a\nb\nc\nd"),
        ("<pre>a<b>b\nc</b></pre>", "ab\nc"),
        ("<textarea>a\n<b>c</textarea>d", "a\n<b>c\nd"),
        ("&lt;p&gt; &amp;amp; &eacute;&#233;&#xE9; &copy", "<p> &amp; ééé ©"),
        ("&bogus; &#0; &#xD800; &#x110000; &", "&bogus; \ufffd \ufffd \ufffd &"),
        ("AT&T R&D", "AT&T R&D"),
        ("1 < 2 > 1", "1 < 2 > 1"),
        ("a\0b", "ab"),
        ("a\u2003\u2003b\u3000 c\u2028d", "a b c d"),
        ("日本\n語", "日本 語"),
        ("a</div></b></span>b", "ab"),
        ("<p>a<b>b<p>c", "ab\nc"),
        ("<p>cut <b", "cut"),
        ("<p>cut <a href='x", "cut"),
        ("a<!-- cut", "a"),
        ("a<script>cut", "a"),
        ("a<noscript>cut", "a"),
        ("a<pre>b\nc", "a\nb\nc"),
        ("<frameset><frame src=a><noframes>no</noframes></frameset>", ""),
        ("<my-element>a</my-element>b", "ab"),
        ("<a href=x>a</a><a href=y>b</a>", "ab"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_visible_text(markup: str, text: str) -> None:
    document = read(markup)
    assert document.text == text
    assert document.parse_status == "parsed"


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<title>T</title>", "T"),
        ("<title>\n A &amp;\n B </title>", "A & B"),
        ("<title>a <b>c</b></title>", "a <b>c</b>"),
        ("<title>first</title><title>second</title>", "first"),
        ("<body><p>x</p><title>late</title>", "late"),
        ("<svg><title>icon</title></svg><title>T</title>", "T"),
        ("<title></title>", None),
        ("<p>none", None),
        ("<title>" + "x" * 5000 + "</title>", "x" * 1000),
        ("<title>cut", "cut"),
    ],
)
def test_title(markup: str, title: str | None) -> None:
    assert read(markup).title == title


@pytest.mark.parametrize(
    ("markup", "headers", "language"),
    [
        ("<html lang=en>", (), "en"),
        ("<html lang=' pt-BR '>", (), "pt-BR"),
        ("<html xml:lang=de>", (), "de"),
        ("<html lang=de><p lang=en>", (), "de"),
        ("<p lang=en>", (), None),
        ("<html lang='{{ lang }}'>", (), None),
        ("<html lang=''>", (("Content-Language", "fr"),), "fr"),
        ("<meta http-equiv=Content-Language content=it>", (("Content-Language", "fr"),), "it"),
        ("x", (("content-language", "fr"),), "fr"),
        ("x", (("Content-Language", "fr, de"),), None),
    ],
)
def test_language(markup: str, headers: tuple[tuple[str, str], ...], language: str | None) -> None:
    assert read(markup, headers=headers).language == language


def test_limits() -> None:
    assert read("<p>" + "word " * 100, "text/html", "parse.max_text=12").text == "word word wo"
    assert read("word " * 100, "text/plain", "parse.max_text=12").text == "word word wo"
    anchor = read("<a href=x>" + "word " * 100, "text/html", "parse.max_anchor=7").outlinks[0].anchor
    assert anchor == "word wo"


def test_plain_text_keeps_its_lines_and_has_no_links() -> None:
    document = read(b"\xef\xbb\xbfone\r\n  two\rthree <a href=x>&amp;\0\n", "text/plain")
    assert document.text == "one\n  two\nthree <a href=x>&amp;"
    assert (document.charset, document.title, document.outlinks) == ("utf-8", None, [])


XHTML = (
    '<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">'
    '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="de" xmlns:s="http://www.w3.org/2000/svg"><head>'
    '<title>Mühle</title><script src="x.js" /><meta name="robots" content="noindex" /></head><body>'
    '<s:svg><s:title>icon</s:title><s:a href="no">no</s:a></s:svg><a name="top" /><p>Fluß{more}<![CDATA[ & Co]]></p>'
    '<a href="/b?x=1&amp;y=2" rel="next">weiter</a><br /></body></html>'
)


def test_xhtml_is_read_as_xml() -> None:
    body = XHTML.format(encoding="iso-8859-1", more="").encode("latin-1")
    document = read(body, "application/xhtml+xml")
    assert (document.title, document.language, document.charset) == ("Mühle", "de", "windows-1252")
    assert document.text == "iconno\nFluß & Co\nweiter"
    assert [(link.url, link.anchor, link.rel) for link in document.outlinks] == [
        ("http://h.example/b?x=1&y=2", "weiter", "next")
    ]
    assert document.noindex
    assert read(body, "text/xml").title == "Mühle"
    assert read(body, None).content_type == "application/xhtml+xml"


def test_xhtml_with_a_prefix_for_html() -> None:
    body = '<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:p>a</h:p><h:a href="b">c</h:a></h:html>'
    document = read(body, "application/xhtml+xml")
    assert (document.text, len(document.outlinks)) == ("a\nc", 1)


@pytest.mark.parametrize("more", ["&nbsp;&amp; mehr", " & mehr", "<b>mehr", "<br>mehr"])
def test_xhtml_that_is_no_xml_is_read_as_html(more: str) -> None:
    body = '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Fluß{}</p><a href="b">c</a></body></html>'
    document = read(body.format(more), "application/xhtml+xml")
    assert "mehr" in (document.text or "")
    assert len(document.outlinks) == 1
