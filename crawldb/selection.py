"""Which requests a round fetches: due, best first, at most so many per directory, per host and in all. Exact.

Pure functions over tables; the job that calls them is jobs/generate.py.

What is wanted: all requests in order, one by one, each taken unless its directory, its host, its domain or the whole
has its share already. `Selection` sees a stream of tables and holds the best so far. That cutting as it goes is exact,
so that parts can be cut alone and the cuts of cuts be cut again, in any grouping, rests on the groups being nested: a
directory lies in one host, a host in one domain, a domain in the whole.

Each group lets the first `cap` pass of those that the groups right within it let pass, which ranks find: within each
directory first, among the survivors within each host, and so on outwards. (One by one comes to the same: as long as no
group further out is full, both have counted the same; once it is, both refuse all that follow in it.) With passed(G, S)
for how many of a set S the group G lets pass: passed(G, S) = min(cap, sum of passed(g, S) over the g right within G).
1. passed(G, ·) never shrinks when S grows, for sums and minima do not. A request is refused by G if those better than it
   fill G; in a larger set they fill it too. So what is refused of a part is refused of the whole.
2. Let r be refused by G. Those better than r fill G without it, so leaving r out changes neither passed(G, ·) nor that
   of any group around G; and whatever follows r within G is refused with r or without. So what was cut is not missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, scoring, shards
from crawldb.families import find
from crawldb.hostrules import NO_CAP, HostRules
from crawldb.orders import ORDERS
from crawldb.plan import Pace
from crawldb.schema import Status
from crawldb.settings import Settings
from crawldb.urls import registrable_domain

DECIDING = (
    "fingerprint", "host", "status", "due_at", "depth", "priority", "discovered_at",
    *(name for name in scoring.COLUMNS if name != "depth"),
)  # fmt: skip
"""The state's columns that decide; with max_per_directory, url too."""


def due(requests: pa.Table, settings: Settings, now: int) -> NDArray[np.bool_]:
    """Which requests may be fetched at `now` (UTC milliseconds).

    One that is due further ahead than the longest interval was scheduled under other settings: it is due too
    (Nutch's AbstractFetchSchedule.shouldFetch). Orphans are never fetched.
    """
    due_at = requests["due_at"].cast(pa.int64()).to_numpy()
    ready: NDArray[np.bool_] = (due_at <= now) | (due_at > now + settings.schedule.longest_interval() * 1000)
    ready &= schema.codes(requests["status"], schema.STATUS_NAMES) != Status.orphan
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


def directory_groups(urls: pa.ChunkedArray) -> NDArray[np.int64]:
    """For each canonical URL the number of its directory: host, port and path up to the last slash."""
    directories = pc.struct_field(pc.extract_regex(urls, "^https?://(?P<directory>[^?]*/)"), "directory")
    encoded = directories.combine_chunks().dictionary_encode()
    groups: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return groups


class Selection:
    """The best `top` of all requests it was shown, at most `max_per_directory`, `max_per_host` and what fits in
    `time_limit` at a queue's pace of each, and of a host no more than the rules on hosts say."""

    def __init__(
        self, settings: Settings, pace: Pace | None = None, rules: HostRules | None = None, now: int = 0
    ) -> None:
        generate = settings.generate
        self._score, self._now = settings.score, now
        self._order = find(ORDERS, generate.order, "generate.order")
        self._top, self._cap, self._mode = generate.top, generate.max_per_host, generate.count_mode
        self._directory_cap, self._time_limit = generate.max_per_directory, generate.time_limit
        self._pace = pace or Pace(settings)
        self._rules = rules if rules and rules.limit else None
        self._kept: pa.Table | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._worst: list[Any] | None = None

    def add(self, requests: pa.Table) -> None:
        """Show it some requests, in any order; no request may be shown twice.

        What fetching one is worth is computed where it is shown first, and goes along with the cut.
        """
        if not requests.num_rows:
            return
        self._pending.append(self._valued(requests))
        self._pending_rows += requests.num_rows
        if self._pending_rows >= max(self._top, 1 << 16):
            self._cut()

    def may_enter(self, requests: pa.Table) -> NDArray[np.bool_]:
        """False for requests that cannot be among the best any more: worth asking before reading more columns."""
        if self._worst is None:
            return np.ones(requests.num_rows, np.bool_)
        requests = self._valued(requests)
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

    def _valued(self, requests: pa.Table) -> pa.Table:
        return requests if "value" in requests.column_names else scoring.valued(requests, self._score, self._now)

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
        for groups, cap in self._caps(table):
            order = order[_rank_within(groups[order]) < cap[groups[order]]]
        if len(order) > self._top:
            order = order[: self._top]
        self._kept = table.take(pa.array(order))
        full = len(order) == self._top and self._top > 0
        # With a cap the worst kept may yet make room for a better one of its own host only; it stays a valid bound.
        self._worst = [key[order[-1]] for key in keys] if full else None

    def _caps(self, table: pa.Table) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(the group of each row, the cap of each group) for all caps there are, inner groups before outer ones."""
        if self._directory_cap:
            groups = directory_groups(table["url"])
            yield groups, np.full(groups.max(initial=-1) + 1, self._directory_cap)
        for mode in ("host", "domain"):
            by_count = self._cap if mode == self._mode else 0
            by_time = self._time_limit if mode == self._pace.mode else 0
            by_rule = self._rules if mode == "host" else None
            if by_count or by_time or by_rule:
                groups, names = host_groups(table["host"], mode)
                ruled = by_rule.of(names) if by_rule else None
                caps = ruled.caps if ruled else np.full(len(names), NO_CAP)
                if by_time:
                    caps = np.minimum(caps, self._pace.fits(names, by_time, ruled.delays if ruled else None))
                yield groups, np.minimum(caps, by_count) if by_count else caps


def _rank_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many rows before it have the same group."""
    by_group = np.argsort(groups, kind="stable")
    ordered = groups[by_group]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(groups) else np.empty(0, int)
    lengths = np.diff(np.append(starts, len(groups)))
    rank = np.empty(len(groups), np.int64)
    rank[by_group] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return rank
