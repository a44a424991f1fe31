"""Which URLs may enter the crawldb: a family of filters, and the chain that the settings make of them.

Owns the rule files (`regex-urlfilter.txt` in Nutch's format and the plain lists) and the limits on scope, depth,
length and what traps do (what a session id or a calendar is, `traps` knows). Sees canonical URLs only; does not fetch, count or log: a refusal is a word that the caller counts.

To add a filter: a function from Settings to a UrlFilter, and a line in URL_FILTERS.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb.errors import UsageError
from crawldb.families import find
from crawldb.settings import Settings, conf_directory
from crawldb.traps import has_session_id, has_year, is_far_date
from crawldb.urls import canonicalize, host_of, registrable_domain


class Link(NamedTuple):
    """What a filter is asked about."""

    url: str
    """Canonical."""
    host: str
    """Of `url`."""
    source_host: str | None
    """Of the page that links here; None: it is a seed."""
    depth: int
    """Links from the nearest seed."""


UrlFilter = Callable[[Link], "str | None"]
"""None if the link may enter, else why not, in one word: the filter's name, for regex with the rule's line."""


def keep(link: Link) -> str | None:
    """Refuses nothing; `build` leaves it out of the chain."""
    return None


def length(settings: Settings) -> UrlFilter:
    """No URL longer than filter.max_url_length."""
    longest = settings.filter.max_url_length
    return lambda link: "length" if len(link.url) > longest else None


def scope(settings: Settings) -> UrlFilter:
    """Links stay on their page's host or registrable domain (filter.scope). Seeds may be anywhere."""
    wanted = settings.filter.scope

    def same_host(link: Link) -> str | None:
        return None if link.source_host is None or link.host == link.source_host else "scope"

    def same_domain(link: Link) -> str | None:
        if link.source_host is None or link.host == link.source_host:
            return None
        return None if registrable_domain(link.host) == registrable_domain(link.source_host) else "scope"

    return {"host": same_host, "domain": same_domain}.get(wanted, keep)


def depth(settings: Settings) -> UrlFilter:
    """No link further than filter.max_depth from a seed; 0: any."""
    deepest = settings.filter.max_depth
    if not deepest:
        return keep
    return lambda link: "depth" if link.depth > deepest and link.source_host is not None else None


def path_depth(settings: Settings) -> UrlFilter:
    """No link whose path has more than filter.max_path_depth segments; 0: any."""
    most = settings.filter.max_path_depth

    def too_deep(link: Link) -> str | None:
        if link.url.count("/") <= most + _BEFORE_PATH or link.source_host is None:
            return None  # nearly all
        path = _path(link.url)
        return "path_depth" if path.count("/") - path.endswith("/") > most else None

    return too_deep if most else keep


def repeated_segments(settings: Settings) -> UrlFilter:
    """No link whose path has a segment more than filter.max_repeated_segments times; 0: any.

    Most likely a relative link that leads ever deeper into itself.
    """
    most = settings.filter.max_repeated_segments

    def repeats(link: Link) -> str | None:
        url = link.url
        if url.count("/") <= most + _BEFORE_PATH:
            return None
        segments = url.split("/")
        if len(segments) - len(set(segments)) < most or link.source_host is None:
            return None  # nearly all
        segments = _path(url).split("/")
        return "repeated_segments" if any(s and segments.count(s) > most for s in set(segments)) else None

    return repeats if most else keep


def query_parameters(settings: Settings) -> UrlFilter:
    """No link with more than filter.max_query_parameters parameters in its query; 0: any."""
    most = settings.filter.max_query_parameters

    def too_many(link: Link) -> str | None:
        if link.url.count("&") < most or link.source_host is None:
            return None
        return "query_parameters" if link.url.partition("?")[2].count("&") >= most else None

    return too_many if most else keep


def trap_session(settings: Settings) -> UrlFilter:
    """No link that carries a session id: every visit makes a new one."""
    return lambda link: "trap_session" if has_session_id(link.url) and link.source_host is not None else None


def trap_calendar(settings: Settings) -> UrlFilter:
    """No link to a calendar's date more than filter.calendar_years from now; 0: any. The year is that of the building."""
    years = settings.filter.calendar_years
    now = datetime.now(timezone.utc).year
    first, last = now - years, now + years

    def too_far(link: Link) -> str | None:
        return "trap_calendar" if is_far_date(link.url, first, last) and link.source_host is not None else None

    return too_far if years else keep


_BEFORE_PATH = 2
"""Slashes of a URL that are not its path's."""


def _path(url: str) -> str:
    """The path of a canonical URL, with its first slash."""
    start, end = url.find("/", 8), url.find("?")
    return url[start:] if end < 0 else url[start:end]


def domain(settings: Settings) -> UrlFilter:
    """Only hosts whose own name, registrable domain or public suffix stands in filter.domain_file."""
    names = frozenset(_host_name(place, text) for place, text in _entries("domain_file", settings))

    @functools.lru_cache(1 << 16)
    def reason(host: str) -> str | None:
        host = host.rstrip(".")
        name = registrable_domain(host)
        while host not in names and name not in names:
            name = name.partition(".")[2]  # what is left is its public suffix, then that one's own parents
            if not name:
                return "domain"
        return None

    return lambda link: reason(link.host)


def _host_name(place: str, text: str) -> str:
    url = None if text[0] != "[" and re.search(r"[/:?#@\\]", text) else canonicalize(f"http://{text.lstrip('.')}/")
    if url is None:
        raise UsageError(f"{place}: {text}: expected a host, a domain or a suffix, such as example.com")
    return host_of(url).rstrip(".")


def suffix(settings: Settings) -> UrlFilter:
    """No URL whose path ends in a line of filter.suffix_file, in upper or lower case."""
    suffixes: dict[int, set[str]] = {}
    for place, text in _entries("suffix_file", settings):
        if text[0] in "+-":
            raise UsageError(f"{place}: {text}: expected a suffix such as .jpg; all in the file are dropped")
        suffixes.setdefault(-len(text), set()).add(text.lower())
    by_length = list(suffixes.items())

    def ends_badly(link: Link) -> str | None:
        path = link.url.partition("?")[0].lower()
        for start, endings in by_length:
            if path[start:] in endings:
                return "suffix"
        return None

    return ends_badly


def prefix(settings: Settings) -> UrlFilter:
    """Only URLs that begin with a line of filter.prefix_file."""
    prefixes: dict[int, set[str]] = {}
    for place, text in _entries("prefix_file", settings):
        if not text.startswith(("http://", "https://")):
            raise UsageError(f"{place}: {text}: expected the beginning of a URL, such as https://example.com/docs/")
        prefixes.setdefault(len(text), set()).add(text)
    by_length = list(prefixes.items())

    def begins_badly(link: Link) -> str | None:
        for end, beginnings in by_length:
            if link.url[:end] in beginnings:
                return None
        return "prefix"

    return begins_badly


class Rule(NamedTuple):
    """One line of a regex-urlfilter.txt."""

    matches: Callable[[str], Any]
    """Truthy if the rule decides about the URL: `find()` of Java's, `search` of Python's."""
    pattern: str
    """What `matches` searches for."""
    reason: str | None
    """`regex:LINE`, or None: the rule keeps."""
    host: str | None
    """The host or registrable domain that the rule is for (`>` sections); None: any."""


def regex(settings: Settings) -> UrlFilter:
    """The first rule of filter.regex_file that matches decides; a URL that none matches is dropped (`regex:none`)."""
    rules = read_rules(*_open("regex_file", settings))
    plain = [(matches, reason) for matches, _, reason, host in rules if host is None]

    def first_match(link: Link) -> str | None:
        url = link.url
        for matches, reason in plain:
            if matches(url):
                return reason
        return "regex:none"

    def first_match_for_host(link: Link) -> str | None:
        for matches, _, reason, host in rules:
            if host is not None and host != link.host and host != registrable_domain(link.host):
                continue
            if matches(link.url):
                return reason
        return "regex:none"

    return first_match if len(plain) == len(rules) else first_match_for_host


def read_rules(file: str, lines: list[str]) -> list[Rule]:
    """The rules of a file in the format of Nutch's regex-urlfilter.txt; `file` is for messages.

    `+REGEX` keeps, `-REGEX` drops, `#` begins a comment; `>HOST` makes the rules after it count for one host or
    registrable domain only, until the next `<`. Raises UsageError with file and line.
    """
    rules = []
    host = None
    for number, line in enumerate(lines, 1):
        text = line.rstrip()  # a URL has no blanks, so a rule that ends in some could never match
        if not text or text.lstrip()[0] == "#":
            continue
        if text[0] == ">":
            host = _host_name(f"{file}:{number}", text[1:].strip() or "/")
        elif text[0] == "<":
            host = None
        elif text[0] in "+-":
            matches = _compile(text[1:], f"{file}:{number}")
            rules.append(Rule(matches, _searched(text[1:]), f"regex:{number}" if text[0] == "-" else None, host))
        else:
            raise UsageError(f"{file}:{number}: {text}: a rule begins in the first column, with + or -")
    return rules


_ESCAPE = re.compile(r"\\.")
_CHARACTER_CLASS = re.compile(r"\[\^?\]?([^\]]*)\]")
_ANYTHING_FIRST = re.compile(r"\^?\.\*(?![*+?{])")
_HINTS = {
    r"\p": r" (Java's \p{…}: write the characters, such as [a-z])",
    r"\P": r" (Java's \P{…}: write the characters, such as [^a-z])",
    r"\Q": r" (Java's \Q…\E: escape each character)",
    "?<": " (a named group is (?P<name>…))",
}


def _compile(pattern: str, place: str) -> Callable[[str], Any]:
    """What tells if `pattern` is found in a URL. UsageError for what Python cannot read or reads otherwise than Java."""
    for body in _CHARACTER_CLASS.findall(_ESCAPE.sub("_", pattern)):
        if "[" in body or "&&" in body:
            raise UsageError(
                f"{place}: {pattern}: a set within a set is Java's; write \\[ or \\& for the character, or one plain set"
            )
    searched = _searched(pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of may mean something else in the next version
            found = re.compile(searched).search
    except (re.error, OverflowError, RecursionError, Warning) as error:
        hint = next((hint for sign, hint in _HINTS.items() if sign in str(error)), "")
        raise UsageError(f"{place}: {pattern}: {error}{hint}") from None
    return bool if searched in ("", ".", "^") else found  # the usual last rule, for free


def _searched(pattern: str) -> str:
    """What finds the same as `pattern`, without a `.*` in front.

    Searching for `.*x` finds what searching for `x` finds, up to a thousand times slower: Nutch's own rule against
    loops, `.*(/.+?)/.*?\\1/.*?\\1/`, needs minutes for one URL of 1,500 characters.
    """
    return _ANYTHING_FIRST.sub("", pattern, count=1) if _ANYTHING_FIRST.match(pattern) else pattern


def _entries(key: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """`file:line` and text of each line of the list file that `filter.KEY` names, without comments and blank lines."""
    file, lines = _open(key, settings)
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and text[0] != "#":
            yield f"{file}:{number}", text


def _open(key: str, settings: Settings) -> tuple[str, list[str]]:
    """Name and lines of the file that `filter.KEY` names; a relative name is looked up in the conf directory."""
    name: str = getattr(settings.filter, key)
    if not name:
        raise UsageError(f"filter.{key} is empty: filter.use names the filter that reads it")
    file = conf_directory() / name  # an absolute name stays itself
    try:
        return str(file), Path(file).read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UsageError(f"filter.{key} = {name}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"filter.{key} = {name}: {error}") from None


def certainly_wanted(
    settings: Settings, link_depth: int | None = None
) -> Callable[[pa.Array], NDArray[np.bool_]] | None:
    """What tells, for a column of URLs that are `urls.are_plain`, which certainly pass filter.use; False says nothing.

    The URLs are seeds, or with `link_depth` links of that depth within their own hosts. None if a filter is in use that
    has no answer for whole columns.
    """
    if not set(settings.filter.use) <= {"length", "regex"} | _FOR_LINKS_ALONE:
        return None
    rules = read_rules(*_open("regex_file", settings)) if "regex" in settings.filter.use else None
    if rules is not None and any(rule.host is not None for rule in rules):
        return None

    def wanted(urls: pa.Array) -> NDArray[np.bool_]:
        passes = np.ones(len(urls), np.bool_)
        if "length" in settings.filter.use:
            passes &= pc.binary_length(urls).to_numpy() <= settings.filter.max_url_length
        if rules is not None:
            passes &= _kept_by(rules, urls)
        if link_depth is not None:
            _links_certainly_wanted(settings, urls, link_depth, passes)
        return passes

    return wanted


def _links_certainly_wanted(settings: Settings, urls: pa.Array, link_depth: int, passes: NDArray[np.bool_]) -> None:
    """Take from `passes` what the filters that are _FOR_LINKS_ALONE may refuse. A plain URL has no query."""
    used, own = set(settings.filter.use), settings.filter
    if "depth" in used and own.max_depth and link_depth > own.max_depth:
        passes[:] = False
    if "path_depth" in used and own.max_path_depth:
        passes &= pc.count_substring(urls, "/").to_numpy() <= own.max_path_depth + _BEFORE_PATH
    if "trap_calendar" in used and own.calendar_years:
        passes &= ~pc.match_substring_regex(urls, "[/-]20|/19|/21").to_numpy(zero_copy_only=False)
    if "repeated_segments" in used and own.max_repeated_segments:
        most = own.max_repeated_segments
        deep = np.flatnonzero(passes & (pc.count_substring(urls, "/").to_numpy() > most + _BEFORE_PATH))
        segments = [url.split("/") for url in urls.take(pa.array(deep)).to_pylist()]
        passes[deep] = [len(each) - len(set(each)) < most for each in segments]


def _kept_by(rules: list[Rule], urls: pa.Array) -> NDArray[np.bool_]:
    """Which URLs the first rule that matches keeps, a rule at a time over all that none has matched before."""
    kept = np.zeros(len(urls), np.bool_)
    waiting = np.arange(len(urls))
    for rule in rules:
        found = _found(rule, urls.take(pa.array(waiting)))
        kept[waiting[found]] = rule.reason is None
        waiting = waiting[~found]
    return kept


def _found(rule: Rule, urls: pa.Array) -> NDArray[np.bool_]:
    if rule.matches is bool:
        return np.ones(len(urls), np.bool_)
    try:
        # RE2 and Python agree on plain ASCII; what RE2 does not know (look-around, back-references) it refuses.
        found: NDArray[np.bool_] = pc.match_substring_regex(urls, rule.pattern).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        found = np.fromiter((rule.matches(url) is not None for url in urls.to_pylist()), np.bool_, len(urls))
    return found


URL_FILTERS: dict[str, Callable[[Settings], UrlFilter]] = {
    "length": length,
    "regex": regex,
    "domain": domain,
    "suffix": suffix,
    "prefix": prefix,
    "scope": scope,
    "depth": depth,
    "path_depth": path_depth,
    "repeated_segments": repeated_segments,
    "query_parameters": query_parameters,
    "trap_session": trap_session,
    "trap_calendar": trap_calendar,
}

_FOR_LINKS_ALONE = frozenset({"scope", "depth", "path_depth", "repeated_segments", "query_parameters", "trap_session",
                              "trap_calendar"})  # fmt: skip
"""A seed is somebody's wish, and a list of them ends: it passes these."""


_FOR_THE_REMARKABLE = frozenset(
    {"path_depth", "repeated_segments", "query_parameters", "trap_session", "trap_calendar"}
)
"""Filters that refuse no URL that is unremarkable."""


def _unremarkable(settings: Settings) -> Callable[[str], bool]:
    """What tells of a URL that it repeats nothing, has few fields and neither a session nor anything like a year: most."""
    deepest = (settings.filter.max_path_depth or 1 << 16) + _BEFORE_PATH
    repeated = settings.filter.max_repeated_segments or 1 << 16
    fields = settings.filter.max_query_parameters or 1 << 16

    def is_unremarkable(url: str) -> bool:
        if "=" in url:  # a canonical query has one
            if url.count("&") >= fields or has_year(url) or has_session_id(url):
                return False
        elif "/20" in url or "-20" in url or "/19" in url or "/21" in url:
            return False
        slashes = url.count("/")
        if slashes > deepest or "/(" in url:
            return False
        if slashes <= repeated + _BEFORE_PATH:
            return True
        segments = url.split("/")
        return len(segments) - len(set(segments)) < repeated

    return is_unremarkable


def build(settings: Settings) -> UrlFilter:
    """The filters of filter.use as one: the first refusal is the reason. UsageError for what the user must mend."""
    chain = [(name, find(URL_FILTERS, name, "filter.use")(settings)) for name in settings.filter.use]
    filters = tuple(member for _, member in chain if member is not keep)
    few = tuple(member for name, member in chain if member is not keep and name not in _FOR_THE_REMARKABLE)
    is_unremarkable = _unremarkable(settings)

    def first_refusal(link: Link) -> str | None:
        for member in few if is_unremarkable(link.url) else filters:
            reason = member(link)
            if reason is not None:
                return reason
        return None

    return filters[0] if len(filters) == 1 else first_refusal


Verdict = Callable[[str, str, "str | None", int], "str | None"]
"""A UrlFilter that takes a Link's fields one by one."""


def build_verdict(settings: Settings) -> Verdict:
    """The same as `build`, for links by the thousand: what most of them are asked is asked here, without a Link."""
    whole = build(settings)
    names = [name for name in settings.filter.use if name not in _FOR_THE_REMARKABLE]
    asked = [name for name in names if URL_FILTERS[name](settings) is not keep]
    rules = read_rules(*_open("regex_file", settings)) if "regex" in asked else []
    if asked not in (["length"], ["regex"], ["length", "regex"]) or any(rule.host is not None for rule in rules):
        return lambda url, host, source_host, depth: whole(Link(url, host, source_host, depth))
    longest = settings.filter.max_url_length if "length" in asked else 1 << 62
    decide = tuple((rule.matches, rule.reason) for rule in rules)
    otherwise = "regex:none" if "regex" in asked else None
    is_unremarkable = _unremarkable(settings)

    def verdict(url: str, host: str, source_host: str | None, depth: int) -> str | None:
        if not is_unremarkable(url):
            return whole(Link(url, host, source_host, depth))
        if len(url) > longest:
            return "length"
        for matches, reason in decide:
            if matches(url):
                return reason
        return otherwise

    return verdict
