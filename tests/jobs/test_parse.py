"""parse as a user calls it: what was refused is counted by host and rule, whoever parsed which chunk."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawldb import dump, filesystem, schema, shards
from crawldb.segments import Segment, Segments
from crawldb.settings import load
from crawldb.store import now_ms
from jobs.cli import main
from jobs.parse import isolated, parse_chunk
from jobs.parsing import PageParser
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


# Pages that a browser rendered

PARSER = PageParser(load(None, ["http.agent_name=Cobnut", "filter.use=length,scope,depth"]))
SHELL = b"<meta charset=windows-1252><title>Loading</title><script src=app.js></script>"
DOM = (
    "<!DOCTYPE html><html lang=fr><head><meta charset=windows-1252><meta name=robots content=noindex>"
    "<title>Café</title></head><body><my-list><template shadowrootmode=open><a href=one>Thé</a></template></my-list>"
).encode()


def chunk(*rendered: bytes | None, url: str | None = None) -> pa.Table:
    rows = [
        {
            "fingerprint": tables.key(number), "url": f"http://h.example/{number}", "host": "h.example", "depth": 0,
            "outcome": "success", "content": SHELL, "rendered": dom, "rendered_url": url,
            "response_headers": [{"name": "Content-Type", "value": "text/html; charset=windows-1252"}],
        }
        for number, dom in enumerate(rendered)
    ]  # fmt: skip
    return tables.as_they_come(rows, schema.CONTENT)


def test_a_rendered_page_is_what_its_scripts_made_of_it() -> None:
    """In UTF-8, whatever the answer and the page say; signed too, for the answer's body stays the same for ever."""
    parsed, _ = parse_chunk(chunk(DOM, None, DOM.replace(b"one", b"two"), url="http://h.example/route/7#x"), PARSER)
    first, second, third = parsed.to_pylist()
    assert (first["title"], first["text"], first["charset"], first["language"]) == ("Café", "Thé", "utf-8", "fr")
    assert (first["content_type"], first["noindex"]) == ("text/html", True)
    assert [link["url"] for link in first["outlinks"]] == ["http://h.example/route/one"]
    assert first["signature"] == hashlib.md5(DOM).digest()
    assert (second["title"], second["charset"], second["outlinks"]) == ("Loading", "windows-1252", [])
    assert second["signature"] == hashlib.md5(SHELL).digest()
    assert third["signature"] not in (first["signature"], second["signature"])


def test_chunks_from_before_there_were_rendered_pages_are_parsed(tmp_path: Path) -> None:
    fs, path = filesystem.resolve(str(tmp_path / "part-00000-0000-x.parquet"))
    pq.write_table(chunk(None, None).drop_columns(["rendered", "rendered_url"]), path)
    reader = shards.Reader(fs, path, schema.CONTENT)
    try:
        parsed, _ = parse_chunk(reader.read(), PARSER)
    finally:
        reader.close()
    assert parsed["title"].to_pylist() == ["Loading", "Loading"]


# Pages that cost too much

MISBEHAVING = [b"one", b"hang", b"two", b"eat", b"crash", b"three"]


def misbehaving_segment(tmp_path: Path) -> Segment:
    """A fetched segment of one chunk with pages that a parser does not survive."""
    segments = Segments(str(tmp_path / "crawl"))
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("http://h.example/\n")
    assert main(["inject", str(tmp_path / "crawl"), str(seeds)]) == 0
    segment = segments.begin(now_ms(), 0)
    segment.commit("fetchlist", [], now_ms(), {})
    segments.commit(segment, 0, now_ms(), [])
    rows = [
        {
            "fingerprint": tables.key(place), "url": f"http://h.example/{place}", "host": "h.example", "depth": 0,
            "outcome": "success", "content": page,
            "response_headers": [{"name": "content-type", "value": "x/misbehaving"}],
        }
        for place, page in enumerate(MISBEHAVING)
    ]  # fmt: skip
    with shards.Writer(segment.fs, segment.part_path("content", 0, 0), schema.CONTENT) as writer:
        writer.write(tables.as_they_come(rows, schema.CONTENT))
    segment.commit("content", [writer.file], now_ms(), {})
    return segment


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_pages_that_cost_too_much_are_recorded_and_the_task_goes_on(
    runner: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    segment = misbehaving_segment(tmp_path)
    limits = ["--set", "parse.timeout=1", "--set", "parse.max_memory=128MiB", "--set", "parse.detect_language=false"]
    parser = ["--set", "parse.parsers=x/misbehaving=tests.jobs.parsing.misbehaving:parse"]
    assert main(["parse", str(tmp_path / "crawl"), "-r", runner, *limits, *parser]) == 0
    assert "6 answers (parsed 3, failed 3)" in capfd.readouterr().err
    (file,) = segment.files("parsed")
    rows = segment.read("parsed", file.name, ["text", "parse_status", "parse_detail", "content_type", "signature"])
    told = [(row["text"], row["parse_status"], row["parse_detail"]) for row in rows.to_pylist()]
    assert told == [
        ("one", "parsed", None), (None, "failed", "timeout"), ("two", "parsed", None), (None, "failed", "memory"),
        (None, "failed", "crashed: SIGSEGV"), ("three", "parsed", None),
    ]  # fmt: skip
    assert rows["content_type"].to_pylist() == ["x/misbehaving"] * 6
    assert rows["signature"].to_pylist() == [hashlib.md5(page).digest() for page in MISBEHAVING]


def test_ctrl_c_ends_an_endless_page(tmp_path: Path) -> None:
    """And the process that parses it."""
    misbehaving_segment(tmp_path)
    command = [
        sys.executable, "-m", "jobs.cli", "parse", str(tmp_path / "crawl"), "--set", "parse.timeout=600",
        "--set", "parse.parsers=x/misbehaving=tests.jobs.parsing.misbehaving:parse",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert b"interrupted" in told
    assert not Path(f"/proc/{found[0]}").exists()


def test_the_process_for_pages_parses_as_this_one_does() -> None:
    isolation = isolated(PARSER, load(None, []))
    assert isolation is not None
    pages = chunk(DOM, None, DOM.replace(b"one", b"two"), url="http://h.example/route/7#x")
    there, refused_there = parse_chunk(pages, PARSER, isolation.map)
    isolation.close()
    here, refused_here = parse_chunk(pages, PARSER)
    assert there.to_pylist() == here.to_pylist()
    assert refused_there == refused_here
    assert isolated(PARSER, load(None, ["parse.timeout=0", "parse.max_memory=0"])) is None


def test_what_is_cut_off_and_cannot_be_read_so_is_failed() -> None:
    rows = chunk(None).to_pylist()
    rows[0] |= {"content": b"%PDF-1.7\n", "truncated": "length", "response_headers": []}
    parsed, _ = parse_chunk(tables.as_they_come(rows, schema.CONTENT), PARSER)
    (row,) = parsed.select(["parse_status", "parse_detail", "content_type"]).to_pylist()
    assert row == {"parse_status": "failed", "parse_detail": "truncated", "content_type": "application/pdf"}


def test_main_text_without_trafilatura_is_a_mistake_of_the_user(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    assert main(["parse", str(tmp_path / "crawl"), "--set", "parse.main_text=true"]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == (
        "cobnut parse: parse.main_text = true: needs trafilatura, which scripts/venv.sh text installs"
    )
