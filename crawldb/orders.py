"""Which due requests come first: the family of orders for generate.

An order is a function from a table of requests to its sort keys, most significant first, smaller values first.
Whatever they leave equal is decided by the fingerprint, so a fetchlist does not depend on how it was computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Order = Callable[[pa.Table], list[NDArray[Any]]]

COLUMNS = ("value", "score", "depth", "priority", "discovered_at")
"""What an order may look at; `value` is what fetching a request now is worth, by its score (`crawldb.scoring`)."""


def score(requests: pa.Table) -> list[NDArray[Any]]:
    """The highest value first: the score, where that does not change with time."""
    return [-_numbers(requests, "value")]


def fifo(requests: pa.Table) -> list[NDArray[Any]]:
    """Breadth first: what was discovered first."""
    return [_times(requests)]


def lifo(requests: pa.Table) -> list[NDArray[Any]]:
    """Depth first: what was discovered last."""
    return [-_times(requests)]


def depth(requests: pa.Table) -> list[NDArray[Any]]:
    """The nearest to a seed first, then the highest value."""
    return [_numbers(requests, "depth"), -_numbers(requests, "value")]


def priority(requests: pa.Table) -> list[NDArray[Any]]:
    """The seed's priority, the highest first, then the highest value."""
    return [-_numbers(requests, "priority"), -_numbers(requests, "value")]


def _numbers(requests: pa.Table, column: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = requests[column].cast(pa.float64()).fill_null(0.0).to_numpy()
    return values


def _times(requests: pa.Table) -> NDArray[np.int64]:
    values: NDArray[np.int64] = requests["discovered_at"].cast(pa.int64()).fill_null(0).to_numpy()
    return values


ORDERS: dict[str, Order] = {
    "score": score,
    "fifo": fifo,
    "lifo": lifo,
    "depth": depth,
    "priority": priority,
}
