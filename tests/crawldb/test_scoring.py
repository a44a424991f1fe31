"""Scores: what pages pass on, and why its sum has no order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crawldb.scoring import SCORES, exact, valued
from crawldb.settings import ScoreSettings
from tests.crawldb.tables import DAY, NOW, key, state


def floats(*values: float) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def test_opic_shares_a_page_among_its_links() -> None:
    passed_on = SCORES["opic"].contribute(
        floats(1.0, 1.0, 3.0), np.array([4, 4, 1]), np.array([True, False, False]), ScoreSettings()
    )
    assert passed_on.tolist() == [0.25, 0.25, 3.0]


def test_opic_weighs_links_within_and_between_hosts() -> None:
    settings = ScoreSettings(internal=0.5, external=2.0)
    passed_on = SCORES["opic"].contribute(floats(1.0, 1.0), np.array([4, 4]), np.array([True, False]), settings)
    assert passed_on.tolist() == [0.125, 0.5]


def test_opic_adds_up() -> None:
    assert SCORES["opic"].update(floats(0.0, 1.5), floats(0.25, 0.25), np.array([3, 0])).tolist() == [0.25, 1.75]


def test_depth_looks_at_nothing_else() -> None:
    passed_on = SCORES["depth"].contribute(floats(7.0), np.array([1]), np.array([True]), ScoreSettings())
    assert passed_on.tolist() == [0.0]
    score = SCORES["depth"].update(floats(9.0, 9.0, 9.0), floats(5.0, 5.0, 5.0), np.array([0, 1, 3]))
    assert score.tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("name", SCORES)
def test_every_score_works_on_whole_columns(name: str) -> None:
    rows = 1000
    random = np.random.default_rng(1)
    score, depth = random.random(rows) * 100, random.integers(0, 9, rows)
    passed_on = SCORES[name].contribute(
        score, random.integers(1, 500, rows), random.random(rows) < 0.5, ScoreSettings()
    )
    assert passed_on.shape == (rows,)
    assert (passed_on >= 0).all()
    updated = SCORES[name].update(score, passed_on, depth)
    assert updated.shape == (rows,)
    assert np.isfinite(updated).all()
    assert SCORES[name].contribute(score[:0], depth[:0], score[:0] > 0, ScoreSettings()).shape == (0,)


@given(st.lists(st.floats(0, 1e9) | st.floats(0, 1), max_size=30), st.randoms())
def test_sums_of_exact_values_have_no_order(values: list[float], random: Any) -> None:
    parts = exact(floats(*values)).tolist()
    assert all(part * 2.0**32 == round(part * 2.0**32) for part in parts)
    total = float(exact(floats(math.fsum(parts)))[0])
    while len(parts) > 1:  # add any two until one is left
        random.shuffle(parts)
        parts = [*parts[2:], float(exact(floats(parts[0] + parts[1]))[0])]
    assert parts == [total] * len(parts)


def test_exact_has_limits() -> None:
    values = exact(floats(1e300, math.inf, -1.0, math.nan, 2.0**20, 2.0**-33, 2.0**-32))
    assert values.tolist() == [2.0**20, 2.0**20, 0.0, 0.0, 2.0**20, 0.0, 2.0**-32]


@given(st.lists(st.floats(allow_nan=True), max_size=5))
def test_exact_is_idempotent(values: list[float]) -> None:
    once = exact(floats(*values))
    assert exact(once).tolist() == once.tolist()


@pytest.mark.parametrize("name", ["linkrank", "host_authority"])
def test_what_linkrank_wrote_stays_whatever_links_there_are(name: str) -> None:
    score = SCORES[name]
    assert score.contribute(floats(9.0), np.array([1]), np.array([True]), ScoreSettings()).tolist() == [0.0]
    assert score.update(floats(2.5, 0.25), floats(1.0, 1.0), np.array([1, 2])).tolist() == [2.5, 0.25]
    assert score.first(ScoreSettings(initial=0.25)) == 0.25


def value(name: str, **row: Any) -> float:
    requests = state({"fingerprint": key(1), **row})
    worth: float = valued(requests, ScoreSettings(name=name), NOW)["value"].cast("float64")[0].as_py()
    return worth


@pytest.mark.parametrize("name", ["opic", "depth", "linkrank"])
def test_most_requests_are_worth_their_score(name: str) -> None:
    assert value(name, score=2.5, depth=3, fetched_at=NOW - DAY) == 2.5


def test_host_authority_prefers_what_is_near_to_a_seed() -> None:
    assert [value("host_authority", score=3.0, depth=depth) for depth in (0, 1, 2, None)] == [3.0, 1.5, 1.0, 3.0]


def test_freshness_is_the_score_times_the_probability_of_a_change() -> None:
    fetched = {"score": 2.0, "interval": 86_400, "fetched_at": NOW - DAY}
    assert value("freshness", score=2.0) == 2.0  # never fetched
    # One visit, which saw a change: -ln(0.5 / 1.5) changes a day.
    assert value("freshness", **fetched, modified_at=NOW - DAY) == pytest.approx(2.0 * (1 - 1 / 3))
    # Three visits since: -ln(2.5 / 3.5) a day, after one day.
    assert value("freshness", **fetched, modified_at=NOW - 3 * DAY) == pytest.approx(2.0 * (1 - 2.5 / 3.5))
    assert value("freshness", **fetched | {"fetched_at": NOW + DAY}) == 0.0  # by a clock ahead of this one
    times = [value("freshness", **fetched | {"fetched_at": NOW - days * DAY}) for days in (1, 2, 5, 100)]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(2.0)
