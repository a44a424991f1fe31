"""How much a request matters: the family of scores.

A score has up to four functions: what a page passes on along each of its links (`contribute`, in updatedb), what a new
request has before that (`first`) and what a request's score becomes when links to it are known (`update`), both in
`crawldb.update.apply`, and what fetching it is worth at a moment (`value`, in generate; Nutch's generatorSortValue).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb.families import find
from crawldb.settings import ScoreSettings

Floats = NDArray[np.float64]

_STEP = 2.0**32
_MOST = 2.0**20


COLUMNS = ("score", "depth", "fetched_at", "modified_at", "interval")
"""The state's columns that a `value` may look at."""


def _zero(settings: ScoreSettings) -> float:
    return 0.0


class Score(NamedTuple):
    """One way of scoring, as functions on whole columns."""

    contribute: Callable[[Floats, NDArray[np.int64], NDArray[np.bool_], ScoreSettings], Floats]
    """(page's score, its number of outlinks, link stays on its host), one row a link → what the link passes on.

    The caller rounds it (`exact`)."""
    update: Callable[[Floats, Floats, NDArray[np.int64]], Floats]
    """(score so far, `first` for a new request; sum of what links passed on; depth) → new score."""
    first: Callable[[ScoreSettings], float] = _zero
    """The score of a new request that is no seed, before `update`."""
    value: Callable[[pa.Table, int], Floats] | None = None
    """(requests with COLUMNS, UTC milliseconds) → what fetching them then is worth; None: their score. It decides the
    order only: what a page passes on is its score."""


def valued(requests: pa.Table, settings: ScoreSettings, now: int) -> pa.Table:
    """The requests with one column more, `value`: what fetching them at `now` is worth."""
    value = find(SCORES, settings.name, "score.name").value
    return requests.append_column("value", requests["score"] if value is None else pa.array(value(requests, now)))


def exact(values: Floats) -> Floats:
    """What links pass on, rounded to multiples of 2^-32 between 0 and 2^20.

    Floats add such numbers exactly up to 2^21, and `exact` of a larger sum is 2^20 whatever its rounding; so sums of
    sums don't depend on order or grouping in any bit. The limit also keeps circles of links from growing to infinity.
    """
    rounded: Floats = np.rint(np.minimum(np.fmax(values, 0.0), _MOST) * _STEP) / _STEP
    return rounded


def _share(score: Floats, outlinks: NDArray[np.int64], internal: NDArray[np.bool_], settings: ScoreSettings) -> Floats:
    weight = np.where(internal, settings.internal, settings.external)
    return np.asarray(score * weight / np.maximum(outlinks, 1))


def _add(score: Floats, passed_on: Floats, depth: NDArray[np.int64]) -> Floats:
    return score + passed_on


def _nothing(
    score: Floats, outlinks: NDArray[np.int64], internal: NDArray[np.bool_], settings: ScoreSettings
) -> Floats:
    return np.zeros(len(score))


def _inverse_depth(score: Floats, passed_on: Floats, depth: NDArray[np.int64]) -> Floats:
    return np.asarray(1.0 / (1.0 + depth), np.float64)


def _kept(score: Floats, passed_on: Floats, depth: NDArray[np.int64]) -> Floats:
    return score


def _initial(settings: ScoreSettings) -> float:
    return settings.initial


def _by_depth(requests: pa.Table, now: int) -> Floats:
    """The host's rank, which all its pages have for score, and within a host the nearest to a seed first."""
    return np.asarray(_numbers(requests["score"]) / (1.0 + np.maximum(_numbers(requests["depth"]), 0.0)))


def _freshness(requests: pa.Table, now: int) -> Floats:
    """The score times the probability that the page changed since its last fetch; 1 for one that was never fetched.

    Changes are a Poisson process. Its rate is estimated as Cho and Garcia-Molina do from n visits an interval apart, X
    of which saw a change: -ln((n - X + 0.5) / (n + 0.5)) an interval (Estimating Frequency of Change, TOIT 3/3, 2003).
    The visits counted are those since the last change, that which saw it included: X = 1. So after the time t the
    probability is 1 - ((n - 0.5) / (n + 0.5)) ^ (t / interval).
    """
    fetched_at = requests["fetched_at"].cast(pa.int64()).fill_null(0).to_numpy()
    modified_at = requests["modified_at"].cast(pa.int64()).fill_null(np.iinfo(np.int64).max).to_numpy()
    interval = np.maximum(_numbers(requests["interval"]), 1.0) * 1000.0
    visits = 1.0 + np.floor(np.maximum(fetched_at - np.minimum(modified_at, fetched_at), 0) / interval)
    unchanged = ((visits - 0.5) / (visits + 0.5)) ** (np.maximum(now - fetched_at, 0) / interval)
    return np.asarray(_numbers(requests["score"]) * np.where(fetched_at > 0, 1.0 - unchanged, 1.0))


def _numbers(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).fill_null(0.0).to_numpy()
    return values


SCORES: dict[str, Score] = {
    # Abiteboul, Preda, Cobena: Adaptive On-Line Page Importance Computation (WWW 2003), as Nutch simplifies it:
    # a page shares its score among its outlinks at every fetch and keeps it.
    "opic": Score(_share, _add),
    "depth": Score(_nothing, _inverse_depth),
    # What `cobnut linkrank` wrote (schema.DELTA's new_score); links pass nothing on between its runs.
    "linkrank": Score(_nothing, _kept, _initial),
    "host_authority": Score(_nothing, _kept, _initial, _by_depth),
    "freshness": Score(_share, _add, value=_freshness),
}
