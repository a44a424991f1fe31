"""Which requests a round fetches: due, best first, at most so many per host, at most so many in all. Exact.

Pure functions over tables; the job that calls them is jobs/generate.py.

`Selection` sees a stream of tables and holds the best so far. Cutting as it goes is exact: a request with N better
ones in its part of the crawldb (counting at most the cap for each host) has N better ones in all of it. So
parts can be cut alone, and the cuts of cuts be cut again, in any grouping.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import shards
from crawldb.families import find
from crawldb.orders import ORDERS
from crawldb.settings import Settings
from crawldb.urls import registrable_domain

DECIDING = ("fingerprint", "host", "due_at", "score", "depth", "priority", "discovered_at")
"""The state's columns that decide."""


def due(requests: pa.Table, settings: Settings, now: int) -> NDArray[np.bool_]:
    """Which requests may be fetched at `now` (UTC milliseconds).

    One that is due further ahead than the longest interval was scheduled under other settings: it is due too
    (Nutch's AbstractFetchSchedule.shouldFetch).
    """
    due_at = requests["due_at"].cast(pa.int64()).to_numpy()
    ready: NDArray[np.bool_] = (due_at <= now) | (due_at > now + settings.schedule.max_interval * 1000)
    ready &= requests["score"].fill_null(0).to_numpy() >= settings.generate.min_score
    return ready


def host_groups(hosts: pa.ChunkedArray, mode: str) -> tuple[NDArray[np.int64], list[str]]:
    """For each row the number of its host (or registrable domain, by `mode`), and what the numbers stand for."""
    column = pa.chunked_array([chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
                               for chunk in hosts.chunks], pa.string()).combine_chunks()  # fmt: skip
    encoded = column.dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    codes: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if mode == "domain":
        numbers: dict[str, int] = {}
        to_domain = np.array([numbers.setdefault(registrable_domain(name), len(numbers)) for name in names], np.int64)
        codes, names = to_domain[codes] if len(codes) else codes, list(numbers)
    return codes, names


class Selection:
    """The best `top` of all requests it was shown, at most `max_per_host` of each host."""

    def __init__(self, settings: Settings) -> None:
        generate = settings.generate
        self._order = find(ORDERS, generate.order, "generate.order")
        self._top, self._cap, self._mode = generate.top, generate.max_per_host, generate.count_mode
        self._kept: pa.Table | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._worst: list[Any] | None = None

    def add(self, requests: pa.Table) -> None:
        """Show it some requests, in any order; no request may be shown twice."""
        if not requests.num_rows:
            return
        self._pending.append(requests)
        self._pending_rows += requests.num_rows
        if self._pending_rows >= max(self._top, 1 << 16):
            self._cut()

    def may_enter(self, requests: pa.Table) -> NDArray[np.bool_]:
        """False for requests that cannot be among the best any more: worth asking before reading more columns."""
        if self._worst is None:
            return np.ones(requests.num_rows, np.bool_)
        better = np.zeros(requests.num_rows, np.bool_)
        equal = ~better
        for key, worst in zip(self._order(requests), self._worst, strict=True):
            better |= equal & (key < worst)
            equal &= key == worst
        return better | equal

    def result(self) -> pa.Table | None:
        """The selected requests, the best first; None if it was shown none."""
        self._cut()
        return self._kept

    def _cut(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(
            [*([self._kept] if self._kept is not None else []), *self._pending]
        ).unify_dictionaries()
        self._pending, self._pending_rows = [], 0
        keys = self._order(table)
        order = shards.sort_order(shards.key_bytes(table["fingerprint"]))  # what the keys leave equal
        for key in reversed(keys):
            order = order[np.argsort(key[order], kind="stable")]
        if self._cap:
            groups, _ = host_groups(table["host"], self._mode)
            order = order[_rank_within(groups[order]) < self._cap]
        if len(order) > self._top:
            order = order[: self._top]
        self._kept = table.take(pa.array(order))
        full = len(order) == self._top and self._top > 0
        # With a cap the worst kept may yet make room for a better one of its own host only; it stays a valid bound.
        self._worst = [key[order[-1]] for key in keys] if full else None


def _rank_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many rows before it have the same group."""
    by_group = np.argsort(groups, kind="stable")
    ordered = groups[by_group]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(groups) else np.empty(0, int)
    lengths = np.diff(np.append(starts, len(groups)))
    rank = np.empty(len(groups), np.int64)
    rank[by_group] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return rank


def assign_tasks(groups: NDArray[np.int64], number_of_groups: int, tasks: int) -> NDArray[np.int64]:
    """The fetch task of each row: hosts whole, the longest queues spread first (LPT rule, Graham 1969).

    `groups` is the host number of each row. Deterministic.
    """
    queue = np.bincount(groups, minlength=number_of_groups)
    task_of = np.zeros(number_of_groups, np.int64)
    loads = [(0, task) for task in range(tasks)]
    longest_first = np.argsort(-queue, kind="stable")
    for group, requests in zip(longest_first.tolist(), queue[longest_first].tolist(), strict=True):
        load, task = loads[0]
        task_of[group] = task
        heapq.heapreplace(loads, (load + requests, task))
    return task_of[groups]
