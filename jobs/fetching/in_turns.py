"""Lists of requests that lead to further ones, fetched one list after the other, with every host's gap in between.

Owns the thread that an engine runs in while its caller takes the results, each when it is ready for it: a result that
may be large is handed over as soon as it is there, and the engine waits when some are waiting. Decides nothing about a
request: the engine does.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from crawldb.settings import Settings
from crawldb.urls import origin_of
from jobs.fetching import robots
from jobs.fetching.contract import Engine, FetchReport, FetchRequest, FetchResult, KnownRobots

_WAITING = 4
"""Results that may wait to be taken."""
_POLL = 0.25
"""Seconds between two looks at the stop request."""


class InTurns:
    """Fetches lists one after the other.

    Each goes through `engine` with the same settings, and what the earlier ones learned of robots.txt files.
    """

    def __init__(
        self, engine: Engine, settings: Settings, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left: Counter[str] = Counter()
        """Requests without a result, by reason: see `FetchReport.left`."""
        self.notes: list[str] = []
        self._engine, self._settings, self._stop, self._clock = engine, settings, stop, clock
        self._known: dict[str, KnownRobots] = {}
        self._ended: float | None = None

    def results(self, requests: Sequence[FetchRequest], known: Sequence[KnownRobots] = ()) -> Iterator[FetchResult]:
        """The results of one list, as they come in. `known`: robots.txt files of earlier rounds."""
        self._known = {one.origin: one for one in known} | self._known
        self._keep_gap(requests)
        results: queue.Queue[FetchResult | None] = queue.Queue(_WAITING)
        stop = threading.Event()
        ended: list[FetchReport | BaseException] = []

        def emit(result: FetchResult) -> None:
            while True:
                with contextlib.suppress(queue.Full):
                    results.put(result, timeout=_POLL)
                    return
                if stop.is_set() and not self._stop.is_set():
                    return  # nobody takes it any more

        def fetch() -> None:
            try:
                ended.append(self._engine(requests, self._settings, emit, stop, list(self._known.values())))
            except BaseException as error:  # raised again in the caller's thread
                ended.append(error)

        thread = threading.Thread(target=fetch, name="in-turns", daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not results.empty():
                if self._stop.is_set():
                    stop.set()
                with contextlib.suppress(queue.Empty):
                    result = results.get(timeout=_POLL if thread.is_alive() else 0)
                    if result is not None:
                        yield result
        finally:
            stop.set()
            thread.join()
            self._ended = self._clock()
        report = ended[0]
        if isinstance(report, BaseException):
            raise report
        self.left += report.left
        self.notes += report.notes
        self._known |= {one.origin: one for one in report.robots}

    def _keep_gap(self, requests: Sequence[FetchRequest]) -> None:
        """Wait until the longest gap of any host among the requests has passed since the last list: some may be asked
        again, under their names or, by address or domain, under others."""
        if self._ended is None or not requests:
            return
        gap = max(self._delay(origin) for origin in {origin_of(request.url) for request in requests})
        self._stop.wait(max(self._ended + gap - self._clock(), 0))

    def _delay(self, origin: str) -> float:
        known = self._known.get(origin)
        rules = robots.rules_of(known, self._settings, known.fetched_at) if known is not None else robots.ALLOW_ALL
        return self._settings.fetch.delay if rules.delay is None else rules.delay
