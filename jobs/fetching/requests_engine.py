"""The `requests` engine: threads, and prepared requests straight to the adapter.

Owns the threads of a fetch task, the watchdog over them (deadlines, stop, fetch.time_limit) and the way from a
FetchRequest to a FetchResult. Whose turn it is, `politeness` says; what is sent, `sending`; what came back, `replies`;
what that means, `outcomes` and `robots`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from requests.models import PreparedRequest
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import canonicalize, host_of, origin_of
from jobs.fetching import outcomes, robots
from jobs.fetching.connections import DirectAdapter, Exchange, ExchangeError, current
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.politeness import HostQueues
from jobs.fetching.replies import Reply, latency, read, result_of, result_of_refusal, result_without_answer
from jobs.fetching.robots import Robots
from jobs.fetching.sending import own_headers, page_headers, unsendable, user_agent

__all__ = ["fetch", "user_agent"]

_TICK = 0.1
"""Seconds between two looks of the watchdog."""


class RobotsRequest(NamedTuple):
    """A robots.txt to be fetched for `page`, which waits for it and with it the host of the page."""

    page: FetchRequest
    origin: str
    url: str
    host: str
    hops: int


def fetch(
    requests: Sequence[FetchRequest],
    settings: Settings,
    emit: Callable[[FetchResult], None],
    stop: threading.Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:
    """Fetch them all with requests and threads; see contract.Engine. Raises UsageError without http.agent_name."""
    user_agent(settings)
    if not requests:
        return FetchReport()
    return _Run(requests, settings, emit, stop).run()


class _Run:
    """One call of `fetch`: its shared state and its threads."""

    def __init__(
        self,
        requests: Sequence[FetchRequest],
        settings: Settings,
        emit: Callable[[FetchResult], None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._emit_one = emit
        self._stop = stop
        options = settings.fetch
        self._queues: HostQueues[FetchRequest | RobotsRequest] = HostQueues(
            requests, options.delay, options.threads_per_host, options.max_failures_per_host
        )
        self._threads = min(options.threads, self._queues.hosts * options.threads_per_host)
        self._timeout = Timeout(connect=options.timeout, read=options.timeout)
        self._adapter = DirectAdapter(options.threads_per_host, _max_hosts(options.threads, options.threads_per_host))
        self._headers = own_headers(settings)
        self._report = FetchReport()
        self._total = len(requests)
        self._emitting = threading.Lock()
        self._emit_closed = False

        self._lock = threading.Lock()
        """Over all that follows and the queues."""
        self._turn = threading.Condition(self._lock)
        """Threads that wait for a request to start."""
        self._done = threading.Condition(self._lock)
        """The watchdog, for the last thread to end."""
        self._alarm = math.inf
        """The earliest time that a waiting thread will wake up by itself."""
        self._idle = 0
        self._alive = 0
        self._closing: str | None = None
        """Why nothing starts any more."""
        self._error: BaseException | None = None
        self._under_way: list[Exchange | None] = [None] * self._threads
        """By thread; each writes its own place, without the lock."""
        self._robots: dict[str, dict[str, Robots]] = {}
        """By host, by origin; forgotten when the host has nothing left."""
        self._tried_again: set[bytes] = set()

    # The watchdog: the caller's own thread

    def run(self) -> FetchReport:
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of what is data here
        began = time.monotonic()
        limit = began + self._settings.fetch.time_limit if self._settings.fetch.time_limit else math.inf
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
                    if self._alive and not self._stop.is_set():
                        self._done.wait(_TICK)
                    elif self._alive:
                        self._done.wait(min(_TICK, max(give_up - time.monotonic(), 0.01)))
                    if not self._alive:
                        break
                    now = time.monotonic()
                    if self._error is not None:
                        give_up = min(give_up, now)
                    elif self._stop.is_set():
                        self._close("stopped")
                        give_up = min(give_up, now + self._settings.fetch.shutdown_seconds)
                    elif now >= limit:
                        self._close("time_limit")
                if now >= give_up:
                    break
                for exchange in self._under_way:
                    if exchange is not None and now >= exchange.deadline:
                        exchange.cut_off("timeout")
        finally:
            self._shut_down(threads)
        if self._error is not None:
            raise self._error
        return self._report

    def _shut_down(self, threads: list[threading.Thread]) -> None:
        """End what is still under way, take stock, close all connections."""
        with self._lock:
            self._close("stopped")
            for exchange in self._under_way:
                if exchange is not None:
                    exchange.cut_off("stopped")
        patience = time.monotonic() + 1.0
        for thread in threads:
            if thread.ident is not None:
                # One that hangs in a name look-up is left behind: it can't be ended, and does no more harm
                thread.join(max(patience - time.monotonic(), 0))
        with self._emitting, self._lock:
            self._emit_closed = True
            left = self._total - self._report.fetched - sum(self._report.left.values())
            if left:
                self._report.left[self._closing or "stopped"] += left
        self._adapter.close()

    def _close(self, why: str) -> None:
        """Let nothing start any more. The lock is held."""
        if self._closing is None and (len(self._queues) or any(self._under_way)):
            self._closing = why
            self._turn.notify_all()

    # The threads

    def _work(self, number: int) -> None:
        try:
            item = self._take()
            while item is not None:
                item = (
                    self._fetch_robots(number, item) if isinstance(item, RobotsRequest) else self._fetch(number, item)
                )
        except BaseException as error:  # emit's, or a mistake of ours: the caller's to know
            with self._lock:
                self._error = self._error or error
                self._closing = self._closing or "stopped"
                self._turn.notify_all()
        finally:
            with self._lock:
                self._under_way[number] = None
                self._alive -= 1
                self._done.notify_all()

    def _take(self) -> FetchRequest | RobotsRequest | None:
        with self._lock:
            return self._next()

    def _next(self) -> FetchRequest | RobotsRequest | None:
        """Wait for the next item to start; None: this thread is no longer needed. The lock is held.

        Of the waiting threads only the one with the earliest alarm wakes up by itself; it passes the rest on.
        """
        while True:
            if self._closing is not None or self._stop.is_set():
                return None
            now = time.monotonic()
            item = self._queues.next(now)
            if item is None:
                self._turn.notify_all()
                return None
            if not isinstance(item, float):
                if self._idle:
                    self._turn.notify()  # there may be another one that can start
                return item
            alarm = now + item
            wait = None
            if alarm < self._alarm:
                self._alarm = alarm
                wait = item
            self._idle += 1
            self._turn.wait(wait)
            self._idle -= 1
            if wait is not None and self._alarm == alarm:
                self._alarm = math.inf

    def _finish_and_take(
        self, item: FetchRequest | RobotsRequest, started: float | None, failed: bool | None
    ) -> FetchRequest | RobotsRequest | None:
        with self._lock:
            self._finish(item, started, failed)
            settled = self._settled(item.host)
            if not settled:
                return self._next()
        for result in settled:
            self._emit(result)
        return self._take()

    def _finish(self, item: FetchRequest | RobotsRequest, started: float | None, failed: bool | None) -> None:
        """The lock is held."""
        given_up = self._queues.finished(item, started, failed)
        if given_up:
            self._report.left["host_failures"] += len(given_up)
            for other in given_up:
                if isinstance(other, RobotsRequest):
                    self._queues.release(other.page.host)
        if not self._queues.pending(item.host):
            for origin in self._robots.pop(item.host, ()):
                self._adapter.forget(origin)

    def _settled(self, host: str) -> list[FetchResult]:
        """Results for what stands at the front of the host's queue and needs no network: there is no reason to let
        it wait for its turn. The lock is held."""
        if not self._queues.delay(host) or host not in self._robots:
            return []
        known = self._robots[host]
        results: list[FetchResult] = []

        def unneeded(item: FetchRequest | RobotsRequest) -> bool:
            rules = known.get(origin_of(item.url))
            refusal = rules.refuse(item.url) if rules is not None else None
            if refusal is not None and isinstance(item, FetchRequest):
                results.append(result_of_refusal(item, refusal))
            return refusal is not None

        self._queues.skim(host, unneeded)
        return results

    def _emit(self, result: FetchResult) -> None:
        with self._emitting:
            if self._emit_closed:
                return
            try:
                self._emit_one(result)
            except BaseException:
                self._emit_closed = True  # other threads wait for this lock
                raise
            self._report.fetched += 1

    # A page

    def _fetch(self, number: int, request: FetchRequest) -> FetchRequest | RobotsRequest | None:
        """Fetch one page, emit its result, and take the next item."""
        problem = unsendable(request)
        if problem is not None:
            self._emit(result_without_answer(request, FetchOutcome.gone, "bad_request", problem))
            return self._finish_and_take(request, None, None)
        rules = self._robots.get(request.host, {}).get(origin_of(request.url))
        if rules is None:
            return self._ask_robots(request)
        refusal = rules.refuse(request.url)
        if refusal is not None:
            self._emit(result_of_refusal(request, refusal))
            return self._finish_and_take(request, None, None)
        reply = self._exchange(
            number,
            request,
            page_headers(request, self._headers, self._settings.fetch.conditional),
            self._settings.fetch.max_bytes,
        )
        started = reply.started(self._queues.delay(request.host))
        if reply.stopped or self._deserves_another_try(request, reply):
            with self._lock:
                self._under_way[number] = None
                self._queues.put_back(request)
                self._finish(request, started, None)
                return self._next()
        result = result_of(request, reply)
        self._emit(result)
        self._under_way[number] = None
        failed = reply.status is None or outcomes.is_host_failure(reply.status)
        return self._finish_and_take(request, started, failed)

    def _deserves_another_try(self, request: FetchRequest, reply: Reply) -> bool:
        """True once for a request that found its kept connection closed: the server never saw it (RFC 9112 §9.3.1)."""
        if (
            reply.reason != "broken"
            or not reply.exchange.reused
            or reply.exchange.answered is not None
            or request.method not in (None, "GET", "HEAD")
            or request.fingerprint in self._tried_again
        ):
            return False
        self._tried_again.add(request.fingerprint)
        return True

    # robots.txt

    def _ask_robots(self, request: FetchRequest) -> FetchRequest | RobotsRequest | None:
        """Let the page and its host wait, and robots.txt go first."""
        origin = origin_of(request.url)
        with self._lock:
            if origin in self._robots.get(request.host, ()):  # another thread was faster
                self._queues.put_back(request)
            else:
                self._queues.hold(request.host)
                self._queues.put(RobotsRequest(request, origin, f"{origin}/robots.txt", request.host, 0))
            self._finish(request, None, None)
            return self._next()

    def _fetch_robots(self, number: int, item: RobotsRequest) -> FetchRequest | RobotsRequest | None:
        """One request for robots.txt; then its page's host goes on, or the next hop of a redirect is queued."""
        with self._lock:
            self._report.robots_fetched += 1
        reply = self._exchange(number, item, self._headers, robots.MAX_BYTES)
        started = reply.started(self._queues.delay(item.host))
        failed = reply.status is None
        if reply.stopped:
            return self._robots_known(number, item, started, None, None)
        if reply.status is None or reply.truncated in ("seconds", "broken"):
            reason, detail = reply.reason or "broken", f"robots.txt: {reply.detail or reply.truncated}"
            if item.hops:
                return self._robots_known(number, item, started, failed, robots.unavailable(detail))
            # The page could not have been fetched either. Others of the origin ask again.
            self._emit(result_of(item.page, dataclasses.replace(reply, status=None, reason=reason, detail=detail)))
            return self._robots_known(number, item, started, True, None, page_done=True)
        if robots.follows(reply.status) and item.hops < robots.MAX_REDIRECTS:
            target = canonicalize(reply.header("location") or "", item.url) if reply.header("location") else None
            if target is not None:
                with self._lock:
                    self._under_way[number] = None
                    self._queues.put(item._replace(url=target, host=host_of(target), hops=item.hops + 1))
                    self._finish(item, started, failed)
                    return self._next()
        later = outcomes.retry_after(reply.header("retry-after"), reply.began)
        body, whole = reply.content or b"", reply.truncated is None
        known = robots.of_answer(reply.status, body, not whole, self._settings, later)
        return self._robots_known(number, item, started, failed, known)

    def _robots_known(
        self,
        number: int,
        item: RobotsRequest,
        started: float,
        failed: bool | None,
        known: Robots | None,
        page_done: bool = False,
    ) -> FetchRequest | RobotsRequest | None:
        """The page's host goes on, with `known` as the rules of the page's origin."""
        host = item.page.host
        with self._lock:
            self._under_way[number] = None
            if known is not None:
                origins = self._robots.setdefault(host, {})
                origins[item.origin] = known
                # Origins of one host share its gap: the longest counts
                default = self._settings.fetch.delay
                self._queues.set_delay(
                    host, max(default if rules.delay is None else rules.delay for rules in origins.values())
                )
            if not page_done:
                self._queues.put_back(item.page)
            self._queues.release(host)
        if host != item.host:
            with self._lock:
                self._finish(item, started, failed)
                settled = self._settled(host)
            for result in settled:
                self._emit(result)
            return self._take()
        return self._finish_and_take(item, started, failed)

    # One exchange

    def _exchange(
        self, number: int, item: FetchRequest | RobotsRequest, headers: dict[str, str], max_bytes: int
    ) -> Reply:
        """Send one request and read the answer. Never raises for what the network or the server does."""
        request = PreparedRequest()
        request.method, request.body = "GET", None
        if isinstance(item, FetchRequest):
            request.method, request.body = item.method or "GET", item.body
        request.url = item.url
        request.headers = headers  # type: ignore[assignment]  # a dict does, and urllib3 copies it
        now = time.monotonic()
        exchange = Exchange(item.url, origin_of(item.url), now + self._settings.fetch.max_seconds)
        if self._settings.fetch.threads_per_host > 1:
            exchange.on_sent = lambda: self._sent(item, exchange)
        reply = Reply(exchange, time.time_ns() // 1_000_000)
        current.exchange = exchange
        self._under_way[number] = exchange
        try:
            answer: BaseHTTPResponse = self._adapter.send(request, stream=True, timeout=self._timeout)  # type: ignore[arg-type, assignment]
            try:
                reply.status = answer.status
                read(answer, reply, max_bytes, isinstance(item, RobotsRequest))
            finally:
                exchange.watch(None)
                if answer.connection is not None:
                    answer.close()
        except ExchangeError as error:
            reply.reason, reply.detail = error.reason, error.detail
        except Exception as error:  # a page's failure is data, whatever the libraries call it
            reply.reason, reply.detail = outcomes.of_error(error), outcomes.describe(error)
        if exchange.cut is not None and reply.status is None:
            reply.reason, reply.detail = "timeout", "fetch.max_seconds ran out"
        reply.elapsed = int((time.monotonic() - now) * 1000)
        return reply

    def _sent(self, item: FetchRequest | RobotsRequest, exchange: Exchange) -> None:
        """Let the next request of the host start before this one has finished."""
        with self._lock:
            delay = self._queues.delay(item.host)
            if delay and exchange.sent is not None:
                self._queues.started(item, exchange.sent + latency(delay))
                self._turn.notify()


def _max_hosts(threads: int, threads_per_host: int) -> int:
    """How many hosts may keep connections, by the files this process may open (half of them are others' business)."""
    try:
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except ImportError:  # not a Unix
        files = 512
    if files < 0:
        files = 1 << 16
    return max(min(files // 2, 10_000) // threads_per_host, 2 * threads)
