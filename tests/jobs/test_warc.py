"""The command: what is refused, what becomes of foreign archives, and of files that are there before."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from crawldb.segments import Segments
from crawldb.store import Store
from jobs import cli

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
"""warcio leaves its temporary files to the garbage collector."""


def run(*arguments: str) -> int:
    return cli.main(["warc", *arguments])


def foreign(path: Path, pages: dict[str, bytes]) -> Path:
    with open(path, "wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, body in pages.items():
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            record = writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=head)
            writer.write_record(record)
    return path


def state(crawl_dir: Path) -> dict[str, str]:
    tables = Store(str(crawl_dir)).snapshot().scan(["url", "status"])
    return {row["url"]: row["status"] for table in tables for row in table.to_pylist()}


def test_a_foreign_archive_becomes_a_crawl(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Into a directory where there is nothing yet, in small chunks; the same files again change nothing."""
    pages = {f"http://a.example/{number}": b'<a href="/%d">x</a>' % (number + 1) for number in range(5)}
    first = foreign(tmp_path / "a.warc.gz", pages)
    foreign(tmp_path / "b.warc.gz", {"http://b.example/": b"b", "http://a.example/0": b"later"})
    crawl = tmp_path / "crawl"
    small = ["--set", "fetch.chunk_rows=2"]
    assert run("import", *small, str(crawl), str(first), str(tmp_path)) == 0
    (segment,) = Segments(str(crawl)).committed()
    assert sorted(file.rows for file in segment.files("content")) == [1, 2, 2, 2]
    assert cli.main(["parse", str(crawl)]) == cli.main(["updatedb", str(crawl)]) == 0
    assert state(crawl) == {
        **dict.fromkeys([*pages, "http://b.example/"], "fetched"),
        "http://a.example/5": "unfetched",
    }
    capfd.readouterr()
    assert run("import", *small, str(crawl), str(tmp_path)) == 0
    assert "already imported" in capfd.readouterr().err
    assert len(Segments(str(crawl)).committed()) == 1


def test_broken_places_are_told_and_the_rest_goes_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = foreign(tmp_path / "a.warc.gz", {f"http://a.example/{number}": b"%d" % number * 500 for number in range(4)})
    data = bytearray(path.read_bytes())
    second = data.index(b"\x1f\x8b\x08", 10)
    data[second + 40 : second + 44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data[:-20]))
    assert run("import", str(tmp_path / "crawl"), str(path)) == 0
    said = capfd.readouterr().err
    assert f"{path}: offset {second}: " in said
    assert "2 broken" in said
    (segment,) = Segments(str(tmp_path / "crawl")).committed()
    assert segment.manifest("content")["rows"] == 2


def test_what_is_no_archive_at_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, data in (("text.warc", b"hello\n" * 100), ("empty.warc", b""), ("gz.warc.gz", gzip.compress(b"hello"))):
        (tmp_path / name).write_bytes(data)
    assert run("import", str(tmp_path / "crawl"), str(tmp_path)) == 0
    assert "0 requests of 3 files" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "CRAWL", "nowhere.warc"], "nowhere.warc: no such file or directory"),
        (["import", "CRAWL", "EMPTY"], "no .warc or .warc.gz in this directory"),
        (["export", "CRAWL", "-o", "OUT"], "no segment is fetched yet"),
        (["export", "CRAWL", "20260101T000000Z", "-o", "OUT"], "no segment 20260101T000000Z"),
        (["export", "--set", "warc.compression_level=0", "CRAWL", "-o", "OUT"], "warc.compression_level = 0"),
        (["export", "-r", "hadoop", "file:///nowhere/crawl", "-o", "OUT"], "every node sees"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (tmp_path / "EMPTY").mkdir()
    placed = [str(tmp_path / word) if word in ("CRAWL", "EMPTY") or (word == "OUT" and "hadoop" not in arguments) else word
              for word in arguments]  # fmt: skip
    assert run(*placed) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["export", "x"], ["export", "x", "-o", "y", "--max-bytes", "1XB"],
                                       ["export", "x", "-o", "y", "--max-bytes", "0"], ["import", "x"]])  # fmt: skip
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run(*arguments)
    assert error.value.code == 2


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["frobnicate"], 2)])
def test_usage_names_both_ways(arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == code
    said = capfd.readouterr()
    assert "cobnut warc import CRAWL_DIR WARC…" in said.out + said.err


def test_another_crawls_archive_is_not_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor are its own files written twice."""
    path = foreign(tmp_path / "a.warc.gz", {"http://a.example/": b"x"})
    for name in ("one", "two"):
        assert run("import", "--set", "run.clock=1700000000000", str(tmp_path / name), str(path)) == 0
    out = ["-o", str(tmp_path / "out")]
    assert run("export", str(tmp_path / "one"), *out) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert run("export", str(tmp_path / "one"), *out) == 0
    assert "1 files were there before" in capfd.readouterr().err
    assert run("export", str(tmp_path / "two"), *out) == 2
    assert "another crawl's archive" in capfd.readouterr().err
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
