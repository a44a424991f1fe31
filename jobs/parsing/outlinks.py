"""From the links of a page to those that may enter the crawldb.

Owns resolving, nofollow, filtering, the dropping of repetitions and self links, and the cut. Most links of a site
stand on many of its pages, so canonical forms and verdicts are cached, by no more of the page than they depend on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from crawldb.fingerprint import plain_fingerprint, url_fingerprint
from crawldb.refusals import Refused
from crawldb.settings import Settings
from crawldb.urlfilters import build_verdict
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
_ABSOLUTE = ("http://", "https://")


class Target(NamedTuple):
    """Where a reference leads."""

    url: str
    host: str
    fingerprint: bytes


_Found = tuple[str, str, bytes, "str | None"]
"""URL, host and fingerprint of where a reference leads, and why the filters refuse that. Plain, for there are many."""

_NOWHERE: _Found = ("", "", b"", None)

_new = tuple.__new__
"""Makes a NamedTuple in half the time that its own constructor takes."""


class _Known(NamedTuple):
    """What is remembered of the references that are relative to one prefix, on pages of one host and depth."""

    prefix: str
    """Up to the path's first or last slash; "": they are absolute."""
    host: str
    """Of the prefix."""
    is_plain: bool
    found: dict[str, _Found]
    """By references as they stand in the page."""


class Outlinks:
    """Resolves and filters the links of pages."""

    def __init__(self, settings: Settings) -> None:
        self._nofollow = settings.parse.nofollow
        self._max_links = settings.parse.max_links
        self._verdict = build_verdict(settings)
        self._known: dict[tuple[str, str, int], _Known] = {}
        """By what references are relative to, the page's host and the depth of its links."""
        self._origins: dict[str, str | None] = {}
        """Of absolute references, what precedes the path: its host, or None if it is not canonical."""
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
        seen = {url, _NOWHERE[0]}
        seen.update(outlink.url for outlink in outlinks)
        unfollowed: set[str] = set()
        room = (self._max_links or 1 << 62) + len(outlinks)
        depth += 1
        directory = base[: base.partition("?")[0].rindex("/") + 1]
        from_directory, from_root, absolute = (
            self._relative_to(prefix, host, depth) for prefix in (directory, origin_of(base) + "/", "")
        )
        look_up, look_up_rooted, look_up_absolute = from_directory.found.get, from_root.found.get, absolute.found.get
        own: _Found | None = None
        for href, anchor, rel in references:
            first = href[:1]
            if first == "/":
                found = look_up_rooted(href)
                if found is None:
                    found = self._find(href, from_root, base, host, depth)
            elif first == "#":  # nearly always the page itself
                if own is None:
                    own = self._find("#", from_directory, base, host, depth)
                found = own
            elif href.startswith(_ABSOLUTE):
                found = look_up_absolute(href)
                if found is None:
                    found = self._find(href, absolute, base, host, depth)
            else:
                found = look_up(href)
                if found is None:
                    found = self._find(href, from_directory, base, host, depth)
            target, target_host, fingerprint, reason = found
            if target in seen:
                continue
            if nofollow or (rel is not None and self._nofollow and "nofollow" in rel and "nofollow" in rel.split()):
                unfollowed.add(target)
                continue
            seen.add(target)
            if reason is not None:
                refused[target_host, reason] += 1
            elif len(outlinks) >= room:
                refused[target_host, "max_links"] += 1
            else:
                outlinks.append(_new(Outlink, (fingerprint, target, target_host, anchor, rel, "link")))
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

    def _find(self, reference: str, known: _Known, base: str, host: str, depth: int) -> _Found:
        """Where `reference` leads and whether it may, and remember that if it depends on no more than `known` does."""
        href = reference.partition("#")[0]
        found = self._find_plain(href, known, host, depth) if href[:1] not in _OF_THE_PAGE else None
        if found is None:
            stripped = reference.strip(_STRIPPED)
            fragment = stripped.find("#")
            # With the fragment, a space before it counts
            href = stripped if fragment >= 0 and stripped[fragment - 1] in _STRIPPED else stripped.partition("#")[0]
            # With a tab or line break in it, and behind "http:" alone, what it begins with is not what it seems
            if (
                href[:1] in _OF_THE_PAGE
                or not href.isprintable()
                or (known.prefix and href[:4].lower() == "http" and ":" in href[4:6])
            ):
                return self._judged(_target(href, base), host, depth)
            found = self._judged(_target(href, known.prefix or None), host, depth)
        if len(reference) <= _CACHED_LENGTH:
            self._room -= 1
            if self._room < 0:
                self._known.clear()
                self._origins.clear()
                self._room = _CACHED
            known.found[reference] = found
        return found

    def _find_plain(self, href: str, known: _Known, host: str, depth: int) -> _Found | None:
        """The same for what is canonical once it is joined, as most are; None says nothing."""
        prefix, target_host, is_plain, _ = known
        if not prefix:
            prefix = href[: href.find("/", 8) + 1]
            target_host = self._origins.get(prefix) or self._host_of_origin(prefix)
            if not target_host:
                return None
            rest = href[len(prefix) :]
        elif not is_plain:
            return None
        elif href[0] == "/":
            prefix, rest = prefix[: prefix.index("/", 8) + 1], href[1:]
        else:
            rest = href
            while rest[:3] == "../":
                rest = rest[3:]
                prefix = prefix[: max(prefix.rfind("/", 0, -1), prefix.index("/", 8)) + 1]
        url = join_plain(prefix, rest)
        if url is None:
            return None
        reason = self._verdict(url, target_host, host, depth)
        return url, target_host, plain_fingerprint(url) if reason is None else b"", reason

    def _host_of_origin(self, origin: str) -> str:
        """The host of `origin`, with a slash at its end, if that is its canonical form; else ""."""
        if origin in self._origins or not origin:
            return ""
        is_canonical = canonicalize(origin) == origin
        self._origins[origin] = host_of(origin) if is_canonical else None
        self._room -= 1
        return host_of(origin) if is_canonical else ""

    def _judged(self, target: Target | None, host: str, depth: int) -> _Found:
        if target is None:
            return _NOWHERE
        return (*target, self._verdict(target.url, target.host, host, depth))

    def redirect(
        self, url: str, host: str, depth: int, target: str | None, kind: str, base: str | None = None
    ) -> tuple[list[Outlink], Refused]:
        """The same for where `url` redirects to: no link at all if that is itself."""
        refused: Refused = Counter()
        found = _target(target, base or url) if target is not None else None
        if found is None or found.url == url:
            return [], refused
        reason = self._verdict(found.url, found.host, host, depth)
        if reason is not None:
            refused[found.host, reason] += 1
            return [], refused
        return [Outlink(found.fingerprint, found.url, found.host, None, None, kind)], refused


def _target(href: str, base: str | None) -> Target | None:
    url = canonicalize(href, base)
    return None if url is None else Target(url, host_of(url), url_fingerprint(url))
