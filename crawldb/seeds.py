"""Seed lines: `URL[<TAB>key=value]…` to rows of a delta.

Owns the format of seed files. Reserved keys: score, interval, interval.fixed, priority, method, body, headers (a JSON
object) and, for Nutch's seed files, nutch.score, nutch.fetchInterval and nutch.fetchInterval.fixed; every other key is
metadata. In `body`, \\n, \\t and \\\\ stand for line end, tab and backslash; only there may be bytes that are no UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawldb import schema
from crawldb.fingerprint import fingerprint, plain_fingerprints, url_fingerprint
from crawldb.settings import Settings
from crawldb.urlfilters import Link, build, certainly_wanted
from crawldb.urls import are_plain, canonicalize, host_of, hosts_of


class BadSeed(NamedTuple):
    """A seed line that could not be used."""

    line: int
    """Its number, from 1."""
    why: str


_NUTCH_KEYS = {
    "nutch.score": "score",
    "nutch.fetchInterval": "interval",
    "nutch.fetchInterval.fixed": "interval.fixed",
}
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,30}")  # a token of RFC 9110 §5.6.2, as methods are written
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 §5.5
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # how Python decodes it (surrogateescape), and what no column can hold
_SPACED_FIELD = re.compile(r"\s[\w.]+=")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class SeedReader:
    """Turns seed lines into tables of schema.DELTA, plus `order` (int64), the place in the input."""

    schema = schema.DELTA.append(pa.field("order", pa.int64()))

    def __init__(self, settings: Settings, now: int, update: bool) -> None:
        self._refuse = build(settings)
        self._wanted = certainly_wanted(settings)
        self._chosen = {name.lower() for name in settings.request.fingerprint_headers}
        self._now, self._update = now, update

    def read(self, lines: Iterable[tuple[int, str]], first_order: int) -> tuple[pa.Table, list[BadSeed]]:
        """The seeds of numbered lines as one table in their order, and the lines that are none.

        `order` of line n is `first_order` + n.
        """
        lines = list(lines)
        plain, others = self._read_plain(lines, first_order)
        table, bad = self._read_each(others, first_order)
        if not plain.num_rows:
            return table, bad
        if table.num_rows:
            plain = pa.concat_tables([plain, table]).sort_by("order")
        return plain, bad

    def _read_plain(self, lines: list[tuple[int, str]], first_order: int) -> tuple[pa.Table, list[tuple[int, str]]]:
        """The lines that are nothing but a canonical URL which the filters let pass, as columns; and all others."""
        if self._wanted is None:
            return self.schema.empty_table(), lines
        try:
            texts = pc.utf8_trim_whitespace(pa.array([line for _, line in lines], pa.string()))
        except UnicodeEncodeError:  # some line is not UTF-8
            return self.schema.empty_table(), lines
        rows = np.flatnonzero(are_plain(texts))
        rows = rows[self._wanted(texts.take(pa.array(rows)))]
        urls = texts.take(pa.array(rows))
        orders = first_order + np.fromiter((number for number, _ in lines), np.int64, len(lines))[rows]
        rest = np.ones(len(lines), np.bool_)
        rest[rows] = False
        table = self._table(plain_fingerprints(urls), urls, hosts_of(urls), pa.array(orders), {})
        return table, [lines[row] for row in np.flatnonzero(rest).tolist()]

    def _read_each(self, lines: list[tuple[int, str]], first_order: int) -> tuple[pa.Table, list[BadSeed]]:
        fingerprints: list[bytes] = []
        urls: list[str] = []
        hosts: list[str] = []
        orders: list[int] = []
        extras: dict[int, dict[str, Any]] = {}
        bad: list[BadSeed] = []
        for number, line in lines:
            line = line.strip(" \r\n\t\ufeff")
            if not line or line[0] == "#":
                continue
            text, tab, fields = line.partition("\t")
            try:
                url, host = self._url(text)
                extra = self._extra(fields) if tab else None
            except ValueError as error:
                bad.append(BadSeed(number, str(error)))
                continue
            if extra:
                extras[len(urls)] = extra
                fingerprints.append(self._fingerprint(url, extra))
            else:
                fingerprints.append(url_fingerprint(url))
            urls.append(url)
            hosts.append(host)
            orders.append(first_order + number)
        columns = pa.array(urls, pa.string()), pa.array(hosts, pa.string()), pa.array(orders, pa.int64())
        return self._table(fingerprints, *columns, extras), bad

    def _url(self, text: str) -> tuple[str, str]:
        """The canonical URL and its host. ValueError says why it can't be crawled."""
        url = canonicalize(text)
        if url is None:
            raise ValueError(f"not an http or https URL: {_shown(text)}")
        if " " in text and _SPACED_FIELD.search(text):
            raise ValueError(f"expected a tab before key=value, and %20 for a space: {_shown(text)}")
        if not text.isascii() and _NOT_UTF8.search(text):
            raise ValueError(f"not UTF-8: {_shown(text)}")
        host = host_of(url)
        refused = self._refuse(Link(url, host, None, 0))
        if refused is not None:
            raise ValueError(f"refused by URL filter {refused}: {_shown(url)}")
        return url, host

    def _fingerprint(self, url: str, extra: dict[str, Any]) -> bytes:
        headers = extra.get("headers", {}).items()
        chosen = {name: value for name, value in headers if name.lower() in self._chosen}
        return fingerprint(url, extra.get("method"), extra.get("body"), chosen)

    def _extra(self, text: str) -> dict[str, Any]:
        """The key=value fields of a line. ValueError says what is wrong with one."""
        extra: dict[str, Any] = {}
        metadata: dict[str, str] = {}
        for item in text.split("\t"):
            if not item.strip():
                continue
            name, equals, value = item.partition("=")
            name = name.strip()
            if not equals or not name:
                raise ValueError(f"expected key=value, found: {_shown(item)}")
            key = _NUTCH_KEYS.get(name, name)
            if key != "body" and not item.isascii() and _NOT_UTF8.search(item):
                raise ValueError(f"not UTF-8: {_shown(item)}")
            read = _READERS.get(key)
            if read is None:
                metadata[key] = value
            else:
                try:
                    extra[key] = read(value)
                except ValueError as error:
                    raise ValueError(f"{_shown(item)}: {error}") from None
        fixed = extra.pop("interval.fixed", None)
        if fixed is not None:
            extra |= {"interval": fixed, "interval_fixed": True}
        if extra.get("method") == "GET":
            del extra["method"]
        if not extra.get("body", True):
            del extra["body"]
        if metadata:
            extra["metadata"] = list(metadata.items())
        return extra

    def _table(
        self, fingerprints: list[bytes], urls: pa.Array, hosts: pa.Array, orders: pa.Array,
        extras: dict[int, dict[str, Any]],
    ) -> pa.Table:  # fmt: skip
        rows = len(urls)

        def sparse(key: str) -> list[Any]:
            column: list[Any] = [None] * rows
            for row, extra in extras.items():
                if key in extra:
                    column[row] = extra[key]
            return column

        known: dict[str, Any] = {
            "fingerprint": pa.array(fingerprints, schema.FINGERPRINT),
            "url": urls,
            "host": hosts.dictionary_encode(),
            "injected": pa.repeat(True, rows),
            "update": pa.repeat(True, rows) if self._update else pa.nulls(rows, pa.bool_()),
            "depth": pa.repeat(pa.scalar(0, pa.int16()), rows),
            "discovered_at": pa.repeat(pa.scalar(self._now, schema.TIME), rows),
            "order": orders,
        }
        if extras:
            known |= {
                "method": pa.array(sparse("method"), pa.string()).dictionary_encode(),
                "body": sparse("body"),
                "headers": [None if h is None else list(h.items()) for h in sparse("headers")],
                "score": sparse("score"),
                "priority": sparse("priority"),
                "metadata": sparse("metadata"),
                "interval": sparse("interval"),
                "interval_fixed": sparse("interval_fixed"),
            }
        arrays = []
        for field in self.schema:
            column = known.get(field.name)
            if column is None:
                column = pa.nulls(rows, field.type)
            elif isinstance(column, list):
                column = pa.array(column, field.type)
            arrays.append(column if column.type == field.type else column.cast(field.type))
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _shown(text: str) -> str:
    """Some input as part of a line for a terminal: not too long, and nothing in it that would move the cursor."""
    text = text if len(text) <= 200 else text[:200] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1e18 < value < 1e18:
        raise ValueError("expected a number")
    return value


def _whole(text: str) -> int:
    value = int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", text) else 1 << 31
    if not -(1 << 31) <= value < 1 << 31:
        raise ValueError("expected a whole number of 32 bits")
    return value


def _seconds(text: str) -> int:
    match = re.fullmatch(r"\s*([0-9]{1,10})\s*([smhdw]?)\s*", text)
    value = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < value < 1 << 31:
        raise ValueError("expected seconds, or a number with s, m, h, d or w, such as 12h")
    return value


def _method(text: str) -> str:
    method = text.strip().upper()
    if not _METHOD.fullmatch(method):
        raise ValueError("expected an HTTP method, such as POST")
    return method


def _body(text: str) -> bytes:
    escapes = {"n": "\n", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nt\\])", lambda match: escapes[match[1]], text).encode("utf-8", "surrogateescape")


def _headers(text: str) -> dict[str, str]:
    try:
        headers = json.loads(text)
    except (ValueError, RecursionError):
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError('expected a JSON object of strings, such as {"Accept": "text/html"}')
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"not a header field that HTTP can carry: {_shown(name)}")
    return {name: value.strip() for name, value in headers.items()}


_READERS: dict[str, Any] = {
    "score": _score,
    "interval": _seconds,
    "interval.fixed": _seconds,
    "priority": _whole,
    "method": _method,
    "body": _body,
    "headers": _headers,
}
