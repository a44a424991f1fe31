"""Content codings: whatever was encoded comes back, whatever is broken gives what it can, and no bomb goes off."""

from __future__ import annotations

import gzip
import random
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.fetching.decoding import ACCEPTED, decode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEGABYTE = 1 << 20
PAGE = b"<html><title>A page</title>" + b"text " * 100 + b"</html>"


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzipped,
    "X-Gzip": gzipped,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstd.compress,
    "identity": bytes,
}
REAL = ["gzip", "deflate", "Deflate", "br", "zstd"]


def test_what_is_accepted_is_decoded() -> None:
    for word in ACCEPTED.split(", "):
        assert decode(ENCODERS[word](PAGE), word, MEGABYTE) == (PAGE, None, None)


@given(
    st.binary(max_size=3000) | st.binary(max_size=20).map(lambda data: data * 500),
    st.lists(st.sampled_from(list(ENCODERS)), max_size=5),
)
def test_whatever_was_encoded_comes_back(data: bytes, stack: list[str]) -> None:
    raw = data
    for word in stack:
        raw = ENCODERS[word](raw)
    assert decode(raw, ", ".join(stack), MEGABYTE) == (data, None, None)


@given(st.binary(max_size=3000), st.lists(st.sampled_from(REAL), min_size=1, max_size=3), st.integers(0, 3000))
def test_content_is_cut_at_max_bytes(data: bytes, stack: list[str], max_bytes: int) -> None:
    raw = data
    for word in stack:
        raw = ENCODERS[word](raw)
    decoded = decode(raw, ",".join(stack), max_bytes)
    assert decoded == (data[:max_bytes], "bytes" if len(data) > max_bytes else None, None)


@given(
    st.binary(max_size=300),
    st.text("gzipbrstdefla, -x") | st.lists(st.sampled_from([*REAL, "sdch", "utf-8"]), max_size=6).map(",".join),
    st.integers(0, 200),
    st.sampled_from([b"", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x28\xb5\x2f\xfd", b"\x78\x9c", gzipped(PAGE)]),
)
def test_nothing_raises(data: bytes, coding: str, max_bytes: int, beginning: bytes) -> None:
    decoded = decode(beginning + data, coding, max_bytes)
    assert len(decoded.content) <= max_bytes
    assert decoded.truncated in (None, "bytes", "broken")
    assert (decoded.error is not None) == (decoded.truncated == "broken")


@given(st.sampled_from(REAL), st.data())
def test_of_a_body_without_its_end_the_beginning_is_kept(word: str, data: st.DataObject) -> None:
    page = random.Random(7).randbytes(300) + PAGE * 20
    raw = ENCODERS[word](page)
    size = data.draw(st.integers(1, len(raw) - 1))
    decoded = decode(raw[:size], word, MEGABYTE)
    assert page.startswith(decoded.content)
    if not (word == "br" and decoded.content == page):  # brotli's last byte may hold nothing
        assert decoded.truncated == "broken"
        assert decoded.error


@given(st.sampled_from(["gzip", "deflate", "Deflate"]), st.data())
def test_what_stands_before_the_damage_is_kept(word: str, data: st.DataObject) -> None:
    """To the byte where the damage is noticed: as far as a stream without it gets with one byte at a time."""
    page = random.Random(7).randbytes(2000)
    raw = bytearray(ENCODERS[word](page))
    place = data.draw(st.integers(100, len(raw) - 1))
    raw[place] ^= 0x55
    decoded = decode(bytes(raw), word, MEGABYTE)
    assert decoded.content[: max(0, place - 50)] == page[: max(0, place - 50)]


@pytest.mark.parametrize(
    ("raw", "coding", "content", "truncated"),
    [
        (b"", "gzip", b"", None),
        (b"", "br, zstd", b"", None),
        (b"hello", "", b"hello", None),
        (b"hello", " , identity,", b"hello", None),
        (b"hello", "utf-8", b"hello", None),
        (b"hello", "none", b"hello", None),
        (b"hello", "gzip, utf-8", b"hello", None),
        (b"hello", "sdch", b"", "broken"),
        (b"hello", "compress", b"", "broken"),
        (b"hello", "X-Compress", b"", "broken"),
        (b"hello", "utf-8, dcb", b"", "broken"),
        (b"hello", "gzip", b"", "broken"),
        (b"hello", "zstd", b"", "broken"),
        (b"hello there", "br", b"", "broken"),
        (b"\xff\xff\xff", "deflate", b"", "broken"),
        (b"x" * 10, ",".join(["gzip"] * 6), b"", "broken"),
        (gzipped(PAGE) + gzipped(PAGE), "gzip", PAGE + PAGE, None),
        (gzipped(b"") + gzipped(PAGE) + gzipped(b"") + gzipped(PAGE), "gzip", PAGE + PAGE, None),
        (gzipped(PAGE) + b"garbage", "GZIP", PAGE, None),
        (gzipped(PAGE) + bytes(5000), "gzip", PAGE, None),
        (gzipped(PAGE) + b"\x1f", "gzip", PAGE, None),
        (gzipped(PAGE) + b"\x1f\x8bgarbage", "gzip", PAGE, None),
        (gzipped(PAGE) + gzipped(PAGE)[:8], "gzip", PAGE, None),
        (gzipped(PAGE)[:5], "gzip", b"", "broken"),
        (gzipped(PAGE)[:-8], "gzip", PAGE, "broken"),
        (gzipped(PAGE)[:-1], "gzip", PAGE, "broken"),
        (gzipped(PAGE)[:-8] + b"12345678", "gzip", PAGE, "broken"),
        (gzipped(PAGE) + gzipped(PAGE)[:-8], "gzip", PAGE + PAGE, "broken"),
        (zlib.compress(PAGE) + b"garbage", "deflate", PAGE, None),
        (raw_deflate(PAGE) + b"garbage", "deflate", PAGE, None),
        (zlib.compress(PAGE)[:-4], "deflate", PAGE, "broken"),
        (zlib.compress(PAGE)[:-4] + b"1234", "deflate", PAGE, "broken"),
        (brotli.compress(PAGE) + b"garbage", "br", PAGE, None),
        (zstd.compress(PAGE) + zstd.compress(PAGE), "zstd", PAGE + PAGE, None),
        (b"\x50\x2a\x4d\x18\4\0\0\0skip" + zstd.compress(PAGE), "zstd", PAGE, None),
        (zstd.compress(PAGE) + b"\x5f\x2a\x4d\x18\4\0\0\0skip", "zstd", PAGE, None),
        (zstd.compress(b"") + zstd.compress(PAGE), "zstd", PAGE, None),
        (zstd.compress(PAGE) + b"garbage", "zstd", PAGE, None),
        (gzipped(gzipped(PAGE) + b"garbage") + b"garbage", "gzip, gzip", PAGE, None),
        (gzipped(zstd.compress(PAGE))[:-8], "zstd, gzip", PAGE, "broken"),
    ],
)
def test_as_browsers_read_it(raw: bytes, coding: str, content: bytes, truncated: str | None) -> None:
    decoded = decode(raw, coding, MEGABYTE)
    assert (decoded.content, decoded.truncated) == (content, truncated)
    assert (decoded.error is not None) == (truncated == "broken")


def test_a_window_of_8_megabytes_at_most() -> None:
    noise = random.Random(1).randbytes(MEGABYTE) * 10

    def with_window(log: int) -> bytes:
        packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
        return packer.compress(noise) + packer.flush()

    assert decode(with_window(23), "zstd", 1 << 24) == (noise, None, None)
    assert decode(with_window(24), "zstd", 1 << 24).truncated == "broken"


ZEROS = bytes(MEGABYTE)


def bomb(word: str) -> bytes:
    """64 MB of zeros."""
    if word == "gzip":
        packer = zlib.compressobj(9, wbits=31)
        return b"".join(packer.compress(ZEROS) for _ in range(64)) + packer.flush()
    if word == "zstd":
        frames = zstd.ZstdCompressor()
        return b"".join(frames.compress(ZEROS) for _ in range(64)) + frames.flush()
    stream = brotli.Compressor(quality=5)
    return b"".join(stream.process(ZEROS) for _ in range(64)) + stream.finish()


@pytest.mark.parametrize("stack", [["gzip"], ["br"], ["zstd"], ["gzip", "gzip"], ["br", "br"], ["zstd", "zstd"],
                                   ["gzip", "br", "zstd"], ["gzip", "gzip", "gzip", "gzip"]])  # fmt: skip
def test_a_bomb_does_not_go_off(stack: list[str]) -> None:
    raw = bomb(stack[0])
    for word in stack[1:]:
        raw = ENCODERS[word](raw)
    tracemalloc.start()
    decoded = decode(raw, ",".join(stack), MEGABYTE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded == (ZEROS, "bytes", None)
    assert peak < 6 * MEGABYTE


def endless(word: str) -> bytes:
    """A megabyte that decodes to nothing."""
    if word == "gzip":
        return gzipped(b"") * 50_000
    if word == "zstd":
        return zstd.compress(b"") * 100_000
    if word == "deflate":
        return b"\0\0\0\xff\xff" * 200_000  # empty stored blocks
    if word == "skippable":
        return b"\x50\x2a\x4d\x18\0\0\0\0" * 125_000
    return b"\x0c" + b"\x06" * MEGABYTE  # brotli: empty metablocks of metadata


@pytest.mark.parametrize(
    ("raw", "coding"),
    [
        (endless("gzip"), "gzip"),
        (endless("zstd"), "zstd"),
        (endless("skippable"), "zstd"),
        (endless("deflate"), "deflate"),
        (endless("br"), "br"),
        (gzipped(b"x") * 50_000, "gzip"),
        (gzipped(bytes(64 * MEGABYTE)), "deflate, gzip"),
        (gzipped(b"\0\0\0\xff\xff" * (4 * MEGABYTE)), "deflate, gzip"),
        (zstd.compress(gzipped(b"") * 1_000_000), "gzip, zstd"),
    ],
    ids=[
        "members",
        "frames",
        "skippable frames",
        "stored blocks",
        "metablocks",
        "tiny members",
        "no deflate",
        "stored blocks in gzip",
        "members in zstd",
    ],
)
def test_endless_input_takes_linear_time(raw: bytes, coding: str) -> None:
    began = time.monotonic()
    tracemalloc.start()
    decoded = decode(raw, coding, MEGABYTE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded.content) <= MEGABYTE
    assert peak < 6 * MEGABYTE
    assert time.monotonic() - began < 60
