"""How much a request matters: the family of scores.

A score has two functions: what a page passes on along each of its links (`contribute`, in updatedb), and what a
request's score becomes when links to it are known (`update`, in `crawldb.update.apply`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crawldb.settings import ScoreSettings

Floats = NDArray[np.float64]

_STEP = 2.0**32
_MOST = 2.0**20


class Score(NamedTuple):
    """One way of scoring, as functions on whole columns."""

    contribute: Callable[[Floats, NDArray[np.int64], NDArray[np.bool_], ScoreSettings], Floats]
    """(page's score, its number of outlinks, link stays on its host), one row a link → what the link passes on.

    The caller rounds it (`exact`)."""
    update: Callable[[Floats, Floats, NDArray[np.int64]], Floats]
    """(score so far, 0 for a new request; sum of what links passed on; depth) → new score."""


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


SCORES: dict[str, Score] = {
    # Abiteboul, Preda, Cobena: Adaptive On-Line Page Importance Computation (WWW 2003), as Nutch simplifies it:
    # a page shares its score among its outlinks at every fetch and keeps it.
    "opic": Score(_share, _add),
    "depth": Score(_nothing, _inverse_depth),
}
