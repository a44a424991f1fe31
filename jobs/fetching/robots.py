"""What a robots.txt says to us: RFC 9309, with protego as the matcher of paths.

Owns the reading of a robots.txt (bytes → groups → our rules), the meaning of its HTTP status, and the Crawl-delay.
Fetches nothing: the engine does, and asks here what an answer means.

protego matches paths well, but picks groups otherwise than RFC 9309 §2.2.1 says (a byte order mark or a version in
the product token hide a group, one group's token is found inside longer names, lines end at Unicode's line ends). So
the group is picked here, and protego is given only its rules.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from protego import Protego

from crawldb.schema import FetchOutcome
from crawldb.settings import Settings

MAX_BYTES = 500 << 10
"""RFC 9309 §2.5: at least so much is read; what comes after is ignored."""

MAX_REDIRECTS = 5
"""RFC 9309 §2.3.1.2: at least so many are followed."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_USER_AGENT = {"user-agent", "useragent", "user agent"}
_ALLOW = {"allow"}
_DISALLOW = {"disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"}
_CRAWL_DELAY = {"crawl-delay", "crawldelay", "crawl delay"}
_FIELDS = _USER_AGENT | _ALLOW | _DISALLOW | _CRAWL_DELAY
_TOKEN_END = re.compile(r"[/\s(;,]")


class Refusal(NamedTuple):
    """A request that robots.txt settles without the network."""

    outcome: FetchOutcome
    reason: str
    detail: str | None = None
    retry_after: int | None = None


class Group(NamedTuple):
    """What the groups for one product token, or else the `*` groups, come to."""

    rules: list[tuple[str, str]]
    """("allow" or "disallow", path pattern in ASCII), in the order of the file."""
    crawl_delay: float | None


@dataclass(frozen=True, slots=True)
class Robots:
    """What holds for one origin. `delay` is the gap for its host in seconds, None for fetch.delay."""

    delay: float | None = None
    refusal: Refusal | None = None
    """Of every request to the origin."""
    matcher: Protego | None = None
    disallowed: tuple[str, ...] = ()

    def refuse(self, url: str) -> Refusal | None:
        """Why `url` (canonical) is not fetched; None if it may be."""
        if self.refusal is not None or self.matcher is None:
            return self.refusal
        if self.matcher.can_fetch(url, "*"):
            return None
        return Refusal(FetchOutcome.gone, "robots_denied", self._rule(url))

    def _rule(self, url: str) -> str | None:
        """The longest Disallow line that matches; None where only protego's unquoting sees that it does."""
        path = url[url.find("/", 8) :]
        for pattern in self.disallowed:
            regex = ".*".join(map(re.escape, pattern.removesuffix("$").split("*")))
            if re.match(regex + ("$" if pattern.endswith("$") else ""), path, re.DOTALL):
                return f"Disallow: {pattern}"
        return None


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


def of_answer(status: int, body: bytes, truncated: bool, settings: Settings, retry_after: int | None = None) -> Robots:
    """What the last answer to a request for robots.txt means (RFC 9309 §2.3.1).

    2xx: its rules. 5xx and 429: the origin is put off. All else (4xx, redirects that lead nowhere): all is allowed.
    `truncated`: the body was cut off at MAX_BYTES.
    """
    if 200 <= status < 300:
        return read(body, truncated, settings)
    if status >= 500 or status == 429:
        return unavailable(f"robots.txt: HTTP {status}", retry_after)
    return ALLOW_ALL


def unavailable(detail: str, retry_after: int | None = None) -> Robots:
    """Nobody knows what is allowed: every request of the origin waits (RFC 9309 §2.3.1.4)."""
    return Robots(refusal=Refusal(FetchOutcome.postponed, "robots_unavailable", detail, retry_after))


def read(body: bytes, truncated: bool, settings: Settings) -> Robots:
    """The rules of a robots.txt for http.agent_name."""
    if truncated or len(body) > MAX_BYTES:
        body = body[:MAX_BYTES]
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1]  # half a pattern is another pattern
    group = group_for(body, product_token(settings.http.agent_name))
    delay = group.crawl_delay
    if delay is not None:
        delay = max(delay, settings.fetch.min_crawl_delay)
        if delay > settings.fetch.max_crawl_delay:
            detail = f"Crawl-delay: {group.crawl_delay:g} is more than fetch.max_crawl_delay"
            return Robots(refusal=Refusal(FetchOutcome.gone, "crawl_delay", detail))
    if not any(kind == "disallow" for kind, _ in group.rules):
        return Robots(delay)
    text = "User-agent: *\n" + "".join(f"{kind}: {pattern}\n" for kind, pattern in group.rules)
    disallowed = sorted((pattern for kind, pattern in group.rules if kind == "disallow"), key=len, reverse=True)
    return Robots(delay, matcher=Protego.parse(text), disallowed=tuple(disallowed))


def group_for(body: bytes, token: str) -> Group:
    """The merged groups of a robots.txt that name `token` (lower case), whole; else those that name `*`.

    Lenient where crawlers agree to be: versions after a token, the usual misspellings, a missing colon. Of several
    Crawl-delays the longest counts.
    """
    groups: dict[str, Group] = {}
    ours: set[str] = set()
    closed = True
    for raw in _LINE_END.split(body.removeprefix(b"\xef\xbb\xbf")):
        field, value = _split(raw)
        if field in _USER_AGENT:
            if closed:
                ours, closed = set(), False
            name = _group_token(value)
            if name in (token, "*"):
                ours.add(name)
                groups.setdefault(name, Group([], None))
        elif field in _FIELDS:  # other lines (Sitemap, Host, …) do not end a group's names: §2.2.4
            closed = True
            for name in ours:
                groups[name] = _extended(groups[name], field, value)
    return groups.get(token) or groups.get("*") or Group([], None)


def _extended(group: Group, field: str, value: str) -> Group:
    if field in _CRAWL_DELAY:
        delay = _seconds(value)
        return group if delay is None else group._replace(crawl_delay=max(delay, group.crawl_delay or 0.0))
    if value:  # an empty Disallow forbids nothing
        group.rules.append(("allow" if field in _ALLOW else "disallow", value))
    return group


def _split(raw: bytes) -> tuple[str, str]:
    """Field (lower case) and value of a line, without comment; octets beyond ASCII percent-encoded (§2.2.2)."""
    line = raw.partition(b"#")[0].strip()
    text = line.decode("iso-8859-1")
    if not (text.isascii() and text.isprintable()):
        text = "".join(f"%{octet:02X}" if octet > 0x7E else chr(max(octet, 0x20)) for octet in line)
    field, colon, value = text.partition(":")
    field = field.strip().lower()
    if not colon or field not in _FIELDS:
        words = text.split()
        for count in (1, 2):
            if " ".join(words[:count]).lower() in _FIELDS:
                return " ".join(words[:count]).lower(), " ".join(words[count:])
    return field, value.strip()


def _group_token(value: str) -> str:
    """The product token of a User-agent line; "*" for all.

    >>> _group_token("MyBot/2.1 (fast)"), _group_token("mybot*"), _group_token("*")
    ('mybot', 'mybot', '*')
    """
    token = product_token(value)
    return token if token == "*" else token.replace("*", "")


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value.split()[0])
    except (ValueError, IndexError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
