"""Content codings undone (RFC 9110 §8.4): gzip, deflate, br, zstd, and stacks of them, as browsers do.

Owns what a body is without its coding, for every engine alike. Whatever the bytes are, nothing raises, no more than
the bytes asked for and some buffers are held, and the time is linear in what came in and what goes out:
- most bodies are one whole piece in one coding, which a library undoes in one call;
- all others (several gzip members, garbage, an end that is missing, a stack) go through a chain of streams that
  hand each other small pieces, so that nothing before an error is lost and no layer of a bomb is ever held.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, deflate, br, zstd"
"""The Accept-Encoding that what is here lives up to."""

_ALIASES = {"x-gzip": "gzip"}
_WITHOUT_DECODER = {"compress", "x-compress", "sdch", "dcb", "dcz"}
"""Real codings. Other unknown words are taken for mistakes."""
_MAX_LAYERS = 5
_MAX_EMPTY_PARTS = 100
"""gzip members or zstd frames in a row that hold nothing."""
_SLICE = 512
"""Bytes handed to a decoder at once: what follows a member is copied, so much at most, for each member."""
_PIECE = 1 << 16
"""Bytes taken from a decoder at once."""
_SLACK = 1 << 16
"""What a layer may have over max_bytes: a coding can make small content larger, not much."""
_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
"""8 MiB (RFC 9659 §3): browsers take no larger window either."""


class Decoded(NamedTuple):
    """A body without its codings."""

    content: bytes
    """At most max_bytes."""
    truncated: str | None
    """Why that is not all: `bytes` (there is more), `broken` (the coding is damaged, or its end is missing)."""
    error: str | None
    """What is wrong with the coding, for `detail`; there may be content all the same."""


class _Undecodable(Exception):
    """The coding cannot be undone from here on; what came before it stands."""


def decode(raw: bytes, coding: str, max_bytes: int) -> Decoded:
    """`raw` without the codings that `coding`, the value of Content-Encoding, names; at most `max_bytes` of it.

    Never raises. A `raw` that was itself cut off comes out as `broken`, with what could be decoded. An empty body is
    empty in any coding.
    """
    coding = coding.strip().lower()
    if not coding or coding == "identity" or not raw:
        return _cut(raw, max_bytes)
    layers = [_ALIASES.get(word, word) for word in (part.strip() for part in coding.split(","))]
    layers = [word for word in layers if word not in ("", "identity")]
    if not _WITHOUT_DECODER.isdisjoint(layers) or len(layers) > _MAX_LAYERS:
        return Decoded(b"", "broken", f"Content-Encoding: {coding[:100]}")
    if not all(word in _CODINGS for word in layers):
        return _cut(raw, max_bytes)
    if len(layers) == 1:
        content = _CODINGS[layers[0]].at_once(raw, max_bytes + 1)
        if content is not None:
            return _cut(content, max_bytes)
    return _decode_stack(raw, layers, max_bytes)


def _cut(content: bytes, max_bytes: int) -> Decoded:
    if len(content) > max_bytes:
        return Decoded(content[:max_bytes], "bytes", None)
    return Decoded(content, None, None)


def _decode_stack(raw: bytes, layers: list[str], max_bytes: int) -> Decoded:
    pieces: Iterator[bytes] = (raw[start : start + _SLICE] for start in range(0, len(raw), _SLICE))
    for number, word in enumerate(reversed(layers)):
        if number:
            pieces = _bounded(pieces, max_bytes + _SLACK)
        pieces = _undo(_Input(pieces), _CODINGS[word])
    content = bytearray()
    try:
        for piece in pieces:
            content += piece
            if len(content) > max_bytes:
                return Decoded(bytes(content[:max_bytes]), "bytes", None)
    except _TooLong:
        return Decoded(bytes(content), "bytes", None)
    except _Undecodable as error:
        return Decoded(bytes(content), "broken", str(error))
    return Decoded(bytes(content), None, None)


class _TooLong(Exception):
    """An inner layer is longer than content of max_bytes can be."""


def _bounded(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    """The pieces in slices, up to `most` bytes: an inner layer that swells without bringing content ends here."""
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise _TooLong
        for start in range(0, len(piece), _SLICE):
            yield piece[start : start + _SLICE]


class _Input:
    """Pieces with what was read too far put back in front."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._back = b""

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        if self._back:
            piece, self._back = self._back, b""
            return piece
        return next(self._pieces, b"")

    def put_back(self, piece: bytes) -> None:
        self._back = piece + self._back

    def peek(self, size: int) -> bytes:
        """At least so many bytes of what comes next, unless there are fewer."""
        ahead = self.read()
        while len(ahead) < size:
            piece = self.read()
            if not piece:
                break
            ahead += piece
        self._back = ahead
        return ahead


class _Stream(Protocol):
    """One member, frame or whole stream being undone."""

    rest: bytes
    """Once it is done: input beyond its end."""
    done: bool

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What `piece` brings, a bounded piece at a time. Raises _Undecodable after all that comes before it."""


class _Coding(NamedTuple):
    name: str
    at_once: Callable[[bytes, int], bytes | None]
    """All of a whole body, or its first bytes; None if it is not as plain as that."""
    stream: Callable[[bytes], _Stream]
    """A new stream that will begin with these bytes."""
    another: Callable[[bytes], bool] | None
    """True if these bytes, after an end, begin another part; None: there are no parts."""


def _undo(source: _Input, coding: _Coding) -> Iterator[bytes]:
    """The pieces without `coding`."""
    parts = empty = 0
    while True:
        stream = coding.stream(source.peek(2))
        brought = False
        try:
            while not stream.done:
                piece = source.read()
                if not piece:
                    raise _Undecodable(f"{coding.name}: its end is missing")
                for content in stream.feed(piece):
                    if content:
                        brought = True
                        yield content
        except _Undecodable:
            if parts and not brought:
                return  # what followed the last part was no part
            raise
        source.put_back(stream.rest)
        parts += 1
        empty = 0 if brought else empty + 1
        # Garbage after the end is ignored
        if coding.another is None or not coding.another(source.peek(4)):
            return
        if empty >= _MAX_EMPTY_PARTS:
            raise _Undecodable(f"{coding.name}: too many empty parts")


class _Inflate:
    """zlib's formats by `wbits`: 31 gzip, 15 zlib, -15 deflate alone."""

    def __init__(self, name: str, wbits: int) -> None:
        self._name = name
        self._inflate = zlib.decompressobj(wbits)
        self.rest = b""
        self.done = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while True:
            before = self._inflate.copy()
            try:
                content = self._inflate.decompress(piece, _PIECE)
            except zlib.error:
                if len(piece) <= 1:
                    raise _Undecodable(f"{self._name}: damaged") from None
                # What else the piece brings was lost with it: once more from before it, byte by byte
                self._inflate = before
                for position in range(len(piece)):
                    yield from self.feed(piece[position : position + 1])
                return
            yield content
            piece = self._inflate.unconsumed_tail
            if len(content) < _PIECE:  # else there may be more, even if all input is used up
                break
        self.done = self._inflate.eof
        self.rest = self._inflate.unused_data


class _Brotli:
    """One brotli stream."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._fed: list[bytes] = []
        self.rest = b""
        self.done = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        try:
            yield from self._process(piece)
        except brotli.error:
            # Damage, or garbage after the end, takes what its piece would have brought with it. A stream cannot be
            # copied: so a new one, brought to where this one was, gets the piece byte by byte.
            self._decompressor = brotli.Decompressor()
            for earlier in self._fed:
                for _ in self._process(earlier):
                    pass
            try:
                for position in range(len(piece)):
                    yield from self._process(piece[position : position + 1])
                    if self.done:
                        return
            except brotli.error:
                raise _Undecodable("br: damaged") from None
        self._fed.append(piece)

    def _process(self, piece: bytes) -> Iterator[bytes]:
        while True:
            yield self._decompressor.process(piece, output_buffer_limit=_PIECE)
            piece = b""
            if self._decompressor.is_finished():
                self.done = True
            if self.done or self._decompressor.can_accept_more_data():
                return


class _Zstd:
    """One zstd frame."""

    def __init__(self) -> None:
        self._decompressor = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
        self.rest = b""
        self.done = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while True:
            try:
                yield self._decompressor.decompress(piece, max_length=_PIECE)
            except zstd.ZstdError:
                raise _Undecodable("zstd: damaged, or its window is too large") from None
            piece = b""
            if self._decompressor.eof:
                self.done = True
                self.rest = self._decompressor.unused_data
                return
            if self._decompressor.needs_input:
                return


def _inflate_at_once(*all_wbits: int) -> Callable[[bytes, int], bytes | None]:
    def at_once(raw: bytes, limit: int) -> bytes | None:
        for wbits in all_wbits:
            inflate = zlib.decompressobj(wbits)
            try:
                content = inflate.decompress(raw, limit)
            except zlib.error:
                continue
            if len(content) >= limit or (inflate.eof and not inflate.unused_data):
                return content
        return None

    return at_once


def _brotli_at_once(raw: bytes, limit: int) -> bytes | None:
    decompressor = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    data = raw
    try:
        while size < limit and not decompressor.is_finished():
            piece = decompressor.process(data, output_buffer_limit=limit - size)
            pieces.append(piece)
            size += len(piece)
            if not piece and decompressor.can_accept_more_data():
                return None
            data = b""
    except brotli.error:
        return None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _zstd_at_once(raw: bytes, limit: int) -> bytes | None:
    decompressor: Any = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
    try:
        content: bytes = decompressor.decompress(raw, max_length=limit)
    except zstd.ZstdError:
        return None
    if len(content) >= limit or (decompressor.eof and content and not decompressor.unused_data):
        return content
    return None


def _deflate_stream(beginning: bytes) -> _Stream:
    """zlib's format, as RFC 9110 §8.4.1.2 has it, or deflate alone, as many servers do: by its first two bytes."""
    is_zlib = len(beginning) >= 2 and beginning[0] & 15 == 8 and (beginning[0] << 8 | beginning[1]) % 31 == 0
    return _Inflate("deflate", 15 if is_zlib else -15)


def _begins_zstd(ahead: bytes) -> bool:
    """A frame's magic number, or a skippable frame's (RFC 8878 §3.1)."""
    return ahead[:4] == b"\x28\xb5\x2f\xfd" or (ahead[1:4] == b"\x2a\x4d\x18" and ahead[0] & 0xF0 == 0x50)


_CODINGS = {
    "gzip": _Coding("gzip", _inflate_at_once(31), lambda _: _Inflate("gzip", 31), lambda ahead: ahead[:2] == b"\x1f\x8b"),
    "deflate": _Coding("deflate", _inflate_at_once(15, -15), _deflate_stream, None),
    "br": _Coding("br", _brotli_at_once, lambda _: _Brotli(), None),
    "zstd": _Coding("zstd", _zstd_at_once, lambda _: _Zstd(), _begins_zstd),
}  # fmt: skip
