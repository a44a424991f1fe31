"""From the links of a page to those that may enter the crawldb.

Owns resolving, nofollow, filtering, the dropping of repetitions and self links, and the cut. Most links of a site
stand on many of its pages, so canonical forms and verdicts are cached, by no more of the page than they depend on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from crawldb.fingerprint import url_fingerprint
from crawldb.refusals import Refused
from crawldb.settings import Settings
from crawldb.urlfilters import Link, build
from crawldb.urls import canonicalize, host_of, is_plain_prefix, join_plain, origin_of
from jobs.parsing.contract import Outlink, Reference

_CACHED = 1 << 15
"""References whose targets and verdicts are remembered; then all are forgotten."""
_CACHED_LENGTH = 512
"""Longer references are rare and would fill the memory."""
_STRIPPED = "".join(map(chr, range(33)))
"""C0 controls and space: WHATWG strips them off a URL's ends."""


_OF_THE_PAGE = ("", "?")
"""How references begin that depend on all of the page's URL."""
_ROOTED = ("/", "\\")


class Target(NamedTuple):
    """Where a reference leads."""

    url: str
    host: str
    fingerprint: bytes


_Found = tuple["Target | None", "str | None"]
"""Where a reference leads, and why the filters refuse that."""


class _Known(NamedTuple):
    """What is remembered of the references that are relative to one prefix, on pages of one host and depth."""

    prefix: str
    """Up to the path's first or last slash; "": they are absolute."""
    host: str
    """Of the prefix."""
    is_plain: bool
    found: dict[str, _Found]


class Outlinks:
    """Resolves and filters the links of pages."""

    def __init__(self, settings: Settings) -> None:
        self._nofollow = settings.parse.nofollow
        self._max_links = settings.parse.max_links
        self._verdict = build(settings)
        self._known: dict[tuple[str, str, int], _Known] = {}
        """By what references are relative to, the page's host and the depth of its links."""
        self._room = _CACHED

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
        room = (self._max_links or 1 << 62) + len(outlinks)
        depth += 1
        directory = base[: base.partition("?")[0].rindex("/") + 1]
        from_directory, from_root, absolute = (
            self._relative_to(prefix, host, depth) for prefix in (directory, origin_of(base) + "/", "")
        )
        for href, anchor, rel in references:
            href = href.strip(_STRIPPED)
            fragment = href.find("#")
            if fragment >= 0 and href[fragment - 1] not in _STRIPPED:  # with the fragment, a space before it counts
                href = href[:fragment]
            first = href[:1]
            if first in _OF_THE_PAGE or len(href) > _CACHED_LENGTH:
                known = None
                found = self._judged(_target(href, base), host, depth)
            else:
                if first in _ROOTED:
                    known = from_root
                elif href.startswith(("http://", "https://")):
                    known = absolute
                else:
                    known = from_directory
                found = known.found.get(href) or self._look_up(href, known, host, depth)
            target, reason = found
            if target is None or target.url in seen:
                continue
            if nofollow or (rel is not None and self._nofollow and "nofollow" in rel and "nofollow" in rel.split()):
                unfollowed.add(target.url)
                continue
            seen.add(target.url)
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

    def _relative_to(self, prefix: str, host: str, depth: int) -> _Known:
        known = self._known.get((prefix, host, depth))
        if known is None:
            plain = is_plain_prefix(prefix)
            known = self._known[prefix, host, depth] = _Known(prefix, host_of(prefix) if prefix else "", plain, {})
            self._room -= 4  # what an empty one takes
        return known

    def _look_up(self, href: str, known: _Known, host: str, depth: int) -> _Found:
        prefix = known.prefix
        url = None
        if known.is_plain:
            url = join_plain(prefix, href[1:] if href[0] == "/" else href)
        if url is None:
            target = _target(href, prefix or None)
        else:
            target = Target(url, known.host or host_of(url), url_fingerprint(url))
        found = self._judged(target, host, depth)
        self._room -= 1
        if self._room < 0:
            self._known.clear()
            self._room = _CACHED
        known.found[href] = found
        return found

    def _judged(self, target: Target | None, host: str, depth: int) -> _Found:
        return target, None if target is None else self._verdict(Link(target.url, target.host, host, depth))

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


def _target(href: str, base: str | None) -> Target | None:
    url = canonicalize(href, base)
    return None if url is None else Target(url, host_of(url), url_fingerprint(url))
