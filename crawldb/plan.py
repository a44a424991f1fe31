"""How long a fetch phase will take, and which fetch task gets which hosts: known before anything is fetched.

Pure functions over columns. Owns the arithmetic of queues (requests × delay), of tasks and of the whole; which requests
there are is `selection`'s business, what came of the plan the fetch job's.

The model: a queue (fetch.queue_mode) takes its requests × its pace; a fetch task takes as long as its longest queue, or
as all its requests at seconds_per_request each with so many under way at once, whichever is longer; fetch.time_limit
cuts every task. The longest queue takes as long wherever it lies, so what can be balanced is the other part: tasks are
filled by the seconds of work that hosts bring (one for robots.txt included, those that the time limit leaves excluded).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb.settings import Settings
from crawldb.urls import registrable_domain

Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]


class Pace:
    """Seconds from one request of a queue to the next.

    `crawl_delays`: what is known of hosts' robots.txt, seconds by host; `own_delays`: what rules say instead of
    fetch.delay, which others have. A registrable domain that is one queue has the slowest pace of its known hosts.
    """

    def __init__(
        self, settings: Settings, crawl_delays: Mapping[str, float] | None = None,
        own_delays: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        fetch = settings.fetch
        self.mode = "domain" if fetch.queue_mode == "domain" else "host"  # addresses are not known yet
        answer = settings.generate.seconds_per_request
        least = max(min(fetch.delay_factor * answer, fetch.max_delay), answer / fetch.threads_per_host)
        self.usual = max(fetch.delay, least)
        asked, own = crawl_delays or {}, own_delays or {}
        known = dict.fromkeys([*asked, *own])
        names = pa.array(list(known), pa.string())
        delays = np.array([asked.get(name, np.nan) for name in known], np.float64)
        ours = np.array([own.get(name, np.nan) for name in known], np.float64)
        # Pages of a host that asks for more than max_crawl_delay are not fetched: that takes no time.
        refused = delays > fetch.max_crawl_delay
        paces = np.where(refused, 0, np.maximum(np.fmax(np.maximum(delays, fetch.min_crawl_delay), ours), least))
        if self.mode == "domain" and known:
            slowest: dict[str, float] = {}
            for name, pace in zip(known, paces.tolist(), strict=True):
                domain = registrable_domain(name)
                slowest[domain] = max(slowest.get(domain, self.usual), pace)
            names, paces = pa.array(list(slowest), pa.string()), np.fromiter(slowest.values(), np.float64)
            refused = np.zeros(len(paces), np.bool_)
        self._names, self._paces, self._refused, self._least = names, paces, refused, least

    def of(self, queues: list[str], own: Seconds | None = None) -> Seconds:
        """The pace of each queue, by its host or domain; 0: all at once. `own`: what rules say of these hosts, NaN for
        nothing, beside what they said at first."""
        known = np.zeros(len(queues), np.bool_)
        paces, refused = np.full(len(queues), self.usual), known
        if len(self._names) and len(queues):
            place = pc.index_in(pa.array(queues, pa.string()), value_set=self._names).fill_null(-1).to_numpy()
            known = place >= 0
            paces, refused = np.append(self._paces, self.usual)[place], np.append(self._refused, False)[place]
        if own is not None:
            ours = np.maximum(own, np.where(known, paces, self._least))
            paces = np.where(np.isnan(own) | refused, paces, ours)
        return paces

    def fits(self, queues: list[str], seconds: float, own: Seconds | None = None) -> Numbers:
        """How many requests of each queue fit in a time: one at least; `own` as for `of`."""
        return within(self.of(queues, own), seconds)


_ANY_NUMBER = 1 << 62


def within(pace: Seconds, seconds: float) -> Numbers:
    """How many requests at a pace fit in a time: one at least, at pace 0 any number."""
    fits = np.full(len(pace), _ANY_NUMBER, np.int64)
    takes = pace > 0
    fits[takes] = np.clip(np.floor(seconds / pace[takes] + 1e-9), 1, 2.0**62)
    return fits


@dataclass
class Queues:
    """A round's requests by host, as parallel arrays; `queue` and `unit` number what a host belongs to."""

    requests: Numbers
    """Of each host."""
    queue: Numbers
    queue_names: list[str]
    unit: Numbers
    """What stays whole in one task."""
    units: int

    @classmethod
    def of(cls, hosts: Numbers, names: list[str], queue_mode: str, count_mode: str) -> Queues:
        """For the host number of each request and the hosts' names. What has one queue stays in one task, too."""
        requests = np.bincount(hosts, minlength=len(names)).astype(np.int64)
        alone = np.arange(len(names), dtype=np.int64)
        if "domain" not in (queue_mode, count_mode):
            return cls(requests, alone, names, alone, len(names))
        numbers: dict[str, int] = {}
        domain = np.array([numbers.setdefault(registrable_domain(name), len(numbers)) for name in names], np.int64)
        one_queue = queue_mode == "domain"
        return cls(
            requests, domain if one_queue else alone, list(numbers) if one_queue else names, domain, len(numbers)
        )


@dataclass
class Plan:
    """What `make` found out; times in seconds."""

    task_of_host: Numbers
    task_seconds: Seconds
    task_requests: Numbers
    queue_seconds: Seconds
    queue_requests: Numbers
    queue_pace: Seconds
    queue_names: list[str]
    left: int
    """Requests that fetch.time_limit is expected to leave."""
    time_limit: float

    def seconds(self, at_once: int) -> float:
        """Of the whole phase, when so many tasks run at once."""
        slots = [0.0] * max(1, min(at_once, len(self.task_seconds)))
        for seconds in self.task_seconds.tolist():
            heapq.heappush(slots, heapq.heappop(slots) + seconds)
        return max(slots)

    def longest(self) -> dict[str, Any]:
        """The queue that takes longest (without the time limit), of several the one with most requests."""
        place = np.lexsort((-self.queue_requests, -self.queue_seconds))[0]
        return {
            "host": self.queue_names[place], "requests": int(self.queue_requests[place]),
            "delay": round(float(self.queue_pace[place]), 3), "seconds": round(float(self.queue_seconds[place]), 3),
        }  # fmt: skip

    def slower_than(self, seconds: float) -> int:
        """How many queues will keep the phase going for longer."""
        allowed = self.time_limit or math.inf
        return int(np.count_nonzero(np.minimum(self.queue_seconds, allowed) > seconds))

    def to_dict(self, at_once: int) -> dict[str, Any]:
        """As it stands in the fetchlist's manifest; `tasks` by the number of the task, without those that are empty."""
        tasks = {
            str(task): {"seconds": round(float(self.task_seconds[task]), 3), "requests": int(self.task_requests[task])}
            for task in np.flatnonzero(self.task_requests).tolist()
        }
        return {"seconds": round(self.seconds(at_once), 3), "at_once": at_once, "left": self.left, "tasks": tasks}


def make(queues: Queues, pace: Pace, settings: Settings, tasks: int) -> Plan:
    """Give every unit a task and predict the times. Deterministic."""
    fetch, one = settings.fetch, settings.generate.seconds_per_request
    limit = fetch.time_limit or math.inf
    under_way = fetch.threads if fetch.engine == "requests" else fetch.connections
    count = len(queues.queue_names)
    requests = _sum(queues.queue, queues.requests, count)
    paces = pace.of(queues.queue_names)
    seconds = requests * paces
    reached = requests if limit == math.inf else np.minimum(requests, within(paces, limit))
    # One more of every host for its robots.txt. Pages of a host whose crawl delay is too long are not asked for.
    asked = (paces > 0) | (pace.usual == 0)
    work = np.where(asked, reached, 0) + np.bincount(queues.queue, minlength=count)
    unit_of_queue = np.zeros(count, np.int64)
    unit_of_queue[queues.queue] = queues.unit
    unit_seconds = np.zeros(queues.units)
    np.maximum.at(unit_seconds, unit_of_queue, seconds)
    task_of_unit = assign_tasks(_sum(unit_of_queue, work, queues.units), unit_seconds, tasks)
    task_of_queue = task_of_unit[unit_of_queue]
    longest = np.zeros(tasks)
    np.maximum.at(longest, task_of_queue, seconds)
    task_requests = _sum(task_of_queue, requests, tasks)
    at_work = _sum(task_of_queue, work, tasks) * one / under_way
    left = task_requests - _sum(task_of_queue, reached, tasks)
    if one and limit < math.inf:
        left = np.maximum(left, task_requests - int(limit * under_way / one))
    return Plan(
        task_of_unit[queues.unit], np.minimum(np.maximum(longest, at_work), limit), task_requests, seconds, requests,
        paces, queues.queue_names, int(left.sum()), fetch.time_limit,
    )  # fmt: skip


def assign_tasks(work: Numbers, seconds: Seconds, tasks: int) -> Numbers:
    """The task of each unit: those with most work first, each to the task with the least (LPT rule, Graham 1969).

    Among equals the one whose longest queue takes longest goes first, to the task whose units take least in sum, so
    that slow hosts are spread.
    """
    task_of = np.zeros(len(work), np.int64)
    loads = [(0, 0.0, task) for task in range(tasks)]
    for unit in np.lexsort((-seconds, -work)).tolist():
        load, queued, task = loads[0]
        task_of[unit] = task
        heapq.heapreplace(loads, (load + int(work[unit]), queued + float(seconds[unit]), task))
    return task_of


def _sum(groups: Numbers, values: Numbers, number_of_groups: int) -> Numbers:
    return np.bincount(groups, weights=values, minlength=number_of_groups).astype(np.int64)
