"""Two generates at once, at every moment: the beaten one starts over, and nothing is lost."""

from __future__ import annotations

import builtins
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.segments import Segments
from crawldb.settings import Settings
from crawldb.store import now_ms
from jobs import control, generate, inject
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
