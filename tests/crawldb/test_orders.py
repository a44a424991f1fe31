"""Orders: which of two requests comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crawldb import scoring
from crawldb.orders import COLUMNS, ORDERS
from crawldb.settings import ScoreSettings
from tests.crawldb.tables import NOW, key, state

A: dict[str, Any] = {"score": 1.0, "depth": 3, "priority": None, "discovered_at": NOW}
B: dict[str, Any] = {"score": 2.0, "depth": 1, "priority": -1, "discovered_at": NOW + 1}
C: dict[str, Any] = {"score": 0.5, "depth": 1, "priority": 5, "discovered_at": NOW - 1}
D: dict[str, Any] = {"score": 0.25, "depth": 2, "priority": 5, "discovered_at": NOW + 2}


def ranked(name: str, requests: pa.Table) -> list[int]:
    """The places of the requests in this order."""
    keys = ORDERS[name](scoring.valued(requests, ScoreSettings(), NOW).select(COLUMNS))
    assert all(len(part) == requests.num_rows for part in keys)
    return np.lexsort((np.arange(requests.num_rows), *reversed(keys))).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("score", "BACD"), ("fifo", "CABD"), ("lifo", "DBAC"), ("depth", "BCDA"), ("priority", "CDAB")],
)
def test_order(name: str, expected: str) -> None:
    requests = state(*({"fingerprint": key(place), **row} for place, row in enumerate([A, B, C, D])))
    assert "".join("ABCD"[place] for place in ranked(name, requests)) == expected


@pytest.mark.parametrize("name", ORDERS)
def test_equal_requests_stay_equal_and_nulls_are_nothing_special(name: str) -> None:
    requests = state(
        {"fingerprint": key(0), **A, "score": 0.0, "depth": 0, "priority": 0},
        {"fingerprint": key(1), **A, "score": None, "depth": None, "priority": None},
    )
    keys = ORDERS[name](scoring.valued(requests, ScoreSettings(), NOW))
    assert [part[0] == part[1] for part in keys] == [True] * len(keys)


@pytest.mark.parametrize("name", ORDERS)
def test_no_requests(name: str) -> None:
    assert ranked(name, state()) == []
