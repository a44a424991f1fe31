"""The plan: queue times, whole hosts, tasks balanced by seconds, and what a time limit leaves."""

from __future__ import annotations

import itertools
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb.plan import Pace, Plan, Queues, assign_tasks, make
from crawldb.settings import Settings
from crawldb.urls import registrable_domain

HOSTS = ["a.x.test", "b.x.test", "y.test", "www.example.co.uk", "127.0.0.1"]


def settings(**values: Any) -> Settings:
    made = Settings()
    for key, value in values.items():
        section, _, name = key.partition("__")
        assert hasattr(getattr(made, section), name)
        setattr(getattr(made, section), name, value)
    return made


def planned(
    requests: dict[str, int], tasks: int = 1, crawl_delays: dict[str, float] | None = None, **values: Any
) -> Plan:
    """The plan of a round with so many requests of each host."""
    plan = settings(**values)
    pace = Pace(plan, crawl_delays)
    hosts = np.repeat(np.arange(len(requests)), list(requests.values()))
    return make(Queues.of(hosts, list(requests), pace.mode, plan.generate.count_mode), pace, plan, tasks)


# -- pace --------------------------------------------------------------------------------------------------------


def test_the_pace_is_the_known_crawl_delay_within_its_bounds_else_the_delay() -> None:
    plan = settings(fetch__min_crawl_delay=2.0, fetch__max_crawl_delay=30.0)
    pace = Pace(plan, {"slow.test": 20.0, "fast.test": 0.1, "refused.test": 31.0})
    assert pace.of(["slow.test", "other.test", "fast.test", "refused.test"]).tolist() == [20.0, 5.0, 2.0, 0.0]
    assert Pace(plan).of(["slow.test"]).tolist() == [5.0]
    assert Pace(plan).of([]).tolist() == []


@pytest.mark.parametrize(
    ("values", "pace"),
    [
        ({"fetch__delay": 0.0, "generate__seconds_per_request": 0.0}, 0.0),
        ({"fetch__delay": 0.0, "generate__seconds_per_request": 0.5}, 0.5),
        ({"fetch__delay": 0.0, "generate__seconds_per_request": 0.5, "fetch__threads_per_host": 5}, 0.1),
        ({"fetch__delay": 1.0, "generate__seconds_per_request": 0.5}, 1.0),
        ({"fetch__delay": 1.0, "generate__seconds_per_request": 0.5, "fetch__delay_factor": 10.0}, 5.0),
        ({"fetch__delay": 1.0, "fetch__delay_factor": 10.0, "fetch__max_delay": 2.0}, 2.0),
    ],
)
def test_a_queue_is_no_faster_than_its_answers(values: dict[str, Any], pace: float) -> None:
    assert Pace(settings(**values)).of(["a.test"]).tolist() == [pytest.approx(pace)]


def test_a_domain_that_is_one_queue_has_the_slowest_pace_of_its_hosts() -> None:
    pace = Pace(settings(fetch__queue_mode="domain"), {"a.x.test": 10.0, "b.x.test": 20.0, "y.test": 1.0})
    assert pace.of(["x.test", "y.test", "z.test"]).tolist() == [20.0, 5.0, 5.0]


def test_how_many_requests_fit() -> None:
    pace = Pace(settings(fetch__delay=0.1, generate__seconds_per_request=0.0), {"a.test": 10.0, "refused.test": 99.0})
    assert pace.fits(["a.test", "b.test"], 0.3).tolist() == [1, 3]
    assert pace.fits(["a.test"], 29.9).tolist() == [2]
    assert pace.fits(["refused.test"], 1.0)[0] > 1 << 60


# -- queues and tasks --------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=len(HOSTS)),
    st.sampled_from(["host", "domain", "ip"]),
    st.sampled_from(["host", "domain"]),
    st.integers(1, 3),
)
def test_what_has_one_queue_or_is_counted_together_stays_in_one_task(
    counts: list[int], queue_mode: str, count_mode: str, tasks: int
) -> None:
    requests = dict(zip(HOSTS, counts, strict=False))
    plan = planned(requests, tasks, fetch__queue_mode=queue_mode, generate__count_mode=count_mode)
    task_of = dict(zip(requests, plan.task_of_host.tolist(), strict=True))
    assert set(task_of.values()) <= set(range(tasks))
    if "domain" in (queue_mode, count_mode):
        assert len({(registrable_domain(host), task) for host, task in task_of.items()}) == len(
            {registrable_domain(host) for host in requests}
        )
    in_task: Counter[int] = Counter()
    for host, count in requests.items():
        in_task[task_of[host]] += count
    assert plan.task_requests.tolist() == [in_task[task] for task in range(tasks)]
    queues: Counter[str] = Counter()
    for host, count in requests.items():
        queues[registrable_domain(host) if queue_mode == "domain" else host] += count
    assert dict(zip(plan.queue_names, plan.queue_requests.tolist(), strict=True)) == queues
    assert plan.seconds(tasks) == max(queues.values()) * 5.0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), max_size=6), st.integers(1, 3), st.randoms())
def test_tasks_are_balanced(units: list[tuple[int, int]], tasks: int, random: Random) -> None:
    """A task takes as long as its longest queue or as its work; no other way to fill tasks is much shorter."""
    work = [load for load, _ in units]
    seconds = [float(time) for _, time in units]

    def length(places: tuple[int, ...]) -> float:
        loads: Counter[int] = Counter()
        for load, task in zip(work, places, strict=True):
            loads[task] += load
        return max([*loads.values(), *seconds], default=0)

    chosen = assign_tasks(np.array(work, np.int64), np.array(seconds), tasks).tolist()
    assert set(chosen) <= set(range(tasks))
    best = min(length(places) for places in itertools.product(range(tasks), repeat=len(units)))
    # Graham 1969: longest first is at most 4/3 - 1/(3 tasks) of the best there is.
    assert length(tuple(chosen)) <= (4 / 3 - 1 / (3 * tasks)) * best + 1e-9


def test_most_work_first_and_slow_hosts_apart() -> None:
    work = np.array([5, 9, 4, 6, 2])
    assert assign_tasks(work, np.zeros(5), 2).tolist() == [1, 0, 0, 1, 1]
    assert assign_tasks(np.array([3, 3, 3, 3]), np.array([1.0, 90.0, 2.0, 80.0]), 2).tolist() == [0, 0, 1, 1]
    assert assign_tasks(np.zeros(0, np.int64), np.zeros(0), 2).tolist() == []


def test_hosts_cost_more_than_their_requests() -> None:
    """Every host's robots.txt is a request, and pages behind a crawl delay that is too long are none."""
    one_page_each = {f"h{number}.test": 1 for number in range(10)}
    plan = planned(
        {"large.test": 19, **one_page_each, "refused.test": 1000}, 2, {"refused.test": 99.0}, fetch__delay=0.0
    )
    assert sorted(plan.task_requests.tolist()) in ([10, 1019], [19, 1010], [20, 1009])
    assert plan.queue_seconds[-1] == 0


# -- times -------------------------------------------------------------------------------------------------------


def test_the_longest_queue_or_all_work() -> None:
    slow = planned({"a.test": 100, "b.test": 20})
    assert slow.task_seconds.tolist() == [500.0]
    assert slow.longest() == {"host": "a.test", "requests": 100, "delay": 5.0, "seconds": 500.0}
    many = {f"h{number}.test": 10 for number in range(1000)}
    threads = planned(many, fetch__threads=50, generate__seconds_per_request=0.5)
    assert threads.task_seconds.tolist() == [11_000 * 0.5 / 50]
    events = planned(many, fetch__engine="curl", fetch__connections=1000, generate__seconds_per_request=0.5)
    assert events.task_seconds.tolist() == [50.0]


def test_tasks_that_do_not_run_at_once_take_turns() -> None:
    plan = planned({"a.test": 10, "b.test": 8, "c.test": 2}, 3)
    assert plan.task_seconds.tolist() == [50.0, 40.0, 10.0]
    assert [plan.seconds(at_once) for at_once in (1, 2, 3, 9)] == [100.0, 50.0, 50.0, 50.0]
    assert plan.to_dict(2) == {
        "seconds": 50.0, "at_once": 2, "left": 0,
        "tasks": {"0": {"seconds": 50.0, "requests": 10}, "1": {"seconds": 40.0, "requests": 8},
                  "2": {"seconds": 10.0, "requests": 2}},
    }  # fmt: skip


def test_a_time_limit_cuts_the_plan_and_leaves_requests() -> None:
    plan = planned({"a.test": 100, "b.test": 20}, fetch__time_limit=200.0)
    assert (plan.seconds(1), plan.left) == (200.0, 60)
    assert plan.longest()["seconds"] == 500.0
    busy = planned({f"h{number}.test": 1 for number in range(1000)}, fetch__time_limit=6.0, fetch__threads=50)
    assert (busy.seconds(1), busy.left) == (6.0, 400)
    assert planned({"a.test": 100}, fetch__time_limit=500.0).left == 0


def test_hosts_that_hold_up_the_round() -> None:
    requests = {"a.test": 100, "b.test": 90, "c.test": 10}
    assert planned(requests).slower_than(400.0) == 2
    assert planned(requests, fetch__time_limit=300.0).slower_than(400.0) == 0


def test_without_delay_and_cost_nothing_takes_time_and_tasks_are_balanced() -> None:
    plan = planned({"a.test": 9, "b.test": 5, "c.test": 4}, 2, fetch__delay=0.0, generate__seconds_per_request=0.0)
    assert plan.seconds(1) == 0
    assert plan.task_requests.tolist() == [9, 9]
    assert planned({"a.test": 9}, fetch__time_limit=1.0, fetch__delay=0.0, generate__seconds_per_request=0.0).left == 0
