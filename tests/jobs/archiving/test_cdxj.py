"""Keys are those of the surt library, which pywb looks up by; lines can be read back."""

from __future__ import annotations

import json
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb.urls import canonicalize
from jobs.archiving import cdxj

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import surt

URLS = [
    "http://example.com/", "https://www.example.com/A/B/?b=2&a=1", "http://www2.Example.COM:8080/x/", "http://10.0.0.1/x",
    "https://example.com:443/", "http://example.com/a?PHPSESSID=0123456789abcdef0123&x=1", "http://example.com/?sid=" + "a1" * 16,
    "http://example.com/x;jsessionid=0123456789abcdef0123456789abcdef", "http://a.b.c.example.com//x//y/", "http://example.com/?",
    "http://example.com/%C3%A4?q=%20", "http://www.com/", "http://example.com/a?&b", "http://example.com/x?a=1&a=0&A=2",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_the_key_is_surts(url: str) -> None:
    canonical = canonicalize(url)
    assert canonical is not None
    assert cdxj.surt(canonical) == surt.surt(canonical)


@given(
    st.sampled_from(["http", "https"]), st.from_regex(r"(www[0-9]?\.)?[a-z0-9]{1,5}(\.[a-z]{2,3}){1,2}(:[1-9][0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"(/[A-Za-z0-9._~!$()*+,;=:@-]{0,6}){0,4}", fullmatch=True),
    st.from_regex(r"(\?[A-Za-z0-9=&._-]{0,20}(%[2-7][0-9A-F])?)?", fullmatch=True),
)  # fmt: skip
@settings(max_examples=60)
def test_the_key_is_surts_for_any_url(scheme: str, host: str, path: str, query: str) -> None:
    canonical = canonicalize(f"{scheme}://{host}{path}{query}")
    if canonical is not None:
        assert cdxj.surt(canonical) == surt.surt(canonical)


def test_a_line_is_read_back() -> None:
    values = {"mime": "text/html", "status": "200", "offset": "5"}
    line = cdxj.line("https://a.example/x?b=1&a=2", "2026-11-24T10:15:00.123Z", values)
    assert cdxj.read(line) == (
        "example,a)/x?a=2&b=1",
        "20261124101500",
        {"url": "https://a.example/x?b=1&a=2", **values},
    )
    assert json.loads(line.split(" ", 2)[2])["mime"] == "text/html"


def test_what_is_no_line_is_refused() -> None:
    for line in ("", "a 1", "a 1 x", "a 1 " + "[" * 30_000):
        with pytest.raises(ValueError):  # noqa: PT011
            cdxj.read(line)
