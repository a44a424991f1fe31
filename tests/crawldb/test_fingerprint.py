"""The fingerprint against Scrapy's own, and against a golden file that must never change."""

from __future__ import annotations

import doctest
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import scrapy
from hypothesis import given, settings
from hypothesis import strategies as st
from scrapy.utils.request import fingerprint as scrapy_fingerprint

from crawldb import fingerprint as module
from crawldb.fingerprint import fingerprint, plain_fingerprints, url_fingerprint
from crawldb.urls import canonicalize

# One object a line: what a seed or link says ("given"), its canonical URL, the rest of the request, the key. These
# are the keys of crawls on disk: a line may be added, none may change.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "fingerprints.json").read_text("utf-8"))


def scrapys(
    url: str, method: str | None = None, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    request = scrapy.Request(url, method=method or "GET", body=body or b"", headers=headers or {})
    return scrapy_fingerprint(request, include_headers=list(headers) if headers else None)


@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: line["fingerprint"][:8])
def test_golden_file(line: dict[str, Any]) -> None:
    body = None if line["body"] is None else bytes.fromhex(line["body"])
    assert canonicalize(line["given"]) == line["url"]
    assert fingerprint(line["url"], line["method"], body, line["headers"]).hex() == line["fingerprint"]
    assert scrapys(line["url"], line["method"], body, line["headers"]).hex() == line["fingerprint"]


def test_no_two_requests_of_the_golden_file_are_one() -> None:
    keys = [(line["url"], (line["method"] or "GET").upper(), line["body"] or "", line["headers"]) for line in GOLDEN]
    headers = [sorted((name.lower(), value) for name, value in (key[3] or {}).items()) for key in keys]
    distinct = {repr((*key[:3], values)) for key, values in zip(keys, headers, strict=True)}
    assert len({line["fingerprint"] for line in GOLDEN}) == len(distinct)


def everyday_urls(count: int) -> Iterator[str]:
    """URLs as links on the web have them, the untidy ones included."""
    choose = random.Random(1)
    words = ["news", "2024", "05", "über-uns", "product", "item_12", "a.b", "Index.PHP", "wiki", "Caf%C3%A9", "%7Ejoe"]
    words += [
        "web crawler",
        "page,1",
        "(disambiguation)",
        "C++",
        "50%",
        "R&D",
        "a;jsessionid=0A",
        "it's",
        "[x]",
        "a|b",
        "日本",
    ]
    keys = ["id", "q", "page", "utm_source", "utm_medium", "sort", "ids[]", "filter[name]", "a-b", "_", "Ü"]
    values = [
        "",
        "1",
        "20",
        "news letter",
        "a+b",
        "a%20b",
        "x,y",
        "http://example.com/?a=b",
        "größe",
        "%E9",
        "12:30",
        "{}",
    ]
    for _ in range(count):
        host = choose.choice(
            ["example.com", "www.Example.org", "bücher.example", "127.0.0.1:8080", "a.b-c.example:443"]
        )
        path = "".join(f"/{choose.choice(words)}" for _ in range(choose.randrange(6)))
        fields = [
            choose.choice(keys) + choose.choice(["=", "=", "=", ""]) + choose.choice(values)
            for _ in range(choose.choice([0, 0, 1, 2, 3, 5]))
        ]
        query = choose.choice(["?", "?"]) + "&".join(fields) if fields else choose.choice(["", "", "?"])
        yield f"{choose.choice(['http', 'https'])}://{host}{path}{choose.choice(['', '/'])}{query}{choose.choice(['', '#top'])}"


def test_scrapys_fingerprint_on_thousands_of_everyday_urls() -> None:
    choose = random.Random(2)
    compared = set()
    for given_url in everyday_urls(4000):
        url = canonicalize(given_url)
        assert url is not None, given_url
        assert url_fingerprint(url) == fingerprint(url) == scrapys(url), given_url
        compared.add(url)
        method = choose.choice(["POST", "PUT", "HEAD", "get"])
        body = choose.choice([None, b"", b"a=b", choose.randbytes(20)])
        headers = choose.choice([None, {}, {"Accept": "text/html"}, {"x-b": "1", "Accept-Language": "de, en;q=0.5"}])
        assert fingerprint(url, method, body, headers) == scrapys(url, method, body, headers)
    assert len(compared) > 3000


header_names = st.text("!#$%&'*+-.^_`|~0189abyzABYZ", min_size=1, max_size=8)
requests = st.tuples(
    st.text(max_size=20).map(lambda text: canonicalize("http://example.com/" + text)).filter(bool)
    | st.sampled_from(['http://a"b.example/', "http://{`}.example/?a=%22"]),
    st.none() | st.sampled_from(["GET", "get", "POST", "pOsT", "PATCH", "X-Y"]),
    st.none() | st.binary(max_size=20),
    st.none() | st.dictionaries(header_names, st.text(max_size=8), max_size=3),
)


@settings(max_examples=400)
@given(requests)
def test_scrapys_fingerprint_of_any_request(
    request: tuple[str, str | None, bytes | None, dict[str, str] | None],
) -> None:
    assert fingerprint(*request) == scrapys(*request)


@settings(max_examples=300)
@given(requests, requests)
def test_different_requests_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    def meaning(request: tuple[Any, ...]) -> tuple[Any, ...]:
        url, method, body, headers = request
        values: dict[str, list[str]] = {}
        for name, value in (headers or {}).items():
            values.setdefault(name.lower(), []).append(value)
        return url, (method or "GET").upper(), body or b"", values

    assert (fingerprint(*one) == fingerprint(*other)) == (meaning(one) == meaning(other))


def test_what_may_be_left_out() -> None:
    url = "http://example.com/"
    assert fingerprint(url) == fingerprint(url, "GET", b"", {}) == fingerprint(url, "get", None, None)
    assert len(fingerprint(url, "POST", b"x")) == 20
    assert fingerprint(url, headers={"A": "1", "a": "2"}) != fingerprint(url, headers={"a": "2"})
    assert fingerprint(url, headers={"A": "\ud800"}) != fingerprint(url, headers={"A": "\ud801"})


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_column_of_plain_urls_has_the_fingerprints_of_its_urls() -> None:
    urls = [f"https://www.example{n}.org/a-b/c_{n}.html" for n in range(50)]
    assert plain_fingerprints(pa.array(urls)) == [url_fingerprint(url) for url in urls]
