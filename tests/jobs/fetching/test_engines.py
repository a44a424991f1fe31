"""The contract of every fetch engine with a server that misbehaves: what it does is data, and what it gets is bounded."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crawldb.errors import UsageError
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.fetching import ENGINES, FetchRequest, engine
from jobs.fetching.sending import user_agent

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]
PAGE = b"<html><title>A page</title>" + b"text " * 100 + b"</html>"
MEGABYTE = 1 << 20


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


OK = b"HTTP/1.1 200 OK\r\n"
GZIP = "Content-Encoding: gzip"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MANY_FIELDS = b"".join(b"X-Field-%d: value\r\n" % number for number in range(500))

ANSWERS = [
    # (what, what is written, then, outcome, reason, content, truncated)
    ("plain", OK + b"Content-Length: 5\r\n\r\nhello", "keep", O.success, None, b"hello", None),
    ("empty", OK + b"Content-Length: 0\r\n\r\n", "keep", O.success, None, b"", None),
    ("no length, closed", OK + b"\r\nhello", "close", O.success, None, b"hello", None),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", "close", O.success, None, b"hello", None),
    ("no reason phrase", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "keep", O.success, None, b"hello", None),
    ("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", "keep", O.success, None, b"hello", None),
    ("chunked", OK + CHUNKED + b"\r\n" + chunked(b"hel", b"lo"), "keep", O.success, None, b"hello", None),
    ("chunked and a length", OK + CHUNKED + b"Content-Length: 3\r\n\r\n" + chunked(b"hello"), "keep", O.success, None,
     b"hello", None),
    ("chunk extensions and trailers", OK + CHUNKED + b"\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", "keep", O.success,
     None, b"hello", None),
    ("gzip", OK + b"Content-Encoding: gzip\r\n\r\n" + gzipped(PAGE), "close", O.success, None, PAGE, None),
    ("x-gzip", OK + b"Content-Encoding: X-GZIP\r\n\r\n" + gzipped(PAGE), "close", O.success, None, PAGE, None),
    ("gzip in two members", OK + b"Content-Encoding: gzip\r\n\r\n" + gzipped(PAGE) + gzipped(PAGE), "close", O.success,
     None, PAGE + PAGE, None),
    ("gzip and garbage", OK + b"Content-Encoding: gzip\r\n\r\n" + gzipped(PAGE) + b"garbage", "close", O.success, None,
     PAGE, None),
    ("gzip, chunked", OK + CHUNKED + b"Content-Encoding: gzip\r\n\r\n" + chunked(gzipped(PAGE)), "keep", O.success,
     None, PAGE, None),
    ("gzip twice", OK + b"Content-Encoding: gzip, gzip\r\n\r\n" + gzipped(gzipped(PAGE)), "close", O.success, None,
     PAGE, None),
    ("zlib deflate", OK + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(PAGE), "close", O.success, None, PAGE,
     None),
    ("raw deflate", OK + b"Content-Encoding: deflate\r\n\r\n" + raw_deflate(PAGE), "close", O.success, None, PAGE, None),
    ("a coding that is none", OK + b"Content-Encoding: utf-8\r\n\r\nhello", "close", O.success, None, b"hello", None),
    ("a coding nobody has", OK + b"Content-Encoding: sdch\r\n\r\nhello", "close", O.retry, "encoding", None, None),
    ("not gzip", OK + b"Content-Encoding: gzip\r\n\r\nhello", "close", O.retry, "encoding", None, None),
    ("100, then 200", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello", "keep", O.success, None,
     b"hello", None),
    ("103, then 200", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello", "keep",
     O.success, None, b"hello", None),
    ("endless 102", b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, "keep", O.retry, "protocol", None, None),
    ("no status line", b"hello, this is no HTTP\r\n\r\n", "close", O.retry, "protocol", None, None),
    ("nothing but a line end", b"\r\n", "close", O.retry, "protocol", None, None),
    ("an odd protocol", b"ICY 200 OK\r\n\r\nhello", "close", O.retry, "protocol", None, None),
    ("no number", b"HTTP/1.1 abc OK\r\n\r\n", "close", O.retry, "protocol", None, None),
    ("closed without a word", b"", "close", O.retry, "broken", None, None),
    ("reset without a word", b"", "reset", O.retry, "broken", None, None),
    ("closed in the header", OK + b"Content-Type: text/html\r\n", "close", O.retry, "broken", None, None),
    ("closed in the body", OK + b"Content-Length: 100\r\n\r\nhello", "close", O.success, None, b"hello", "broken"),
    ("reset in the body", OK + b"Content-Length: 100\r\n\r\nhello", "reset", O.success, None, b"hello", "broken"),
    ("closed before the body", OK + b"Content-Length: 100\r\n\r\n", "close", O.retry, "broken", None, None),
    ("closed in a chunk", OK + CHUNKED + b"\r\n5\r\nhello\r\n9\r\nwor", "close", O.success, None, b"hellowor", "broken"),
    ("a bad chunk size", OK + CHUNKED + b"\r\nzz\r\nhello\r\n", "close", O.retry, "broken", None, None),
    ("closed in the gzip", OK + CHUNKED + b"Content-Encoding: gzip\r\n\r\n5\r\n" + gzipped(PAGE)[:5], "close", O.retry,
     "broken", None, None),
    ("a length that is none", OK + b"Content-Length: many\r\n\r\nhello", "close", O.success, None, b"hello", None),
    ("a negative length", OK + b"Content-Length: -1\r\n\r\nhello", "close", O.success, None, b"hello", None),
    ("one length twice", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello!!!", "keep", O.success, None,
     b"hello", None),
    ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "keep", O.retry, "protocol", None, None),
    ("a field without a colon", OK + b"nonsense\r\nContent-Length: 5\r\n\r\nhello", "keep", O.success, None, b"hello",
     None),
    ("500 fields", OK + MANY_FIELDS + b"Content-Length: 5\r\n\r\nhello", "keep", O.success, None, b"hello", None),
    ("a huge header", OK + b"X: " + b"x" * MEGABYTE + b"\r\n\r\n", "close", O.retry, "protocol", None, None),
    ("endless fields", OK + b"X: yyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 40_000, "close", O.retry, "protocol", None, None),
    ("no Content-Type", OK + b"Content-Length: 5\r\n\r\nhello", "keep", O.success, None, b"hello", None),
    ("203", b"HTTP/1.1 203 X\r\nContent-Length: 5\r\n\r\nhello", "keep", O.success, "http_203", b"hello", None),
    ("204", b"HTTP/1.1 204 X\r\n\r\n", "keep", O.retry, "http_204", None, None),
    ("206, a part", b"HTTP/1.1 206 X\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nhello", "keep", O.success,
     "http_206", b"hello", "broken"),
    ("206, all of it", b"HTTP/1.1 206 X\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\n\r\nhello", "keep",
     O.success, "http_206", b"hello", None),
    ("304", b"HTTP/1.1 304 X\r\nContent-Length: 100\r\n\r\n", "keep", O.notmodified, "http_304", None, None),
    ("403", b"HTTP/1.1 403 X\r\nContent-Length: 5\r\n\r\nhello", "keep", O.retry, "http_403", None, None),
    ("404", b"HTTP/1.1 404 X\r\nContent-Length: 5\r\n\r\nhello", "keep", O.gone, "http_404", None, None),
    ("410, endless", b"HTTP/1.1 410 X\r\n\r\n" + b"x" * MEGABYTE, "keep", O.gone, "http_410", None, None),
    ("500, cut off", b"HTTP/1.1 500 X\r\nContent-Length: 50\r\n\r\nhello", "close", O.retry, "http_500", None, None),
    ("999", b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", "keep", O.retry, "http_999", None, None),
]  # fmt: skip


NOT_FOR_LIBCURL = [
    written for name, written, *_ in ANSWERS
    if name in ("no status line", "nothing but a line end", "an odd protocol", "no number", "a length that is none",
                "a negative length", "two lengths", "a field without a colon")
]  # fmt: skip
"""HTTP that libcurl refuses: the curl engine asks such a host again, as the requests engine does."""


@pytest.mark.parametrize(
    ("written", "then", "outcome", "reason", "content", "truncated"),
    [case[1:] for case in ANSWERS],
    ids=[case[0] for case in ANSWERS],
)
def test_answers(
    crawl: Crawl, server: Any, tools: Any, written: bytes, then: str, outcome: FetchOutcome, reason: str | None,
    content: bytes | None, truncated: str | None,
) -> None:  # fmt: skip
    server.on("/page", tools.says(written, then))
    server.on("/after", tools.answer(200, b"fine"))
    run = crawl([server.url("/page"), server.url("/after")], tools.polite(max_seconds=5.0))
    result = run.by_url[server.url("/page")]
    assert (result.outcome, result.reason, result.content, result.truncated) == (outcome, reason, content, truncated)
    assert result.detail or outcome is not O.retry or (reason or "").startswith("http_")
    assert run.by_url[server.url("/after")].content == b"fine", "whatever came before on the connection"
    # The connection was kept from robots.txt: a server that hangs up on it at once is given one more chance
    twice = not written or (crawl.engine != "requests" and written in NOT_FOR_LIBCURL)  # type: ignore[attr-defined]
    assert len(server.asked("/page")) == (2 if twice else 1)


def test_a_result_says_all_there_is_to_say(crawl: Crawl, server: Any, tools: Any) -> None:
    fields = ["Content-Type: text/html; charset=utf-8", 'ETag: "abc"', "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT",
              "Set-Cookie: a=1", "Set-Cookie: b=2", "x-Case: K\u00e9pt"]  # fmt: skip
    server.on("/", tools.answer(200, PAGE, *fields))
    before = time.time() * 1000
    result = crawl(server.url("/")).only
    assert result.outcome is O.success
    assert (result.http_status, result.reason, result.detail, result.truncated) == (200, None, None, None)
    assert (result.etag, result.last_modified) == ('"abc"', "Tue, 24 Nov 2026 10:00:00 GMT")
    assert result.content == PAGE
    assert result.ip_address == "127.0.9.1"
    assert before - 1 <= result.fetched_at <= time.time() * 1000
    assert 0 <= result.elapsed <= time.time() * 1000 - before + 1
    assert result.response_headers == [
        *(tuple(field.split(": ", 1)) for field in fields), ("Content-Length", str(len(PAGE)))
    ]  # fmt: skip


def test_what_is_sent(crawl: Crawl, server: Any, tools: Any) -> None:
    """The canonical URL's own spelling, our headers, no cookies; one connection for all of a host."""
    settings = tools.polite()
    settings.http.agent_version, settings.http.agent_url = "2.0", "https://example.com/bot"
    server.on("/", tools.answer(200, b"x", "Set-Cookie: a=1"))
    server.on("/a|b/~c;d", tools.answer(200, b"y"))
    crawl([server.url("/"), server.url("/a|b/~c;d?q=%C3%A9&r=a%2Fb")], settings)
    first, second = server.asked()
    assert (first.method, first.target, second.target) == ("GET", "/", "/a|b/~c;d?q=%C3%A9&r=a%2Fb")
    assert first.headers["User-Agent"] == "testbot/2.0 (https://example.com/bot)"
    assert first.headers["Host"] == f"127.0.9.1:{server.port}"
    assert first.headers["Accept"] == settings.http.accept
    assert first.headers["Accept-Language"] == settings.http.accept_language
    assert "gzip" in first.headers["Accept-Encoding"]
    assert "Cookie" not in second.headers
    assert {arrival.connection for arrival in server.arrivals} == {1}


def test_the_environment_is_not_asked(crawl: Crawl, server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch,
                                      tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / ".netrc").write_text("machine 127.0.9.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.9.9:1")
    server.on("/", tools.answer(200, b"x"))
    assert crawl(server.url("/")).only.content == b"x"
    assert "Authorization" not in server.asked("/")[0].headers


@pytest.mark.parametrize("conditional", [True, False])
def test_conditional_requests(crawl: Crawl, server: Any, tools: Any, conditional: bool) -> None:
    server.on("/", tools.answer(304, b""))
    asked = tools.request(server.url("/"), etag='W/"x"', last_modified="Tue, 24 Nov 2026 10:00:00 GMT")
    assert crawl(asked, tools.polite(conditional=conditional)).only.outcome is O.notmodified
    headers = server.asked("/")[0].headers
    expected = ('W/"x"', "Tue, 24 Nov 2026 10:00:00 GMT") if conditional else (None, None)
    assert (headers.get("If-None-Match"), headers.get("If-Modified-Since")) == expected


def test_an_etag_with_a_line_end_in_it_is_not_sent(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/", tools.answer(200, b"x"))
    assert crawl(tools.request(server.url("/"), etag='"a"\r\nX-Injected: 1')).only.outcome is O.success
    assert "If-None-Match" not in server.asked("/")[0].headers
    assert "X-Injected" not in server.asked("/")[0].headers


def test_other_methods_bodies_and_headers(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/form", tools.answer(200, b"done"))
    server.on("/head", tools.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    headers = {"Content-Type": "text/plain", "accept": "text/plain", "Content-Length": "999"}
    run = crawl([
        tools.request(server.url("/form"), method="POST", body=b"a=\x00\xff", headers=headers),
        tools.request(server.url("/head"), method="HEAD"),
        tools.request(server.url("/form"), method="PURGE"),
    ])  # fmt: skip
    assert [result.outcome for result in run.results] == [O.success] * 3
    post, head, purge = server.asked()
    assert (post.method, post.body, post.headers["Content-Type"]) == ("POST", b"a=\x00\xff", "text/plain")
    assert (post.headers["Content-Length"], post.headers["accept"]) == ("4", "text/plain")
    assert "Accept" not in post.headers, "a request's own header replaces ours"
    assert (head.method, purge.method) == ("HEAD", "PURGE")
    assert run.results[1].content == b""


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": "\0"}},
        {"headers": {"X": "\u20ac"}},
        {"headers": {"X\r\nY": "b"}},
        {"headers": {"": "b"}},
        {"method": "GET / HTTP/1.1\r\nX: y\r\n\r\n"},
        {"method": ""},
    ],
)
def test_what_must_not_be_sent_is_not(crawl: Crawl, server: Any, tools: Any, fields: dict[str, Any]) -> None:
    result = crawl(tools.request(server.url("/"), **fields)).only
    assert (result.outcome, result.reason) == (O.gone, "bad_request")
    assert result.detail
    assert server.arrivals == []


@pytest.mark.parametrize("url", ["bad", "bad://x/", "bad\r\n/", "bad http://127.0.9.1/"])
def test_what_is_no_url_is_data_too(crawl: Crawl, tools: Any, url: str) -> None:
    asked = FetchRequest(b"x" * 20, url, None, None, None, "127.0.9.1", None, None, 0)
    assert crawl(asked).only.reason == "bad_request"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(300, O.redir_perm), (301, O.redir_perm), (302, O.redir_temp), (303, O.redir_temp), (305, O.redir_perm),
     (307, O.redir_temp), (308, O.redir_perm)],
)  # fmt: skip
def test_redirects_are_not_followed(crawl: Crawl, server: Any, tools: Any, status: int, outcome: FetchOutcome) -> None:
    server.on("/a/", tools.answer(status, b"<a href>", "Location: ../b?x=1#frag"))
    result = crawl(server.url("/a/")).only
    assert (result.outcome, result.reason, result.content) == (outcome, f"http_{status}", None)
    assert result.redirect_to == server.url("/b?x=1")
    assert len(server.asked()) == 1


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("Location: {here}", "{here}"),
        ("location:   //127.0.9.2/x  ", "http://127.0.9.2/x"),
        ("Location: HTTP://EXAMPLE.com:80/%7Ea/../b", "http://example.com/b"),
        ("Location: /caf\u00e9", "{root}/caf%C3%A9"),
        ("Location: ", "{here}"),
        ("Location: mailto:me@example.com", None),
        ("Location: javascript:alert(1)", None),
        ("Location: http://", None),
        ("Location: http://[::bad/", None),
        ("X-Nothing: here", None),
    ],
)
def test_where_a_redirect_points(crawl: Crawl, server: Any, tools: Any, location: str, target: str | None) -> None:
    here, root = server.url("/loop"), server.url("")
    server.on("/loop", tools.answer(302, b"", location.format(here=here)))
    result = crawl(here).only
    if target is None:
        assert (result.outcome, result.reason, result.redirect_to) == (O.gone, "bad_redirect", None)
        assert result.http_status == 302
        assert result.detail
    else:
        assert (result.outcome, result.redirect_to) == (O.redir_temp, target.format(here=here, root=root))


def test_a_redirects_body_is_not_read(crawl: Crawl, server: Any, tools: Any) -> None:
    """An endless one costs no time and no memory, and the connection is not used again."""
    head = b"HTTP/1.1 302 X\r\nLocation: /b\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.on("/endless", tools.drips(head, chunked(b"x" * 60_000)[:-5], 0.0))
    server.on("/slow", tools.drips(head, chunked(b"x")[:-5], 0.05))
    server.on("/b", tools.answer(200, b"fine"))
    began = time.monotonic()
    run = crawl([server.url("/endless"), server.url("/slow"), server.url("/b")])
    assert time.monotonic() - began < 10
    assert [result.outcome for result in run.results] == [O.redir_temp, O.redir_temp, O.success]


def test_content_is_cut_at_max_bytes(crawl: Crawl, server: Any, tools: Any) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    server.on("/exact", tools.answer(200, b"x" * 1000))
    server.on("/more", tools.answer(200, b"x" * 1001))
    server.on("/endless", tools.drips(head, chunked(b"x" * 60_000)[:-5], 0.0))
    run = crawl([server.url("/exact"), server.url("/more"), server.url("/endless")], tools.polite(max_bytes=1000))
    assert [(len(result.content), result.truncated) for result in run.results] == [
        (1000, None), (1000, "bytes"), (1000, "bytes")
    ]  # fmt: skip


def bomb(layers: int) -> bytes:
    """16 MB of zeros, packed once or twice."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        for _ in range(16):
            stream.write(bytes(MEGABYTE))
    return packed.getvalue() if layers == 1 else gzipped(packed.getvalue())


@pytest.mark.parametrize("layers", [1, 2])
def test_a_gzip_bomb_does_not_go_off(crawl: Crawl, server: Any, tools: Any, layers: int) -> None:
    import tracemalloc

    server.on("/", tools.answer(200, bomb(layers), "Content-Encoding: " + ", ".join(["gzip"] * layers)))
    url = server.url("/")
    tracemalloc.start()
    result = crawl(url, tools.polite(max_bytes=MEGABYTE)).only
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result.outcome, result.truncated, len(result.content)) == (O.success, "bytes", MEGABYTE)
    assert peak < 8 * MEGABYTE


def test_a_coding_that_yields_nothing_is_bounded_too(crawl: Crawl, server: Any, tools: Any) -> None:
    """Empty gzip members without end."""
    head = OK + b"Content-Encoding: gzip\r\n\r\n"
    server.on("/", tools.drips(head, gzipped(b"") * 2000, 0.001))
    began = time.monotonic()
    result = crawl(server.url("/"), tools.polite(max_bytes=100_000, max_seconds=0.5)).only
    assert time.monotonic() - began < 10
    assert result.outcome is O.retry
    assert result.reason in ("encoding", "timeout"), "whichever comes first"


@pytest.mark.parametrize(
    ("name", "reason", "content", "truncated"),
    [
        ("silent", "timeout", None, None),
        ("slow status line", "timeout", None, None),
        ("slow fields", "timeout", None, None),
        ("slow body", None, b"xxx", "seconds"),
        ("slow chunks", None, b"xxx", "seconds"),
        ("silent after the head", "timeout", None, None),
        ("silent in the body", None, b"hel", "seconds"),
    ],
)
def test_dripping_servers_hold_nobody(
    crawl: Crawl, server: Any, tools: Any, name: str, reason: str | None, content: bytes | None, truncated: str | None
) -> None:
    """Bytes come all the time, but no answer: fetch.max_seconds ends it. No bytes come: fetch.timeout does."""
    reactions = {
        "silent": tools.drips(b"", b"", 60),
        "slow status line": tools.drips(b"HTTP/1.1 2", b"0", 0.02),
        "slow fields": tools.drips(OK, b"X: y\r\n", 0.02),
        "slow body": tools.drips(OK + b"Content-Length: 1000\r\n\r\n", b"x", 0.02),
        "slow chunks": tools.drips(OK + CHUNKED + b"\r\n", b"1\r\nx\r\n", 0.02),
        "silent after the head": tools.drips(OK + b"Content-Length: 5\r\n\r\n", b"", 60),
        "silent in the body": tools.drips(OK + b"Content-Length: 5\r\n\r\nhel", b"", 60),
    }
    server.on("/", reactions[name])
    url = server.url("/")
    began = time.monotonic()
    result = crawl(url, tools.polite(timeout=0.25, max_seconds=0.5)).only
    assert time.monotonic() - began < 10
    assert result.reason == reason
    assert result.truncated == truncated
    assert (result.content or b"")[:3] == (content or b"")
    assert result.outcome is (O.success if content else O.retry)


def test_nobody_listens(crawl: Crawl, server: Any, tools: Any) -> None:
    server.url("/")  # to have a port
    url = f"http://127.0.9.77:{server.port}/"
    result = crawl(url, known=tools.no_robots(url)).only
    assert (result.outcome, result.reason, result.http_status) == (O.retry, "connect", None)
    assert "127.0.9.77" in result.detail


def test_a_name_without_an_address(crawl: Crawl, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = crawl("http://no-such-host.invalid/").only
    assert (result.outcome, result.reason) == (O.retry, "dns")
    assert "no-such-host.invalid" in result.detail


@pytest.mark.parametrize(
    ("status", "value", "seconds"), [(429, "60", 60), (503, "120", 120), (503, "soon", None), (500, "60", None)]
)
def test_retry_after(crawl: Crawl, server: Any, tools: Any, status: int, value: str, seconds: int | None) -> None:
    server.on("/", tools.answer(status, b"", f"Retry-After: {value}"))
    result = crawl(server.url("/")).only
    assert result.outcome is O.retry
    assert result.retry_after == (None if seconds is None else result.fetched_at + seconds * 1000)


def test_a_kept_connection_that_the_server_closed_is_no_failure(crawl: Crawl, server: Any, tools: Any) -> None:
    """The second request goes out as the server hangs up: it is sent again, once, and after the gap."""
    closed: list[float] = []

    async def hang_up_once(exchange: Any) -> None:
        if closed:
            await exchange.write(tools.answer(200, b"there"))
        else:
            closed.append(exchange.arrival.time)
            exchange.close()

    server.on("/a", tools.answer(200, b"here"))
    server.on("/b", hang_up_once)
    run = crawl([server.url("/a"), server.url("/b")], tools.polite(delay=0.3))
    assert [result.content for result in run.results] == [b"here", b"there"]
    first, second = server.asked("/b")
    assert second.time - first.time >= 0.25


def test_a_server_that_always_hangs_up_is(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/a", tools.answer(200, b"here"))
    server.on("/b", tools.says(b"", "close"))
    server.on("/c", tools.says(b"", "close"))
    run = crawl([server.url("/a"), tools.request(server.url("/b"), method="POST"), server.url("/c")])
    assert [result.reason for result in run.results] == [None, "broken", "broken"]
    assert len(server.asked("/b")) == 1, "a POST may have had its effect"


class TestTls:
    """Certificates are verified; what fails is data."""

    @pytest.fixture(autouse=True)
    def _trust(self, certificates: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("requests.certs.where", lambda: str(certificates["certificate"]))

    def test_trusted(self, crawl: Crawl, tls_server: Any, tools: Any) -> None:
        tls_server.on("/", tools.answer(200, PAGE))
        tls_server.on("/b", tools.answer(200, b"b"))
        run = crawl([tls_server.url("/"), tls_server.url("/b")])
        assert [result.content for result in run.results] == [PAGE, b"b"]
        assert run.results[0].ip_address == "127.0.9.1"
        assert tls_server.connections == 1

    def test_another_hosts_certificate(self, crawl: Crawl, tls_server: Any, tools: Any) -> None:
        url = tls_server.url("/", host="127.0.9.2")
        result = crawl(url, known=tools.no_robots(url)).only
        assert (result.outcome, result.reason) == (O.retry, "tls")
        assert "127.0.9.2" in result.detail
        assert tls_server.arrivals == []

    def test_nobody_vouches_for_it(
        self, crawl: Crawl, tls_server: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        url = tls_server.url("/")
        result = crawl(url, known=tools.no_robots(url)).only
        assert (result.outcome, result.reason) == (O.retry, "tls")
        assert tls_server.arrivals == []

    def test_no_tls_at_all(self, crawl: Crawl, tools: Any) -> None:
        """The server answers our greeting in plain text."""
        import socket
        import threading

        with socket.create_server(("127.0.9.1", 0)) as listener:

            def greet() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=greet)
            thread.start()
            url = f"https://127.0.9.1:{listener.getsockname()[1]}/"
            result = crawl(url, known=tools.no_robots(url)).only
            thread.join(10)
        assert (result.outcome, result.reason) == (O.retry, "tls")

    @pytest.mark.parametrize("timeout", [0.25, 30.0])
    def test_a_handshake_that_never_ends(self, crawl: Crawl, tools: Any, timeout: float) -> None:
        """fetch.timeout, and fetch.max_seconds where that is shorter."""
        import socket

        with socket.create_server(("127.0.9.1", 0)) as listener:
            began = time.monotonic()
            url = f"https://127.0.9.1:{listener.getsockname()[1]}/"
            result = crawl(url, tools.polite(timeout=timeout, max_seconds=0.5), known=tools.no_robots(url)).only
        assert time.monotonic() - began < 10
        assert (result.outcome, result.reason) == (O.retry, "timeout")

    def test_a_dripping_body(self, crawl: Crawl, tls_server: Any, tools: Any) -> None:
        tls_server.on("/", tools.drips(OK + b"Content-Length: 1000\r\n\r\n", b"x", 0.02))
        began = time.monotonic()
        result = crawl(tls_server.url("/"), tools.polite(max_seconds=0.5)).only
        assert time.monotonic() - began < 10
        assert (result.outcome, result.truncated) == (O.success, "seconds")


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_it_does_not_run_without_a_name(name: str, server: Any, tools: Any) -> None:
    settings = tools.polite()
    settings.http.agent_name = "  "
    with pytest.raises(UsageError, match=r"http\.agent_name is not set.*--set http\.agent_name="):
        ENGINES[name]([tools.request(server.url("/"))], settings, print, __import__("threading").Event(), ())
    assert server.arrivals == []


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"agent_name": "bot"}, "bot"),
        ({"agent_name": "bot", "agent_version": "1.2"}, "bot/1.2"),
        ({"agent_name": "bot/3"}, "bot/3"),
        ({"agent_name": "bot", "agent_version": "1", "agent_description": "a study", "agent_url": "https://x.example/",
          "agent_email": "me@x.example"}, "bot/1 (a study; https://x.example/; me@x.example)"),
        ({"agent_name": "my bot"}, None),
        ({"agent_name": "bot\r\nX: y"}, None),
        ({"agent_name": "b\u00f6t"}, None),
        ({"agent_name": "bot", "agent_version": "1/2/"}, None),
        ({"agent_name": "bot", "agent_description": "two\nlines"}, None),
        ({"agent_name": "bot", "agent_description": "caf\u00e9"}, None),
    ],
)  # fmt: skip
def test_user_agent(section: dict[str, str], text: str | None) -> None:
    settings = Settings()
    for name, value in section.items():
        setattr(settings.http, name, value)
    if text is None:
        with pytest.raises(UsageError, match=r"^http\.agent_"):
            user_agent(settings)
    else:
        assert user_agent(settings) == text


def test_the_engine_of_the_settings() -> None:
    settings = Settings()
    assert engine(settings) is ENGINES["requests"]
    settings.fetch.engine = "request"
    with pytest.raises(UsageError, match=r"fetch\.engine = request: unknown; did you mean requests\?"):
        engine(settings)
    settings.fetch.engine = "jobs.fetching.requests_engine:fetch"
    assert engine(settings) is ENGINES["requests"]
    settings.fetch.engine = "curl"
    assert engine(settings) is ENGINES["curl"]
