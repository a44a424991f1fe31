"""segments: what segments there are, what is in one, several as one, and old ones away.

Owns `list` and `prune`. `dump` is in `segments_dump`, `merge`, a MapReduce job, in `segments_merge`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from crawldb import formats, schema
from crawldb.errors import ConflictError, UsageError
from crawldb.output import output
from crawldb.segments import DATASETS, Segment, next_phase
from crawldb.store import LogEntry, now_ms
from jobs import segments_dump, segments_merge
from jobs.command import Run, Stopwatch, execute, parser, say

LISTED = pa.schema([
    ("segment", pa.string()), ("next", pa.string()), ("requests", pa.int64()), ("fetched", pa.int64()),
    ("parsed", pa.int64()), ("bytes", pa.int64()), ("applied_version", pa.int64()), ("applied_at", schema.TIME),
    ("lacking_in", pa.string()), ("merged_from", pa.list_(pa.string())),
])  # fmt: skip
"""`next`: fetch, parse, updatedb or nothing; `lacking_in`: other stores of the crawl that have not applied it;
`applied_version`: null also where retention removed that version from the log."""

_AGE = re.compile(r"\s*([0-9]{1,6})\s*([hdw])\s*")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


# -- list ----------------------------------------------------------------------------------------------------


def listed(run: Run) -> pa.Table:
    """A row of LISTED for each segment, oldest first."""
    entries = run.store.entries() if run.store.versions() else {}
    brought = {entry.segment: entry for entry in entries.values() if entry.segment}
    applied = frozenset(list(entries.values())[-1].applied) if entries else frozenset()
    rows = [_row(run, segment, applied, brought) for segment in run.segments.committed()]
    return pa.Table.from_pylist(rows, LISTED)


def _row(run: Run, segment: Segment, applied: Collection[str], brought: dict[str, LogEntry]) -> dict[str, Any]:
    complete = {name: segment.manifest(name) for name in DATASETS if segment.is_complete(name)}
    done = segment.is_applied(applied)
    commits = [brought[name] for name in segment.merged_from or (segment.name,) if name in brought] if done else []
    rows = {name: int(manifest["rows"]) for name, manifest in complete.items()}
    return {
        "segment": segment.name, "next": "nothing" if done else next_phase(segment),
        "requests": rows.get("fetchlist"), "fetched": rows.get("content"), "parsed": rows.get("parsed"),
        "bytes": sum(file["bytes"] for manifest in complete.values() for file in manifest["files"]),
        "applied_version": max((entry.version for entry in commits), default=None),
        "applied_at": max((entry.committed_at for entry in commits), default=None),
        "lacking_in": ",".join(lacking(run, segment)) or None, "merged_from": list(segment.merged_from) or None,
    }  # fmt: skip


def lacking(run: Run, segment: Segment) -> list[str]:
    """The other stores that the crawl has and that have not applied the segment."""
    there = [store for store in run.other_stores() if store.kind.of_segments and store.versions()]
    return [store.kind.name for store in there if not segment.is_applied(store.snapshot().entry.applied)]


def _list(run: Run, options: argparse.Namespace) -> int:
    table = listed(run)
    if not table.num_rows:
        run.store.snapshot()  # says what lacks, where there is no crawl at all
    with output(options.output) as (stream, width):
        formats.FORMATS[options.format]([table], LISTED, stream, width)
    if not table.num_rows:
        say(f"segments  {run.crawl_dir}: no segments")
    return 0


# -- prune ---------------------------------------------------------------------------------------------------


def prune(run: Run, older_hours: int | None, keep: int | None, *, dry_run: bool, force: bool) -> int:
    """Remove applied segments: those that began more than so many hours ago, or all but the newest `keep`.

    Never one in flight or held by another command, nor, unless `force`, one that another store has not applied yet.
    """
    watch = Stopwatch()
    number = run.segments.last_number() + 1
    applied = run.store.snapshot().entry.applied
    now = now_ms()
    candidates = [segment for segment in run.segments.committed() if segment.is_applied(applied)]
    if older_hours is not None:
        candidates = [segment for segment in candidates if segment.began < now - older_hours * 3_600_000]
    else:
        candidates = sorted(candidates, key=lambda segment: segment.name)[: max(len(candidates) - (keep or 0), 0)]
    removed = []
    for segment in candidates:
        stores = lacking(run, segment)
        if stores and not force:
            say(
                f"segments  warning: {segment.name} is kept: {', '.join(stores)} has not applied it; run the command "
                "that does, or give --force"
            )
        elif not dry_run and not run.hold(segment):
            say(f"segments  warning: {segment.name} is kept: {run.holder(segment)} is working on it")
        else:
            removed.append(segment)
    size = sum(file.bytes for one in removed for name in DATASETS if one.is_complete(name) for file in one.files(name))
    names = ", ".join(segment.name for segment in removed) or "none"
    if removed and not dry_run:
        # First the log's word, then the files: who reads the log never sees half a segment.
        run.segments.commit_removal(removed, number, now)
    if not dry_run:
        for segment in removed:
            run.abandon(segment)
        run.segments.remove_garbage()
    would = "would remove" if dry_run else "removed"
    say(f"segments  {would} {len(removed):,} segments, {size / 1e6:,.1f} MB: {names} {watch}")
    return 0


def _hours(text: str) -> int:
    found = _AGE.fullmatch(text)
    if found is None:
        raise UsageError(f"--older {text}: expected a number with h, d or w, such as 30d")
    return int(found[1]) * _HOURS[found[2]]


def _prune(run: Run, options: argparse.Namespace) -> int:
    older = None if options.older is None else _hours(options.older)
    if (older is None) == (options.keep is None):
        raise UsageError("give either --older, such as --older 30d, or --keep N")
    if options.keep is not None and options.keep < 0:
        raise UsageError(f"--keep {options.keep}: expected 0 or more")
    return again_on_conflict(lambda: prune(run, older, options.keep, dry_run=options.dry_run, force=options.force))


def again_on_conflict(work: Any, attempts: int = 5) -> int:
    """Do it again when another command came first: a generate has its segment committed in a moment."""
    for _ in range(attempts - 1):
        try:
            return int(work())
        except ConflictError as error:
            say(f"segments  {error}")
    return int(work())


# -- the command ---------------------------------------------------------------------------------------------


def _list_parser() -> argparse.ArgumentParser:
    arguments = parser("segments list", "The segments of a crawl: what is done, how large they are, which are applied.")
    arguments.add_argument("--format", choices=tuple(formats.FORMATS), default="table", help="default: table")
    arguments.add_argument("-o", dest="output", metavar="FILE", help="write to FILE instead of stdout")
    return arguments


def _prune_parser() -> argparse.ArgumentParser:
    arguments = parser("segments prune", "Remove segments that are in the crawldb: old ones, or all but the newest.")
    arguments.add_argument("--older", metavar="AGE", help="those that began longer ago than this, such as 30d or 12h")
    arguments.add_argument("--keep", metavar="N", type=int, help="all but the newest N")
    arguments.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    arguments.add_argument(
        "--force", action="store_true", help="also what another store, such as hostdb, has not applied yet"
    )
    return arguments


ACTIONS = {
    "list": (_list_parser, _list, "what segments there are, and how far each is"),
    "dump": (segments_dump.arguments, segments_dump.run, "what is in one: requests, answers, texts, links"),
    "merge": (segments_merge.arguments, segments_merge.run_with, "several as one, of each request the newest answer"),
    "prune": (_prune_parser, _prune, "remove old ones that are in the crawldb"),
}
"""By name: what makes its parser, what it does, and what to say of it."""


def main(argv: list[str] | None = None) -> int:
    """`cobnut segments list|dump|merge|prune CRAWL_DIR …`"""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.ArgumentParser(
        prog="cobnut segments", allow_abbrev=False, usage="cobnut segments ACTION CRAWL_DIR [ARGUMENT]…",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["actions (… ACTION --help tells more):", *(f"  {name:<8}{does}" for name, (_, _, does) in ACTIONS.items())]),
    )  # fmt: skip
    arguments.add_argument("action", metavar="ACTION", choices=tuple(ACTIONS), help=", ".join(ACTIONS))
    make, function, _ = ACTIONS[arguments.parse_args(given[:1]).action]
    options = make().parse_args(given[1:])
    return execute("segments", options, lambda run: function(run, options))


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["segments", *sys.argv[1:]]))
