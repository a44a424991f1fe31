"""When a page is fetched again: the family of fetch schedules.

A schedule sees whole columns and decides two things for every page that answered (success, not modified or a
redirect): its next interval and when it is due. Failures have one rule for all schedules, in `update`.
After Nutch's DefaultFetchSchedule, AdaptiveFetchSchedule and MimeAdaptiveFetchSchedule, and sitemaps.org's changefreq.

Owns what schedule.hosts says of a host, too, for that holds with every schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb.settings import ScheduleSettings

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Names:
    """A column of few distinct strings: row by row the place in `names`, -1 for null."""

    codes: NDArray[np.int32]
    names: list[str]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Names:
        """A NAME column."""
        chunk = column.unify_dictionaries().combine_chunks()
        if isinstance(chunk, pa.ChunkedArray):
            chunk = chunk.chunk(0) if chunk.num_chunks else pa.array([], column.type)
        codes = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return cls(codes.astype(np.int32), chunk.dictionary.to_pylist())

    def __getitem__(self, rows: NDArray[np.bool_] | slice) -> Names:
        return Names(self.codes[rows], self.names)

    def __len__(self) -> int:
        return len(self.codes)

    def numbers(self, number_of: Callable[[str], float | None]) -> NDArray[np.float64]:
        """For each row what the function makes of its name; NaN for None and null."""
        found = [number_of(name) for name in self.names]
        values = np.array([np.nan if number is None else number for number in [*found, None]], np.float64)
        return values[self.codes]


class Answered(NamedTuple):
    """Pages that answered, as columns of equal length."""

    interval: Ints
    """Seconds from one fetch to the next, so far."""
    fetched_at: Ints
    """This fetch, UTC milliseconds."""
    modified_at: Ints
    """When the content was last seen changed, UTC milliseconds; `fetched_at` where that is unknown."""
    changed: NDArray[np.int8]
    """1: the content differs from the last fetch's; -1: it is the same; 0: nothing to compare with."""
    shortest: Ints
    """No interval may be shorter where a schedule chooses it, in seconds: schedule.min_interval, or the host's own."""
    longest: Ints
    """No interval may be longer, in seconds: schedule.max_interval, or the host's own."""
    content_type: Names
    """The media type of the last content."""
    changefreq: Names
    """What a sitemap says: always, hourly, daily, weekly, monthly, yearly or never."""


class Planned(NamedTuple):
    """The schedule's decision, row by row."""

    interval: Ints
    due_at: Ints


Schedule = Callable[[Answered, ScheduleSettings], Planned]


def default(pages: Answered, settings: ScheduleSettings) -> Planned:
    """The interval never changes, but that Nutch brings one above the maximum back to 0.9 of it
    (AbstractFetchSchedule.forceRefetch)."""
    interval = np.where(pages.interval > pages.longest, np.maximum(pages.longest * 0.9, 1), pages.interval)
    interval = interval.astype(np.int64)
    return Planned(interval, pages.fetched_at + interval * 1000)


def adaptive(pages: Answered, settings: ScheduleSettings) -> Planned:
    """Shorter intervals for pages that change, longer ones for those that don't.

    With `sync_delta` the interval is at least the time since the page last changed, and the next fetch is pulled
    forward by a share of that time, so that fetches drift towards the page's own rhythm.
    """
    return _adapted(pages, settings, settings.increase, settings.decrease)


def mime(pages: Answered, settings: ScheduleSettings) -> Planned:
    """`adaptive` with the shares that schedule.types names for the media type, as Nutch's MimeAdaptiveFetchSchedule."""
    rules = settings.type_rules()
    shares = []
    for place, otherwise in enumerate((settings.increase, settings.decrease)):

        def own(name: str, place: int = place) -> float | None:
            rule = rules.get(name) or rules.get(f"{name.partition('/')[0]}/*")
            return rule[place] if rule else None

        values = pages.content_type.numbers(own)
        shares.append(np.where(np.isnan(values), otherwise, values))
    return _adapted(pages, settings, *shares)


CHANGEFREQ = {"always": 0, "hourly": 3600, "daily": 86_400, "weekly": 7 * 86_400, "monthly": 30 * 86_400,
              "yearly": 365 * 86_400, "never": 1 << 31}  # fmt: skip
"""Seconds, before the bounds have their say: always comes to the shortest interval, never to the longest."""


def changefreq(pages: Answered, settings: ScheduleSettings) -> Planned:
    """As often as the page's sitemap says it changes, within the bounds; `adaptive` where it says nothing."""
    planned = adaptive(pages, settings)
    said = pages.changefreq.numbers(lambda name: CHANGEFREQ.get(name.lower()))
    known = ~np.isnan(said)
    interval = np.where(known, np.clip(np.where(known, said, 0), *_bounds(pages)), planned.interval).astype(np.int64)
    return Planned(interval, np.where(known, pages.fetched_at + interval * 1000, planned.due_at))


def _adapted(
    pages: Answered, settings: ScheduleSettings, increase: float | NDArray[np.float64],
    decrease: float | NDArray[np.float64],
) -> Planned:  # fmt: skip
    factor = np.where(pages.changed > 0, 1 - decrease, np.where(pages.changed < 0, 1 + increase, 1))
    interval = np.floor(pages.interval * factor)
    since_change = np.maximum(pages.fetched_at - pages.modified_at, 0) / 1000.0
    pulled = np.zeros_like(interval)
    if settings.sync_delta:
        interval = np.maximum(interval, np.floor(since_change))
        pulled = np.rint(since_change * settings.sync_delta_rate * 1000)
    shortest, longest = _bounds(pages)
    bounded = np.clip(interval, shortest, longest).astype(np.int64)
    due_at = pages.fetched_at - pulled.astype(np.int64) + bounded * 1000
    # The pull may not bring the next fetch closer than the shortest interval.
    return Planned(bounded, np.maximum(due_at, pages.fetched_at + shortest * 1000))


def _bounds(pages: Answered) -> tuple[Ints, Ints]:
    """The shortest interval, at least a second and at most the longest; and the longest."""
    return np.clip(pages.shortest, 1, pages.longest), pages.longest


class HostBounds(NamedTuple):
    """What holds for the requests of each row's host, in seconds."""

    interval: Ints
    """A new request's interval."""
    shortest: Ints
    longest: Ints


def host_bounds(hosts: pa.ChunkedArray, settings: ScheduleSettings) -> HostBounds:
    """The settings, or for the hosts that schedule.hosts names what it says of them; of several entries the first."""
    usual = (settings.interval, settings.min_interval, settings.max_interval)
    if not settings.hosts:
        return HostBounds(*(np.full(len(hosts), number, np.int64) for number in usual))
    rules = settings.host_rules()
    column = Names.of(hosts)
    found = [_rule_for(name, rules) for name in column.names]
    numbers = []
    for place, otherwise in enumerate(usual):
        own = [otherwise if rule is None or rule[place] is None else rule[place] for rule in [*found, None]]
        numbers.append(np.array(own, np.int64)[column.codes])
    interval, shortest, longest = numbers
    return HostBounds(np.minimum(interval, longest), np.minimum(shortest, longest), longest)


def _rule_for(
    host: str, rules: dict[str, tuple[int, tuple[int | None, int | None, int | None]]]
) -> tuple[int | None, int | None, int | None] | None:
    """The first entry that holds for a host: by its name, or by a domain that it lies below."""
    patterns, below = [host], host
    while (below := below.partition(".")[2]) != "":
        patterns.append(f"*.{below}")
    matching = [rules[pattern] for pattern in patterns if pattern in rules]
    return min(matching)[1] if matching else None


SCHEDULES: dict[str, Schedule] = {
    "default": default,
    "adaptive": adaptive,
    "mime": mime,
    "changefreq": changefreq,
}
