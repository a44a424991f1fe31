"""Every setting: its name, type, default and documentation, and how they are read.

Owns the settings tree, the TOML files in `conf/` and `--set KEY=VALUE`. Knows nothing of what a setting does.
Later wins: the defaults here, then the `--conf` file (or `conf/crawl-site.toml`), then `--set`.
`conf/crawl-default.toml` is this tree written out (`python -m crawldb.settings`); a test keeps the two equal.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_type_hints

from crawldb.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SITE_FILE = "crawl-site.toml"

FILES = (
    ("filter", "regex_file"), ("filter", "domain_file"), ("filter", "suffix_file"), ("filter", "prefix_file"),
    ("fetch", "credentials_file"), ("egress", "proxies_file"), ("generate", "host_rules_file"),
)  # fmt: skip
"""(section, key) of the settings that name a file, which the tasks read."""


def _setting(default: Any, doc: str, *, unit: str = "", one_of: tuple[str, ...] = ()) -> Any:
    metadata = {"doc": doc, "unit": unit, "one_of": one_of}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class HttpSettings:
    """Who we say we are. Servers and their owners see this."""

    agent_name: str = _setting(
        "",
        "Product token of the User-Agent, and the name looked up in robots.txt. "
        "fetch refuses to run without it: choose one that people can find you by.",
    )
    agent_version: str = _setting("", "Version after the name: agent_name/agent_version.")
    agent_description: str = _setting("", "A few words on what the crawl is for.")
    agent_url: str = _setting("", "A page that tells webmasters about the crawler.")
    agent_email: str = _setting("", "Where webmasters can write to.")
    accept: str = _setting("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "The Accept header.")
    accept_language: str = _setting("en,*;q=0.5", "The Accept-Language header.")


@dataclass
class FetchSettings:
    """Politeness, limits and speed of the fetch phase. docs/fetching.md explains them together."""

    engine: str = _setting(
        "requests",
        "What speaks HTTP: requests (threads), curl (an event loop, HTTP/2, a fraction of the CPU time), browser "
        "(curl, and Chromium for the pages that [browser] names), or module:function.",
    )
    threads: int = _setting(50, "requests: requests under way at once in one fetch task.")
    connections: int = _setting(1000, "curl and browser: requests under way at once in one fetch task.")
    queue_mode: str = _setting(
        "host",
        "What has one queue, and in it one delay: host, domain (registrable domain) or ip (address).",
        one_of=("host", "domain", "ip"),
    )
    threads_per_host: int = _setting(1, "Requests under way at once to one host (domain, address: queue_mode).")
    delay: float = _setting(
        5.0,
        "From the start of one request to a host to the start of the next, where robots.txt names no Crawl-delay.",
        unit="seconds",
    )
    ip_delay: float = _setting(
        0.0, "The same between any two requests to one address, whatever their hosts; 0: none.", unit="seconds"
    )
    delay_factor: float = _setting(
        0.0, "Adaptive: the delay is at least so many times what the last answer took, up to max_delay; 0: off."
    )
    min_crawl_delay: float = _setting(0.0, "A shorter Crawl-delay of robots.txt counts as this.", unit="seconds")
    max_crawl_delay: float = _setting(
        30.0,
        "Pages of a host with a longer Crawl-delay are not fetched and booked as gone (crawl_delay).",
        unit="seconds",
    )
    backoff: float = _setting(
        2.0, "After each failure of a host in a row (no answer, 5xx, 429) its delay grows by this factor, …"
    )
    max_delay: float = _setting(60.0, "… up to this; so does delay_factor's.", unit="seconds")
    max_retry_after: float = _setting(
        60.0,
        "A host that asks with Retry-After for a longer break leaves the round; its pages are due when it is over.",
        unit="seconds",
    )
    max_failures_per_host: int = _setting(
        5, "Failures of a host in a row after which the rest of its list waits for a later round, uncounted; 0: never."
    )
    timeout: float = _setting(10.0, "To connect, and between two packets.", unit="seconds")
    max_seconds: float = _setting(120.0, "For one whole answer, however it drips.", unit="seconds")
    max_bytes: int = _setting(1 << 20, "Kept of one page, after decompression; the rest is cut off.", unit="bytes")
    content_types: list[str] = _setting(
        [],
        "Media types to fetch, such as text/* or application/pdf; an answer of another ends after its header fields "
        "and its page is gone (content_type). Empty: all.",
    )
    skip_extensions: list[str] = _setting(
        [],
        "Names of files not to fetch by their ending, such as .iso: in the URL's path (never asked for) or in "
        "Content-Disposition (ends after the header fields); gone (extension).",
    )
    redirects: int = _setting(
        0, "Redirects within a host that are followed at once, so many in a row; others are for the next round."
    )
    conditional: bool = _setting(True, "Send If-None-Match and If-Modified-Since for pages seen before.")
    store_request: bool = _setting(
        False,
        "Keep the header fields of each request with its answer, but for cookies and what credentials_file adds, so that "
        "`cobnut warc export` writes what was sent; else it rebuilds them from the settings, and says so.",
    )
    cookies: bool = _setting(False, "Keep each host's cookies during a fetch task and send them back.")
    credentials_file: str = _setting(
        "",
        "TOML file of header fields and passwords by origin; keep it out of the crawl directory. Its content is sent "
        "to that origin alone and stored nowhere. Beside this file.",
    )
    robots_max_age: float = _setting(
        86400.0, "A robots.txt is asked for again when it is older (RFC 9309 §2.4: a day at most).", unit="seconds"
    )
    verify_tls: bool = _setting(True, "Pages behind a certificate that cannot be trusted are not fetched (tls).")
    http_version: str = _setting(
        "2", "curl and browser: the newest to speak, where the server offers it over TLS.", one_of=("1.1", "2")
    )
    allow_private_addresses: bool = _setting(
        False,
        "Connect to private, loopback, link-local and reserved addresses too: for crawls of an intranet. Otherwise "
        "such pages are gone (private_address), whatever name or redirect leads there.",
    )
    ip_version: str = _setting("any", "Addresses to connect to.", one_of=("any", "4", "6"))
    dns_max_age: float = _setting(3600.0, "A host's addresses are looked up again when they are older.", unit="seconds")
    dns_threads: int = _setting(16, "Names looked up at once in one fetch task.")
    time_limit: float = _setting(
        0.0, "For the whole phase; what is left is due again in the next round. 0: none.", unit="seconds"
    )
    min_rate: float = _setting(
        0.0, "The phase ends likewise when fewer pages a second than this came in for a minute; 0: never."
    )
    min_rate_after: float = _setting(300.0, "min_rate counts from here on.", unit="seconds")
    chunk_rows: int = _setting(1000, "A content chunk is committed when it has so many pages, …")
    chunk_bytes: int = _setting(64 << 20, "… so many bytes of content, …", unit="bytes")
    chunk_seconds: float = _setting(
        60.0, "… or is so old: what a kill -9 can lose, and the one being written.", unit="seconds"
    )
    shutdown_seconds: float = _setting(
        5.0, "What running requests get to finish after Ctrl-C or SIGTERM.", unit="seconds"
    )


@dataclass
class EgressSettings:
    """By which way requests leave: source addresses and proxies."""

    source_addresses: list[str] = _setting(
        [], "This machine's addresses to connect from; each host always sees the same one. Empty: the system's choice."
    )
    proxies_file: str = _setting(
        "",
        "A proxy a line: URL [HOST_PATTERN …], such as socks5h://user:password@proxy.example:1080 *.example.org; "
        "`direct` for a URL goes without. Beside this file.",
    )
    proxy_pause: float = _setting(60.0, "A proxy that failed is left out so long.", unit="seconds")


@dataclass
class BrowserSettings:
    """engine = "browser": which pages Chromium renders, and within which bounds."""

    hosts: list[str] = _setting([], "Hosts whose pages are rendered: example.org, or *.example.org for all below it.")
    urls: list[str] = _setting([], "Regular expressions; pages whose URL one of them is found in are rendered.")
    empty_pages: bool = _setting(
        True,
        "HTML pages that have a script, but no link and no text (beyond the likes of “Loading …”) are rendered, "
        "wherever they are.",
    )
    tabs: int = _setting(4, "Pages rendered at once in one fetch task.")
    wait: str = _setting(
        "networkidle",
        "A page is complete at: load, networkidle (no request for half a second), selector:CSS (it is there), or "
        "seconds:N (after loading).",
    )
    max_seconds: float = _setting(30.0, "A page is taken as it is after this.", unit="seconds")
    max_bytes: int = _setting(
        4 << 20, "Kept of the rendered DOM, and fetched of one script or other part.", unit="bytes"
    )
    max_requests: int = _setting(200, "Scripts, data and other parts fetched for one page.")
    block: list[str] = _setting(
        ["image", "font", "media"],
        "Resource types never asked for, by Chromium's names; websocket, eventsource and ping are never either.",
    )
    block_urls: list[str] = _setting(
        [
            "google-analytics.com", "googletagmanager.com", "doubleclick.net", "googlesyndication.com",
            "connect.facebook.net", "hotjar.com", "segment.io", "clarity.ms", "scorecardresearch.com",
        ],
        "Hosts, and all below them, that no part is asked of: trackers and advertisements.",
    )  # fmt: skip
    executable: str = _setting("", "Chromium's program; empty: chromium or google-chrome in PATH.")
    pages_per_browser: int = _setting(200, "After so many pages Chromium is started anew.")


@dataclass
class GenerateSettings:
    """Which requests a round fetches."""

    top: int = _setting(50_000, "At most so many requests in one round.")
    max_per_host: int = _setting(0, "At most so many of one host (or domain) in one round; 0: no limit.")
    max_per_directory: int = _setting(
        0, "At most so many of one directory (host and path up to the last slash) in one round; 0: no limit."
    )
    count_mode: str = _setting(
        "host",
        "What max_per_host counts by, and (or the domain, if that is fetch.queue_mode) what stays whole in one fetch "
        "task.",
        one_of=("host", "domain"),
    )
    time_limit: float = _setting(
        0.0,
        "A queue (fetch.queue_mode) gets no more requests than its delay allows in this time, but one at least; what "
        "does not fit stays due. 0: no limit.",
        unit="seconds",
    )
    seconds_per_request: float = _setting(
        0.5, "What one request takes from its start to its last byte, as the plan assumes.", unit="seconds"
    )
    order: str = _setting(
        "score", "score, fifo (breadth first), lifo (depth first), depth, priority, or module:function."
    )
    min_score: float = _setting(0.0, "Requests with a lower score wait.")
    tasks: int = _setting(0, "Fetch tasks; 0: one inline, one per core with -r local, one per node with -r hadoop.")
    slow_host: float = _setting(3600.0, "The plan warns of a host whose queue will take longer.", unit="seconds")
    host_rules: list[str] = _setting(
        [],
        "Rules on hosts by their record in the host store, each EXPRESSION → skip, cap N (requests in a round) or delay "
        "SECONDS; the expression is dump.py's --where over the columns of --hosts, such as \"retry > 100 AND success = 0 "
        '→ skip". All that are true count: skip, the smallest cap, the longest delay. docs/hosts.md.',
    )
    host_rules_file: str = _setting("", "More of them, one a line. Beside this file.")


@dataclass
class HostsSettings:
    """Rules on hosts by name: example.org, or *.example.org for all below it. They stand above generate.host_rules."""

    skip: list[str] = _setting([], "Hosts that generate leaves out.")
    cap: list[str] = _setting([], "Of these at most so many requests in a round: HOST NUMBER.")
    delay: list[str] = _setting(
        [],
        "Their gap instead of fetch.delay: HOST SECONDS. A longer Crawl-delay of robots.txt holds all the same.",
    )


@dataclass
class ParseSettings:
    """What is taken from a page."""

    default_charset: str = _setting(
        "windows-1252",
        "Where neither the answer, the page nor its bytes tell (WHATWG's fall-back for Western locales).",
    )
    signature: str = _setting(
        "content",
        "content (MD5 of the body), text (MD5 of the visible text), text_profile "
        "(MD5 of its frequent words: small edits don't count), or module:function. Of a rendered page all see the DOM "
        "after its scripts ran, for its body may stay the same for ever.",
    )
    simhash: bool = _setting(
        False, "Compute the fingerprint of a page's text that `cobnut dedup --near` compares (64-bit simhash)."
    )
    nofollow: bool = _setting(True, "Honour rel=nofollow and robots meta nofollow.")
    links: list[str] = _setting(
        ["a", "area", "link", "iframe", "frame"],
        "Elements whose links count: a, area, link (those for readers: next, alternate, …; not styles and icons), "
        "iframe, frame, form (the action of GET forms), img (src and srcset, of source too). meta refresh always does.",
    )
    max_links: int = _setting(500, "Distinct outlinks kept of one page; 0: all.")
    max_anchor: int = _setting(200, "Characters kept of an anchor text.")
    max_text: int = _setting(1 << 20, "Characters kept of a page's text.")
    max_json_ld: int = _setting(
        1 << 16, "Characters kept of all of a page's JSON-LD blocks; those that do not fit are left out whole. 0: none."
    )
    max_depth: int = _setting(
        400, "Open elements beyond which those are ended, so that time stays linear; all links count."
    )
    parsers: list[str] = _setting(
        [], "More parsers, each MEDIA/TYPE=module:function, or =MEDIA/TYPE to have one read like the other."
    )
    timeout: float = _setting(
        30.0,
        "A page that takes longer to parse is recorded as failed (timeout), and the task goes on; 0: no limit.",
        unit="seconds",
    )
    max_memory: int = _setting(
        512 << 20,
        "What the process that parses pages may take beyond what the task has when it starts it; a page that needs "
        "more is recorded as failed (memory). On Linux only; 0: no limit. With no limit of time either, pages are "
        "parsed in the task's own process, which a crash of a parser ends.",
        unit="bytes",
    )
    max_unpacked: int = _setting(
        64 << 20, "What is unpacked of an Office file at most; one that has no end there is failed.", unit="bytes"
    )
    detect_language: bool = _setting(
        True, "Detect a page's language from its text where it declares none (language_by tells which)."
    )
    min_detect: int = _setting(40, "Characters of text below which no language is detected.")
    main_text: bool = _setting(
        False,
        "Keep the text of HTML pages without navigation and the like as main_text too (trafilatura, an extra: "
        "scripts/venv.sh text). It takes several times the rest of parsing.",
    )


@dataclass
class SitemapSettings:
    """Sitemaps: which are read, and within which bounds (sitemaps.org's by default)."""

    read: str = _setting(
        "never",
        "When the round loop reads the sitemaps that robots.txt files name, before generate: never, once (each one "
        "once), always (again when interval has passed).",
        one_of=("never", "once", "always"),
    )
    interval: int = _setting(86400, "A sitemap is due again after this.", unit="seconds")
    max_bytes: int = _setting(50 << 20, "Read of one sitemap, decompressed; the rest is left out.", unit="bytes")
    max_urls: int = _setting(50_000, "URLs read of one sitemap, and sitemaps of one index; the rest is left out.")
    connections: int = _setting(8, "Sitemaps fetched at once in one task: each may take max_bytes of memory.")
    scope: bool = _setting(
        True,
        "A sitemap may list what is below its own directory, and anything of the hosts whose robots.txt names it. "
        "false: anything.",
    )


@dataclass
class FilterSettings:
    """Which URLs may enter the crawldb. All filters in `use` must pass; the first refusal is the reason."""

    use: list[str] = _setting(
        [
            "length",
            "regex",
            "scope",
            "depth",
            "path_depth",
            "repeated_segments",
            "query_parameters",
            "trap_session",
            "trap_calendar",
        ],
        "Filters, in order: length, regex, domain, suffix, prefix, scope, depth, path_depth, repeated_segments, "
        "query_parameters, trap_session (session ids), trap_calendar, or module:function. scope, depth and those "
        "after it are for links alone: a seed passes.",
    )
    regex_file: str = _setting(
        "regex-urlfilter.txt",
        "For regex: Nutch's format, the first rule that matches "
        "decides: +REGEX keeps, -REGEX drops; no match drops. Beside this file.",
    )
    domain_file: str = _setting("", "For domain: a host, registrable domain or suffix a line; others are dropped.")
    suffix_file: str = _setting("", "For suffix: a suffix a line that the path must not end in (.jpg).")
    prefix_file: str = _setting("", "For prefix: a prefix a line; URLs that begin with none are dropped.")
    scope: str = _setting(
        "any",
        "Outlinks may lead to: host (the page's own), domain (its registrable domain), any.",
        one_of=("host", "domain", "any"),
    )
    max_depth: int = _setting(0, "Links from the nearest seed beyond which nothing is followed; 0: no limit.")
    max_url_length: int = _setting(2048, "Characters; longer URLs are dropped.")
    max_path_depth: int = _setting(20, "Segments of a path (/a/b/c has 3); deeper links are dropped. 0: no limit.")
    max_repeated_segments: int = _setting(
        2, "Links whose path has the same segment more often are dropped (/a/b/a/b/a/b has a 3 times). 0: no limit."
    )
    max_query_parameters: int = _setting(20, "Links with more parameters in their query are dropped. 0: no limit.")
    calendar_years: int = _setting(
        5,
        "trap_calendar drops links to dates more than so many years ahead, and to calendars' overviews as far back. "
        "0: no limit.",
    )


@dataclass
class ScheduleSettings:
    """When a page is fetched again. Recorded with every commit, so the past does not change with it."""

    name: str = _setting(
        "default",
        "default (interval never changes), adaptive (shorter when the page changes, longer when not), mime (adaptive, "
        "with the shares that types names for the media type), changefreq (as the page's sitemap says, else adaptive), "
        "or module:function.",
    )
    interval: int = _setting(30 * 86400, "From one fetch to the next, unless the seed says otherwise.", unit="seconds")
    max_interval: int = _setting(90 * 86400, "No interval is longer.", unit="seconds")
    min_interval: int = _setting(60, "All but default: no interval is shorter.", unit="seconds")
    increase: float = _setting(0.4, "adaptive: an unchanged page's interval grows by this share.")
    decrease: float = _setting(0.2, "adaptive: a changed page's interval shrinks by this share.")
    sync_delta: bool = _setting(True, "adaptive: pull the next fetch towards the page's own rhythm.")
    sync_delta_rate: float = _setting(0.3, "adaptive: by this share of the time since it last changed.")
    types: list[str] = _setting(
        [], "mime: media types with an increase and a decrease of their own, such as \"text/html 0.2 0.4\" or "
        "\"image/* 1.0 0.1\"."
    )  # fmt: skip
    hosts: list[str] = _setting(
        [], "Hosts with an interval (of new requests) or bounds of their own, such as \"news.example.org interval=1h "
        "min=10m max=1d\"; *.example.org is all below it. Of several entries the first counts. With any schedule."
    )  # fmt: skip
    retry_delay: int = _setting(86400, "From a failure that may pass to the next attempt, …", unit="seconds")
    retry_backoff: float = _setting(2.0, "… times this for every failure before it.")
    max_retries: int = _setting(3, "Failures in a row that make a page gone.")
    gone_factor: float = _setting(1.5, "A gone page's interval grows by this factor, up to 0.9 max_interval.")
    orphan_after: int = _setting(
        0, "A page that no link was seen to for so long is marked as orphan when the crawldb is compacted; seeds never "
        "are. Longer than max_interval, for a link is seen when its page is fetched. 0: never, and when links were seen "
        "is not kept.", unit="seconds",
    )  # fmt: skip

    def type_rules(self) -> dict[str, tuple[float, float]]:
        """`types`: (increase, decrease) by media type. UsageError for an entry that is none."""
        return _type_rules(tuple(self.types))

    def host_rules(self) -> dict[str, tuple[int, tuple[int | None, int | None, int | None]]]:
        """`hosts`: by pattern the entry's place and its interval, min and max, in seconds. UsageError likewise."""
        return _host_rules(tuple(self.hosts))

    def longest_interval(self) -> int:
        """max_interval, or the longest of any host's."""
        return max([self.max_interval, *(rule[1][2] or 0 for rule in self.host_rules().values())])


@lru_cache
def _type_rules(entries: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    rules: dict[str, tuple[float, float]] = {}
    for entry in entries:
        try:
            kind, increase, decrease = entry.split()
            shares = (float(increase), float(decrease))
        except ValueError:
            kind, shares = "", (0.0, 0.0)
        if "/" not in kind or not 0 <= shares[0] <= 1000 or not 0 <= shares[1] < 1:
            raise UsageError(
                f'schedule.types = "{entry}": expected MEDIA/TYPE INCREASE DECREASE, such as "text/html 0.2 0.4"'
            )
        rules.setdefault(kind.lower(), shares)
    return rules


@lru_cache
def _host_rules(entries: tuple[str, ...]) -> dict[str, tuple[int, tuple[int | None, int | None, int | None]]]:
    rules: dict[str, tuple[int, tuple[int | None, int | None, int | None]]] = {}
    for place, entry in enumerate(entries):
        pattern, *fields = entry.split() or [""]
        values: dict[str, int | None] = dict.fromkeys(("interval", "min", "max"))
        try:
            for item in fields:
                name, _, text = item.partition("=")
                if name not in values:
                    raise ValueError(f"{name}: expected interval=, min= or max=")
                values[name] = _number(text, int, "seconds")
                if not 0 < values[name] < 1 << 31:  # type: ignore[operator]
                    raise ValueError(f"{item}: expected 1 second to 68 years")
            if not pattern or "=" in pattern or not fields or "*" in pattern.removeprefix("*."):
                raise ValueError('expected a host, or *. and a domain, and fields, such as "*.example.org max=7d"')
            if (values["min"] or 0) > (values["max"] or 1 << 31):
                raise ValueError("min is more than max")
        except ValueError as error:
            raise UsageError(f'schedule.hosts = "{entry}": {error}') from None
        rules.setdefault(pattern.lower(), (place, (values["interval"], values["min"], values["max"])))
    return rules


@dataclass
class ScoreSettings:
    """How much a request matters. Recorded with every commit."""

    name: str = _setting(
        "opic",
        "opic (On-line Page Importance Computation: a page's score is shared among its "
        "outlinks), depth (1 / (1 + depth)), linkrank (what cobnut linkrank wrote), host_authority (the same of hosts; "
        "within a host the nearest to a seed first), freshness (opic, times the probability that the page changed since "
        "its last fetch), or module:function.",
    )
    injected: float = _setting(1.0, "A seed's score, unless it says otherwise.")
    initial: float = _setting(
        0.15, "linkrank and host_authority: the score of a request that a link led to, until linkrank ranks it."
    )
    internal: float = _setting(1.0, "opic: weight of a link within a host.")
    external: float = _setting(1.0, "opic: weight of a link to another host.")


@dataclass
class DedupSettings:
    """Which pages count as duplicates, and which of them stays. docs/duplicates.md explains it."""

    group: str = _setting(
        "none",
        "Pages are compared: none (with all), host (within a host), domain (within a registrable domain).",
        one_of=("none", "host", "domain"),
    )
    order: list[str] = _setting(
        ["score", "length", "https", "discovered"],
        "Which of several stays, the first difference decides: score (the highest), length (the shortest URL), https "
        "(rather than http), discovered (the earliest), fetched (the latest), depth (the nearest to a seed), or "
        "module:function; then the lowest fingerprint.",
    )
    canonical: str = _setting(
        "group",
        "What rel=canonical decides. off: nothing. group: of pages that are the same, the one that the others name "
        "stays, and those that name another page stand back. host: besides, a page is a duplicate of the page of its "
        "host that it names, if that was fetched and names no other.",
        one_of=("off", "group", "host"),
    )
    near: bool = _setting(False, "Mark pages of nearly the same text too (needs parse.simhash).")
    distance: int = _setting(3, "near: bits of 64 in which their simhashes differ at most.")
    each_round: bool = _setting(False, "The round loop marks duplicates after every round.")


@dataclass
class StoreSettings:
    """How the crawldb is kept on disk."""

    shards: int = _setting(4, "Shards of a new crawldb, a power of two.")
    rows_per_shard: int = _setting(4_000_000, "Compaction splits shards until they have fewer rows.")
    compact_share: float = _setting(0.2, "Compact when the deltas have more than this share of the rows, …")
    compact_rows: int = _setting(10_000, "… and at least so many rows, for a small crawl has no need of it, …")
    compact_deltas: int = _setting(16, "… or when there are more than so many.")
    purge_gone: int = _setting(
        0, "Compaction forgets gone pages that were last tried so long ago; a link to one makes it new. 0: never.",
        unit="seconds",
    )  # fmt: skip
    purge_orphans: int = _setting(
        0, "Compaction forgets orphans (schedule.orphan_after) to which no link was seen for so long. 0: never.",
        unit="seconds",
    )  # fmt: skip
    keep_versions: int = _setting(3, "Versions of the crawldb that stay readable (--as-of), …")
    keep_hours: float = _setting(24.0, "… besides all that are younger.", unit="hours")


@dataclass
class LinkdbSettings:
    """The link store: who links to a request, and with what words. docs/links.md explains it."""

    update: bool = _setting(False, "crawl runs invertlinks at the end of each round.")
    ignore_internal: bool = _setting(
        False, "Leave out links within a host. They are most links; linkrank over pages needs them."
    )
    max_inlinks: int = _setting(
        10_000, "Keep so many links to one request, those of the lowest (target, source) keys: a sample that does not "
        "depend on time or order. 0: all.",
    )  # fmt: skip
    max_anchor: int = _setting(200, "Characters of a link's text that are kept; 0: none.")


@dataclass
class LinkrankSettings:
    """PageRank over pages or hosts."""

    damping: float = _setting(0.85, "The share of its rank that a page passes on along its links.")
    tolerance: float = _setting(
        1e-6, "Done when an iteration moved less than tolerance × nodes of the whole rank, and not more than 1e-4."
    )
    iterations: int = _setting(100, "At most so many iterations.")
    edges_per_task: int = _setting(
        200_000_000, "A graph of at most so many edges is ranked within one task, all iterations; a larger one with "
        "one job an iteration.",
    )  # fmt: skip


@dataclass
class RequestSettings:
    """What makes two requests different, and what a discovered one inherits."""

    fingerprint_headers: list[str] = _setting(
        [], "Request headers that are part of the fingerprint (Scrapy's include_headers)."
    )
    inherit_metadata: list[str] = _setting([], "Metadata keys that a page's outlinks take over from it.")


@dataclass
class RunSettings:
    """How the jobs run."""

    runner: str = _setting(
        "inline", "inline (one process), local (all cores) or hadoop (a YARN cluster).",
        one_of=("inline", "local", "hadoop"),
    )  # fmt: skip
    processes: int = _setting(0, "Task processes at once with -r local; 0: one per core.")
    temporary: str = _setting("", "Directory for the jobs' temporary files; empty: the system's.")
    clock: int = _setting(
        0,
        "The time that commands and the replay engine take it to be, milliseconds since 1970 in UTC: for tests that must "
        "always come out the same. 0: the real time.",
    )


@dataclass
class WarcSettings:
    """Web archives: what `cobnut warc export` writes, and what engine = "replay" answers from."""

    compression_level: int = _setting(
        2, "Of gzip: 1 to 3 are ISA-L's, several times as fast as zlib's 4 to 9, which make files a sixth smaller."
    )
    replay: list[str] = _setting([], "Archives that answer in the web's place; `crawl --replay` sets it.")
    replay_index: str = _setting("", "Where what they hold is written down; `crawl --replay` sets it.")


@dataclass
class HdfsSettings:
    """How hdfs:// paths are read and written. Addresses come from the cluster's own files in HADOOP_CONF_DIR."""

    client: str = _setting(
        "webhdfs",
        "What moves the bytes: webhdfs (HTTP), libhdfs (Hadoop's own library) or hdfs-native "
        "(scripts/venv.sh hdfs-native). Names and commits go over WebHDFS with each.",
        one_of=("webhdfs", "libhdfs", "hdfs-native"),
    )
    user: str = _setting("", "Who we are on a cluster without Kerberos; empty: HADOOP_USER_NAME, else the login name.")
    timeout: float = _setting(60.0, "To connect, and between two packets.", unit="seconds")
    retries: int = _setting(
        8, "Times a request is repeated that failed for a passing cause; 8 bear with a cluster for half a minute."
    )


@dataclass
class HadoopSettings:
    """How the jobs run with -r hadoop. Any other name is a property of Hadoop's own, given to the jobs with -D."""

    queue: str = _setting("", "The YARN queue; empty: the cluster's default.")
    python: str = _setting(
        "",
        "The nodes' Python, of this machine's minor version (python3.11). Empty: this machine's Python travels with "
        "the environment, and the nodes need none.",
    )
    stage: str = _setting(
        "", "Directory for the packed environment and the jobs' temporary files; empty: .cobnut in the HDFS home."
    )
    py_files: list[str] = _setting(
        [], "Python files and directories of your own that the tasks need, such as those of module:function settings."
    )
    maps: int = _setting(0, "Map tasks of a job at most, but for fetch's; 0: as many as the cluster can run at once.")
    reducers: int = _setting(0, "Reduce tasks of a job at most; 0: one for every 16 map items.")
    small: int = _setting(
        4, "Jobs of at most so many items run within their application master (Hadoop's uber mode); 0: none."
    )
    properties: dict[str, str] = field(default_factory=dict, metadata={"doc": "", "unit": "", "one_of": ()})


@dataclass
class Settings:
    """The tree: `settings.fetch.delay` is `delay` under `[fetch]` in TOML and `--set fetch.delay=…`."""

    http: HttpSettings = field(default_factory=HttpSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)
    browser: BrowserSettings = field(default_factory=BrowserSettings)
    generate: GenerateSettings = field(default_factory=GenerateSettings)
    hosts: HostsSettings = field(default_factory=HostsSettings)
    parse: ParseSettings = field(default_factory=ParseSettings)
    sitemap: SitemapSettings = field(default_factory=SitemapSettings)
    filter: FilterSettings = field(default_factory=FilterSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    dedup: DedupSettings = field(default_factory=DedupSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    linkdb: LinkdbSettings = field(default_factory=LinkdbSettings)
    linkrank: LinkrankSettings = field(default_factory=LinkrankSettings)
    request: RequestSettings = field(default_factory=RequestSettings)
    run: RunSettings = field(default_factory=RunSettings)
    hdfs: HdfsSettings = field(default_factory=HdfsSettings)
    hadoop: HadoopSettings = field(default_factory=HadoopSettings)
    warc: WarcSettings = field(default_factory=WarcSettings)

    def to_json(self) -> str:
        """All values in one line, for the tasks of a job."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The inverse of `to_json`."""
        settings = cls()
        for section, values in json.loads(text).items():
            for key, value in values.items():
                setattr(getattr(settings, section), key, value)
        return settings


@dataclass(frozen=True)
class Policy:
    """What `apply` needs of the settings; written into the log entry of the delta it applies."""

    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a log entry."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Policy:
        """The inverse of `to_dict`; settings that came later have their defaults."""
        return cls(ScheduleSettings(**values["schedule"]), ScoreSettings(**values["score"]))


_UNITS = {
    "seconds": {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400},
    "hours": {"": 1, "h": 1, "d": 24, "w": 7 * 24},
    "bytes": {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
              "kb": 10**3, "mb": 10**6, "gb": 10**9},
}  # fmt: skip


def load(conf: str | None = None, overrides: Iterable[str] = ()) -> Settings:
    """The settings of this run: defaults, then the TOML file `conf`, then `KEY=VALUE` overrides.

    Without `conf`, `crawl-site.toml` in `$COBNUT_CONF_DIR` or in this checkout's `conf/` is read if it exists.
    Raises UsageError with file, key and the nearest known name.
    """
    settings = Settings()
    if conf is not None and not Path(conf).is_file():
        raise UsageError(f"--conf {conf}: no such file")
    file = Path(conf) if conf is not None else conf_directory() / SITE_FILE
    if file.is_file():
        _read_toml(settings, file)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: expected KEY=VALUE, for example fetch.delay=2")
        _assign(settings, key.strip(), value.strip(), where="--set")
    _check(settings)
    _locate_files(settings, file.parent)
    return settings


def conf_directory() -> Path:
    """Where the site's settings and filter files are: `$COBNUT_CONF_DIR`, or `conf/` beside the packages."""
    return Path(os.environ.get("COBNUT_CONF_DIR") or Path(__file__).resolve().parent.parent / "conf")


def _read_toml(settings: Settings, file: Path) -> None:
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise UsageError(f"{file}: {section} stands outside a section{_suggest(section)}")
        for key, value in _flat(values) if section == "hadoop" else values.items():
            _assign(settings, f"{section}.{key}", value, where=str(file))


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """TOML reads `mapreduce.map.memory.mb = 2048` as tables within tables; here it is one name again."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _assign(settings: Settings, name: str, value: Any, where: str) -> None:
    """Set one value by its dotted name; `value` is TOML's, or a string from the command line."""
    section_name, _, key = name.partition(".")
    section = getattr(settings, section_name, None)
    known = {f.name: f for f in dataclasses.fields(section)} if dataclasses.is_dataclass(section) else {}
    if isinstance(section, HadoopSettings) and "." in key:
        section.properties[key] = str(value).lower() if isinstance(value, bool) else str(value)
        return
    if key not in known or key == "properties":
        raise UsageError(f"{where}: unknown setting {name}{_suggest(name)}")
    wanted = get_type_hints(type(section))[key]
    try:
        setattr(section, key, _convert(value, wanted, known[key].metadata, from_text=where == "--set"))
    except ValueError as error:
        raise UsageError(f"{where}: {name} = {value!r}: {error}") from None


def _convert(value: Any, wanted: Any, metadata: Any, *, from_text: bool) -> Any:
    if wanted is bool:
        if from_text and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if isinstance(value, bool):
            return value
        raise ValueError("expected true or false")
    if wanted in (int, float):
        return _number(value, wanted, metadata["unit"])
    if wanted is str:
        if not isinstance(value, str):
            raise ValueError("expected a string")
        if metadata["one_of"] and value not in metadata["one_of"]:
            raise ValueError(f"expected one of {', '.join(metadata['one_of'])}")
        return value
    if from_text:
        return [item for item in (part.strip() for part in value.split(",")) if item]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("expected a list of strings")


def _number(value: Any, wanted: type, unit: str) -> Any:
    """A number, or one with a unit: 90, "90s", "1.5h", "30d", "1MiB"."""
    kind = "a whole number" if wanted is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"expected {kind}")
    if isinstance(value, str):
        match = re.fullmatch(r"([-+]?[\d_]*\.?\d+)\s*([a-zA-Z]*)", value.strip())
        factor = _UNITS.get(unit, {"": 1}).get(match[2].lower()) if match else None
        if match is None or factor is None:
            example = {"seconds": ', such as "90s", "12h" or "30d"', "bytes": ', such as "64MiB"'}.get(unit, "")
            raise ValueError(f"expected {kind}{' of ' + unit if unit else ''}{example}")
        value = float(match[1].replace("_", "")) * factor
    if value < 0:
        raise ValueError("must not be negative")
    if wanted is int:
        if value != int(value):
            raise ValueError("expected a whole number")
        return int(value)
    return float(value)


def _check(settings: Settings) -> None:
    """What depends on more than one value's type."""
    for name in ("tabs", "max_seconds", "max_bytes", "pages_per_browser"):
        if getattr(settings.browser, name) <= 0:
            raise UsageError(f"browser.{name} = {getattr(settings.browser, name)}: must be more than 0")
    for name in ("max_bytes", "max_urls", "connections"):
        if getattr(settings.sitemap, name) <= 0:
            raise UsageError(f"sitemap.{name} = {getattr(settings.sitemap, name)}: must be more than 0")
    store, fetch = settings.store, settings.fetch
    if store.shards < 1 or store.shards & (store.shards - 1) or store.shards > 1 << 16:
        raise UsageError(f"store.shards = {store.shards}: expected a power of two up to 65536")
    for name in ("threads", "connections", "threads_per_host", "chunk_rows", "chunk_bytes", "max_bytes", "timeout",
                 "max_seconds", "dns_threads"):  # fmt: skip
        if getattr(fetch, name) <= 0:
            raise UsageError(f"fetch.{name} = {getattr(fetch, name)}: must be more than 0")
    for section, key in ((store, "keep_versions"), (store, "rows_per_shard"), (settings.schedule, "interval"),
                         (settings.schedule, "max_interval")):  # fmt: skip
        if getattr(section, key) < 1:
            raise UsageError(f"{key} = {getattr(section, key)}: must be at least 1")
    settings.schedule.type_rules()
    settings.schedule.host_rules()
    if settings.dedup.distance > 16:
        raise UsageError(f"dedup.distance = {settings.dedup.distance}: more than 16 bits of 64 say nothing any more")
    for name in ("interval", "max_interval"):
        if getattr(settings.schedule, name) >= 1 << 31:
            raise UsageError(f"schedule.{name}: must be less than 2^31 seconds (68 years)")


def _locate_files(settings: Settings, directory: Path) -> None:
    """Make the names of FILES absolute: they stand beside the settings file that names them."""
    for section, key in FILES:
        name = getattr(getattr(settings, section), key)
        if name:
            beside = directory / name
            located = str((beside if beside.exists() else conf_directory() / name).absolute())
            setattr(getattr(settings, section), key, located)


def names() -> list[str]:
    """All dotted names, in order."""
    return [f"{section}.{key.name}" for section, value in vars(Settings()).items()
            for key in dataclasses.fields(value) if key.name != "properties"]  # fmt: skip


def _suggest(name: str) -> str:
    """`; did you mean …?` with the nearest known name, also when only the section is missing or wrong."""
    known = names()
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, 1, 0.75) or [k for k in known if k.endswith("." + last)]
    near = near or difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else "; conf/crawl-default.toml lists them all"


def default_toml() -> str:
    """`conf/crawl-default.toml`: every setting with its default, unit and documentation."""
    lines = ["# Every setting of Cobnut with its default. This file is documentation: it is not read.",
             "# Put what you change into crawl-site.toml, or give it to one run with --set KEY=VALUE.",
             '# Seconds may be written "90s", "12h", "30d"; bytes "64MiB".']  # fmt: skip
    for section, value in vars(Settings()).items():
        lines += ["", f"# {(type(value).__doc__ or '').strip()}", f"[{section}]"]
        for key in dataclasses.fields(value):
            if key.name == "properties":
                lines += ["# And, for example:", "# mapreduce.map.memory.mb = 2048"]
                continue
            doc = key.metadata["doc"] + (f" ({key.metadata['unit']})" if key.metadata["unit"] else "")
            if key.metadata["one_of"]:
                doc += f" One of: {', '.join(key.metadata['one_of'])}."
            lines += [f"# {line}" for line in _wrap(doc)]
            lines.append(f"{key.name} = {json.dumps(cast(Any, getattr(value, key.name)))}")
    return "\n".join(lines) + "\n"


def _wrap(text: str, width: int = 100) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    sys.stdout.write(default_toml())
