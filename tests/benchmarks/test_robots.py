"""The benchmark of robots.txt runs, and protego has the same verdicts on what it measures."""

from __future__ import annotations

import pytest

from benchmarks import robots
from crawldb.urls import canonicalize


@pytest.mark.parametrize(("number", "stars"), [(0, 0.0), (60, 0.5)])
def test_a_row_of_the_table(number: int, stars: float) -> None:
    cells = robots.measure(number, stars, robots.urls(30)).strip("| ").split(" | ")
    assert (len(cells), cells[0], cells[-1]) == (10, str(number), "0")


def test_urls_are_canonical() -> None:
    assert all(canonicalize(url) == url for url in robots.urls(50))
