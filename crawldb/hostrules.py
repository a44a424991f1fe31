"""Rules on hosts: which are left out of a round, get fewer requests, or a delay of their own.

Owns the two ways to say so, and what they come to for a host:

    [hosts]                                          by name: a host, or *.example.org for all below it
    skip = ["*.example.org"]
    cap = ["big.example 100"]
    delay = ["slow.example 10s"]

    [generate]                                       by record: the columns of `dump.py --hosts`, in `where`'s language
    host_rules = ["retry > 100 AND success = 0 → skip", "latency_95 > 5000 → delay 20"]

Of the rules by record all that are true of a host count: skip above all, the smallest cap, the longest delay. Rules by
name stand above them, and of those the most exact decides. A delay stands in place of fetch.delay; a longer Crawl-delay
of robots.txt still holds. Which requests are left out is `selection`'s business, what a delay makes of a plan `plan`'s.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import hosts, where
from crawldb.conditions import Condition
from crawldb.errors import UsageError
from crawldb.settings import Settings
from crawldb.store import Snapshot

Numbers = NDArray[np.int64]
Seconds = NDArray[np.float64]

NO_CAP = 1 << 62

_RULE = re.compile(r"(?P<condition>.*)(?:→|=>|->)(?P<action>.*)", re.DOTALL)
_ACTION = re.compile(
    r"\s*(?:(?P<skip>skip)|cap\s+(?P<cap>\d{1,15})|delay\s+(?P<delay>\d+(?:\.\d+)?)\s*s?)\s*", re.IGNORECASE
)
_PATTERN = re.compile(r"(?P<below>\*\.)?(?P<host>[^\s*]+)(?:\s+(?P<value>\S+))?")
_VALUES = {"cap": re.compile(r"\d{1,15}"), "delay": re.compile(r"(\d+(?:\.\d+)?)s?")}


@dataclass(frozen=True)
class _Rule:
    """One rule by record."""

    text: str
    condition: Condition
    skip: bool
    cap: int
    delay: float
    """NaN: none."""


@dataclass(frozen=True)
class Verdicts:
    """What the rules come to for some hosts, as parallel arrays."""

    skipped: Numbers
    """The number of the rule that leaves the host out (`HostRules.texts`); -1: none."""
    caps: Numbers
    """Requests in a round; NO_CAP: any number."""
    delays: Seconds
    """NaN: none of its own."""

    def take(self, places: NDArray[np.int64]) -> Verdicts:
        """Those of the hosts at these places."""
        return Verdicts(self.skipped[places], self.caps[places], self.delays[places])


class ByName:
    """The rules of one key of [hosts]: a value for each pattern. UsageError for a line that is none."""

    def __init__(self, key: str, lines: Sequence[str]) -> None:
        self._exact: dict[str, tuple[str, float]] = {}
        self._below: dict[str, tuple[str, float]] = {}
        for line in lines:
            found = _PATTERN.fullmatch(line.strip())
            value = _VALUES[key].fullmatch(found["value"] or "") if found and key in _VALUES else None
            if found is None or (value is None if key in _VALUES else found["value"] is not None):
                kind = {"cap": " and a number of requests", "delay": " and seconds"}.get(key, "")
                raise UsageError(f"hosts.{key}: {line}: expected a host, as example.org or *.example.org{kind}")
            kept = (f"hosts.{key}: {line.strip()}", float(value[0].rstrip("s")) if value else 0.0)
            (self._below if found["below"] else self._exact)[found["host"].lower()] = kept

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def values(self) -> dict[str, float]:
        """By host, and by the domain that is above the hosts."""
        return {host: value for host, (_, value) in {**self._below, **self._exact}.items()}

    def find(self, host: str) -> tuple[str, float] | None:
        """The rule's text and value that hold for a host: its own, else that of the nearest domain above it."""
        if (found := self._exact.get(host)) is not None:
            return found
        while self._below and "." in host:
            host = host.partition(".")[2]
            if (found := self._below.get(host)) is not None:
                return found
        return None

    def of(self, host: str) -> float | None:
        """The value alone."""
        found = self.find(host)
        return None if found is None else found[1]


@dataclass
class HostRules:
    """All rules of the settings, those by record looked up in a version of the host store."""

    texts: list[str]
    """Of the rules that skip, as people wrote them."""
    _skip: ByName
    _cap: ByName
    _delay: ByName
    _hosts: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    """Those that rules by record speak of."""
    _verdicts: Verdicts | None = None

    def __bool__(self) -> bool:
        return bool(self._skip or self._cap or self._delay or len(self._hosts))

    @functools.cached_property
    def limit(self) -> bool:
        """True if some rule caps or delays a host, so that a selection must ask."""
        by_record = self._verdicts
        return bool(self._cap or self._delay) or (
            by_record is not None and bool((by_record.caps < NO_CAP).any() or (~np.isnan(by_record.delays)).any())
        )

    def of(self, names: Sequence[str]) -> Verdicts:
        """What the rules come to for hosts."""
        if self._verdicts is not None and len(self._hosts):
            place = pc.index_in(pa.array(names, pa.string()), value_set=self._hosts).fill_null(len(self._hosts))
            found = self._verdicts.take(place.to_numpy(zero_copy_only=False))
        else:
            found = _no_verdicts(len(names))
        for place_, name in enumerate(names) if self._skip or self._cap or self._delay else ():
            if (skip := self._skip.find(name)) is not None:
                found.skipped[place_] = self.texts.index(skip[0])
            if (cap := self._cap.of(name)) is not None:
                found.caps[place_] = int(cap)
            if (delay := self._delay.of(name)) is not None:
                found.delays[place_] = delay
        return found

    def delays(self) -> dict[str, float]:
        """The delays of all hosts that the rules speak of; a pattern's stands under the domain that it is below."""
        known = self.of(self._hosts.to_pylist()).delays
        by_record = {name: float(seconds) for name, seconds in zip(self._hosts.to_pylist(), known, strict=True)
                     if not np.isnan(seconds)}  # fmt: skip
        return self._delay.values() | by_record


def _no_verdicts(number: int) -> Verdicts:
    return Verdicts(np.full(number, -1), np.full(number, NO_CAP), np.full(number, np.nan))


def own_delays(settings: Settings) -> ByName:
    """The delays of hosts by name alone: those of [hosts], and what generate found out for a fetch task's hosts."""
    return ByName("delay", settings.hosts.delay)


def check(settings: Settings) -> None:
    """UsageError for a rule that cannot be read."""
    by_record(settings, 0)
    for key in ("skip", "cap", "delay"):
        ByName(key, getattr(settings.hosts, key))


def by_record(settings: Settings, now: int) -> list[_Rule]:
    """The rules of generate.host_rules and generate.host_rules_file, in this order. UsageError says what is wrong."""
    lines = [("generate.host_rules", line) for line in settings.generate.host_rules]
    if file := settings.generate.host_rules_file:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"generate.host_rules_file: {file}: {getattr(error, 'strerror', None) or error}") from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                lines.append((f"{file}:{number}", line))
    return [_rule(source, line, now) for source, line in lines]


def _rule(source: str, line: str, now: int) -> _Rule:
    parts = _RULE.fullmatch(line)
    action = _ACTION.fullmatch(parts["action"]) if parts else None
    if parts is None or action is None:
        raise UsageError(f"{source}: {line.strip()}: expected EXPRESSION → skip, cap N or delay SECONDS")
    condition = where.parse(parts["condition"], now, hosts.SHOWN, f"{source}: {line.strip()}")
    cap = int(action["cap"]) if action["cap"] else NO_CAP
    delay = float(action["delay"]) if action["delay"] else np.nan
    return _Rule(line.strip(), condition, bool(action["skip"]), cap, delay)


def load(settings: Settings, snapshot: Snapshot, now: int, only: Sequence[str] | None = None) -> HostRules:
    """The rules, with the hosts of a version of the host store that those by record speak of; `now`: UTC milliseconds.

    Holds no more than these hosts. With `only`, just they are looked up.
    """
    rules = by_record(settings, now)
    by_name = settings.hosts
    names = [f"hosts.skip: {line.strip()}" for line in settings.hosts.skip]
    loaded = HostRules(
        [*(rule.text for rule in rules), *names],
        ByName("skip", by_name.skip), ByName("cap", by_name.cap), ByName("delay", by_name.delay),
    )  # fmt: skip
    if rules:
        columns = [name for name in hosts.SHOWN.names if name in {"host", *_columns(rules)}]
        if only is not None:
            keys = hosts.fingerprints(only)
            tables = snapshot.select(np.unique(keys, axis=0), hosts.needed(columns))
        else:
            tables = snapshot.scan(hosts.needed(columns))
        found = [_matching(hosts.shown(table, columns), rules) for table in tables if table.num_rows]
        loaded._hosts = pa.concat_arrays([pa.array([], pa.string()), *(names for names, _ in found)])
        verdicts = [*(verdicts for _, verdicts in found), _no_verdicts(1)]  # the last: of all others
        loaded._verdicts = Verdicts(
            np.concatenate([one.skipped for one in verdicts]), np.concatenate([one.caps for one in verdicts]),
            np.concatenate([one.delays for one in verdicts]),
        )  # fmt: skip
    return loaded


def _columns(rules: Iterable[_Rule]) -> set[str]:
    return {name for rule in rules for name in rule.condition.columns}


def _matching(table: pa.Table, rules: Sequence[_Rule]) -> tuple[pa.Array, Verdicts]:
    """The hosts of rows of hosts.SHOWN that some rule is true of, and what the rules come to for them."""
    verdicts = _no_verdicts(table.num_rows)
    any_true = np.zeros(table.num_rows, np.bool_)
    for number, rule in enumerate(rules):
        true = rule.condition.mask(table).fill_null(False).to_numpy()
        any_true |= true
        if rule.skip:
            verdicts.skipped[true & (verdicts.skipped < 0)] = number
        np.minimum(verdicts.caps, rule.cap, out=verdicts.caps, where=true)
        np.fmax(verdicts.delays, rule.delay, out=verdicts.delays, where=true)
    places = np.flatnonzero(any_true)
    return table["host"].combine_chunks().take(pa.array(places)), verdicts.take(places)


@functools.lru_cache(maxsize=1)
def _cached(settings: str, crawl_dir: str, version: int, now: int, snapshot: _Same) -> HostRules:
    return load(Settings.from_json(settings), snapshot.snapshot, now)


class _Same:
    """A snapshot that is the same as another for the cache: what it is, its other arguments say."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


def load_once(settings: Settings, snapshot: Snapshot, now: int) -> HostRules:
    """`load`, once in a process: its tasks ask one after the other."""
    return _cached(settings.to_json(), snapshot.store.path, snapshot.version, now, _Same(snapshot))
