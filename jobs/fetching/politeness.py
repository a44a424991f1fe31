"""Who may be asked next: one queue a host, a gap from start to start, so many at once.

Owns the order in which a task's requests start. It has no clock, no lock, no thread and no socket: `now` is a
parameter (seconds on any monotonic clock), so that threads (under one lock) and an event loop can use it alike.

The rules, for every host:
- two requests never start closer together than the host's delay;
- never more than `threads_per_host` are under way;
- when a delay is kept, a request whose start is not known yet (it is still connecting) keeps the next one waiting.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class Hosted(Protocol):
    """Anything that stands in a host's queue."""

    @property
    def host(self) -> str: ...


Item = TypeVar("Item", bound=Hosted)


class _Host(Generic[Item]):
    __slots__ = (
        "ahead",
        "delay",
        "failures",
        "holds",
        "last_start",
        "latest",
        "queue",
        "running",
        "starting",
        "ticket",
    )

    def __init__(self, delay: float) -> None:
        self.queue: deque[Item] = deque()
        self.ahead: deque[Item] = deque()
        """Goes first, and even while the host is held."""
        self.delay = delay
        self.last_start = -math.inf
        self.latest: Item | None = None
        """The item whose start `last_start` is."""
        self.starting: Item | None = None
        """Taken, but when it starts is not known yet."""
        self.running = 0
        self.holds = 0
        self.failures = 0
        self.ticket = 0
        """Of its valid entry in the heap; 0: it has none."""


class HostQueues(Generic[Item]):
    """Requests by host, in the order they were given; every operation costs O(log hosts).

    `delay` is the gap in seconds until `set_delay` says otherwise; `max_failures` in a row (0: never) give a host up.
    """

    def __init__(
        self, items: Iterable[Item], delay: float = 0.0, threads_per_host: int = 1, max_failures: int = 0
    ) -> None:
        self._delay = delay
        self._threads_per_host = threads_per_host
        self._max_failures = max_failures
        self._hosts: dict[str, _Host[Item]] = {}
        self._heap: list[tuple[float, int, _Host[Item]]] = []
        self._tickets = 0
        self._running = 0
        self._waiting = 0
        for item in items:
            self._host(item.host).queue.append(item)
            self._waiting += 1
        for host in self._hosts.values():
            self._schedule(host)

    def __len__(self) -> int:
        """Items that wait; those under way are not counted."""
        return self._waiting

    @property
    def hosts(self) -> int:
        """How many hosts there are, those that are done included."""
        return len(self._hosts)

    def pending(self, host: str) -> int:
        """Items of one host that wait or are under way."""
        queues = self._hosts[host]
        return len(queues.queue) + len(queues.ahead) + queues.running

    def delay(self, host: str) -> float:
        """The gap between two starts, in seconds."""
        return self._hosts[host].delay

    def next(self, now: float) -> Item | float | None:
        """The item to start now; or the seconds until there may be one (inf: not before something is reported
        by `started`, `finished`, `put` or `release`); or None when all is done and nothing is under way."""
        heap = self._heap
        while heap:
            opens, ticket, host = heap[0]
            if host.ticket != ticket:
                heapq.heappop(heap)  # superseded
                continue
            if opens > now:
                return opens - now
            heapq.heappop(heap)
            host.ticket = 0
            item = host.ahead.popleft() if host.ahead else host.queue.popleft()
            host.running += 1
            if host.delay > 0:
                host.starting = item
            self._running += 1
            self._waiting -= 1
            self._schedule(host)
            return item
        return None if not self._running and not self._waiting else math.inf

    def started(self, item: Item, at: float) -> None:
        """`item` started at `at`. Only needed when threads_per_host > 1, to let the next one start before `finished`.
        `at` may be later than the true start and is put right by `finished`."""
        host = self._hosts[item.host]
        if host.starting is item:
            host.starting = None
        if at >= host.last_start:
            host.last_start = at
            host.latest = item
        self._schedule(host)

    def finished(self, item: Item, started: float | None, failed: bool | None = None) -> list[Item]:
        """`item` is no longer under way. `started` is None if it never touched the network, so that no gap is due.
        `failed` counts towards max_failures, or (False) ends the series; None does neither.

        Returns what is given up: all that waits for the host, when it has failed too often in a row.
        """
        host = self._hosts[item.host]
        host.running -= 1
        self._running -= 1
        if host.starting is item:
            host.starting = None
        if started is not None and (host.latest is item or started > host.last_start):
            host.last_start = started
        if host.latest is item:
            host.latest = None
        given_up: list[Item] = []
        if failed is not None:
            host.failures = host.failures + 1 if failed else 0
            if 0 < self._max_failures <= host.failures:
                given_up = self._empty(host)
        self._schedule(host)
        return given_up

    def set_delay(self, host: str, seconds: float) -> None:
        """The gap from now on; it counts from the last start."""
        queues = self._host(host)
        queues.delay = seconds
        self._schedule(queues)

    def put(self, item: Item) -> None:
        """Let `item` go before all others of its host, held or not; the host may be a new one."""
        host = self._host(item.host)
        host.ahead.append(item)
        self._waiting += 1
        self._schedule(host)

    def put_back(self, item: Item) -> None:
        """Put an item that was taken and finished at the front of its queue again."""
        host = self._host(item.host)
        host.queue.appendleft(item)
        self._waiting += 1
        self._schedule(host)

    def hold(self, host: str) -> None:
        """Let nothing but `put` items of the host start until `release`; holds are counted."""
        queues = self._host(host)
        queues.holds += 1
        self._schedule(queues)

    def release(self, host: str) -> None:
        """Undo one `hold`."""
        queues = self._hosts[host]
        queues.holds -= 1
        self._schedule(queues)

    def skim(self, host: str, unneeded: Callable[[Item], bool]) -> list[Item]:
        """Take items off the front of the host's queue for as long as `unneeded` says so: they never start."""
        queues = self._hosts[host]
        skimmed: list[Item] = []
        if not queues.holds:
            while queues.queue and unneeded(queues.queue[0]):
                skimmed.append(queues.queue.popleft())
            self._waiting -= len(skimmed)
            self._schedule(queues)
        return skimmed

    def drain(self) -> list[Item]:
        """Take everything that waits, of all hosts."""
        return [item for host in self._hosts.values() for item in self._empty(host)]

    def _host(self, name: str) -> _Host[Item]:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self._delay)
        return host

    def _empty(self, host: _Host[Item]) -> list[Item]:
        items = [*host.ahead, *host.queue]
        host.ahead.clear()
        host.queue.clear()
        self._waiting -= len(items)
        self._schedule(host)
        return items

    def _schedule(self, host: _Host[Item]) -> None:
        """Give the host its one valid heap entry, or none if nothing of it may start."""
        host.ticket = 0
        if (
            host.running < self._threads_per_host
            and host.starting is None
            and (host.ahead or (host.queue and not host.holds))
        ):
            self._tickets += 1
            host.ticket = self._tickets
            heapq.heappush(self._heap, (host.last_start + host.delay, self._tickets, host))
