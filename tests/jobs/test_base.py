"""How jobs run: work lists, commit records, and what a user sees of a task that fails."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from crawldb.errors import CobnutError, ConflictError, Interrupted
from crawldb.settings import Settings
from jobs import control
from jobs.base import CrawlJob, run_job
from jobs.protocol import ArrowProtocol, shard_key


class Count(CrawlJob):
    """Counts letters by way of the shuffle, and fails as it is told."""

    def mapper(self, _: None, item: Any) -> Iterator[tuple[str, pa.Table]]:
        failure = item.get("fail")
        if failure == "conflict":
            raise ConflictError("another one came first")
        if failure == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "/crawl")
        if failure == "bug":
            raise ZeroDivisionError("a bug")
        if failure == "stop":
            os.kill(self.context["pid"], signal.SIGTERM)
            assert control.STOP.wait(20)
        for letter in item["text"]:
            yield shard_key(ord(letter)), pa.table({"letter": [letter], "n": [1]})

    def reducer(self, key: str, tables: Iterable[pa.Table]) -> Iterator[tuple[None, dict[str, Any]]]:
        table = pa.concat_tables(tables)
        yield None, {"letter": table["letter"][0].as_py(), "n": table.num_rows, "greeting": self.context["greeting"]}


def run(directory: Path, runner: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
    settings = Settings()
    settings.run.runner, settings.run.processes = runner, 2
    with control.control_directory(str(directory)) as messages, control.interruptible(messages):
        return run_job(Count, items, {"greeting": "hello"}, settings, messages)


runners = pytest.mark.parametrize("runner", ["inline", pytest.param("local", marks=pytest.mark.slow)])


@runners
def test_every_key_meets_one_reducer(tmp_path: Path, runner: str) -> None:
    records = run(tmp_path, runner, {"text": "abac"}, {"text": "cab"}, {"text": ""}, {"text": "ä"})
    assert {record["letter"]: record["n"] for record in records} == {"a": 3, "b": 2, "c": 2, "ä": 1}
    assert all(record["greeting"] == "hello" for record in records)
    assert list(tmp_path.iterdir()) == []


@runners
def test_our_errors_stay_what_they_are(tmp_path: Path, runner: str) -> None:
    with pytest.raises(ConflictError, match=r"^another one came first$"):
        run(tmp_path, runner, {"text": "", "fail": "conflict"})
    with pytest.raises((OSError, CobnutError), match="No space left on device"):
        run(tmp_path, runner, {"text": "", "fail": "full"})


@pytest.mark.slow
def test_a_bug_in_a_task_shows_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(CobnutError, match=r"(?s)a task failed.*Traceback.*ZeroDivisionError: a bug"):
        run(tmp_path, "local", {"text": "", "fail": "bug"})


@runners
def test_a_stop_reaches_the_tasks(tmp_path: Path, runner: str) -> None:
    with pytest.raises(Interrupted) as stopped:
        run(tmp_path, runner, {"text": "a", "fail": "stop"})
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_task_stops_when_its_command_is_gone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    control.STOP.clear()
    try:
        gone = os.fork()
        if not gone:
            os._exit(0)
        os.waitpid(gone, 0)
        control.follow_command(str(tmp_path), gone)
        assert control.STOP.wait(20)
    finally:
        control.STOP.clear()
        signal.signal(signal.SIGINT, before)


def test_a_line_of_the_shuffle_is_a_table_again() -> None:
    table = pa.table({"x": pa.array(["a\tb\n", None]).dictionary_encode(), "m": [[("k", "v")], None]})
    line = ArrowProtocol().write("00003", table)
    assert line.count(b"\t") == 1
    assert b"\n" not in line
    assert ArrowProtocol().read(line) == ("00003", table)


def test_progress_adds_up_over_tasks(tmp_path: Path) -> None:
    for total, done in ((10, 3), (5, 5)):
        control.Progress(str(tmp_path), total).update(done)
    assert control._sum_progress(str(tmp_path)) == (8, 15)


def test_threads_are_not_left_behind(tmp_path: Path) -> None:
    run(tmp_path, "inline", {"text": "a"})
    deadline = time.monotonic() + 5
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [t.name for t in threading.enumerate() if t.name in ("progress", "chunk-clock")] == []
