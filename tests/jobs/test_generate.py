"""generate as a user calls it: the plan and the caps; and two at once, at every moment, of which nothing is lost."""

from __future__ import annotations

import builtins
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.segments import Segment, Segments
from crawldb.settings import Settings
from crawldb.store import now_ms
from jobs import control, generate, inject
from jobs.cli import main
from jobs.command import Run

SEEDS = 5


class Moments:
    """Counts the calls by which this process changes what is on disk, and does something before the one that is due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self.due = 0
        self.event: Callable[[], None] = lambda: None
        for name in ("mkdir", "link", "unlink", "rmdir", "fsync", "open"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))
        monkeypatch.setattr(builtins, "open", self._counting(builtins.open))

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if "/segments/" in str(arguments[0]) or function is _FSYNC:
                self.passed += 1
                if self.passed == self.due:
                    self.event()
            return function(*arguments, **options)

        return call


_FSYNC = os.fsync


@pytest.fixture
def crawl_dir(tmp_path: Path) -> Iterator[Callable[[], Run]]:
    """Makes crawl directories with SEEDS seeds, each of another host."""
    seeds = tmp_path / "seeds"
    seeds.write_text("".join(f"http://h{number}.example/\n" for number in range(SEEDS)))
    numbers = itertools.count()
    with control.control_directory(str(tmp_path)) as directory:

        def make() -> Run:
            run = Run(str(tmp_path / f"crawl-{next(numbers)}"), Settings(), directory)
            inject.run(run, [str(seeds)])
            return run

        yield make


def rival(run: Run) -> None:
    """Another generate, whole: it commits a segment (for which nothing was due) and cleans up after the beaten ones."""
    segments = Segments(run.crawl_dir)
    number = segments.last_number() + 1
    segment = segments.begin(now_ms(), number)
    segment.commit("fetchlist", [], now_ms(), {})
    segments.commit(segment, number, now_ms(), [])
    segments.remove_garbage()


@pytest.mark.slow
def test_another_generate_at_any_moment_makes_it_start_over(
    crawl_dir: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = Moments(monkeypatch)
    for due in itertools.count(1):
        run = crawl_dir()
        moments.passed, moments.due, moments.event = 0, due, lambda run=run: rival(run)  # type: ignore[misc]
        segment = generate.run(run)
        beaten = moments.passed >= due
        moments.due = 0
        run.close()
        assert segment is not None
        assert len(segment.fingerprints()) == SEEDS
        committed = run.segments.committed()
        assert segment in committed
        assert len(committed) == (2 if beaten else 1)
        run.segments.remove_garbage()
        assert sorted(os.listdir(run.segments.path)) == [*sorted(one.name for one in committed), "log"]
        if not beaten:
            break
    assert due > 20


# -- the plan ----------------------------------------------------------------------------------------------------


def generated(tmp_path: Path, seeds: dict[str, int], capfd: pytest.CaptureFixture[str], *overrides: str) -> list[str]:
    """What generate says of a crawl with so many seeds of each host, `{host}/{number % 3}/{number}`."""
    file = tmp_path / "seeds.txt"
    file.write_text(
        "".join(f"http://{host}/{number % 3}/{number}\n" for host, count in seeds.items() for number in range(count))
    )
    crawl_dir = str(tmp_path / "crawl")
    assert main(["inject", crawl_dir, str(file)]) == 0
    capfd.readouterr()
    options = [part for override in overrides for part in ("--set", override)]
    assert main(["generate", crawl_dir, *options]) == 0
    return capfd.readouterr().err.splitlines()


def newest(tmp_path: Path) -> Segment:
    return Segments(str(tmp_path / "crawl")).committed()[-1]


def hosts_of_tasks(segment: Segment) -> list[Counter[str]]:
    return [
        Counter(segment.read("fetchlist", file.name, ["host"])["host"].to_pylist())
        for file in segment.files("fetchlist")
    ]


def test_the_plan_is_told_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = generated(tmp_path, {"a.example": 30, "b.example": 10, "c.example": 15}, capfd, "generate.tasks=2")
    segment = newest(tmp_path)
    assert line.startswith(
        f"generate  {segment.name}: 55 of 55 due requests, 3 hosts, 2 fetch tasks; plan: 4 min; "
        "longest queue a.example: 30 × 5 s = 2 min "
    )
    counts = segment.manifest("fetchlist")["counts"]
    assert counts["longest"] == {"host": "a.example", "requests": 30, "delay": 5.0, "seconds": 150.0}
    assert counts["plan"] == {  # inline, one task after the other
        "seconds": 225.0, "at_once": 1, "left": 0,
        "tasks": {"0": {"seconds": 150.0, "requests": 30}, "1": {"seconds": 75.0, "requests": 25}},
    }  # fmt: skip
    assert hosts_of_tasks(segment) == [{"a.example": 30}, {"b.example": 10, "c.example": 15}]


def test_slow_hosts_and_what_a_time_limit_leaves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = generated(
        tmp_path, {"a.example": 30, "b.example": 20, "c.example": 5}, capfd,
        "fetch.time_limit=80", "generate.slow_host=50",
    )  # fmt: skip
    assert "plan: 80 s; longest queue a.example: 30 × 5 s = 2 min" in said[0]
    assert said[1].startswith("generate  warning: fetch.time_limit (80 s) will leave about 18 of the requests")
    assert said[2].startswith("generate  warning: a.example and 1 more will hold up the round (longer than 50 s")
    assert len(said) == 3


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_caps_of_directories_and_of_time(runner: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What does not fit stays due: the next round takes it."""
    seeds = {"a.example": 30, "b.example": 6}
    overrides = ["generate.time_limit=20", "generate.max_per_directory=2", "fetch.delay=4", f"run.runner={runner}"]
    said = generated(tmp_path, seeds, capfd, *overrides)
    assert "10 of 36 due requests" in said[-1]
    first = newest(tmp_path)
    assert sum(hosts_of_tasks(first), Counter()) == {"a.example": 5, "b.example": 5}
    urls = [url for file in first.files("fetchlist") for url in segment_urls(first, file.name)]
    assert max(Counter(url.rpartition("/")[0] for url in urls).values()) == 2
    assert main(["generate", str(tmp_path / "crawl"), *(p for o in overrides for p in ("--set", o))]) == 0
    assert "6 of 26 due requests" in capfd.readouterr().err


def segment_urls(segment: Segment, name: str) -> list[str]:
    urls: list[str] = segment.read("fetchlist", name, ["url"])["url"].to_pylist()
    return urls
