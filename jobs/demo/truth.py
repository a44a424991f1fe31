"""What a crawl of a declared site must leave in the crawldb, worked out without crawling.

Owns a simple model of the rounds: breadth first over declared links, with Nutch's rules for what an answer means
(HttpBase.java, CrawlDbReducer.java). It shares no code with the fetcher, the parser or `crawldb.update`, so that it
can convict them. It covers crawls without limits on links or pages per round.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from crawldb.schema import Status
from jobs.demo.site import Host, Link, Resource, Site

_TEMPORARY = (302, 303, 307)
_GONE = (400, 401, 404, 410)
_CONTENT = (200, 203, 206)


@dataclass(frozen=True)
class Expected:
    """One row of the crawldb after the crawl, and how it came about."""

    url: str
    status: Status
    http_status: int | None = None
    reason: str | None = None
    depth: int = 0
    retries: int = 0
    redirect_to: str | None = None
    signature: bytes | None = None
    """MD5 of the content that was kept."""
    discovered_in: int = 0
    """The round whose updatedb brought it in; 0: a seed."""
    discovered_from: frozenset[str] = frozenset()
    """The pages that may be named as its origin: those that led to it from the least depth in that round."""
    attempted_in: tuple[int, ...] = ()
    """The rounds that tried to fetch it, also when robots.txt spared the request."""
    requests: int = 0
    """How often the server is asked for it in all."""


@dataclass
class _Row:
    """A request in the course of the crawl."""

    url: str
    depth: int
    discovered_in: int
    sources: frozenset[str] = frozenset()
    status: Status = Status.unfetched
    http_status: int | None = None
    reason: str | None = None
    retries: int = 0
    redirect_to: str | None = None
    signature: bytes | None = None
    due: bool = True
    attempted_in: list[int] = field(default_factory=list)
    requests: int = 0


def truth(
    site: Site,
    rounds: int,
    *,
    retry_at_once: bool = False,
    max_retries: int = 3,
    max_bytes: int = 1 << 20,
    scope: str = "any",
    max_depth: int = 0,
    nofollow: bool = True,
) -> dict[str, Expected]:
    """Every row of the crawldb by canonical URL, after `rounds` rounds from the site's seeds.

    The options are settings: `retry_at_once` is schedule.retry_delay = 0, the others are schedule.max_retries,
    fetch.max_bytes, filter.scope, filter.max_depth and parse.nofollow.
    """
    rows = {seed.url: _Row(seed.url, 0, 0) for seed in site.seed_list}
    for number in range(1, rounds + 1):
        due = [row for row in rows.values() if row.due]
        found: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for row in due:
            resource = site.pages[row.url]
            answer = resource.answer(row.requests)
            row.attempted_in.append(number)
            _fetch(row, site.host(row.url), answer, max_bytes)
            row.due = retry_at_once and row.status == Status.unfetched
            if row.retries >= max_retries:
                row.status, row.due = Status.gone, False
            if row.status in (Status.fetched, Status.redir_temp, Status.redir_perm):
                for link, depth in _leads(answer, row.depth, nofollow):
                    if link.target is not None and _passes(site, row.url, link.target, depth, scope, max_depth):
                        found[link.target].append((depth, row.url))
        for url, origins in found.items():
            depth = min(depth for depth, _ in origins)
            if url in rows:
                rows[url].depth = min(rows[url].depth, depth)
            else:
                nearest = frozenset(source for distance, source in origins if distance == depth)
                rows[url] = _Row(url, depth, number, nearest)
    return {url: _expected(row) for url, row in rows.items()}


def _fetch(row: _Row, host: Host, answer: Resource, max_bytes: int) -> None:
    """What one attempt changes in the row."""
    row.http_status = row.redirect_to = None
    if host.robots_unavailable or not host.listening:
        row.reason = "robots_unavailable"  # the page can't help it: not counted
        return
    if answer.denied:
        row.status, row.reason = Status.gone, "robots_denied"
        return
    row.requests += 1
    row.http_status = status = answer.status
    row.reason = None if status == 200 else f"http_{status}"
    if status in _CONTENT:
        row.status, row.retries = Status.fetched, 0
        row.signature = hashlib.md5(answer.body[:max_bytes], usedforsecurity=False).digest()
        row.redirect_to = answer.refresh.target if answer.refresh else None
    elif 300 <= status < 400 and answer.redirect is not None:
        row.status, row.retries = Status.redir_temp if status in _TEMPORARY else Status.redir_perm, 0
        row.redirect_to = answer.redirect.target
    elif status in _GONE:
        row.status = Status.gone
    else:
        row.retries += 1


def _leads(answer: Resource, depth: int, nofollow: bool) -> Iterator[tuple[Link, int]]:
    """The links that count, each with the depth of what it leads to."""
    for redirect in (answer.redirect, answer.refresh):
        if redirect is not None and not redirect.filtered:
            yield redirect, depth  # the same page under another name, not one link further
    if answer.status not in _CONTENT or (nofollow and answer.nofollow):
        return
    for link in answer.links:
        if not link.filtered and not (nofollow and link.nofollow):
            yield link, depth + 1


def _passes(site: Site, source: str, target: str, depth: int, scope: str, max_depth: int) -> bool:
    """filter.scope and filter.max_depth; an address is its own registrable domain, so host and domain are one."""
    if scope != "any" and site.host(source) is not site.host(target):
        return False
    return not max_depth or depth <= max_depth


def _expected(row: _Row) -> Expected:
    return Expected(row.url, row.status, row.http_status, row.reason, row.depth, row.retries, row.redirect_to, row.signature,
                    row.discovered_in, row.sources, tuple(row.attempted_in), row.requests)  # fmt: skip
