"""The filters: one contract for all, then what each refuses, then the user's mistakes in its file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import urlfilters
from crawldb.errors import UsageError
from crawldb.settings import Settings, load
from crawldb.urlfilters import URL_FILTERS, Link, build, keep, read_rules
from crawldb.urls import canonicalize, host_of

Make = Callable[..., Settings]

LISTS = {
    "regex_file": "-\\.gif$\n+^https?://([a-z]+\\.)*example\\.com/\n",
    "domain_file": "example.com\n127.0.0.1\n",
    "suffix_file": ".gif\n",
    "prefix_file": "http://example.com/docs/\n",
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Settings of `[filter]`; what names a file is given as the file's text."""

    def make(**values: object) -> Settings:
        settings = Settings()
        for key, value in values.items():
            if key.endswith("_file"):
                file = tmp_path / f"{key}.txt"
                file.write_bytes(value if isinstance(value, bytes) else str(value).encode())
                value = str(file)
            setattr(settings.filter, key, value)
        return settings

    return make


def link(url: str, source_host: str | None = "example.com", depth: int = 1) -> Link:
    assert canonicalize(url) == url
    return Link(url, host_of(url), source_host, depth)


LINKS = [
    link("http://example.com/"),
    link("http://example.com/docs/a.gif"),
    link("http://example.com/docs/" + "a" * 3000),
    link("http://www.example.com/docs/?b=c"),
    link("http://example.org/", depth=9),
    link("http://example.org/", source_host=None, depth=0),
    link("http://localhost/", source_host="127.0.0.1"),
    link("http://127.0.0.1:8080/a/", source_host="127.0.0.1"),
    link("http://[::1]/x.GIF"),
    link('http://a"b.example/', source_host="co.uk", depth=32767),
    link("http://example.com/" + "/".join("abcdefghijklmnopqrstuv")),
    link("http://example.com/a/b/a/b/a"),
    link("http://example.com/?" + "&".join(f"{letter}=" for letter in "abcdefghijklmnopqrstuv")),
    link("http://example.com/a;jsessionid=0123456789ABCDEF"),
    link("http://example.com/calendar/2190/05/"),
]


@pytest.mark.parametrize("name", URL_FILTERS)
def test_contract(name: str, make: Make) -> None:
    """A member is pure, answers None or one word that begins with its name, and does the same when built alone."""
    settings = make(use=[name], scope="host", max_depth=3, **LISTS)
    member = URL_FILTERS[name](settings)
    answers = [member(each) for each in LINKS]
    assert set(answers) - {None}, "refuses something"
    assert None in answers
    for answer in answers:
        assert answer is None or re.fullmatch(f"{name}(:[a-z0-9]+)?", answer)
    assert [member(each) for each in reversed(LINKS)] == answers[::-1]
    assert [build(settings)(each) for each in LINKS] == answers
    assert URL_FILTERS[name].__doc__


def test_the_first_refusal_is_the_reason(make: Make) -> None:
    far = link("http://example.org/" + "a" * 3000, depth=9)
    settings = make(use=["depth", "scope", "length"], scope="host", max_depth=3)
    assert build(settings)(far) == "depth"
    settings.filter.use = ["length", "scope", "depth"]
    assert build(settings)(far) == "length"
    assert build(settings)(far._replace(url="http://example.org/")) == "scope"
    assert build(settings)(link("http://example.com/")) is None


def test_filters_that_refuse_nothing_are_left_out(make: Make) -> None:
    assert URL_FILTERS["scope"](make(scope="any")) is keep
    assert URL_FILTERS["depth"](make(max_depth=0)) is keep
    nothing = build(make(use=["scope", "depth"]))
    assert [nothing(each) for each in LINKS] == [None] * len(LINKS)
    assert build(make(use=[]))(LINKS[0]) is keep(LINKS[0]) is None


def refuse_org(settings: Settings) -> Callable[[Link], str | None]:
    return lambda each: "org" if each.host.endswith(".org") else None


def test_a_filter_from_outside(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawldb.urlfilters.refuse_org", refuse_org, raising=False)
    member = build(make(use=["length", "crawldb.urlfilters:refuse_org"]))
    assert member(link("http://example.org/")) == "org"
    assert member(link("http://example.com/")) is None
    with pytest.raises(UsageError, match=r"filter\.use = regexp: unknown; did you mean regex\?"):
        build(make(use=["regexp"]))


@pytest.mark.parametrize(
    ("scope", "url", "source_host", "reason"),
    [
        ("host", "http://example.com:8080/", "example.com", None),
        ("host", "https://www.example.com/", "example.com", "scope"),
        ("domain", "https://www.example.com/", "example.com", None),
        ("domain", "https://a.example.com/", "b.c.example.com", None),
        ("domain", "https://example.org/", "example.com", "scope"),
        ("domain", "https://b.co.uk/", "a.co.uk", "scope"),
        ("domain", "http://127.0.0.2/", "127.0.0.1", "scope"),
        ("any", "http://127.0.0.2/", "127.0.0.1", None),
        ("host", "http://example.com/", None, None),
        ("domain", "http://example.com/", None, None),
    ],
)
def test_scope(scope: str, url: str, source_host: str | None, reason: str | None, make: Make) -> None:
    assert URL_FILTERS["scope"](make(scope=scope))(link(url, source_host)) == reason


def test_depth_and_length_at_their_limits(make: Make) -> None:
    member = build(make(use=["length", "depth"], max_depth=2, max_url_length=20))
    assert member(link("http://example.com/a", depth=2)) is None
    assert member(link("http://example.com/ab", depth=2)) == "length"
    assert member(link("http://example.com/a", depth=3)) == "depth"
    assert member(link("http://example.com/a", source_host=None, depth=3)) is None


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", None),
        ("/a/b/c", None),
        ("/a/b/c/", None),
        ("/a/b/c/d", "path_depth"),
        ("/a/b/c/d/", "path_depth"),
        ("/a//b/c", "path_depth"),
        ("/a?b=%2Fc%2Fd%2Fe%2Ff%2Fg", None),
    ],
)
def test_path_depth(path: str, reason: str | None, make: Make) -> None:
    assert URL_FILTERS["path_depth"](make(max_path_depth=3))(link(f"https://example.com{path}")) == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/a/a/", None),
        ("http://example.com/a/a/a", "repeated_segments"),
        ("http://example.com/a/b/a/b/a/b/", "repeated_segments"),
        ("http://example.com/x/a/b/c/a/b/c/a", "repeated_segments"),
        ("http://example.com/a/a/b/b/c/c/d/d", None),
        ("http://example.com/a/aa/aaa/", None),
        ("http://a/a/b/a/", None),
        ("http://example.com/a//b//c//d", None),
        ("http://example.com/?a=%2Fb%2Fb%2Fb%2F", None),
    ],
)
def test_repeated_segments(url: str, reason: str | None, make: Make) -> None:
    assert URL_FILTERS["repeated_segments"](make(max_repeated_segments=2))(link(url)) == reason


@given(st.lists(st.sampled_from("abc"), max_size=8), st.integers(1, 4))
def test_segments_are_counted_whole(segments: list[str], most: int) -> None:
    settings = Settings()
    settings.filter.max_repeated_segments = most
    refused = URL_FILTERS["repeated_segments"](settings)(link("http://a/" + "/".join(segments))) is not None
    assert refused == any(segments.count(segment) > most for segment in "abc")


def test_query_parameters(make: Make) -> None:
    member = URL_FILTERS["query_parameters"](make(max_query_parameters=2))
    assert member(link("http://example.com/a&b&c&d")) is None
    assert member(link("http://example.com/?a=1&b=2")) is None
    assert member(link("http://example.com/?a=1&b=2&c=3")) == "query_parameters"


def test_calendars_move_with_the_years(make: Make) -> None:
    year = datetime.now(timezone.utc).year
    member = URL_FILTERS["trap_calendar"](make(calendar_years=2))
    answers = [member(link(f"http://example.com/calendar/{year + ahead}/05/")) for ahead in range(-4, 5)]
    trap = "trap_calendar"
    assert answers == [trap, trap, None, None, None, None, None, trap, trap]


LINKS_ALONE = ["scope", "depth", "path_depth", "repeated_segments", "query_parameters", "trap_session", "trap_calendar"]


@pytest.mark.parametrize("name", LINKS_ALONE)
def test_a_seed_is_somebodys_wish(name: str, make: Make) -> None:
    settings = make(use=[name], scope="host", max_depth=3)
    seeds = [each._replace(source_host=None) for each in LINKS]
    assert {build(settings)(each) for each in seeds} == {None}
    wanted = urlfilters.certainly_wanted(settings)
    assert wanted is not None
    assert wanted(pa.array([each.url for each in seeds])).all()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("path_depth", "max_path_depth"),
        ("repeated_segments", "max_repeated_segments"),
        ("query_parameters", "max_query_parameters"),
        ("trap_calendar", "calendar_years"),
    ],
)
def test_no_limit(name: str, setting: str, make: Make) -> None:
    assert URL_FILTERS[name](make(**{setting: 0})) is keep


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("example.com", None),
        ("a.b.example.com", None),
        ("example.com.", None),
        ("notexample.com", "domain"),
        ("docs.example.org", None),
        ("example.org", "domain"),
        ("v2.docs.example.org", "domain"),
        ("anything.example.ac.uk", None),
        ("ac.uk", None),
        ("example.co.uk", "domain"),
        ("example.museum", None),
        ("xn--bcher-kva.example", None),
        ("127.0.0.1", None),
        ("127.0.0.2", "domain"),
        ("[::1]", None),
        ("1.127.0.0.1.example", "domain"),
    ],
)
def test_domain(host: str, reason: str | None, make: Make) -> None:
    names = "# mine\n\nexample.com\n  docs.EXAMPLE.org\r\nac.uk\n.museum\nBücher.example\n127.0.0.1\n[0::1]\n"
    assert URL_FILTERS["domain"](make(domain_file=names))(Link(f"http://{host}/", host, None, 0)) == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/a.jpg", "suffix"),
        ("http://example.com/a.JPG?b=c", "suffix"),
        ("http://example.com/a?b=c.jpg", None),
        ("http://example.com/a.jpg/", None),
        ("http://example.com/a.jpeg", None),
        ("http://example.com/a.tar.gz", "suffix"),
        ("http://example.com/a.gz", None),
        ("http://example.com/calendar/", "suffix"),
        ("http://example.com/", None),
    ],
)
def test_suffix(url: str, reason: str | None, make: Make) -> None:
    assert URL_FILTERS["suffix"](make(suffix_file="# images\n.jpg\n\n.tar.GZ\n/calendar/\n"))(link(url)) == reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/docs/", None),
        ("http://example.com/docs/a?b=c", None),
        ("http://example.com/doc", "prefix"),
        ("https://example.com/docs/", "prefix"),
        ("https://example.org/", None),
        ("http://example.org/", "prefix"),
    ],
)
def test_prefix(url: str, reason: str | None, make: Make) -> None:
    prefixes = "http://example.com/docs/\n# all of that one\n\nhttps://example.org\n"
    assert URL_FILTERS["prefix"](make(prefix_file=prefixes))(link(url)) == reason


def test_the_first_rule_that_matches_decides(make: Make) -> None:
    rules = (
        "# a comment\n\n+/keep/.*\\.gif$\n-\\.(gif|jpg)$\n \t \n  # indented\n-[?&]session=\n+^http://example\\.com/\n"
    )
    member = URL_FILTERS["regex"](make(regex_file="\ufeff" + rules.replace("\n", "\r\n")))
    assert member(link("http://example.com/a")) is None
    assert member(link("http://example.com/a.gif")) == "regex:4"
    assert member(link("http://example.com/keep/a.gif")) is None
    assert member(link("http://example.com/?a=b&session=1")) == "regex:7"
    assert member(link("http://example.org/")) == "regex:none"
    assert URL_FILTERS["regex"](make(regex_file=""))(LINKS[0]) == "regex:none"
    assert URL_FILTERS["regex"](make(regex_file="-"))(LINKS[0]) == "regex:1"


def test_rules_for_one_host_or_domain(make: Make) -> None:
    member = URL_FILTERS["regex"](make(regex_file="> Example.com\n-/private/\n>www.example.org\n-.\n<\n-\\.gif$\n+.\n"))
    assert member(link("http://example.com/private/")) == "regex:2"
    assert member(link("http://www.example.com/private/")) == "regex:2"
    assert member(link("http://www.example.com/")) is None
    assert member(link("http://example.org/private/")) is None
    assert member(link("http://www.example.org/")) == "regex:4"
    assert member(link("http://a.example/b.gif")) == "regex:6"


def test_nutchs_default_rules_mean_what_they_mean_there(make: Make) -> None:
    rules = r"""
-^(file|ftp|mailto):
-\.(gif|GIF|jpg|JPG|zip|ppt)$
-[?*!@=]
-.*(/.+?)/.*?\1/.*?\1/
+.
"""
    member = URL_FILTERS["regex"](make(regex_file=rules))
    assert member(link("http://example.com/a/b/c/d/")) is None
    assert member(link("http://example.com/a.JPG")) == "regex:3"
    assert member(link("http://example.com/?a=b")) == "regex:4"
    assert member(link("http://example.com/a/b/a/c/a/")) == "regex:5"
    # minutes, if the leading ".*" were searched for
    assert member(link("http://example.com/" + "".join(f"{number}/" for number in range(60)))) is None


@given(
    st.lists(st.tuples(st.sampled_from("+-"), st.sampled_from(
        ["a", "^http", "c$", ".*b", "^.*c", "(a)\\1", "(?i)B", "a|.*c", ".", "", "^", ".*", ".*?b", ".+", "[?=]", "\\."]
    )), max_size=6),
    st.text("abc/?=.", max_size=8),
)  # fmt: skip
def test_rules_are_searched_for_one_by_one(rules: list[tuple[str, str]], tail: str) -> None:
    url = f"http://h/{tail}"
    expected = next(
        (
            None if sign == "+" else f"regex:{number}"
            for number, (sign, regex) in enumerate(rules, 1)
            if re.search(regex, url)
        ),
        "regex:none",
    )
    parsed = read_rules("rules", [sign + regex for sign, regex in rules])
    assert next((rule.reason for rule in parsed if rule.matches(url)), "regex:none") == expected


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://example.com/", True),
        ("https://example.com/a/b.html?c=d&e=f", True),
        ("http://example.com/feed.xml", True),
        ("http://example.com/style.css?v=1", False),
        ("http://example.com/photo.JPEG", False),
        ("http://example.com/app.js", False),
        ("http://example.com/app.json", True),
        ("http://example.zip/", True),
        ("http://example.com/zip", True),
        ("http://example.com/download.zip/info", True),
        ("http://example.com/a/a/", True),
        ("http://example.com/a/b/a/b/a/b/", True),  # the filter repeated_segments's business
        ("http://example.com/a/aa/aaa/", True),
        ("http://a/a/b/a/", True),
        ("http://example.com/?a=/b/b/b/", True),
    ],
)
def test_the_rules_that_are_shipped(url: str, kept: bool, checkout: Path) -> None:
    settings = Settings()
    settings.filter.regex_file = str(checkout / "conf" / "regex-urlfilter.txt")
    reason = URL_FILTERS["regex"](settings)(Link(url, "example.com", None, 0))
    assert (reason is None) == kept
    assert URL_FILTERS["regex"](settings)(Link("ftp://example.com/", "example.com", None, 0)) is not None


def test_default_settings_find_the_shipped_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COBNUT_CONF_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    for settings in (Settings(), load(None)):
        assert build(settings)(link("http://example.com/")) is None
        assert str(build(settings)(link("http://example.com/a.gif"))).startswith("regex:")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("regex", "+.\n-(a\n", r":2: \(a: missing \), unterminated subpattern"),
        ("regex", "^http\n", r":1: \^http: a rule begins in the first column, with \+ or -"),
        ("regex", " -a\n", r":1:  -a: a rule begins in the first column"),
        ("regex", "-\\p{Alpha}", r":1: .*bad escape \\p.*Java's"),
        ("regex", "-\\Q.\\E", r":1: .*bad escape \\Q.*Java's"),
        ("regex", "-(?<a>b)", r":1: .*\(\?P<name>…\)"),
        ("regex", "-[a-z&&[^b]]", r":1: .*a set within a set is Java's"),
        ("regex", "-[a&&b]", r":1: .*a set within a set is Java's"),
        ("regex", "-x[ab[cd]]", r":1: .*a set within a set is Java's"),
        ("regex", "-[a--b]", r":1: \[a--b\]: Possible set difference"),
        ("regex", "-a(?i)b", r":1: a\(\?i\)b: "),
        ("regex", "-a{99999999999999}", r":1: "),
        ("regex", "+.\n\n>a b\n", r":3: a b: expected a host"),
        ("regex", ">\n", r":1: /: expected a host"),
        ("regex", b"+\xff\n", r"utf-8"),
        ("domain", "a\n\nhttp://example.com/\n", r":3: http://example\.com/: expected a host"),
        ("domain", "example.com:80", r":1: .*expected a host"),
        ("domain", "a b", r":1: a b: expected a host"),
        ("domain", "[::", r":1: .*expected a host"),
        ("domain", ".", r":1: .*expected a host"),
        ("suffix", "+I", r":1: \+I: expected a suffix"),
        ("prefix", "http://a/\nexample.com", r":2: example\.com: expected the beginning of a URL"),
    ],
)
def test_mistakes_in_a_file_are_named_with_their_line(name: str, text: str | bytes, message: str, make: Make) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(make(use=[name], **{f"{name}_file": text}))
    assert "\n" not in str(caught.value)
    assert f"{name}_file" in str(caught.value)


def test_escaped_brackets_are_no_sets(make: Make) -> None:
    member = URL_FILTERS["regex"](make(regex_file="-[\\[\\]]\n-\\[a[&]&b\n+.\n"))
    assert member(link("http://example.com/a[b")) == "regex:1"
    assert member(link("http://example.com/")) is None


@pytest.mark.parametrize("name", ["regex", "domain", "suffix", "prefix"])
def test_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    settings = Settings()
    settings.filter.use = [name]
    for value, message in [("", "is empty"), ("missing.txt", "no such file"), (str(tmp_path), "irectory")]:
        setattr(settings.filter, f"{name}_file", value)
        with pytest.raises(UsageError, match=rf"filter\.{name}_file.*{message}"):
            build(settings)


RULES = [
    "-\\.(?:gif|GIF)(?:\\?|$)",
    "+^https?://a\\.",
    "-(?=x)x",
    "-([a-z])\\1",
    "-\\bone\\b",
    "+\\d{2,}",
    "+.",
    "-.",
    "+/x$",
    "-.*/y",
]


@given(
    st.lists(st.sampled_from(RULES), max_size=5),
    st.lists(st.from_regex(r"https?://[ab]\.example/[a-z0-9./]{0,12}", fullmatch=True), max_size=20),
)
def test_whole_columns_get_the_answers_that_single_urls_get(rules: list[str], texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings()
        settings.filter.regex_file = f"{directory}/rules"
        settings.filter.max_url_length = 25
        Path(settings.filter.regex_file).write_text("\n".join(rules))
        wanted = urlfilters.certainly_wanted(settings)
        assert wanted is not None
        one_by_one = [urlfilters.build(settings)(Link(text, "a.example", None, 0)) is None for text in texts]
        assert wanted(pa.array(texts, pa.string())).tolist() == one_by_one


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c.html", "2099", "2009", "05", "events", "x-2031-05"]), max_size=9).map(
            lambda segments: "https://a.example/" + "/".join(segments)
        ),
        min_size=1, max_size=5,
    ),
    st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.integers(1, 2),
)  # fmt: skip
def test_links_that_certainly_pass_do(texts: list[str], path_depth: int, repeated: int, depth: int, of: int) -> None:
    """And those of the usual limits pass by the column already."""
    settings = Settings()
    settings.filter.use.remove("regex")
    settings.filter.max_path_depth, settings.filter.max_repeated_segments = path_depth, repeated
    settings.filter.max_depth = depth
    wanted = urlfilters.certainly_wanted(settings, link_depth=of)
    assert wanted is not None
    verdict = urlfilters.build(settings)
    one_by_one = [verdict(Link(text, "a.example", "a.example", of)) is None for text in texts]
    by_column = wanted(pa.array(texts, pa.string())).tolist()
    assert all(passes for passes, certain in zip(one_by_one, by_column, strict=True) if certain)
    if not any(f"{sign}20" in text for text in texts for sign in "/-"):
        deep = [bool(path_depth) and text.count("/") > path_depth + 2 for text in texts]  # a slash at the end may do
        assert [a == b for a, b, more in zip(one_by_one, by_column, deep, strict=True) if not more] == [
            True
        ] * deep.count(False) or repeated


def test_filters_without_an_answer_for_columns_are_asked_one_by_one() -> None:
    settings = Settings()
    settings.filter.use = ["length", "suffix"]
    assert urlfilters.certainly_wanted(settings) is None


URLS = st.lists(
    st.sampled_from(["/", "/a", "/20", "25/05", "/1999/05", "-2031-07", "?", "&", "month=", "sid=", "/2101", "/(s(",
                     "0123456789abcdef0123", ")/", ".html", "cal", ";jsessionid=1234567"]), max_size=8,
).map(lambda pieces: canonicalize("http://a.example/" + "".join(pieces)))  # fmt: skip


@given(URLS, st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))
def test_unremarkable_urls_pass_what_is_not_asked_about_them(
    url: str, segments: int, repeated: int, fields: int
) -> None:
    limits = [f"filter.max_path_depth={segments}", f"filter.max_repeated_segments={repeated}",
              f"filter.max_query_parameters={fields}", "filter.use=" + ",".join(urlfilters._FOR_THE_REMARKABLE)]  # fmt: skip
    settings = load(None, limits)
    link = Link(url, "a.example", "a.example", 1)
    refusals = (URL_FILTERS[name](settings)(link) for name in settings.filter.use)
    assert build(settings)(link) == next((reason for reason in refusals if reason is not None), None)
    settings = load(None, limits[:3])
    assert urlfilters.build_verdict(settings)(*link) == build(settings)(link)
