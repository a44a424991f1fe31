"""The `requests` engine: threads, and prepared requests straight to the adapter.

Owns the threads of a fetch task and the watchdog over them (deadlines, stop). What they do next, `task` decides; how
one request is sent, `transport` knows.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from crawldb.settings import Settings
from jobs.fetching.connections import Exchange
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.errands import Errand
from jobs.fetching.limits import raise_open_files
from jobs.fetching.sending import user_agent
from jobs.fetching.task import FetchTask
from jobs.fetching.transport import Transport

_TICK = 0.1
"""Seconds between two looks of the watchdog."""
_IDLE_HOSTS = 10_000
"""That keep their connections."""


def fetch(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:  # fmt: skip
    """Fetch them all with requests and threads; see contract.Engine. Raises UsageError without http.agent_name."""
    user_agent(settings)
    if not requests:
        return FetchReport()
    return _Run(requests, settings, emit, stop, known).run()


class _Run:
    """One call of `fetch`: its threads and what they share."""

    def __init__(
        self, requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None],
        stop: threading.Event, known: Sequence[KnownRobots],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._emit_one = emit
        self._stop = stop
        self._threads = min(settings.fetch.threads, len(requests))
        self._task = FetchTask(requests, settings, known, self._wake, self._threads)
        hosts = min(len({request.host for request in requests}), _IDLE_HOSTS)
        files, note = raise_open_files(hosts * settings.fetch.threads_per_host + self._threads + 100)
        if note is not None:
            self._task.report.notes.append(note)
        hosts = max((files - self._threads - 50) // settings.fetch.threads_per_host, 2 * self._threads)
        self._transport = Transport(settings, self._task.egress, min(hosts, _IDLE_HOSTS))
        self._emitting = threading.Lock()
        self._emit_closed = False

        self._lock = threading.Lock()
        """Over all that follows and the task."""
        self._turn = threading.Condition(self._lock)
        """Threads that wait for a request to start."""
        self._done = threading.Condition(self._lock)
        """The watchdog, for the last thread to end."""
        self._alarm = math.inf
        """The earliest time that a waiting thread will wake up by itself."""
        self._idle = 0
        self._alive = 0
        self._error: BaseException | None = None
        self._under_way: list[Exchange | None] = [None] * self._threads
        """By thread; each writes its own place, without the lock."""

    # The watchdog: the caller's own thread

    def run(self) -> FetchReport:
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of what is data here
        threads = [
            threading.Thread(target=self._work, args=(number,), name=f"fetch-{number}", daemon=True)
            for number in range(self._threads)
        ]
        self._alive = len(threads)
        give_up = math.inf
        try:
            for thread in threads:
                thread.start()
            while True:
                with self._lock:
                    if self._alive:
                        self._done.wait(min(_TICK, max(give_up - time.monotonic(), 0.01)))
                    if not self._alive:
                        break
                    now = time.monotonic()
                    self._task.tick(now)
                    if self._error is not None:
                        give_up = min(give_up, now)
                    elif self._stop.is_set():
                        self._task.close("stopped")
                        give_up = min(give_up, now + self._settings.fetch.shutdown_seconds)
                    if self._task.closing is not None:
                        self._turn.notify_all()
                if now >= give_up:
                    break
                for exchange in self._under_way:
                    if exchange is not None and now >= exchange.deadline:
                        exchange.cut_off("timeout")
        finally:
            report = self._shut_down(threads)
        if self._error is not None:
            raise self._error
        return report

    def _shut_down(self, threads: list[threading.Thread]) -> FetchReport:
        """End what is still under way, take stock, close all connections."""
        with self._lock:
            self._task.close("stopped")
            self._turn.notify_all()
            for exchange in self._under_way:
                if exchange is not None:
                    exchange.cut_off("stopped")
        patience = time.monotonic() + 1.0
        for thread in threads:
            if thread.ident is not None:
                # One that hangs is left behind: it can't be ended, and does no more harm
                thread.join(max(patience - time.monotonic(), 0))
        with self._emitting, self._lock:
            self._emit_closed = True
            report = self._task.end()
        self._transport.close()
        return report

    def _wake(self) -> None:
        """Something is in the task's inbox. Called from the resolver's threads."""
        with self._lock:
            self._turn.notify()

    # The threads

    def _work(self, number: int) -> None:
        try:
            while (errand := self._take()) is not None:
                self._fetch(number, errand)
        except BaseException as error:  # emit's, or a mistake of ours: the caller's to know
            with self._lock:
                self._error = self._error or error
                self._task.close("stopped")
                self._turn.notify_all()
        finally:
            with self._lock:
                self._under_way[number] = None
                self._alive -= 1
                self._done.notify_all()

    def _take(self) -> Errand | None:
        """Wait for the next errand; None: this thread is no longer needed. Emits what was settled meanwhile."""
        while True:
            with self._lock:
                errand = self._next()
                results = self._task.take()
            self._emit(results)
            if not isinstance(errand, float):
                return errand

    def _next(self) -> Errand | float | None:
        """`_take` under the lock; a number if there are results to be emitted first.

        Of the waiting threads only the one with the earliest alarm wakes up by itself; it passes the rest on.
        """
        task = self._task
        while True:
            if self._stop.is_set() or self._error is not None:
                return None
            now = time.monotonic()
            errand = task.pause(now, self._alive - self._idle - 1) or task.next(now)
            if errand is None:
                self._turn.notify_all()
                return None
            if isinstance(errand, Errand):
                if self._idle:
                    self._turn.notify()  # there may be another one that can start
                return errand
            if task.has_results:
                return errand
            alarm = now + errand
            wait = None
            if alarm < self._alarm:
                self._alarm = alarm
                wait = errand
            self._idle += 1
            self._turn.wait(wait)
            self._idle -= 1
            if wait is not None and self._alarm == alarm:
                self._alarm = math.inf

    def _fetch(self, number: int, errand: Errand) -> None:
        task = self._task
        exchange = self._transport.exchange(errand)
        on_sent = None
        if task.needs_sent():

            def on_sent(at: float) -> None:
                with self._lock:
                    task.sent(errand, at)
                    self._turn.notify()

        self._under_way[number] = exchange
        reply = self._transport.send(exchange, task.delay(errand), on_sent)
        with self._lock:
            self._under_way[number] = None
            task.finished(errand, reply, time.monotonic())
            results = task.take()
            if self._idle:
                self._turn.notify()
        self._emit(results)

    def _emit(self, results: list[FetchResult]) -> None:
        for result in results:
            with self._emitting:
                if self._emit_closed:
                    return
                try:
                    self._emit_one(result)
                except BaseException:
                    self._emit_closed = True  # other threads wait for this lock
                    raise
                self._task.count(result)
