"""crawl: the round loop. Inject, then rounds of generate → fetch → parse → updatedb, and compaction when it is due.

What a broken call left is finished first: the persisted crawldb and segments say what that is, so nothing is done
twice and no request is lost. `scripts/crawl.sh` calls this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from crawldb import schema
from crawldb.errors import ConflictError
from crawldb.segments import PHASES, Segment, next_phase
from crawldb.store import CRAWLDB
from jobs import (
    compact,
    control,
    dedup,
    fetch,
    generate,
    inject,
    invertlinks,
    parse,
    sitemaps,
    updatedb,
    warc,
)
from jobs.archiving.index import Sessions
from jobs.command import Run, Stopwatch, add_common, execute, say
from jobs.fetching import user_agent

_PHASES: dict[str, Callable[[Run, Segment], int]] = {"fetch": fetch.run, "parse": parse.run, "updatedb": updatedb.run}
_CONFLICTS = 10
"""How often a phase is run again because another writer came first."""


def finish(run: Run, segment: Segment) -> None:
    """Run the phases that a segment still needs."""
    for phase in PHASES[PHASES.index(next_phase(segment)) :]:
        _again_on_conflict(partial(_PHASES[phase], run, segment))
        control.raise_if_interrupted()
    if run.settings.linkdb.update:
        _again_on_conflict(lambda: invertlinks.run(run, invertlinks.parsed_segments(run)))
        control.raise_if_interrupted()
    if run.settings.dedup.each_round:
        _again_on_conflict(lambda: dedup.run(run))
        control.raise_if_interrupted()
    compact_if_due(run)


def compact_if_due(run: Run) -> None:
    """Compact the crawldb or another store when its deltas have grown past store.compact_share or store.compact_deltas."""
    for store in (run.store, *run.other_stores()):
        if not compact.is_due(store.snapshot_or_new(run.settings.store).entry, run.settings.store):
            continue
        try:
            compact.run(run) if store.kind is CRAWLDB else compact.run_other(run, store)
        except ConflictError:
            say("compact   another writer came first; the next round compacts")
        control.raise_if_interrupted()


def _again_on_conflict(work: Callable[[], Any]) -> None:
    for attempt in range(_CONFLICTS):
        try:
            work()
            return
        except ConflictError as error:
            if attempt == _CONFLICTS - 1:
                raise
            say(f"crawl     {error}; once more")


class VirtualTime:
    """The time of a crawl that is answered by archives: each round is at the time of one that was archived.

    It stands in run.clock, where all commands and tasks find it, and follows from the archives and the crawl directory
    alone, so that a replay that was broken off goes on as if nothing had happened.
    """

    def __init__(self, run: Run, sessions: Sessions) -> None:
        self._run, self._sessions = run, sessions

    def begin(self) -> None:
        """Before anything else: the time of the last round, or of the first one to come."""
        past = self._past()
        self._set(past or self._sessions.after(0))

    def resume(self, segment: Segment) -> None:
        """A round that was broken off goes on at its own time."""
        self._set(segment.manifest("fetchlist")["committed_at_ms"])

    def next_round(self) -> None:
        """The next round begins."""
        self._set(self._sessions.after(self._past()))

    def _past(self) -> int:
        """The time of the last round, 0 if there was none."""
        rounds = self._run.segments.committed()
        return max((segment.manifest("fetchlist")["committed_at_ms"] for segment in rounds), default=0)

    def _set(self, at: int) -> None:
        self._run.settings.run.clock = at


def run(run: Run, seeds: list[str], rounds: int, update: bool = False, replay: Sequence[str] = ()) -> int:
    """Inject `seeds` if there are any, finish broken rounds, then run up to `rounds` rounds.

    With `replay`, WARC files answer in the web's place, at the time that they are of.
    """
    watch = Stopwatch()
    time = None
    if replay:
        run.settings.fetch.engine = "replay"
        time = VirtualTime(run, warc.write_indexes(run, replay))
        time.begin()
    user_agent(run.settings)  # refuse now rather than after generate
    if seeds:
        _again_on_conflict(lambda: inject.run(run, seeds, update))
        control.raise_if_interrupted()
        compact_if_due(run)
    broken = run.in_flight()
    for segment in broken:
        if not run.hold(segment):
            say(f"crawl     leaving the round {segment.name} to {run.holder(segment)}, which is working on it")
            continue
        say(f"crawl     finishing the round {segment.name}, which needs {next_phase(segment)}")
        if time:
            time.resume(segment)
        finish(run, segment)
    for number in range(1, rounds + 1):
        say(f"crawl     round {number} of {rounds}")
        if time:
            time.next_round()
        if run.settings.sitemap.read != "never":
            _again_on_conflict(partial(sitemaps.run_due, run))
            control.raise_if_interrupted()
        new = generate.run(run)
        control.raise_if_interrupted()
        if new is None:
            say(f"crawl     stopping early: {_when_next(run)}")
            break
        finish(run, new)
    entry = run.store.snapshot().entry
    say(f"crawl     done: crawldb version {entry.version}, {len(entry.applied):,} segments applied {watch}")
    return 0


def _when_next(run: Run) -> str:
    """Why nothing is due."""
    earliest: int | None = None
    for table in run.store.snapshot().scan(["due_at", "status"]):
        waiting = schema.codes(table["status"], schema.STATUS_NAMES) != schema.Status.orphan
        times = table["due_at"].cast("int64").to_numpy()[waiting]
        if len(times):
            earliest = int(times.min()) if earliest is None else min(earliest, int(times.min()))
    if earliest is None:
        return "there is nothing in the crawldb but orphans" if run.store.snapshot().rows else "the crawldb is empty"
    due = datetime.fromtimestamp(earliest / 1000, timezone.utc)
    return f"nothing is due before {due:%Y-%m-%d %H:%M:%S} UTC"


def main(argv: list[str] | None = None) -> int:
    """`crawl.sh [-s SEEDS] [-r RUNNER] [--top N] [--set KEY=VALUE]… [--conf FILE] CRAWL_DIR ROUNDS`"""
    arguments = argparse.ArgumentParser(
        prog="crawl.sh", allow_abbrev=False,
        description="Crawl: inject seeds, then rounds of generate, fetch, parse and updatedb. "
        "Run it again after any break-off: it finishes the broken round first.",
    )  # fmt: skip
    arguments.add_argument("crawl_dir", metavar="CRAWL_DIR", nargs="?", help="where the crawl is kept")
    arguments.add_argument(
        "rounds", metavar="ROUNDS", nargs="?", help="at most so many rounds; fewer if nothing is due"
    )
    arguments.add_argument(
        "-s", "--seeds", metavar="SEEDS", action="append", default=[],
        help="seeds to inject first: a file or directory of lines URL[<TAB>key=value]…, or - for stdin",
    )  # fmt: skip
    arguments.add_argument(
        "--update", action="store_true", help="known requests take over the seeds' score, interval, …"
    )
    arguments.add_argument("--top", metavar="N", type=int, help="at most N requests a round (generate.top)")
    arguments.add_argument(
        "--sitemaps", metavar="WHEN", choices=("never", "once", "always"),
        help="read the sitemaps that robots.txt files name, before generate: never, once or always (sitemap.read)",
    )  # fmt: skip
    arguments.add_argument(
        "--dedup", metavar="GROUP", choices=("none", "host", "domain"),
        help="mark duplicates after every round, compared within: none, host or domain (dedup.each_round, dedup.group)",
    )  # fmt: skip
    arguments.add_argument("--demo", action="store_true", help="crawl a small site served from this machine, 3 rounds")
    arguments.add_argument(
        "--replay",
        metavar="WARC",
        action="append",
        default=[],
        help="ask no server: WARC files (a file or directory; may be given several times) answer, at the time they are of",
    )
    add_common(arguments)
    options = arguments.parse_args(argv)
    if options.top is not None:
        options.overrides.append(f"generate.top={options.top}")
    if options.sitemaps is not None:
        options.overrides.append(f"sitemap.read={options.sitemaps}")
    if options.dedup is not None:
        options.overrides += ["dedup.each_round=true", f"dedup.group={options.dedup}"]
    if options.demo:
        from jobs.demo.crawl import demo

        return demo(options)
    if options.crawl_dir is None or options.rounds is None:
        arguments.error("CRAWL_DIR and ROUNDS are needed; or --demo, to see a crawl of a small site")
    if not options.rounds.isdecimal():
        arguments.error(f"ROUNDS = {options.rounds}: expected a whole number, such as 3")
    rounds = int(options.rounds)
    return execute("crawl", options, lambda run_: run(run_, options.seeds, rounds, options.update, options.replay))


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["crawl", *sys.argv[1:]]))
