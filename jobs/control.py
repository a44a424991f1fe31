"""How a command and its tasks talk while a job runs: stop requests one way, progress the other.

Both go through a directory of the command's own, so that it is the same whether a task runs in the command's process
(inline) or in one of its own (local): the command creates `stop` in it, a task overwrites `progress-*` in it. A task
in a process of its own also stops when its command is gone, so that a killed command leaves nobody fetching.
Knows nothing of what the tasks do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from types import FrameType

from tqdm import tqdm

from crawldb.errors import CobnutError, Interrupted

STOP = threading.Event()
"""Set when this process is asked to stop; long loops look at it and raise or return early."""

_POLL = 0.25
"""Seconds between two looks at the directory."""

COUNTER_GROUP = "Cobnut"
"""The group of Hadoop counters by which tasks report their progress."""

_signal_received: int | None = None


# -- the command's side --------------------------------------------------------------------------------------


@contextlib.contextmanager
def control_directory(parent: str) -> Iterator[str]:
    """A directory for one command's temporary files and messages; it is gone afterwards."""
    try:
        directory = tempfile.mkdtemp(prefix="cobnut-", dir=parent or None)
    except OSError as error:
        raise CobnutError(f"run.temporary = {parent}: {error.strerror}") from None
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def interruptible(directory: str) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into a stop request for this command's tasks; the second one kills."""
    global _signal_received
    _signal_received = None
    STOP.clear()

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        global _signal_received
        if _signal_received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _signal_received = number
        STOP.set()
        with contextlib.suppress(OSError):
            open(f"{directory}/stop", "x").close()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signal_received = None  # answered: it is not the next command's of this process
        STOP.clear()


def raise_if_interrupted() -> None:
    """Raise Interrupted if a signal asked this command to stop."""
    if _signal_received is not None:
        raise Interrupted(_signal_received)


@contextlib.contextmanager
def progress_bar(directory: str, label: str, unit: str) -> Iterator[None]:
    """Show what the tasks report as a bar on a terminal; nothing when stderr is piped."""
    if not sys.stderr.isatty():
        yield
        return
    finished = threading.Event()

    def follow(bar: tqdm[None]) -> None:
        while not finished.wait(_POLL):
            done, total = _sum_progress(directory)
            with contextlib.suppress(OSError), open(f"{directory}/{_NOTE}") as file:
                bar.set_postfix_str(file.read(), refresh=False)
            bar.total = total or None
            bar.n = done
            bar.refresh()

    with tqdm(desc=label, unit=f" {unit}", file=sys.__stderr__, leave=False, dynamic_ncols=True) as bar:
        thread = threading.Thread(target=follow, args=(bar,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
            for name in _progress_files(directory):
                os.unlink(f"{directory}/{name}")


_NOTE = "progress-note"


def report(directory: str, done: int, total: int, note: str) -> None:
    """Show this on the bar, for tasks on other machines: their counts, and a word on their phase."""
    with open(f"{directory}/progress-cluster", "w") as file:
        file.write(f"{done} {total}")
    with open(f"{directory}/{_NOTE}", "w") as file:
        file.write(note)


def _progress_files(directory: str) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith("progress-")]


def _sum_progress(directory: str) -> tuple[int, int]:
    done = total = 0
    for name in _progress_files(directory):
        with contextlib.suppress(OSError, ValueError), open(f"{directory}/{name}") as file:
            task_done, task_total = file.read().split()
            done, total = done + int(task_done), total + int(task_total)
    return done, total


# -- a task's side -------------------------------------------------------------------------------------------


class Progress:
    """What one task has done so far. `update` is cheap: it writes a few times a second at most.

    Without a directory to write to, the task is on another machine than its command: then it tells Hadoop, by the
    lines on stderr that Hadoop Streaming takes for counters. Those also keep the task from being taken for dead.
    """

    def __init__(self, directory: str, total: int) -> None:
        self._path = f"{directory}/progress-{os.getpid()}-{uuid.uuid4().hex[:8]}" if directory else ""
        self._total = total
        self._done = 0
        self._reported = 0
        self._next = 0.0
        if not directory:
            _count("total", total)

    def update(self, done: int = 1) -> None:
        """`done` more of the total are done."""
        self._done += done
        now = time.monotonic()
        if now < self._next and self._done < self._total:
            return
        self._next = now + _POLL
        if not self._path:
            _count("done", self._done - self._reported)
            self._reported = self._done
            return
        with contextlib.suppress(OSError), open(self._path, "w") as file:
            file.write(f"{self._done} {self._total}")


def _count(name: str, amount: int) -> None:
    print(f"reporter:counter:{COUNTER_GROUP},{name},{amount}", file=sys.stderr, flush=True)


def on_a_cluster(*, keep_alive: bool) -> None:
    """In a task that Hadoop runs: set STOP when it ends us. `keep_alive`: tell it now and then that this task lives."""

    # Hadoop Streaming makes variables of the job's properties.
    timeout = float(os.environ.get("mapreduce_task_timeout") or 600_000) / 1000  # noqa: SIM112
    every = min(_ALIVE, timeout / 4) if timeout else _ALIVE  # 0: Hadoop has all the time in the world

    def tell() -> None:
        while True:
            print("reporter:status:alive", file=sys.stderr, flush=True)
            time.sleep(every)

    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    if keep_alive:
        threading.Thread(target=tell, name="alive", daemon=True).start()


_ALIVE = 30.0
"""Seconds between two signs of life at most."""


def follow_command(directory: str, command_pid: int) -> None:
    """In a task's own process: set STOP when the command asks for it or has died. Ctrl-C is the command's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while not (os.path.exists(f"{directory}/stop") or not _is_alive(command_pid)):
            time.sleep(_POLL)
        STOP.set()

    threading.Thread(target=watch, name="follow-command", daemon=True).start()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
