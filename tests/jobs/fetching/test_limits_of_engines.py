"""What every engine bears: servers that send without end or measure, and a machine that runs short."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest

from crawldb.schema import FetchOutcome
from jobs.fetching import task

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

O = FetchOutcome  # noqa: E741
Crawl = Callable[..., Any]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b"Content-Length: 5\r\n\r\nhello"
MEGABYTE = 1 << 20
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"

ANSWERS = [
    # (what, what is written, then, outcome, reason, content, truncated)
    ("a status line of 1 MB", b"HTTP/1.1 200 " + b"O" * MEGABYTE + b"\r\n" + HELLO, "close", O.retry, "protocol", None,
     None),
    ("a status line without end", b"HTTP/1.1 200 " + b"O" * MEGABYTE, "keep", O.retry, "protocol", None, None),
    ("a field of 90 KB", OK + b"A: " + b"b" * 90_000 + b"\r\n" + HELLO, "keep", O.success, None, b"hello", None),
    ("a field of 200 KB", OK + b"A: " + b"b" * 200_000 + b"\r\n" + HELLO, "keep", O.retry, "protocol", None, None),
    ("100,000 fields", OK + b"A: b\r\n" * 100_000 + HELLO, "keep", O.retry, "protocol", None, None),
    ("a length of 2^62", OK + b"Content-Length: %d\r\n\r\nhello" % 2**62, "close", O.success, None, b"hello", "broken"),
    ("a length of 2^70", OK + b"Content-Length: %d\r\n\r\nhello" % 2**70, "close", O.success, None, b"hello", None),
    ("a chunk of 2^62", CHUNKED + b"%x\r\nhello" % 2**62, "close", O.success, None, b"hello", "broken"),
    ("a chunk of 2^64", CHUNKED + b"%x\r\nhello" % 2**64, "close", O.retry, "broken", None, None),
    ("a chunk of -5", CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", "keep", O.retry, "broken", None, None),
    ("a chunk of +5", CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", "keep", O.retry, "broken", None, None),
    ("a chunk extension", CHUNKED + b"5;" + b"x" * 10_000 + b"\r\nhello\r\n0\r\n\r\n", "keep", O.success, None, b"hello",
     None),
    ("chunk extensions of 1 MB", CHUNKED + (b"1;" + b"x" * 1000 + b"\r\nh\r\n") * 1000 + b"0\r\n\r\n", "keep", O.success,
     None, b"h" * 1000, None),
    ("trailers", CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\nETag: evil\r\n\r\n", "keep", O.success, None, b"hello", None),
    ("trailers of 1 MB", CHUNKED + b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 200_000 + b"\r\n", "keep", O.success, None,
     b"hello", "broken"),
    ("100,000 times 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "keep", O.retry, "protocol", None, None),
    ("204 with a body", b"HTTP/1.1 204 X\r\n" + HELLO, "keep", O.retry, "http_204", None, None),
    ("304 with a body", b"HTTP/1.1 304 X\r\n" + HELLO, "keep", O.notmodified, "http_304", None, None),
    ("another answer behind it", OK + HELLO + EVIL, "keep", O.success, None, b"hello", None),
    ("many others behind it", OK + HELLO + EVIL * 5000, "keep", O.success, None, b"hello", None),
    ("another behind chunks", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + EVIL, "keep", O.success, None, b"hello", None),
    ("another behind a 404", b"HTTP/1.1 404 X\r\n" + HELLO + EVIL, "keep", O.gone, "http_404", None, None),
    ("a transfer coding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "keep", O.retry,
     "protocol", None, None),
    ("a transfer coding that is none", OK + b"Transfer-Encoding: x\r\n\r\nhello", "close", O.retry, "protocol", None,
     None),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.parametrize(
    ("written", "then", "outcome", "reason", "content", "truncated"),
    [case[1:] for case in ANSWERS],
    ids=[case[0] for case in ANSWERS],
)
def test_answers_without_measure(
    crawl: Crawl, request: pytest.FixtureRequest, tools: Any, certificates: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch, kind: str, written: bytes, then: str, outcome: FetchOutcome, reason: str | None,
    content: bytes | None, truncated: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr("requests.certs.where", lambda: str(certificates["certificate"]))
    server = request.getfixturevalue("server" if kind == "http" else "tls_server")
    server.on("/page", tools.says(written, then))
    server.on("/after", tools.answer(200, b"fine"))
    urls = [server.url("/page"), server.url("/after")]
    run = crawl(urls, tools.polite(max_seconds=5.0), known=tools.no_robots(*urls))
    result = run.by_url[urls[0]]
    assert (result.outcome, result.reason, result.content, result.truncated) == (outcome, reason, content, truncated)
    assert run.by_url[urls[1]].content == b"fine", "whatever came before on the connection"
    assert result.etag is None


def test_head_with_a_body(crawl: Crawl, server: Any, tools: Any) -> None:
    server.on("/page", OK + HELLO + EVIL)
    server.on("/after", tools.answer(200, b"fine"))
    head = tools.request(server.url("/page"), method="HEAD")
    run = crawl([head, server.url("/after")])
    assert run.by_url[server.url("/page")].content == b""
    assert run.by_url[server.url("/after")].content == b"fine"


def test_an_answer_before_the_request_is_over(crawl: Crawl, tools: Any) -> None:
    """Nobody reads the body of the POST; the answer counts, or the lack of one is data."""
    import socket

    with socket.create_server(("127.0.9.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 403 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.9.1:{listener.getsockname()[1]}/"
        asked = tools.request(url, method="POST", body=b"x" * 8 * MEGABYTE)
        result = crawl(asked, tools.polite(max_seconds=5.0), known=tools.no_robots(url)).only
        thread.join(10)
    assert result.outcome is O.retry
    assert result.reason in ("http_403", "broken")


@pytest.mark.parametrize("coding", ["br", "zstd", "zstd, br"])
def test_bombs_do_not_go_off(crawl: Crawl, server: Any, tools: Any, coding: str) -> None:
    """128 MB of zeros in a few kilobytes."""
    data = bytes(128 * MEGABYTE)
    packed = brotli.compress(data, quality=1) if coding == "br" else zstd.compress(data)
    del data
    if coding == "zstd, br":
        packed = brotli.compress(packed)
    server.on("/", tools.answer(200, packed, f"Content-Encoding: {coding}"))
    url = server.url("/")
    tracemalloc.start()
    result = crawl(url, tools.polite(max_bytes=MEGABYTE)).only
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result.outcome, result.truncated, result.content) == (O.success, "bytes", bytes(MEGABYTE))
    assert peak < 8 * MEGABYTE


def test_endless_bodies_cost_what_is_kept(crawl: Crawl, server: Any, tools: Any) -> None:
    """Twenty at once."""

    async def endless(exchange: Any) -> None:
        await exchange.write(OK + b"\r\n")
        while not exchange.writer.is_closing():
            await exchange.write(b"x" * 65536)

    server.on("/", endless)
    urls = [server.url("/", f"127.0.9.{number}") for number in range(1, 21)]
    tracemalloc.start()
    sizes: list[int] = []
    crawl(urls, tools.polite(max_bytes=MEGABYTE), emit=lambda result: sizes.append(len(result.content or b"")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [MEGABYTE] * 20
    assert peak < 100 * MEGABYTE, "the server's own buffers included"


# A machine that runs short

_SHORT_OF_FILES = """
import json, os, resource, sys, threading, time
from crawldb.settings import Settings
from jobs.fetching import ENGINES, FetchRequest, KnownRobots
import encodings.idna, jobs.fetching.curl_engine
engine, urls = sys.argv[1], sys.argv[2:]
settings = Settings()
settings.http.agent_name, settings.fetch.delay, settings.fetch.allow_private_addresses = "testbot", 0.0, True
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
def refuse(*_):
    raise ValueError("not allowed to raise maximum limit")
resource.setrlimit = refuse  # root may
taken = []
while max(taken, default=0) < 400 - 26:
    taken.append(os.open("/dev/null", os.O_RDONLY))
requests = [FetchRequest(url.encode(), url, None, None, None, url.split("/")[2].split(":")[0], None, None, 0) for url in urls]
results = []
known = [KnownRobots(url[:-1], url + "robots.txt", int(time.time() * 1000) - 1000, 404, None, False, None) for url in urls]
report = ENGINES[engine](requests, settings, results.append, threading.Event(), known)
for file in taken:
    os.close(file)
print(json.dumps({"reasons": [(str(r.outcome.name), r.reason) for r in results], "notes": report.notes, "left": report.left}))
"""


@pytest.mark.slow
def test_no_more_files(crawl: Crawl, server: Any, tools: Any, checkout: Path) -> None:
    """Sixty hosts, each with a connection that could be kept, and twenty-odd files: pages wait, and all come."""
    server.on("/", tools.after(0.1, tools.says(tools.answer(200, b"x"))))
    urls = [server.url("/", f"127.0.9.{number}") for number in range(1, 61)]
    command = [sys.executable, "-c", _SHORT_OF_FILES, crawl.engine, *urls]  # type: ignore[attr-defined]
    done = subprocess.run(command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, text=True,
                          capture_output=True, check=False, timeout=90)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert Counter(map(tuple, said["reasons"])) == {("success", None): 60}
    assert said["left"] == {}
    assert any("ran short" in note and "Too many open files" in note for note in said["notes"]), said["notes"]


class NoPorts:
    """A bind that finds no port until so many seconds after it was first called."""

    def __init__(self, seconds: float) -> None:
        self.failed = 0
        self._seconds = seconds
        self._until: float | None = None

    def __call__(self, connection: Any, source: str) -> None:
        if self._until is None:
            self._until = time.monotonic() + self._seconds
        if time.monotonic() < self._until:
            self.failed += 1
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        connection.bind((source, 0))


@pytest.fixture
def no_ports(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], NoPorts]:
    def make(seconds: float) -> NoPorts:
        bind = NoPorts(seconds)
        monkeypatch.setattr("jobs.fetching.connections.bind", bind)
        monkeypatch.setattr("jobs.fetching.curl_engine.bind", bind)
        return bind

    return make


def test_no_ports_for_a_moment(crawl: Crawl, server: Any, tools: Any, no_ports: Callable[[float], NoPorts]) -> None:
    bind = no_ports(0.4)
    settings = tools.polite()
    settings.egress.source_addresses = ["127.0.8.1"]
    server.on("/", tools.answer(200, b"x"))
    urls = [server.url("/", f"127.0.9.{number}") for number in range(1, 31)]
    run = crawl(urls, settings, known=tools.no_robots(*urls))
    assert [result.outcome for result in run.results] == [O.success] * 30
    assert bind.failed
    assert sum("ran short" in note for note in run.report.notes) == 1
    assert len(server.asked()) == 30


def test_no_ports_at_all(
    crawl: Crawl, server: Any, tools: Any, no_ports: Callable[[float], NoPorts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with a word about why, and nothing is booked for the pages or left behind."""
    monkeypatch.setattr(task, "_LOCAL_PATIENCE", 1.0)
    no_ports(float("inf"))
    settings = tools.polite()
    settings.egress.source_addresses = ["127.0.8.1"]
    urls = [server.url("/", f"127.0.9.{number}") for number in range(1, 41)]
    results: list[Any] = []
    before, files = threading.active_count(), open_files()
    with pytest.raises(OSError, match=r"this machine cannot open connections any more: .*Cannot assign"):
        crawl(urls, settings, emit=results.append, known=tools.no_robots(*urls))
    assert results == []
    assert threading.active_count() == before
    assert open_files() == files


# What is given back


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.slow
def test_hundreds_of_hosts(crawl: Crawl, server: Any, tools: Any) -> None:
    """One page each; sockets, threads and memory are given back."""
    server.on("/", tools.answer(200, b"x" * 1000))
    urls = [server.url("/", f"127.30.{number // 200}.{number % 200 + 1}") for number in range(600)]
    known = tools.no_robots(*urls)
    settings = tools.polite(connections=1000)
    crawl(urls[:5], settings, known=known)  # what is loaded once is loaded
    settle(server)
    before, files = threading.active_count(), open_files()
    tracemalloc.start()
    outcomes: Counter[FetchOutcome] = Counter()
    crawl(urls, settings, emit=lambda result: outcomes.update([result.outcome]), known=known)
    settle(server)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert outcomes == {O.success: 600}
    assert (threading.active_count(), open_files()) == (before, files)
    assert kept < 8 * MEGABYTE


def settle(server: Any) -> None:
    """Wait until the server has seen all connections end, and has closed its own ends of them."""
    deadline = time.monotonic() + 10
    files = math.inf
    while (server.open_connections or open_files() < files) and time.monotonic() < deadline:
        files = open_files()
        time.sleep(0.1)


@pytest.mark.parametrize("stopped", [False, True])
def test_nothing_is_left_of_the_lenient_way(crawl: Crawl, server: Any, tools: Any, stopped: bool) -> None:
    """libcurl does not read these answers, so another part of the engine does: that ends with it."""
    stop = threading.Event()
    odd = OK + b"no colon\r\n" + HELLO

    async def then_hangs(exchange: Any) -> None:
        if "n=1" in exchange.arrival.target:
            stop.set()
            await tools.drips(OK, b"X: y\r\n", 0.02)(exchange)
        await exchange.write(odd)

    server.on("/", then_hangs if stopped else odd)
    hosts = [f"127.0.9.{number}" for number in range(1, 6)]
    urls = [f"{server.url('/', host)}?n={number}" for host in hosts for number in range(3)]
    settle(server)
    before, files = threading.active_count(), open_files()
    began = time.monotonic()
    run = crawl(urls, tools.polite(shutdown_seconds=0.2), stop=stop, known=tools.no_robots(*urls))
    assert time.monotonic() - began < 10
    assert (run.report.left.total() > 0) == stopped
    assert {result.content for result in run.results} <= {b"hello"}
    settle(server)
    assert server.open_connections == 0
    assert (threading.active_count(), open_files()) == (before, files)
