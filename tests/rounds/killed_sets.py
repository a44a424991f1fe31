"""Merges or removes segments again and again, killed (SIGKILL) at every nth step, and tells what was left.

    python killed_sets.py WORK PREPARED DIRECTORY STRIDE      one JSON object a line: what the check after each kill found

A step is the moment before a call by which the work changes what is below segments/, or the middle of a write there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crawldb.settings import Settings
from crawldb.store import Store
from jobs import control, segments, segments_merge
from jobs.command import Run
from tests.crawldb import killed_writers

_OURS = (".parquet", "_manifest.json", "_generate.json", ".lock")


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a step before it, if it is about a segment; what mrjob does in its own directories is none."""

    def stepping(*arguments: Any, **more: Any) -> Any:
        path = str(arguments[0])
        if "/segments/" in path or path.endswith(_OURS):
            killed_writers.step()
        return function(*arguments, **more)

    return stepping


def merge(run: Run) -> None:
    """All segments as one."""
    segments_merge.run(run, [])


def prune(run: Run) -> None:
    """All but one segment away."""
    segments.prune(run, None, 1, dry_run=False, force=False)


def check(directory: str, name: str, *, done: bool) -> list[str]:
    """What must not be, after a kill or (`done`) after the same again."""
    run = Run(directory, Settings(), "")
    committed = run.segments.committed()
    wrong = [f"{segment.name} would be applied again" for segment in run.in_flight()]
    if Store(directory).snapshot().version != 3:
        wrong.append("the crawldb is another")
    pages: dict[str, Any] = {}
    for segment in committed:
        for file in segment.files("content"):
            answers = segment.read("content", file.name, ["url", "fetched_at"])
            for url, time in zip(answers["url"].to_pylist(), answers["fetched_at"].to_pylist(), strict=True):
                pages[url] = max(time, pages.get(url, time))
        if (
            not segment.is_complete("parsed")
            or segment.manifest("parsed")["rows"] != segment.manifest("content")["rows"]
        ):
            wrong.append(f"{segment.name} is not whole")
    newest = {
        row["url"]: row["fetched_at"]
        for table in run.store.snapshot().scan(["url", "fetched_at"])
        for row in table.to_pylist()
    }
    if name == "merge" and pages != newest:
        wrong.append(f"pages are lost: {sorted(set(newest) - set(pages))}, or older than before")
    if len(committed) not in ((1,) if done else (1, 3)):
        wrong.append(f"{len(committed)} segments")
    if done:
        wrong += [found for found in killed_writers.garbage(directory) if not found.endswith("/.lock")]
    return wrong


def main(name: str, prepared: str, root: str, stride: int) -> None:
    """Kill the work at every `stride`th step there is."""
    work = {"merge": merge, "prune": prune}[name]
    killed_writers.counted = counted

    def act(directory: str) -> None:
        with control.control_directory(root) as messages:
            run = Run(directory, Settings(), messages)
            work(run)
            run.close()

    for last in range(1, 1000, stride):
        directory = f"{root}/{last}"

        def until_killed(directory: str = directory, last: int = last) -> None:
            shutil.copytree(prepared, directory)
            killed_writers.die_at(last)
            act(directory)

        def then(directory: str = directory, last: int = last) -> None:
            wrong = check(directory, name, done=False)
            act(directory)
            wrong += check(directory, name, done=True)
            print(json.dumps({"step": last, "wrong": wrong}))

        killed = os.WIFSIGNALED(killed_writers.in_child(until_killed))
        killed_writers.in_child(then)
        shutil.rmtree(directory)
        if not killed:
            print(json.dumps({"completed_at": last, "wrong": []}))
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
