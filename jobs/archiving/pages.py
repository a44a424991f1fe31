"""Records as pages: of our own archives exactly what was exported, of others what a fetch would have made of them.

Owns which records belong together, and what an archived answer means. Content codings are undone by
`fetching.decoding`, within its limits; what a status means, `fetching.outcomes` says.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

import pyarrow as pa

from crawldb import schema
from crawldb.fingerprint import fingerprint
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from crawldb.urls import canonicalize, host_of, origin_of
from jobs.archiving import rows
from jobs.archiving.reading import Broken, Record, records
from jobs.fetching.contract import FetchRequest, FetchResult, KnownRobots
from jobs.fetching.replies import WIRE_SLACK, Reply, parse_fields, read_body, result_of
from jobs.fetching.robots import MAX_BYTES as ROBOTS_BYTES

_OWN_LIMIT = 1 << 31
"""Bytes of a record of ours: they were within fetch.max_bytes when they were fetched."""
_ALL_FIELDS = frozenset(
    name for name in FetchResult.__dataclass_fields__ if name not in ("request", "outcome", "followed")
)


class Lineage(NamedTuple):
    """What a page had from its fetchlist row."""

    score: float | None
    depth: int | None
    priority: int | None
    metadata: list[tuple[str, str]] | None


@dataclass(slots=True)
class Place:
    """Where a page stands, to read it again."""

    offset: int
    skip: int
    payload: tuple[int, int] | None = None
    """The same of the record that has its content, where it is a revisit of that."""


@dataclass(slots=True)
class ArchivedPage:
    """A request and what came of it."""

    result: FetchResult
    lineage: Lineage
    place: Place


@dataclass(slots=True)
class ArchivedRobots:
    """What was learned of a robots.txt."""

    known: KnownRobots
    crawl_delay: float | None
    place: Place
    is_own: bool


@dataclass(slots=True)
class Left:
    """A request that the fetch left for a later round."""

    fingerprint: bytes
    place: Place


@dataclass
class About:
    """What a file's warcinfo says."""

    segment: str | None = None
    """Of a Cobnut archive."""
    generated_at: int | None = None
    source: str = ""

    @property
    def is_own(self) -> bool:
        return self.segment is not None


Found = ArchivedPage | ArchivedRobots | Left | Broken


@dataclass
class Reader:
    """Reads the pages of one file, from the beginning or from a place in it."""

    path: str
    settings: Settings
    about: About = field(default_factory=About)
    skipped: int = 0
    """Records that are no part of a page: of other kinds, for other schemes."""
    records: int = 0
    _payloads: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the content with this record id, or this payload digest, is."""

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._answer: Record | None = None
        self._request: Record | None = None
        self._rendered: Record | None = None

    def pages(self) -> Iterator[Found]:
        """All of the file."""
        limit = self.settings.fetch.max_bytes + WIRE_SLACK + (1 << 18)
        source = iter(records(self.path, limit))
        for first in source:
            if isinstance(first, Record) and first.kind == "warcinfo":
                self.about = about_of(first)
                if self.about.is_own:
                    source = iter(records(self.path, _OWN_LIMIT))
                    next(source)
                self.records += 1
            else:
                source = iter(records(self.path, limit))
            break
        else:
            return
        yield from self._grouped(source)

    def at(self, place: Place, about: About) -> Found | None:
        """The page at a place."""
        self.about = about
        self._clear()
        limit = _OWN_LIMIT if about.is_own else self.settings.fetch.max_bytes + WIRE_SLACK + (1 << 18)
        if place.payload is not None:
            self._fixed = place.payload
        try:
            return next(self._grouped(records(self.path, limit, place.offset, place.skip)), None)
        finally:
            self._fixed = None

    _fixed: tuple[int, int] | None = None

    def _grouped(self, source: Iterator[Record | Broken]) -> Iterator[Found]:
        for record in source:
            if isinstance(record, Broken):
                yield from self._finish()
                yield record
                continue
            self.records += 1
            kind = record.kind
            if kind in ("response", "revisit", "resource"):
                request = self._request if self._answer is None and _belong(record, self._request) else None
                yield from self._finish()
                if not record.url.lower().startswith(("http:", "https:")):
                    self.skipped += 1
                    continue
                self._answer, self._request = record, request
                self._remember(record)
            elif kind == "request":
                if self._answer is not None and self._request is None and _belong(self._answer, record):
                    self._request = record
                else:
                    yield from self._finish()
                    self._request = record
            elif kind == "conversion" and self.about.is_own:
                self._rendered = record
            elif kind == "metadata" and (known := _own_metadata(record)) is not None:
                yield from self._own(record, known)
                self._clear()
            elif kind == "warcinfo":
                yield from self._finish()
                self.about = about_of(record)
            elif kind == "metadata" and self._answer is not None:
                pass  # another crawler's remarks on the page
            else:
                self.skipped += 1
        yield from self._finish()

    def _remember(self, record: Record) -> None:
        if record.kind == "revisit":
            return
        place = (record.offset, record.skip)
        for name in ("warc-record-id", "warc-payload-digest"):
            if value := record.fields.get(name):
                self._payloads.setdefault(value, place)

    def _finish(self) -> Iterator[Found]:
        """What the records held so far come to, where no metadata record of ours follows."""
        answer, request = self._answer, self._request
        self._clear()
        if answer is None:
            self.skipped += request is not None
            return
        found = self._foreign(answer, request)
        if found is None:
            self.skipped += 1
        else:
            yield found

    # -- our own -----------------------------------------------------------------------------------------------

    def _own(self, record: Record, known: dict[str, Any]) -> Iterator[Found]:
        answer = self._answer
        started = answer or record
        place = Place(started.offset, started.skip)
        try:
            if b"\\u" in record.block:
                json.dumps(known, ensure_ascii=False).encode()  # half a surrogate pair can be written nowhere
            if "left" in known:
                yield Left(_key(known["left"]["fingerprint"]), place)
            elif "robots" in known:
                yield self._own_robots(known["robots"], answer, place)
            else:
                yield self._own_page(known, answer, place)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield Broken(record.offset, f"not metadata of Cobnut's: {error!r}")

    def _own_robots(self, facts: dict[str, Any], answer: Record | None, place: Place) -> ArchivedRobots:
        _check(facts)
        if facts["origin"] is None or facts["fetched_at"] is None:
            raise ValueError("robots")
        body = None
        if facts["has_body"]:
            if answer is None:
                raise ValueError("its answer is missing")
            body = answer.block.partition(b"\r\n\r\n")[2]
        known = KnownRobots(
            facts["origin"], facts["url"], facts["fetched_at"], facts["status"], body, bool(facts["truncated"]),
            facts["failing_since"],
        )  # fmt: skip
        return ArchivedRobots(known, facts["crawl_delay"], place, True)

    def _own_page(self, known: dict[str, Any], answer: Record | None, place: Place) -> ArchivedPage:
        facts = known["page"]
        _check(facts)
        if canonicalize(facts["url"]) is None or isinstance(facts.get("truncated"), bool):
            raise ValueError("url, or truncated")
        headers: list[tuple[str, str]] = []
        content: bytes | None = None
        if facts.get("http_status") is not None:
            if answer is None:
                raise ValueError("its answer is missing")
            head, _, body = answer.block.partition(b"\r\n\r\n")
            headers = rows.original_fields(_fields_of(head))
            if "response_headers" in known:
                headers = _pairs(known["response_headers"])
            if facts.get("content_bytes") is not None:
                content = body
                if len(content) != facts["content_bytes"]:
                    content, place.payload = self._payload(answer)
                if len(content) != facts["content_bytes"]:
                    raise ValueError("its content has another length")
        body_of_request = base64.b64decode(facts["body"]) if "body" in facts else None
        request = FetchRequest(
            _key(facts["fingerprint"]), facts["url"], facts.get("method"),
            dict(_pairs(facts["headers"])) if "headers" in facts else None,
            body_of_request, facts["host"], None, None, 0,
        )  # fmt: skip
        result = FetchResult(request, FetchOutcome[facts["outcome"]], None, None, None, 0, 0)
        for name in _ALL_FIELDS:
            if name in facts:
                setattr(result, name, facts[name])
        if result.discovered_from is not None:
            result.discovered_from = _key(facts["discovered_from"])
        result.response_headers, result.content = headers, content
        if self._rendered is not None:
            result.rendered = self._rendered.block
        if known.get("request") == "sent" and self._request is not None:
            fields = _fields_of(self._request.block.partition(b"\r\n\r\n")[0])
            fields = fields[1:] if known.get("host_added") else fields
            if "request_headers" in known:
                fields = _pairs(known["request_headers"])[bool(known.get("host_added")) :]
            result.request_headers = fields
        metadata = _pairs(facts["metadata"]) if "metadata" in facts else None
        lineage = Lineage(facts.get("score"), facts.get("depth"), facts.get("priority"), metadata)
        return ArchivedPage(result, lineage, place)

    # -- of anybody ----------------------------------------------------------------------------------------------

    def _payload(self, revisit: Record) -> tuple[bytes, tuple[int, int] | None]:
        """The content that a revisit record refers to, and where it is; nothing if that is not in this file."""
        place = self._fixed
        for name in ("warc-refers-to", "warc-payload-digest"):
            place = place or self._payloads.get(revisit.fields.get(name, ""))
        if place is None:
            return b"", None
        limit = _OWN_LIMIT if self.about.is_own else self.settings.fetch.max_bytes + WIRE_SLACK + (1 << 18)
        found = next(records(self.path, limit, *place), None)
        if not isinstance(found, Record):
            return b"", None
        return (found.block if found.kind == "resource" else found.block.partition(b"\r\n\r\n")[2]), place

    def _foreign(self, answer: Record, request: Record | None) -> Found | None:
        url = canonicalize(answer.url)
        if url is None:
            return None
        at = milliseconds(answer.fields.get("warc-date", ""))
        if at is None:
            return Broken(answer.offset, f"WARC-Date: {answer.fields.get('warc-date', '')[:100]}")
        place = Place(answer.offset, answer.skip)
        if request is not None and (request.offset, request.skip) < (place.offset, place.skip):
            place = Place(request.offset, request.skip)
        reply = Reply(at, ip_address=answer.fields.get("warc-ip-address"))
        asked = self._asked(url, request)
        if answer.kind == "resource":
            reply.status = 200
            reply.fields = [("Content-Type", answer.fields.get("content-type", ""))]
            body, whole = answer.block, answer.is_whole
        else:
            head, _, body = answer.block.partition(b"\r\n\r\n")
            status = _status(head)
            if status is None:
                return None
            reply.status, reply.fields = status, _fields_of(head)
            whole = answer.is_whole
            protocol = answer.fields.get("warc-protocol") or head[:8].decode("latin-1").lower()
            reply.protocol = protocol if protocol in ("http/1.0", "http/1.1", "h2") else None
            if answer.kind == "revisit":
                body, place.payload = self._payload(answer)
                if reply.status != 304 and place.payload is None:
                    reply.status = 304  # the content is what it was; it is elsewhere
                    reply.fields = [one for one in reply.fields if one[0].lower() != "content-length"]
        limit = self.settings.fetch.max_bytes
        if url.endswith("/robots.txt") and url.count("/") == 3 and asked.method is None:
            return self._foreign_robots(url, reply, body, place)
        raw, reply.content = body, None
        if _header(reply.fields, "transfer-encoding").lower().endswith("chunked"):
            raw = unchunked(body)
        read_body(reply, raw, not whole, None, limit)
        if reply.status is None or (raw and not reply.content):
            # The coding was undone by who wrote the archive, and its field left as it was
            reply.status, reply.reason, reply.detail = reply.status or _status(answer.block), None, None
            reply.content, reply.truncated = raw[:limit], "bytes" if len(raw) > limit else None
        if (why := answer.fields.get("warc-truncated")) and reply.truncated is None:
            reply.truncated = {"length": "bytes", "time": "seconds"}.get(why.lower(), "broken")
        if url.startswith("https:"):
            reply.tls = "unverified"
        lineage = Lineage(self.settings.score.injected, 0, 0, None)
        result = result_of(asked, reply)
        if request is not None:
            result.request_headers = _fields_of(request.block.partition(b"\r\n\r\n")[0])
        return ArchivedPage(result, lineage, place)

    def _asked(self, url: str, request: Record | None) -> FetchRequest:
        method = body = None
        if request is not None:
            head, _, body = request.block.partition(b"\r\n\r\n")
            word = head[:20].partition(b" ")[0].decode("latin-1")
            method = word if word.isalpha() and word.upper() != "GET" else None
            body = body or None
        key = fingerprint(url, method, body)
        return FetchRequest(key, url, method, None, body, host_of(url), None, None, 0)

    def _foreign_robots(self, url: str, reply: Reply, body: bytes, place: Place) -> Found | None:
        if reply.status is None or reply.status == 304:
            return None
        if _header(reply.fields, "transfer-encoding").lower().endswith("chunked"):
            body = unchunked(body)
        status = reply.status
        read_body(reply, body, False, None, ROBOTS_BYTES)
        content = reply.content if 200 <= status < 300 else None
        failing = reply.began if status >= 500 or status == 429 else None
        known = KnownRobots(origin_of(url), url, reply.began, status, content, reply.truncated == "bytes", failing)
        return ArchivedRobots(known, None, place, False)


def about_of(record: Record) -> About:
    """What a warcinfo record says of its file."""
    values = dict(_fields_of(b"\r\n" + record.block))
    at = values.get("cobnut-generated-at", "")
    if values.get("software") != "Cobnut" or not _milliseconds(at) or not values.get("cobnut-segment"):
        return About()
    return About(values["cobnut-segment"], int(at), values.get("cobnut-source", ""))


def about(path: str) -> About:
    """What a file's warcinfo says; nothing if it does not begin with one."""
    first = next(records(path, 1 << 18), None)
    return about_of(first) if isinstance(first, Record) and first.kind == "warcinfo" else About()


def milliseconds(date: str) -> int | None:
    """WARC-Date in UTC milliseconds; of any precision, as WARC 1.1 allows. None if it is no date."""
    text = date.strip().removesuffix("Z")
    text, _, fraction = text.partition(".")
    try:
        at = datetime.fromisoformat(
            text + "-01-01T00:00:00"[3 * (len(text) > 4) + 3 * (len(text) > 7) :] if len(text) < 11 else text
        )
        return int(at.replace(tzinfo=timezone.utc).timestamp()) * 1000 + int((fraction + "000")[:3] or 0)
    except ValueError:
        return None


def unchunked(body: bytes) -> bytes:
    """A body without its chunks (RFC 9112 §7.1); as it is if there are none, for many archives have undone them."""
    place = 0
    pieces: list[bytes] = []
    while True:
        end = body.find(b"\n", place, place + 1000)
        size = body[place:end].partition(b";")[0].strip() if end >= 0 else b""
        try:
            length = int(size, 16) if size.isalnum() and len(size) < 16 else -1
        except ValueError:
            length = -1
        if length < 0:
            return b"".join(pieces) if pieces else body
        if length == 0:
            return b"".join(pieces)
        pieces.append(body[end + 1 : end + 1 + length])
        place = end + 1 + length
        if body[place : place + 2] == b"\r\n":
            place += 2
        elif body[place : place + 1] == b"\n":
            place += 1


def _fields_of(head: bytes) -> list[tuple[str, str]]:
    """Header fields of a message's head, its first line left out."""
    return parse_fields(line + b"\r\n" for line in head.split(b"\r\n")[1:] if line)


def _header(fields: list[tuple[str, str]], name: str) -> str:
    return next((value for key, value in fields if key.lower() == name), "")


def _status(head: bytes) -> int | None:
    """The status of a response's first line."""
    words = head[:100].split(None, 2)
    if len(words) < 2 or not words[0].upper().startswith(b"HTTP/") or not words[1][:3].isdigit():
        return None
    status = int(words[1][:3])
    return status if 100 <= status < 600 else None


def _belong(answer: Record, request: Record | None) -> bool:
    """True if a request record and an answer are of one exchange."""
    if request is None or request.url != answer.url:
        return False
    ids = answer.fields.get("warc-record-id"), request.fields.get("warc-record-id")
    linked = answer.fields.get("warc-concurrent-to"), request.fields.get("warc-concurrent-to")
    if linked == (None, None):
        return True
    return linked[0] == ids[1] or linked[1] == ids[0]


_milliseconds = re.compile(r"[0-9]{1,14}").fullmatch
_LAST = 10**14
"""UTC milliseconds: within what dates can say."""


def _kind_of(column: pa.Field) -> tuple[type, ...]:
    if column.name in rows.BYTES or column.name == "body":
        return (str,)  # hexadecimal, base 64
    if pa.types.is_floating(column.type):
        return (int, float)
    if pa.types.is_integer(column.type) or column.type == schema.TIME:
        return (int,)
    return (list,) if pa.types.is_map(column.type) else (str,)


_KINDS = {
    **{column.name: _kind_of(column) for column in schema.CONTENT if column.name not in rows.APART},
    "origin": (str,), "truncated": (str, bool), "status": (int,), "failing_since": (int,), "crawl_delay": (int, float),
}  # fmt: skip
_LIMITS = {
    **dict.fromkeys((*rows.TIMES, "failing_since"), _LAST), "status": 1 << 15, "crawl_delay": 1e9,
    **{column.name: 1 << column.type.bit_width - 1 for column in schema.CONTENT if pa.types.is_integer(column.type)},
}  # fmt: skip


def _check(facts: dict[str, Any]) -> None:
    """Raises ValueError for facts that are not of their column's kind: anybody may write that a file is ours."""
    for name, value in facts.items():
        kind = _KINDS.get(name)
        if kind is None:
            continue
        if type(value) not in kind and not (value is None and "origin" in facts):
            raise ValueError(name)
        limit = _LIMITS.get(name)
        if limit is not None and value is not None and not -limit < value < limit:
            raise ValueError(name)


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != schema.FINGERPRINT.byte_width:
        raise ValueError("fingerprint")
    return key


def _pairs(value: Any) -> list[tuple[str, str]]:
    pairs = [(name, text) for name, text in value]
    if not all(type(name) is str and type(text) is str for name, text in pairs):
        raise ValueError("fields")
    return pairs


def _own_metadata(record: Record) -> dict[str, Any] | None:
    if not record.fields.get("content-type", "").startswith("application/json"):
        return None
    try:
        known = json.loads(record.block)
    except (ValueError, RecursionError):
        return None
    return known if isinstance(known, dict) and known.get("cobnut") == rows.FORMAT else None


assert set(rows.TIMES) <= set(schema.CONTENT.names)
