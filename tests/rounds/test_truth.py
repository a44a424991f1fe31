"""The site knows what a crawl of it must leave: the crawldb is held against that, row by row, whoever ran the tasks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crawldb import dump
from jobs.demo.truth import truth
from tests.rounds.conftest import ROUNDS, Crawler, rows

CHECKED = ("http_status", "reason", "depth", "retries", "redirect_to", "signature")


def disagreements(crawler: Crawler, crawl_dir: Path, rounds: int) -> dict[str, Any]:
    found, expected = rows(crawl_dir), truth(crawler.server.site, rounds)
    assert set(found) == set(expected)
    url_of = {row["fingerprint"]: url for url, row in found.items()}
    wrong: dict[str, Any] = {}
    for url, wanted in expected.items():
        row = found[url]
        differs = {name: (row[name], getattr(wanted, name)) for name in CHECKED if row[name] != getattr(wanted, name)}
        if row["status"] != wanted.status.name:
            differs["status"] = (row["status"], wanted.status.name)
        if wanted.discovered_from and url_of.get(row["discovered_from"]) not in wanted.discovered_from:
            differs["discovered_from"] = (url_of.get(row["discovered_from"]), wanted.discovered_from)
        if differs:
            wrong[url] = differs
    return wrong


@pytest.mark.slow
def test_a_crawl_leaves_what_the_site_says(crawler: Crawler) -> None:
    crawl_dir = crawler.crawl("inline")
    assert disagreements(crawler, crawl_dir, ROUNDS) == {}
    expected = truth(crawler.server.site, ROUNDS)
    asked = Counter(crawler.pages_requested())
    assert [url for url, times in asked.items() if times > 1] == []
    assert sum(asked.values()) == sum(row.requests for row in expected.values())
    assert not [url for url in asked if url in expected and expected[url].reason == "robots_denied"]
    denied = next(url for url, row in expected.items() if row.reason == "robots_denied")
    dump.main([str(crawl_dir), "--url", denied, "-o", str(crawler.directory / "why")])
    assert re.search(r"In full: http://[\d.:]+/robots\.txt:\d+: Disallow: /", (crawler.directory / "why").read_text())
    # A fourth call has nothing broken to finish, and crawls on where the third ended.
    crawler.run("crawl", str(crawl_dir), "1")
    assert disagreements(crawler, crawl_dir, ROUNDS + 1) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runner", "processes", "shards"), [("local", 2, 4), ("local", 3, 1), ("inline", 1, 16), ("inline", 1, 1)]
)
def test_runner_tasks_and_shards_make_no_difference(crawler: Crawler, runner: str, processes: int, shards: int) -> None:
    usual = crawler.crawl("usual", rounds=2)
    crawler.server.reset()
    other = crawler.crawl(
        "other", "-r", runner, "--set", f"run.processes={processes}", "--set", f"store.shards={shards}",
        "--set", "fetch.chunk_rows=7", rounds=2,
    )  # fmt: skip
    assert rows(other) == rows(usual)


@pytest.mark.slow
def test_the_engine_makes_no_difference(crawler: Crawler) -> None:
    usual = crawler.crawl("usual")
    asked = Counter(crawler.pages_requested())
    crawler.server.reset()
    other = crawler.crawl("other", "--set", "fetch.engine=curl")
    assert rows(other) == rows(usual)
    assert Counter(crawler.pages_requested()) == asked


@pytest.mark.slow
def test_robots_txt_is_asked_for_once_in_all_rounds(crawler: Crawler) -> None:
    """But for hosts whose robots.txt is unavailable: of those every round asks anew."""
    crawler.crawl("crawl")
    asked = Counter(request.host for request in crawler.server.requests if request.path == "/robots.txt")
    site = crawler.server.site
    assert {host: times for host, times in asked.items() if times > 1 and not site.hosts[host].robots_unavailable} == {}


@pytest.mark.slow
def test_every_phase_twice_is_once(crawler: Crawler) -> None:
    crawl_dir = str(crawler.directory / "crawl")
    crawler.run("inject", crawl_dir, str(crawler.seeds))
    for verb in ("generate", "fetch", "parse", "updatedb"):
        crawler.run(verb, crawl_dir)
    once, asked = rows(Path(crawl_dir), ()), len(crawler.server.requests)
    (segment,) = [path.name for path in (Path(crawl_dir) / "segments").iterdir() if path.name != "log"]
    for verb in ("fetch", "parse", "updatedb"):
        assert "already" in crawler.run(verb, crawl_dir, segment)
    assert rows(Path(crawl_dir), ()) == once
    assert len(crawler.server.requests) == asked
    assert "no segment is ready for fetch" in crawler.run("fetch", crawl_dir, code=2)
    # Seeds that are known change nothing.
    crawler.run("inject", crawl_dir, str(crawler.seeds))
    assert rows(Path(crawl_dir), ()) == once


@pytest.mark.slow
def test_nothing_due_ends_the_loop_early(crawler: Crawler) -> None:
    seeds = crawler.directory / "one.txt"
    seeds.write_text(f"http://127.10.8.1:{crawler.server.site.port}/\n")  # refuses connections
    said = crawler.run("crawl", "-s", str(seeds), str(crawler.directory / "crawl"), "9")
    assert said.count("round ") == 2
    assert "stopping early: nothing is due before" in said


@pytest.mark.slow
def test_without_a_name_nobody_is_asked(crawler: Crawler) -> None:
    said = crawler.run(
        "crawl", "-s", str(crawler.seeds), "--set", "http.agent_name=", str(crawler.directory / "crawl"), "1", code=2
    )
    assert said.count("\n") == 1
    assert "http.agent_name" in said
    assert crawler.server.requests == []
    assert not (crawler.directory / "crawl" / "segments").exists()
