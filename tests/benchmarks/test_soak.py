"""The soak runs, sees a crawl that keeps the rules as one that does, and names every rule that is broken."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import soak
from benchmarks.engine_run import Apart, Ran
from benchmarks.soak import Soak, broken, slope
from jobs.fetching.engines import ENGINES

RAN = Ran(cpu=1.0, wall=10.0, began=0.0, requests=110, fetched=100, left={"stopped": 10}, robots_fetched=5, good=95,
          failed={}, bad={"dead connect": 5}, last_good=9.0, notes=[])  # fmt: skip
SEEN = {"shortfall": -0.01, "most_at_once": 1, "denied": 0, "early": 0}
GOOD = Soak(capacity=200.0, allowed=100.0, rates=[96, 97, 98], growth=0.5, apart=Apart(RAN, 1.2, []), seen=SEEN)


def test_a_run_that_keeps_all_rules() -> None:
    assert broken(GOOD, growth=8.0) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seen": SEEN | {"shortfall": 0.0125}}, "delay: a request came 12.5 ms too early"),
        ({"seen": SEEN | {"most_at_once": 2}}, "threads_per_host: 2 requests at once to one host"),
        ({"seen": SEEN | {"denied": 3}}, "robots.txt: 3 requests for what it denies"),
        ({"seen": SEEN | {"early": 1}}, "Retry-After: 1 requests before it was over"),
        ({"rates": [90, 94]}, "rate: 92.0% of what politeness allows, below 95%"),
        ({"growth": 20.0}, "memory: grew by 20.0 MB in the second half, more than 8"),
        ({"apart": Apart(dataclasses.replace(RAN, failed={"dns": 2}), 1.2, [])}, "pages: good ones failed: {'dns': 2}"),
        (
            {"apart": Apart(dataclasses.replace(RAN, left={}), 1.2, [])},
            "report: 100 fetched and {} left are not 110",
        ),
    ],
)
def test_each_broken_rule_has_its_line(change: dict[str, object], line: str) -> None:
    assert broken(dataclasses.replace(GOOD, **change), growth=8.0) == [line]  # type: ignore[arg-type]


def test_growth_is_of_the_second_half() -> None:
    flat_after_start = [(float(at), 50.0 + min(at, 10)) for at in range(41)]
    assert abs(slope(flat_after_start)) < 1e-6
    assert slope([(float(at), 50.0 + at) for at in range(41)]) == pytest.approx(20.0)
    assert slope([]) == slope([(0.0, 1.0), (1.0, 2.0)]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"browser"}))
def test_a_small_soak(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rules of politeness; the rate is the machine's."""
    soak.main(["--small", "--engine", engine])
    said = capsys.readouterr().out
    assert "allowed are " in said
    assert "| most requests at once to one host | 1 |" in said
    assert "| requests for denied paths | 0 |" in said
    assert "closed 1 |" in said  # asked for robots.txt alone
    for rule in ("delay", "threads_per_host", "robots.txt", "memory", "pages", "report"):
        assert f"FAILED: {rule}:" not in said
