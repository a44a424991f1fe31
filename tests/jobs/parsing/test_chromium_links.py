"""What a real browser without scripts finds in the same markup: `document.links`, base and title.

Needs Chromium (scripts/test.sh installs it where it can): without it these tests fail and say so.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from crawldb.urls import canonicalize
from jobs.fetching.chromium import program

from .reading import URL, read
from .test_links import CASES

pytestmark = pytest.mark.slow

PAGES = [
    *(case.markup for case in CASES if not case.settings),
    "<!DOCTYPE html><html lang=fr><title> Le&nbsp;moulin\n à eau </title><body><nav><a href=/>Accueil</a></nav><h1>Le moulin</h1>"
    "<p>Près de la <a href=riviere>rivière</a>.<div>a<br>b</div><ul><li>x<li>y</ul><pre>1\n2</pre>",
    "<base href=../up/><base href=/no/><a href=a>x</a><base target=_top>",
    "<title>first</title><title>second</title><svg><title>icon</title></svg><a href=/x>x",
    "<p>a<b>b<p>c<i>d</b>e</i><a href=/x>f<a href=/y>g</a></p>h",
    "<table><a href=/x>y<tr><td><a href=/z>w</table><a href='/u?a=1&b=2&amp;c=3&notit;=4&not=5'>v</a>",
    "<a href=/one><a href=/two></a><a></a><area href=/three><map><area href=/four nohref></map>",
    "<body><a href=/a>" + "<div>" * 200 + "<a href=/b>x" + "</div>" * 200 + "<a href=/c>",
    "\0<a href='/nul'>\0x</a>&#0;<a href='/&#128;&#x80;'>y</a><a href=&quot;/q&quot;>z</a>",
    "<!-- a -- > <a href=/no> --><a href=/x><!-- --!><a href=/y><![CDATA[ <a href=/z> ]]><?php <a href=/w> ?>",
    "<script><!-- <script> </script> --> <a href=/no></script><a href=/x>x<xmp><a href=/no></xmp><a href=/y>y",
    "<textarea><a href=/no></textarea><select><a href=/x>x</a><option>y</select><button><a href=/z>z</a></button>",
    "<a href='  /x  '>x</a><a href='\t/y\n'>y</a><a href='/z z'>z</a><a href='//'>w</a><a href='http://:80/'>v</a>",
    "<p><a href=/x class=a id=b href=/no>x</a></p><a\nhref\n=\n/y\n>y</a><a HREF=/z/ />z</a>",
    "<a href=/x" + " a=b" * 300 + ">x</a><a href=/" + "y" * 1000 + ">y</a>",
    "<ul><li><a href=/1>1</a><ul><li><a href=/2>2</a></ul><li><a href=/3>3</a></ul><dl><dt><a href=/4>4</a><dd><a href=/5>5",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(""),
            args=["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )
        page = browser.new_context(java_script_enabled=False).new_page()
        yield page
        browser.close()


def shown(browser_page: Any, markup: str) -> Any:
    body = markup.encode()

    def answer(route: Any) -> None:
        if route.request.url == URL:
            route.fulfill(body=body, content_type="text/html; charset=utf-8")
        else:
            route.abort()

    browser_page.route("**/*", answer)
    browser_page.goto(URL, wait_until="commit")
    browser_page.wait_for_function("document.readyState !== 'loading'")
    return browser_page.evaluate(
        "() => ({links: [...document.links].filter(a => a.protocol.startsWith('http')).map(a => a.href), base: document.baseURI,"
        " title: document.title, text: document.body ? document.body.innerText : ''})"
    )


# With a base that is no URL, Chromium resolves nothing; the standard takes the page's own URL instead, and so do we
COMPARED = [markup for markup in PAGES if "refresh" not in markup and "//[bad" not in markup]


@pytest.mark.parametrize("markup", COMPARED, ids=lambda markup: markup[:40])
def test_links_are_the_browsers(browser_page: Any, markup: str) -> None:
    browsers = shown(browser_page, markup)
    ours = read(markup, "text/html; charset=utf-8", "parse.links=a,area", "parse.nofollow=false")
    expected = {canonicalize(href) for href in browsers["links"]} - {None, URL}
    # SVG's links are no members of document.links
    drawn = {"http://h.example/b"} if markup.startswith("<svg><a") else set()
    assert {link.url for link in ours.outlinks} == expected | drawn
    assert (ours.title or "") == browsers["title"].replace("\xa0", " ").strip()


TEXTS = [
    "<p>a<p>b</p>c<div>d<div>e</div>f</div>g",
    "<h1>a</h1>b<br>c<hr>d",
    "<ul><li>a<li>b<ul><li>c</ul></ul>d",
    "<dl><dt>a<dd>b</dl><blockquote>c</blockquote><address>d</address>",
    "a <b>b</b> <i>c</i>d\n\n e&nbsp;f",
    "<section>a</section><article>b</article><nav>c</nav><main>d</main><footer>e</footer><figure>f<figcaption>g</figcaption></figure>",
    "<pre>a\n  b</pre>c",
    "a<script>no</script><style>no</style><template>no</template>b",
    "a<noscript>b</noscript>",
    "<table><caption>t</caption><tr><td>a<td>b<tr><th>c<th>d</table>e",
    "<form>a<fieldset><legend>l</legend>b</fieldset></form>c",
    "<details open><summary>s</summary>d</details><center>c</center>",
    "&lt;p&gt; &amp; &eacute; &#128; &notin; &hellip;",
    "<p>one<span>two</span><a href=x>three</a></p><p></p><p> </p><p>four</p>",
]


@pytest.mark.parametrize("markup", TEXTS)
def test_lines_are_the_browsers(browser_page: Any, markup: str) -> None:
    seen = shown(browser_page, markup)["text"]
    lines = [" ".join(line.split()) for line in seen.splitlines()]
    expected = [line for line in lines if line]
    if "noscript" in markup:  # the text is for readers whose browser runs scripts
        expected = ["a"]
    assert (read(markup).text or "").split("\n") == expected


def test_no_text_is_made_up_or_lost(browser_page: Any) -> None:
    for markup in PAGES:
        if any(
            tag in markup
            for tag in ("<noscript", "<iframe", "<frameset", "<textarea", "<svg", "refresh", "<select", "<picture")
        ):
            continue
        seen = shown(browser_page, markup)["text"]
        ours = read(markup).text or ""
        assert letters(ours) == letters(seen), markup


def letters(text: str) -> Counter[str]:
    return Counter(c for c in text if unicodedata.category(c)[0] not in "ZC")
