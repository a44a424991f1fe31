"""Seed lines: every key, and what is said of lines that are none."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawldb import schema
from crawldb.fingerprint import fingerprint, url_fingerprint
from crawldb.seeds import BadSeed, SeedReader
from crawldb.settings import Policy, Settings
from crawldb.update import apply
from tests.crawldb.tables import NOW, rows

SITE = "http://x.test/"


def settings(**request: Any) -> Settings:
    made = Settings()
    made.filter.use = ["length"]
    made.filter.max_url_length = 100
    for name, value in request.items():
        setattr(made.request, name, value)
    return made


def read(text: str | bytes, *, update: bool = False, **request: Any) -> tuple[pa.Table, list[BadSeed]]:
    """The seeds of a file with this content, decoded as inject does."""
    content = text.encode() if isinstance(text, str) else text
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", errors="surrogateescape", newline="\n")
    return SeedReader(settings(**request), NOW, update).read(enumerate(lines, 1), 0)


def seed(line: str | bytes, **request: Any) -> dict[str, Any]:
    """What the line says: its row's values that are not null."""
    table, bad = read(line, **request)
    assert bad == []
    [row] = rows(table)
    return {name: value for name, value in row.items() if value is not None}


PLAIN = {
    "fingerprint": url_fingerprint(SITE), "url": SITE, "host": "x.test", "injected": True, "depth": 0,
    "discovered_at": NOW, "order": 1,
}  # fmt: skip


def test_a_url_alone() -> None:
    assert seed(SITE) == PLAIN
    assert read(SITE)[0].schema == SeedReader.schema


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("score=2.5", {"score": 2.5}),
        ("score= -1e3 ", {"score": -1000.0}),
        ("interval=90", {"interval": 90}),
        ("interval=90s", {"interval": 90}),
        ("interval=5 m", {"interval": 300}),
        ("interval=12h", {"interval": 43_200}),
        ("interval=30d", {"interval": 2_592_000}),
        ("interval=2w", {"interval": 1_209_600}),
        ("interval.fixed=1d", {"interval": 86_400, "interval_fixed": True}),
        ("interval=1h\tinterval.fixed=1d", {"interval": 86_400, "interval_fixed": True}),
        ("interval.fixed=1d\tinterval=1h", {"interval": 86_400, "interval_fixed": True}),
        ("priority=7", {"priority": 7}),
        ("priority=-2147483648", {"priority": -(1 << 31)}),
        ("nutch.score=2.5", {"score": 2.5}),
        ("nutch.fetchInterval=90", {"interval": 90}),
        ("nutch.fetchInterval.fixed=90", {"interval": 90, "interval_fixed": True}),
        ("lang=en", {"metadata": [("lang", "en")]}),
        ("lang=en\tteam=a=b\tempty=", {"metadata": [("lang", "en"), ("team", "a=b"), ("empty", "")]}),
        ("lang=en\tlang=de", {"metadata": [("lang", "de")]}),
        (" lang =  e n", {"metadata": [("lang", "  e n")]}),
        ("ländle=größe 日本 😀", {"metadata": [("ländle", "größe 日本 😀")]}),
        ("Score=3", {"metadata": [("Score", "3")]}),
        ("method=GET", {}),
        ("method= get ", {}),
        ("body=", {}),
        ("\t  \tscore=1\t\t", {"score": 1.0}),
    ],
)
def test_fields(field: str, expected: dict[str, Any]) -> None:
    assert seed(f"{SITE}\t{field}") == PLAIN | expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a=1&b=2", b"a=1&b=2"),
        (r"one\ntwo\tthree", b"one\ntwo\tthree"),
        (r"back\\slash \\n", b"back\\slash \\n"),
        (r"\x \d", b"\\x \\d"),
        ("ü", "ü".encode()),
    ],
)
def test_bodies(body: str, expected: bytes) -> None:
    row = seed(f"{SITE}\tmethod=POST\tbody={body}")
    assert row["body"] == expected
    assert row["fingerprint"] == fingerprint(SITE, "POST", expected)


def test_a_body_may_be_any_bytes() -> None:
    row = seed(SITE.encode() + b"\tmethod=PUT\tbody=\xff\xfe\x00\x80")
    assert row["body"] == b"\xff\xfe\x00\x80"


def test_a_post_with_everything() -> None:
    line = f'{SITE}api\tmethod=post\tbody={{"q": 1}}\theaders={{"Content-Type": " application/json ", "X-A": "é"}}\tlang=en'
    assert seed(line) == PLAIN | {
        "fingerprint": fingerprint(f"{SITE}api", "POST", b'{"q": 1}'),
        "url": f"{SITE}api",
        "method": "POST",
        "body": b'{"q": 1}',
        "headers": [("Content-Type", "application/json"), ("X-A", "é")],
        "metadata": [("lang", "en")],
    }


def test_a_get_with_a_body_is_one_request_however_it_is_written() -> None:
    assert seed(f"{SITE}\tbody=q") == seed(f"{SITE}\tmethod=GET\tbody=q")
    assert seed(f"{SITE}\tbody=q")["fingerprint"] == fingerprint(SITE, "GET", b"q") != url_fingerprint(SITE)


def test_headers_count_for_the_fingerprint_only_when_they_are_chosen() -> None:
    line = f'{SITE}\theaders={{"Accept-Language": "de", "X-A": "1"}}'
    assert seed(line)["fingerprint"] == url_fingerprint(SITE)
    chosen = seed(line, fingerprint_headers=["ACCEPT-language", "Cookie"])
    assert chosen["fingerprint"] == fingerprint(SITE, headers={"Accept-Language": "de"})
    assert chosen["headers"] == [("Accept-Language", "de"), ("X-A", "1")]
    assert seed(SITE, fingerprint_headers=["Accept-Language"])["fingerprint"] == url_fingerprint(SITE)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("HTTP://X.test:80/a/../b?b=2&a=1#top", "http://x.test/b?a=1&b=2"),
        ("http://user:secret@x.test/", "http://x.test/"),
        ("https://bücher.test/ü", "https://xn--bcher-kva.test/%C3%BC"),
        ("http://x.test/two words", "http://x.test/two%20words"),
        ("  http://x.test/  ", "http://x.test/"),
    ],
)
def test_urls_become_canonical(written: str, url: str) -> None:
    assert seed(written)["url"] == seed(f"{written} \tscore=1")["url"] == url
    assert seed(written)["fingerprint"] == url_fingerprint(url)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("ftp://x.test/", "not an http or https URL: ftp://x.test/"),
        ("x.test", "not an http or https URL: x.test"),
        ("\tscore=1", "not an http or https URL: score=1"),
        ("http://", "not an http or https URL: http://"),
        ("mailto:\x1b[2J\x07a", r"not an http or https URL: mailto:\x1b[2J\x07a"),
        ("x" * 300, "not an http or https URL: " + "x" * 200 + "…"),
        (f"{SITE}{'y' * 100}", f"refused by URL filter length: {SITE}{'y' * 100}"),
        (f"{SITE} score=1", f"expected a tab before key=value, and %20 for a space: {SITE} score=1"),
        (b"http://x.test/\xe9", r"not UTF-8: http://x.test/\udce9"),
        (b"http://x.test/\tcity=Malm\xf6", r"not UTF-8: city=Malm\udcf6"),
        (b'http://x.test/\theaders={"A": "\xf6"}', r'not UTF-8: headers={"A": "\udcf6"}'),
        (f"{SITE}\tscore", "expected key=value, found: score"),
        (f"{SITE}\t=1", "expected key=value, found: =1"),
        (f"{SITE}\tscore=", "score=: expected a number"),
        (f"{SITE}\tscore=high", "score=high: expected a number"),
        (f"{SITE}\tscore=nan", "score=nan: expected a number"),
        (f"{SITE}\tscore=inf", "score=inf: expected a number"),
        (f"{SITE}\tscore=1e39", "score=1e39: expected a number"),
        (f"{SITE}\tnutch.score=x", "nutch.score=x: expected a number"),
        (f"{SITE}\tpriority=1.5", "priority=1.5: expected a whole number of 32 bits"),
        (f"{SITE}\tpriority=2147483648", "priority=2147483648: expected a whole number of 32 bits"),
        (f"{SITE}\tpriority={'9' * 100}", f"priority={'9' * 100}: expected a whole number of 32 bits"),
        *(
            (f"{SITE}\t{key}={value}",
             f"{key}={value}: expected seconds, or a number with s, m, h, d or w, such as 12h")
            for key, value in [("interval", "0"), ("interval", "-5"), ("interval", "1.5h"), ("interval", "soon"),
                               ("interval", ""), ("interval.fixed", "5y"), ("nutch.fetchInterval", "9999999999"),
                               ("interval", "9999w")]
        ),
        (f"{SITE}\tmethod=", "method=: expected an HTTP method, such as POST"),
        (f"{SITE}\tmethod=PO ST", "method=PO ST: expected an HTTP method, such as POST"),
        *(
            (f"{SITE}\theaders={value}",
             f'headers={value}: expected a JSON object of strings, such as {{"Accept": "text/html"}}')
            for value in ["", "Accept: */*", "[]", '{"A": 1}', '"A"', "null"]
        ),
        (f'{SITE}\theaders={{"A B": "1"}}', 'headers={"A B": "1"}: not a header field that HTTP can carry: A B'),
        (f'{SITE}\theaders={{"": "1"}}', 'headers={"": "1"}: not a header field that HTTP can carry: '),
        (f'{SITE}\theaders={{"A": "1\\r\\nB: 2"}}',
         'headers={"A": "1\\r\\nB: 2"}: not a header field that HTTP can carry: A'),
        (f'{SITE}\theaders={{"A": "\\ud800"}}', 'headers={"A": "\\ud800"}: not a header field that HTTP can carry: A'),
        (f'{SITE}\theaders={{"A": "日本"}}', 'headers={"A": "日本"}: not a header field that HTTP can carry: A'),
    ],
)  # fmt: skip
def test_bad_lines(line: str | bytes, why: str) -> None:
    table, bad = read(line)
    assert table.num_rows == 0
    assert bad == [BadSeed(1, why)]


def test_deeply_nested_headers() -> None:
    [bad] = read(f"{SITE}\theaders={'[' * 100_000}")[1]
    assert bad.why.endswith('…: expected a JSON object of strings, such as {"Accept": "text/html"}')


def test_a_file_as_it_comes() -> None:
    """A byte order mark, CRLF, comments, blank lines, a bad line in the middle, no line end at the end."""
    content = (
        b"\xef\xbb\xbf# seeds\r\n\r\nhttp://x.test/a\tlang=en\r\n   \r\n\t\r\nnonsense\r\n  # indented\r\n"
        b"http://x.test/b\tscore=2\n\nhttp://x.test/c"
    )
    table, bad = read(content)
    assert table["url"].to_pylist() == ["http://x.test/a", "http://x.test/b", "http://x.test/c"]
    assert table["order"].to_pylist() == [3, 8, 10]
    assert table["metadata"].to_pylist() == [[("lang", "en")], None, None]
    assert bad == [BadSeed(6, "not an http or https URL: nonsense")]


def test_a_byte_order_mark_before_a_url() -> None:
    assert seed(b"\xef\xbb\xbf" + SITE.encode()) == PLAIN


def test_a_file_in_utf_16_is_told_line_by_line() -> None:
    table, bad = read(f"{SITE}\n{SITE}\n".encode("utf-16"))
    assert table.num_rows == 0
    assert len(bad) >= 2
    assert all(seed.why.isprintable() for seed in bad)


def test_no_lines() -> None:
    table, bad = read("")
    assert (table.num_rows, table.schema, bad) == (0, SeedReader.schema, [])


def test_order_counts_from_where_the_input_stands() -> None:
    reader = SeedReader(settings(), NOW, False)
    table, _ = reader.read([(5, SITE), (9, SITE)], 1 << 40)
    assert table["order"].to_pylist() == [(1 << 40) + 5, (1 << 40) + 9]


def test_update_is_on_every_row() -> None:
    table, _ = read(f"{SITE}\n{SITE}a\tscore=1\n", update=True)
    assert table["update"].to_pylist() == [True, True]


def test_a_seed_becomes_a_state() -> None:
    table, _ = read(f"{SITE}\tscore=3\tinterval.fixed=1h\tlang=en\tpriority=2")
    state = apply(schema.STATE.empty_table(), table.select(schema.DELTA.names), Policy())
    [row] = rows(state)
    assert {name: value for name, value in row.items() if value is not None} == {
        "fingerprint": url_fingerprint(SITE), "url": SITE, "host": "x.test", "status": "unfetched", "due_at": NOW,
        "interval": 3600, "interval_fixed": True, "retries": 0, "score": 3.0, "depth": 0, "priority": 2,
        "metadata": [("lang", "en")], "discovered_at": NOW,
    }  # fmt: skip


@given(st.lists(st.binary(max_size=40) | st.text("abc:/.?# \t=\\é\x00", max_size=40).map(str.encode), max_size=5))
@example([b"http://x.test/\theaders={}", b"http://x.test/\tbody=\\"])
def test_any_bytes_are_seeds_or_bad_lines_or_nothing(lines: list[bytes]) -> None:
    prefixed = [line if number % 2 else b"http://x.test/\t" + line for number, line in enumerate(lines)]
    table, bad = read(b"\n".join(prefixed))
    assert table.num_rows + len(bad) <= sum(line.count(b"\n") + 1 for line in prefixed)
    assert all(seed.why.isprintable() for seed in bad)
    table.validate(full=True)
