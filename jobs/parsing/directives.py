"""What a page asks of robots: noindex and nofollow, from meta elements and X-Robots-Tag headers.

Names of directives are those of the search engines' common practice; `none` is both. What speaks to all robots and
what speaks to us by name add up: the stricter wins. Owns also the reading of refresh values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""Directives that are written `name: value`; any other name before a colon is a robot's."""

# WHATWG HTML, "shared declarative refresh steps": a delay, then a separator, then a URL with or without `url=`
_refresh = re.compile(
    r"""[ \t\n\f\r]*[0-9.]+(?:[ \t\n\f\r]*[;,][ \t\n\f\r]*|[ \t\n\f\r]+)
    (?:url[ \t\n\f\r]*=[ \t\n\f\r]*)?(?:"(?P<double>[^"]*)|'(?P<single>[^']*)|(?P<bare>.*))""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
).match


class Directives(NamedTuple):
    """What holds for us on one page."""

    noindex: bool
    nofollow: bool


def directives(metas: Iterable[tuple[str, str]], headers: Iterable[tuple[str, str]], agent: str) -> Directives:
    """Weigh the meta elements' (name, content) and the answer's headers for the robot `agent` (lower case, or "")."""
    words: set[str] = set()
    for name, content in metas:
        if name == "robots" or (agent and name == agent):
            words.update(re.split(r"[,\s]+", content.lower()))
    for name, value in headers:
        if len(name) == 12 and name.lower() == "x-robots-tag":
            words.update(_of_header(value.lower(), agent))
    if not words:
        return Directives(False, False)
    none = "none" in words
    return Directives(none or "noindex" in words, none or "nofollow" in words)


def _of_header(value: str, agent: str) -> Iterable[str]:
    """The directives of one X-Robots-Tag value for `agent`: a robot's name holds until the next one."""
    for_us = True
    for part in value.split(","):
        name, colon, rest = part.partition(":")
        name = name.strip()
        if colon and name not in _WITH_VALUE:
            for_us = name in ("robots", "*") or (bool(agent) and name == agent)
            part = rest
        if for_us:
            yield part.strip()


def refresh_target(value: str) -> str | None:
    """The URL of a refresh value, as it stands, or None if it only reloads the page or is malformed.

    >>> refresh_target("5; URL='next.html'"), refresh_target("0,/b"), refresh_target("30")
    ('next.html', '/b', None)
    """
    match = _refresh(value)
    if match is None:
        return None
    target = match["double"] or match["single"] or match["bare"] or ""
    return target.strip() or None
