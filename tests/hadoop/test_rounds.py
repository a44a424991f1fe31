"""Rounds on YARN over HDFS leave what inline rounds leave, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from crawldb.filesystem import resolve
from crawldb.segments import Segments
from crawldb.store import Store
from tests.hadoop.one_node import UNFINISHED, OneNode, wait_for
from tests.rounds.conftest import ROOT, Crawler, environment, rows

ON_HADOOP = ("-r", "hadoop")
OWN_CONTAINERS = ("--set", "hadoop.small=0", "--set", "generate.tasks=2")
"""Every task in a container of its own, and two of each kind at least."""


def usual(crawler: Crawler, rounds: int) -> dict[str, dict[str, object]]:
    """The crawldb of an inline crawl."""
    found = rows(crawler.crawl("usual", rounds=rounds))
    crawler.server.reset()
    return found


def asked_twice(crawler: Crawler) -> list[str]:
    return [url for url, times in Counter(crawler.pages_requested()).items() if times > 1]


def in_flight(crawl_dir: str) -> list[str]:
    applied = Store(crawl_dir).snapshot().entry.applied
    return [segment.name for segment in Segments(crawl_dir).in_flight(applied)]


def left_over(crawl_dir: str) -> list[str]:
    """Temporary files of jobs, and unfinished ones of the crawl."""
    fs, path = resolve(crawl_dir)
    _, stage = resolve(f"hdfs:///user/{os.environ.get('HADOOP_USER_NAME') or os.environ.get('USER') or 'root'}/.cobnut")
    found = fs.all_names(f"{stage}/jobs")
    for directory in ("crawldb", "segments"):
        for inner in fs.all_names(f"{path}/{directory}"):
            found += [name for name in fs.all_names(f"{path}/{directory}/{inner}") if name.startswith(".")]
    return found


def test_rounds_are_those_of_inline(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    expected = usual(crawler, 3)
    crawl_dir = on_hdfs("crawl")
    said = crawler.run("crawl", "-s", str(crawler.seeds), *ON_HADOOP, crawl_dir, "1")
    assert "hadoop    http://" in said
    # The second round in containers of its own, several tasks of each kind; the third without any of YARN.
    crawler.run("crawl", *ON_HADOOP, *OWN_CONTAINERS, "--set", "fetch.chunk_rows=20", crawl_dir, "1")
    crawler.run("crawl", crawl_dir, "1")
    assert rows(crawl_dir) == expected
    assert asked_twice(crawler) == []
    assert left_over(crawl_dir) == []
    # Compaction as a job changes nothing, nor does a round that has nothing to do.
    crawler.run("compact", *ON_HADOOP, "--shards", "8", crawl_dir)
    assert rows(crawl_dir) == expected
    # Reading needs no JVM: nothing of Hadoop's is in this PATH.
    dump = subprocess.run(
        [sys.executable, "scripts/dump.py", crawl_dir], cwd=ROOT, check=True, capture_output=True, text=True,
        env={"HADOOP_CONF_DIR": os.environ["HADOOP_CONF_DIR"], "PATH": "/nowhere"},
    )  # fmt: skip
    assert len(dump.stdout.splitlines()) == len(expected)


def test_seeds_and_filters_travel(crawler: Crawler, on_hdfs: Callable[[str], str], tmp_path: object) -> None:
    """Seeds from HDFS and gzip, a filter file, and a filter function of the user's own."""
    import gzip

    fs, crawl_dir = resolve(on_hdfs("crawl"))
    fs.create(f"{crawl_dir}-seeds/a.txt", b"http://a.example/\nhttp://refused.example/\nnot a url\n")
    fs.create(f"{crawl_dir}-seeds/more/b.txt.gz", gzip.compress(b"http://b.example/\n"))
    directory = crawler.directory
    (directory / "ours.py").write_text("def keep(urls, source, settings):\n    return None\n")
    (directory / "rules.txt").write_text("-refused\n+.\n")
    said = crawler.run(
        "inject", *ON_HADOOP, "--set", f"filter.regex_file={directory / 'rules.txt'}", crawl_dir, f"{crawl_dir}-seeds"
    )
    assert "/a.txt:3: " in said
    assert sorted(rows(crawl_dir)) == ["http://a.example/", "http://b.example/"]


@pytest.mark.parametrize("phase", ["fetch", "updatedb"])
@pytest.mark.parametrize("containers", [(), OWN_CONTAINERS], ids=["uber", "containers"])
def test_a_killed_child_is_repeated(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode, phase: str, containers: tuple[str, ...]
) -> None:
    expected = usual(crawler, 2)
    crawl_dir = on_hdfs("crawl")
    crawler.run("crawl", "-s", str(crawler.seeds), crawl_dir, "1")
    crawler.run("generate", *containers, crawl_dir)
    delay = 0.1 if phase == "fetch" else 0
    if phase == "updatedb":
        for before in ("fetch", "parse"):
            crawler.run(before, crawl_dir)
    job = {"fetch": "jobs.fetch:Fetch", "updatedb": "jobs.updatedb:UpdateDb"}[phase]
    command = crawler.command(phase, *ON_HADOOP, *containers, "--set", "fetch.chunk_rows=5", crawl_dir, delay=delay)
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    child = wait_for(lambda: one_node.children(job), every=0.01)[0]
    if phase == "fetch":
        started = len(crawler.pages_requested())
        wait_for(lambda: len(crawler.pages_requested()) > started + 20)
    os.kill(child, signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    crawler.run("crawl", crawl_dir, "0")
    assert rows(crawl_dir) == expected
    # What was in chunks is not asked again: at most the open chunk and the requests under way.
    assert len(asked_twice(crawler)) <= 5 + 8


def test_the_driver_may_be_killed_in_every_phase(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode
) -> None:
    expected = usual(crawler, 2)
    crawl_dir = on_hdfs("crawl")
    crawler.run("crawl", "-s", str(crawler.seeds), crawl_dir, "1")
    for phase in ("generate", "fetch", "parse", "updatedb"):
        rounds = "1" if phase in ("generate", "fetch") else "0"  # what dies in generate leaves nothing to finish
        command = crawler.command("crawl", *ON_HADOOP, "--set", "fetch.chunk_rows=5", crawl_dir, rounds, delay=0.1)
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
        name = f"cobnut {phase} "
        wait_for(lambda name=name: any(  # type: ignore[misc]
            app["name"].startswith(name) for app in one_node.applications("ACCEPTED", "RUNNING")))  # fmt: skip
        if phase == "fetch":
            started = len(crawler.pages_requested())
            wait_for(lambda started=started: len(crawler.pages_requested()) > started + 10)  # type: ignore[misc]
        process.kill()
        process.wait()
    said = crawler.run("crawl", *ON_HADOOP, "--set", "fetch.chunk_rows=5", crawl_dir, "0")
    assert "finishing the round" in said
    wait_for(lambda: not one_node.applications(*UNFINISHED))
    assert rows(crawl_dir) == expected
    assert in_flight(crawl_dir) == []
    assert len(asked_twice(crawler)) <= 5 + 8


def test_ctrl_c_kills_the_application_and_the_crawl_goes_on(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode
) -> None:
    expected = usual(crawler, 2)
    crawl_dir = on_hdfs("crawl")
    crawler.run("crawl", "-s", str(crawler.seeds), crawl_dir, "1")
    started = len(crawler.pages_requested())
    command = crawler.command("crawl", *ON_HADOOP, "--set", "fetch.chunk_rows=5", crawl_dir, "1", delay=0.2)
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(crawler.pages_requested()) > started + 20)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert not one_node.applications(*UNFINISHED)
    time.sleep(1)
    silent = len(crawler.pages_requested())
    time.sleep(2)
    assert len(crawler.pages_requested()) == silent  # nobody is fetching any more
    crawler.run("crawl", crawl_dir, "0")
    assert rows(crawl_dir) == expected


@pytest.mark.parametrize("daemon", ["nodemanager", "datanode"])
def test_a_daemon_may_die_during_the_fetch(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode, daemon: str
) -> None:
    expected = usual(crawler, 2)
    crawl_dir = on_hdfs("crawl")
    crawler.run("crawl", "-s", str(crawler.seeds), crawl_dir, "1")
    started = len(crawler.pages_requested())
    command = crawler.command("crawl", *ON_HADOOP, "--set", "fetch.chunk_rows=5", crawl_dir, "1", delay=0.2)
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(crawler.pages_requested()) > started + 20)
    one_node.kill(daemon)
    time.sleep(1)
    one_node.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert rows(crawl_dir) == expected
    assert len(asked_twice(crawler)) <= 5 + 8
