"""generate: the requests of the next round, as a new segment.

map: crawldb shard → due requests, not in a segment still in flight, best first, cut locally → one batch
reduce: all batches → exact top N under the caps → a plan → one fetchlist file per fetch task, hosts whole
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import hosts as hostdb
from crawldb import orders, plan, schema, selection, shards
from crawldb.errors import CobnutError, Interrupted
from crawldb.segments import Segment
from crawldb.store import Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, execute, parser, say

_CARRIED = tuple(dict.fromkeys((*schema.FETCHLIST.names, *orders.COLUMNS)))


class Generate(CrawlJob):
    """See the module."""

    REDUCERS = 1

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        snapshot = run.store.snapshot(self.context["version"])
        in_flight = [run.segments.at(name).fingerprints() for name in self.context["in_flight"]]
        chosen = selection.Selection(self.settings, self._pace(run))
        ready = 0
        columns = tuple(dict.fromkeys((*_CARRIED, "due_at")))
        for table in snapshot.scan(columns, item["shard"]):
            if control.STOP.is_set():
                raise Interrupted(15)
            eligible = selection.due(table, self.settings, self.context["now"])
            if eligible.any() and in_flight:
                keys = shards.key_bytes(table["fingerprint"])
                for taken in in_flight:
                    eligible &= ~shards.contains(taken, keys)
            ready += int(np.count_nonzero(eligible))
            if not eligible.any():
                continue
            eligible &= chosen.may_enter(table)
            chosen.add(table.take(pa.array(np.flatnonzero(eligible))).select(_CARRIED))
        best = chosen.result()
        yield "due", pa.table({"due": [ready]})
        if best is not None:
            yield "requests", best

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        if key == "due":
            yield None, {"due": sum(batch["due"][0].as_py() for batch in batches)}
            return
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        pace = self._pace(run)
        chosen = selection.Selection(self.settings, pace)
        for batch in batches:
            chosen.add(batch)
        best = chosen.result()
        if best is None:
            return
        segment = Segment(run.segments.fs, self.context["segment"])
        hosts, names = selection.host_groups(best["host"], "host")
        queues = plan.Queues.of(hosts, names, pace.mode, self.settings.generate.count_mode)
        snapshot = self._known_hosts(run)
        pace = plan.Pace(self.settings, hostdb.known_delays(snapshot, names))
        made = plan.make(queues, pace, self.settings, self.context["tasks"])
        task_of = made.task_of_host[hosts]
        # A day at most (RFC 9309 §2.4), counted from here: what gets too old on the way, fetch asks for again.
        fresh_since = self.context["now"] - int(min(self.settings.fetch.robots_max_age, 86_400) * 1000)
        known = hostdb.write_hostlists(snapshot, segment, best["host"], task_of, fresh_since)
        files = []
        for task in range(self.context["tasks"]):
            mine = np.flatnonzero(task_of == task)
            if len(mine):
                path = segment.part_path("fetchlist", task)
                with shards.Writer(run.store.fs, path, schema.FETCHLIST) as writer:
                    writer.write(best.take(pa.array(mine)).select(schema.FETCHLIST.names))
                files.append(writer.file.to_dict())
        yield None, {
            "files": files, "hostlist": [file.to_dict() for file in known], "rows": best.num_rows, "hosts": len(names),
            "longest": made.longest(), "plan": made.to_dict(self.context["at_once"]),
            "slow": made.slower_than(self.settings.generate.slow_host),
        }  # fmt: skip

    def _known_hosts(self, run: Run) -> Snapshot:
        """The host store, as all tasks of this job see it."""
        version = self.context["hosts"]
        return run.hosts.snapshot(version) if version >= 0 else run.hosts.new(self.settings.store)

    def _pace(self, run: Run) -> plan.Pace:
        """What generate.time_limit goes by; without it nobody asks, and hosts' delays need not be read."""
        limited = self.settings.generate.time_limit and self.context["hosts"] >= 0
        return plan.Pace(self.settings, hostdb.all_delays(self._known_hosts(run)) if limited else None)


def run(run: Run) -> Segment | None:
    """Make the next segment; None if nothing is due. ConflictError never: it starts over when another came first."""
    watch = Stopwatch()
    while True:
        snapshot = run.store.snapshot()
        # In this order: a segment that is applied or committed after the snapshot counts as in flight, or is noticed.
        number = run.segments.last_number() + 1
        in_flight = [segment.name for segment in run.segments.in_flight(snapshot.entry.applied)]
        now = run.now()
        known = run.hosts.versions()
        segment = run.segments.begin(now, number)
        context = {
            "version": snapshot.version, "now": now, "in_flight": in_flight, "segment": segment.path,
            "tasks": run.settings.generate.tasks or run.processes(), "at_once": _at_once(run),
            "hosts": known[-1] if known else -1,
        }  # fmt: skip
        try:
            run.hold_or_fail(segment)
            records = run.job(
                Generate, [{"shard": shard} for shard in range(snapshot.shards)], context, "generate", "shards"
            )
            made = next((record for record in records if "files" in record), None)
            ready = sum(record.get("due", 0) for record in records)
            if made is None:
                run.abandon(segment)
                waiting = f"; {len(in_flight)} segments in flight" if in_flight else ""
                say(f"generate  nothing is due{waiting} {watch}")
                return None
            files = [shards.File.from_dict(file) for file in made["files"]]
            segment.commit("hostlist", [shards.File.from_dict(file) for file in made["hostlist"]], now, {})
            counts = {"due": ready, **{key: made[key] for key in ("hosts", "longest", "plan")}}
            segment.commit("fetchlist", files, now, counts)
            run.segments.commit(segment, number, now, in_flight)
        except BaseException as error:
            run.abandon(segment)
            # Who committed this number first may also have removed, as garbage, what was being written here.
            beaten = isinstance(error, (CobnutError, OSError)) and run.segments.last_number() >= number
            if beaten and not isinstance(error, Interrupted):
                continue
            raise
        run.segments.remove_garbage()
        _tell_plan(run, segment, made, ready, watch)
        return segment


def _at_once(run: Run) -> int:
    """How many fetch tasks run at once."""
    if run.settings.run.runner != "hadoop":
        return run.processes()
    from jobs.hadoop.cluster import Cluster

    return Cluster.of(run.settings).capacity.containers


def _tell_plan(run: Run, segment: Segment, made: dict[str, Any], ready: int, watch: Stopwatch) -> None:
    longest, planned, settings = made["longest"], made["plan"], run.settings
    say(
        f"generate  {segment.name}: {made['rows']:,} of {ready:,} due requests, {made['hosts']:,} hosts, "
        f"{len(made['files'])} fetch tasks; plan: {_duration(planned['seconds'])}; longest queue {longest['host']}: "
        f"{longest['requests']:,} × {longest['delay']:g} s = {_duration(longest['seconds'])} {watch}"
    )
    if planned["left"]:
        say(
            f"generate  warning: fetch.time_limit ({_duration(settings.fetch.time_limit)}) will leave about "
            f"{planned['left']:,} of the requests for the next round"
        )
    if made["slow"]:
        others = f" and {made['slow'] - 1:,} more" if made["slow"] > 1 else ""
        say(
            f"generate  warning: {longest['host']}{others} will hold up the round "
            f"(longer than {_duration(settings.generate.slow_host)}, generate.slow_host); "
            "generate.time_limit or max_per_host caps a host, fetch.time_limit the phase"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main(argv: list[str] | None = None) -> int:
    """`cobnut generate CRAWL_DIR`"""
    arguments = parser("generate", "Choose the requests of the next round: a new segment.")
    arguments.add_argument("--top", type=int, metavar="N", help="at most N requests (generate.top)")
    options = arguments.parse_args(argv)
    if options.top is not None:
        options.overrides.append(f"generate.top={options.top}")
    return execute("generate", options, lambda run_: (run(run_), 0)[1])


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["generate", *sys.argv[1:]]))
