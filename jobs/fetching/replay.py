"""The fetch engine that opens no socket: archives answer in the web's place, as of a virtual time.

Owns what an archived answer means for a request of today's. Who may be asked is decided anew by the archived robots.txt;
there is no waiting for anybody's turn. Everything comes in the order of the requests, and nothing depends on a clock:
what is answered twice is the same twice.

A request that no archive holds is gone, `not_archived`. One that the recorded fetch left for a later round is left again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from crawldb.fingerprint import url_fingerprint
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.store import now_ms
from crawldb.urlfilters import Link, UrlFilter, build
from crawldb.urls import host_of, origin_of
from jobs.archiving.index import LEFT, Index, robots_key
from jobs.archiving.pages import ArchivedPage, ArchivedRobots
from jobs.fetching import robots
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.replies import Reply, unwanted
from jobs.fetching.robots import ALLOW_ALL, Refusal, Robots
from jobs.fetching.sending import unsendable

_OF_ROBOTS = ("robots_denied", "crawl_delay", "robots_unavailable")
"""Reasons that robots.txt gave: whether they still hold is decided anew."""


def fetch(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots] = (),
) -> FetchReport:  # fmt: skip
    """See contract.Engine; warc.replay names the archives."""
    return _Replay(requests, settings, emit, known).run(stop)


class _Replay:
    def __init__(
        self, requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None],
        known: Sequence[KnownRobots],
    ) -> None:  # fmt: skip
        self._requests, self._settings, self._emit = requests, settings, emit
        self._now = settings.run.clock or now_ms()
        self._known = {one.origin: one for one in known}
        self._rules: dict[str, Robots] = {}
        self._report = FetchReport()
        self._skip = tuple(one.lower() for one in settings.fetch.skip_extensions)
        keys = {request.fingerprint for request in requests}
        keys.update(robots_key(origin) for origin in {origin_of(one.url) for one in requests if not unsendable(one)})
        self._index = Index(settings.warc.replay, settings, keys)
        self._until = self._index.sessions.until(self._now)
        self._urls: set[str] = {request.url for request in requests} if settings.fetch.redirects else set()
        self._keys = {request.fingerprint for request in requests}
        self._filter: UrlFilter | None = build(settings) if settings.fetch.redirects else None

    def run(self, stop: threading.Event) -> FetchReport:
        for number, request in enumerate(self._requests):
            if stop.is_set():
                self._report.left["stopped"] += len(self._requests) - number
                break
            result = self._answer(request)
            if result is None:
                self._report.left["archived"] += 1
                continue
            self._emit(result)
            self._report.fetched += 1
            self._follow(result)
        return self._report

    def _answer(self, request: FetchRequest) -> FetchResult | None:
        """What becomes of a request; None if it is left for a later round."""
        if problem := unsendable(request):
            return self._without_answer(request, Refusal(FetchOutcome.gone, "bad_request", problem))
        if self._skip and request.url.partition("?")[0].lower().endswith(self._skip):
            return self._without_answer(request, Refusal(FetchOutcome.gone, "extension", "fetch.skip_extensions"))
        has_validators = bool(request.etag or request.last_modified)
        capture = self._index.page(request.fingerprint, self._now, has_validators)
        if capture is not None and capture.kind == LEFT:
            return None
        found = None if capture is None else self._index.read(capture)
        page = found.result if isinstance(found, ArchivedPage) else None
        settled_before = page is not None and page.http_status is None and page.reason not in _OF_ROBOTS
        refusal = None if settled_before else self._robots(origin_of(request.url)).refuse(request.url)
        if refusal is not None:
            if page is None or page.reason != refusal.reason:
                return self._without_answer(request, refusal)
        elif page is None or page.reason in _OF_ROBOTS:
            detail = None if capture is None else f"{capture.path}:{capture.place.offset}: not readable as it was"
            if page is not None:
                detail = f"{page.reason} when it was archived"
            return self._without_answer(request, Refusal(FetchOutcome.gone, "not_archived", detail))
        return self._as_of_now(request, page)

    def _as_of_now(self, request: FetchRequest, page: FetchResult) -> FetchResult:
        """An archived result for today's request, within today's settings."""
        page.request, page.followed, page.discovered_from = request, False, None
        if not self._now <= page.fetched_at < self._until:
            if page.retry_after is not None:
                page.retry_after += self._now - page.fetched_at
            page.fetched_at = self._now
        fetch = self._settings.fetch
        if page.outcome is FetchOutcome.success:
            if page.content is not None and len(page.content) > fetch.max_bytes:
                page.content, page.truncated = page.content[: fetch.max_bytes], "bytes"
            if fetch.content_types or fetch.skip_extensions:
                reply = Reply(page.fetched_at, fields=page.response_headers)
                if failure := unwanted(reply, fetch.content_types, fetch.skip_extensions):
                    page.outcome, page.content = FetchOutcome.gone, None
                    page.reason, page.detail = failure
        return page

    def _without_answer(self, request: FetchRequest, why: Refusal) -> FetchResult:
        result = FetchResult(request, why.outcome, None, why.reason, why.detail, self._now, 0)
        result.retry_after = why.retry_after
        return result

    def _robots(self, origin: str) -> Robots:
        """What holds for an origin: as the host store knows it, else as it is archived, else all is allowed."""
        rules = self._rules.get(origin)
        if rules is None:
            rules = self._rules[origin] = self._read_robots(origin)
        return rules

    def _read_robots(self, origin: str) -> Robots:
        before = self._known.get(origin)
        if before is not None and robots.is_fresh(before, self._settings, self._now):
            return robots.rules_of(before, self._settings, self._now)
        capture = self._index.robots(origin, self._now)
        found = None if capture is None else self._index.read(capture)
        if not isinstance(found, ArchivedRobots):
            return ALLOW_ALL
        known = found.known
        if not self._now <= known.fetched_at < self._until:
            known = known._replace(fetched_at=self._now, failing_since=known.failing_since and self._now)
        self._report.robots_fetched += 1
        self._report.robots.append(known)
        return robots.rules_of(known, self._settings, known.fetched_at)

    def _follow(self, result: FetchResult) -> None:
        """Follow redirects within the host at once, as `task` does."""
        chain = [result]
        visited = {result.request.url}
        while self._filter is not None and len(chain) <= self._settings.fetch.redirects:
            source = chain[-1]
            target, request = source.redirect_to, source.request
            if target is None or request.method not in (None, "GET", "HEAD"):
                return
            host = host_of(target)
            if (
                host != request.host
                or target in self._urls
                or target in visited
                or self._filter(Link(target, host, host, 0)) is not None
            ):
                return
            further = FetchRequest(url_fingerprint(target), target, None, None, None, host, None, None, request.row)
            self._index.add([further.fingerprint])
            capture = self._index.page(further.fingerprint, self._now, False)
            found = None if capture is None or capture.kind == LEFT else self._index.read(capture)
            if isinstance(found, ArchivedPage):
                led_by = found.result.discovered_from
                if led_by is not None and led_by != request.fingerprint and led_by in self._keys:
                    return  # another request of the list led there
            self._urls.add(target)
            visited.add(target)
            refusal = self._robots(origin_of(target)).refuse(target)
            if refusal is not None:
                result = self._without_answer(further, refusal)
            elif isinstance(found, ArchivedPage):
                result = self._as_of_now(further, found.result)
            else:
                result = self._without_answer(further, Refusal(FetchOutcome.gone, "not_archived"))
            result.followed, result.discovered_from = True, request.fingerprint
            self._emit(result)
            self._report.followed += 1
            chain.append(result)
