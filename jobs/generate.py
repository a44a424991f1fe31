"""generate: the requests of the next round, as a new segment.

map: crawldb shard → due requests, not in a segment still in flight, best first, cut locally → one batch
reduce: all batches → exact top N under the caps → a plan → one fetchlist file per fetch task, hosts whole
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import hostrules, orders, plan, schema, scoring, selection, shards
from crawldb import hosts as hostdb
from crawldb.errors import CobnutError, Interrupted
from crawldb.hostrules import HostRules
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
        in_flight = self.in_flight(run)
        rules = self._rules(run)
        chosen = selection.Selection(self.settings, self._pace(run, rules), rules, self.context["now"])
        ready, skipped = 0, Skipped(rules)
        columns = tuple(dict.fromkeys((*(name for name in _CARRIED if name != "value"), *selection.DECIDING)))
        for table in snapshot.scan(columns, item["shard"]):
            if control.STOP.is_set():
                raise Interrupted(15)
            eligible = selection.due(table, self.settings, self.context["now"])
            if eligible.any() and in_flight:
                keys = shards.key_bytes(table["fingerprint"])
                for taken in in_flight:
                    eligible &= ~shards.contains(taken, keys)
            ready += int(np.count_nonzero(eligible))
            if rules and eligible.any():
                eligible &= skipped.others(table["host"], eligible)
            if not eligible.any():
                continue
            table = scoring.valued(table, self.settings.score, self.context["now"])
            eligible &= chosen.may_enter(table)
            chosen.add(table.take(pa.array(np.flatnonzero(eligible))).select(_CARRIED))
        best = chosen.result()
        yield "due", pa.table({"due": [ready]})
        if skipped.counts:
            yield "skipped", skipped.table()
        if best is not None:
            yield "requests", best

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        if key == "due":
            yield None, {"due": sum(batch["due"][0].as_py() for batch in batches)}
            return
        if key == "skipped":
            yield None, {"skipped": Skipped.summary(batches)}
            return
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        rules = self._rules(run)
        pace = self._pace(run, rules)
        best = self.best(batches, pace, rules)
        if best is None:
            return
        segment = Segment(run.segments.fs, self.context["segment"])
        hosts, names = selection.host_groups(best["host"], "host")
        queues = plan.Queues.of(hosts, names, pace.mode, self.settings.generate.count_mode)
        snapshot = self._known_hosts(run)
        verdicts = rules.of(names)
        delayed = np.flatnonzero(~np.isnan(verdicts.delays))
        own_delays = {names[place]: float(verdicts.delays[place]) for place in delayed.tolist()}
        pace = plan.Pace(self.settings, hostdb.known_delays(snapshot, names), own_delays)
        made = plan.make(queues, pace, self.settings, self.context["tasks"])
        task_of = made.task_of_host[hosts]
        # A day at most (RFC 9309 §2.4), counted from here: what gets too old on the way, fetch asks for again.
        fresh_since = self.context["now"] - int(min(self.settings.fetch.robots_max_age, 86_400) * 1000)
        known = hostdb.write_hostlists(snapshot, self._known_files(run), segment, best["host"], task_of, fresh_since)
        files = []
        for task in range(self.context["tasks"]):
            mine = np.flatnonzero(task_of == task)
            if len(mine):
                path = segment.part_path("fetchlist", task)
                with shards.Writer(run.store.fs, path, schema.FETCHLIST) as writer:
                    writer.write(best.take(pa.array(mine)).select(schema.FETCHLIST.names))
                files.append(writer.file.to_dict())
        delays: dict[str, list[str]] = {}
        for place in delayed.tolist():
            line = f"{names[place]} {own_delays[names[place]]:.3f}"
            delays.setdefault(str(made.task_of_host[place]), []).append(line)
        full = np.bincount(hosts, minlength=len(names)) >= verdicts.caps
        yield None, {
            "delays": delays, "ruled": {"capped": int(np.count_nonzero(full)), "delayed": len(delayed)},
            "files": files, "hostlist": [file.to_dict() for file in known], "rows": best.num_rows, "hosts": len(names),
            "longest": made.longest(), "plan": made.to_dict(self.context["at_once"]),
            "slow": made.slower_than(self.settings.generate.slow_host),
        }  # fmt: skip

    def best(self, batches: Iterable[pa.Table], pace: plan.Pace, rules: HostRules) -> pa.Table | None:
        """The requests to fetch, those to be fetched first first; None if there are none."""
        chosen = selection.Selection(self.settings, pace, rules, self.context["now"])
        for batch in batches:
            chosen.add(batch)
        return chosen.result()

    @classmethod
    def counted(cls, records: list[Record]) -> dict[str, Any]:
        """What the fetchlist's manifest says besides the plan."""
        return {"due": sum(record.get("due", 0) for record in records), "skipped": _skipped(records)}

    def in_flight(self, run: Run) -> list[NDArray[np.uint8]]:
        """The sorted fingerprints of each segment that is in flight."""
        return [run.segments.at(name).fingerprints() for name in self.context["in_flight"]]

    def _known_hosts(self, run: Run) -> Snapshot:
        """The host store, as all tasks of this job see it."""
        version = self.context["hosts"]
        return run.hosts.snapshot(version) if version >= 0 else run.hosts.new(self.settings.store)

    def _known_files(self, run: Run) -> Snapshot:
        """Their robots.txt files, likewise."""
        version = self.context["robots"]
        return run.robots.snapshot(version) if version >= 0 else run.robots.new(self.settings.store)

    def _rules(self, run: Run) -> HostRules:
        """The rules on hosts, as of this job's beginning."""
        return hostrules.load_once(self.settings, self._known_hosts(run), self.context["now"])

    def _pace(self, run: Run, rules: HostRules) -> plan.Pace:
        """What generate.time_limit goes by; without it nobody asks, and hosts' delays need not be read."""
        if not self.settings.generate.time_limit:
            return plan.Pace(self.settings)
        delays = hostdb.all_delays(self._known_hosts(run)) if self.context["hosts"] >= 0 else None
        by_domain = self.settings.fetch.queue_mode == "domain"  # else the selection asks the rules host by host
        return plan.Pace(self.settings, delays, rules.delays() if by_domain else None)


class Skipped:
    """Due requests of hosts that a rule leaves out: how many, by rule and host."""

    def __init__(self, rules: HostRules) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._rules = rules

    def others(self, column: pa.ChunkedArray, eligible: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
        """Which rows are of hosts that are not left out; counts those that are, of the `eligible`."""
        encoded = column.unify_dictionaries()
        names = encoded.chunk(0).dictionary.to_pylist()
        hosts = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
        rule = self._rules.of(names).skipped
        left_out = rule[hosts] >= 0
        requests = np.bincount(hosts[left_out & eligible], minlength=len(names))
        for place in np.flatnonzero(requests).tolist():
            self.counts[self._rules.texts[rule[place]], names[place]] += int(requests[place])
        return ~left_out

    def table(self) -> pa.Table:
        """For the reducer."""
        rules, hosts = zip(*self.counts, strict=True)
        return pa.table({"rule": list(rules), "host": list(hosts), "requests": list(self.counts.values())})

    @staticmethod
    def summary(batches: Iterable[pa.Table]) -> dict[str, dict[str, int]]:
        """Hosts and requests, by rule."""
        table = pa.concat_tables(batches)
        by_rule = table.group_by("rule").aggregate([("host", "count_distinct"), ("requests", "sum")])
        return {
            row["rule"]: {"hosts": row["host_count_distinct"], "requests": row["requests_sum"]}
            for row in by_rule.to_pylist()
        }


def run(run: Run) -> Segment | None:
    """Make the next segment; None if nothing is due. ConflictError never: it starts over when another came first."""
    watch = Stopwatch()
    hostrules.check(run.settings)
    run.store.snapshot()  # says so if there is none
    segment, records = new_segment(
        run, Generate, lambda snapshot: [{"shard": shard} for shard in range(snapshot.shards)], {}, "shards"
    )
    ready, skipped = sum(record.get("due", 0) for record in records), _skipped(records)
    if segment is None:
        in_flight = len(run.in_flight())
        waiting = f"; {in_flight} segments in flight" if in_flight else ""
        what = "nothing that is due may be fetched" if ready else "nothing is due"
        say(f"generate  {what}{waiting} {watch}")
        _tell_rules(skipped, {})
        return None
    made = tell_plan(run, "generate", segment, records, f"of {ready:,} due requests", watch)
    _tell_rules(skipped, made["ruled"])
    return segment


def _skipped(records: list[Record]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for record in records:
        found.update(record.get("skipped", {}))
    return found


def new_segment(
    run: Run, job_class: type[Generate], items: Callable[[Snapshot], list[dict[str, Any]]], told: dict[str, Any],
    unit: str,
) -> tuple[Segment | None, list[Record]]:  # fmt: skip
    """A segment of the requests that a job finds, committed, or None if it found none; and the job's records.

    `items` makes the work list; the tasks are also `told` this. Starts over when another segment was committed first.
    """
    verb = job_class.__name__.lower()
    while True:
        snapshot = run.store.snapshot_or_new(run.settings.store)
        # In this order: a segment that is applied or committed after the snapshot counts as in flight, or is noticed.
        number = run.segments.last_number() + 1
        in_flight = [segment.name for segment in run.segments.in_flight(snapshot.entry.applied)]
        now = run.now()
        known, files_known = run.hosts.versions(), run.robots.versions()
        segment = run.segments.begin(now, number)
        context = {
            "version": snapshot.version, "now": now, "in_flight": in_flight, "segment": segment.path,
            "tasks": run.settings.generate.tasks or run.processes(), "at_once": _at_once(run),
            "hosts": known[-1] if known else -1, "robots": files_known[-1] if files_known else -1, **told,
        }  # fmt: skip
        try:
            run.hold_or_fail(segment)
            records = run.job(job_class, items(snapshot), context, verb, unit)
            made = next((record for record in records if "files" in record), None)
            if made is None:
                run.abandon(segment)
                return None, records
            files = [shards.File.from_dict(file) for file in made["files"]]
            segment.commit("hostlist", [shards.File.from_dict(file) for file in made["hostlist"]], now, {})
            counts = {key: made[key] for key in ("hosts", "longest", "plan", "delays", "ruled")}
            segment.commit("fetchlist", files, now, {**job_class.counted(records), **counts})
            run.segments.commit(segment, number, now, in_flight)
        except BaseException as error:
            run.abandon(segment)
            # Who committed this number first may also have removed, as garbage, what was being written here.
            beaten = isinstance(error, (CobnutError, OSError)) and run.segments.last_number() >= number
            if beaten and not isinstance(error, Interrupted):
                continue
            raise
        run.segments.remove_garbage()
        return segment, records


def _at_once(run: Run) -> int:
    """How many fetch tasks run at once."""
    if run.settings.run.runner != "hadoop":
        return run.processes()
    from jobs.hadoop.cluster import Cluster

    return Cluster.of(run.settings).capacity.containers


def tell_plan(run: Run, verb: str, segment: Segment, records: list[Record], source: str, watch: Stopwatch) -> Record:
    """Say what a new segment holds, of what `source`, how long it will take, and what holds it up: a record says it."""
    made = next(record for record in records if "files" in record)
    longest, planned, settings = made["longest"], made["plan"], run.settings
    say(
        f"{verb:<9} {segment.name}: {made['rows']:,} {source}, {made['hosts']:,} hosts, "
        f"{len(made['files'])} fetch tasks; plan: {_duration(planned['seconds'])}; longest queue {longest['host']}: "
        f"{longest['requests']:,} × {longest['delay']:g} s = {_duration(longest['seconds'])} {watch}"
    )
    if planned["left"]:
        say(
            f"{verb:<9} warning: fetch.time_limit ({_duration(settings.fetch.time_limit)}) will leave about "
            f"{planned['left']:,} of the requests for the next round"
        )
    if made["slow"]:
        others = f" and {made['slow'] - 1:,} more" if made["slow"] > 1 else ""
        say(
            f"{verb:<9} warning: {longest['host']}{others} will hold up the round "
            f"(longer than {_duration(settings.generate.slow_host)}, generate.slow_host); "
            "generate.time_limit or max_per_host caps a host, fetch.time_limit the phase"
        )
    return made


_RULES_TOLD = 5


def _tell_rules(skipped: dict[str, dict[str, int]], ruled: dict[str, int]) -> None:
    """What the rules on hosts did, a line for each of the first few that left requests out."""
    most = sorted(skipped.items(), key=lambda item: (-item[1]["requests"], item[0]))
    for text, left_out in most[:_RULES_TOLD]:
        say(f"generate  left out {left_out['requests']:,} due requests of {left_out['hosts']:,} hosts: {text}")
    if more := most[_RULES_TOLD:]:
        requests = sum(left_out["requests"] for _, left_out in more)
        say(f"generate  left out {requests:,} more by {len(more):,} other rules")
    if any(ruled.values()):
        say(f"generate  rules on hosts: {ruled['capped']:,} got no more than their cap, {ruled['delayed']:,} have a "
            "delay of their own")  # fmt: skip


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
