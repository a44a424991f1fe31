"""inject as a user calls it: files, directories, gzip, stdin, bad lines."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from crawldb.store import Store
from jobs import inject
from jobs.cli import main


def urls(crawl_dir: Path) -> list[str]:
    tables = Store(str(crawl_dir)).snapshot().scan(["url"])
    return sorted(url for table in tables for url in table["url"].to_pylist())


def rows(crawl_dir: Path) -> dict[str, dict[str, Any]]:
    return {row["url"]: row for table in Store(str(crawl_dir)).snapshot().scan() for row in table.to_pylist()}


def test_files_directories_and_gzip(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    (seeds / "more").mkdir(parents=True)
    (seeds / "a.txt").write_text("http://a.example/\n\n# a comment\n  http://A.example:80/#top \n")
    (seeds / "more" / "b.gz").write_bytes(gzip.compress(b"http://b.example/\r\nhttp://c.example/"))
    (seeds / ".hidden").write_text("http://hidden.example/\n")
    single = tmp_path / "single"
    single.write_text("http://d.example/\n")
    assert main(["inject", str(tmp_path / "crawl"), str(seeds), str(single)]) == 0
    assert urls(tmp_path / "crawl") == [f"http://{host}.example/" for host in "abcd"]


def test_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"http://a.example/\nnonsense\n")))
    assert main(["inject", str(tmp_path / "crawl"), "-"]) == 0
    assert urls(tmp_path / "crawl") == ["http://a.example/"]


def test_bad_lines_are_named_and_the_others_go_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("http://a.example/\nftp://b.example/\nhttp://c.example/\tscore=high\nhttp://d.example/x.png\n")
    assert main(["inject", str(tmp_path / "crawl"), str(seeds)]) == 0
    said = capfd.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in said[:3]] == [f"{seeds}:{n}" for n in (2, 3, 4)]
    assert "score=high" in said[1]
    assert "regex:" in said[2]
    assert said[3].startswith("inject    1 seeds, 3 bad lines; crawldb version 0")
    assert urls(tmp_path / "crawl") == ["http://a.example/"]


def test_line_numbers_count_across_the_pieces_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inject, "PIECE", 100)
    seeds = tmp_path / "seeds.txt"
    lines = [f"http://h{number}.example/" if number % 10 else f"bad{number}" for number in range(1, 101)]
    seeds.write_text("\n".join(lines))
    assert main(["inject", str(tmp_path / "crawl"), str(seeds)]) == 0
    assert [line for line in capfd.readouterr().err.splitlines() if "bad" in line][:10] == [
        f"{seeds}:{number}: not an http or https URL: bad{number}" for number in range(10, 101, 10)
    ]
    assert len(urls(tmp_path / "crawl")) == 90


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 1, "no seeds"),
        (b"# nothing\n\n", 1, "no seeds"),
        (b"mailto:me\n:\n", 1, "2 bad lines"),
        (None, 2, "no such file or directory"),
        (b"\x1f\x8bbroken", 2, "broken gzip"),
    ],
)
def test_nothing_to_inject_is_said_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, code: int, message: str
) -> None:
    seeds = tmp_path / "seeds.txt"
    if content is not None:
        seeds.write_bytes(content)
    assert main(["inject", str(tmp_path / "crawl"), str(seeds)]) == code
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("cobnut inject: ")
    assert message in last
    assert Store(str(tmp_path / "crawl")).versions() == []


def test_twice_changes_nothing_and_update_applies_what_a_seed_says(tmp_path: Path) -> None:
    crawl_dir, seeds = tmp_path / "crawl", tmp_path / "seeds.txt"
    seeds.write_text("http://a.example/\tscore=3\tinterval=1d\ttopic=x\nhttp://b.example/\n")
    main(["inject", str(crawl_dir), str(seeds)])
    first = rows(crawl_dir)
    seeds.write_text("http://a.example/\tscore=5\ttopic=y\nhttp://c.example/\n")
    main(["inject", str(crawl_dir), str(seeds)])
    second = rows(crawl_dir)
    assert {url: second[url] for url in first} == first
    assert "http://c.example/" in second
    main(["inject", "--update", str(crawl_dir), str(seeds)])
    third = rows(crawl_dir)
    row = third["http://a.example/"]
    assert (row["score"], row["interval"], row["metadata"]) == (5.0, 86400, [("topic", "y")])
    assert third["http://b.example/"] == first["http://b.example/"]


def test_the_first_of_two_lines_for_one_url_counts(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("http://a.example/\tscore=3\nhttp://A.example/\tscore=7\n")
    main(["inject", str(tmp_path / "crawl"), str(seeds)])
    assert rows(tmp_path / "crawl")["http://a.example/"]["score"] == 3.0
