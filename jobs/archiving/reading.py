"""WARC files, read: records of any version, gzipped one by one, as a whole, or not at all.

Owns where a record begins and ends, and how to go on after one that is broken. Whatever the bytes are, reading ends, and
holds no more of a record than it was asked for. What the records mean, `pages` says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from isal import igzip_lib, isal_zlib

from crawldb.filesystem import resolve
from jobs.archiving.records import sha1

_PIECE = 1 << 14
"""Bytes taken from a file at once: what follows a gzip member is copied, so much at most."""
_OUT = 1 << 18
"""Bytes taken from a decompressor at once."""
MAX_HEAD = 1 << 18
"""Bytes of a record's named fields."""
_GZIP_ERRORS = (cast("type[Exception]", igzip_lib.IsalError), ValueError, EOFError)
_GZIP_MAGIC = b"\x1f\x8b\x08"
_SEARCHED = 1 << 20
"""Bytes read at once in the search for the next record."""


@dataclass(slots=True)
class Record:
    """One record."""

    offset: int
    """Of the record, or of the gzip member that it is in."""
    skip: int
    """Records before it in that member."""
    fields: dict[str, str]
    """Its named fields, by name in lower case; of several of one name the first."""
    block: bytes
    """At most so many bytes of it as were asked for."""
    length: int
    """Of the whole block."""

    @property
    def kind(self) -> str:
        return self.fields.get("warc-type", "").lower()

    @property
    def url(self) -> str:
        """Its target; some writers put it in angle brackets (as WARC 1.0's grammar has it)."""
        return self.fields.get("warc-target-uri", "").strip("<>")

    @property
    def is_whole(self) -> bool:
        return len(self.block) == self.length


@dataclass(slots=True)
class Broken:
    """Something that is no record, or only the beginning of one."""

    offset: int
    why: str


_NAMES = {
    name: name.lower()
    for name in (
        "WARC-Type", "WARC-Record-ID", "WARC-Date", "WARC-Target-URI", "WARC-Concurrent-To", "WARC-IP-Address",
        "WARC-Protocol", "WARC-Block-Digest", "WARC-Payload-Digest", "WARC-Warcinfo-ID", "Content-Type", "Content-Length",
    )
}  # fmt: skip
"""Names as nearly all writers spell them."""


class _Damaged(Exception):
    """What follows cannot be read."""


class _Plain:
    """The bytes of a file from an offset on."""

    def __init__(self, file: io.BufferedReader, offset: int) -> None:
        file.seek(offset)
        self._file = file
        self.buffer = b""

    def more(self) -> bool:
        """Read on; False at the end."""
        piece = self._file.read(_PIECE)
        self.buffer += piece
        return bool(piece)


class _Member:
    """The bytes of one gzip member."""

    def __init__(self, file: io.BufferedReader, offset: int) -> None:
        file.seek(offset)
        self._file = file
        self._inflate: Any = isal_zlib.decompressobj(31)
        self._fed = offset
        self._waiting = b""
        self.buffer = b""
        self.end: int | None = None
        """Where the member ended, once that is known."""

    def more(self) -> bool:
        inflate = self._inflate
        while self.end is None:
            piece = self._waiting or self._file.read(_PIECE)
            if not self._waiting:
                self._fed += len(piece)
            if not piece:
                raise _Damaged("the file ends within a gzip member")
            try:
                out = inflate.decompress(piece, _OUT)
            except _GZIP_ERRORS as error:
                raise _Damaged(f"gzip: {error}") from None
            self._waiting = inflate.unconsumed_tail
            if inflate.eof:
                self.end = self._fed - len(inflate.unused_data)
            if out:
                self.buffer = self.buffer + out if self.buffer else out
                return True
        return False


def records(path: str, limit: int, offset: int = 0, skip: int = 0) -> Iterator[Record | Broken]:
    """The records of a file from one at `offset` on, the `skip`th of its gzip member; of their blocks at most `limit` bytes.

    What is broken comes as Broken; reading goes on with the next thing that looks like a record.
    """
    fs, path = resolve(path)
    with io.BufferedReader(fs.open_input(path), 1 << 18) as file:
        size = fs.size(path)
        file.seek(0)
        zipped = file.read(2) == _GZIP_MAGIC[:2]
        reader = _zipped if zipped else _plain
        for record in reader(file, size, limit, offset):
            if isinstance(record, Record) and record.offset == offset and record.skip < skip:
                continue
            yield record


def _zipped(file: io.BufferedReader, size: int, limit: int, offset: int) -> Iterator[Record | Broken]:
    while offset < size:
        member = _Member(file, offset)
        inside = 0
        broken = None
        try:
            while True:
                found = _one(member, limit, offset, inside)
                if found is None:
                    break
                yield found
                inside += 1
        except _Damaged as error:
            broken = Broken(offset, str(error))
        try:
            while member.end is None:
                member.buffer = b""
                member.more()
        except _Damaged as error:
            broken = broken or Broken(offset, str(error))
        if broken is not None:
            yield broken
        offset = _next_member(file, size, offset + 1) if member.end is None else member.end


def _next_member(file: io.BufferedReader, size: int, offset: int) -> int:
    """Where the next gzip member begins that holds a record; the file's size if there is none."""
    while offset < size:
        file.seek(offset)
        piece = file.read(_SEARCHED)
        place = piece.find(_GZIP_MAGIC)
        while place >= 0:
            member = _Member(file, offset + place)
            try:
                if member.more() and member.buffer.startswith(b"WARC/"):
                    return offset + place
            except _Damaged:
                pass
            place = piece.find(_GZIP_MAGIC, place + 1)
        offset += max(len(piece) - 2, 1)
    return size


def _plain(file: io.BufferedReader, size: int, limit: int, offset: int) -> Iterator[Record | Broken]:
    while offset < size:
        stream = _Plain(file, offset)
        if not _skip_blank(stream):
            return
        offset = file.tell() - len(stream.buffer)
        try:
            found = _one(stream, limit, offset, 0)
        except _Damaged as error:
            yield Broken(offset, str(error))
            offset = _next_line(file, size, offset + 1)
            continue
        if found is None:
            return
        yield found
        offset = file.tell() - len(stream.buffer)


def _next_line(file: io.BufferedReader, size: int, offset: int) -> int:
    """Where the next line begins that could be a record's first; the file's size if there is none."""
    while offset < size:
        file.seek(offset)
        piece = file.read(_SEARCHED)
        place = piece.find(b"\nWARC/")
        if place >= 0:
            return offset + place + 1
        offset += max(len(piece) - 5, 1)
    return size


def _one(stream: _Plain | _Member, limit: int, offset: int, inside: int) -> Record | None:
    """The next record of a stream; None at its end. Raises _Damaged."""
    if not _skip_blank(stream):
        return None
    while (end := stream.buffer.find(b"\r\n\r\n")) < 0:
        if not stream.buffer.startswith(b"WARC/"[: len(stream.buffer)]):
            raise _Damaged("not a record")
        if len(stream.buffer) > MAX_HEAD:
            raise _Damaged("its head has no end")
        if not stream.more():
            raise _Damaged("the file ends within a record's head")
    head = stream.buffer[:end]
    stream.buffer = stream.buffer[end + 4 :]
    fields = _fields(head)
    try:
        length = int(fields["content-length"])
    except (KeyError, ValueError):
        raise _Damaged("no Content-Length") from None
    if length < 0:
        raise _Damaged("no Content-Length")
    block = _take(stream, length, limit)
    record = Record(offset, inside, fields, block, length)
    if record.is_whole and (wrong := _wrong_digest(fields.get("warc-block-digest", ""), block)):
        raise _Damaged(wrong)
    return record


def _skip_blank(stream: _Plain | _Member) -> bool:
    """Pass over the two empty lines after a record, and what some writers put there besides; False at the end."""
    while True:
        stream.buffer = stream.buffer.lstrip(b"\r\n")
        if stream.buffer:
            return True
        if not stream.more():
            return False


def _fields(head: bytes) -> dict[str, str]:
    if not head.startswith(b"WARC/"):
        raise _Damaged("not a record")
    fields: dict[str, str] = {}
    last = ""
    for line in head.decode("utf-8", "replace").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        key = _NAMES.get(name)
        if key is None:
            if line[:1] in (" ", "\t"):
                if last:
                    fields[last] += f" {line.strip()}"
                continue
            key = name.strip().lower()
        last = "" if key in fields else key
        if last:
            fields[key] = value.strip()
    return fields


def _take(stream: _Plain | _Member, length: int, limit: int) -> bytes:
    """A block of so many bytes, at most `limit` of it; the stream is behind it then."""
    if len(stream.buffer) >= length:
        block, stream.buffer = stream.buffer[: min(length, limit)], stream.buffer[length:]
        return block
    pieces: list[bytes] = []
    kept = seen = 0
    while True:
        piece = stream.buffer[: length - seen]
        if kept < limit:
            pieces.append(piece[: limit - kept])
            kept += len(pieces[-1])
        seen += len(piece)
        stream.buffer = stream.buffer[len(piece) :]
        if seen == length:
            return b"".join(pieces)
        if not stream.more():
            raise _Damaged(f"the file ends within a record: {seen:,} of {length:,} bytes")


def _wrong_digest(digest: str, block: bytes) -> str | None:
    """What is wrong if the block has another SHA-1 than its record says; other digests are not looked at."""
    name, _, value = digest.partition(":")
    if name.lower() not in ("sha1", "sha-1"):
        return None
    if value == sha1(block):
        return None
    try:
        wanted = bytes.fromhex(value) if len(value) == 40 else base64.b32decode(value.upper())
    except (ValueError, binascii.Error):
        return None
    return None if hashlib.sha1(block).digest() == wanted else "its block has another digest"
