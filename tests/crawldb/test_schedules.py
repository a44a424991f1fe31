"""Schedules: one contract for all, then what is special about each. The full matrix is in test_update."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.errors import UsageError
from crawldb.schedules import SCHEDULES, Answered, Names, adaptive, changefreq, default, host_bounds, mime
from crawldb.settings import ScheduleSettings
from tests.crawldb.tables import DAY, NOW, SECOND

A_DAY = 86_400


def answered(
    *pages: tuple[int, int, int], settings: ScheduleSettings | None = None, types: list[str | None] | None = None,
    freqs: list[str | None] | None = None,
) -> Answered:  # fmt: skip
    """Pages as (interval, seconds since the last change, changed), fetched at NOW, within the settings' bounds."""
    settings = settings or ScheduleSettings()
    interval, age, changed = (np.array(column, np.int64) for column in zip(*pages, strict=True))
    return Answered(
        interval, np.full(len(pages), NOW), NOW - age * 1000, changed.astype(np.int8),
        np.full(len(pages), settings.min_interval), np.full(len(pages), settings.max_interval),
        names(types or [None] * len(pages)), names(freqs or [None] * len(pages)),
    )  # fmt: skip


def names(values: list[str | None]) -> Names:
    return Names.of(pa.chunked_array([pa.array(values, pa.string()).dictionary_encode()]))


pages = st.tuples(st.integers(1, 2**31 - 1), st.integers(-A_DAY, 10**9), st.sampled_from([-1, 0, 1]))


@pytest.mark.parametrize("name", SCHEDULES)
@given(found=st.lists(pages, min_size=1, max_size=20))
def test_every_schedule_decides_row_by_row_within_the_bounds(name: str, found: list[tuple[int, int, int]]) -> None:
    settings = ScheduleSettings()
    planned = SCHEDULES[name](answered(*found), settings)
    for place, page in enumerate(found):
        alone = SCHEDULES[name](answered(page), settings)
        assert planned.interval[place] == alone.interval[0]
        assert planned.due_at[place] == alone.due_at[0]
        assert 1 <= planned.interval[place] <= settings.max_interval
        assert NOW < planned.due_at[place] <= NOW + settings.max_interval * SECOND
    assert planned.interval.dtype.kind == planned.due_at.dtype.kind == "i"


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_pages(name: str) -> None:
    planned = SCHEDULES[name](Answered(*(column[:0] for column in answered((1, 1, 1)))), ScheduleSettings())
    assert (len(planned.interval), len(planned.due_at)) == (0, 0)


def test_default_keeps_the_interval_up_to_the_maximum() -> None:
    planned = default(answered((60, 5, 1), (90 * A_DAY, 5, -1), (90 * A_DAY + 1, 5, 0)), ScheduleSettings())
    assert planned.interval.tolist() == [60, 90 * A_DAY, 81 * A_DAY]
    assert planned.due_at.tolist() == [NOW + 60 * SECOND, NOW + 90 * DAY, NOW + 81 * DAY]


def test_adaptive_without_synchronisation() -> None:
    settings = ScheduleSettings(name="adaptive", sync_delta=False, min_interval=100)
    found = answered(
        (1000, 10**8, 1), (1000, 10**8, -1), (1000, 10**8, 0), (101, 0, 1), (10**8, 0, -1), settings=settings
    )  # fmt: skip
    planned = adaptive(found, settings)
    assert planned.interval.tolist() == [800, 1400, 1000, 100, 90 * A_DAY]
    assert planned.due_at.tolist() == (NOW + planned.interval * SECOND).tolist()


def test_adaptive_pulls_the_next_fetch_towards_the_last_change() -> None:
    settings = ScheduleSettings(name="adaptive", sync_delta_rate=0.5)
    planned = adaptive(answered((1000, 600, -1), (1000, 4000, -1), (1000, 0, 1)), settings)
    assert planned.interval.tolist() == [1400, 4000, 800]
    assert planned.due_at.tolist() == [NOW + 1100 * SECOND, NOW + 2000 * SECOND, NOW + 800 * SECOND]


def test_adaptive_never_pulls_below_the_shortest_interval() -> None:
    settings = ScheduleSettings(name="adaptive", sync_delta_rate=1.0, min_interval=100)
    [due_at] = adaptive(answered((1000, 10**9, -1), settings=settings), settings).due_at.tolist()
    assert due_at == NOW + 100 * SECOND


def test_adaptive_finds_a_page_s_rhythm() -> None:
    """A page that changes every 10 days, known at first with an interval of 30: fetched often enough, and not often."""
    settings = ScheduleSettings(name="adaptive")
    now, interval, changed_at, fetches = 0, 30 * A_DAY, 0, []
    while now < 2000 * A_DAY:
        change = now // (10 * A_DAY) * 10 * A_DAY
        age = 0 if change > changed_at else now - changed_at
        page = answered((interval, age, 1 if change > changed_at else -1))
        page = page._replace(fetched_at=page.fetched_at + now * SECOND, modified_at=page.modified_at + now * SECOND)
        changed_at = change
        planned = adaptive(page, settings)
        interval, now = int(planned.interval[0]), int(planned.due_at[0] - NOW) // SECOND
        fetches.append(now)
    later = [second - first for first, second in itertools.pairwise(fetches)][20:]
    assert 3 * A_DAY < sum(later) / len(later) < 12 * A_DAY


def test_mime_has_shares_of_its_own_for_a_type() -> None:
    settings = ScheduleSettings(name="mime", sync_delta=False, types=["text/html 1.0 0.5", "image/* 0.0 0.75"])
    changed = [(1000, 0, 1), (1000, 0, 1), (1000, 0, 1), (1000, 0, 1)]
    kinds: list[str | None] = ["text/html", "image/png", "text/css", None]
    assert mime(answered(*changed, types=kinds), settings).interval.tolist() == [500, 250, 800, 800]
    same = [(interval, age, -1) for interval, age, _ in changed]
    assert mime(answered(*same, types=kinds), settings).interval.tolist() == [2000, 1000, 1400, 1400]


def test_changefreq_is_kept_to_within_the_bounds() -> None:
    settings = ScheduleSettings(name="changefreq", min_interval=600, sync_delta=False)
    said: list[str | None] = ["always", "hourly", "Daily", "weekly", "monthly", "yearly", "never", "sometimes", None]
    planned = changefreq(answered(*[(1000, 0, 1)] * len(said), settings=settings, freqs=said), settings)
    assert planned.interval.tolist() == [
        600, 3600, A_DAY, 7 * A_DAY, 30 * A_DAY, 90 * A_DAY, 90 * A_DAY, 800, 800,
    ]  # fmt: skip
    assert planned.due_at.tolist() == (NOW + planned.interval * SECOND).tolist()


def test_hosts_have_bounds_of_their_own() -> None:
    settings = ScheduleSettings(
        hosts=["a.test interval=1h", "*.x.test min=1d max=2d", "b.x.test max=9d", "c.test interval=8d max=4d"]
    )
    hosts = ["a.test", "b.x.test", "x.test", "c.test", "d.c.test"]
    bounds = host_bounds(pa.chunked_array([pa.array(hosts).dictionary_encode()]), settings)
    month, longest = settings.interval, settings.max_interval
    assert bounds.interval.tolist() == [3600, 2 * A_DAY, month, 4 * A_DAY, month]
    assert bounds.shortest.tolist() == [60, A_DAY, 60, 60, 60]
    assert bounds.longest.tolist() == [longest, 2 * A_DAY, longest, 4 * A_DAY, longest]
    assert settings.longest_interval() == longest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScheduleSettings(hosts=["a.test"]), "expected a host"),
        (ScheduleSettings(hosts=["a.test every=1d"]), "every: expected interval=, min= or max="),
        (ScheduleSettings(hosts=["a.test min=2d max=1d"]), "min is more than max"),
        (ScheduleSettings(hosts=["a.test min=soon"]), "expected a whole number of seconds"),
        (ScheduleSettings(hosts=["a.*.test min=1d"]), "expected a host"),
        (ScheduleSettings(hosts=["a.test min=0"]), "1 second to 68 years"),
        (ScheduleSettings(types=["text/html 0.2"]), "expected MEDIA/TYPE INCREASE DECREASE"),
        (ScheduleSettings(types=["text/html 0.2 1.0"]), "expected MEDIA/TYPE INCREASE DECREASE"),
        (ScheduleSettings(types=["html 0.2 0.4"]), "expected MEDIA/TYPE INCREASE DECREASE"),
    ],
)
def test_entries_that_are_none(settings: ScheduleSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = settings.host_rules(), settings.type_rules()
