"""From the links of a page to those that may enter the crawldb.

Owns resolving, nofollow, filtering, the dropping of repetitions and self links, and the cut. Most links of a site
stand on many of its pages, so canonical forms and verdicts are cached, by no more of the page than they depend on.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from crawldb.fingerprint import url_fingerprint
from crawldb.refusals import Refused
from crawldb.settings import Settings
from crawldb.urlfilters import Link, build
from crawldb.urls import canonicalize, host_of, origin_of
from jobs.parsing.contract import Outlink, Reference

_CACHED = 1 << 15
_CACHED_LENGTH = 512
"""Longer references are rare and would fill the memory."""
_STRIPPED = "".join(map(chr, range(33)))
"""C0 controls and space: WHATWG strips them off a URL's ends."""


class Target(NamedTuple):
    """Where a reference leads."""

    url: str
    host: str
    fingerprint: bytes


class Outlinks:
    """Resolves and filters the links of pages."""

    def __init__(self, settings: Settings) -> None:
        self._nofollow = settings.parse.nofollow
        self._max_links = settings.parse.max_links
        self._verdict = functools.lru_cache(_CACHED)(build(settings))

    def of_page(
        self, url: str, host: str, depth: int, base: str, references: Iterable[Reference], nofollow: bool,
        refresh: str | None = None,
    ) -> tuple[list[Outlink], Refused]:  # fmt: skip
        """The links of the page `url`, and how many distinct URLs were left out, by host and reason.

        `references` are relative to `base` (canonical); `nofollow` is the page's own word. The target of `refresh`
        comes first: it has the page's depth, and neither nofollow nor the limit apply to it.
        """
        outlinks, refused = self.redirect(url, host, depth, refresh, "refresh", base) if refresh else ([], Counter())
        nofollow = nofollow and self._nofollow
        seen = {url}
        seen.update(outlink.url for outlink in outlinks)
        unfollowed: set[str] = set()
        directory = base[: base.partition("?")[0].rindex("/") + 1]
        origin = origin_of(base) + "/"
        room = (self._max_links or 1 << 62) + len(outlinks)
        verdict = self._verdict
        for href, anchor, rel in references:
            target = _resolve(href, base, directory, origin)
            if target is None or target.url in seen:
                continue
            if nofollow or (rel is not None and self._nofollow and "nofollow" in rel and "nofollow" in rel.split()):
                unfollowed.add(target.url)
                continue
            seen.add(target.url)
            reason = verdict(Link(target.url, target.host, host, depth + 1))
            if reason is not None:
                refused[target.host, reason] += 1
            elif len(outlinks) >= room:
                refused[target.host, "max_links"] += 1
            else:
                outlinks.append(Outlink(target.fingerprint, target.url, target.host, anchor, rel, "link"))
        unfollowed -= seen  # another link to it may be followed
        for left_out in unfollowed:
            refused[host_of(left_out), "nofollow"] += 1
        return outlinks, refused

    def redirect(
        self, url: str, host: str, depth: int, target: str | None, kind: str, base: str | None = None
    ) -> tuple[list[Outlink], Refused]:
        """The same for where `url` redirects to: no link at all if that is itself."""
        refused: Refused = Counter()
        found = _target(target, base or url) if target is not None else None
        if found is None or found.url == url:
            return [], refused
        reason = self._verdict(Link(found.url, found.host, host, depth))
        if reason is not None:
            refused[found.host, reason] += 1
            return [], refused
        return [Outlink(found.fingerprint, found.url, found.host, None, None, kind)], refused


def _resolve(href: str, base: str, directory: str, origin: str) -> Target | None:
    """`href` relative to `base`; `directory` is that up to the path's last slash, `origin` up to the first."""
    href = href.strip(_STRIPPED)
    fragment = href.find("#")
    if fragment >= 0 and href[fragment - 1] not in _STRIPPED:  # with the fragment, a space before it counts
        href = href[:fragment]
        if not href and len(base) <= _CACHED_LENGTH:
            return _cached_target(base, None)
    if len(href) > _CACHED_LENGTH:
        return _target(href, base)
    first = href[:1]
    if first in "/\\" and first:
        return _cached_target(href, origin)
    if first in "?#":  # also an empty one
        return _target(href, base)
    if href.startswith(("http://", "https://")):
        return _cached_target(href, None)
    return _cached_target(href, directory)


def _target(href: str, base: str | None) -> Target | None:
    url = canonicalize(href, base)
    return None if url is None else Target(url, host_of(url), url_fingerprint(url))


_cached_target = functools.lru_cache(_CACHED)(_target)
