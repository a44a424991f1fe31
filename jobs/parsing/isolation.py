"""Work on pages in a process of its own, so that a page costs at most itself: time, memory, or a crash.

Owns that process: it is forked from the task, is given the pages in batches (through shared memory), answers with their
results in order, and is replaced when it dies. What is done with a page is the caller's function; nothing here knows
what a page is.

- **Time**: before each page the process sets itself an alarm whose signal kills it, within C code too and with no
  parent left to do so. The parent has a later one of its own, for a process that is stopped.
- **Memory**: a limit of its address space, on Linux; it is counted from what the task has at the fork.
- **Who is to blame**: a number in shared memory says which page is under way.
- **No leftovers**: it ends when the pipe to its parent closes, on Linux also by a signal at the parent's death; it
  keeps none of the parent's files, sockets and locks open.

Forked, for a fresh interpreter takes half a CPU second for each task to start. The child uses neither Arrow nor the
network, and it has to answer before it is given anything: one that a lock of another thread holds is replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Generic, NoReturn, TypeVar

from crawldb import errors
from crawldb.errors import CobnutError

Item = TypeVar("Item")
Result = TypeVar("Result")

TIMEOUT, MEMORY = "timeout", "memory"

CAN_LIMIT_MEMORY = sys.platform == "linux"
"""macOS takes a limit of the address space and does not keep to it."""

BATCH_ITEMS = 128
BATCH_BYTES = 2 << 20
"""What is sent at once: so much of it that sending costs little."""

_AREA_BYTES = 4 << 20
"""Of the memory that messages lie in; larger ones go through the pipe."""
_ANSWER_EVERY = 0.1
"""Seconds after which results are sent before the batch is done: so much work is lost with the process at most."""
_GRACE = 10.0
"""Seconds beyond the time limit after which the parent believes that the alarm does not come."""
_LOOK = 0.25
"""Seconds between two looks at whether the task has to stop."""
_ATTEMPTS = 3
_MEMORY_EXIT = 3
_PR_SET_PDEATHSIG = 1
_NOBODYS_FAULT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals from outside: the page is tried again."""


class Isolation(Generic[Item, Result]):
    """`function` applied to items in a process of its own; its results have to be picklable.

    `lost(item, detail)` makes the result of an item that took more than `timeout` seconds ("timeout"), more than
    `max_memory` bytes ("memory") or the process with it ("crashed: SIGSEGV"). 0 is no limit. `size(item)` is what an
    item takes in a message, in bytes. `close` ends the process; it starts again when it is needed.
    """

    def __init__(
        self, function: Callable[[Item], Result], lost: Callable[[Item, str], Result], size: Callable[[Item], int],
        timeout: float, max_memory: int,
    ) -> None:  # fmt: skip
        self._function, self._lost, self._size = function, lost, size
        self._timeout, self._max_memory = timeout, max_memory
        self._child: _Child | None = None

    def start(self) -> None:
        """Start the process now: the less memory the task has when it is forked, the cheaper it is for both."""
        if self._child is None:
            self._child = _Child.start(self._function, self._timeout, self._max_memory)

    def map(self, items: Sequence[Item], beat: Callable[[], None] = lambda: None) -> Iterator[Result]:
        """The items' results, in order. `beat` is called some times a second; it may raise to stop the work."""
        for batch in self._batches(items):
            beat()
            yield from self._run(batch, beat)

    def close(self) -> None:
        """End the process; without one, nothing happens."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        start = taken = 0
        for place, item in enumerate(items):
            size = self._size(item)
            if place > start and (taken + size > BATCH_BYTES or place - start >= BATCH_ITEMS):
                yield items[start:place]
                start, taken = place, 0
            taken += size
        if start < len(items):
            yield items[start:]

    def _run(self, batch: Sequence[Item], beat: Callable[[], None]) -> list[Result]:
        results: list[Result] = []
        failures = 0
        try:
            while len(results) < len(batch):
                rest = batch[len(results) :]
                place, detail = self._attempt(rest, results, beat)
                if detail is None:
                    continue
                if place is None and (failures := failures + 1) >= _ATTEMPTS:
                    # Nothing was begun, three times: the message itself may be too much for the process
                    if len(rest) > 1:
                        for item in rest:
                            results += self._run([item], beat)
                        continue
                    if detail == MEMORY:
                        place = 0
                    else:
                        raise CobnutError(f"the process that parses pages dies before it parses any ({detail})")
                if place is not None:
                    done = batch[len(results) : len(batch) - len(rest) + place]
                    if done:  # parsed, but their results died with the process
                        results += self._run(done, beat)
                    results.append(self._lost(rest[place], detail))
        except BaseException:
            self.close()  # what it still answers is nobody's answer
            raise
        return results

    def _attempt(
        self, batch: Sequence[Item], results: list[Result], beat: Callable[[], None]
    ) -> tuple[int | None, str | None]:
        """Have the process work on `batch`, and add what it answers to `results`.

        If it dies: the item of `batch` that was under way, or None, and why it died. A death that no item is to blame
        for has no item.
        """
        self.start()
        assert self._child is not None
        child, wanted = self._child, len(results) + len(batch)
        try:
            child.send(batch)
            while len(results) < wanted:
                results += child.answer(beat)
        except (EOFError, OSError):
            self._child = None
            place, detail = child.autopsy()
            return place, detail
        return None, None


class _Child:
    """A process that works on items; the parent's view of it."""

    def __init__(self, pid: int, pipe: Connection, marks: mmap.mmap, area: mmap.mmap, timeout: float) -> None:
        self._pid, self._pipe, self._marks, self._area, self._timeout = pid, pipe, marks, area, timeout
        self._stopped_by_us = False
        self._end = weakref.finalize(self, _kill, pid, pipe)

    @classmethod
    def start(cls, function: Callable[[Any], Any], timeout: float, max_memory: int) -> _Child:
        """Fork it and wait until it answers. Raises CobnutError if it does not, three times."""
        for _ in range(_ATTEMPTS):
            marks, area = mmap.mmap(-1, 8), mmap.mmap(-1, _AREA_BYTES)
            ours, theirs = Pipe()
            with warnings.catch_warnings():
                # Of Python 3.12 and later, with other threads about: see the module
                warnings.simplefilter("ignore", DeprecationWarning)
                parent, pid = os.getpid(), os.fork()
            if pid == 0:
                _serve(function, theirs, marks, area, timeout, max_memory, parent)
            theirs.close()
            child = cls(pid, ours, marks, area, timeout)
            with contextlib.suppress(EOFError, OSError):
                if ours.poll(_GRACE):
                    ours.recv_bytes()
                    return child
            child.end()
        raise CobnutError("the process that parses pages does not start")

    def send(self, batch: Sequence[Any]) -> None:
        """Raises OSError if it is dead."""
        _send(self._pipe, self._area, list(batch))

    def answer(self, beat: Callable[[], None]) -> list[Any]:
        """Results of the next items. Raises EOFError or OSError if it is dead, and what the function raised."""
        mark, since = self._mark(), time.monotonic()
        while not self._pipe.poll(_LOOK):
            beat()
            if self._mark() != mark:
                mark, since = self._mark(), time.monotonic()
            elif self._timeout and time.monotonic() - since > self._timeout + _GRACE:
                self._stopped_by_us = True
                os.kill(self._pid, signal.SIGKILL)
        answer: list[Any] | tuple[str, str] = _receive(self._pipe, self._area)
        beat()
        if isinstance(answer, tuple):
            raise getattr(errors, answer[0], CobnutError)(answer[1])
        return answer

    def _mark(self) -> int:
        return int(struct.unpack("q", self._marks[:8])[0])

    def autopsy(self) -> tuple[int | None, str]:
        """Which item of the last batch was under way when it died, if one was, and why it died."""
        self._end.detach()
        self._pipe.close()
        place = self._mark() - 1
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # somebody else waited for it
            code = -signal.SIGKILL
        if code == _MEMORY_EXIT:
            detail = MEMORY
        elif self._stopped_by_us or code == -signal.SIGALRM:
            detail = TIMEOUT
        elif code == -signal.SIGKILL:  # the kernel's, when memory runs out
            detail = MEMORY
        elif code < 0:
            detail = f"crashed: {signal.Signals(-code).name}"
            if -code in _NOBODYS_FAULT:
                place = -1
        else:
            detail = f"crashed: exit code {code}"
        return (place if place >= 0 else None), detail

    def end(self) -> None:
        """Kill it: it has nothing to lose."""
        self._end()


def _send(pipe: Connection, area: mmap.mmap | None, message: Any) -> None:
    """Put a message where both see it, and say how long it is; without an area, or beyond its size, by the pipe."""
    if area is not None:
        area.seek(0)
        try:
            pickle.Pickler(area, 5).dump(message)
        except ValueError:  # it does not fit
            pass
        else:
            pipe.send_bytes(struct.pack("cq", b"A", area.tell()))
            return
    pipe.send_bytes(b"P" + pickle.dumps(message, 5))


def _receive(pipe: Connection, area: mmap.mmap) -> Any:
    told = memoryview(pipe.recv_bytes())
    if told[0] == ord("P"):
        return pickle.loads(told[1:])
    with memoryview(area) as view, view[: struct.unpack("cq", told)[1]] as data:
        return pickle.loads(data)


def _kill(pid: int, pipe: Connection) -> None:
    pipe.close()
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# -- in the child ----------------------------------------------------------------------------------------------------


def _serve(
    function: Callable[[Any], Any], pipe: Connection, marks: mmap.mmap, area: mmap.mmap, timeout: float,
    max_memory: int, parent: int,
) -> NoReturn:  # fmt: skip
    """All that the child ever does."""
    code = 1
    try:
        _settle(pipe.fileno(), max_memory, parent)
        pipe.send_bytes(b"ready")
        while True:
            batch = _receive(pipe, area)
            try:
                _work(function, batch, pipe, marks, area, timeout)
            except CobnutError as error:
                signal.setitimer(signal.ITIMER_REAL, 0)
                _send(pipe, None, (type(error).__name__, str(error)))
    except MemoryError:
        code = _MEMORY_EXIT
    except (EOFError, OSError):
        code = 0  # the parent is gone
    finally:
        os._exit(code)


def _work(
    function: Callable[[Any], Any], batch: Sequence[Any], pipe: Connection, marks: mmap.mmap, area: mmap.mmap,
    timeout: float,
) -> None:  # fmt: skip
    results: list[Any] = []
    sent = time.monotonic()
    for number, item in enumerate(batch, 1):
        marks[:8] = struct.pack("q", number)
        if timeout:
            signal.setitimer(signal.ITIMER_REAL, timeout)
        results.append(function(item))
        if timeout:
            signal.setitimer(signal.ITIMER_REAL, 0)
        last = number == len(batch)
        if last or time.monotonic() - sent > _ANSWER_EVERY:
            # The area is free for the last answer alone: the parent looks into it before it sends the next batch
            _send(pipe, area if last else None, results)
            marks[:8] = bytes(8)
            results, sent = [], time.monotonic()


def _settle(pipe: int, max_memory: int, parent: int) -> None:
    """Take leave of what was the parent's, and take on the limits."""
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(-1)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    gc.freeze()  # nothing that was the parent's is ever collected here, and its pages stay shared
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    keep = {0, 1, 2, pipe}
    for file in map(int, os.listdir("/dev/fd")):
        if file not in keep:
            with contextlib.suppress(OSError):
                os.close(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_memory and CAN_LIMIT_MEMORY:
        with open("/proc/self/statm") as file_of_sizes:
            taken = int(file_of_sizes.read().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = taken + max_memory
        resource.setrlimit(resource.RLIMIT_AS, (limit if most < 0 else min(limit, most), most))
