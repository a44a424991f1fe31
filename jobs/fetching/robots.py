"""What a robots.txt says to us: RFC 9309.

Owns the reading of a robots.txt (bytes → groups → our rules), the meaning of its HTTP status, how long an answer holds,
and the Crawl-delay. Which rule settles a URL, `path_rules` says. Fetches nothing: the engine does, and asks here what an
answer means.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import canonicalize
from jobs.fetching.contract import KnownRobots
from jobs.fetching.path_rules import PathRule, PathRules

MAX_BYTES = 500 << 10
"""RFC 9309 §2.5: at least so much is read; what comes after is ignored."""

MAX_REDIRECTS = 5
"""RFC 9309 §2.3.1.2: at least so many are followed."""

MAX_AGE = 86_400_000
"""Milliseconds. RFC 9309 §2.4: an answer is not used for longer than a day."""

FAILING_FOR_GOOD = 30 * 86_400_000
"""Milliseconds. RFC 9309 §2.3.1.4: what fails for so long counts as a file that is not there."""

MAX_SITEMAPS = 1000
"""Sitemaps of one robots.txt that are kept."""

MAX_SITEMAP_URL = 2048
"""Characters of their URLs; the Sitemaps protocol allows fewer. Longer ones are left out: half a URL is another one."""

_USER_AGENT, _ALLOW, _DISALLOW, _CRAWL_DELAY, _SITEMAP = range(5)
_FIELDS = {
    **dict.fromkeys([b"user-agent", b"useragent", b"user agent"], _USER_AGENT),
    b"allow": _ALLOW,
    **dict.fromkeys([b"disallow", b"dissallow", b"dissalow", b"disalow", b"diasllow", b"disallaw"], _DISALLOW),
    **dict.fromkeys([b"crawl-delay", b"crawldelay", b"crawl delay"], _CRAWL_DELAY),
    **dict.fromkeys([b"sitemap", b"sitemaps", b"site-map"], _SITEMAP),
}
"""Field names with the misspellings that crawlers agree to read."""

_TOKEN_END = re.compile(r"[/\s(;,]")
_SECONDS = re.compile(r"(\d+(?:[.,]\d*)?|[.,]\d+)(?:\s|s|$)", re.ASCII)
_CONTROLS = bytes(range(0x21))
_ODD_BLANKS = re.compile(rb"(?:[\0-\x20]|\xc2\xa0|\xe2\x80[\x80-\x8f\xa8-\xaf]|\xe3\x80\x80|\xef\xbb\xbf)+")
"""Also no-break and other wide or narrow spaces and byte order marks, in UTF-8: they come with copied text."""

_NAMELESS = "robots.txt"


class Refusal(NamedTuple):
    """A request that robots.txt settles without the network."""

    outcome: FetchOutcome
    reason: str
    detail: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Robots:
    """What holds for one origin. `delay` is the gap for its host in seconds, None for fetch.delay."""

    delay: float | None = None
    sitemaps: tuple[str, ...] = ()
    """Canonical URLs, in the order of the file."""
    refusal: Refusal | None = None
    """Of every request to the origin."""
    rules: PathRules | None = None
    """None: nothing is disallowed."""
    file: str = _NAMELESS
    """Where the rules stand."""

    def refuse(self, url: str) -> Refusal | None:
        """Why `url` (canonical) is not fetched; None if it may be."""
        if self.rules is None:
            return self.refusal
        rule = self.rules.decisive(url)
        if rule is None or rule.allow or url[url.find("/", 8) :] == "/robots.txt":  # §2.2.2: that is always allowed
            return None
        return Refusal(FetchOutcome.gone, "robots_denied", _cited(self.file, rule.line, rule.text))


ALLOW_ALL = Robots()


def product_token(agent_name: str) -> str:
    """What is looked up in robots.txt: the name without version, in lower case.

    >>> product_token("Cobnut/1.0")
    'cobnut'
    """
    return _TOKEN_END.split(agent_name.strip(), maxsplit=1)[0].lower()


def follows(status: int) -> bool:
    """True if a robots.txt answer of this status sends us elsewhere."""
    return status in (301, 302, 303, 307, 308)


def rules_of(known: KnownRobots, settings: Settings, now: int, retry_after: int | None = None) -> Robots:
    """What the last answer to requests for an origin's robots.txt means `now` (RFC 9309 §2.3.1).

    2xx: its rules. 5xx, 429 and no answer: the origin is put off, with `retry_after` (both UTC milliseconds); after 30
    days of it all is allowed. All else (4xx, redirects that lead nowhere): all is allowed.
    """
    file = known.url or f"{known.origin}/robots.txt"
    if _fails(known.status):
        if known.failing_since is not None and now - known.failing_since >= FAILING_FOR_GOOD:
            return ALLOW_ALL
        what = "no answer" if known.status is None else f"HTTP {known.status}"
        return unavailable(f"{_clipped(file, 200)}: {what}", retry_after)
    if known.status is not None and 200 <= known.status < 300 and known.body:
        return read(known.body, known.truncated, settings, file)
    return ALLOW_ALL


def is_fresh(known: KnownRobots, settings: Settings, now: int) -> bool:
    """True if the file need not be asked for `now` (UTC milliseconds): it was an answer that counts, not older than
    fetch.robots_max_age and a day, and not from the future (a clock that was put back)."""
    if known.status is None or known.status < 200 or _fails(known.status):
        return False
    return 0 <= now - known.fetched_at <= min(settings.fetch.robots_max_age * 1000, MAX_AGE)


def unavailable(detail: str, retry_after: int | None = None) -> Robots:
    """Nobody knows what is allowed: every request of the origin waits (RFC 9309 §2.3.1.4)."""
    return Robots(refusal=Refusal(FetchOutcome.postponed, "robots_unavailable", detail, retry_after))


def _fails(status: int | None) -> bool:
    """429 is no client's error in the sense of §2.3.1.3: the file is there, and is not to be asked for now."""
    return status is None or status == 429 or status >= 500


def read(body: bytes, truncated: bool, settings: Settings, file: str = _NAMELESS) -> Robots:
    """The rules of a robots.txt for http.agent_name. `file`: its URL."""
    contents = _read(_lines(body, truncated), product_token(settings.http.agent_name))
    sitemaps = dict.fromkeys(canonicalize(url, None if file == _NAMELESS else file) for url in contents.sitemaps)
    robots = Robots(sitemaps=tuple(url for url in sitemaps if url is not None), file=file)
    group = contents.group
    delay = None
    if group.delay is not None:
        delay = max(group.delay.seconds, settings.fetch.min_crawl_delay)
        if delay > settings.fetch.max_crawl_delay:
            detail = f"{_cited(file, group.delay.line, group.delay.text)} (more than fetch.max_crawl_delay)"
            return Robots(sitemaps=robots.sitemaps, refusal=Refusal(FetchOutcome.gone, "crawl_delay", detail))
    denies = any(not rule.allow for rule in group.rules)
    return Robots(delay, robots.sitemaps, rules=PathRules(group.rules) if denies else None, file=file)


def sitemap_lines(body: bytes, truncated: bool) -> list[str]:
    """The sitemaps that a robots.txt names, as they stand there, each once: the first MAX_SITEMAPS of them."""
    named = dict.fromkeys(_read(_lines(body, truncated), "").sitemaps)
    fitting = (url for url in named if 0 < len(url) <= MAX_SITEMAP_URL)
    return list(itertools.islice(fitting, MAX_SITEMAPS))


# The file


class _Delay(NamedTuple):
    seconds: float
    line: int
    text: bytes


@dataclass(slots=True)
class _Group:
    """What the groups for one name come to."""

    rules: list[PathRule] = field(default_factory=list)
    delay: _Delay | None = None
    """The longest."""


class _Contents(NamedTuple):
    group: _Group
    """That names us; else the one that names `*`."""
    sitemaps: list[str]


def _lines(body: bytes, truncated: bool) -> list[bytes]:
    """The lines of as much as is read of a file."""
    whole = not truncated and len(body) <= MAX_BYTES
    body = body[:MAX_BYTES]
    if (
        body.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in body[2:4]
    ):  # UTF-16 against the RFC: better read than taken for no rules
        body = body.decode("utf-16", "replace").encode()
    if not whole:
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]  # half a pattern is another pattern
    return body.removeprefix(b"\xef\xbb\xbf").splitlines()  # of bytes: ends at CR, LF and CR LF alone


def _read(lines: list[bytes], token: str) -> _Contents:
    """The groups that name `token` (lower case), whole, merged; else those that name `*` (§2.2.1).

    Other records do not end a group's names (§2.2.4), a Crawl-delay neither. But of the names above it a Crawl-delay is
    for those alone that stand below the one before it.
    """
    groups: dict[str, _Group] = {}
    sitemaps: list[str] = []
    named: dict[str, _Group] = {}
    timed: dict[str, _Group] = {}
    ruled = delayed = True
    for number, line in enumerate(lines, 1):
        kind, value = _split(line)
        if kind is None:
            continue
        if kind == _USER_AGENT:
            if ruled:
                named = {}
            if ruled or delayed:
                timed = {}
            ruled = delayed = False
            name = _group_token(_stripped(value))
            if name == "*" or (name and name == token):
                named[name] = timed[name] = groups.setdefault(name, _Group())
        elif kind == _SITEMAP:
            sitemaps.append(_stripped(value).decode("utf-8", "replace"))
        elif kind == _CRAWL_DELAY:
            delayed = True
            seconds = _seconds(_stripped(value)) if timed else None
            if seconds is not None:
                for group in timed.values():
                    if group.delay is None or seconds > group.delay.seconds:
                        group.delay = _Delay(seconds, number, line)
        else:
            ruled = True
            pattern = _stripped(value) if named else b""
            if pattern.startswith((b"/", b"*")):  # an empty one forbids nothing, others match nothing
                rule = PathRule(kind == _ALLOW, pattern.decode("iso-8859-1"), number, line)
                for group in named.values():
                    group.rules.append(rule)
    return _Contents(groups.get(token) or groups.get("*") or _Group(), sitemaps)


def _split(line: bytes) -> tuple[int | None, bytes]:
    """Which field a line has, None for those without meaning, and its value, with blanks around it."""
    record, _, _ = line.partition(b"#")
    name, colon, value = record.partition(b":")
    kind = _FIELDS.get(name.strip(_CONTROLS).lower()) if colon else None
    if kind is not None or not record:
        return kind, value
    if not record.isascii():
        record = _ODD_BLANKS.sub(b" ", record)
        name, colon, value = record.partition(b":")
        kind = _FIELDS.get(name.strip().lower()) if colon else None
        if kind is not None:
            return kind, value
    words = record.split(None, 2)
    for count in range(1, len(words)):  # the colon was forgotten
        kind = _FIELDS.get(b" ".join(words[:count]).lower())
        if kind is not None:
            return kind, b" ".join(words[count:])
    return None, b""


def _stripped(value: bytes) -> bytes:
    value = value.strip(_CONTROLS)
    if value[:1] >= b"\x80":
        blanks = _ODD_BLANKS.match(value)
        return value[blanks.end() :] if blanks else value
    return value


def _group_token(value: bytes) -> str:
    """The product token of a User-agent line; "*" for all.

    >>> _group_token(b"MyBot/2.1 (fast)"), _group_token(b"mybot*"), _group_token(b"*")
    ('mybot', 'mybot', '*')
    """
    token = product_token(value.decode("utf-8", "replace"))
    return token if token == "*" else token.replace("*", "")


def _seconds(value: bytes) -> float | None:
    """
    >>> _seconds(b"2.5"), _seconds(b"10s"), _seconds(b"soon")
    (2.5, 10.0, None)
    """
    match = _SECONDS.match(value.decode("iso-8859-1"))
    seconds = float(match[1].replace(",", ".")) if match else math.inf
    return seconds if math.isfinite(seconds) else None


# What is said of it


def _cited(file: str, line: int, text: bytes) -> str:
    """A line of a file as a person would look it up."""
    shown = text[:1000].removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip()
    shown = "".join(character if character.isprintable() else " " for character in shown)
    return f"{_clipped(file, 120)}:{line}: {_clipped(shown, 150)}"


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
