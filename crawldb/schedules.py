"""When a page is fetched again: the family of fetch schedules.

A schedule sees whole columns and decides two things for every page that answered (success, not modified or a
redirect): its next interval and when it is due. Failures have one rule for all schedules, in `update`.
After Nutch's DefaultFetchSchedule and AdaptiveFetchSchedule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crawldb.settings import ScheduleSettings


class Answered(NamedTuple):
    """Pages that answered, as columns of equal length."""

    interval: NDArray[np.int64]
    """Seconds from one fetch to the next, so far."""
    fetched_at: NDArray[np.int64]
    """This fetch, UTC milliseconds."""
    modified_at: NDArray[np.int64]
    """When the content was last seen changed, UTC milliseconds; `fetched_at` where that is unknown."""
    changed: NDArray[np.int8]
    """1: the content differs from the last fetch's; -1: it is the same; 0: nothing to compare with."""


class Planned(NamedTuple):
    """The schedule's decision, row by row."""

    interval: NDArray[np.int64]
    due_at: NDArray[np.int64]


Schedule = Callable[[Answered, ScheduleSettings], Planned]


def default(pages: Answered, settings: ScheduleSettings) -> Planned:
    """The interval never changes."""
    interval = _within_maximum(pages.interval, settings)
    return Planned(interval, pages.fetched_at + interval * 1000)


def adaptive(pages: Answered, settings: ScheduleSettings) -> Planned:
    """Shorter intervals for pages that change, longer ones for those that don't.

    With `sync_delta` the interval is at least the time since the page last changed, and the next fetch is pulled
    forward by a share of that time, so that fetches drift towards the page's own rhythm.
    """
    factor = np.where(pages.changed > 0, 1 - settings.decrease, np.where(pages.changed < 0, 1 + settings.increase, 1))
    interval = np.floor(pages.interval * factor)
    since_change = np.maximum(pages.fetched_at - pages.modified_at, 0) / 1000.0
    pulled = np.zeros_like(interval)
    if settings.sync_delta:
        interval = np.maximum(interval, np.floor(since_change))
        pulled = np.rint(since_change * settings.sync_delta_rate * 1000)
    bounded = np.clip(interval, settings.min_interval, settings.max_interval).astype(np.int64)
    due_at = pages.fetched_at - pulled.astype(np.int64) + bounded * 1000
    # The pull may not bring the next fetch closer than the shortest interval.
    return Planned(bounded, np.maximum(due_at, pages.fetched_at + settings.min_interval * 1000))


def _within_maximum(interval: NDArray[np.int64], settings: ScheduleSettings) -> NDArray[np.int64]:
    """Nutch brings an interval above the maximum back to 0.9 of it (AbstractFetchSchedule.forceRefetch)."""
    longest = int(settings.max_interval * 0.9)
    return np.where(interval > settings.max_interval, longest, interval)


SCHEDULES: dict[str, Schedule] = {
    "default": default,
    "adaptive": adaptive,
}
