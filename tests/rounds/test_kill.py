"""kill -9 anywhere, Ctrl-C, two commands at once: the same call again ends with the same crawldb."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.rounds.conftest import ROOT, Crawler, environment, rows

ROUNDS = 2
SMALL_CHUNKS = ("--set", "fetch.chunk_rows=10", "--set", "fetch.threads=8", "--set", "store.shards=2")


def closed_pages(crawl_dir: Path) -> set[str]:
    """The URLs in finished content chunks, committed or not."""
    chunks = crawl_dir.glob("segments/*/content/part-*.parquet")
    return {url for chunk in chunks for url in pq.read_table(chunk, columns=["url"])["url"].to_pylist()}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_nothing_happened(crawler: Crawler) -> None:
    undisturbed = crawler.crawl("undisturbed", *SMALL_CHUNKS, rounds=ROUNDS)
    total = len(closed_pages(undisturbed))
    moments, kills = random.Random(20261124), 0
    while kills < 50:
        crawl_dir = crawler.directory / f"killed-{kills}"
        lives = _crawl_in_many_lives(crawler, crawl_dir, moments)
        kills += len(lives) - 1
        assert rows(crawl_dir) == rows(undisturbed)
        assert sum(map(len, lives)) - total <= len(lives) * (10 + 8)  # the open chunk and what was under way
        # What the kills left is gone when the next writers have been there.
        crawler.run("crawl", str(crawl_dir), "1")
        crawler.run("compact", "--set", "store.keep_versions=1", "--set", "store.keep_hours=0", str(crawl_dir))
        left_over = [path for path in crawl_dir.rglob("*") if path.name.startswith(".") and path.name != ".lock"]
        assert left_over == []


def _crawl_in_many_lives(crawler: Crawler, crawl_dir: Path, moments: random.Random) -> list[list[str]]:
    """Crawl ROUNDS rounds, killed again and again; which pages each life asked for."""
    lives: list[list[str]] = []
    closed: set[str] = set()
    # Rounds are counted by what is applied: a call that finishes a broken round has fewer left to run.
    while (applied := _applied(crawl_dir)) < ROUNDS or _in_flight(crawl_dir):
        crawler.server.reset()  # one page recovers when it is asked again: it must not know that it was
        seeds = ["-s", str(crawler.seeds)] if applied < 0 else []
        rounds = max(ROUNDS - max(applied, 0) - _in_flight(crawl_dir), 0)
        command = crawler.command(
            "crawl", *seeds, *SMALL_CHUNKS, str(crawl_dir), str(rounds), program="tests.rounds.killed"
        )
        # Short lives die inside every commit; some longer ones see to it that there is an end.
        dies_at = moments.choice([moments.randint(1, 20), moments.randint(1, 20), moments.randint(20, 90)])
        life = subprocess.run(
            command, cwd=ROOT, env={**environment(), "COBNUT_DIES_AT": str(dies_at)}, check=False, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert life.returncode in (0, -signal.SIGKILL), life.stderr
        lives.append(crawler.pages_requested())
        assert not closed.intersection(lives[-1])  # nothing that was committed is fetched again
        closed = closed_pages(crawl_dir)
        assert len(lives) < 300
    return lives


def _applied(crawl_dir: Path) -> int:
    """How many segments are applied, -1 before the seeds are in."""
    from crawldb.store import Store

    store = Store(str(crawl_dir))
    return len(store.snapshot().entry.applied) if store.versions() else -1


def _in_flight(crawl_dir: Path) -> int:
    from crawldb.segments import Segments
    from crawldb.store import Store

    store = Store(str(crawl_dir))
    return len(Segments(str(crawl_dir)).in_flight(store.snapshot().entry.applied)) if store.versions() else 0


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_keeps_what_is_complete(crawler: Crawler, runner: str, number: int, code: int) -> None:
    usual = crawler.crawl("usual", rounds=2)
    crawler.server.reset()
    crawl_dir = crawler.directory / "stopped"
    command = crawler.command("crawl", "-s", str(crawler.seeds), "-r", runner, str(crawl_dir), "2", delay=0.4)
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(crawler.pages_requested()) < 12 and time.monotonic() < deadline:  # into the second round's fetch
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    complete = closed_pages(crawl_dir)
    answered = set(crawler.pages_requested())
    assert answered <= complete  # what had been asked for was committed
    before = len(crawler.pages_requested())
    said = crawler.run("crawl", str(crawl_dir), "0")
    assert "which needs fetch" in said
    assert not set(crawler.pages_requested()[before:]) & complete
    assert rows(crawl_dir) == rows(usual)


@pytest.mark.slow
def test_two_loops_on_one_directory_never_ask_twice(crawler: Crawler) -> None:
    crawl_dir = crawler.directory / "shared"
    crawler.run("inject", str(crawl_dir), str(crawler.seeds))
    command = crawler.command("crawl", "--top", "40", str(crawl_dir), "5")
    loops = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [loop.communicate(timeout=240)[1] for loop in loops]
    assert [loop.returncode for loop in loops] == [0, 0], said
    assert not [url for url, times in Counter(crawler.pages_requested()).items() if times > 1]
    assert _in_flight(crawl_dir) == 0
