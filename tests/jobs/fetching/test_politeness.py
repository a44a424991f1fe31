"""HostQueues: whatever happens, the rules hold; and what each operation does."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from jobs.fetching.politeness import HostQueues


class Item(NamedTuple):
    queue: str
    number: int
    lag: float = 0.0
    """Seconds from being taken to its start."""
    duration: float = 0.0
    network: bool = True
    """False: it turns out not to need the network."""
    address: str | None = None


def items(*hosts: str) -> list[Item]:
    return [Item(host, number) for number, host in enumerate(hosts)]


def test_hosts_take_turns_and_each_keeps_its_order() -> None:
    queues = HostQueues(items("a", "a", "b", "a", "b"))
    order = []
    while (item := queues.next(0.0)) is not None:
        assert isinstance(item, Item)
        order.append(item.number)
        queues.finished(item, 0.0)
    assert order == [0, 2, 1, 4, 3]


def test_the_gap_is_from_start_to_start() -> None:
    queues = HostQueues(items("a", "a"), delay=5.0)
    first = queues.next(10.0)
    assert isinstance(first, Item)
    assert queues.next(11.0) == math.inf, "one at a time: only its end can open the host"
    queues.finished(first, started=10.5)
    assert queues.next(12.0) == 3.5
    assert queues.next(15.5) == Item("a", 1)


def test_a_request_that_did_not_need_the_network_leaves_no_gap() -> None:
    queues = HostQueues(items("a", "a"), delay=5.0)
    first = queues.next(10.0)
    assert isinstance(first, Item)
    queues.finished(first, started=None)
    assert queues.next(10.0) == Item("a", 1)


def test_with_several_threads_a_host_the_next_waits_until_the_start_is_known() -> None:
    queues = HostQueues(items("a", "a", "a"), delay=1.0, at_once=2)
    first = queues.next(0.0)
    assert isinstance(first, Item)
    assert queues.next(5.0) == math.inf
    queues.started(first, 5.0)
    assert queues.next(5.0) == 1.0
    second = queues.next(6.0)
    assert isinstance(second, Item)
    queues.started(second, 6.0)
    assert queues.next(99.0) == math.inf, "two are under way"
    queues.finished(first, 4.9)
    assert queues.next(6.5) == 0.5, "the gap counts from the latest start"


def test_finished_puts_a_late_guess_of_the_start_right() -> None:
    queues = HostQueues(items("a", "a"), delay=1.0, at_once=2)
    first = queues.next(0.0)
    assert isinstance(first, Item)
    queues.started(first, 0.5)
    queues.finished(first, 0.2)
    assert queues.next(1.0) == 1.2 - 1.0


def test_a_changed_delay_counts_from_the_last_start() -> None:
    queues = HostQueues(items("a", "a"), delay=5.0)
    first = queues.next(0.0)
    assert isinstance(first, Item)
    queues.finished(first, 0.0)
    queues.set_delay("a", 30.0)
    assert queues.next(6.0) == 24.0
    queues.set_delay("a", 2.0)
    assert queues.next(2.0) == Item("a", 1)


def test_put_goes_first_and_passes_a_hold() -> None:
    queues = HostQueues(items("a", "a"))
    queues.hold("a")
    assert queues.next(0.0) == math.inf
    queues.put(Item("a", 9))
    special = queues.next(0.0)
    assert special == Item("a", 9)
    queues.finished(special, 0.0)
    assert queues.next(0.0) == math.inf
    queues.release("a")
    assert queues.next(0.0) == Item("a", 0)


def test_put_takes_a_host_that_was_not_there() -> None:
    queues = HostQueues(items("a"), delay=1.0)
    queues.put(Item("new", 7))
    assert {queues.next(0.0), queues.next(0.0)} == {Item("a", 0), Item("new", 7)}


def test_a_pause_ends_by_itself() -> None:
    queues = HostQueues(items("a", "b"))
    queues.pause("a", 7.0)
    queues.pause("a", 3.0)
    assert queues.next(0.0) == Item("b", 1)
    assert queues.next(2.0) == 5.0, "the longer one counts"
    assert queues.next(7.0) == Item("a", 0)


def test_what_stood_in_no_queue_counts_too() -> None:
    queues = HostQueues(items("a"), delay=5.0)
    queues.touched("a", 10.0)
    assert queues.next(11.0) == 4.0


def test_remove_takes_what_is_unwanted_from_anywhere() -> None:
    queues = HostQueues(items("a", "b", "a", "a"))
    assert [item.number for item in queues.remove("a", lambda item: item.number != 2)] == [0, 3]
    assert queues.remove("nobody's", lambda item: True) == []
    assert len(queues) == 2
    assert {queues.next(0.0), queues.next(0.0)} == {Item("a", 2), Item("b", 1)}


def test_hosts_of_one_address_keep_its_gap_and_take_turns() -> None:
    shared = [Item(queue, number, address="1") for number, queue in enumerate("abab")]
    queues = HostQueues([*shared, Item("c", 9, address="2")], address_delay=2.0)
    order = []
    now = 0.0
    while (taken := queues.next(now)) is not None:
        if isinstance(taken, Item):
            order.append((now, taken.number))
            queues.started(taken, now)
            queues.finished(taken, now)
        else:
            now += taken
    assert order == [(0.0, 0), (0.0, 9), (2.0, 1), (4.0, 2), (6.0, 3)]


class Mover:
    """An item whose host changes its address."""

    def __init__(self, queue: str, address: str) -> None:
        self.queue = queue
        self.address = address


def test_a_host_that_moves_while_a_request_is_under_way_locks_nobody_out() -> None:
    first, second = Mover("a", "192.0.2.1"), Mover("b", "192.0.2.1")
    queues = HostQueues([first, second], address_delay=1.0)
    assert queues.next(0.0) is first
    assert queues.next(0.0) == math.inf, "it is not known yet when the first one starts"
    first.address = "192.0.2.2"
    queues.finished(first, 0.5)
    queues.reached("192.0.2.2", 0.5)
    assert queues.next(1.0) == 0.5
    second.address = "192.0.2.2"
    assert queues.next(1.5) is second


def test_what_did_not_wait_for_an_address_counts_there_too() -> None:
    queues = HostQueues([Item("a", 0, address="192.0.2.1")], address_delay=1.0)
    queues.reached("192.0.2.1", 7.0)
    assert queues.next(7.5) == 0.5
    assert isinstance(queues.next(8.0), Item)


def test_skim_takes_what_is_unneeded_off_the_front_only() -> None:
    queues = HostQueues(items("a", "a", "a", "a"))
    queues.skim("a", lambda item: item.number != 2)
    assert len(queues) == 2
    queues.hold("a")
    queues.skim("a", lambda item: True)
    assert len(queues) == 2


_TIMES = st.floats(0, 3, allow_nan=False).map(lambda value: round(value, 3))
_ROW = st.tuples(st.sampled_from("abc"), _TIMES, _TIMES, st.booleans(), st.sampled_from(["1", "2", None]))
_ITEMS = st.lists(_ROW, max_size=30).map(
    lambda rows: [Item(queue, number, lag, duration, network, address)
                  for number, (queue, lag, duration, network, address) in enumerate(rows)]
)  # fmt: skip


@given(
    requests=_ITEMS,
    delays=st.dictionaries(st.sampled_from("abc"), _TIMES),
    delay=_TIMES,
    at_once=st.integers(1, 3),
    put_back=st.sets(st.integers(0, 29)),
    gap=st.sampled_from([0.0, 0.7]),
)
def test_never_too_close_never_too_many_and_every_request_once(
    requests: list[Item],
    delays: dict[str, float],
    delay: float,
    at_once: int,
    put_back: set[int],
    gap: float,
) -> None:
    """A simulated crawl: requests connect late, take their time, and some are put back once."""
    queues = HostQueues(requests, delay, at_once, gap)
    for host, seconds in delays.items():
        queues.set_delay(host, seconds)
    now = 0.0
    events: list[tuple[float, int, str, Item]] = []
    starts: dict[str, list[float]] = defaultdict(list)
    at_address: dict[str, list[float]] = defaultdict(list)
    under_way: dict[str, int] = defaultdict(int)
    done: list[Item] = []
    again = set(put_back)
    for _ in range(10_000):
        while events and events[0][0] <= now:
            moment, _, kind, item = heapq.heappop(events)
            if kind == "start":
                starts[item.queue].append(moment)
                if item.address is not None:
                    at_address[item.address].append(moment)
                if at_once > 1 or gap:
                    queues.started(item, moment + 0.05)
                heapq.heappush(events, (moment + item.duration, item.number, "end", item))
            else:
                under_way[item.queue] -= 1
                if item.number in again:
                    again.remove(item.number)
                    queues.put_back(item)
                else:
                    done.append(item)
                queues.finished(item, moment - item.duration if item.network else None)
        taken = queues.next(now)
        if taken is None:
            break
        if isinstance(taken, Item):
            under_way[taken.queue] += 1
            assert under_way[taken.queue] <= at_once
            kind, wait = ("start", taken.lag) if taken.network else ("end", 0.0)
            heapq.heappush(events, (now + wait, taken.number, kind, taken))
        else:
            assert taken > 0
            now = min(now + taken, events[0][0] if events else math.inf)
            assert now < math.inf, "nothing is under way and nothing may start"
    assert sorted(item.number for item in done) == sorted(item.number for item in requests)
    for host, moments in starts.items():
        wanted = delays.get(host, delay)
        assert all(later - earlier >= wanted - 1e-9 for earlier, later in itertools.pairwise(moments))
    for moments in at_address.values():
        assert all(later - earlier >= gap - 1e-9 for earlier, later in itertools.pairwise(sorted(moments)))
    assert queues.next(now) is None
    assert len(queues) == 0


def test_a_large_fetchlist_costs_what_its_size_says() -> None:
    """50,000 requests of 5,000 hosts: the heap is looked at a bounded number of times a request."""
    requests = [Item(f"h{number % 5000}", number) for number in range(50_000)]
    queues = HostQueues(requests, delay=1.0)
    now, looks, taken = 0.0, 0, 0
    while (item := queues.next(now)) is not None:
        looks += 1
        if isinstance(item, Item):
            taken += 1
            queues.finished(item, now)
        else:
            now += item
    assert taken == 50_000
    assert looks <= 50_000 + 10
