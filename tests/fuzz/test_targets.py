"""Every fuzz target, briefly: its seeds, what was found once, and mutations of them that Hypothesis makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.pages import page_of
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).with_name("found")
BOMBS = ("pdf", "office", "warc", "codings")
"""Targets with seeds that take their time."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in BOMBS else name for name in TARGETS]
)
def test_seeds_are_read(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for seed in seeds:
        TARGETS[name].read(seed)
    TARGETS[name].read(b"")


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_mended(name: str) -> None:
    found = sorted((FOUND / name).glob("*"))
    for content in [b"\0", *(path.read_bytes() for path in found)]:
        TARGETS[name].read(content)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_read(name: str) -> None:
    seeds = [seed[:1500] for seed in TARGETS[name].seeds()]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(seeds),
        st.sampled_from(seeds),
        st.lists(st.tuples(st.integers(0, 1500), st.binary(max_size=8)), max_size=6),
    )
    def read(one: bytes, other: bytes, changes: list[tuple[int, bytes]]) -> None:
        for place, some in changes:
            one = one[:place] + (some or other[place : place + 40]) + one[place + len(some) :]
        TARGETS[name].read(one)

    @settings(max_examples=40)
    @given(st.binary(max_size=400))
    def read_anything(data: bytes) -> None:
        TARGETS[name].read(data)

    read()
    read_anything()


def test_a_target_sees_more_than_crashes() -> None:
    """A page's links and title come out of it, so that what a target asserts is asserted of something."""
    document = page_of(b"<title>t</title><a href=/x>y</a>", "text/html")
    assert document.title == "t"
    assert [link.url for link in document.outlinks] == ["http://example.com/x"]
