"""Content rows as WARC records: what stands where, and what of it Cobnut needs to take it back without a loss.

A page is up to four records, one after another: `response` (`revisit` for a 304 and for content that is in the same
file already), `request`, `conversion` (the rendered DOM) and, last, `metadata`, with all else that the row says as
JSON. A request that got no answer is a metadata record alone. So is a robots.txt without answer, and a request of the
fetchlist that the fetch left for a later round.

An archived body has no content coding and no transfer coding any more. So that nobody undoes them again, the header
fields that told of them have another name, in their place: X-Crawl-Content-Encoding and so on (as in Common Crawl's
archives), and a Content-Length that fits comes last.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any

import pyarrow as pa

from crawldb import schema
from jobs.archiving import cdxj
from jobs.archiving.records import WarcFile, head_of, record_ids, sha1

FORMAT = 1
"""Of the JSON in our metadata records, under the key `cobnut`."""
RENAMED = "X-Crawl-"
CODED = frozenset({"content-encoding", "transfer-encoding", "content-length"})
PROFILE = "http://netpreserve.org/warc/1.1/revisit/"
TRUNCATED = {"bytes": "length", "seconds": "time", "broken": "disconnect"}
"""CONTENT's words → WARC-Truncated's."""
REQUEST_FIELD = "X-Cobnut-Request"
"""A named field of request records: `sent`, or `rebuilt` where what was sent was not kept."""
APART = ("response_headers", "request_headers", "content", "rendered")
"""Columns that have records of their own; the metadata record has all others."""
TIMES = tuple(one.name for one in schema.CONTENT if one.type == schema.TIME)
BYTES = ("fingerprint", "discovered_from")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_KINDS = ("response", "request", "conversion", "metadata")

Fields = list[tuple[str, str]]


def date_of(at: int) -> str:
    """UTC milliseconds as WARC-Date has it."""
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def head_block(first: str, fields: Fields) -> bytes:
    """An HTTP message's first line and fields, to the empty line."""
    return "".join([first, "\r\n", *[f"{name}: {value}\r\n" for name, value in fields], "\r\n"]).encode()


def is_faithful(fields: Fields, block: bytes) -> bool:
    """True if reading the block gives exactly these fields."""
    if block.count(b"\n") != len(fields) + 2:
        return False
    return all(name and ":" not in name and name == name.strip() and value == value.strip() for name, value in fields)


def stored_fields(fields: Fields, length: int) -> Fields:
    """Header fields as they go into the archive, with a body of `length` bytes without any coding."""
    renamed = False
    stored: Fields = []
    for name, value in fields:
        lower = name.lower()
        if lower in CODED and not (lower == "content-length" and value == str(length) and not renamed):
            name, renamed = RENAMED + name, True
        stored.append((name, value))
    if renamed:
        stored.append(("Content-Length", str(length)))
    return stored


def original_fields(stored: Fields) -> Fields:
    """The inverse of `stored_fields`, of our own archives."""
    renamed = [name.startswith(RENAMED) and name[len(RENAMED) :].lower() in CODED for name, _ in stored]
    if not any(renamed):
        return stored
    return [(name[len(RENAMED) :] if was else name, value) for (name, value), was in zip(stored, renamed, strict=True)][
        :-1
    ]


@dataclass
class Origin:
    """Where the rows of a file come from."""

    segment: str
    source: str
    """The dataset's file: with its row, what a record's id is made of."""
    generated_at: int
    """UTC milliseconds: the `now` of the generate that chose the requests."""
    agent: str
    """The User-Agent, empty if it is not known."""
    own: Fields
    """The header fields of every request, to rebuild those that were not kept."""


@dataclass
class Archive:
    """Puts rows into one WARC file and keeps its index."""

    file: WarcFile
    name: str
    origin: Origin
    lines: list[str] = field(default_factory=list)
    records: int = 0
    _ids: tuple[int, dict[str, str]] = field(default_factory=lambda: (-1, {}))
    """Of a row, by kind of record."""
    _seen: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """By payload digest: the first record that has it, its URL and date."""

    def _write(self, fields: Fields, *block: bytes) -> tuple[int, int]:
        length = sum(map(len, block))
        fields.append(("WARC-Block-Digest", f"sha1:{sha1(*block)}"))
        self.records += 1
        return self.file.write(head_of(fields, length), *block)

    def info(self, part: int) -> None:
        """The warcinfo record that a file begins with."""
        origin = self.origin
        lines = {
            "software": "Cobnut", "format": "WARC File Format 1.1",
            "conformsTo": "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "isPartOf": origin.segment, "robots": "obey", "http-header-user-agent": origin.agent,
            "cobnut-segment": origin.segment, "cobnut-generated-at": str(origin.generated_at),
            "cobnut-source": origin.source,
        }  # fmt: skip
        block = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value).encode()
        self._write([
            ("WARC-Type", "warcinfo"), ("WARC-Record-ID", record_ids(origin.source, "info", str(part))[0]),
            ("WARC-Date", date_of(origin.generated_at)), ("WARC-Filename", self.name),
            ("Content-Type", "application/warc-fields"),
        ], block)  # fmt: skip

    def page(self, number: int, row: dict[str, Any]) -> None:
        """A row of schema.CONTENT, times in milliseconds; `number` is its place in its file."""
        url, date = row["url"], date_of(row["fetched_at"] or self.origin.generated_at)
        facts = _facts(row)
        known: dict[str, Any] = {"cobnut": FORMAT, "page": facts}
        answer = None
        if row["http_status"] is not None:
            answer = self._answer(number, row, url, date, known)
            self._request(number, row, url, date, answer, known)
        if row["rendered"] is not None:
            fields = self._fields("conversion", number, url, date, answer)
            self._write([*fields, ("Content-Type", "text/html; charset=utf-8")], row["rendered"])
        self._metadata(number, url, date, answer, known)

    def _fields(self, kind: str, number: int, url: str, date: str, answer: str | None) -> Fields:
        fields = [("WARC-Type", kind), ("WARC-Record-ID", self._id(number, kind)), ("WARC-Target-URI", url),
                  ("WARC-Date", date)]  # fmt: skip
        if answer is not None:
            fields.append(("WARC-Refers-To" if kind == "conversion" else "WARC-Concurrent-To", answer))
        return fields

    def _id(self, number: int, kind: str) -> str:
        if self._ids[0] != number:
            self._ids = number, dict(zip(_KINDS, record_ids(self.origin.source, str(number)), strict=True))
        return self._ids[1][kind]

    def _answer(self, number: int, row: dict[str, Any], url: str, date: str, known: dict[str, Any]) -> str:
        """The response or revisit record; its id."""
        content: bytes | None = row["content"]
        status, version = row["http_status"], "HTTP/1.0" if row["protocol"] == "http/1.0" else "HTTP/1.1"
        fields = [(one["name"], one["value"]) for one in row["response_headers"] or []]
        unmodified = row["outcome"] == "notmodified"
        kept = fields if unmodified else stored_fields(fields, len(content or b""))
        block = head_block(f"{version} {status} {_PHRASES.get(status, '')}".rstrip(), kept)
        if not is_faithful(kept, block) or original_fields(kept) != fields:
            known["response_headers"] = fields
            plain = [
                (name, value) for name, value in kept if is_faithful([(name, value)], head_block("", [(name, value)]))
            ]
            block = head_block(f"{version} {status} {_PHRASES.get(status, '')}".rstrip(), plain)
        digest = None if unmodified else sha1(content or b"")
        first = self._seen.get(digest) if content and digest else None
        kind = "revisit" if unmodified or first else "response"
        about = [("WARC-Type", kind), ("WARC-Record-ID", self._id(number, "response")), ("WARC-Target-URI", url),
                 ("WARC-Date", date)]  # fmt: skip
        if row["ip_address"]:
            about.append(("WARC-IP-Address", row["ip_address"]))
        if row["protocol"]:
            about.append(("WARC-Protocol", row["protocol"]))
        if unmodified:
            about += [("WARC-Profile", PROFILE + "server-not-modified"), ("WARC-Refers-To-Target-URI", url)]
        elif first:
            about += [("WARC-Profile", PROFILE + "identical-payload-digest"), ("WARC-Refers-To", first[0]),
                      ("WARC-Refers-To-Target-URI", first[1]), ("WARC-Refers-To-Date", first[2])]  # fmt: skip
        if row["truncated"]:
            about.append(("WARC-Truncated", TRUNCATED.get(row["truncated"], "unspecified")))
        elif content is None and not unmodified and _had_body(fields):
            about.append(("WARC-Truncated", "unspecified"))
        if digest:
            about.append(("WARC-Payload-Digest", f"sha1:{digest}"))
        about.append(("Content-Type", "application/http;msgtype=response"))
        body = (content,) if content and not first else ()
        offset, length = self._write(about, block, *body)
        if content and not first and digest:
            self._seen[digest] = (self._id(number, "response"), url, date)
        media_type = next((value for name, value in fields if name.lower() == "content-type"), "unk")
        values = {"mime": "warc/revisit" if kind == "revisit" else media_type.partition(";")[0].strip() or "unk",
                  "status": str(status), **({"digest": digest} if digest else {}), "length": str(length),
                  "offset": str(offset), "filename": self.name}  # fmt: skip
        self.lines.append(cdxj.line(url, date, values, row.get("method"), row.get("body")))
        return self._id(number, "response")

    def _request(
        self, number: int, row: dict[str, Any], url: str, date: str, answer: str, known: dict[str, Any]
    ) -> None:
        sent = row["request_headers"]
        if sent is not None:
            fields = [(one["name"], one["value"]) for one in sent]
        else:
            fields = list(self.origin.own)
            own = dict(row["headers"] or ())
            taken = {name.lower() for name in own}
            fields = [*(one for one in fields if one[0].lower() not in taken), *own.items()]
            if row["body"] is not None:
                fields.append(("Content-Length", str(len(row["body"]))))
        _, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", authority))
            known["host_added"] = True
        block = head_block(f"{row['method'] or 'GET'} {slash}{path} HTTP/1.1", fields)
        if sent is not None and not is_faithful(fields, block):
            known["request_headers"] = fields
        how = "rebuilt" if sent is None else "sent"
        known["request"] = how
        self._write([
            *self._fields("request", number, url, date, answer), (REQUEST_FIELD, how),
            ("Content-Type", "application/http;msgtype=request"),
        ], block, *([row["body"]] if row["body"] else []))  # fmt: skip

    def _metadata(self, number: int, url: str, date: str, answer: str | None, known: dict[str, Any]) -> None:
        fields = self._fields("metadata", number, url, date, answer)
        self._write([*fields, ("Content-Type", "application/json")], json.dumps(known).encode())

    def robots(self, number: int, row: dict[str, Any]) -> None:
        """A row of schema.HOSTLIST, times in milliseconds: what a fetch task learned of a robots.txt."""
        url, date = row["url"] or f"{row['origin']}/robots.txt", date_of(row["fetched_at"])
        answer = None
        if row["status"] is not None:
            body: bytes = row["body"] or b""
            block = head_block(f"HTTP/1.1 {row['status']} {_PHRASES.get(row['status'], '')}".rstrip(), [])
            digest, answer = sha1(body), self._id(number, "response")
            about = [
                ("WARC-Type", "response"),
                ("WARC-Record-ID", answer),
                ("WARC-Target-URI", url),
                ("WARC-Date", date),
            ]
            if row["truncated"] or row["body"] is None:
                about.append(("WARC-Truncated", "length" if row["truncated"] else "unspecified"))
            about += [("WARC-Payload-Digest", f"sha1:{digest}"), ("Content-Type", "application/http;msgtype=response")]
            offset, length = self._write(about, block, *([body] if body else []))
            self.lines.append(cdxj.line(url, date, {
                "mime": "text/plain", "status": str(row["status"]), "digest": digest, "length": str(length),
                "offset": str(offset), "filename": self.name,
            }))  # fmt: skip
        facts = {
            name: row[name]
            for name in ("origin", "url", "fetched_at", "status", "truncated", "failing_since", "crawl_delay")
        }
        facts["has_body"] = row["body"] is not None
        self._metadata(number, url, date, answer, {"cobnut": FORMAT, "robots": facts})

    def left(self, number: int, row: dict[str, Any]) -> None:
        """A row of schema.FETCHLIST whose request the fetch left for a later round."""
        date = date_of(self.origin.generated_at)
        self._metadata(number, row["url"], date, None, {"cobnut": FORMAT, "left": _facts(row)})


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    """What the metadata record says of a row: what is not null, as JSON has it."""
    facts = {name: value for name, value in row.items() if value is not None and name not in APART}
    for name in BYTES:
        if name in facts:
            facts[name] = facts[name].hex()
    if "body" in facts:
        facts["body"] = base64.b64encode(facts["body"]).decode()
    return facts


def _had_body(fields: Fields) -> bool:
    """True if header fields tell of a body."""
    for name, value in fields:
        lower = name.lower()
        if lower == "transfer-encoding" or (lower == "content-length" and value.strip() != "0"):
            return True
    return False


def dicts(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table as dictionaries, times in milliseconds."""
    columns = [column.cast(pa.int64()) if column.type == schema.TIME else column for column in table.columns]
    names = table.column_names
    for values in zip(*(column.to_pylist() for column in columns), strict=True):
        yield dict(zip(names, values, strict=True))
