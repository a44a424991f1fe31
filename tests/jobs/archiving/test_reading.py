"""Where records begin and end, and what becomes of files that are damaged anywhere."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.archiving.reading import Broken, Record, records
from jobs.archiving.records import compressor, head_of, sha1

ALL = 1 << 20


def record(number: int, block: bytes, digest: bool = True) -> bytes:
    fields = [
        ("WARC-Type", "resource"),
        ("WARC-Record-ID", f"<urn:uuid:{number}>"),
        ("WARC-Target-URI", f"http://a/{number}"),
    ]
    if digest:
        fields.append(("WARC-Block-Digest", f"sha1:{sha1(block)}"))
    return head_of(fields, len(block)) + block + b"\r\n\r\n"


def blocks(count: int = 12) -> list[bytes]:
    noise = random.Random(5)
    return [noise.randbytes(1 + 97 * number) for number in range(count)]


def written(how: str) -> bytes:
    pieces = [record(number, block) for number, block in enumerate(blocks())]
    if how == "plain":
        return b"".join(pieces)
    return b"".join(map(compressor(2), pieces)) if how == "gzip" else gzip.compress(b"".join(pieces))


def read(path: Path, data: bytes, limit: int = ALL) -> list[Record | Broken]:
    path.write_bytes(data)
    return list(records(str(path), limit))


@pytest.mark.parametrize("how", ["plain", "gzip", "one member"])
def test_every_record_is_found_and_found_again(tmp_path: Path, how: str) -> None:
    found = read(tmp_path / "x", written(how))
    assert [one.block for one in found if isinstance(one, Record)] == blocks()
    for one in found:
        assert isinstance(one, Record)
        again = next(records(str(tmp_path / "x"), ALL, one.offset, one.skip))
        assert again == one


@pytest.mark.parametrize("how", ["plain", "gzip"])
def test_no_more_of_a_block_than_asked_for(tmp_path: Path, how: str) -> None:
    found = read(tmp_path / "x", written(how), limit=100)
    assert [one.block for one in found if isinstance(one, Record)] == [block[:100] for block in blocks()]
    assert [one.length for one in found if isinstance(one, Record)] == [len(block) for block in blocks()]


@pytest.mark.parametrize("how", ["plain", "gzip", "one member"])
def test_cut_off_anywhere_what_came_before_is_whole(tmp_path: Path, how: str) -> None:
    data = written(how)
    for end in range(0, len(data), 211):
        found = read(tmp_path / "x", data[:end])
        whole = [one.block for one in found if isinstance(one, Record)]
        assert whole == blocks()[: len(whole)]
        broken = [one for one in found if isinstance(one, Broken)]
        assert len(broken) <= 1
        if how == "gzip":
            ends = [
                len(b"".join(map(compressor(2), [record(n, b) for n, b in enumerate(blocks()[:i])]))) for i in range(13)
            ]
            assert len(whole) >= max(i for i in range(13) if ends[i] <= end)
            assert bool(broken) == (end not in ends)


@given(st.integers(0, 2**32), st.sampled_from(["plain", "gzip", "one member"]), st.integers(1, 200))
def test_damaged_anywhere_the_others_are_read(
    tmp_path_factory: pytest.TempPathFactory, seed: int, how: str, size: int
) -> None:
    """One damaged place costs the records it is in, and no more where each is a member or line of its own."""
    path = tmp_path_factory.getbasetemp() / "damaged"
    data = bytearray(written(how))
    place = seed % len(data)
    data[place : place + size] = random.Random(seed).randbytes(len(data[place : place + size]))
    found = read(path, bytes(data))
    whole = [
        one for one in found if isinstance(one, Record) and one.block in blocks() and one.url.startswith("http://a/")
    ]
    numbers = [int(one.url.rpartition("/")[2]) for one in whole if one.url.rpartition("/")[2].isdigit()]
    assert numbers == sorted(numbers)
    if how == "gzip":
        lengths = [len(compressor(2)(record(number, block))) for number, block in enumerate(blocks())]
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        touched = {n for n, start in enumerate(starts) if start < place + size and place < start + lengths[n]}
        # The first bytes tell whether a file is gzip at all
        assert place < 2 or set(range(len(lengths))) - touched <= set(numbers)


@given(st.binary(max_size=2000))
def test_any_bytes_come_to_an_end(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for start in (b"", b"WARC/1.1\r\n", b"\x1f\x8b\x08\0", b"WARC/1.0\r\nContent-Length: 99999999999999\r\n\r\n"):
        assert all(isinstance(one, (Record, Broken)) for one in read(path, start + data))


def test_a_wrong_digest_is_told_with_its_place(tmp_path: Path) -> None:
    first, second, third = (record(number, b"block %d" % number) for number in range(3))
    data = first + second.replace(b"block 1", b"blocc 1") + third
    found = read(tmp_path / "x", data)
    assert [type(one) for one in found] == [Record, Broken, Record]
    assert found[1] == Broken(len(first), "its block has another digest")


def test_old_spellings(tmp_path: Path) -> None:
    """WARC 1.0's angle brackets, folded lines, digests in hexadecimal, names in any case."""
    import hashlib

    block = b"x"
    head = (f"WARC/1.0\r\nwarc-type: resource\r\nWARC-Target-URI: <http://a/>\r\nX: a\r\n b\r\n"
            f"WARC-Block-Digest: sha1:{hashlib.sha1(block).hexdigest()}\r\ncontent-length: 1\r\n\r\n").encode()  # fmt: skip
    (found,) = read(tmp_path / "x", head + block)
    assert isinstance(found, Record)
    assert (found.kind, found.url, found.fields["x"], found.block) == ("resource", "http://a/", "a b", b"x")
