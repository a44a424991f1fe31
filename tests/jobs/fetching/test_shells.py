"""Which pages are rendered: shells as frameworks make them, pages as people make them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.settings import Settings
from jobs.fetching.shells import is_shell, wanted

VITE = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="/vite.svg">
<title>A title that is long enough to count as text</title><script type="module" src="/assets/index.js"></script>
<link rel="stylesheet" href="/assets/index.css"></head><body><div id="root"></div></body></html>"""
CRA = b"""<!doctype html><html><head><script defer="defer" src="/static/js/main.js"></script></head><body><noscript>You
need to enable JavaScript to run this app. <a href="/help">Help</a></noscript><div id="root"></div></body></html>"""
ANGULAR = b"""<html><body><app-root>Loading&nbsp;&hellip;</app-root><script src=runtime.js></script></body></html>"""
INERTIA = b"""<body><div id="app" data-page='{"a":"<a href=/x>","props":{"text":"a long text, but in an attribute > x"}}'>
</div><script>boot()</script>"""
NUXT = b"""<div id=__nuxt><svg><a href=x><text>a spinner with much text to be ignored</text></svg></div><script>window.state=
"<p>much text in a script that goes on and on <a href='/x'>"</script><!-- a comment with <a href=x> and much text -->"""
UNCLOSED = b"<div id=app></div><script>render('text that never ends, for the script is cut off"


@pytest.mark.parametrize("page", [VITE, CRA, ANGULAR, INERTIA, NUXT, UNCLOSED])
def test_shells(page: bytes) -> None:
    assert is_shell(page)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html><body></body></html>",
        b"<div id=root></div><script type='application/ld+json'>{}</script>",
        b"<script>x</script><a href=/x></a>",
        b"<script>x</script><A\nHREF = '/x'><img src=x></A>",
        b"<script>x</script><map><area href=/x></map>",
        b"<script>x</script><p>An ordinary page has a sentence or two of text.",
        b"<script>x</script><meta http-equiv=refresh content='0; url=/x'>",
        b"<script>x</script><frameset><frame src=/x></frameset>",
        b"plain text of some length that is no HTML at all, <script> or not",
        "<script>x</script><p>Страница с обычным текстом, как их много".encode("utf-16"),
    ],
)
def test_no_shells(page: bytes) -> None:
    assert not is_shell(page)


@pytest.mark.parametrize("piece", [b"<", b"<a ", b"<!--", b"<script>", b"<script", b"</script", b"<x '", b'<x "\'', b"<svg>",
                                   b"<x a='>' \"", b"</"])  # fmt: skip
def test_time_is_linear(piece: bytes) -> None:
    """A mebibyte of what makes backtracking costly; a generous bound that quadratic work would miss by far."""
    start = time.process_time()
    is_shell(piece * ((1 << 20) // len(piece)))
    assert time.process_time() - start < 20


@given(
    st.lists(st.sampled_from([b"<", b">", b"'", b'"', b"<script>", b"</script>", b"<!--", b"-->", b"<a href=x>", b"t"]))
)
def test_any_bytes_are_answered(pieces: list[bytes]) -> None:
    assert is_shell(b"".join(pieces)) in (True, False)


def test_rules() -> None:
    settings = Settings()
    settings.browser.hosts = ["App.example", "*.spa.example"]
    settings.browser.urls = [r"/app/\d+"]
    is_wanted = wanted(settings)
    assert is_wanted("http://app.example/", "app.example", True, b"text")
    assert not is_wanted("http://app.example/x.pdf", "app.example", False, b"text")
    assert not is_wanted("http://www.app.example/", "www.app.example", True, b"text")
    assert is_wanted("http://a.b.spa.example/", "a.b.spa.example", True, b"text")
    assert not is_wanted("http://spa.example/", "spa.example", True, b"text")
    assert is_wanted("http://x.example/app/7", "x.example", True, b"text")
    assert is_wanted("http://x.example/", "x.example", True, VITE)
    settings.browser.empty_pages = False
    assert not wanted(settings)("http://x.example/", "x.example", True, VITE)


def test_a_bad_pattern_is_said() -> None:
    settings = Settings()
    settings.browser.urls = ["ok", "(a"]
    with pytest.raises(UsageError, match=r"browser\.urls: \(a: not a regular expression: missing \)"):
        wanted(settings)
