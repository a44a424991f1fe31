"""What a robots.txt says to `testbot`: RFC 9309 §2.2 and §2.3, case by case, and what holds for any file."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import canonicalize
from jobs.fetching import robots
from jobs.fetching.contract import KnownRobots
from jobs.fetching.robots import Refusal, Robots
from tests.jobs.fetching.robots_cases import CASES, Case

DAY = 86_400_000
NOW = 1_800_000_000_000
FILE = "https://h.example/robots.txt"


def settings(name: str = "testbot", **fetch: float) -> Settings:
    values = Settings()
    values.http.agent_name = name
    for key, value in fetch.items():
        setattr(values.fetch, key, value)
    return values


def known(
    body: bytes | None = b"User-agent: *\nDisallow: /private",
    status: int | None = 200,
    *,
    url: str = FILE,
    truncated: bool = False,
    age: int = 0,
    failing_for: int | None = None,
) -> KnownRobots:
    since = None if failing_for is None else NOW - failing_for
    return KnownRobots("https://h.example", url, NOW - age, status, body, truncated, since)


def rules(body: bytes | str, name: str = "testbot", truncated: bool = False) -> Robots:
    text = body.encode() if isinstance(body, str) else body
    return robots.rules_of(known(text, truncated=truncated), settings(name), NOW)


def refusal_of(robots: Robots, path: str) -> Refusal | None:
    url = canonicalize(f"https://h.example{path}")
    assert url is not None
    return robots.refuse(url)


def allowed(body: bytes | str, path: str, name: str = "testbot", truncated: bool = False) -> bool:
    return refusal_of(rules(body, name, truncated), path) is None


# RFC 9309 §2.2


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.what}")
def test_case(case: Case) -> None:
    refusal = refusal_of(rules(case.body), case.path)
    if case.denied_by is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.outcome, refusal.reason, refusal.retry_after) == (FetchOutcome.gone, "robots_denied", None)
        assert (refusal.detail or "").startswith(f"{FILE}:{case.denied_by}: ")


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(CASES) == len(set(CASES)) >= 150
    assert {case.section[:5] for case in CASES} == {"2.2.1", "2.2.2", "2.2.3", "2.2.4", "2.2 a"}


@pytest.mark.parametrize(
    ("name", "file", "denied"),
    [
        ("TestBot/3.0", "User-agent: testbot\nDisallow: /", True),
        ("TestBot (a crawler)", "User-agent: testbot\nDisallow: /", True),
        ("my-bot", "User-agent: my\nDisallow: /", False),
        ("my_bot", "User-agent: My_Bot\nDisallow: /", True),
        ("bot2", "User-agent: bot2\nDisallow: /", True),
        ("bot2", "User-agent: bot\nDisallow: /", False),
        ("testbot", "User-agent: testbot-images\nDisallow: /\nUser-agent: testbot\nAllow: /", False),
        ("testbot-images", "User-agent: testbot\nDisallow: /\nUser-agent: *\nAllow: /", False),
    ],
)
def test_our_own_name(name: str, file: str, denied: bool) -> None:
    assert allowed(file, "/a", name) is not denied


@pytest.mark.parametrize(
    ("name", "token"),
    [("Cobnut", "cobnut"), ("Cobnut/1.0", "cobnut"), (" Cobnut 1", "cobnut"), ("a-B_c;d", "a-b_c"), ("", ""), ("*", "*")],
)  # fmt: skip
def test_product_token(name: str, token: str) -> None:
    assert robots.product_token(name) == token


# What a refusal says


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"Disallow: /private", "Disallow: /private"),
        (b"  disALLOW:/private # why", "disALLOW:/private # why"),
        (b"Disallow:\t/private", "Disallow: /private"),
        ("Disallow: /*priv # für alle".encode(), "Disallow: /*priv # für alle"),
        (b"Disallow: /priv*\xff\x1b[31m", None),
        (b"Disallow: /private" + b"*" * 1000, None),
    ],
)
def test_a_denial_names_its_line(line: bytes, shown: str | None) -> None:
    body = b"# ours\r\n\r\nUser-agent: *\r\nAllow: /x\r\n" + line + b"\r\n"
    refusal = refusal_of(rules(body), "/private\xff%1B[31m" if b"\xff" in line else "/private")
    if shown is None and b"\xff" in line:
        assert refusal is None  # the octet FF, not U+00FF
        refusal = refusal_of(rules(body), "/private%FF%1B[31m")
    assert refusal is not None
    assert refusal.detail is not None
    assert refusal.detail.startswith(f"{FILE}:5: ")
    assert len(refusal.detail) <= 300
    assert refusal.detail.isprintable()
    assert shown is None or refusal.detail == f"{FILE}:5: {shown}"


def test_a_denial_names_the_file_where_redirects_led() -> None:
    elsewhere = robots.rules_of(known(url="https://other.example/r.txt"), settings(), NOW)
    refusal = refusal_of(elsewhere, "/private/a")
    assert refusal is not None
    assert refusal.detail == "https://other.example/r.txt:2: Disallow: /private"
    far = robots.rules_of(known(url="https://other.example/" + "r" * 5000), settings(), NOW)
    refusal = refusal_of(far, "/private/a")
    assert refusal is not None
    assert len(refusal.detail or "") <= 300


def test_a_denial_without_known_address_names_the_origins_own() -> None:
    refusal = refusal_of(robots.rules_of(known(url=""), settings(), NOW), "/private")
    assert refusal is not None
    assert refusal.detail == f"{FILE}:2: Disallow: /private"


# Crawl-delay and Sitemap


@pytest.mark.parametrize(
    ("file", "delay"),
    [
        ("User-agent: *\nDisallow: /x", None),
        ("User-agent: *\nCrawl-delay: 7", 7.0),
        ("User-agent: *\nCrawl-delay: 2.5 # seconds", 2.5),
        ("User-agent: *\nCrawl-delay: 2,5", 2.5),
        ("User-agent: *\nCrawl-delay: .5", 1.0),
        ("User-agent: *\nCrawl-delay: 10 seconds", 10.0),
        ("User-agent: *\nCrawl-delay: 10s", 10.0),
        ("User-agent: *\ncrawl delay 10", 10.0),
        ("User-agent: *\nCrawl-delay: 0", 1.0),
        ("User-agent: *\nCrawl-delay: 30", 30.0),
        ("User-agent: *\nCrawl-delay: 3\nCrawl-delay: 9\nCrawl-delay: 5", 9.0),
        ("User-agent: *\nCrawl-delay: 3\n\nUser-agent: *\nCrawl-delay: 9", 9.0),
        ("User-agent: *\nCrawl-delay: soon", None),
        ("User-agent: *\nCrawl-delay: -3", None),
        ("User-agent: *\nCrawl-delay: 1/10", None),
        ("User-agent: *\nCrawl-delay: 1e3", None),
        ("User-agent: *\nCrawl-delay: nan", None),
        ("User-agent: *\nCrawl-delay: inf", None),
        ("User-agent: *\nCrawl-delay: " + "9" * 400, None),
        ("User-agent: *\nCrawl-delay: ٣", None),
        ("User-agent: *\nCrawl-delay:", None),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: testbot\nCrawl-delay: 4", 4.0),
        ("User-agent: *\nDisallow:\nCrawl-delay: 9\n\nUser-agent: testbot\nDisallow: /x", None),
        ("User-agent: x\nUser-agent: testbot\nCrawl-delay: 4", 4.0),
        ("User-agent: testbot\nCrawl-delay: 4\nUser-agent: x\nCrawl-delay: 9", 4.0),
        ("User-agent: x\nCrawl-delay: 4\nUser-agent: testbot\nCrawl-delay: 9", 9.0),
        ("User-agent: testbot\nCrawl-delay: 4\nUser-agent: x\nCrawl-delay: 9\nDisallow: /x", 4.0),
        ("User-agent: testbot\nSitemap: http://h.example/s\nCrawl-delay: 4", 4.0),
        ("User-agent: testbot\nDisallow: /x\nCrawl-delay: 4", 4.0),
        ("User-agent: testbot\nDisallow: /x\n\nUser-agent: x\nCrawl-delay: 4", None),
        ("User-agent: other\nCrawl-delay: 9", None),
        ("Crawl-delay: 9", None),
    ],
)
def test_crawl_delay(file: str, delay: float | None) -> None:
    read = robots.rules_of(known(file.encode()), settings(min_crawl_delay=1.0, max_crawl_delay=30.0), NOW)
    assert read.delay == delay
    assert refusal_of(read, "/a") is None


def test_a_crawl_delay_longer_than_the_longest_refuses_all() -> None:
    body = b"Sitemap: /s.xml\nUser-agent: *\nCrawl-delay: 5\nCrawl-delay: 31"
    read = robots.rules_of(known(body), settings(max_crawl_delay=30.0), NOW)
    assert read.refusal == refusal_of(read, "/a")
    assert read.refusal is not None
    assert (read.refusal.outcome, read.refusal.reason) == (FetchOutcome.gone, "crawl_delay")
    assert read.refusal.detail == f"{FILE}:4: Crawl-delay: 31 (more than fetch.max_crawl_delay)"
    assert read.sitemaps == ("https://h.example/s.xml",)


@pytest.mark.parametrize(
    ("file", "sitemaps"),
    [
        ("", ()),
        ("Sitemap: https://h.example/s.xml", ("https://h.example/s.xml",)),
        ("User-agent: other\nDisallow: /\nSitemap: https://h.example/s.xml", ("https://h.example/s.xml",)),
        ("User-agent: testbot\nSitemap: https://h.example/s.xml\nDisallow: /", ("https://h.example/s.xml",)),
        ("SITEMAP:https://h.example/1\nsite-map: https://h.example/2", ("https://h.example/1", "https://h.example/2")),
        ("Sitemap: https://h.example/2\nSitemap: https://h.example/1", ("https://h.example/2", "https://h.example/1")),
        ("Sitemap: https://h.example/s\n\nSitemap: https://H.example/s", ("https://h.example/s",)),
        ("Sitemap: https://cdn.example/s.xml.gz?a=b # all", ("https://cdn.example/s.xml.gz?a=b",)),
        ("Sitemap https://h.example/s.xml", ("https://h.example/s.xml",)),
        ("Sitemap: /s.xml", ("https://h.example/s.xml",)),
        ("Sitemap: https://h.example/ツ", ("https://h.example/%E3%83%84",)),
        ("Sitemap: ftp://h.example/s.xml", ()),
        ("Sitemap: https://", ()),
    ],
)
def test_sitemaps(file: str, sitemaps: tuple[str, ...]) -> None:
    assert rules(file).sitemaps == sitemaps


def test_sitemap_lines_are_kept_as_they_stand_and_bounded() -> None:
    body = b"Sitemap: https://H.example/s\nUser-agent: *\nDisallow: /\nSitemap: /2.xml\nSitemap: https://H.example/s\n"
    assert robots.sitemap_lines(body, False) == ["https://H.example/s", "/2.xml"]
    assert robots.sitemap_lines(body.rstrip(), True) == ["https://H.example/s", "/2.xml"]
    long = b"Sitemap: https://h.example/" + b"a" * robots.MAX_SITEMAP_URL
    many = b"\n".join(b"Sitemap: /%d" % number for number in range(robots.MAX_SITEMAPS + 5))
    assert robots.sitemap_lines(long + b"\nSitemap:\n" + many, False) == [f"/{n}" for n in range(robots.MAX_SITEMAPS)]


# RFC 9309 §2.3: what an answer means, and for how long


@pytest.mark.parametrize(
    ("section", "status", "expected"),
    [
        ("2.3.1.1 success", 200, "rules"), ("2.3.1.1 success", 206, "rules"), ("2.3.1.1 success", 299, "rules"),
        ("2.3.1.2 leads nowhere", 300, "allowed"), ("2.3.1.2 leads nowhere", 301, "allowed"),
        ("2.3.1.2 leads nowhere", 304, "allowed"), ("2.3.1.2 leads nowhere", 308, "allowed"),
        ("2.3.1.3 unavailable", 400, "allowed"), ("2.3.1.3 unavailable", 401, "allowed"),
        ("2.3.1.3 unavailable", 403, "allowed"), ("2.3.1.3 unavailable", 404, "allowed"),
        ("2.3.1.3 unavailable", 410, "allowed"), ("2.3.1.3 unavailable", 451, "allowed"),
        ("2.3.1.3 unavailable", 499, "allowed"), ("not now", 429, "postponed"),
        ("2.3.1.4 unreachable", 500, "postponed"), ("2.3.1.4 unreachable", 503, "postponed"),
        ("2.3.1.4 unreachable", 599, "postponed"), ("2.3.1.4 unreachable", 999, "postponed"),
        ("2.3.1.4 unreachable", None, "postponed"), ("no status", 0, "allowed"), ("not the last one", 100, "allowed"),
    ],
)  # fmt: skip
def test_status(section: str, status: int | None, expected: str) -> None:
    read = robots.rules_of(known(b"User-agent: *\nDisallow: /", status), settings(), NOW, 1234)
    refusal = refusal_of(read, "/a")
    if expected == "allowed":
        assert read == robots.ALLOW_ALL
    elif expected == "rules":
        assert refusal is not None
        assert (refusal.reason, refusal.retry_after) == ("robots_denied", None)
    else:
        what = "no answer" if status is None else f"HTTP {status}"
        assert refusal == Refusal(FetchOutcome.postponed, "robots_unavailable", f"{FILE}: {what}", 1234)
        assert refusal_of(read, "/robots.txt") == refusal


@pytest.mark.parametrize("body", [None, b""])
def test_an_empty_success_allows_all(body: bytes | None) -> None:
    assert robots.rules_of(known(body), settings(), NOW) == robots.ALLOW_ALL


@pytest.mark.parametrize("status", [429, 500, 503, None])
@pytest.mark.parametrize(
    ("failing_for", "postponed"),
    [(None, True), (0, True), (DAY, True), (30 * DAY - 1, True), (30 * DAY, False), (400 * DAY, False), (-DAY, True)],
)
def test_what_fails_for_thirty_days_is_taken_for_missing(
    status: int | None, failing_for: int | None, postponed: bool
) -> None:
    read = robots.rules_of(known(None, status, failing_for=failing_for), settings(), NOW)
    assert (read.refusal is not None) is postponed


@pytest.mark.parametrize("failing_for", [None, 400 * DAY])
def test_rules_hold_whatever_failed_before(failing_for: int | None) -> None:
    read = robots.rules_of(known(failing_for=failing_for), settings(), NOW)
    assert refusal_of(read, "/private") is not None


@pytest.mark.parametrize(
    ("status", "counts"),
    [(200, True), (204, True), (301, True), (304, True), (401, True), (404, True), (429, False), (500, False),
     (503, False), (999, False), (None, False), (0, False), (100, False)],
)  # fmt: skip
def test_only_an_answer_that_counts_is_used_again(status: int | None, counts: bool) -> None:
    assert robots.is_fresh(known(None, status, age=1000), settings(), NOW) is counts


@pytest.mark.parametrize(
    ("max_age", "age", "fresh"),
    [(86400.0, 0, True), (86400.0, DAY, True), (86400.0, DAY + 1, False), (86400.0, -1, False), (1e9, DAY, True),
     (1e9, DAY + 1, False), (60.0, 60_000, True), (60.0, 60_001, False), (0.0, 1, False)],
)  # fmt: skip
def test_an_answer_is_used_for_a_day_at_most(max_age: float, age: int, fresh: bool) -> None:
    assert robots.is_fresh(known(age=age), settings(robots_max_age=max_age), NOW) is fresh


def test_which_statuses_send_us_elsewhere() -> None:
    assert [status for status in range(100, 600) if robots.follows(status)] == [301, 302, 303, 307, 308]
    assert robots.MAX_REDIRECTS >= 5


# RFC 9309 §2.5


@pytest.mark.parametrize(
    ("body", "truncated", "path", "denied"),
    [
        (b"User-agent: *\nDisallow: /a\nDisallow: /pri", True, "/private", False),
        (b"User-agent: *\nDisallow: /a\nDisallow: /pri", True, "/a", True),
        (b"User-agent: *\nDisallow: /a\nDisallow: /pri", False, "/private", True),
        (b"User-agent: *\rDisallow: /a\rDisallow: /pri", True, "/a", True),
        (b"User-agent: *\r\nDisallow: /a\r\nDisallow: /pri\r", True, "/private", True),
        (b"User-agent: *\nDisallow: /\nAllow: /p", True, "/private", True),
        (b"User-agent: * # never ends", True, "/a", False),
        (b"User-agent: *\nDisallow: /a\n" + b"#" * robots.MAX_BYTES + b"\nDisallow: /b\n", False, "/a", True),
        (b"User-agent: *\nDisallow: /a\n" + b"#" * robots.MAX_BYTES + b"\nDisallow: /b\n", False, "/b", False),
        ((b"User-agent: *\nDisallow: /late\n").rjust(robots.MAX_BYTES, b"\n"), False, "/late", True),
        ((b"User-agent: *\nDisallow: /late\n").rjust(robots.MAX_BYTES + 1, b"\n"), False, "/late", False),
        ("\ufeffUser-agent: *\nDisallow: /a\nDisallow: /ਁ".encode("utf-16-le")[:-1], True, "/a", True),
    ],
    ids=range(12),
)  # fmt: skip
def test_the_line_that_the_limit_cuts_is_left_out(body: bytes, truncated: bool, path: str, denied: bool) -> None:
    """Half a pattern would be another pattern."""
    assert allowed(body, path, truncated=truncated) is not denied


def test_what_is_read_is_at_least_what_the_rfc_asks_for() -> None:
    assert robots.MAX_BYTES >= 500 * 1024


# What holds for any file

LINES = st.lists(
    st.sampled_from(
        [
            b"User-agent: *", b"User-agent: testbot", b"User-agent: other", b"User-agent:", b"Disallow: /", b"Disallow:",
            b"Disallow: /a", b"Allow: /a", b"Allow: /a/b", b"Disallow: /*b", b"Allow: *%", b"Disallow: /%zz$$",
            b"Disallow: /a%2F*%2f", b"Crawl-delay: 1e999", b"Crawl-delay: 4", b"Crawl-delay: 7", b"\xff\xfe", b":",
            b"Disallow: http://[", b"Sitemap: https://h.example/s", b"Sitemap: http://[", b"Noindex: /", b"Allow",
        ]
    ),
    max_size=12,
)  # fmt: skip
PATHS = ["/", "/a", "/a/b", "/a/b?b=c", "/c", "/b", "/%", "/a?b=%zz", "/x//x"]


def said(body: bytes) -> object:
    """All that a file comes to, but for the numbers of its lines."""
    read = rules(body)
    verdicts = [refusal_of(read, path) for path in PATHS]
    return (
        read.delay,
        read.sitemaps,
        [verdict and re.sub(r":\d+: .*", "", verdict.detail or "") for verdict in verdicts],
    )


@given(st.binary(max_size=300) | LINES.map(b"\n".join), st.booleans(), st.sampled_from(PATHS))
@example(b"\xff\xfe\x00\xd8", False, "/")
@example(b"\xfe\xff\x00", True, "/")
def test_no_file_makes_it_raise(body: bytes, truncated: bool, path: str) -> None:
    refusal = refusal_of(rules(body, truncated=truncated), path)
    assert refusal is None or refusal.reason in ("robots_denied", "crawl_delay")


@given(LINES, st.data())
def test_comments_and_blanks_change_nothing(lines: list[bytes], data: st.DataObject) -> None:
    noise = st.sampled_from([b"", b"  ", b"\t", b"# User-agent: *", b"#"])
    blanks = st.sampled_from([b"", b" ", b"\t  "])
    spaced = []
    for line in lines:
        spaced += data.draw(st.lists(noise, max_size=2))
        name, colon, value = line.partition(b":")
        before, after = data.draw(blanks), data.draw(blanks)
        spaced.append(
            before + name + after + colon + before + value + after + data.draw(st.sampled_from([b"", b" # x"]))
        )
    assert said(b"\n".join(spaced)) == said(b"\n".join(lines))


@given(LINES, st.data())
def test_all_line_ends_are_one(lines: list[bytes], data: st.DataObject) -> None:
    ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
    assert said(b"".join(line + data.draw(ends) for line in lines)) == said(b"\n".join(lines))
    assert said(b"\xef\xbb\xbf" + b"\n".join(lines)) == said(b"\n".join(lines))


GROUP = st.tuples(
    st.lists(st.sampled_from([b"User-agent: *", b"User-agent: testbot", b"user-agent: x"]), min_size=1, max_size=3),
    st.lists(st.sampled_from([b"Disallow: /a", b"Allow: /a/b", b"Disallow: /*b", b"Allow: /b", b"Disallow: /"]), min_size=1),
).map(lambda group: b"\n".join([*group[0], *group[1]]))  # fmt: skip


@given(st.lists(GROUP, max_size=5), st.data())
def test_the_order_of_groups_does_not_matter(groups: list[bytes], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(groups))
    assert said(b"\n".join(shuffled)) == said(b"\n".join(groups))


@given(GROUP, st.sampled_from(["/a", "/a*", "/*b$", "/ツ", "/%62", "/"]), st.booleans())
def test_an_allow_of_the_same_length_wins(group: bytes, pattern: str, first: bool) -> None:
    pair = [f"Disallow: {pattern}".encode(), f"Allow: {pattern}".encode()]
    both = b"\n".join([b"User-agent: testbot", *(pair[::-1] if first else pair), group, b"User-agent: testbot"])
    one = b"\n".join([b"User-agent: testbot", pair[1], group, b"User-agent: testbot"])
    assert said(both) == said(one)


def test_many_names_and_rules_cost_what_the_file_says() -> None:
    """As many names as fit, then as many rules: the work is in proportion to the bytes."""
    names = b"".join(b"User-agent: x%d\n" % n for n in range(12_000))
    body = b"User-agent: testbot\n" + names + b"Disallow: /a%d\n" * 15_000 % tuple(range(15_000))
    read = rules(body)
    refusal = refusal_of(read, "/a14999/x")
    assert refusal is not None
    assert (refusal.detail or "").endswith(": Disallow: /a14999")
