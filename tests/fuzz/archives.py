"""Targets for what holds others' answers: WARC files, their index, content codings."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import brotli

from crawldb.urls import canonicalize
from jobs.archiving import cdxj, index, records, rows
from jobs.archiving.pages import ArchivedPage, Reader
from jobs.archiving.reading import Broken
from jobs.archiving.reading import records as read_records
from jobs.fetching.decoding import decode, zstd
from tests.fuzz.pages import SETTINGS, URL, Target

_MOST_BYTES = 1 << 20

# -- WARC --------------------------------------------------------------------------------------------------------

_WORK = tempfile.TemporaryDirectory(prefix="cobnut-fuzz-")
_PATH = Path(_WORK.name) / "a.warc"


def warc(data: bytes) -> None:
    """The first byte says how the rest is packed: as it is, in a gzip member, or in one for each record."""
    how, content = data[0] % 4 if data else 0, data[1:]
    if how == 1:
        content = gzip.compress(content, 1, mtime=0)
    elif how >= 2:
        pieces = content.split(b"WARC/1.")
        content = b"".join(
            gzip.compress((b"WARC/1." if n else b"") + piece, 1, mtime=0) for n, piece in enumerate(pieces)
        )
        content = content if how == 2 else content[: len(content) * 3 // 4]
    _PATH.write_bytes(content)
    path = str(_PATH)
    places = []
    for record in read_records(path, 1000):
        assert 0 <= record.offset <= len(content)
        if isinstance(record, Broken):
            assert record.why
        else:
            assert len(record.block) <= min(record.length, 1000)
            places.append((record.offset, record.skip))
    assert len(set(places)) == len(places)
    for place in places[:3]:
        found = next(read_records(path, 1000, *place))
        assert not isinstance(found, Broken)
        assert (found.offset, found.skip) == place
    reader = Reader(path, SETTINGS)
    for page in reader.pages():
        if isinstance(page, ArchivedPage) and page.result.content is not None and not reader.about.is_own:
            assert len(page.result.content) <= SETTINGS.fetch.max_bytes
        if not isinstance(page, Broken):
            reader_again = Reader(path, SETTINGS)
            reader_again.at(page.place, reader.about)
    index.read_archive(path, SETTINGS)


def _record(kind: str, block: bytes, url: str = "http://a.example/", more: Iterable[tuple[str, str]] = ()) -> bytes:
    fields = [("WARC-Type", kind), ("WARC-Target-URI", url), ("WARC-Date", "2026-11-24T10:15:00.5Z"), *more]
    return records.head_of(fields, len(block)) + block + b"\r\n\r\n"


def _foreign() -> Iterable[bytes]:
    """An archive as another crawler writes it, record by record."""
    page = b"<p>" + b"text " * 30
    yield _record("warcinfo", b"software: other\r\n")
    yield _record("request", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    for kind, url, line, fields, body in (
        ("response", "http://a.example/", "200 OK", 'Content-Type: text/html\r\nETag: "1"\r\n', page),
        ("response", "http://a.example/z", "200 OK", "Content-Encoding: gzip\r\n", gzip.compress(page, mtime=0)),
        ("response", "http://a.example/c", "200 OK", "Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\n0\r\n\r\n"),
        ("response", "http://a.example/b", "200 OK", "Content-Encoding: gzip\r\n", gzip.compress(bytes(8 << 20), mtime=0)),
        ("response", "http://a.example/m", "301 Moved", f"Location: //[::1\r\nRetry-After: {'9' * 400}\r\n", b""),
        ("response", "http://a.example/robots.txt", "200 OK", "", b"User-agent: *\nDisallow: /x"),
        ("revisit", "http://a.example/", "304 Not Modified", "", b""),
        ("resource", "http://a.example/f", "", "", b"data"),
        ("response", "dns:a.example", "200 OK", "", b""),
    ):  # fmt: skip
        head = f"HTTP/1.1 {line}\r\n{fields}\r\n".encode() if line else b""
        yield _record(kind, head + body, url)


def _own(*metadata: object) -> bytes:
    """An archive of ours with these metadata records, each behind an answer."""
    info = b"software: Cobnut\r\ncobnut-generated-at: 1\r\ncobnut-segment: 20261124101500000\r\n"
    content = _record("warcinfo", info)
    for one in metadata:
        content += _record("response", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nabc")
        content += _record("metadata", json.dumps(one).encode(), more=[("Content-Type", "application/json")])
    return content


def warc_seeds() -> Iterable[bytes]:
    """Foreign and own archives, in every packing, and records that lie about themselves."""
    page = {"fingerprint": "00" * 20, "url": "http://a.example/", "host": "a.example", "outcome": "success", "http_status": 200,
            "content_bytes": 3, "fetched_at": 1, "discovered_from": "zz"}  # fmt: skip
    robots = {"origin": "http://a.example", "url": "http://a.example/robots.txt", "fetched_at": 1, "status": 200, "has_body": True,
              "truncated": False, "failing_since": None, "crawl_delay": 1}  # fmt: skip
    own = _own(
        {"cobnut": rows.FORMAT, "page": page}, {"cobnut": rows.FORMAT, "page": {**page, "discovered_from": "00" * 20}},
        {"cobnut": rows.FORMAT, "page": {**page, "content_bytes": -1, "outcome": 5, "headers": [[]], "body": "%"}},
        {"cobnut": rows.FORMAT, "robots": robots}, {"cobnut": rows.FORMAT, "robots": {**robots, "origin": 5, "fetched_at": "x"}},
        {"cobnut": rows.FORMAT, "left": {"fingerprint": "0"}}, {"cobnut": rows.FORMAT, "left": {"fingerprint": 5}}, {"cobnut": rows.FORMAT, "page": []},
        {"cobnut": rows.FORMAT, "page": {**page, "http_status": None, "fetched_at": "x"}, "response_headers": 5},
        {"cobnut": rows.FORMAT, "page": {**page, "discovered_from": None, "fetched_at": "x", "metadata": [[1, 2]], "score": "x"}},
    )  # fmt: skip
    deep = _own() + _record("metadata", b"[" * 30_000, more=[("Content-Type", "application/json")])
    lies = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %b\r\n\r\nabc"
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, br, zstd\r\nContent-Length: 99999999999\r\nTransfer-Encoding: chunked\r\n\r\n"
    dates = b"".join(
        _record("response", b"HTTP/1.1 200\r\n\r\n").replace(b"2026-11-24T10:15:00.5Z", date)
        for date in (b"2026", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:60Z", b"2026-11-24T10:15:00.\xd9\xa3Z", b"2026-11", b"",
                     b"2026-11-24T10:15:00+99:00", b"2026-11-24T10:15:00.-12Z")
    )  # fmt: skip
    for content in (
        b"".join(_foreign()), own, deep, *(lies % n for n in (b"99999999999999999999", b"-1", b"1e3", b"2", b"\xd9\xa3", b"9" * 5000)),
        _record("response", answer + b"ffffffffffff\r\nabc\r\n") + _record("response", answer + b"-5\r\n"), dates,
        _record("response", b"HTTP/1.1 999 \xff\r\n\r\n") + _record("response", b"HTTP/1.1 " + b"\xb2" * 3 + b"\r\n\r\n"),
        _record("response", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000 + b"\r\n"), b"WARC/1.1\r\n" * 3000,
        b"WARC/1.1\r\n" + b" x\r\n" * 3000, b"WARC/1.1\r\n" + b"a: " + b"b" * 60_000, b"\r\n" * 20_000, b"WARC/\r\n\r\n" * 3000,
        _record("revisit", b"", more=[("WARC-Refers-To", "<x>"), ("WARC-Record-ID", "<x>")]) * 3,
        _record("request", b"\xff POST") + _record("response", b"HTTP/1.1 200\r\n\r\n", "http://[::1"),
    ):  # fmt: skip
        for how in range(4):
            yield bytes([how]) + content
    yield b"\0" + b"".join(gzip.compress(record, mtime=0) for record in _foreign())
    yield b"\0" + gzip.compress(b"WARC/1.0\r\nContent-Length: 67108864\r\n\r\n" + bytes(64 << 20))
    yield b"\0" + gzip.compress(b"")[:10] * 500
    yield b"\0" + gzip.compress(b"") * 1500


# -- CDXJ --------------------------------------------------------------------------------------------------------


def cdxj_lines(data: bytes) -> None:
    """A line: the index of its URL is read back, and so is the line itself, or refused as a ValueError."""
    text = data.decode("utf-8", "replace").partition("\n")[0]
    with contextlib.suppress(ValueError):
        cdxj.read(text)
    address, _, form = text.partition(" ")
    url = canonicalize(address, URL)
    if url is not None:
        line = cdxj.line(url, "2026-11-24T10:15:00Z", {"mime": form}, "POST" if form else None, form.encode())
        key, time, values = cdxj.read(line)
        assert " " not in key
        assert "\n" not in line
        assert (time, values["url"]) == ("20261124101500", url)


def cdxj_seeds() -> Iterable[bytes]:
    """Lines of an index, and URLs with all that a key leaves out."""
    yield b'com,example)/ 20261124101500 {"url": "http://example.com/", "offset": "5"}'
    yield b"a 1 " + b"[" * 30_000
    yield b"a 1 " + b"9" * 30_000
    yield from (
        b"/%2525252541%25zz", b"//www12.example.com:8080/a//..//./b/?b=2&a=1&&=", b"/(a(" + b"a" * 24 + b"))/(" + b"b" * 24 + b")/x.aspx",
        b"/?phpsessid=" + b"0" * 32 + b"&sid=" + b"1" * 32, b"/?" + b"cfid=1&cftoken=" * 500, b"/" + b"(a(" * 2000 + b".aspx",
        b"/" + b"%25" * 5000 + b"41", b"//[::1]:8/", b"/?" + b"%0a%20%ff", b"/x q=1", "/ü ü".encode(),
    )  # fmt: skip


# -- content codings ---------------------------------------------------------------------------------------------

_CODINGS = (
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, gzip",
    "br, gzip",
    "zstd,deflate ,br",
    "x-gzip",
    "identity",
    "gzip," * 20,
    "compress",
    "",
)
_LIMITS = (0, 1, 5000, _MOST_BYTES)


def codings(data: bytes) -> None:
    """The first byte chooses codings and a limit; the second how the rest is damaged before it is undone."""
    how, damage, content = data[0] if data else 0, data[1] if len(data) > 1 else 0, data[2:]
    coding, limit = _CODINGS[how % len(_CODINGS)], _LIMITS[how // len(_CODINGS) % len(_LIMITS)]
    decoded = decode(content, coding, limit)
    assert len(decoded.content) <= limit
    assert decoded.truncated in (None, "bytes", "broken")
    assert decoded.error is None or decoded.truncated == "broken"
    for name, packed in _packed(content):
        whole = decode(packed, name, _MOST_BYTES)
        assert whole == (content[:_MOST_BYTES], None if len(content) <= _MOST_BYTES else "bytes", None)
        cut = decode(packed[: len(packed) * damage // 256], name, _MOST_BYTES)
        assert content.startswith(cut.content)
        wrong = bytearray(packed)
        wrong[len(packed) * damage // 256] ^= 1 << (damage & 7)
        assert len(decode(bytes(wrong), name, _MOST_BYTES).content) <= _MOST_BYTES


def _packed(content: bytes) -> Iterable[tuple[str, bytes]]:
    raw = zlib.compressobj(1, zlib.DEFLATED, -15)
    yield "gzip", gzip.compress(content, 1, mtime=0)
    yield "deflate", zlib.compress(content, 1)
    if not _looks_like_zlib(bare := raw.compress(content) + raw.flush()):
        yield "deflate", bare
    yield "br", brotli.compress(content, quality=1)
    yield "zstd", zstd.compress(content, 1)
    yield "zstd, gzip", gzip.compress(zstd.compress(content, 1), 1, mtime=0)


def _looks_like_zlib(content: bytes) -> bool:
    return content[0] & 15 == 8 and (content[0] << 8 | content[1]) % 31 == 0


def coding_seeds() -> Iterable[bytes]:
    """Each coding, whole, cut off, in several parts and with garbage behind, and bombs."""
    text = b"A sentence of some length, again and again. " * 40
    number = {name: bytes([place]) for place, name in enumerate(_CODINGS)}
    made = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "br": brotli.compress(text),
        "zstd": zstd.compress(text),
    }
    for name, packed in made.items():
        for content in (packed, packed[:-3], packed + packed, packed + b"garbage", b"", packed[:1], packed * 50):
            yield number[name] + b"\x80" + content
    yield number["gzip, gzip"] + b"\x10" + gzip.compress(gzip.compress(text))
    yield number["zstd,deflate ,br"] + b"\x10" + brotli.compress(zlib.compress(zstd.compress(text)))
    for size in (8 << 20, 64 << 20):
        zeros = bytes(size)
        for place in range(4):
            name = ("gzip", "deflate", "br", "zstd")[place]
            pack = (gzip.compress, zlib.compress, lambda data: brotli.compress(data, quality=5), zstd.compress)[place]
            yield bytes([3 * len(_CODINGS) + _CODINGS.index(name)]) + b"\0" + pack(zeros)
        yield bytes([3 * len(_CODINGS) + 4]) + b"\0" + gzip.compress(gzip.compress(zeros))
    yield number["gzip"] + b"\0" + gzip.compress(b"") * 1500
    yield number["zstd"] + b"\0" + zstd.compress(b"") * 2000
    yield number["gzip"] + b"\0" + b"\x1f\x8b\x08\x1f" + b"\xff" * 20_000
    yield number["br"] + b"\0" + random.Random(5).randbytes(20_000)


TARGETS = {
    "warc": Target(warc, warc_seeds, 1 << 18),
    "cdxj": Target(cdxj_lines, cdxj_seeds),
    "codings": Target(codings, coding_seeds, 1 << 18),
}
