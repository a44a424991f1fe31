"""What a job on YARN costs: `python -m benchmarks.hadoop hdfs:///tmp/bench` on a running cluster, which should be idle.

The same trivial step with mrjob's own Hadoop runner and with ours, in turns; then a round on about 100 pages, phase by
phase; then where the time of one small job goes, as its own logs and the clock of the command tell.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import bench_site
from benchmarks.measure import cobnut
from crawldb.filesystem import resolve
from crawldb.hadoop_conf import HadoopConf
from jobs.hadoop.yarn import Yarn

SETTINGS = ["-r", "hadoop", "--set", "http.agent_name=cobnut-bench", "--set", "fetch.delay=0",
            "--set", "fetch.allow_private_addresses=true"]  # fmt: skip

TRIVIAL = """
from jobs import compat  # before mrjob
from mrjob.job import MRJob

class Trivial(MRJob):
    def mapper(self, _, line):
        yield line, 1
    def reducer(self, key, values):
        yield key, sum(values)

if __name__ == "__main__":
    Trivial.run()
"""


def measure(directory: Path, uri: str, rounds: int) -> Iterator[tuple[str, str, str, str]]:
    """The rows of the table; what is made in `uri` is removed."""
    fs, place = resolve(uri)
    place += f"/bench-{os.getpid()}-{time.time_ns()}"
    try:
        yield from _trivial(directory, place, rounds)
        yield from _round(directory, place)
        yield from _anatomy(directory, place)
    finally:
        fs.remove(place)


def _trivial(directory: Path, place: str, rounds: int) -> Iterator[tuple[str, str, str, str]]:
    """mrjob's own runner ships itself and asks `hadoop fs` for all it needs; ours runs inject, which does more."""
    script = directory / "trivial.py"
    script.write_text(TRIVIAL)
    (directory / "lines").write_text("a\nb\n")
    (directory / "seeds").write_text("http://a.example/\nhttp://b.example/\n")
    theirs = [sys.executable, str(script), "-r", "hadoop", "--no-conf", "--python-bin", sys.executable, "-q",
              "--cmdenv", f"PYTHONPATH={os.getcwd()}", str(directory / "lines")]  # fmt: skip
    ours = cobnut("inject", *SETTINGS, f"{place}/trivial", str(directory / "seeds"))
    _seconds(ours)  # the environment is packed and unpacked once
    best = {"theirs": float("inf"), "ours": float("inf")}
    for _ in range(rounds):
        best["theirs"] = min(best["theirs"], _seconds(theirs))
        best["ours"] = min(best["ours"], _seconds(ours))
    yield "trivial step, mrjob's own Hadoop runner, wall", f"{best['theirs']:.1f} s", "", ""
    share = best["ours"] / best["theirs"]
    yield "inject of two seeds with ours, wall", f"{best['ours']:.1f} s ({share:.2f} ×)", "≤ 0.5 ×", ""


def _round(directory: Path, place: str) -> Iterator[tuple[str, str, str, str]]:
    with bench_site.serve(hosts=10, pages=100) as site:
        _seconds(cobnut("inject", *SETTINGS, f"{place}/round", str(site.seeds)))
        begin = time.monotonic()
        said = _run(cobnut("crawl", *SETTINGS, f"{place}/round", "1"))
        took = time.monotonic() - begin
    phases = re.findall(r"^(generate|fetch|parse|updatedb) .*\((\d+\.\d) s\)$", said, re.MULTILINE)
    pages = re.search(r"([\d,]+) of [\d,]+ requests", said)
    assert pages, said
    yield f"round on {pages[1]} pages, wall", f"{took:.0f} s", "≤ 60 s", ""
    for phase, seconds in phases:
        yield f"  {phase}", f"{seconds} s", "", ""


def _anatomy(directory: Path, place: str) -> Iterator[tuple[str, str, str, str]]:
    """One small job, from the command's start to its end."""
    begin = time.time()
    said = _run(cobnut("inject", *SETTINGS, f"{place}/anatomy", str(directory / "seeds")))
    end = time.time()
    application = re.search(r"application_\d+_\d+", said)
    assert application, said
    conf = HadoopConf.load()
    yarn = Yarn(conf, conf.user)
    about = yarn.application(application[0])
    log = yarn.master_log(application[0])
    stamps = {"start": begin, "submitted": about["startedTime"] / 1000, "finished": about["finishedTime"] / 1000}
    for name, pattern in (
        ("master", r"Created MRAppMaster"), ("tasks", r"PipeMapRed exec"), ("tasks done", r"JOB_COMMIT"),
    ):  # fmt: skip
        found = re.search(rf"^(\S+ \S+),(\d+) .*{pattern}", log, re.MULTILINE)
        assert found, f"{pattern} is not in the log of {application[0]}"
        stamps[name] = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
    parts = [
        ("Python starts, uploads, the client's JVM starts and submits", "start", "submitted"),
        ("YARN starts the application master's JVM", "submitted", "master"),
        ("the master sets the job up", "master", "tasks"),
        ("the tasks: two Pythons, one after the other", "tasks", "tasks done"),
        ("the master commits and says goodbye", "tasks done", "finished"),
    ]
    for what, first, last in parts:
        yield f"  {what}", f"{stamps[last] - stamps[first]:.1f} s", "", ""
    yield "  the client notices, results are read, the crawldb's commit", f"{end - stamps['finished']:.1f} s", "", ""
    yield "one small job (inject of two seeds), wall", f"{end - begin:.1f} s", "", ""


def _seconds(command: list[str]) -> float:
    begin = time.monotonic()
    _run(command)
    return time.monotonic() - begin


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stderr


def main() -> None:
    """Measure, and print a Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("uri", metavar="URI", help="a directory on HDFS to work in")
    arguments.add_argument(
        "--rounds", type=int, default=3, help="how often the two runners take turns; the best counts"
    )
    options = arguments.parse_args()
    print("| what | measured | goal | other |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for row in measure(Path(directory), options.uri, options.rounds):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
