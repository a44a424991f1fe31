"""What all commands share: their arguments, their summary lines, and how they end.

Owns argparse's common options, exit codes and what goes to stderr. What a command does is its job file's business.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crawldb import settings as configuration
from crawldb.errors import CobnutError, ConflictError, UsageError
from crawldb.filesystem import Lock, configure, is_uri, resolve
from crawldb.hosts import HOSTDB
from crawldb.links import LINKDB, SOURCEDB
from crawldb.robotstxt import ROBOTSDB
from crawldb.segments import Segment, Segments, next_phase
from crawldb.settings import Settings
from crawldb.sitemaps import SITEMAPDB
from crawldb.store import CRAWLDB, Kind, Store, now_ms
from jobs import control

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CRAWLDB, HOSTDB, ROBOTSDB, LINKDB, SOURCEDB, SITEMAPDB)}
"""The stores that a crawl directory may have, by name."""


@dataclass
class Run:
    """One call of a command: where the crawl is, the settings in force, and the directory of its messages."""

    crawl_dir: str
    settings: Settings
    control: str
    store: Store = field(init=False)
    hosts: Store = field(init=False)
    robots: Store = field(init=False)
    segments: Segments = field(init=False)
    _held: dict[str, Lock] = field(default_factory=dict)
    _copies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.crawl_dir)
        self.hosts = self.store_named(HOSTDB.name)
        self.robots = self.store_named(ROBOTSDB.name)
        self.segments = Segments(self.crawl_dir)

    def now(self) -> int:
        """The time, UTC milliseconds: the one clock of all commands, real or run.clock."""
        return self.settings.run.clock or now_ms()

    def store_named(self, name: str) -> Store:
        """The crawl directory's store of this name."""
        return Store(self.crawl_dir, KINDS[name])

    def other_stores(self) -> list[Store]:
        """All its stores but the crawldb."""
        return [self.store_named(name) for name in KINDS if name != CRAWLDB.name]

    def in_flight(self) -> list[Segment]:
        """Segments that no updatedb has applied yet, oldest first. UsageError if there is neither one nor a crawldb."""
        segments = self.segments.in_flight(self.store.snapshot_or_new(self.settings.store).entry.applied)
        if not segments:
            self.store.snapshot()  # says what lacks
        return segments

    def hold(self, segment: Segment) -> bool:
        """Keep other commands off a segment while this one works on it; False if another does."""
        if segment.name not in self._held:
            lock = segment.fs.try_lock(f"{segment.path}/.lock")
            if lock is None:
                return False
            self._held[segment.name] = lock
        return True

    def hold_or_fail(self, segment: Segment) -> Segment:
        """The segment, held. ConflictError if another command works on it."""
        if not self.hold(segment):
            raise ConflictError(f"{segment.path}: {self.holder(segment)} is working on it; wait for it to end")
        return segment

    def holder(self, segment: Segment) -> str:
        """Who keeps us off a segment."""
        return segment.fs.lock_holder(f"{segment.path}/.lock") or "another command"

    def abandon(self, segment: Segment) -> None:
        """Remove a segment that will not be committed, and let go of it: another may get its name."""
        segment.fs.remove(segment.path)
        if lock := self._held.pop(segment.name, None):
            lock.close()

    def visible_to_tasks(self, path: str) -> str:
        """A local file's path for the tasks: where they run on other machines, that of a copy, removed by `close`."""
        if self.settings.run.runner != "hadoop" or is_uri(path):
            return path
        from jobs.hadoop.cluster import Cluster

        copy = Cluster.of(self.settings).upload(path)
        self._copies.append(copy)
        return copy

    def close(self) -> None:
        """Let go of all segments, and of copies."""
        for copy in self._copies:
            fs, path = resolve(copy)
            fs.remove(os.path.dirname(path))
        self._copies.clear()
        for lock in self._held.values():
            lock.close()
        self._held.clear()

    def job(
        self, job_class: type[Any], items: Sequence[Any], context: Mapping[str, Any], label: str, unit: str
    ) -> list[dict[str, Any]]:
        """Run a job over its work list; its commit records."""
        from jobs.base import run_job

        return run_job(
            job_class, items, {"crawl_dir": self.crawl_dir, **context}, self.settings, self.control, label, unit
        )

    def processes(self) -> int:
        """How many tasks run at once."""
        if self.settings.run.runner == "inline":
            return 1
        if self.settings.run.runner == "hadoop":
            from jobs.hadoop.cluster import Cluster

            return Cluster.of(self.settings).capacity.nodes
        return self.settings.run.processes or os.cpu_count() or 1


def say(line: str) -> None:
    """One line for the user, on stderr: data alone goes to stdout."""
    print(line, file=sys.__stderr__, flush=True)


class Stopwatch:
    """Seconds since it was made, as summary lines show them."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __str__(self) -> str:
        return f"({time.monotonic() - self._start:.1f} s)"


def counts(numbers: Mapping[str, int]) -> str:
    """`fetched 12, gone 1`: what is not zero, the most first."""
    ordered = sorted(((number, name) for name, number in numbers.items() if number), reverse=True)
    return ", ".join(f"{name} {number:,}" for number, name in ordered)


def add_up(records: Sequence[Mapping[str, Any]], key: str) -> Counter[str]:
    """The sum of the counters that commit records carry under `key`."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.get(key, {}))
    return total


def parser(verb: str, description: str) -> argparse.ArgumentParser:
    """The arguments every command has: CRAWL_DIR, -r, --set, --conf."""
    arguments = argparse.ArgumentParser(prog=f"cobnut {verb}", description=description, allow_abbrev=False)
    arguments.add_argument("crawl_dir", metavar="CRAWL_DIR", help="the crawl's directory")
    add_common(arguments)
    return arguments


def add_common(arguments: argparse.ArgumentParser) -> None:
    """-r, --set and --conf."""
    arguments.add_argument(
        "-r", "--runner", metavar="RUNNER", help="inline (one process, the default), local (all cores) or hadoop"
    )
    arguments.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
        help="a setting for this run, such as fetch.delay=2; conf/crawl-default.toml lists them all",
    )  # fmt: skip
    arguments.add_argument("--conf", metavar="FILE", help="settings file (default: conf/crawl-site.toml)")


def segment_command(
    phase: str, description: str, function: Callable[[Run, Segment], int], argv: list[str] | None
) -> int:
    """`cobnut PHASE CRAWL_DIR [SEGMENT]`: one of segments.PHASES on one segment."""
    arguments = parser(phase, description)
    arguments.add_argument(
        "segment", metavar="SEGMENT", nargs="?", help=f"its name; default: the oldest ready for {phase}"
    )
    options = arguments.parse_args(argv)
    return execute(phase, options, lambda run: function(run, _segment_for(run, phase, options.segment)))


def _segment_for(run: Run, phase: str, name: str | None) -> Segment:
    """The segment called `name`, or the oldest one that `phase` comes next for. UsageError if there is none."""
    if name:
        return run.hold_or_fail(run.segments.find(name))
    segments = run.in_flight()
    for segment in segments:
        if next_phase(segment) == phase and run.hold(segment):
            return segment
    states = ", ".join(f"{segment.name} needs {next_phase(segment)}" for segment in segments)
    raise UsageError(f"{run.crawl_dir}: no segment is ready for {phase}" + (f"; {states}" if states else ""))


def execute(verb: str, arguments: argparse.Namespace, function: Callable[[Run], int]) -> int:
    """Call the command's function with its Run, and turn every error into one line and an exit code."""
    return guarded(verb, lambda: _execute(arguments, function))


def _execute(arguments: argparse.Namespace, function: Callable[[Run], int]) -> int:
    runner = [f"run.runner={arguments.runner}"] if arguments.runner else []
    settings = configuration.load(arguments.conf, [*arguments.overrides, *runner])
    configure(settings.hdfs)
    _, crawl_dir = resolve(arguments.crawl_dir)
    if settings.run.runner == "hadoop" and not is_uri(arguments.crawl_dir):
        raise UsageError(
            f"{arguments.crawl_dir}: -r hadoop wants a directory that every node sees: hdfs:///…, "
            "or file:///… where a file system is mounted on all of them"
        )
    with (
        control.control_directory(settings.run.temporary) as directory,
        control.interruptible(directory),
        contextlib.closing(Run(crawl_dir, settings, directory)) as run,
    ):
        return function(run)


def guarded(verb: str, function: Callable[[], int]) -> int:
    """The function's result, or the exit code of the CobnutError or OSError it raised, shown as one line."""
    if os.environ.get("COBNUT_DEBUG"):
        return function()
    try:
        return function()
    except CobnutError as error:
        say(f"cobnut {verb}: {error}")
        return error.exit_code
    except OSError as error:
        say(f"cobnut {verb}: {error}")
        return 1
