"""From the links of a page to those that may enter the crawldb."""

from __future__ import annotations

import pytest

from crawldb.fingerprint import url_fingerprint
from crawldb.urls import canonicalize
from jobs.parsing import PageParser

from .reading import URL, make_settings, read


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        # (url, anchor, rel)
        ("<a href=b>x</a>", [("http://h.example/d/b", "x", None)]),
        ("<a href='/b'>x</a>", [("http://h.example/b", "x", None)]),
        ("<a href='../b'>x</a>", [("http://h.example/b", "x", None)]),
        ("<a href='./'>x</a>", [("http://h.example/d/", "x", None)]),
        ("<a href='?q=2'>x</a>", [("http://h.example/d/page.html?q=2", "x", None)]),
        ("<a href='//other.example/b'>x</a>", [("http://other.example/b", "x", None)]),
        ("<a href='/\\other.example/b'>x</a>", [("http://other.example/b", "x", None)]),
        ("<a href='\\b'>x</a>", [("http://h.example/b", "x", None)]),
        ("<a href='https://other.example'>x</a>", [("https://other.example/", "x", None)]),
        ("<a href='HTTP://Other.Example:80/b'>x</a>", [("http://other.example/b", "x", None)]),
        ("<a href='http:b'>x</a>", [("http://h.example/d/b", "x", None)]),
        ("<a href=' \n/b\t '>x</a>", [("http://h.example/b", "x", None)]),
        ("<a href='/a\nb'>x</a>", [("http://h.example/ab", "x", None)]),
        ("<a href='/b?x=1&amp;y=2'>x</a>", [("http://h.example/b?x=1&y=2", "x", None)]),
        ("<a href='/b?y=1&x=2'>x</a>", [("http://h.example/b?x=2&y=1", "x", None)]),
        ("<a href='/é'>x</a>", [("http://h.example/%C3%A9", "x", None)]),
        ("<a href='http://u:p@other.example/'>x</a>", [("http://other.example/", "x", None)]),
        ("<A HREF=/b>x</A>", [("http://h.example/b", "x", None)]),
        ("<a title=t href=/b class=c>x</a>", [("http://h.example/b", "x", None)]),
        ("<a href=/b>x", [("http://h.example/b", "x", None)]),
        ("<a href=/b#f>x</a><a href=/b>y</a>", [("http://h.example/b", "x", None)]),
        # Not links to follow
        ("<a>x</a><a name=y>z</a>", []),
        ("<a href='mailto:a@b.example'>x</a><a href='tel:1'>x</a><a href='ftp://h.example/'>x</a>", []),
        ("<a href='javascript:void(0)'>x</a><a href='data:text/html,x'>x</a><a href='http://'>x</a>", []),
        ("<a href='#top'>x</a><a href=''>x</a><a href='page.html?q=1#s'>x</a>", []),
        ("<img src=b.png><script src=c.js></script><form action=/d></form><link rel=stylesheet href=e.css>", []),
        ("<link rel=canonical href=/c><link rel='shortcut icon' href=/i><link href=/x>", []),
        ("<link rel='alternate stylesheet' href=/s><link rel=alternate type=application/rss+xml href=/feed>", []),
        ("<script>'<a href=/no>'</script><style><a href=/no></style><!-- <a href=/no> -->", []),
        ("<template><a href=/no>x</a></template><textarea><a href=/no></textarea>", []),
        (
            "<x-y><template shadowrootmode=open><a href=/b>x</a><template><a href=/no>x</a></template></template></x-y>"
            "<template><template shadowrootmode=open><a href=/no>x</a></template></template>",
            [("http://h.example/b", "x", None)],
        ),
        # Anchors
        ("<a href=/b> two\n<b>words</b> </a>", [("http://h.example/b", "two words", None)]),
        ("<a href=/b><div>a</div><div>b</div></a>", [("http://h.example/b", "a b", None)]),
        ("<a href=/b></a>", [("http://h.example/b", None, None)]),
        ("<a href=/b><img alt='the mill'></a>", [("http://h.example/b", "the mill", None)]),
        ("<a href=/b>text<img alt='the mill'></a>", [("http://h.example/b", "text", None)]),
        ("<a href=/b>x<script>no</script>y</a>", [("http://h.example/b", "xy", None)]),
        ("<a href=/b>x<a href=/c>y</a>z</a>", [("http://h.example/b", "x", None), ("http://h.example/c", "y", None)]),
        ("<noscript><a href=/b>x</a></noscript>", [("http://h.example/b", "x", None)]),
        # rel
        ("<a href=/b rel='  Next \n EXTERNAL '>x</a>", [("http://h.example/b", "x", "next external")]),
        ("<a href=/b rel=''>x</a>", [("http://h.example/b", "x", None)]),
        # Other elements
        ("<map><area href=/b alt='the mill'></map>", [("http://h.example/b", "the mill", None)]),
        ("<iframe src=/b title=t></iframe>", [("http://h.example/b", "t", None)]),
        ("<frameset><frame src=a><frame src=b></frameset>",
         [("http://h.example/d/a", None, None), ("http://h.example/d/b", None, None)]),
        ("<link rel=next href=/2><link rel=prev href=/0>",
         [("http://h.example/2", None, "next"), ("http://h.example/0", None, "prev")]),
        ("<link rel=Alternate hreflang=de type='Text/HTML; charset=utf-8' title=Deutsch href=/de>",
         [("http://h.example/de", "Deutsch", "alternate")]),
        # base: the first one with href counts, wherever it stands
        ("<base href=/x/><base href=/y/><a href=b>x</a>", [("http://h.example/x/b", "x", None)]),
        ("<base target=_top><base href=/x/><a href=b>x</a>", [("http://h.example/x/b", "x", None)]),
        ("<a href=b>x</a><base href='x/'>", [("http://h.example/d/x/b", "x", None)]),
        ("<base href='https://other.example/z?p=1'><a href=b>x</a><a href='?r=2'>y</a>",
         [("https://other.example/b", "x", None), ("https://other.example/z?r=2", "y", None)]),
        ("<base href='javascript:x'><a href=b>x</a>", [("http://h.example/d/b", "x", None)]),
        ("<base href=''><a href=b>x</a>", [("http://h.example/d/b", "x", None)]),
        ("<base href=/x/><a href='#top'>x</a>", [("http://h.example/x/", "x", None)]),
    ],
)  # fmt: skip
def test_links(markup: str, expected: list[tuple[str, str | None, str | None]]) -> None:
    document = read(markup)
    assert [(link.url, link.anchor, link.rel) for link in document.outlinks] == expected
    assert {link.kind for link in document.outlinks} <= {"link"}
    assert document.refused == {}


def test_a_link_has_its_fingerprint_and_host() -> None:
    (link,) = read("<a href='https://Other.example:8443/b'>x</a>").outlinks
    assert link.fingerprint == url_fingerprint("https://other.example:8443/b")
    assert link.host == "other.example"


@pytest.mark.parametrize(
    ("markup", "headers", "kept", "refused"),
    [
        ("<a href=/a rel=nofollow>x</a><a href=/b>x</a>", (), ["/b"], 1),
        ("<a href=/a rel='external NoFollow'>x</a>", (), [], 1),
        ("<a href=/a rel=nofollowed>x</a><a href=/b rel='x-nofollow'>x</a>", (), ["/a", "/b"], 0),
        ("<a href=/a rel=nofollow>x</a><a href=/a>x</a>", (), ["/a"], 0),
        ("<a href=/a rel=nofollow>x</a><a href=/a rel=nofollow>y</a>", (), [], 1),
        ("<a href='' rel=nofollow>x</a><a href=mailto:x rel=nofollow>x</a>", (), [], 0),
        ("<meta name=robots content=nofollow><a href=/a>x</a><a href=/b>x</a><a href=/b>y</a>", (), [], 2),
        ("<a href=/a>x</a><meta name=ROBOTS content='NONE'>", (), [], 1),
        ("<meta name=cobnut content=nofollow><a href=/a>x</a>", (), [], 1),
        ("<meta name=otherbot content=nofollow><a href=/a>x</a>", (), ["/a"], 0),
        ("<a href=/a>x</a>", (("x-robots-tag", "nofollow"),), [], 1),
        ("<a href=/a>x</a>", (("X-Robots-Tag", "cobnut: nofollow"),), [], 1),
        ("<a href=/a>x</a>", (("X-Robots-Tag", "otherbot: nofollow"),), ["/a"], 0),
    ],
)
def test_nofollow(markup: str, headers: tuple[tuple[str, str], ...], kept: list[str], refused: int) -> None:
    document = read(markup, headers=headers)
    assert [link.url.removeprefix("http://h.example") for link in document.outlinks] == kept
    assert document.refused["h.example", "nofollow"] == refused
    ignoring = read(markup, "text/html", "parse.nofollow=false", headers=headers)
    assert ignoring.refused == {}
    assert ignoring.nofollow == document.nofollow


def test_filters_see_the_source_and_the_links_depth() -> None:
    markup = "<a href=/a>x</a><a href='http://other.example/'>x</a><a href='http://other.example/#x'>x</a>"
    document = read(markup, "text/html", "filter.scope=host", depth=3)
    assert [link.url for link in document.outlinks] == ["http://h.example/a"]
    assert document.refused == {("other.example", "scope"): 1}
    assert read(markup, "text/html", "filter.max_depth=3", depth=3).refused == {
        ("h.example", "depth"): 1,
        ("other.example", "depth"): 1,
    }
    assert read(markup, "text/html", "filter.max_depth=3", depth=2).refused == {}
    assert read(f"<a href=/{'x' * 3000}>x</a>").refused == {("h.example", "length"): 1}


def test_max_links_cuts_distinct_links_that_passed() -> None:
    markup = "<a href=/a>x</a><a href=/a>x</a><a href=mailto:x>x</a><a href=/b>x</a><a href=/c>x</a><a href=/c>x</a>"
    document = read(markup, "text/html", "parse.max_links=2")
    assert [link.url for link in document.outlinks] == ["http://h.example/a", "http://h.example/b"]
    assert document.refused == {("h.example", "max_links"): 1}
    assert len(read(markup, "text/html", "parse.max_links=0").outlinks) == 3


@pytest.mark.parametrize(
    ("markup", "headers", "target"),
    [
        ("<meta http-equiv=refresh content='0;url=/b'>", (), "http://h.example/b"),
        ("<META HTTP-EQUIV=' Refresh ' CONTENT=\"5; URL='b'\">", (), "http://h.example/d/b"),
        ("<base href=/x/><meta http-equiv=refresh content='0;url=b'>", (), "http://h.example/x/b"),
        ("<meta http-equiv=refresh content='0;url=/b'><meta http-equiv=refresh content='0;url=/c'>", (),
         "http://h.example/b"),
        ("", (("Refresh", "0; url=/b"),), "http://h.example/b"),
        ("<meta http-equiv=refresh content='0;url=/b'>", (("Refresh", "0; url=/c"),), "http://h.example/b"),
        ("<meta name=robots content=nofollow><meta http-equiv=refresh content='0;url=/b'>", (), "http://h.example/b"),
        ("<meta http-equiv=refresh content=30>", (), None),
        ("<meta http-equiv=refresh content='30;url=page.html?q=1'>", (), None),
        ("<meta http-equiv=refresh content='0;url=javascript:x'>", (), None),
        ("<noscript><meta http-equiv=refresh content='0;url=/noscript'></noscript>", (), None),
        ("<template><meta http-equiv=refresh content='0;url=/b'></template>", (), None),
    ],
)  # fmt: skip
def test_refresh_is_a_link_of_its_own_kind(
    markup: str, headers: tuple[tuple[str, str], ...], target: str | None
) -> None:
    links = read(markup, headers=headers).outlinks
    assert [(link.url, link.kind) for link in links] == ([(target, "refresh")] if target else [])


def test_a_refresh_comes_first_beyond_the_limit_and_with_the_pages_depth() -> None:
    markup = "<a href=/a>x</a><a href=/b>x</a><meta http-equiv=refresh content='0;url=/b'>"
    document = read(markup, "text/html", "parse.max_links=1", "filter.max_depth=3", depth=2)
    assert [(link.url, link.kind) for link in document.outlinks] == [
        ("http://h.example/b", "refresh"), ("http://h.example/a", "link"),
    ]  # fmt: skip
    document = read(markup, "text/html", "filter.max_depth=3", depth=3)
    assert [link.kind for link in document.outlinks] == ["refresh"]
    assert document.refused.total() == 1


def test_redirects_are_filtered_like_links() -> None:
    parser = PageParser(make_settings("filter.scope=host", "filter.max_depth=3"))
    links, refused = parser.redirect(URL, "h.example", 3, "http://h.example/new")
    assert [(link.url, link.host, link.kind, link.fingerprint) for link in links] == [
        ("http://h.example/new", "h.example", "redirect", url_fingerprint("http://h.example/new"))
    ]
    assert refused == {}
    assert parser.redirect(URL, "h.example", 0, "http://other.example/") == ([], {("other.example", "scope"): 1})
    assert parser.redirect(URL, "h.example", 0, None) == ([], {})
    assert parser.redirect(URL, "h.example", 0, URL) == ([], {})
    assert parser.redirect(URL, "h.example", 0, "mailto:x") == ([], {})


@pytest.mark.parametrize(
    ("markup", "canonical"),
    [
        ("<link rel=canonical href=/c>", "http://h.example/c"),
        ("<LINK REL='Canonical' HREF='c?b=1&amp;a=2#f'>", "http://h.example/d/c?a=2&b=1"),
        ("<base href=/x/><link rel=canonical href=c>", "http://h.example/x/c"),
        ("<link rel=canonical href=/c><link rel=canonical href=/d>", "http://h.example/c"),
        ("<link rel=canonical href='https://other.example'>", "https://other.example/"),
        ("<link rel=canonical href='mailto:x'>", None),
        ("<link rel=canonical>", None),
        ("<a rel=canonical href=/c>x</a>", None),
    ],
)
def test_canonical_link(markup: str, canonical: str | None) -> None:
    assert read(markup).canonical_url == canonical


@pytest.mark.parametrize("href", ["b", "/b", "?b", "#b", "", "//x.example/b", "/\t/x.example", "http:b", "https:b", "..",
                                  "x:y", ":b", "../../../b", "../?z=1&y=2", "/?z=1&y=2", " ?b", "http:?b", " /b", "x #f", "\\\\x.example", "/b" * 400, "\u3000b", "http://x.example\\b"])  # fmt: skip
@pytest.mark.parametrize("page", ["http://h.example/", "https://h.example/d/e/?a=b/c", "http://h.example/d;p=1/e"])
def test_the_cache_resolves_as_the_page_itself_does(href: str, page: str) -> None:
    expected = canonicalize(href, page)
    for _ in range(2):
        links = read(f'<a href="{href}">x</a>', url=page).outlinks
        assert [link.url for link in links] == ([] if expected in (None, page) else [expected])
