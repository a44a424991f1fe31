"""Who may be asked next: one queue a host (domain, address), a gap from start to start, so many at once.

Owns the order in which a task's requests start. It has no clock, no lock, no thread and no socket: `now` is a
parameter (seconds on any monotonic clock), so that threads (under one lock) and an event loop can use it alike.

The rules, for every queue:
- two requests never start closer together than the queue's delay;
- never more than `at_once` are under way;
- when a delay is kept, a request whose start is not known yet (it is still connecting) keeps the next one waiting.

And, where `address_delay` is given, for every address: two requests never start closer together than that, whatever
their queues. So both gaps hold for hosts that share a server (BUbiNG's workbench, Boldi et al. 2018, has both too).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """Anything that stands in a queue."""

    @property
    def queue(self) -> str:
        """The queue's name."""

    @property
    def address(self) -> str | None:
        """What address_delay counts by; None: nothing."""


Item = TypeVar("Item", bound=Queued)


class _Gate(Generic[Item]):
    """One address: what starts there, and the queues whose next request waits for it."""

    __slots__ = ("last_start", "latest", "starting", "ticket", "waiting")

    def __init__(self) -> None:
        self.last_start = -math.inf
        self.latest: Item | None = None
        """The item whose start `last_start` is."""
        self.starting: Item | None = None
        """Taken, but when it starts is not known yet."""
        self.waiting: deque[_Queue[Item]] = deque()
        self.ticket = 0
        """Of its valid entry in the heap; 0: it has none."""

    def started(self, item: Item, at: float | None) -> None:
        if self.starting is item:
            self.starting = None
        if at is not None and (self.latest is item or at > self.last_start):
            self.last_start = at
            self.latest = item


class _Queue(Generic[Item]):
    __slots__ = (
        "ahead", "delay", "gate", "holds", "items", "last_start", "latest", "not_before", "running", "starting",
        "ticket",
    )  # fmt: skip

    def __init__(self, delay: float) -> None:
        self.items: deque[Item] = deque()
        self.ahead: deque[Item] = deque()
        """Goes first, and even while the queue is held."""
        self.delay = delay
        self.last_start = -math.inf
        self.not_before = -math.inf
        self.latest: Item | None = None
        """The item whose start `last_start` is."""
        self.starting: Item | None = None
        """Taken, but when it starts is not known yet."""
        self.running = 0
        self.holds = 0
        self.gate: _Gate[Item] | None = None
        """The one that its next request waits for."""
        self.ticket = 0
        """Of its valid entry in the heap; 0: it has none."""


class HostQueues(Generic[Item]):
    """Requests by queue, in the order they were given; every operation costs O(log queues).

    `delay` is the gap in seconds until `set_delay` says otherwise.
    """

    def __init__(
        self, items: Iterable[Item] = (), delay: float = 0.0, at_once: int = 1, address_delay: float = 0.0
    ) -> None:
        self._delay = delay
        self._at_once = at_once
        self._address_delay = address_delay
        self._queues: dict[str, _Queue[Item]] = {}
        self._gates: dict[str, _Gate[Item]] = {}
        self._passed: dict[int, _Gate[Item]] = {}
        """By id of an item under way: its address may be another one by the time it has finished."""
        self._heap: list[tuple[float, int, _Queue[Item] | _Gate[Item]]] = []
        self._tickets = 0
        self._running = 0
        self._waiting = 0
        self.extend(items)

    def __len__(self) -> int:
        """Items that wait; those under way are not counted."""
        return self._waiting

    @property
    def running(self) -> int:
        """Items under way."""
        return self._running

    def delay(self, queue: str) -> float:
        """The gap between two starts, in seconds."""
        found = self._queues.get(queue)
        return self._delay if found is None else found.delay

    def next(self, now: float) -> Item | float | None:
        """The item to start now; or the seconds until there may be one (inf: not before something is reported
        by `started`, `finished`, `put`, `extend` or `release`); or None when all is done and nothing is under way."""
        heap = self._heap
        while heap:
            opens, ticket, entry = heap[0]
            if entry.ticket != ticket:
                heapq.heappop(heap)  # superseded
                continue
            if opens > now:
                return opens - now
            heapq.heappop(heap)
            entry.ticket = 0
            if isinstance(entry, _Gate):
                queue = entry.waiting.popleft()
                self._open(entry)
                if queue.gate is not entry:
                    continue
                queue.gate = None
                if not self._may_start(queue) or self._opens(queue) > now:
                    self._schedule(queue)
                    continue
            else:
                queue = entry
            gate = self._gate((queue.ahead or queue.items)[0])
            if gate is not None and gate is not entry and not self._passes(gate, queue, now):
                continue
            item = queue.ahead.popleft() if queue.ahead else queue.items.popleft()
            queue.running += 1
            if queue.delay > 0:
                queue.starting = item
            if gate is not None:
                gate.starting = item
                self._passed[id(item)] = gate
                self._open(gate)
            self._running += 1
            self._waiting -= 1
            self._schedule(queue)
            return item
        return None if not self._running and not self._waiting else math.inf

    def started(self, item: Item, at: float) -> None:
        """`item` started at `at`. Only needed to let the next one start before `finished`.
        `at` may be later than the true start and is put right by `finished`."""
        queue = self._queues[item.queue]
        if queue.starting is item:
            queue.starting = None
        if at >= queue.last_start:
            queue.last_start = at
            queue.latest = item
        self._schedule(queue)
        if (gate := self._passed.get(id(item))) is not None:
            gate.started(item, at)
            self._open(gate)

    def finished(self, item: Item, started: float | None) -> None:
        """`item` is no longer under way. `started` is None if it never touched the network, so that no gap is due."""
        queue = self._queues[item.queue]
        queue.running -= 1
        self._running -= 1
        if queue.starting is item:
            queue.starting = None
        if started is not None and (queue.latest is item or started > queue.last_start):
            queue.last_start = started
        if queue.latest is item:
            queue.latest = None
        self._schedule(queue)
        if (gate := self._passed.pop(id(item), None)) is not None:
            gate.started(item, started)
            gate.latest = None if gate.latest is item else gate.latest
            self._open(gate)

    def touched(self, queue: str, at: float) -> None:
        """Something that stood in no queue (a page's script or style) was asked for at `at`: the gap counts from it."""
        found = self._queue(queue)
        if at > found.last_start:
            found.last_start = at
            found.latest = None
            self._schedule(found)

    def reached(self, address: str, at: float) -> None:
        """Something that had not waited for this address's gap was asked of it at `at`: the gap counts from it."""
        if self._address_delay:
            gate = self._gate_of(address)
            if at > gate.last_start:
                gate.last_start, gate.latest = at, None
                self._open(gate)

    def set_delay(self, queue: str, seconds: float) -> None:
        """The gap from now on; it counts from the last start."""
        found = self._queue(queue)
        if found.delay != seconds:
            found.delay = seconds
            self._schedule(found)

    def pause(self, queue: str, until: float) -> None:
        """Nothing of the queue starts before `until`."""
        found = self._queue(queue)
        found.not_before = max(until, found.not_before)
        self._schedule(found)

    def extend(self, items: Iterable[Item]) -> None:
        """Put items at the ends of their queues."""
        changed: dict[str, None] = {}
        for item in items:
            queue = self._queue(item.queue)
            queue.items.append(item)
            self._waiting += 1
            if len(queue.items) == 1:
                changed[item.queue] = None
        for name in changed:
            self._schedule(self._queues[name])

    def put(self, item: Item) -> None:
        """Let `item` go before all others of its queue, held or not; the queue may be a new one."""
        queue = self._queue(item.queue)
        queue.ahead.append(item)
        self._waiting += 1
        self._schedule(queue)

    def put_back(self, item: Item) -> None:
        """Put an item that was taken and finished at the front of its queue again."""
        queue = self._queue(item.queue)
        queue.items.appendleft(item)
        self._waiting += 1
        self._schedule(queue)

    def hold(self, queue: str) -> None:
        """Let nothing but `put` items of the queue start until `release`; holds are counted."""
        found = self._queue(queue)
        found.holds += 1
        self._schedule(found)

    def release(self, queue: str) -> None:
        """Undo one `hold`."""
        found = self._queues[queue]
        found.holds -= 1
        self._schedule(found)

    def skim(self, queue: str, unneeded: Callable[[Item], bool]) -> None:
        """Take items off the front of the queue for as long as `unneeded` says so: they never start."""
        found = self._queues[queue]
        if not found.holds:
            before = len(found.items)
            while found.items and unneeded(found.items[0]):
                found.items.popleft()
            if before != len(found.items):
                self._waiting -= before - len(found.items)
                self._schedule(found)

    def remove(self, queue: str, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Take out all items of a queue that `unwanted` says so of."""
        found = self._queues.get(queue)
        if found is None:
            return []
        removed = [item for item in (*found.ahead, *found.items) if unwanted(item)]
        if removed:
            found.ahead = deque(item for item in found.ahead if not unwanted(item))
            found.items = deque(item for item in found.items if not unwanted(item))
            self._waiting -= len(removed)
            self._schedule(found)
        return removed

    def _queue(self, name: str) -> _Queue[Item]:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(self._delay)
        return queue

    def _gate(self, item: Item) -> _Gate[Item] | None:
        if not self._address_delay or item.address is None:
            return None
        return self._gate_of(item.address)

    def _gate_of(self, address: str) -> _Gate[Item]:
        gate = self._gates.get(address)
        if gate is None:
            gate = self._gates[address] = _Gate()
        return gate

    def _passes(self, gate: _Gate[Item], queue: _Queue[Item], now: float) -> bool:
        """True if the queue's next item may start as far as the gate goes; else the queue waits in line there."""
        if gate.starting is None and not gate.waiting and gate.last_start + self._address_delay <= now:
            return True
        queue.gate = gate
        gate.waiting.append(queue)
        self._open(gate)
        return False

    def _open(self, gate: _Gate[Item]) -> None:
        """Give the gate its one valid heap entry, or none if nobody waits or nobody may pass."""
        gate.ticket = 0
        if gate.waiting and gate.starting is None:
            self._push(gate.last_start + self._address_delay, gate)

    def _may_start(self, queue: _Queue[Item]) -> bool:
        return (
            queue.running < self._at_once
            and queue.starting is None
            and bool(queue.ahead or (queue.items and not queue.holds))
        )

    def _opens(self, queue: _Queue[Item]) -> float:
        return max(queue.last_start + queue.delay, queue.not_before)

    def _schedule(self, queue: _Queue[Item]) -> None:
        """Give the queue its one valid heap entry, or none if nothing of it may start or it waits at a gate."""
        queue.ticket = 0
        if queue.gate is None and self._may_start(queue):
            self._push(self._opens(queue), queue)

    def _push(self, opens: float, entry: _Queue[Item] | _Gate[Item]) -> None:
        self._tickets += 1
        entry.ticket = self._tickets
        heapq.heappush(self._heap, (opens, self._tickets, entry))
