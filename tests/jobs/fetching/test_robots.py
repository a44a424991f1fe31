"""What a robots.txt says to `testbot`: RFC 9309 §2.2 and §2.3, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.fetching import robots


def settings(name: str = "testbot", **fetch: float) -> Settings:
    values = Settings()
    values.http.agent_name = name
    for key, value in fetch.items():
        setattr(values.fetch, key, value)
    return values


def allowed(text: str | bytes, path: str, name: str = "testbot") -> bool:
    body = text if isinstance(text, bytes) else text.encode()
    return robots.read(body, False, settings(name)).refuse(f"http://127.0.0.1{path}") is None


CASES = [
    # (what, robots.txt, path, may it be fetched)
    ("empty file", "", "/a", True),
    ("only comments", "# nothing\n#Disallow: /\n", "/a", True),
    ("not a robots.txt", "<html><body>Disallow: / User-agent: *</body></html>", "/a", True),
    ("rules before any group", "Disallow: /\nUser-agent: other\nDisallow: /", "/a", True),
    # §2.2.1 user-agent lines and groups
    ("star", "User-agent: *\nDisallow: /a", "/a", False),
    ("star, other path", "User-agent: *\nDisallow: /a", "/b", True),
    ("own group", "User-agent: testbot\nDisallow: /a", "/a", False),
    ("own group wins over star", "User-agent: *\nDisallow: /\n\nUser-agent: testbot\nDisallow: /b", "/a", True),
    ("own group wins wherever it stands", "User-agent: testbot\nAllow: /\n\nUser-agent: *\nDisallow: /", "/a", True),
    ("own group without rules", "User-agent: *\nDisallow: /\n\nUser-agent: testbot\n", "/a", True),
    ("own group, empty Disallow", "User-agent: testbot\nDisallow:\n\nUser-agent: *\nDisallow: /", "/a", True),
    ("another's group", "User-agent: other\nDisallow: /", "/a", True),
    ("the token's case", "User-agent: TestBot\nDisallow: /", "/a", False),
    ("the token must match whole: prefix", "User-agent: test\nDisallow: /", "/a", True),
    ("the token must match whole: suffix", "User-agent: bot\nDisallow: /", "/a", True),
    ("the token must match whole: longer", "User-agent: testbot-news\nDisallow: /", "/a", True),
    ("a version after the token", "User-agent: testbot/2.1\nDisallow: /", "/a", False),
    ("words after the token", "User-agent: testbot (the crawler)\nDisallow: /", "/a", False),
    ("star after the token", "User-agent: testbot*\nDisallow: /", "/a", False),
    ("several names, one group", "User-agent: x\nUser-agent: testbot\nUser-agent: y\nDisallow: /", "/a", False),
    ("names apart by a blank line", "User-agent: x\n\nUser-agent: testbot\n\nDisallow: /", "/a", False),
    ("groups of one name are merged", "User-agent: testbot\nDisallow: /a\n\nUser-agent: z\nDisallow: /\n\n"
     "User-agent: testbot\nDisallow: /b", "/b", False),
    ("... the first of them too", "User-agent: testbot\nDisallow: /a\n\nUser-agent: z\nDisallow: /\n\n"
     "User-agent: testbot\nDisallow: /b", "/a", False),
    ("star groups are merged", "User-agent: *\nDisallow: /a\nUser-agent: z\nAllow: /\nUser-agent: *\nDisallow: /b",
     "/a", False),
    ("a blank line does not end a group", "User-agent: *\n\nDisallow: /b\n\nDisallow: /a", "/a", False),
    # §2.2.2 allow and disallow
    ("the longest match wins: allow", "User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
    ("the longest match wins: disallow", "User-agent: *\nAllow: /a\nDisallow: /a/b", "/a/b", False),
    ("whatever the order", "User-agent: *\nAllow: /a/b\nDisallow: /a", "/a/b", True),
    ("equal length: allow", "User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
    ("no match", "User-agent: *\nDisallow: /a\nAllow: /b", "/c", True),
    ("a prefix is enough", "User-agent: *\nDisallow: /fish", "/fishheads/yummy.html", False),
    ("the path's case counts", "User-agent: *\nDisallow: /Fish", "/fish", True),
    ("the field's case does not", "USER-AGENT: *\nDISALLOW: /a", "/a", False),
    ("the query is part of it", "User-agent: *\nDisallow: /a?x=1", "/a?x=1&y=2", False),
    ("... and can be missed", "User-agent: *\nDisallow: /a?x=1", "/a", True),
    ("escaped and plain are one: rule", "User-agent: *\nDisallow: /foo%2Dbar", "/foo-bar", False),
    ("escaped and plain are one: URL", "User-agent: *\nDisallow: /foo-bar", "/foo%2Dbar", False),
    ("an escaped slash is no slash", "User-agent: *\nDisallow: /a/b", "/a%2Fb", True),
    ("UTF-8 in the rule", "User-agent: *\nDisallow: /foo/ツ", "/foo/%E3%83%84", False),
    ("UTF-8 escaped in lower case", "User-agent: *\nDisallow: /foo/%e3%83%84", "/foo/%E3%83%84", False),
    ("Latin-1 in the rule", b"User-agent: *\nDisallow: /caf\xe9", "/caf%E9", False),
    ("all is disallowed", "User-agent: *\nDisallow: /", "/", False),
    ("robots.txt itself is always allowed", "User-agent: *\nDisallow: /", "/robots.txt", True),
    # §2.2.3 special characters
    ("a comment after a rule", "User-agent: * # all\nDisallow: /a # this\n", "/a", False),
    ("star in the middle", "User-agent: *\nDisallow: /a/*/c", "/a/b/c", False),
    ("star matches nothing too", "User-agent: *\nDisallow: /a*b", "/ab", False),
    ("star at the beginning", "User-agent: *\nDisallow: *.gif", "/x/y.gif", False),
    ("star at the end", "User-agent: *\nDisallow: /fish*", "/fish.html", False),
    ("dollar: the end", "User-agent: *\nDisallow: /*.php$", "/x/y.php", False),
    ("dollar: not the end", "User-agent: *\nDisallow: /*.php$", "/x/y.php?z", True),
    ("dollar on the root", "User-agent: *\nAllow: /$\nDisallow: /", "/", True),
    ("... only there", "User-agent: *\nAllow: /$\nDisallow: /", "/a", False),
    ("dollar in the middle is a dollar", "User-agent: *\nDisallow: /a$b", "/a$bc", False),
    # §2.2.4 other records
    ("Sitemap does not end the names", "User-agent: testbot\nSitemap: http://x/s.xml\nUser-agent: z\nDisallow: /",
     "/a", False),
    ("an unknown line in a group", "User-agent: *\nNoindex: /x\nDisallow: /a", "/a", False),
    ("Crawl-delay is a rule of its group", "User-agent: *\nCrawl-delay: 1\n\nUser-agent: bad\nDisallow: /", "/a", True),
    # Spelling
    ("a byte order mark", b"\xef\xbb\xbfUser-agent: *\nDisallow: /a", "/a", False),
    ("CR LF", "User-agent: *\r\nDisallow: /a\r\n", "/a", False),
    ("CR alone", "User-agent: *\rDisallow: /a\r", "/a", False),
    ("U+2028 is no line end", "User-agent: *\nDisallow: /b\u2028Disallow: /a", "/a", True),
    ("a form feed is no line end", "User-agent: *\nDisallow: /b\x0cDisallow: /a", "/a", True),
    ("no newline at the end", "User-agent: *\nDisallow: /a", "/a", False),
    ("blanks everywhere", "  User-agent :  *  \n\t Disallow :\t/a  ", "/a", False),
    ("no blank after the colon", "User-agent:*\nDisallow:/a", "/a", False),
    ("a misspelling", "Useragent: *\nDissallow: /a", "/a", False),
    ("no colon", "User-agent *\nDisallow /a", "/a", False),
    ("a NUL", b"User-agent: *\nDisallow: /a\0", "/a", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_rules(text: str | bytes, path: str, expected: bool) -> None:
    assert allowed(text, path) is expected


def test_a_version_in_our_own_name_is_not_looked_up() -> None:
    assert not allowed("User-agent: testbot\nDisallow: /", "/a", name="TestBot/3.0")


def test_a_refusal_names_its_rule() -> None:
    read = robots.read(b"User-agent: *\nDisallow: /a\nDisallow: /a/*.x$\nDisallow: /caf%e9", False, settings())
    details = {path: read.refuse(f"http://h.example{path}") for path in ("/a/b", "/a/b.x", "/caf%E9")}
    assert [refusal and refusal.detail for refusal in details.values()] == [
        "Disallow: /a",
        "Disallow: /a/*.x$",
        None,  # only protego sees that the two spellings are one
    ]
    assert {refusal and (refusal.outcome, refusal.reason) for refusal in details.values()} == {
        (FetchOutcome.gone, "robots_denied")
    }


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nDisallow: /x", None),
        ("User-agent: *\nCrawl-delay: 7", 7.0),
        ("User-agent: *\nCrawl-delay: 2.5 # seconds", 2.5),
        ("User-agent: *\nCrawl-delay: 0.1", 1.0),
        ("User-agent: *\nCrawl-delay: 3\nCrawl-delay: 9\nCrawl-delay: 5", 9.0),
        ("User-agent: *\nCrawl-delay: soon", None),
        ("User-agent: *\nCrawl-delay: -3", None),
        ("User-agent: *\nCrawl-delay: nan", None),
        ("User-agent: *\nCrawl-delay: inf", None),
        ("User-agent: *\nCrawl-delay:", None),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: testbot\nCrawl-delay: 4", 4.0),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: testbot\nDisallow: /x", None),
        ("User-agent: other\nCrawl-delay: 9", None),
        ("Crawl-delay: 9", None),
    ],
)
def test_crawl_delay(text: str, delay: float | None) -> None:
    read = robots.read(text.encode(), False, settings(min_crawl_delay=1.0, max_crawl_delay=30.0))
    assert read.delay == delay
    assert read.refuse("http://h.example/a") is None


def test_a_crawl_delay_longer_than_the_longest_refuses_all() -> None:
    read = robots.read(b"User-agent: *\nCrawl-delay: 31", False, settings(max_crawl_delay=30.0))
    refusal = read.refuse("http://h.example/a")
    assert refusal is not None
    assert (refusal.outcome, refusal.reason) == (FetchOutcome.gone, "crawl_delay")
    assert "31" in (refusal.detail or "")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "rules"), (204, "rules"), (301, "allowed"), (304, "allowed"), (400, "allowed"), (401, "allowed"),
     (403, "allowed"), (404, "allowed"), (410, "allowed"), (429, "postponed"), (500, "postponed"), (503, "postponed"),
     (599, "postponed"), (999, "postponed")],
)  # fmt: skip
def test_status(status: int, expected: str) -> None:
    refusal = robots.of_answer(status, b"User-agent: *\nDisallow: /", False, settings(), 1234).refuse("http://h.x/a")
    if expected == "allowed":
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.outcome is (FetchOutcome.gone if expected == "rules" else FetchOutcome.postponed)
        assert refusal.reason == ("robots_denied" if expected == "rules" else "robots_unavailable")
        assert refusal.retry_after == (None if expected == "rules" else 1234)


def test_the_line_that_the_limit_cuts_is_left_out() -> None:
    """Half a pattern would be another pattern."""
    assert allowed_when_cut(b"User-agent: *\nDisallow: /a\nDisallow: /pri", "/private")
    assert not allowed_when_cut(b"User-agent: *\nDisallow: /a\nDisallow: /pri", "/a")
    long = b"User-agent: *\nDisallow: /a\n" + b"#" * robots.MAX_BYTES + b"\nDisallow: /b\n"
    assert not allowed(long, "/a")
    assert allowed(long, "/b")


def allowed_when_cut(body: bytes, path: str) -> bool:
    return robots.read(body, True, settings()).refuse(f"http://127.0.0.1{path}") is None


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [
                b"User-agent: *",
                b"User-agent: testbot",
                b"Disallow: /",
                b"Allow: *%",
                b"Disallow: /%zz$$",
                b"Crawl-delay: 1e999",
                b"\xff\xfe",
                b":",
                b"Disallow: http://[",
                b"\r",
            ]
        )
    ).map(b"\n".join),
    st.sampled_from(["/", "/%", "/a?b=%zz", "//x"]),
)
def test_no_file_makes_it_raise(body: bytes, path: str) -> None:  # fmt: skip
    read = robots.read(body, False, settings())
    refusal = read.refuse(f"http://127.0.0.1{path}")
    assert refusal is None or refusal.reason == "robots_denied"


def test_many_names_and_rules_cost_what_the_file_says() -> None:
    """As many names as fit, then as many rules: the work is in proportion to the bytes."""
    body = b"".join(b"User-agent: x%d\n" % n for n in range(15_000)) + b"Disallow: /a\n" * 15_000
    group = robots.group_for(b"User-agent: testbot\n" + body, "testbot")
    assert len(group.rules) == 15_000
