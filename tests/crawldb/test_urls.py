"""The canonical form against its two references: can_ada for WHATWG, and w3lib."""

from __future__ import annotations

import doctest
import re

import can_ada
import pyarrow as pa
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from w3lib.url import canonicalize_url, safe_url_string

from crawldb import urls
from crawldb.urls import MAX_LENGTH, canonicalize, host_of, origin_of, registrable_domain

BASE = "http://example.com/a/b/c?d=e"


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:0/", "http://example.com:0/"),
        ("http://example.com:/", "http://example.com/"),
        ("http:example.com", "http://example.com/"),
        ("http:////example.com", "http://example.com/"),
        ("http:\\\\example.com\\a\\b?c\\d=", "http://example.com/a/b?c%5Cd="),
        # blanks and control characters
        (" \t\x00http://exa\nmple.com/a\tb c\r ", "http://example.com/ab%20c"),
        ("http://example.com/\xa0\x01\x7f", "http://example.com/%C2%A0%01%7F"),
        # credentials and fragments
        ("http://user:pass@example.com/", "http://example.com/"),
        ("http://user@example.com:8080/@", "http://example.com:8080/@"),
        ("http://a@b@example.com/", "http://example.com/"),
        ("http://:@example.com/", "http://example.com/"),
        ("http://example.com/#a", "http://example.com/"),
        ("http://example.com#a?b#c", "http://example.com/"),
        ("http://example.com/?#", "http://example.com/"),
        ("http://user@example.com/?b&a#c", "http://example.com/?a=&b="),
        # dot segments and slashes
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/../../a/%2e%2E/b/.%2e", "http://example.com/"),
        ("http://example.com//a//b/..//", "http://example.com//a///"),
        ("http://example.com/a/..;b", "http://example.com/;b"),
        # path parameters
        ("http://example.com/a;b", "http://example.com/a;b"),
        ("http://example.com/a;jsessionid=1F?b=c", "http://example.com/a;jsessionid=1F?b=c"),
        ("http://example.com/a;", "http://example.com/a"),
        ("http://example.com/a;;", "http://example.com/a;;"),
        ("http://example.com/%7Ea;%7eb", "http://example.com/~a;%7eb"),
        # escapes in the path
        ("http://example.com/%7Ejoe/%41", "http://example.com/~joe/A"),
        ("http://example.com/~joe", "http://example.com/~joe"),
        ("http://example.com/%e9%C3%a9", "http://example.com/%E9%C3%A9"),
        ("http://example.com/%2f%3b%3f%25%2541", "http://example.com/%2F%3B%3F%25%2541"),
        ("http://example.com/é", "http://example.com/%C3%A9"),
        ("http://example.com/%/%zz/%4", "http://example.com/%/%zz/%4"),
        ("http://example.com/%%341", "http://example.com/A"),
        ("http://example.com/[a]|^`{}\"<>'", "http://example.com/[a]|%5E%60%7B%7D%22%3C%3E'"),
        # the query
        ("http://example.com?a=b", "http://example.com/?a=b"),
        ("http://example.com/?", "http://example.com/"),
        ("http://example.com/?&&", "http://example.com/"),
        ("http://example.com/?a", "http://example.com/?a="),
        ("http://example.com/?=a", "http://example.com/?=a"),
        ("http://example.com/?a=b=c", "http://example.com/?a=b%3Dc"),
        ("http://example.com/?a=b%20c+d%2Be", "http://example.com/?a=b+c+d%2Be"),
        ("http://example.com/?b=2&a=2&a=1&&c", "http://example.com/?a=1&a=2&b=2&c="),
        ("http://example.com/?a=1;b=2", "http://example.com/?a=1%3Bb%3D2"),
        ("http://example.com/?a-b=1&a=2", "http://example.com/?a=2&a-b=1"),
        ("http://example.com/?a=%7E&a=%41", "http://example.com/?a=A&a=~"),
        ("http://example.com/?a=z&a=%21", "http://example.com/?a=%21&a=z"),
        ("http://example.com/?u=http://a/?b", "http://example.com/?u=http%3A%2F%2Fa%2F%3Fb"),
        ("http://example.com/?q=ü&%zz=%", "http://example.com/?%25zz=%25&q=%C3%BC"),
        ("http://example.com/?q='\"[]|^`{}<>\\", "http://example.com/?q=%27%22%5B%5D%7C%5E%60%7B%7D%3C%3E%5C"),
        # hosts
        ("http://Bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://ｅｘ%61mple。com/", "http://example.com/"),
        ("http://straße.example/", "http://xn--strae-oqa.example/"),
        ("http://example.com./", "http://example.com./"),
        ("http://a_b.example.com/", "http://a_b.example.com/"),
        ("http://a..b/", "http://a..b/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]/"),
        # surrogates: lone ones are U+FFFD, a pair is its character
        ("http://example.com/\ud800", "http://example.com/%EF%BF%BD"),
        ("http://example.com/\udc80a\ud83d", "http://example.com/%EF%BF%BDa%EF%BF%BD"),
        ("http://example.com/\ud83d\ude00", "http://example.com/%F0%9F%98%80"),
    ],
)
def test_canonical_form(url: str, canonical: str) -> None:
    assert canonicalize(url) == canonical
    assert canonicalize_url(canonical) == canonical


@pytest.mark.parametrize(
    ("link", "canonical"),
    [
        ("", "http://example.com/a/b/c?d=e"),
        ("#f", "http://example.com/a/b/c?d=e"),
        ("x", "http://example.com/a/b/x"),
        ("../x/", "http://example.com/a/x/"),
        ("../../../..", "http://example.com/"),
        ("/x", "http://example.com/x"),
        ("\\x", "http://example.com/x"),
        ("//other.example/x", "http://other.example/x"),
        ("?f", "http://example.com/a/b/c?f="),
        ("https://other.example", "https://other.example/"),
        ("http:x", "http://example.com/a/b/x"),
        (" x y ", "http://example.com/a/b/x%20y"),
        ("x:y", None),
        ("\ud800", "http://example.com/a/b/%EF%BF%BD"),
    ],
)
def test_links_are_resolved(link: str, canonical: str | None) -> None:
    assert canonicalize(link, BASE) == canonical


def test_a_base_that_is_no_url_leaves_absolute_links() -> None:
    for base in ("", "x", "\ud800", "http://", "mailto:a@example.com"):
        assert canonicalize("/x", base) is None
        assert canonicalize("http://example.com/", base) == "http://example.com/"
    assert canonicalize("x", "http://example.com/\ud800/") == "http://example.com/%EF%BF%BD/x"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "example.com",
        "ftp://example.com/",
        "mailto:a@example.com",
        "javascript:void(0)",
        "data:text/html,a",
        "file:///etc/passwd",
        "http://",
        "http:///",
        "http://?a",
        "http://#a",
        "http://@/",
        "http://:80/",
        "http://a b/",
        "http://exam%00ple.com/",
        "http://ex<ample.com/",
        "http://example.com:65536/",
        "http://example.com:8a/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://[::1/",
        "http://[::g]/",
        "http://[fe80::1%25eth0]/",
        "http://xn--a/",
        "http://\xad/",
        "http://ex％61mple.com/",
        "http://[::ffff:1.2.3.4]/",
        "http://[::ffff:102:304]:8080/a?b=c",
    ],
)
def test_what_cannot_be_crawled(url: str) -> None:
    assert canonicalize(url) is None
    assert canonicalize("\u0020" + url + "\n") is None


def test_huge_urls() -> None:
    head = "http://example.com/"
    longest = head + "a" * (MAX_LENGTH - len(head))
    assert canonicalize(longest) == longest
    assert canonicalize(longest + "a") is None
    assert canonicalize("a" * 10_000_000) is None
    assert canonicalize("a" * (MAX_LENGTH - len(head) + 1), head) is None
    # what is too long only when it is escaped or completed: on the fast path, respelled, and by w3lib
    assert canonicalize(head + "é" * (MAX_LENGTH // 4)) is None
    assert canonicalize(head + "?" + "&".join(["a"] * (MAX_LENGTH // 2 - 20))) is None
    assert canonicalize(head + "[]?" + "&".join(["a"] * (MAX_LENGTH // 2 - 20))) is None
    assert canonicalize(head + "?" + "[" * (MAX_LENGTH // 2)) is None
    # what is too long only before its fragment goes
    assert canonicalize(head + "#" + "a" * (MAX_LENGTH - 100)) == head
    assert canonicalize("../" * 20_000 + "x", head) == head + "x"


def test_escapes_of_escapes_settle_or_are_refused() -> None:
    def nested(levels: int) -> str:
        return "http://example.com/" + "%" * levels + "3" * (levels - 1) + "41"

    assert [canonicalize(nested(levels)) for levels in (1, 2, 4)] == ["http://example.com/A"] * 3
    assert canonicalize(nested(1000)) is None
    assert canonicalize(nested(20_000)) is None


TOKENS = [
    *"abAB019%&=?#/;:@+ .\t\n\\[]|^`{}\"'<>~!$()*,-_",
    *("%2e", "%2E", "%2f", "%2F", "%3b", "%3F", "%25", "%7E", "%41", "%20", "%2B", "%26", "%3D", "%c3%a9", "%E9"),
    *("%%34%31", "%0a", "%zz", "../", "./", "//", "/..;", ";a", "a=1", "&a", "&b=", "=c", "?a", "?b=2&a=1", "#f"),
    *(
        "é",
        "ß",
        "İ",
        "。",
        "．",
        "％",
        "\xa0",
        "\xad",
        "\u200d",
        "\u2028",
        "\ufeff",
        "\ufffd",
        "😀",
        "א",
        "\ud800",
        "\udc00",
    ),
    *("\x00", "\x1f", "\x7f", "\x80", "xn--", "xn--bcher-kva", ".com", ":80", ":443", "[::1]", "1", "0x", "u:p@"),
]
HEADS = [
    "http://h",
    "http://h/",
    "http://h/?",
    "https://example.com/a/b",
    "HTTPS://example.com:443/",
    "http://u:p@h:8080/",
    "http://[2001:db8::1]/",
    "http://",
    "http:/",
    "http:\\\\",
    "//h",
    "/",
    "?",
    "",
]
nasty_urls = st.builds(
    lambda head, tail: head + tail,
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(TOKENS), max_size=14).map("".join) | st.text(max_size=30),
)
bases = st.none() | st.sampled_from([BASE, "https://u:p@example.com:8443/?x#y"]) | nasty_urls
thorough = settings(max_examples=400, deadline=None)


def whatwg(url: str, base: str | None) -> str | None:
    """WHATWG's serialisation without fragment and credentials, if it is http or https."""
    url, base = (None if text is None else scalar_values(text) for text in (url, base))
    try:
        parsed = can_ada.parse(url) if base is None or not can_ada.can_parse(base) else can_ada.parse(base) + url
    except ValueError:
        return None
    if parsed.protocol not in ("http:", "https:"):
        return None
    parsed.hash = parsed.username = parsed.password = ""
    return parsed.href.partition("#")[0]


def scalar_values(text: str) -> str:
    joined = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]",
        lambda pair: chr(0x10000 + (ord(pair[0][0]) - 0xD800) * 0x400 + ord(pair[0][1]) - 0xDC00),
        text,
    )
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


@thorough
@given(nasty_urls, bases)
@example("http://h/a;%7e[", None)
@example("http://h/%%32%46?%%32%36", None)
def test_the_result_is_a_fixpoint_of_all_three(url: str, base: str | None) -> None:
    canonical = canonicalize(url, base)
    if canonical is None:
        refused = whatwg(url, base)
        assert refused is None or "[::ffff:" in refused or "%%%%%%%%" in refused
        return
    assert canonicalize(canonical) == canonical
    assert canonicalize(canonical, base) == canonical
    assert canonicalize_url(canonical) == canonical
    assert canonicalize_url(safe_url_string(canonical)) == canonical  # as Scrapy's Request stores it
    assert can_ada.parse(canonical).href == canonical
    assert canonical.isascii()
    assert canonical.isprintable()
    assert "#" not in canonical


@thorough
@given(nasty_urls, bases)
def test_the_result_is_the_key_that_w3lib_would_choose(url: str, base: str | None) -> None:
    """The fast paths are only faster: w3lib and WHATWG taking turns come to the same."""
    href = whatwg(url, base)
    for _ in range(8):
        if href is None or "[::ffff:" in href or canonicalize_url(href) == href:
            break
        href = whatwg(canonicalize_url(href), None)
    else:
        href = None
    assert canonicalize(url, base) == (None if href and "[::ffff:" in href else href)


PRINTABLE = [chr(code) for code in range(33, 127)] + [f"%{byte:02X}" for byte in range(256)]


def kept_in(place: str) -> st.SearchStrategy[str]:
    """Texts of what w3lib leaves alone in this place when it stands there alone."""
    kept = [text for text in PRINTABLE if canonicalize_url(place.format(text)) == place.format(text)]
    return st.lists(st.sampled_from(kept), max_size=10).map("".join)


nearly_canonical_urls = st.builds(
    "{}://{}/{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["h", "a-b_c.example.com", "a..b", "example.com.", "1.2.3.4", "h:8080", "h:0"]),
    kept_in("http://h/a{}b"),
    st.sampled_from(["", "?"]),
    st.lists(st.builds("{}={}".format, kept_in("http://h/?a{}b="), kept_in("http://h/?a=b{}c")), max_size=4).map(
        "&".join
    ),
)


@thorough
@given(nearly_canonical_urls)
def test_whatever_the_fast_path_accepts_w3lib_leaves_alone(url: str) -> None:
    href = whatwg(url, None)
    assert href is not None
    match = urls._ALMOST_CANONICAL.fullmatch(href)
    event("accepted" if match else "refused")
    if match is None:
        return
    assert canonicalize(url) == canonicalize_url(href)
    if match.lastindex is None:
        assert canonicalize_url(href) == href
    else:
        assert sorted(re.split("[?&]", canonicalize_url(href))) == sorted(re.split("[?&]", href))


def test_every_escape_and_character_in_every_place() -> None:
    characters = [f"%{byte:02x}" for byte in range(256)] + [f"%{byte:02X}" for byte in range(256)]
    characters += [f"%{digit}{letter}" for digit in "aB" for letter in "Ab"] + [chr(code) for code in range(0x180)]
    for place in (
        "http://h/{}",
        "http://h/a{}b/c",
        "http://h/a;{}b",
        "http://h/?{}",
        "http://h/?a{}=",
        "http://h/?a={}b",
    ):
        for character in characters:
            url = place.format(character)
            href = whatwg(url, None)
            assert href is not None
            assert canonicalize(url) == canonicalize_url(href), url


@thorough
@given(nasty_urls)
def test_host_and_origin_are_whatwgs(url: str) -> None:
    canonical = canonicalize(url)
    if canonical is not None:
        parsed = can_ada.parse(canonical)
        assert host_of(canonical) == parsed.hostname
        assert origin_of(canonical) == parsed.origin


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"),
        ("www.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("someone.github.io", "someone.github.io"),
        ("www.someone.github.io", "someone.github.io"),
        ("www.ck", "www.ck"),
        ("a.b.ck", "a.b.ck"),
        ("www.xn--55qx5d.cn", "www.xn--55qx5d.cn"),
        ("a.www.xn--55qx5d.cn", "www.xn--55qx5d.cn"),
        ("wiki.corp", "wiki.corp"),
        ("www.wiki.corp", "wiki.corp"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("www.example.com.", "example.com"),
        ("a..b", "a..b"),
        (".", "."),
    ],
)
def test_registrable_domain(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


@given(nasty_urls)
def test_every_host_has_a_domain(url: str) -> None:
    canonical = canonicalize(url)
    if canonical is not None:
        host = host_of(canonical)
        domain = registrable_domain(host)
        assert domain
        assert host.rstrip(".").endswith(domain.rstrip("."))
        assert registrable_domain(domain) == domain


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(urls).failed == 0


@given(st.lists(st.from_regex(urls._PLAIN.replace("^", "").replace("$", ""), fullmatch=True), min_size=1, max_size=20))
def test_what_is_plain_is_canonical_as_it_stands(texts: list[str]) -> None:
    column = pa.array(texts)
    for text, plain, host in zip(texts, urls.are_plain(column), urls.hosts_of(column).to_pylist(), strict=True):
        if plain:
            assert urls.canonicalize(text) == text
            assert canonicalize_url(text) == text
            assert urls.host_of(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "http://1.2.3.4/", "http://a.1/", "http://0x7f/", "http://a.0x7f/", "http://A.example/", "http://a.example",
        "http://a.example/../b", "http://a.example/./b", "http://a.example/.b", "http://a.example/%7Eb", "http://localhost/",
        "http://xn--a.example/", "http://a.xn--p1ai/", "http://a.example/?b=c", "http://a.example/#b", "http://a_b.example/",
        "http://a..example/", "http://-a.example/", "http://a.example:80/", "http://u@a.example/", "ftp://a.example/",
        "http://a.example//b", " http://a.example/", "http://a.example/" + 2000 * "a", "http://ä.example/", "",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_looked_at_one_by_one(text: str) -> None:
    assert not urls.are_plain(pa.array([text]))[0]


PLAIN_ISH = st.text(st.sampled_from("ab1/.-_~%?=&;:#+ \\A"), max_size=14)


@given(
    st.sampled_from(
        ["http://h.example/", "https://h.example:8443/d/e.f/", "http://127.0.0.1/", "http://xn--bcher-kva.example/a/"]
    ),
    PLAIN_ISH,
)
@example("http://h.example/", "a/b.html?c=d")
def test_plain_references_are_joined_as_they_would_be_parsed(prefix: str, rest: str) -> None:
    assert urls.is_plain_prefix(prefix)
    joined = urls.join_plain(prefix, rest)
    assert joined is None or joined == canonicalize(rest, prefix)


def test_what_is_joined_plainly() -> None:
    assert urls.join_plain("http://h.example/d/", "a/b-c_1.html") == "http://h.example/d/a/b-c_1.html"
    assert urls.join_plain("http://h.example/d/", "") == "http://h.example/d/"
    assert urls.join_plain("http://h.example/d/", "a?d=e&b=c") == "http://h.example/d/a?b=c&d=e"
    assert urls.join_plain("http://h.example/d/", "a_(b),c") == "http://h.example/d/a_(b),c"
    for rest in (
        "../a",
        "a?b",
        "a?b=%41",
        "a?b=c+d",
        "%41",
        "a b",
        "mailto:x",
        "//k.example",
        "a//b",
        "a/./b",
        "a/..",
        ".",
        "a#",
    ):
        assert urls.join_plain("http://h.example/d/", rest) is None
    for prefix in ("http://h.example/%41/", "http://h.example/a;b/", "http://h.example/a/../", "http://[::1]/"):
        assert not urls.is_plain_prefix(prefix)
