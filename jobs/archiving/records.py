"""Bytes of WARC 1.1 (ISO 28500:2017), written: records one after another, each a gzip member of its own.

Owns a record's head, its digests and ids, compression, and the atomic appearance of a file. What is in the records,
`rows` says.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from types import TracebackType

from isal import isal_zlib

from crawldb.filesystem import FileSystem, unfinished

VERSION = b"WARC/1.1\r\n"
_GZIP = 31
"""zlib's wbits for a gzip member."""


def compressor(level: int) -> Callable[[bytes], bytes]:
    """What makes a gzip member: ISA-L up to level 3, which is several times as fast as zlib, zlib above it."""
    if level <= 3:
        return lambda data: isal_zlib.compress(data, level, _GZIP)

    def deflate(data: bytes) -> bytes:
        member = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        return member.compress(data) + member.flush()

    return deflate


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE32 = [first + second for first in _LETTERS for second in _LETTERS]
_SHIFTS = range(150, -1, -10)
"""Two letters at once: base64.b32encode takes four times as long, a twentieth of an export."""


def sha1(*parts: bytes) -> str:
    """The digest of bytes as archives write it: SHA-1 in base 32."""
    digest = hashlib.sha1()
    for part in parts:
        digest.update(part)
    number = int.from_bytes(digest.digest(), "big")
    return "".join([_BASE32[number >> shift & 1023] for shift in _SHIFTS])


def record_ids(*names: str) -> list[str]:
    """Four ids that are the same for the same names, whenever they are asked for: UUIDs of version 5's form (RFC 9562
    §5.5)."""
    digest = hashlib.sha1("\0".join(names).encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    stem = f"<urn:uuid:{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:31]}"
    return [f"{stem}{last}>" for last in "048c"]


def head_of(fields: list[tuple[str, str]], length: int) -> bytes:
    """A record's version line and named fields, to the empty line before its block of `length` bytes."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    return VERSION + f"{''.join(lines)}Content-Length: {length}\r\n\r\n".encode()


class WarcFile:
    """Writes one WARC file. It appears under its name, whole, when `publish` is called; `with` leaves nothing else."""

    def __init__(self, fs: FileSystem, path: str, compress: Callable[[bytes], bytes] | None) -> None:
        self._fs, self.path = fs, path
        self._compress = compress
        self._written = unfinished(path)
        self._output: io.BufferedIOBase | None = fs.open_output(self._written)
        self.size = 0

    def write(self, head: bytes, *block: bytes) -> tuple[int, int]:
        """Append a record; its offset and its length in the file."""
        assert self._output is not None
        piece = b"".join((head, *block, b"\r\n\r\n"))
        if self._compress is not None:
            piece = self._compress(piece)
        self._output.write(piece)
        offset = self.size
        self.size += len(piece)
        return offset, len(piece)

    def close(self) -> None:
        """No more records."""
        if self._output is not None:
            self._output.close()
            self._output = None

    def publish(self) -> None:
        """Let it appear; a file of the same name, whole as it is, stays."""
        self.close()
        try:
            self._fs.publish(self._written, self.path)
        except FileExistsError:
            self._fs.remove(self._written)

    def __enter__(self) -> WarcFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._output is not None:
            self._fs.abandon(self._output, self._written)
            self._output = None
        else:
            self._fs.remove(self._written)
