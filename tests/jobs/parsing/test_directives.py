"""Robots directives and refresh values, in the spellings that are met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.parsing.directives import directives, refresh_target


@pytest.mark.parametrize(
    ("metas", "expected"),
    [
        ([], ""),
        ([("robots", "noindex")], "I"),
        ([("robots", "NOINDEX,NoFollow")], "IF"),
        ([("robots", "noindex , nofollow")], "IF"),
        ([("robots", "none")], "IF"),
        ([("robots", "index, follow")], ""),
        ([("robots", "all")], ""),
        ([("robots", "nofollow"), ("robots", "noindex")], "IF"),
        ([("robots", "noindex"), ("robots", "index")], "I"),
        ([("cobnut", "nofollow")], "F"),
        ([("googlebot", "noindex")], ""),
        ([("robots", "nofollowing")], ""),
        ([("description", "noindex")], ""),
        ([("robots", "max-snippet:20, nofollow")], "F"),
    ],
)
def test_meta(metas: list[tuple[str, str]], expected: str) -> None:
    noindex, nofollow = directives(metas, [], "cobnut")
    assert "I" * noindex + "F" * nofollow == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["noindex"], "I"),
        (["NoIndex, NoFollow"], "IF"),
        (["none"], "IF"),
        (["noindex", "nofollow"], "IF"),
        (["cobnut: noindex"], "I"),
        (["Cobnut: none"], "IF"),
        (["otherbot: noindex"], ""),
        (["otherbot: noindex, nofollow"], ""),
        (["otherbot: noindex, cobnut: nofollow"], "F"),
        (["nofollow, otherbot: noindex"], "F"),
        (["*: noindex"], "I"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], ""),
        (["max-snippet: 20, noindex"], "I"),
        (["otherbot: max-snippet: 20, noindex"], ""),
        ([""], ""),
        ([",:,:"], ""),
    ],
)
def test_header(values: list[str], expected: str) -> None:
    headers = [("X-Robots-Tag", value) for value in values] + [("Server", "noindex")]
    noindex, nofollow = directives([], headers, "cobnut")
    assert "I" * noindex + "F" * nofollow == expected


def test_without_an_agent_name_an_empty_name_does_not_mean_us() -> None:
    assert directives([("", "noindex")], [("x-robots-tag", ": nofollow")], "") == (False, False)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("0;url=/b", "/b"),
        ("0; URL=/b", "/b"),
        ("5 ; Url = /b", "/b"),
        ("0;url='/b'", "/b"),
        ('0;url="/b" trailing', "/b"),
        ("0;url='/b", "/b"),
        ("0,url=/b", "/b"),
        ("0 url=/b", "/b"),
        ("0;/b", "/b"),
        ("0 /b", "/b"),
        ("0;'/b'", "/b"),
        ("  3.5;\n url=/b ", "/b"),
        (".5;url=/b", "/b"),
        ("0;url=/b;c", "/b;c"),
        ("0;url=/b?a=1,2", "/b?a=1,2"),
        ("0;url=url=x", "url=x"),
        ("0;urls/x", "urls/x"),
        ("0;;url=/b", ";url=/b"),
        ("0", None),
        ("30;", None),
        ("30; url=", None),
        ("0;url=''", None),
        ("url=/b", None),
        ("now;url=/b", None),
        ("-1;url=/b", None),
        ("0url=/b", None),
        ("", None),
    ],
)
def test_refresh(value: str, target: str | None) -> None:
    assert refresh_target(value) == target


@pytest.mark.parametrize("value", ["1" * 200_000, "0 " + " " * 200_000, "0" + ";" * 200_000, "." * 200_000 + "x"])
def test_long_refresh_values_take_linear_time(value: str) -> None:
    assert "url=" not in (refresh_target(value) or "")


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_a_value(name: str, value: str) -> None:
    refresh_target(value)
    assert isinstance(directives([(name, value), ("robots", value)], [("X-Robots-Tag", value)], name).noindex, bool)
