"""Rounds on YARN over HDFS leave what inline rounds leave, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from crawldb.filesystem import resolve
from crawldb.hadoop_conf import HadoopConf
from crawldb.segments import Segments
from crawldb.store import Store
from tests.hadoop.one_node import UNFINISHED, OneNode, wait_for
from tests.rounds.conftest import ROOT, Crawler, environment, rows

pytestmark = pytest.mark.slow

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


def left_over(crawl_dir: str) -> list[str]:
    """Temporary files of jobs, and unfinished ones of the crawl."""
    fs, path = resolve(crawl_dir)
    _, stage = resolve(f"hdfs:///user/{HadoopConf.load().user}/.cobnut")
    found = fs.all_names(f"{stage}/jobs")
    for directory in ("crawldb", "segments"):
        for inner in fs.all_names(f"{path}/{directory}"):
            found += [name for name in fs.all_names(f"{path}/{directory}/{inner}") if name.startswith(".")]
    return found


class SecondRound:
    """A crawl on HDFS whose first round was inline, and what its second one must end as."""

    def __init__(self, crawler: Crawler, directory: str, *settings: str) -> None:
        self.crawler, self.directory = crawler, directory
        self.settings = (*settings, "--set", "fetch.chunk_rows=5")
        self.expected = usual(crawler, 2)
        crawler.run("crawl", "-s", str(crawler.seeds), directory, "1")

    def inline_until(self, phase: str) -> None:
        """Run the phases before this one without YARN."""
        phases = ("generate", "fetch", "parse", "updatedb")
        for before in phases[: phases.index(phase)]:
            self.crawler.run(before, *self.settings, self.directory)

    def start(self, phase: str, delay: float = 0) -> subprocess.Popen[str]:
        """Start a phase on YARN."""
        command = self.crawler.command(phase, *ON_HADOOP, *self.settings, self.directory, delay=delay)
        return subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)

    def start_fetch(self, asks: int, delay: float) -> subprocess.Popen[str]:
        """Start the fetch on YARN, and wait until it has asked for so many pages."""
        before = len(self.crawler.pages_requested())
        process = self.start("fetch", delay)
        wait_for(lambda: len(self.crawler.pages_requested()) > before + asks)
        return process

    def must_end_as_usual(self) -> None:
        """Finish the round; nothing was lost, and what was in finished chunks was not asked for again."""
        self.crawler.run("crawl", self.directory, "0")
        assert rows(self.directory) == self.expected
        applied = Store(self.directory).snapshot().entry.applied
        assert Segments(self.directory).in_flight(applied) == []
        assert len(asked_twice(self.crawler)) <= 5 + 8  # the open chunk and the requests under way


def test_rounds_are_those_of_inline(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    expected = usual(crawler, 3)
    crawl_dir = on_hdfs("crawl")
    before = left_over(crawl_dir)
    said = crawler.run("crawl", "-s", str(crawler.seeds), *ON_HADOOP, crawl_dir, "1")
    assert "hadoop    http://" in said
    # The second round in containers of its own, several tasks of each kind; the third without any of YARN.
    crawler.run("crawl", *ON_HADOOP, *OWN_CONTAINERS, "--set", "fetch.chunk_rows=20", crawl_dir, "1")
    crawler.run("crawl", crawl_dir, "1")
    assert rows(crawl_dir) == expected
    assert asked_twice(crawler) == []
    assert left_over(crawl_dir) == before
    # Compaction as a job changes nothing, nor does a round that has nothing to do.
    crawler.run("compact", *ON_HADOOP, "--shards", "8", crawl_dir)
    assert rows(crawl_dir) == expected
    # Reading needs no JVM: nothing of Hadoop's is in this PATH.
    dump = subprocess.run(
        [sys.executable, "scripts/dump.py", crawl_dir], cwd=ROOT, check=True, capture_output=True, text=True,
        env={"HADOOP_CONF_DIR": os.environ["HADOOP_CONF_DIR"], "PATH": "/nowhere"},
    )  # fmt: skip
    assert len(dump.stdout.splitlines()) == len(expected)


@pytest.mark.parametrize("client", ["webhdfs", "hdfs-native"])
def test_seeds_and_filter_files_travel(crawler: Crawler, on_hdfs: Callable[[str], str], client: str) -> None:
    fs, crawl_dir = resolve(on_hdfs("crawl"))
    fs.create(f"{crawl_dir}-seeds/a.txt", b"http://a.example/\nhttp://refused.example/\nnot a url\n")
    fs.create(f"{crawl_dir}-seeds/more/b.txt.gz", gzip.compress(b"http://b.example/\n"))
    rules = crawler.directory / "rules.txt"
    rules.write_text("-refused\n+.\n")
    settings = ("--set", f"hdfs.client={client}", "--set", f"filter.regex_file={rules}")
    said = crawler.run("inject", *ON_HADOOP, *settings, crawl_dir, f"{crawl_dir}-seeds")
    assert "/a.txt:3: " in said
    assert sorted(rows(crawl_dir)) == ["http://a.example/", "http://b.example/"]


@pytest.mark.parametrize("phase", ["fetch", "updatedb"])
@pytest.mark.parametrize("containers", [(), OWN_CONTAINERS], ids=["uber", "containers"])
def test_a_killed_child_is_repeated(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode, phase: str, containers: tuple[str, ...]
) -> None:
    crawl = SecondRound(crawler, on_hdfs("crawl"), *containers)
    crawl.inline_until(phase)
    process = crawl.start_fetch(asks=20, delay=0.1) if phase == "fetch" else crawl.start(phase)
    job = {"fetch": "jobs.fetch:Fetch", "updatedb": "jobs.updatedb:UpdateDb"}[phase]
    os.kill(wait_for(lambda: one_node.children(job), every=0.01)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "attempts died and were repeated" in said or "once more in containers of their own" in said
    crawl.must_end_as_usual()


def test_the_driver_may_be_killed_in_every_phase(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode
) -> None:
    crawl = SecondRound(crawler, on_hdfs("crawl"))
    for phase in ("generate", "fetch", "parse", "updatedb"):
        if phase == "fetch":
            process = crawl.start_fetch(asks=10, delay=0.4)  # long enough to be still there for the next command
        else:
            process = crawl.start(phase)
            wait_for(partial(one_node.runs, phase))
        process.kill()
        process.communicate()
        if phase == "fetch":  # what it left running would ask the same hosts at the same time
            said = crawler.run("fetch", *ON_HADOOP, crawl.directory)
            assert "that an earlier command had left running" in said
        else:
            crawler.run(phase, crawl.directory)
    wait_for(lambda: not one_node.applications(*UNFINISHED))
    crawl.must_end_as_usual()


def test_ctrl_c_kills_the_application_and_the_crawl_goes_on(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode
) -> None:
    crawl = SecondRound(crawler, on_hdfs("crawl"))
    crawl.inline_until("fetch")
    process = crawl.start_fetch(asks=20, delay=0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    wait_for(lambda: not one_node.applications(*UNFINISHED), seconds=10)  # its end is being written down
    time.sleep(1)
    silent = len(crawler.pages_requested())
    time.sleep(2)
    assert len(crawler.pages_requested()) == silent  # nobody is fetching any more
    crawl.must_end_as_usual()


def test_a_polite_fetch_is_not_taken_for_dead(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    """Hadoop kills a task that is silent for mapreduce.task.timeout; a crawl delay may be longer."""
    crawl_dir = on_hdfs("crawl")
    crawler.run("inject", crawl_dir, str(crawler.seeds))
    crawler.run("crawl", "--set", "generate.max_per_host=2", crawl_dir, "1")
    crawler.run("generate", "--set", "generate.max_per_host=2", crawl_dir)
    patience = ("--set", "hadoop.mapreduce.task.timeout=12000", "--set", "hadoop.small=0",
                "--set", "hadoop.mapreduce.task.timeout.check-interval-ms=500")  # fmt: skip
    said = crawler.run("fetch", *ON_HADOOP, *patience, crawl_dir, delay=20)
    assert "died" not in said
    assert asked_twice(crawler) == []


def test_progress_is_shown_on_a_terminal(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    crawl = SecondRound(crawler, on_hdfs("crawl"))
    crawl.inline_until("fetch")
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    command = crawler.command("fetch", *ON_HADOOP, crawl.directory, delay=0.25)
    process = subprocess.Popen(command, cwd=ROOT, env={**environment(), "TERM": "xterm"}, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while block := os.read(master, 1 << 16):
            shown += block
    os.close(master)
    assert process.wait() == 0
    bars = re.findall(r"fetch:[^\r]*? (\d+)/(\d+) .*?map \d+ % reduce \d+ %", shown.decode())
    assert any(0 < int(done) < int(total) for done, total in bars), shown.decode()
    assert "/proxy/application_" in shown.decode()
    crawl.must_end_as_usual()


@pytest.mark.parametrize("daemon", ["nodemanager", "datanode"])
def test_a_daemon_may_die_during_the_fetch(
    crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode, daemon: str
) -> None:
    crawl = SecondRound(crawler, on_hdfs("crawl"), *OWN_CONTAINERS)
    crawl.inline_until("fetch")
    process = crawl.start_fetch(asks=20, delay=0.2)
    one_node.kill(daemon)
    time.sleep(1)
    one_node.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    crawl.must_end_as_usual()
