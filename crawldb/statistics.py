"""What `dump.py --stats` says of a crawldb: counts by column, score quantiles, the largest hosts.

Owns counting rows, one table at a time and in bounded memory, and printing the result as text or as one JSON object.

Everything is exact but the score quantiles (see `_Scores`) and, in a crawldb of more than a million hosts, their
number and order (see `_Hosts`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import rowtext, schema
from crawldb.store import Snapshot

COLUMNS = ("status", "reason", "http_status", "retries", "depth", "score", "due_at", "host")
"""What is counted, and all that the tables need."""

TOP_HOSTS = 10
QUANTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}


class Statistics:
    """Counts of the rows that were added."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._rows = self._due_now = self._due_later = 0
        self._next_due: int | None = None
        self._names = {name: _Names() for name in ("status", "reason")}
        self._numbers = {name: _Numbers() for name in ("http_status", "retries", "depth")}
        self._scores = _Scores()
        self._hosts = _Hosts()

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table that has COLUMNS."""
        self._rows += table.num_rows
        for name, names in self._names.items():
            _each(table[name], names.add)
        for name, numbers in self._numbers.items():
            _each(table[name], numbers.add)
        _each(table["score"], self._scores.add)
        _each(table["host"], self._hosts.add)
        waiting = table["due_at"].filter(pc.not_equal(table["status"].cast(pa.string()), "orphan"))
        _each(waiting, self._add_due)

    def _add_due(self, times: pa.Array) -> None:
        due_at = times.drop_null().view(pa.int64()).to_numpy()
        later = due_at[due_at > self._now]
        self._due_now += len(due_at) - len(later)
        self._due_later += len(later)
        if len(later):
            soonest = int(later.min())
            self._next_due = soonest if self._next_due is None else min(self._next_due, soonest)

    def result(self) -> dict[str, Any]:
        """What `--stats --format jsonl` prints of the rows. Counts by value, the most frequent first; `null`: none."""
        hosts, top = self._hosts.result(TOP_HOSTS)
        status = self._names["status"].counts
        return {
            "rows": self._rows,
            "due_now": self._due_now,
            "due_later": self._due_later,
            "next_due_at": None if self._next_due is None else time_text(self._next_due),
            "status": {member.name: status[member.name] for member in schema.Status if status[member.name]},
            "reason": dict(sorted(self._names["reason"].counts.items(), key=lambda item: (-item[1], item[0]))),
            **{name: numbers.result() for name, numbers in self._numbers.items()},
            "score": self._scores.result(),
            "hosts": hosts,
            "top_hosts": [{"host": host, "rows": rows} for host, rows in top],
        }


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """What the log knows: version, files and their sizes."""
    entry = snapshot.entry
    return {
        "version": entry.version,
        "kind": entry.kind,
        "committed_at": time_text(entry.committed_at),
        "shards": snapshot.shards,
        "bytes": snapshot.bytes_on_disk,
        "base_rows": entry.base.rows if entry.base else 0,
        "deltas": len(entry.deltas),
        "delta_rows": sum(delta.rows for delta in entry.deltas),
    }


def count(tables: Iterable[pa.Table], now: int) -> dict[str, Any]:
    """`Statistics` of all rows of some tables."""
    statistics = Statistics(now)
    for table in tables:
        statistics.add(table)
    return statistics.result()


def time_text(time: int) -> str:
    """UTC milliseconds as ISO 8601."""
    return str(rowtext.plain(pa.array([time], pa.int64()).cast(schema.TIME))[0])


# -- counters ----------------------------------------------------------------------------------------------------


def _each(column: pa.ChunkedArray, add: Any) -> None:
    for chunk in column.chunks:
        if len(chunk):
            add(chunk)


def _places(names: pa.DictionaryArray) -> NDArray[np.int64]:
    """How often each entry of the dictionary is used, nulls last."""
    entries = len(names.dictionary)
    places = names.indices.fill_null(entries).to_numpy()
    return np.bincount(places, minlength=entries + 1)


class _Names:
    """A dictionary-encoded column of few distinct values; Python sees each chunk's distinct values only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, names: pa.DictionaryArray) -> None:
        texts = [*names.dictionary.to_pylist(), None]
        for text, rows in zip(texts, _places(names).tolist(), strict=True):
            if rows:
                self.counts["null" if text is None else text] += rows


class _Numbers:
    """A column of 8- or 16-bit integers."""

    _LEAST = -(1 << 15)

    def __init__(self) -> None:
        self._counts = np.zeros(1 << 16, np.int64)
        self._nulls = 0

    def add(self, numbers: pa.Array) -> None:
        self._nulls += numbers.null_count
        values = numbers.drop_null().to_numpy().astype(np.int64)
        self._counts += np.bincount(values - self._LEAST, minlength=1 << 16)

    def result(self) -> dict[str, int]:
        used = np.flatnonzero(self._counts)
        counts = {str(value + self._LEAST): int(self._counts[value]) for value in used.tolist()}
        return counts | ({"null": self._nulls} if self._nulls else {})


class _Scores:
    """Quantiles of a float32 column from a histogram over the leading 18 bits of the numbers' bit patterns.

    Minimum and maximum are exact. A quantile (nearest rank) is the lower edge of its bucket: never above the exact
    one and below it by less than 1 part in 512, but exact for round numbers (up to 9 significant bits: 1, 0.25, …).
    """

    _DROPPED = 14

    def __init__(self) -> None:
        self._counts = np.zeros(1 << (32 - self._DROPPED), np.int64)
        self._low, self._high, self._sum, self._nulls = math.inf, -math.inf, 0.0, 0

    def add(self, scores: pa.Array) -> None:
        values = scores.drop_null().to_numpy()
        numbers = values[np.isfinite(values)]
        self._nulls += len(scores) - len(numbers)
        if not len(numbers):
            return
        self._low = min(self._low, float(numbers.min()))
        self._high = max(self._high, float(numbers.max()))
        self._sum += float(numbers.sum(dtype=np.float64))
        bits = numbers.view(np.uint32)
        # IEEE 754 orders like sign and magnitude: flip what makes unsigned integers sort like the numbers.
        ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        self._counts += np.bincount(ordered >> self._DROPPED, minlength=len(self._counts))

    def result(self) -> dict[str, float | int | None]:
        total = int(self._counts.sum())
        values: dict[str, float | int | None] = {"min": None, **dict.fromkeys(QUANTILES), "max": None, "mean": None}
        if total:
            up_to = np.cumsum(self._counts)
            for name, share in QUANTILES.items():
                bucket = int(np.searchsorted(up_to, max(1, math.ceil(share * total))))
                values[name] = _shortest(max(self._low, self._edge(bucket)))
            values |= {"min": _shortest(self._low), "max": _shortest(self._high), "mean": _shortest(self._sum / total)}
        return values | {"null": self._nulls}

    def _edge(self, bucket: int) -> float:
        ordered = bucket << self._DROPPED
        bits = ordered ^ (1 << 31) if ordered >> 31 else ~ordered & 0xFFFFFFFF
        return float(np.array(bits, np.uint32).view(np.float32))


def _shortest(value: float) -> float:
    """The float whose text is the shortest that names the same float32; zero without a sign."""
    return float(str(np.float32(value))) + 0.0


class _Hosts:
    """Rows by host. Exact up to a million hosts.

    Beyond, whenever twice as many are known, the half with the fewest rows is forgotten: the largest hosts stay, and a
    count may be too low by at most the rows that a host had when it was forgotten (Manku & Motwani's lossy counting).
    """

    _PENDING = 1 << 18
    _MOST = 1 << 20

    def __init__(self) -> None:
        self._counts = pa.table({"host": pa.array([], pa.string()), "rows": pa.array([], pa.int64())})
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._forgot = False

    def add(self, hosts: pa.DictionaryArray) -> None:
        counts = _places(hosts)[:-1]
        used = np.flatnonzero(counts)
        self._pending.append(pa.table({"host": hosts.dictionary.take(pa.array(used)), "rows": counts[used]}))
        self._pending_rows += len(used)
        if self._pending_rows >= self._PENDING:
            self._merge()

    def result(self, top: int) -> tuple[int, list[tuple[str, int]]]:
        """How many hosts there are, and those with the most rows (equal ones by name)."""
        self._merge()
        order = self._counts.sort_by([("rows", "descending"), ("host", "ascending")]).slice(0, top)
        return self._counts.num_rows, list(zip(*order.to_pydict().values(), strict=True))

    def _merge(self) -> None:
        everything = pa.concat_tables([self._counts, *self._pending])
        sums = everything.group_by("host", use_threads=False).aggregate([("rows", "sum")])
        self._counts = pa.table({"host": sums["host"], "rows": sums["rows_sum"]})
        self._pending, self._pending_rows = [], 0
        if self._counts.num_rows > 2 * self._MOST:
            largest = np.argsort(-self._counts["rows"].to_numpy(), kind="stable")[: self._MOST]
            self._counts = self._counts.take(pa.array(np.sort(largest)))


# -- printing ----------------------------------------------------------------------------------------------------


def to_json(statistics: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(statistics, ensure_ascii=False, separators=(",", ":")) + "\n"


def to_text(statistics: dict[str, Any]) -> str:
    """For people: facts, then a small table for each column that was counted."""
    rows = statistics["rows"]
    counts = {name: statistics[name] for name in ("status", "reason", "http_status", "retries", "depth")}
    hosts = {host["host"]: host["rows"] for host in statistics["top_hosts"]}
    tables = {**counts, f"host (the largest of {statistics['hosts']:,})": hosts}
    width = max(len(name) for title, column in tables.items() for name in [title, *column]) + 2
    lines = [f"{label:<11}{text}" for label, text in _facts(statistics)]
    lines += ["", *_quantiles(statistics["score"])]
    for title, column in tables.items():
        lines += ["", f"{title:<{width}}{'rows':>15}  {'share':>6}"]
        for name, number in column.items():
            shown = "(none)" if name == "null" else name
            lines.append(f"  {shown:<{width - 2}}{number:>15,}  {100 * number / rows:>5.1f}%")
    return "\n".join(lines) + "\n"


def _facts(statistics: dict[str, Any]) -> Iterable[tuple[str, str]]:
    size, known = statistics["bytes"], statistics["base_rows"] + statistics["delta_rows"]
    yield "version", f"{statistics['version']} ({statistics['kind']}, {statistics['committed_at']})"
    yield "rows", f"{statistics['rows']:,}"
    yield "bytes", f"{size:,}" + (f" ({size / known:.1f} a row stored)" if known else "")
    yield "files", (f"{_number(statistics['shards'], 'shard')}, base: {_number(statistics['base_rows'], 'row')}, "
                    f"{_number(statistics['deltas'], 'delta')}: {_number(statistics['delta_rows'], 'row')}")  # fmt: skip
    yield "due now", f"{statistics['due_now']:,}"
    soonest = f", the first at {statistics['next_due_at']}" if statistics["next_due_at"] else ""
    yield "due later", f"{statistics['due_later']:,}{soonest}"


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _quantiles(scores: dict[str, Any]) -> list[str]:
    shown = {name: value for name, value in scores.items() if name != "null"}
    texts = ["-" if value is None else f"{value:.4g}" for value in shown.values()]
    widths = [max(len(name), len(text)) for name, text in zip(shown, texts, strict=True)]
    return ["score" + "".join(f"  {name:>{width}}" for name, width in zip(shown, widths, strict=True)),
            "     " + "".join(f"  {text:>{width}}" for text, width in zip(texts, widths, strict=True))]  # fmt: skip
