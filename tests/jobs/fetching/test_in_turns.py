"""Lists of requests one after the other: results as they come in, gaps in between, failures and stops."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.in_turns import InTurns
from tests.jobs.fetching.conftest import no_robots, polite, request

A, B = "http://a.example/1", "http://b.example/1"


class Engine:
    """Answers everything, and remembers what it was given."""

    def __init__(self, robots: Sequence[KnownRobots] = (), fail: BaseException | None = None) -> None:
        self.known: list[list[str]] = []
        self.stopped = False
        self._robots, self._fail = list(robots), fail

    def __call__(
        self, requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None],
        stop: threading.Event, known: Sequence[KnownRobots],
    ) -> FetchReport:  # fmt: skip
        self.known.append(sorted(one.origin for one in known))
        report = FetchReport(robots=self._robots)
        for one in requests:
            if stop.is_set():
                self.stopped = True
                report.left["stopped"] += 1
                continue
            emit(FetchResult(one, FetchOutcome.success, 200, None, None, 0, 0, content=b"x"))
        if self._fail is not None:
            raise self._fail
        return report


def waits(fetching: InTurns, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits from now on, which end at once."""
    waited: list[float] = []
    monkeypatch.setattr(fetching._stop, "wait", waited.append)
    return waited


def test_all_results_come_in_and_what_was_learned_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(robots=no_robots(A))
    fetching = InTurns(engine, polite(), threading.Event())
    first = [request(A, row=row) for row in range(20)]
    assert [result.request.row for result in fetching.results(first, no_robots(B))] == list(range(20))
    assert list(fetching.results([])) == []
    assert engine.known == [["http://b.example"], ["http://a.example", "http://b.example"]]


@pytest.mark.parametrize(
    ("body", "gap"), [(None, 5.0), (b"User-agent: *\nCrawl-delay: 9", 9.0), (b"User-agent: *\nCrawl-delay: 0", 0.0)]
)
def test_hosts_keep_their_gap_between_two_lists(
    body: bytes | None, gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns() // 1_000_000
    known = KnownRobots("http://a.example", "http://a.example/robots.txt", now, 200 if body else 404, body, False, None)
    fetching = InTurns(Engine(), polite(delay=5.0), threading.Event(), clock=lambda: 100.0)
    waited = waits(fetching, monkeypatch)
    list(fetching.results([request(A)], [known]))
    assert waited == []
    list(fetching.results([request(A, row=1)]))
    assert waited == [gap]
    list(fetching.results([request(B), request(A)]))  # the longest gap of any
    assert waited == [gap, max(gap, 5.0)]


def test_the_engine_waits_for_who_takes_the_results() -> None:
    emitted = 0

    def engine(
        requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None],
        stop: threading.Event, known: Sequence[KnownRobots],
    ) -> FetchReport:  # fmt: skip
        nonlocal emitted
        for one in requests:
            emit(FetchResult(one, FetchOutcome.success, 200, None, None, 0, 0))
            emitted += 1
        return FetchReport()

    fetching = InTurns(engine, polite(), threading.Event())
    results = fetching.results([request(A, row=row) for row in range(100)])
    next(results)
    time.sleep(0.3)
    assert emitted <= 6
    results.close()  # nobody takes the rest: the engine comes to its end
    assert not [thread for thread in threading.enumerate() if thread.name == "in-turns"]


def test_a_failure_of_the_engine_is_raised_to_who_takes_the_results() -> None:
    fetching = InTurns(Engine(fail=OSError("no ports left")), polite(), threading.Event())
    with pytest.raises(OSError, match="no ports left"):
        list(fetching.results([request(A)]))


def test_a_stop_reaches_the_engine() -> None:
    stop = threading.Event()
    engine = Engine()
    fetching = InTurns(engine, polite(), stop)
    taken = 0
    for _ in fetching.results([request(A, row=row) for row in range(50)]):
        taken += 1
        stop.set()
    assert engine.stopped
    assert fetching.left == Counter(stopped=50 - taken)
