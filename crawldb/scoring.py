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


class Score(NamedTuple):
    """One way of scoring, as functions on whole columns."""

    contribute: Callable[[Floats, NDArray[np.int64], NDArray[np.bool_], ScoreSettings], Floats]
    """(page's score, its number of outlinks, link stays on its host), one row a link → what the link passes on."""
    update: Callable[[Floats, Floats, NDArray[np.int64]], Floats]
    """(score so far, 0 for a new request; sum of what links passed on; depth) → new score."""


def exact(values: Floats) -> Floats:
    """Round to multiples of 2^-32: sums of these below 2^20 are exact, so their order can't change a bit."""
    rounded: Floats = np.rint(values * _STEP) / _STEP
    return rounded


def _share(score: Floats, outlinks: NDArray[np.int64], internal: NDArray[np.bool_], settings: ScoreSettings) -> Floats:
    weight = np.where(internal, settings.internal, settings.external)
    return exact(score * weight / np.maximum(outlinks, 1))


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
