"""What sitemaps list, as delta rows: entries as they stand in, rows of schema.DELTA out.

Owns what an entry is worth: which of its URLs may be listed where it stands (sitemaps.org's rule of location, and
cross-submits), how its lastmod, changefreq and priority are read, what the URL filters say; and `merge`, which brings
the rows of any number of sitemaps down to one a request. `merge` is associative and does not depend on order. Reads no
XML and fetches nothing; what was left out, and why, is counted for the caller.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.fingerprint import plain_fingerprints, url_fingerprint
from crawldb.settings import Settings
from crawldb.urlfilters import Link, build, certainly_wanted
from crawldb.urls import are_plain, canonicalize, host_of, hosts_of

MAX_URL = 2048
"""Characters; a URL must have fewer (sitemaps.org)."""

DEFAULT_PRIORITY = 0.5
"""Of an entry that names none (sitemaps.org)."""

CHANGEFREQS = pa.array(["always", "hourly", "daily", "weekly", "monthly", "yearly", "never"], pa.string())


class Entries(NamedTuple):
    """Entries of a sitemap as they stand in it, column by column; None for what an entry lacks."""

    urls: list[str]
    lastmods: list[str | None]
    changefreqs: list[str | None]
    priorities: list[str | None]

    @classmethod
    def plain(cls, urls: list[str]) -> Entries:
        """URLs and nothing else."""
        nothing: list[str | None] = [None] * len(urls)
        return cls(urls, nothing, nothing, nothing)

    def skip(self, number: int) -> Entries:
        """Without the first so many."""
        return Entries(*(column[number:] for column in self)) if number else self  # type: ignore[arg-type]

    def first(self, number: int) -> Entries:
        """Only the first so many."""
        return self if len(self.urls) <= number else Entries(*(column[:number] for column in self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.urls)


class Scope(NamedTuple):
    """Where the URLs of a sitemap may be."""

    directory: str
    """The sitemap's own URL up to the last slash of its path: what begins so may be listed, …"""
    authorities: frozenset[str]
    """… and so may all of the hosts (with port, if it is not the scheme's own) whose robots.txt names the sitemap."""

    @classmethod
    def of(cls, url: str, authorities: Iterable[str] = ()) -> Scope:
        """The scope of the sitemap at `url` (canonical).

        >>> Scope.of("https://example.com/catalog/sitemap.xml?page=/2").directory
        'https://example.com/catalog/'
        """
        path = url.partition("?")[0]
        return cls(path[: path.rindex("/") + 1], frozenset(authorities))

    def allows(self, url: str) -> bool:
        """True if a canonical URL may be listed."""
        return url.startswith(self.directory) or authority_of(url) in self.authorities


def authority_of(url: str) -> str:
    """Host, and port if it is not the scheme's own, of a canonical URL or an origin.

    >>> authority_of("https://example.com/a"), authority_of("http://127.0.0.1:8000")
    ('example.com', '127.0.0.1:8000')
    """
    return url.split("/", 3)[2]


class Listings:
    """Makes delta rows of entries."""

    def __init__(self, settings: Settings, now: int) -> None:
        """`now`: UTC milliseconds; when the URLs count as listed."""
        self._verdict = build(settings)
        self._certain = certainly_wanted(settings, link_depth=1)
        self._injected = settings.score.injected
        self._now = now

    def rows(
        self, entries: Entries, source: bytes | None, scope: Scope | None, counts: Counter[str], base: str | None = None
    ) -> pa.Table:
        """Rows of schema.DELTA, in the order of the entries, of those that may enter the crawldb.

        `source`: fingerprint of the sitemap's URL. `scope` None: URLs may be anywhere. `base`: what relative URLs, which
        only feeds may have, are relative to. `counts` learns of every entry that is left out: too_long, not_a_url,
        out_of_scope or the filters' word; and of values that are passed over: bad_lastmod, bad_changefreq, bad_priority.
        """
        kept, urls, plain = self._canonical(entries.urls, counts, base)
        if scope is not None and len(kept):
            inside = _inside(urls, scope)
            if not inside.all():
                counts["out_of_scope"] += int(len(kept) - np.count_nonzero(inside))
                kept, plain, urls = kept[inside], plain[inside], urls.take(pa.array(np.flatnonzero(inside)))
        hosts = _hosts(urls, plain)
        wanted = self._wanted(urls, plain, hosts, counts)
        if not wanted.all():
            rows = pa.array(np.flatnonzero(wanted))
            kept, plain, urls, hosts = kept[wanted], plain[wanted], urls.take(rows), hosts.take(rows)
        return self._table(entries, kept, urls, plain, hosts, source, counts)

    def _canonical(
        self, texts: list[str], counts: Counter[str], base: str | None
    ) -> tuple[NDArray[np.int64], pa.Array, NDArray[np.bool_]]:
        """Which entries have a URL, those in canonical form, and which of them `are_plain`."""
        try:
            column = pa.array(texts, pa.string())
            plain = are_plain(column)
        except UnicodeEncodeError:  # lone surrogates
            plain = np.zeros(len(texts), np.bool_)
        short = np.fromiter((len(text) < MAX_URL for text in texts), np.bool_, len(texts))
        counts["too_long"] += int(np.count_nonzero(~short))
        plain &= short
        others = np.flatnonzero(~plain & short).tolist()
        canonical = [canonicalize(texts[row], base) for row in others]
        counts["not_a_url"] += canonical.count(None)
        if not others:
            kept = np.flatnonzero(plain)
            return kept, column if len(kept) == len(texts) else column.take(pa.array(kept)), plain[kept]
        spelled: list[str | None] = list(texts)
        for row, url in zip(others, canonical, strict=True):
            spelled[row] = url
        usable = plain.copy()
        usable[others] = [url is not None for url in canonical]
        kept = np.flatnonzero(usable)
        return kept, pa.array([spelled[row] for row in kept.tolist()], pa.string()), plain[kept]

    def _wanted(
        self, urls: pa.Array, plain: NDArray[np.bool_], hosts: pa.Array, counts: Counter[str]
    ) -> NDArray[np.bool_]:
        """Which URLs pass the filters, each as a link within its own host, which stands for it."""
        wanted = np.zeros(len(urls), np.bool_)
        if self._certain is not None:
            rows = np.flatnonzero(plain)
            wanted[rows] = self._certain(urls if len(rows) == len(urls) else urls.take(pa.array(rows)))
        doubtful = np.flatnonzero(~wanted)
        some = pa.array(doubtful)
        for row, url, host in zip(
            doubtful.tolist(), urls.take(some).to_pylist(), hosts.take(some).to_pylist(), strict=True
        ):
            reason = self._verdict(Link(url, host, host, 1))
            if reason is None:
                wanted[row] = True
            else:
                counts[reason] += 1
        return wanted

    def _table(
        self, entries: Entries, kept: NDArray[np.int64], urls: pa.Array, plain: NDArray[np.bool_], hosts: pa.Array,
        source: bytes | None, counts: Counter[str],
    ) -> pa.Table:  # fmt: skip
        rows = len(kept)
        place = kept.tolist()
        whole = rows == len(entries)
        lastmods = entries.lastmods if whole else [entries.lastmods[row] for row in place]
        changefreqs = entries.changefreqs if whole else [entries.changefreqs[row] for row in place]
        priorities = entries.priorities if whole else [entries.priorities[row] for row in place]
        lastmod = _lastmods(lastmods, self._now, counts)
        changefreq = _read_each(changefreqs, _changefreq, "bad_changefreq", counts)
        priority = pa.array(_read_each(priorities, _priority, "bad_priority", counts), pa.float32())
        score = priority.cast(pa.float64()).fill_null(DEFAULT_PRIORITY).to_numpy(zero_copy_only=False) * self._injected
        now = pa.repeat(pa.scalar(self._now, schema.TIME), rows)
        known: dict[str, Any] = {
            "fingerprint": pa.array(_fingerprints(urls, plain), schema.FINGERPRINT),
            "url": urls,
            "host": hosts.dictionary_encode(),
            "score": pa.array(score.astype(np.float32)),
            "depth": pa.repeat(pa.scalar(1, pa.int16()), rows),
            "discovered_at": now,
            "discovered_from": pa.repeat(pa.scalar(source, schema.FINGERPRINT), rows),
            "linked_at": now,
            "listed": pa.repeat(True, rows),
            "lastmod": lastmod,
            "changefreq": pa.array(changefreq, pa.string()).dictionary_encode(),
            "sitemap_priority": priority,
        }
        arrays = []
        for field in schema.DELTA:
            column = known.get(field.name)
            if column is None:
                column = pa.nulls(rows, field.type)
            arrays.append(column if column.type == field.type else column.cast(field.type))
        return pa.Table.from_arrays(arrays, schema=schema.DELTA)


def _inside(urls: pa.Array, scope: Scope) -> NDArray[np.bool_]:
    below = pc.starts_with(urls, scope.directory)
    if scope.authorities:
        authority = pc.list_element(pc.split_pattern(urls, "/", max_splits=3), 2)
        below = pc.or_(below, pc.is_in(authority, pa.array(sorted(scope.authorities), pa.string())))
    inside: NDArray[np.bool_] = below.to_numpy(zero_copy_only=False)
    return inside


def _hosts(urls: pa.Array, plain: NDArray[np.bool_]) -> pa.Array:
    if plain.all():
        return hosts_of(urls) if len(urls) else pa.array([], pa.string())
    return pa.array([host_of(url) for url in urls.to_pylist()], pa.string())


def _fingerprints(urls: pa.Array, plain: NDArray[np.bool_]) -> list[bytes]:
    if plain.all():
        return plain_fingerprints(urls)
    return [url_fingerprint(url) for url in urls.to_pylist()]


def _read_each(texts: list[str | None], read: Any, bad: str, counts: Counter[str]) -> list[Any]:
    """Each text's value by `read`, which is asked once for each distinct one; None where there is none."""
    distinct = set(texts)
    distinct.discard(None)
    if not distinct:
        return [None] * len(texts)
    values = {text: read(text) for text in distinct}
    if None in values.values():
        counts[bad] += sum(text is not None and values[text] is None for text in texts)
    values[None] = None
    return [values[text] for text in texts]


_W3C_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)? ?([Zz]|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def w3c_time(text: str) -> int | None:
    """UTC milliseconds of a date of the W3C's profile of ISO 8601 (or one of RFC 5322, which RSS has); else None.

    A month is its first day, a time without zone is UTC's.

    >>> w3c_time("1970-01-02"), w3c_time("1970-01-01T01:00:00.5+01:00"), w3c_time("yesterday")
    (86400000, 500, None)
    """
    match = _W3C_DATE.fullmatch(text)
    try:
        if match is None:
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            return (moment - _EPOCH) // _MILLISECOND
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        seconds = min(int(second or 0), 59)  # a leap second
        moment = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), seconds,
                          tzinfo=timezone.utc)  # fmt: skip
        milliseconds = (moment - _EPOCH) // _MILLISECOND + int(((fraction or "") + "000")[:3])
        if zone and zone not in "Zz":
            offset = int(zone[1:3]) * 60 + int(zone[-2:])
            milliseconds -= (-offset if zone[0] == "-" else offset) * 60_000
        return milliseconds
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_DAY = 86_400_000
_DATE = r"^[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_USUAL_DATES = (
    (f"{_DATE}$", pa.timestamp("ms")),
    (f"{_DATE}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])$", schema.TIME),
)
"""What Arrow reads as `w3c_time` does, and cannot fail to: days after the 28th are left to that."""


def _lastmods(texts: list[str | None], now: int, counts: Counter[str]) -> pa.Array:
    """The lastmods as times, null for what is none.

    One in the future would call its page modified for ever; within a day it is another zone's today.
    """
    rows = len(texts)
    times = np.zeros(rows, np.int64)
    known = np.zeros(rows, np.bool_)
    given = np.fromiter((text is not None for text in texts), np.bool_, rows)
    if given.any():
        column = pa.array(texts, pa.string())
        for pattern, kind in _USUAL_DATES:
            usual = np.flatnonzero(
                pc.match_substring_regex(column, pattern).fill_null(False).to_numpy(zero_copy_only=False)
            )
            if len(usual):
                read = (column if len(usual) == rows else column.take(pa.array(usual))).cast(kind)
                times[usual] = read.cast(pa.int64()).to_numpy()
                known[usual] = True
        others = np.flatnonzero(given & ~known).tolist()
        values = {text: w3c_time(text) for text in {texts[row] for row in others} if text is not None}
        for row in others:
            if (value := values[texts[row] or ""]) is not None:
                times[row], known[row] = value, True
        known &= times <= now + _DAY
        counts["bad_lastmod"] += int(np.count_nonzero(given & ~known))
    return pa.array(np.minimum(times, now), pa.int64(), mask=~known).cast(schema.TIME)


def _changefreq(text: str) -> str | None:
    word = text.lower()
    return word if word in _CHANGEFREQ_WORDS else None


_CHANGEFREQ_WORDS = frozenset(CHANGEFREQS.to_pylist())


def _priority(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """One row per request, sorted by fingerprint, of rows of `Listings.rows` or `merge`.

    Of several entries for one request the one with the latest lastmod counts, whole; then that of the sitemap with the
    lowest fingerprint, the highest priority, the shortest changefreq.
    """
    table = pa.concat_tables(tables).unify_dictionaries()
    if not table.num_rows:
        return table
    keys = shards.key_bytes(table["fingerprint"])
    changefreq = schema.codes(table["changefreq"], CHANGEFREQS).astype(np.int64)
    changefreq[changefreq < 0] = len(CHANGEFREQS)
    priority = table["sitemap_priority"].cast(pa.float64()).fill_null(-1.0).to_numpy()
    lastmod = table["lastmod"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min + 1).to_numpy()
    order = np.lexsort((changefreq, -priority))
    sources = shards.key_bytes(table["discovered_from"].combine_chunks().fill_null(b"\xff" * 20))
    order = order[shards.sort_order(sources[order])]
    order = order[np.argsort(-lastmod[order], kind="stable")]
    order = order[shards.sort_order(keys[order])]
    ordered = keys[order]
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    return table.take(pa.array(order[first]))
