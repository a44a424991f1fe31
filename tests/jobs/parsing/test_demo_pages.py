"""Every page of the demo site, against what the site declares of it."""

from __future__ import annotations

from crawldb.urls import canonicalize
from jobs.demo.site import Resource
from jobs.demo.web import demo_site
from jobs.parsing import Page, PageParser
from jobs.parsing.charset import known

from .reading import make_settings


def test_titles_charsets_directives_and_links_of_all_pages() -> None:
    parser = PageParser(make_settings("parse.max_links=0"))
    pages = {
        url: answer
        for url, answer in demo_site(8000).pages.items()
        if answer.status == 200 and (answer.content_type or "").startswith(("text/html", "application/xhtml"))
    }
    assert len(pages) > 200
    for url, answer in pages.items():
        _check(parser, url, answer)


def _check(parser: PageParser, url: str, answer: Resource) -> None:
    host = url.split("/")[2].partition(":")[0]
    headers = [("Content-Type", answer.content_type or ""), *answer.headers]
    document = parser.parse(Page(url, host, 0, answer.body, answer.content_type, headers, False))
    assert document.parse_status == "parsed", url
    assert document.title == answer.title, url
    assert (document.noindex, document.nofollow) == (answer.noindex, answer.nofollow), url
    assert document.canonical_url == (canonicalize(answer.canonical, url) if answer.canonical else None), url
    if answer.charset and document.charset:
        # ASCII pages are UTF-8 and whatever else they say
        assert document.charset == known(answer.charset) or answer.body.isascii(), url
    follow = [link for link in answer.links if link.target and not link.nofollow and not answer.nofollow]
    links = {link.url for link in document.outlinks if link.kind == "link"}
    refresh = {link.url for link in document.outlinks if link.kind == "refresh"}
    expected = {link.target for link in follow} - {url}
    assert refresh == ({answer.refresh.target} if answer.refresh and answer.refresh.target else set()), url
    assert links == expected - refresh, url
