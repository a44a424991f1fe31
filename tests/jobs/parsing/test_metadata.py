"""What pages say of themselves: description, dates, Open Graph, JSON-LD."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from .reading import read


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


def ld(**fields: object) -> str:
    return f'<script type="application/ld+json">{json.dumps({"@context": "https://schema.org", **fields})}</script>'


@pytest.mark.parametrize(
    ("markup", "description"),
    [
        ("<meta name=Description content='  What\n it is '>", "What it is"),
        ("<meta property=og:description content=b><meta name=description content=a>", "a"),
        ("<meta name=description content=''><meta property='og:description' content=b>", "b"),
        ("<meta name=twitter:description content=c>", "c"),
        ("<meta name=description content=a><meta name=description content=b>", "a"),
        (f"<meta name=description content={'x' * 3000}>", "x" * 2000),
        ("<template><meta name=description content=no></template>", None),
        ("<p>none", None),
    ],
)
def test_description(markup: str, description: str | None) -> None:
    assert read(markup).description == description


@pytest.mark.parametrize(
    ("markup", "published", "modified"),
    [
        ("<meta property=article:published_time content=2024-05-01><meta property=article:modified_time content=2024-05-02>",
         "2024-05-01", "2024-05-02"),
        ("<meta property=og:updated_time content=2024-05-02T00:00:00Z>", None, "2024-05-02"),
        (ld(datePublished="2024-05-01", dateModified="2024-05-02"), "2024-05-01", "2024-05-02"),
        (ld(**{"@graph": [{"@type": "WebSite"}, {"@type": "Article", "datePublished": "2024-05-01"}]}), "2024-05-01", None),
        ('<script type="APPLICATION/LD+JSON; charset=utf-8">[{"datePublished": "2024-05-01"}]</script>', "2024-05-01", None),
        (ld(comment=[{"datePublished": "2020-01-01"}]), None, None),
        (ld(datePublished=20240501), None, None),
        ('<script type="application/ld+json">{"datePublished": "2024-05-01",}</script>', None, None),
        ("<script>var no = {'datePublished': '2024-05-01'}</script>", None, None),
        ("<time pubdate datetime=2024-05-01>1 May</time>", "2024-05-01", None),
        ("<p><time pubdate>2024-05-01</time> <time>2020-01-01</time>", "2024-05-01", None),
        ("<time datetime=2024-05-01>no</time>", None, None),
        ("<time itemprop='dateModified datePublished' datetime=2024-05-01>x</time>", "2024-05-01", "2024-05-01"),
        ("<meta itemprop=datePublished content='Wed, 01 May 2024 00:00:00 GMT'>", "2024-05-01", None),
        ("<meta name=DC.date.issued content=2024-05-01>", "2024-05-01", None),
        ("<meta name=dcterms.modified content=2024-05-01>", None, "2024-05-01"),
        ("<meta name=date content=2024-05-01>", "2024-05-01", None),
        ("<meta http-equiv=Last-Modified content='Wed, 01 May 2024 00:00:00 GMT'>", None, "2024-05-01"),
        # The most trusted that can be read, wherever it stands
        ("<meta name=date content=2020-01-01><meta property=article:published_time content=2024-05-01>", "2024-05-01", None),
        ("<meta property=article:published_time content=tomorrow><meta name=date content=2024-05-01>", "2024-05-01", None),
        ("<template><time pubdate datetime=2024-05-01></time></template>", None, None),
    ],
)  # fmt: skip
def test_dates(markup: str, published: str | None, modified: str | None) -> None:
    document = read(f"<title>t</title>{markup}")
    assert document.published_at == (ms(published) if published else None)
    assert document.modified_at == (ms(modified) if modified else None)


def test_metadata_is_a_map_of_the_first_of_each_name() -> None:
    document = read(
        "<meta property='og:title' content=' The\n title '><meta property='OG:image' content=/a><meta property=og:image content=/b>"
        "<meta name=twitter:card content=summary><meta name=author content='A. B.'><meta name=viewport content=width>"
        "<meta name=csrf-token content=x><meta charset=utf-8><meta name=empty content=' '><meta content=nameless>"
        "<meta name=description content=d><meta property='article:tag og:tag' content=two>"
    )
    assert document.metadata == {
        "og:title": "The title", "og:image": "/a", "twitter:card": "summary", "author": "A. B.",
        "article:tag": "two", "og:tag": "two",
    }  # fmt: skip
    assert read("<p>nothing").metadata is None


def test_metadata_is_bounded() -> None:
    document = read(
        "".join(f"<meta name=n{n} content={'v' * 2000}>" for n in range(300)) + f"<meta name={'m' * 101} content=x>"
    )
    assert document.metadata is not None
    assert list(document.metadata) == [f"n{n}" for n in range(100)]
    assert {len(value) for value in document.metadata.values()} == {1000}


def test_json_ld_is_kept_as_it_stands() -> None:
    markup = ld(name="<b>&amp; 1 < 2</b>") + "<script type=application/ld+json> {broken </script>" + ld(x=1)
    document = read("<body>" + markup + "<p>text<script type=application/json>{}</script>")
    assert document.json_ld == [
        '{"@context": "https://schema.org", "name": "<b>&amp; 1 < 2</b>"}', "{broken", '{"@context": "https://schema.org", "x": 1}',
    ]  # fmt: skip
    assert document.text == "text"
    assert read("<template>" + ld(x=1) + "</template>").json_ld is None


def test_json_ld_is_bounded() -> None:
    document = read(ld(x="y" * 100) + ld(x="z") + ld(), "text/html", "parse.max_json_ld=100")
    assert document.json_ld == [
        '{"@context": "https://schema.org", "x": "z"}',
        '{"@context": "https://schema.org"}',
    ]
    assert read(ld(), "text/html", "parse.max_json_ld=0").json_ld is None
    assert len(read(ld() * 50).json_ld or []) == 20
    nested = '{"date' + "[" * 50_000
    deep = read(f'<script type="application/ld+json">{nested}</script><p>on', "text/html", "parse.max_json_ld=100000")
    assert (deep.text, deep.json_ld) == ("on", [nested])
