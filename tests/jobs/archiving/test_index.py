"""Which capture answers at a virtual time, and what a replay makes of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from crawldb import hosts as hostdb
from crawldb.filesystem import LocalFileSystem
from crawldb.fingerprint import url_fingerprint
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import host_of
from jobs.archiving import index, pages, rows
from jobs.archiving.records import WarcFile, head_of
from jobs.fetching import FetchReport, FetchRequest, FetchResult, KnownRobots, engine

FIRST, SECOND = 1_000_000, 2_000_000
URL = "http://a.example/"


def page(url: str = URL, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(
        ("headers", "method", "body", "metadata", "protocol", "ip_address", "truncated", "rendered", "request_headers")
    )
    row |= {"fingerprint": url_fingerprint(url), "url": url, "host": host_of(url), "score": 1.0, "depth": 0, "outcome": "success",
            "http_status": 200, "fetched_at": FIRST + 5, "content": b"first", "response_headers": []} | values  # fmt: skip
    row["content_bytes"] = None if row["content"] is None else len(row["content"])
    return row


def unmodified(at: int) -> dict[str, Any]:
    return page(outcome="notmodified", http_status=304, content=None, fetched_at=at, reason="http_304")


class Archives:
    """Writes archives of rounds, and replays requests against them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Settings()
        self.settings.http.agent_name = "bot"

    def round(self, generated_at: int, *pages: dict[str, Any], robots: Any = (), left: Any = ()) -> None:
        path = self.directory / f"{generated_at}.warc"
        file = WarcFile(LocalFileSystem(), str(path), None)
        archive = rows.Archive(
            file, path.name, rows.Origin(f"s{generated_at}", f"s{generated_at}/x", generated_at, "", [])
        )
        with file:
            archive.info(0)
            for number, row in enumerate(pages):
                archive.page(number, row)
            for number, row in enumerate(rows.dicts(hostdb.learned(robots)) if robots else ()):
                archive.robots(100 + number, row)
            for number, row in enumerate(left):
                archive.left(200 + number, row)
            file.publish()
        self.settings.warc.replay.append(str(path))

    def fetch(self, at: int, *urls: str, known: Any = (), **fields: Any) -> tuple[FetchReport, list[FetchResult]]:
        self.settings.run.clock = at
        self.settings.fetch.engine = "replay"
        values: dict[str, Any] = {
            "method": None,
            "headers": None,
            "body": None,
            "etag": None,
            "last_modified": None,
            **fields,
        }
        requests = [
            FetchRequest(url_fingerprint(url), url, host=host_of(url), row=row, **values)
            for row, url in enumerate(urls)
        ]
        results: list[FetchResult] = []
        report = engine(self.settings)(requests, self.settings, results.append, threading.Event(), known)
        assert report.fetched + sum(report.left.values()) == len(requests)
        return report, results


@pytest.fixture
def archives(tmp_path: Path) -> Archives:
    return Archives(tmp_path)


@pytest.mark.parametrize(
    ("at", "content", "fetched_at"),
    [(FIRST, b"first", FIRST + 5), (SECOND, b"second", SECOND + 5), (SECOND + 1, b"second", SECOND + 5),
     (SECOND + 10**6, b"second", SECOND + 10**6), (FIRST - 9, b"first", FIRST - 9)],
)  # fmt: skip
def test_the_version_in_force(archives: Archives, at: int, content: bytes, fetched_at: int) -> None:
    archives.round(FIRST, page())
    archives.round(SECOND, page(content=b"second", fetched_at=SECOND + 5))
    _, (found,) = archives.fetch(at, URL)
    assert (found.content, found.fetched_at) == (content, fetched_at)


def test_a_later_version_is_not_in_force_yet(archives: Archives) -> None:
    archives.round(FIRST, page())
    archives.round(SECOND, page("http://a.example/other"))
    archives.round(SECOND * 2, page(content=b"third", fetched_at=SECOND * 2 + 5))
    _, (found,) = archives.fetch(SECOND, URL)
    assert (found.content, found.fetched_at) == (b"first", SECOND)


def test_304_answers_who_has_validators(archives: Archives) -> None:
    archives.round(FIRST, page())
    archives.round(SECOND, unmodified(SECOND + 5))
    _, (plain,) = archives.fetch(SECOND, URL)
    assert (plain.outcome, plain.content) == (FetchOutcome.success, b"first")
    _, (conditional,) = archives.fetch(SECOND, URL, etag='"1"')
    assert (conditional.outcome, conditional.http_status, conditional.fetched_at) == (
        FetchOutcome.notmodified,
        304,
        SECOND + 5,
    )


def test_what_is_not_archived_is_gone(archives: Archives) -> None:
    archives.round(FIRST, page())
    report, found = archives.fetch(FIRST, "http://b.example/", URL)
    assert [(one.outcome, one.reason) for one in found] == [
        (FetchOutcome.gone, "not_archived"),
        (FetchOutcome.success, None),
    ]
    assert found[0].fetched_at == FIRST
    assert not report.left


def test_what_was_left_is_left_in_its_round_alone(archives: Archives) -> None:
    archives.round(FIRST, left=[page()])
    archives.round(SECOND, page(content=b"second", fetched_at=SECOND + 5))
    report, found = archives.fetch(FIRST, URL)
    assert (report.left, found) == ({"archived": 1}, [])
    _, (later,) = archives.fetch(SECOND, URL)
    assert later.content == b"second"


def test_robots_txt_is_read_anew(archives: Archives) -> None:
    """By today's name; what it denied when it was archived has no answer to give."""
    body = b"User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /x"
    robots = [("http://a.example", "http://a.example/robots.txt", FIRST + 1, 200, body, False, None, None, None)]
    denied = page("http://a.example/x", outcome="gone", http_status=None, reason="robots_denied", content=None)
    archives.round(FIRST, page(), denied, robots=robots)
    report, found = archives.fetch(FIRST, URL, "http://a.example/x")
    assert [(one.outcome.name, one.reason) for one in found] == [("success", None), ("gone", "robots_denied")]
    assert [one.origin for one in report.robots] == ["http://a.example"]
    archives.settings.http.agent_name = "other"
    _, found = archives.fetch(FIRST, URL)
    assert [one.reason for one in found] == ["robots_denied"]
    fresh = KnownRobots("http://a.example", "http://a.example/robots.txt", FIRST - 5, 404, None, False, None)
    report, found = archives.fetch(FIRST, URL, "http://a.example/x", known=[fresh])
    assert [(one.outcome.name, one.reason) for one in found] == [("success", None), ("gone", "not_archived")]
    assert report.robots == []


def test_failures_come_as_they_were(archives: Archives) -> None:
    values = {"outcome": "retry", "http_status": None, "content": None, "reason": "timeout", "detail": "slow"}
    archives.round(FIRST, page(**values))
    _, (found,) = archives.fetch(FIRST, URL)
    assert (found.outcome, found.reason, found.detail) == (FetchOutcome.retry, "timeout", "slow")


def test_todays_limits_hold(archives: Archives) -> None:
    archives.round(FIRST, page(response_headers=[{"name": "Content-Type", "value": "text/html"}]))
    archives.settings.fetch.max_bytes = 3
    _, (cut,) = archives.fetch(FIRST, URL)
    assert (cut.content, cut.truncated) == (b"fir", "bytes")
    archives.settings.fetch.content_types = ["image/*"]
    _, (refused,) = archives.fetch(FIRST, URL)
    assert (refused.outcome, refused.reason, refused.content) == (FetchOutcome.gone, "content_type", None)


def test_redirects_are_followed_as_the_setting_says(archives: Archives) -> None:
    pages = [page(f"http://a.example/{n}", outcome="redir_temp", http_status=302, reason="http_302", content=None,
                  redirect_to=f"http://a.example/{n + 1}") for n in range(4)]  # fmt: skip
    archives.round(FIRST, *pages)
    for hops in (0, 1, 3):
        archives.settings.fetch.redirects = hops
        report, found = archives.fetch(FIRST, "http://a.example/0")
        assert report.followed == hops
        assert [one.request.url for one in found] == [f"http://a.example/{n}" for n in range(hops + 1)]
        assert [one.discovered_from for one in found[1:]] == [one.request.fingerprint for one in found[:-1]]
        assert [one.followed for one in found] == [False] + [True] * hops


def test_a_stop_leaves_the_rest(archives: Archives) -> None:
    archives.round(FIRST, page())
    stop = threading.Event()
    stop.set()
    archives.settings.fetch.engine, archives.settings.run.clock = "replay", FIRST
    request = FetchRequest(url_fingerprint(URL), URL, None, None, None, "a.example", None, None, 0)
    report = engine(archives.settings)([request], archives.settings, lambda _: None, stop, ())
    assert (report.fetched, report.left) == (0, {"stopped": 1})


def test_times_of_rounds() -> None:
    sessions = index.Sessions([10, 20, 500], 700)
    assert [sessions.after(at) for at in (0, 10, 499, 500, 9000)] == [10, 20, 500, 1700, 10_000]
    assert [sessions.until(at) for at in (0, 10, 500)] == [10, 20, float("inf")]


PAGE = {"fingerprint": "00" * 20, "url": "http://a.example/", "host": "a.example", "outcome": "success"}
ROBOTS = {"origin": "http://a.example", "url": "http://a.example/robots.txt", "fetched_at": 1, "status": 200,
          "has_body": False, "truncated": False, "failing_since": None, "crawl_delay": 1}  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        {"page": PAGE | {"fetched_at": "x"}}, {"page": PAGE | {"fetched_at": 10**30}}, {"page": PAGE | {"score": "x"}},
        {"page": PAGE | {"fingerprint": "00"}}, {"page": PAGE | {"detail": "\ud800"}}, {"page": PAGE | {"url": "x"}},
        {"page": PAGE | {"metadata": [[1, 2]]}}, {"page": PAGE | {"truncated": True}}, {"page": PAGE | {"depth": 1 << 20}},
        {"robots": ROBOTS | {"fetched_at": "x"}}, {"robots": ROBOTS | {"origin": None}}, {"left": {"fingerprint": "00"}},
    ],
)  # fmt: skip
def test_who_only_says_that_a_file_is_ours_breaks_nothing(tmp_path: Path, told: dict[str, Any]) -> None:
    info = b"software: Cobnut\r\ncobnut-generated-at: 1\r\ncobnut-segment: s\r\n"
    content = head_of([("WARC-Type", "warcinfo")], len(info)) + info + b"\r\n\r\n"
    for number in range(2):
        known = (
            {"cobnut": rows.FORMAT, "page": PAGE | {"fetched_at": number}}
            if number
            else {"cobnut": rows.FORMAT, **told}
        )
        block = json.dumps(known).encode()
        fields = [("WARC-Type", "metadata"), ("Content-Type", "application/json")]
        content += head_of(fields, len(block)) + block + b"\r\n\r\n"
    path = tmp_path / "a.warc"
    path.write_bytes(content)
    table, broken = index.read_archive(str(path), Settings())
    assert (table["at"].to_pylist(), len(broken)) == ([1], 1)


@pytest.mark.parametrize("at", ["\u00b2", "9" * 5000, "-1", ""])
def test_a_time_that_is_none_makes_a_file_somebody_elses(tmp_path: Path, at: str) -> None:
    info = f"software: Cobnut\r\ncobnut-generated-at: {at}\r\ncobnut-segment: s\r\n".encode()
    block = b"[" * 30_000
    content = head_of([("WARC-Type", "warcinfo")], len(info)) + info + b"\r\n\r\n"
    content += head_of([("WARC-Type", "metadata"), ("Content-Type", "application/json")], len(block)) + block
    path = tmp_path / "a.warc"
    path.write_bytes(content)
    assert pages.about(str(path)) == pages.About()
    table, broken = index.read_archive(str(path), Settings())
    assert (table.num_rows, broken) == (0, [])
