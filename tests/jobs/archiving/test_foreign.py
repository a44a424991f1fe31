"""Archives that others wrote: what a fetch would have made of the same answers."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import brotli
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawldb.fingerprint import fingerprint, url_fingerprint
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.archiving.pages import ArchivedPage, ArchivedRobots, Reader, milliseconds, unchunked
from jobs.fetching import FetchResult

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
"""warcio leaves its temporary files to the garbage collector."""

HTML = b"<p>" + b"text " * 50


class Foreign:
    """Writes an archive with warcio."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self._file = open(path, "wb")  # noqa: SIM115
        self.writer = WARCWriter(self._file, **{"gzip": True, **options})

    def record(
        self, kind: str, url: str, body: bytes = b"", line: str = "200 OK", fields: Any = (), **headers: str
    ) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        http = None
        if kind in ("response", "request", "revisit"):
            is_request = kind == "request"
            http = StatusAndHeaders(
                line, list(fields), protocol="" if is_request else "HTTP/1.1", is_http_request=is_request
            )
        made = self.writer.create_warc_record(
            url, kind, payload=io.BytesIO(body), http_headers=http, warc_headers_dict=given
        )
        self.writer.write_record(made)
        return made

    def read(self, **fetch: Any) -> list[Any]:
        self._file.close()
        settings = Settings()
        for name, value in fetch.items():
            setattr(settings.fetch, name, value)
        self.reader = Reader(str(self.path), settings)
        return list(self.reader.pages())

    def results(self, **fetch: Any) -> list[FetchResult]:
        found = self.read(**fetch)
        assert all(isinstance(one, ArchivedPage) for one in found), found
        return [one.result for one in found]


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    return Foreign(tmp_path / "foreign.warc.gz")


def chunked(body: bytes, size: int = 37) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("options", [{"warc_version": "1.0"}, {"warc_version": "1.1"}, {"gzip": False}])
def test_answers_mean_what_a_fetch_makes_of_them(tmp_path: Path, options: dict[str, Any]) -> None:
    foreign = Foreign(tmp_path / "f", **options)
    foreign.writer.write_record(foreign.writer.create_warcinfo_record("f", {"software": "other"}))
    date = {"WARC_Date": "2026-11-24T10:15:00Z"}
    foreign.record("response", "http://A.example/#x", HTML, "200 OK", [("Content-Type", "text/html"), ("ETag", '"1"')],
                   WARC_IP_Address="192.0.2.1", **date)  # fmt: skip
    foreign.record("response", "http://a.example/moved", b"", "301 Moved", [("Location", "/new")], **date)
    foreign.record("response", "http://a.example/no", b"not here", "404 Not Found", [], **date)
    foreign.record("response", "http://a.example/busy", b"", "503 Busy", [("Retry-After", "60")], **date)
    foreign.record("resource", "http://a.example/file", b"data", WARC_Type="resource", **date)
    foreign.record("resource", "urn:picture", b"data", **date)
    foreign.record("response", "dns:a.example", b"", **date)
    found = foreign.results()
    assert [(one.request.url, one.outcome.name, one.http_status) for one in found] == [
        ("http://a.example/", "success", 200), ("http://a.example/moved", "redir_perm", 301),
        ("http://a.example/no", "gone", 404), ("http://a.example/busy", "retry", 503),
        ("http://a.example/file", "success", 200),
    ]  # fmt: skip
    first, moved, no, busy, file = found
    at = milliseconds("2026-11-24T10:15:00Z")
    assert at is not None
    assert (first.content, first.etag, first.ip_address, first.fetched_at) == (HTML, '"1"', "192.0.2.1", at)
    assert first.request.fingerprint == url_fingerprint("http://a.example/")
    assert moved.redirect_to == "http://a.example/new"
    assert no.content is None
    assert busy.retry_after == at + 60_000
    assert file.content == b"data"
    assert foreign.reader.skipped == 2
    assert {one.protocol for one in found[:4]} == {"http/1.1"}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([("Content-Encoding", "gzip")], gzip.compress(HTML, mtime=0)),
        ([("Content-Encoding", "br")], brotli.compress(HTML)),
        ([("Transfer-Encoding", "chunked")], chunked(HTML)),
        ([("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")], chunked(gzip.compress(HTML, mtime=0))),
        ([("Transfer-Encoding", "chunked")], HTML),  # undone already, the field left
        ([("Content-Encoding", "gzip")], HTML),
        ([("X-Crawl-Content-Encoding", "gzip"), ("Content-Length", str(len(HTML)))], HTML),
    ],
)
def test_codings_are_undone_once(foreign: Foreign, fields: list[tuple[str, str]], body: bytes) -> None:
    foreign.record("response", "http://a.example/", body, "200 OK", fields)
    (found,) = foreign.results()
    assert (found.outcome, found.content, found.truncated) == (FetchOutcome.success, HTML, None)


def test_limits_hold(foreign: Foreign) -> None:
    foreign.record(
        "response",
        "http://a.example/bomb",
        gzip.compress(b"\0" * 5_000_000, mtime=0),
        "200 OK",
        [("Content-Encoding", "gzip")],
    )
    foreign.record("response", "http://a.example/long", b"x" * 900_000, "200 OK", [])
    foreign.record("response", "http://a.example/cut", b"x", "200 OK", [], WARC_Truncated="time")
    found = foreign.results(max_bytes=1000)
    assert [(len(one.content or b""), one.truncated) for one in found] == [
        (1000, "bytes"),
        (1000, "bytes"),
        (1, "seconds"),
    ]


@pytest.mark.parametrize("first", ["request", "response"])
@pytest.mark.parametrize("linked", [True, False])
def test_requests_are_found_beside_their_answers(foreign: Foreign, first: str, linked: bool) -> None:
    """wget writes the request before the response, others after it."""
    for number in range(3):
        url = f"http://a.example/{number}"
        ids = {kind: f"<urn:uuid:{kind}-{number}>" for kind in ("request", "response")}
        for kind in (first, "response" if first == "request" else "request"):
            other = ids["response" if kind == "request" else "request"]
            headers = {"WARC_Record_ID": ids[kind], **({"WARC_Concurrent_To": other} if linked else {})}
            if kind == "request":
                foreign.record(
                    kind, url, b"q=%d" % number, f"POST /{number} HTTP/1.1", [("X-Number", str(number))], **headers
                )
            else:
                foreign.record(kind, url, b"body %d" % number, "200 OK", [], **headers)
    found = foreign.read()
    assert [one.result.request.method for one in found] == ["POST"] * 3
    assert [one.result.request.body for one in found] == [b"q=0", b"q=1", b"q=2"]
    assert [one.result.request_headers for one in found] == [[("X-Number", str(number))] for number in range(3)]
    assert found[0].result.request.fingerprint == fingerprint("http://a.example/0", "POST", b"q=0")
    for one in found:
        assert foreign.reader.at(one.place, foreign.reader.about).result == one.result


def test_revisits(foreign: Foreign) -> None:
    """With its content in the file it is that; else all that is known is that nothing changed."""
    full = foreign.record("response", "http://a.example/", HTML, "200 OK", [("Content-Type", "text/html")])
    digest = full.rec_headers["WARC-Payload-Digest"]
    profile = "http://netpreserve.org/warc/1.0/revisit/identical-payload-digest"
    for url, known in (("http://a.example/same", digest), ("http://a.example/elsewhere", "sha1:AAAA")):
        made = foreign.writer.create_revisit_record(
            url,
            known,
            "http://a.example/",
            "2026-01-01T00:00:00Z",
            StatusAndHeaders("200 OK", [("X", "y")], protocol="HTTP/1.1"),
        )
        assert made.rec_headers["WARC-Profile"] == profile
        foreign.writer.write_record(made)
    first, same, elsewhere = foreign.results()
    assert first.content == same.content == HTML
    assert same.response_headers == [("X", "y")]
    assert (elsewhere.outcome, elsewhere.http_status) == (FetchOutcome.notmodified, 304)


def test_robots_txt_is_what_hosts_say(foreign: Foreign) -> None:
    foreign.record(
        "response",
        "https://a.example/robots.txt",
        chunked(b"User-agent: *"),
        "200 OK",
        [("Transfer-Encoding", "chunked")],
    )
    foreign.record("response", "http://b.example:8080/robots.txt", b"", "503 Busy", [])
    foreign.record("response", "http://b.example/sub/robots.txt", b"x", "200 OK", [])
    first, second, page = foreign.read()
    assert isinstance(first, ArchivedRobots)
    assert first.known[:2] + first.known[3:] == (
        "https://a.example",
        "https://a.example/robots.txt",
        200,
        b"User-agent: *",
        False,
        None,
    )
    assert isinstance(second, ArchivedRobots)
    assert (second.known.origin, second.known.failing_since) == ("http://b.example:8080", second.known.fetched_at)
    assert isinstance(page, ArchivedPage)


@pytest.mark.parametrize(
    ("date", "at"),
    [("1970-01-01T00:00:01Z", 1000), ("1970-01-01T00:00:00.25Z", 250), ("1970-01-01T00:00:00.123456789Z", 123),
     ("1971", 31_536_000_000), ("1970-02", 2_678_400_000), ("1970-01-02", 86_400_000), ("1970-01-01T00:01", 60_000),
     ("yesterday", None), ("", None), ("1970-13-01T00:00:00Z", None)],
)  # fmt: skip
def test_dates_of_any_precision(date: str, at: int | None) -> None:
    assert milliseconds(date) == at


@pytest.mark.parametrize(
    "body", [b"", b"0\r\n\r\n", b"text", b"5\r\nab", b"-5\r\nab", b"zz\r\n", b"10", b"a\n0123456789\n0\n\n"]
)
def test_unchunked_never_raises(body: bytes) -> None:
    assert unchunked(body) in (body, b"", b"ab", b"0123456789")
