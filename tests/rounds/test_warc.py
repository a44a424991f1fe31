"""A crawl from its archives: imported or replayed, it leaves what the live crawl left."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crawldb.schema import STATE
from crawldb.segments import Segments
from crawldb.store import Store
from tests.rounds.conftest import ROOT, TIMES, Crawler, environment, rows

LIVE = ("--set", "fetch.chunk_rows=40", "--set", "fetch.store_request=true", "--set", "generate.tasks=2")


def seeded(crawler: Crawler, name: str, live: Path) -> Path:
    """A new crawl directory with the seeds as they were injected into the live crawl."""
    path = crawler.directory / name
    at = Store(str(live)).entry(0).committed_at
    crawler.run("inject", "--set", f"run.clock={at}", str(path), str(crawler.seeds))
    return path


def segments(crawl_dir: Path) -> list[str]:
    return [segment.name for segment in Segments(str(crawl_dir)).committed()]


def content(crawl_dir: Path, name: str) -> dict[bytes, dict[str, Any]]:
    """All columns of a segment's content, by fingerprint."""
    segment = Segments(str(crawl_dir)).find(name)
    tables = [segment.read("content", file.name) for file in segment.files("content")]
    return {row["fingerprint"]: row for row in pa.concat_tables(tables).to_pylist()} if tables else {}


def check_by_warcio(*paths: Path) -> None:
    """`warcio check` finds digests that fit, and nothing to complain of."""
    done = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", *map(str, paths)],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digest failed" not in done.stdout


@pytest.mark.slow
def test_imported_it_leaves_the_live_crawldb(crawler: Crawler) -> None:
    live = crawler.crawl("live", *LIVE)
    archives = crawler.directory / "archives"
    _warc(crawler, "export", str(live), "-o", str(archives))
    check_by_warcio(*archives.glob("*.warc.gz"))
    asked = len(crawler.server.requests)
    other = seeded(crawler, "imported", live)
    _warc(crawler, "import", str(other), str(archives))
    assert segments(other) == segments(live)
    for name in segments(live):
        assert content(other, name) == content(live, name)
        crawler.run("parse", str(other), name)
        crawler.run("updatedb", str(other), name)
    assert rows(other, ()) == rows(live, ())
    assert hosts(other) == hosts(live)
    assert len(crawler.server.requests) == asked
    assert "already imported" in _warc(crawler, "import", str(other), str(archives))


def hosts(crawl_dir: Path) -> dict[str, dict[str, Any]]:
    from crawldb.hosts import HOSTDB

    state = Store(str(crawl_dir), HOSTDB).snapshot().scan(HOSTDB.state.names)
    return {row["host"]: row for table in state for row in table.to_pylist()}


def _warc(crawler: Crawler, verb: str, *arguments: str, code: int = 0) -> str:
    settings = ["--set", "http.agent_name=cobnut-test", "--set", "fetch.delay=0"]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "warc", verb, *settings, *arguments], cwd=ROOT, env=environment(), text=True,
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def replayed(crawler: Crawler, name: str, archives: Path, *arguments: str, rounds: int = 3) -> Path:
    path = crawler.directory / name
    crawler.run("crawl", "-s", str(crawler.seeds), "--replay", str(archives), *arguments, str(path), str(rounds))
    return path


@pytest.mark.slow
def test_replayed_it_leaves_the_live_crawldb_up_to_times(crawler: Crawler) -> None:
    live = crawler.crawl("live", *LIVE)
    archives = crawler.directory / "archives"
    _warc(crawler, "export", str(live), "-o", str(archives))
    asked = Counter(crawler.pages_requested())
    first = replayed(crawler, "first", archives)
    assert rows(first) == rows(live)
    second = replayed(crawler, "second", archives, "-r", "local", "--set", "fetch.chunk_rows=7")
    assert rows(second, ()) == rows(first, ())
    assert Counter(crawler.pages_requested()) == asked
    assert set(TIMES) < set(STATE.names)
