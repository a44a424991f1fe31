"""What a fetch task does next: the one brain under all engines.

Owns every decision between the fetchlist and its results: whose turn it is, which host is looked up, when robots.txt
is asked for and what it settles, what a request carries and by which way it leaves, what an answer means for the page
and for its host, redirects that are followed at once, pages to be rendered. It opens no socket, starts no thread and
reads no clock (`now` is a parameter, seconds of time.monotonic()), so that threads under one lock and an event loop
can drive it alike:

    while (errand := task.next(now)) is not None:      an Errand to send, or the seconds until there may be one
        task.finished(errand, reply, now)              when its exchange has ended, however it did
        for result in task.take(): …                   what has become of requests meanwhile

Only `notify` and `post`, which the resolver and the renderer call from threads of their own, may be called without
the engine's lock: they put a message into an inbox and call `wake`.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import queue as queues
import time
from collections import deque
from collections.abc import Callable, Sequence

from crawldb.fingerprint import fingerprint
from crawldb.hostrules import own_delays
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urlfilters import Link, UrlFilter, build
from crawldb.urls import canonicalize, host_of, registrable_domain
from jobs.fetching import addresses as guard
from jobs.fetching import outcomes, robots
from jobs.fetching.contract import FetchReport, FetchRequest, FetchResult, KnownRobots
from jobs.fetching.cookies import CookieJar
from jobs.fetching.credentials import Credentials
from jobs.fetching.dns import Addresses, Resolver
from jobs.fetching.egress import Egress
from jobs.fetching.errands import Errand, Host
from jobs.fetching.limits import Throttle
from jobs.fetching.politeness import HostQueues
from jobs.fetching.rendering import PartAnswer, Renderer
from jobs.fetching.renderings import PageRendered, PartAsked, Renderings
from jobs.fetching.replies import (
    Failure,
    Reply,
    result_of,
    result_of_refusal,
    result_without_answer,
)
from jobs.fetching.robots import Robots
from jobs.fetching.sending import own_headers, page_headers, unsendable

_LOOK_AHEAD = 64
"""Hosts at least whose addresses are known, or being looked up, before their turn."""
_DNS_TRIES, _DNS_PAUSE = 4, 5.0
"""Look-ups of a name that failed for a passing cause, and seconds between two."""
_PROXY_TRIES = 4
"""Proxies that one request may fail with before it is put off."""
_LOCAL_PATIENCE = 300.0
"""Seconds of nothing but failures of this machine's own: then it is beyond hope. Not a number of failures: a thousand
connections can fail at the same moment."""
_LOCAL_PAUSE = 0.25
"""Seconds at least between two times that it may run short."""
_RATE_WINDOW = 60
"""Seconds that fetch.min_rate is taken over."""


def _is_address(host: str) -> bool:
    """True if a canonical URL's host is an address, so that there is nothing for a proxy to look up."""
    return host[0] == "[" or host.replace(".", "").isdigit()


class FetchTask:
    """See the module. Raises UsageError for settings that cannot be used."""

    def __init__(
        self, requests: Sequence[FetchRequest], settings: Settings, known: Sequence[KnownRobots],
        wake: Callable[[], None], at_once: int, renderer: Callable[[Settings], Renderer] | None = None,
    ) -> None:  # fmt: skip
        fetch = settings.fetch
        self.settings = settings
        self.report = FetchReport()
        self.throttle = Throttle(at_once)
        self.closing: str | None = None
        """Why nothing starts any more."""
        self._own = own_headers(settings)
        self._credentials = Credentials.load(settings)
        self.egress = Egress(settings)
        self._wake = wake
        self._inbox: queues.SimpleQueue[str | PartAsked | PageRendered] = queues.SimpleQueue()
        self._resolver = Resolver(settings, self.notify)
        self._queues: HostQueues[Errand] = HostQueues((), fetch.delay, fetch.threads_per_host, fetch.ip_delay)
        self._rules_until: dict[str, float] = {}
        """By origin: when its robots.txt is to be asked for again."""
        self._delays: dict[str, dict[str, float]] = {}
        """By queue, by origin (or host, if it has a delay of its own): the gap that each asks for."""
        self._own_delays = own_delays(settings)
        self._known = {one.origin: one for one in known}
        self._timers: list[tuple[float, int, Host]] = []
        self._results: list[FetchResult] = []
        self._total = len(requests)
        self._hosts: dict[str, Host] = {}
        self._short_since: float | None = None
        """When this machine ran short, if nothing went well since."""
        self._ran_short = False
        self._resume = -math.inf
        self._rate: deque[tuple[float, int]] = deque(maxlen=_RATE_WINDOW + 1)
        self._began = math.nan
        self._skip = tuple(ending.strip().lower() for ending in fetch.skip_extensions)
        self._plain = not (fetch.cookies or self._credentials)
        self._urls: set[str] = {request.url for request in requests} if fetch.redirects else set()
        self._filter: UrlFilter | None = build(settings) if fetch.redirects else None
        for request in requests:
            if (refusal := self._refusal_at_once(request)) is not None:
                self._results.append(result_of_refusal(request, refusal))
                continue
            home = self._hosts.get(request.host)
            if home is None:
                home = self._hosts[request.host] = Host(request.host)
            home.waiting.append(Errand(request.url, home, request, fetch.max_bytes))
        self._unresolved = deque(self._hosts.values())
        self._urgent: list[Host] = []
        """To be looked up at once: a queue waits for it."""
        self._resolving = 0
        self._ahead = 0
        """Hosts that are known, and nothing of which has had its turn."""
        self._look_ahead = max(_LOOK_AHEAD, 2 * at_once)
        self._renderings = Renderings(settings, renderer, self.post)
        self._rendering_until = math.inf
        """When pages under rendering are given up, once the task is closing."""

    # -- what the engine calls ---------------------------------------------------------------------------

    def next(self, now: float) -> Errand | float | None:
        """The errand to send now; or the seconds until there may be one (inf: not before something happens); or None
        when all is done and nothing is under way."""
        while True:
            self._read_inbox(now)
            if self.closing is not None:
                return self._next_while_closing(now)
            self._look_up(now)
            if (part := self._next_part(now)) is not None:
                return part
            found = self._queues.next(now) if not self._renderings.is_full else math.inf
            if isinstance(found, Errand):
                if self._prepare(found, now):
                    return found
                continue
            wait = math.inf if found is None else found
            if self._timers:
                wait = min(wait, max(self._timers[0][0] - now, 0.001))
            busy = self._resolving or self._unresolved or self._renderings.is_busy or self._timers
            return None if found is None and not busy else wait

    def _next_while_closing(self, now: float) -> Errand | float | None:
        """The same when nothing starts any more but what pages under rendering still need."""
        if not self._renderings.pages or self.closing == "stopped":
            return None
        if self._rendering_until == math.inf:
            self._rendering_until = now + self.settings.browser.max_seconds
        if now >= self._rendering_until:
            return None
        return self._next_part(now) or self._rendering_until - now

    def pause(self, now: float, under_way: int) -> float:
        """Seconds in which nothing more may start beside so many `under_way` (inf: until one has finished); 0: it may.

        It is this machine that has no more to give: no ports, no file descriptors.
        """
        if now < self._resume:
            return self._resume - now
        return 0.0 if under_way < self.throttle.allowed else math.inf

    def sent(self, errand: Errand, at: float) -> None:
        """The errand's request counts as started at `at`: lets others start before it has finished."""
        if not errand.is_beside:
            self._queues.started(errand, at)

    def needs_sent(self) -> bool:
        """True if `sent` makes a difference."""
        return self.settings.fetch.threads_per_host > 1 or self.settings.fetch.ip_delay > 0

    def delay(self, errand: Errand) -> float:
        """The gap that the errand's queue keeps, in seconds."""
        return self._queues.delay(errand.queue)

    def finished(self, errand: Errand, reply: Reply, now: float) -> None:
        """The errand's exchange has ended."""
        home = errand.home
        proxy = errand.route.proxy if errand.route is not None else None
        if proxy is not None and not reply.local:
            if reply.status == 407 and not proxy.is_socks and errand.url.startswith("http:"):
                # Of the proxy itself (RFC 9110 §15.5.8), which for plain HTTP answers in the server's place
                reply.fail(Failure("connect", f"{proxy}: HTTP 407"))
                reply.proxy_failed = True
            if reply.proxy_failed:
                self.egress.failed(proxy, reply.detail)
            elif reply.status is not None:
                self.egress.worked(proxy)
        if reply.ip_address is not None:
            if reply.started is not None and (errand.done is not None or reply.ip_address != errand.addresses[0]):
                self._queues.reached(reply.ip_address, reply.started)
            if home.addresses and len(home.addresses) > 1:
                self._prefer(home, reply.ip_address)
        if home.took is not None and reply.connect_time is not None:
            reply.dns_time, home.took = home.took, None
        if reply.local or reply.proxy_failed or reply.stopped or (reply.garbled and not home.garbled):
            self._not_its_fault(errand, reply, now)
        elif self._deserves_another_try(errand, reply):
            errand.tried_again = True
            self._again(errand)
            self._left(errand, reply.started)
        elif errand.is_robots:
            self._robots_answered(errand, reply, now)
        elif errand.done is not None:
            self._part_answered(errand, reply, now)
        else:
            self._page_answered(errand, reply, now)
        if not reply.local:
            self._short_since = None
            self.throttle.succeeded()
            return
        if self._short_since is None:
            self._short_since = now
        if now - self._short_since > _LOCAL_PATIENCE and self.closing is None:
            raise OSError(f"this machine cannot open connections any more: {reply.detail}")

    @property
    def has_results(self) -> bool:
        """True if `take` has something."""
        return bool(self._results)

    def take(self) -> list[FetchResult]:
        """The results since the last call."""
        results, self._results = self._results, []
        return results

    def count(self, result: FetchResult) -> None:
        """A result was handed on."""
        if result.followed:
            self.report.followed += 1
        else:
            self.report.fetched += 1

    def tick(self, now: float) -> None:
        """Look at the clock, a few times a second: fetch.time_limit and fetch.min_rate."""
        fetch = self.settings.fetch
        if math.isnan(self._began):
            self._began = now
        if fetch.time_limit and now - self._began >= fetch.time_limit:
            self.close("time_limit")
        if fetch.min_rate and (not self._rate or now - self._rate[-1][0] >= 1.0):
            self._rate.append((now, self.report.fetched))
            (since, before), (_, fetched) = self._rate[0], self._rate[-1]
            full = len(self._rate) == self._rate.maxlen
            if full and now - self._began >= fetch.min_rate_after and fetched - before < fetch.min_rate * (now - since):
                self.close("min_rate")

    def close(self, why: str) -> None:
        """Let nothing start any more."""
        if self.closing is None and (len(self._queues) or self._queues.running or self._unresolved or self._resolving
                                     or self._renderings.is_busy or self._timers):  # fmt: skip
            self.closing = why
            self._renderings.refuse_held()

    def end(self) -> FetchReport:
        """Nothing happens any more: close what is open, and take stock."""
        self._resolver.close()
        self.report.notes += [*self._credentials.notes, *self.egress.notes()]
        self._renderings.close()
        left = self._total - self.report.fetched - sum(self.report.left.values())
        if left:
            self.report.left[self.closing or "stopped"] += left
        return self.report

    # -- what other threads call -------------------------------------------------------------------------

    def notify(self, host: str) -> None:
        """The resolver is done with a host."""
        self._inbox.put(host)
        self._wake()

    def post(self, message: PartAsked | PageRendered) -> None:
        """The renderer wants something, or is done with a page."""
        self._inbox.put(message)
        self._wake()

    def _read_inbox(self, now: float) -> None:
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, str):
                self._resolving -= 1
                self._addresses_known(self._hosts[message], now)
            elif isinstance(message, PartAsked):
                self._part_asked(message, now)
            else:
                self._results.append(self._renderings.finish(message))

    # -- addresses ---------------------------------------------------------------------------------------

    def _look_up(self, now: float) -> None:
        """Look names up ahead of their turn, and again what could not be looked up for a passing cause."""
        while self._timers and self._timers[0][0] <= now:
            self._find_addresses(heapq.heappop(self._timers)[2], now)
        while self._urgent:
            self._find_addresses(self._urgent.pop(), now)
        while self._unresolved and self._resolving + self._ahead < self._look_ahead:
            self._find_addresses(self._unresolved.popleft(), now)

    def _find_addresses(self, home: Host, now: float) -> None:
        if self._proxy_resolves(home.name) and not _is_address(home.name):
            self._settle_addresses(home, (), now)
        elif (known := self._resolver.ask(home.name)) is not None:
            self._take_addresses(home, known, now)
        else:
            self._resolving += 1

    def _proxy_resolves(self, host: str) -> bool:
        proxy = self.egress.route(host).proxy
        return proxy is not None and proxy.resolves

    def _addresses_known(self, home: Host, now: float) -> None:
        known = self._resolver.ask(home.name)
        if known is None:  # it was forgotten at once: the cache is small
            self._resolving += 1
        else:
            self._take_addresses(home, known, now)

    def _take_addresses(self, home: Host, known: Addresses, now: float) -> None:
        home.lookup_tries += 1
        if known.error is not None and known.temporary and home.lookup_tries < _DNS_TRIES:
            pause = _DNS_PAUSE * 2 ** (home.lookup_tries - 1)
            # From when it was looked up, which may be after `now`: the resolver remembers failures so long, too
            heapq.heappush(self._timers, (max(now, known.looked_up) + pause, id(home), home))
            return
        home.lookup_tries = 0
        home.error, home.passing, home.took = known.error, known.temporary, known.took or None
        allowed = known.addresses
        home.refused = None
        if not self.settings.fetch.allow_private_addresses:
            allowed = tuple(one for one in known.addresses if guard.is_public(one))
            if known.addresses and not allowed:
                home.refused = guard.refusal(known.addresses[0])
        if not all(map(self.egress.can_reach, allowed)):
            reachable = tuple(one for one in allowed if self.egress.can_reach(one))
            if not reachable:
                home.error, home.passing = f"{home.name}: egress.source_addresses has none of its family", True
            allowed = reachable
        self._settle_addresses(home, allowed, now)

    def _settle_addresses(self, home: Host, allowed: tuple[str, ...], now: float) -> None:
        first_time = home.addresses is None
        home.addresses, home.looked_up = allowed, now
        if first_time:
            self._ahead += 1
            mode = self.settings.fetch.queue_mode
            if mode == "domain":
                home.queue = registrable_domain(home.name)
            elif mode == "ip" and allowed:
                home.queue = allowed[0]
            if (own := self._own_delays.of(home.name)) is not None:
                self._keep_delay(home, home.name, own)
        else:
            self._queues.release(home.queue)
        waiting, home.waiting = home.waiting, []
        self._queues.extend(errand for errand in waiting if errand.request is not None)
        for errand in waiting:
            if errand.page is not None:
                self._put_robots(errand, now)
            elif errand.done is not None and self._renderings.let_go(errand):
                self._admit_part(errand, now)

    def _prefer(self, home: Host, address: str) -> None:
        """What worked is tried first from now on."""
        assert home.addresses is not None
        if home.addresses[0] != address and address in home.addresses:
            home.addresses = (address, *(other for other in home.addresses if other != address))
            self._resolver.prefer(home.name, address)

    def _host(self, name: str) -> Host:
        """A host that may be a new one, of a redirect or a part of a page: its addresses go first."""
        home = self._hosts.get(name)
        if home is None:
            home = self._hosts[name] = Host(name)
            self._urgent.append(home)
        return home

    # -- before sending ----------------------------------------------------------------------------------

    def _prepare(self, errand: Errand, now: float) -> bool:
        """Make an errand ready to be sent; False if that was settled or put off without the network."""
        home, request = errand.home, errand.request
        assert home.addresses is not None
        self._has_its_turn(home)
        if request is not None:
            refusal = self._refusal_of_host(home)
            if refusal is None:
                rules = self._rules(errand, now)
                if rules is None:
                    self._ask_robots(errand)
                    return False
                refusal = rules.refuse(request.url)
            if refusal is not None:
                self._settle(errand, result_of_refusal(request, refusal))
                self._queues.finished(errand, None)
                if home.error is not None and not home.passing:
                    self._host_failed(errand, home, None, now)
                return False
        elif errand.page is not None and errand.page.origin in errand.page.home.rules:
            self._queues.finished(errand, None)  # another page or part of the origin was faster
            self._robots_settled(errand.page, now)
            return False
        elif home.error is not None or home.refused is not None:
            self._robots_unreachable(errand, now)
            return False
        if now - home.looked_up > self.settings.fetch.dns_max_age:
            self._queues.hold(home.queue)
            self._put_off(errand, None)
            home.looked_up = math.inf
            self._find_addresses(home, now)
            return False
        errand.route = self.egress.route(home.name)
        if errand.route.wait > 0:
            self._put_off(errand, now + errand.route.wait)
            return False
        self._equip(errand)
        return True

    def _has_its_turn(self, home: Host) -> None:
        """Another host may be looked up, whatever becomes of this one."""
        if not home.asked:
            home.asked = True
            self._ahead -= 1

    def _refusal_at_once(self, request: FetchRequest) -> robots.Refusal | None:
        """What settles a page before anybody looks at its host."""
        if problem := unsendable(request):
            return robots.Refusal(FetchOutcome.gone, "bad_request", problem)
        if self._skip and request.url.partition("?")[0].lower().endswith(self._skip):
            return robots.Refusal(FetchOutcome.gone, "extension", "fetch.skip_extensions")
        return None

    def _refusal_of_host(self, home: Host) -> robots.Refusal | None:
        """What settles all pages of a host before robots.txt is looked at."""
        if home.error is not None:
            if home.passing:
                return robots.Refusal(FetchOutcome.postponed, "dns_unavailable", home.error)
            return robots.Refusal(FetchOutcome.retry, "dns", home.error)
        if home.refused is not None:
            return robots.Refusal(FetchOutcome.gone, "private_address", home.refused)
        return home.away

    def _equip(self, errand: Errand) -> None:
        """Give an errand what it carries and where it connects."""
        home, request = errand.home, errand.request
        errand.addresses = home.addresses or ()
        if request is None:
            if errand.page is not None:
                errand.headers = self._own
        elif request.etag is None and request.last_modified is None and request.headers is None and not request.body:
            errand.headers, errand.method = self._own, request.method or "GET"
        else:
            errand.headers = page_headers(request, self._own, self.settings.fetch.conditional)
            errand.method, errand.body = request.method or "GET", request.body
        errand.kept = errand.headers
        if not self._plain and errand.of_own_page:
            self._add_secrets(errand)

    def _add_secrets(self, errand: Errand) -> None:
        extra = dict(self._credentials.fields(errand.origin)) if self._credentials else {}
        if self.settings.fetch.cookies and errand.home.jar is not None:
            cookies = errand.home.jar.header(errand.url)
            if cookies:
                extra["Cookie"] = cookies
        if extra:
            given = {name.lower() for name in extra}
            errand.headers = {name: value for name, value in errand.headers.items() if name.lower() not in given}
            errand.kept = dict(errand.headers)
            errand.headers |= extra

    def _put_off(self, errand: Errand, until: float | None) -> None:
        """Put an errand that was taken, and never sent, in front of its queue again."""
        self._again(errand)
        if until is not None:
            self._queues.pause(errand.queue, until)
        self._queues.finished(errand, None)

    def _again(self, errand: Errand) -> None:
        """Let an errand have another turn."""
        if errand.is_beside:
            self._renderings.ready(errand)
        elif errand.is_robots:
            self._queues.put(errand)
        else:
            self._queues.put_back(errand)

    def _left(self, errand: Errand, started: float | None) -> None:
        """An errand is no longer under way: its queue's gap counts from `started` (None: no gap is due)."""
        if not errand.is_beside:
            self._queues.finished(errand, started)
        elif started is not None:
            self._queues.touched(errand.queue, started)

    def _settle(self, errand: Errand, result: FetchResult) -> None:
        """A page's result is there."""
        result.followed, result.discovered_from = errand.hops > 0, errand.came_from
        self._results.append(result)

    # -- robots.txt --------------------------------------------------------------------------------------

    def _rules(self, errand: Errand, now: float) -> Robots | None:
        """The rules of an errand's origin; None if its robots.txt must be asked for."""
        rules = errand.home.rules.get(errand.origin)
        if rules is None:
            known = self._known.get(errand.origin)
            at = time.time_ns() // 1_000_000
            if known is not None and robots.is_fresh(known, self.settings, at):
                rules = robots.rules_of(known, self.settings, at)
                left = min(self.settings.fetch.robots_max_age, robots.MAX_AGE / 1000) - (at - known.fetched_at) / 1000
                self._rules_known(errand.home, errand.origin, rules, now + left)
        elif now >= self._rules_until[errand.origin]:
            del errand.home.rules[errand.origin]
            return None
        return rules

    def _ask_robots(self, page: Errand) -> None:
        """Let a page and its queue wait, and robots.txt go first."""
        self._queues.hold(page.queue)
        self._queues.put_back(page)
        self._queues.finished(page, None)
        self._queues.put(self._robots_errand(page, f"{page.origin}/robots.txt", page.home))

    def _robots_errand(self, page: Errand, url: str, home: Host) -> Errand:
        errand = Errand(url, home, None, robots.MAX_BYTES)
        errand.page = page
        return errand

    def _put_robots(self, errand: Errand, now: float) -> None:
        """Let a robots.txt whose host's addresses are known go before all others; that of a part like one itself."""
        home = errand.home
        if not errand.is_beside:
            self._queues.put(errand)
        elif home.error is not None or home.refused is not None:
            self._robots_unreachable(errand, now)
        else:
            self._renderings.ready(errand)

    def _robots_unreachable(self, errand: Errand, now: float) -> None:
        home = errand.home
        reply = Reply(time.time_ns() // 1_000_000)
        reply.fail(Failure("dns", home.error) if home.error else Failure("private_address", home.refused or ""))
        self._robots_answered(errand, reply, now)

    def _robots_answered(self, errand: Errand, reply: Reply, now: float) -> None:
        page = errand.page
        assert page is not None
        if reply.reason != "dns" and reply.reason != "private_address":
            self.report.robots_fetched += 1
        self._settle_host(errand, reply, now)
        if (
            reply.status is not None
            and robots.follows(reply.status)
            and errand.hops < robots.MAX_REDIRECTS
            and (location := reply.header("location"))
            and (target := canonicalize(location, errand.url)) is not None
        ):
            further = self._robots_errand(page, target, self._host(host_of(target)))
            further.hops = errand.hops + 1
            self._left(errand, reply.started)
            if further.home.addresses is None:
                further.home.waiting.append(further)
            else:
                self._put_robots(further, now)
            return
        whole = reply.truncated in (None, "bytes")
        status = reply.status if whole else None
        known = KnownRobots(
            page.origin, errand.url, reply.began, status, reply.content if status else None,
            reply.truncated == "bytes", None,
        )  # fmt: skip
        if status is None or status >= 500 or status == 429:
            before = self._known.get(page.origin)
            since = before.failing_since if before is not None and before.failing_since is not None else reply.began
            known = known._replace(failing_since=since)
        self.report.robots.append(known)
        later = outcomes.retry_after(reply.header("retry-after"), reply.began)
        rules = robots.rules_of(known, self.settings, reply.began, later)
        if status is None and rules.refusal is not None:
            why = reply.detail or reply.reason or f"the answer is cut off ({reply.truncated})"
            detail = f"robots.txt: {why}" if errand.hops == 0 else f"robots.txt: {errand.url}: {why}"
            rules = dataclasses.replace(rules, refusal=rules.refusal._replace(detail=detail[:300]))
        age = min(self.settings.fetch.robots_max_age, robots.MAX_AGE / 1000)
        self._rules_known(page.home, page.origin, rules, now + age)
        self._left(errand, reply.started)
        self._robots_settled(page, now)

    def _robots_settled(self, page: Errand, now: float) -> None:
        """Let go on what waited for a robots.txt."""
        if page.done is not None:
            for part in self._renderings.let_go_of(page.origin):
                self._admit_part(part, now)
        else:
            self._queues.release(page.queue)
            self._settle_front(page.home, now)

    def _rules_known(self, home: Host, origin: str, rules: Robots, until: float) -> None:
        home.rules[origin] = rules
        self._rules_until[origin] = until
        own = self._own_delays.of(home.name)
        if rules.delay is None:
            self._keep_delay(home, origin, self.settings.fetch.delay if own is None else own)
        else:
            self._keep_delay(home, origin, max(rules.delay, own or 0.0))

    def _keep_delay(self, home: Host, asked_by: str, delay: float) -> None:
        """Origins and hosts of one queue share its gap: the longest counts."""
        delays = self._delays.setdefault(home.queue, {})
        delays[asked_by] = delay
        self._queues.set_delay(home.queue, max(delays.values()))

    def _settle_front(self, home: Host, now: float) -> None:
        """Take what needs no network off the front of the queue: there is no reason to let it wait for its turn."""
        if not home.rules or not (self._queues.delay(home.queue) or home.failures):
            return

        def unneeded(errand: Errand) -> bool:
            request = errand.request
            rules = errand.home.rules.get(errand.origin)
            if request is None or rules is None:
                return False
            refusal = rules.refuse(request.url)
            if refusal is not None:
                self._settle(errand, result_of_refusal(request, refusal))
            return refusal is not None

        self._queues.skim(home.queue, unneeded)

    # -- pages -------------------------------------------------------------------------------------------

    def _page_answered(self, errand: Errand, reply: Reply, now: float) -> None:
        home, request = errand.home, errand.request
        assert request is not None
        if reply.refused_address is not None:  # the name has another address by now
            self._settle(
                errand, result_without_answer(request, FetchOutcome.gone, "private_address", reply.refused_address)
            )
            self._queues.finished(errand, reply.started)
            return
        result = result_of(request, reply)
        if self.settings.fetch.store_request and reply.status is not None:
            result.request_headers = list(errand.kept.items())
        if self.settings.fetch.cookies:
            if home.jar is None:
                home.jar = CookieJar()
            home.jar.store(errand.url, reply.fields)
        if not self._renderings.wants(errand.url, home.name, result):
            self._settle(errand, result)
        elif self.closing != "stopped":  # else it is left: without what its scripts build it would be half a page
            result.followed, result.discovered_from = errand.hops > 0, errand.came_from
            self._renderings.start(errand, result)
        if self._filter is not None and result.redirect_to is not None:
            self._follow(errand, result)
        self._settle_host(errand, reply, now)
        self._queues.finished(errand, reply.started)
        self._settle_front(home, now)

    def _settle_host(self, errand: Errand, reply: Reply, now: float) -> None:
        """What an answer, or its lack, means for the others of its host."""
        home, fetch, status = errand.home, self.settings.fetch, reply.status
        if fetch.delay_factor and status is not None:
            delays = self._delays.get(home.queue)
            base = max(delays.values()) if delays else fetch.delay
            wanted = min(fetch.delay_factor * reply.elapsed / 1000, fetch.max_delay)
            self._queues.set_delay(home.queue, max(base, wanted))
        if status is not None and not outcomes.is_host_failure(status):
            home.failures = 0
        elif reply.refused_address is None:
            self._host_failed(errand, home, reply, now)

    def _host_failed(self, errand: Errand, home: Host, reply: Reply | None, now: float) -> None:
        """One more failure in a row: a longer pause, or the host leaves the round."""
        fetch = self.settings.fetch
        home.failures += 1
        later = None
        if reply is not None:
            if reply.status in (429, 503):
                later = outcomes.retry_after(reply.header("retry-after"), reply.began)
            delay = self._queues.delay(home.queue)
            if delay > 0:
                longest = max(fetch.max_delay, delay)
                # Each further power of the factor would be capped, and in the end too large for a float
                steps = min(float(home.failures), math.log(longest / delay, fetch.backoff) if fetch.backoff > 1 else 0)
                pause = delay * fetch.backoff**steps
                self._queues.pause(home.queue, (reply.started or now) + pause)
            if later is not None and later - reply.began <= fetch.max_retry_after * 1000:
                self._queues.pause(home.queue, now + (later - reply.began) / 1000)  # it counts from the answer
        if errand.is_robots:
            return
        if reply is not None and later is not None and later - reply.began > fetch.max_retry_after * 1000:
            detail = f"{errand.url} answered {reply.status} with Retry-After: {reply.header('retry-after')}"[:300]
            home.away = robots.Refusal(FetchOutcome.postponed, "retry_after", detail, later)
            for other in self._leave(home):
                assert other.request is not None
                self._settle(other, result_of_refusal(other.request, home.away))
        elif 0 < fetch.max_failures_per_host <= home.failures:
            self.report.left["host_failures"] += sum(not other.hops for other in self._leave(home))

    def _leave(self, home: Host) -> list[Errand]:
        """Take the pages that wait for a host out of the round."""
        return self._queues.remove(home.queue, lambda other: other.home is home and other.request is not None)

    def _deserves_another_try(self, errand: Errand, reply: Reply) -> bool:
        """True once for a request that found its kept connection closed: the server never saw it (RFC 9112 §9.3.1)."""
        return (
            reply.reason == "broken"
            and reply.reused
            and not reply.answered
            and not errand.tried_again
            and errand.method in ("GET", "HEAD")
        )

    def _not_its_fault(self, errand: Errand, reply: Reply, now: float) -> None:
        """An exchange that says nothing about the page: it has another turn."""
        if reply.local:
            if not self._ran_short:
                self._ran_short = True
                self.report.notes.append(f"this machine ran short ({reply.detail}): fewer requests at once")
            self._resume = now + max(self.throttle.slow_down(now, self._queues.running), _LOCAL_PAUSE)
        elif reply.garbled:
            errand.home.garbled = True
        elif reply.proxy_failed:
            errand.proxy_tries += 1
            if errand.proxy_tries >= _PROXY_TRIES:
                self._put_off_for_good(errand, reply, now)
                return
        self._again(errand)
        self._left(errand, reply.started)

    def _put_off_for_good(self, errand: Errand, reply: Reply, now: float) -> None:
        """No proxy would have it: a later round's, and no failure of the page's."""
        if errand.page is not None:  # nothing was learned of this robots.txt, so there is nothing to report
            self._left(errand, reply.started)
            refusal = robots.Refusal(FetchOutcome.postponed, "proxy", reply.detail)
            self._rules_known(
                errand.page.home, errand.page.origin, Robots(refusal=refusal), now + robots.MAX_AGE / 1000
            )
            self._robots_settled(errand.page, now)
            return
        if errand.done is not None:
            self._part_answered(errand, reply, now)
            return
        assert errand.request is not None
        self._settle(errand, result_without_answer(errand.request, FetchOutcome.postponed, "proxy", reply.detail))
        self._queues.finished(errand, reply.started)

    def _follow(self, errand: Errand, result: FetchResult) -> None:
        """Queue the target of a redirect within the host, unless it is a loop, unwanted, or in the list anyway."""
        target, request = result.redirect_to, errand.request
        assert target is not None
        assert request is not None
        assert self._filter is not None
        host = host_of(target)
        if (
            host != errand.home.name
            or errand.hops >= self.settings.fetch.redirects
            or errand.method not in ("GET", "HEAD")
            or target in self._urls
            or target in errand.chain
            or self._filter(Link(target, host, host, 0)) is not None
        ):
            return
        self._urls.add(target)
        further = FetchRequest(fingerprint(target), target, None, None, None, host, None, None, request.row)
        follow = Errand(target, errand.home, further, self.settings.fetch.max_bytes)
        follow.hops, follow.chain = errand.hops + 1, errand.chain | {errand.url}
        follow.came_from = request.fingerprint
        if errand.home.away is not None:
            self._settle(follow, result_of_refusal(further, errand.home.away))
        else:
            self._queues.put_back(follow)

    # -- parts of pages that are rendered ------------------------------------------------------------------

    def _part_asked(self, asked: PartAsked, now: float) -> None:
        """A page asks for a part: it needs its host's addresses, then robots.txt's leave."""
        part, url = asked.part, asked.part.url.partition("#")[0]
        body = b"" if part.body is None and part.method == "POST" else part.body
        probe = FetchRequest(b"", url, part.method, part.headers, body, "", None, None, 0)
        sendable = unsendable(probe) is None
        home = self._host(host_of(url)) if sendable else asked.page.home
        errand = Errand(url if sendable else asked.page.url, home, None, self.settings.browser.max_bytes)
        errand.done = asked.done
        errand.of_own_page = errand.origin == asked.page.origin
        errand.method, errand.body = part.method, body
        errand.headers = page_headers(probe, self._own, conditional=False)
        if not sendable:
            self._renderings.refuse(errand)
        elif home.addresses is not None and now - home.looked_up <= self.settings.fetch.dns_max_age:
            self._admit_part(errand, now)
        elif self.closing is not None:
            self._renderings.refuse(errand)
        else:
            self._renderings.hold(errand)
            home.waiting.append(errand)
            if home.addresses is not None:  # they are too old
                self._queues.hold(home.queue)
                home.looked_up = math.inf
                self._find_addresses(home, now)

    def _admit_part(self, errand: Errand, now: float) -> None:
        """A part whose host's addresses are known: robots.txt, then it goes, but not too many at once."""
        home = errand.home
        self._has_its_turn(home)
        rules = self._rules(errand, now)
        if home.error is not None or home.refused is not None or (rules is None and self.closing is not None):
            self._renderings.refuse(errand)
        elif rules is None:
            if self._renderings.hold(errand, errand.origin):
                self._renderings.ready(self._robots_errand(errand, f"{errand.origin}/robots.txt", home))
        elif rules.refuse(errand.url) is not None:
            self._renderings.refuse(errand)
        else:
            self._renderings.line_up(errand)

    def _next_part(self, now: float) -> Errand | None:
        """The part to send now, or the robots.txt that one waits for."""
        while (errand := self._renderings.next()) is not None:
            home = errand.home
            errand.route = self.egress.route(home.name)
            if errand.done is not None and (now < home.parts_from or errand.route.wait > 0):
                self._renderings.settle(errand, None)
                continue
            self._equip(errand)
            self._queues.touched(home.queue, now)  # and again when its true start is known
            return errand
        return None

    def _part_answered(self, errand: Errand, reply: Reply, now: float) -> None:
        home, fetch = errand.home, self.settings.fetch
        self._left(errand, reply.started)
        if reply.status in (429, 503):
            pause = min(self._queues.delay(home.queue) * fetch.backoff, fetch.max_delay)
            later = outcomes.retry_after(reply.header("retry-after"), reply.began)
            if later is not None:
                pause = max(pause, min((later - reply.began) / 1000, fetch.max_retry_after))
            home.parts_from = max(home.parts_from, now + pause)
            self._queues.pause(home.queue, home.parts_from)
        if reply.status is None or reply.truncated is not None:  # half a script is none
            self._renderings.settle(errand, None)
        else:
            self._renderings.settle(errand, PartAnswer(reply.status, reply.fields, reply.content or b""))
