"""parse as a user calls it: what was refused is counted by host and rule, whoever parsed which chunk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crawldb import dump, schema, shards
from crawldb.segments import Segment, Segments
from crawldb.store import now_ms
from jobs.cli import main
from tests.crawldb import tables

PAGES = [
    "<a href=/a>x</a><a href=/b;jsessionid=0123456789ABCDEF>x</a><a href=/c rel=nofollow>x</a>",
    "<a href=/a/b/a/b/a/b>x</a><a href='http://other.example/calendar/2190/05/'>x</a><a href=/x.png>x</a>",
    "<a href='http://other.example/calendar/2190/06/'>x</a>",
]
RULES = (Path(__file__).parents[2] / "conf" / "regex-urlfilter.txt").read_text().splitlines()
SUFFIXES = next(number for number, line in enumerate(RULES, 1) if line.startswith("-\\.(?:7z"))
REFUSED = {
    "h.example": {"trap_session": 1, "nofollow": 1, "repeated_segments": 1, f"regex:{SUFFIXES}": 1},
    "other.example": {"trap_calendar": 2},
}


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """A fetched segment: three pages in two chunks."""
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("http://h.example/\n")
    assert main(["inject", str(tmp_path / "crawl"), str(seeds)]) == 0
    segments = Segments(str(tmp_path / "crawl"))
    segment = segments.begin(now_ms(), 0)
    segment.commit("fetchlist", [], now_ms(), {})
    segments.commit(segment, 0, now_ms(), [])
    files = []
    for number, pages in enumerate((PAGES[:2], PAGES[2:])):
        rows = [
            {
                "fingerprint": tables.key(10 * number + place), "url": f"http://h.example/{number}/{place}",
                "host": "h.example", "depth": 0, "outcome": "success", "content": page.encode(),
                "response_headers": [{"name": "Content-Type", "value": "text/html"}],
            }
            for place, page in enumerate(pages)
        ]  # fmt: skip
        with shards.Writer(segment.fs, segment.part_path("content", 0, number), schema.CONTENT) as writer:
            writer.write(tables.as_they_come(rows, schema.CONTENT))
        files.append(writer.file)
    segment.commit("content", files, now_ms(), {})
    return segment


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_refused_links_are_counted_by_host_and_rule(
    segment: Segment, runner: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert main(["parse", str(tmp_path / "crawl"), "-r", runner]) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert "3 answers (parsed 3), 1 links, refused: trap_calendar 2, trap_session 1, " in line
    counts = segment.manifest("parsed")["counts"]
    assert counts["refused_by_host"] == REFUSED
    assert counts["refused"] == {reason: links for rules in REFUSED.values() for reason, links in rules.items()}
    assert dump.main([str(tmp_path / "crawl"), "--refused", "--format", "jsonl"]) == 0
    told = [json.loads(row) for row in capfd.readouterr().out.splitlines()]
    assert told[0] == {"host": "other.example", "rule": "trap_calendar", "refused": 2}
    assert len(told) == 5
    assert dump.main([str(tmp_path / "crawl"), "--refused", "--host", "h.example"]) == 0
    assert capfd.readouterr().out.split()[:6] == ["host", "rule", "refused", "h.example", "nofollow", "1"]
    assert dump.main([str(tmp_path / "crawl"), "--refused", "--host", "else.example"]) == 0
    assert capfd.readouterr().err == "dump: no segment on disk refused such links\n"


def test_what_an_attempt_before_refused_is_counted_without_its_rules(segment: Segment, tmp_path: Path) -> None:
    """Its finished chunk is adopted: the file knows how many links were left out, but not why."""
    crawl_dir = str(tmp_path / "crawl")
    assert main(["parse", crawl_dir]) == 0
    first = next(file for file in segment.files("parsed") if file.rows == 2)
    for name in segment.fs.all_names(segment.dataset("parsed")):
        if name != first.name:
            segment.fs.remove(f"{segment.dataset('parsed')}/{name}")
    assert main(["parse", crawl_dir]) == 0
    assert segment.manifest("parsed")["counts"]["refused_by_host"] == {
        "other.example": {"trap_calendar": 1},
        "*": {"unknown": 5},
    }
