"""Whole rounds over a site that exists only in its scripts, with engine=browser. Needs Chromium."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from crawldb import dump
from crawldb.segments import Segments
from jobs.cli import main
from tests.rounds.conftest import rows

pytestmark = pytest.mark.slow

SHELL = b"<!doctype html><title>Loading</title><div id=root></div><script src=/app.js></script>"
APP = b"""fetch('/api' + location.pathname).then(answer => answer.json()).then(page => {
  document.title = page.title;
  root.innerHTML = page.links.map(link => `<a href="${link}">${link}</a>`).join(' ');
});"""
PAGES = {"/": ("Home", ["first", "second"]), "/first": ("First", ["third"]), "/second": ("Zweite Straße", []),
         "/third": ("Third", [])}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/robots.txt":
            self._answer("text/plain", b"User-agent: *\nDisallow: /private\n")
        elif self.path == "/app.js":
            self._answer("text/javascript", APP)
        elif self.path.removeprefix("/api") in PAGES and self.path.startswith("/api"):
            title, links = PAGES[self.path.removeprefix("/api")]
            self._answer("application/json", json.dumps({"title": title, "links": links}).encode())
        else:
            self._answer("text/html", SHELL)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.9.9", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        Handler.asked.clear()
        yield server
        server.shutdown()
        thread.join()


def test_rounds_follow_the_links_that_scripts_build(
    site: http.server.ThreadingHTTPServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = f"http://127.0.9.9:{site.server_address[1]}"
    (tmp_path / "seeds").write_text(f"{base}/\n")
    crawl_dir = str(tmp_path / "crawl")
    chosen = ["http.agent_name=testbot", "fetch.allow_private_addresses=true", "fetch.delay=0", "fetch.engine=browser"]
    options = [part for setting in chosen for part in ("--set", setting)]
    assert main(["crawl", *options, "-s", str(tmp_path / "seeds"), crawl_dir, "3"]) == 0
    state = rows(crawl_dir)
    assert {url.removeprefix(base): row["status"] for url, row in state.items()} == dict.fromkeys(PAGES, "fetched")
    assert len({row["signature"] for row in state.values()}) == len(PAGES), "the shells are all the same, the pages not"
    assert sorted(path for path in Handler.asked if not path.startswith("/api")) == sorted(
        [*PAGES, "/robots.txt", *["/app.js"] * 3]
    )
    segment = Segments(crawl_dir).committed()[1]
    content, parsed = (
        [row for file in segment.files(dataset) for row in segment.read(dataset, file.name).to_pylist()]
        for dataset in ("content", "parsed")
    )
    assert {row["content"] for row in content} == {SHELL}
    assert {row["rendered_url"] for row in content} == {f"{base}/first", f"{base}/second"}
    assert {row["title"] for row in parsed} == {"First", "Zweite Straße"}
    # What is looked at by default is the crawldb: no page's DOM gets into a terminal by surprise.
    capfd.readouterr()
    assert dump.main([crawl_dir]) == 0
    assert dump.main([crawl_dir, "--url", f"{base}/"]) == 0
    assert "<!doctype" not in capfd.readouterr().out.lower()
