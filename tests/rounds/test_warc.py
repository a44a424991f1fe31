"""A crawl from its archives: imported or replayed, it leaves what the live crawl left."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from warcio.archiveiterator import ArchiveIterator

from crawldb.hosts import HOSTDB
from crawldb.segments import Segments
from crawldb.store import Store
from jobs.archiving import cdxj
from jobs.demo.server import DemoServer
from tests.rounds.conftest import ROOT, Crawler, environment, rows

pytestmark = pytest.mark.slow
LIVE = ("--set", "fetch.chunk_rows=40", "--set", "fetch.store_request=true", "--set", "generate.tasks=2",
        "--set", "fetch.redirects=2")  # fmt: skip


class Archived(NamedTuple):
    """A live crawl and its archives."""

    crawler: Crawler
    live: Path
    archives: Path
    asked: int
    """Requests that the server had by then."""

    def replay(self, name: str, *arguments: str, rounds: int = 3, **options: Any) -> Path:
        path = self.crawler.directory / name
        seeds = ["-s", str(self.crawler.seeds), "--replay", str(self.archives)]
        self.crawler.run("crawl", *LIVE, *seeds, *arguments, str(path), str(rounds), **options)
        return path


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    directory = tmp_path_factory.mktemp("warc")
    with DemoServer() as server:
        crawler = Crawler(server, directory)
        live, archives = crawler.crawl("live", *LIVE), directory / "archives"
        warc(crawler, "export", str(live), "-o", str(archives))
        yield Archived(crawler, live, archives, len(server.requests))


def warc(crawler: Crawler, verb: str, *arguments: str, code: int = 0) -> str:
    """`cobnut warc VERB` as a user calls it; its stderr."""
    command = [sys.executable, "-m", "jobs.cli", "warc", verb, "--set", "http.agent_name=cobnut-test", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), text=True, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def killed(*command: str, dies_at: int) -> bool:
    """Run a command that kills itself at a moment; True if it did."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rounds.killed", *command], cwd=ROOT, check=False, capture_output=True, text=True,
        env={**environment(), "COBNUT_DIES_AT": str(dies_at)}, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def segments(crawl_dir: Path) -> list[str]:
    return [segment.name for segment in Segments(str(crawl_dir)).committed()]


def content(crawl_dir: Path, name: str) -> dict[bytes, dict[str, Any]]:
    """All columns of a segment's content, by fingerprint."""
    segment = Segments(str(crawl_dir)).find(name)
    tables = [segment.read("content", file.name) for file in segment.files("content")]
    return {row["fingerprint"]: row for row in pa.concat_tables(tables).to_pylist()} if tables else {}


def hosts(crawl_dir: Path) -> dict[str, dict[str, Any]]:
    state = Store(str(crawl_dir), HOSTDB).snapshot().scan(HOSTDB.state.names)
    return {row["host"]: row for table in state for row in table.to_pylist()}


def bytes_in(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha1(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_others_can_read_the_archives(archived: Archived) -> None:
    """warcio's check has nothing to complain of, the index is sorted, and requests are as they were sent."""
    files = sorted(archived.archives.glob("*.warc.gz"))
    done = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", *map(str, files)],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digest pass" in done.stdout
    for path in files:
        lines = Path(f"{path}.cdxj").read_text().splitlines()
        assert lines == sorted(lines)
        assert all(cdxj.read(line)[2]["filename"] == path.name for line in lines)
    agents = set()
    for path in files:
        with open(path, "rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "request":
                    assert record.rec_headers["X-Cobnut-Request"] == "sent"
                    agents.add(record.http_headers["User-Agent"])
    assert agents == {"cobnut-test"}


def test_imported_it_leaves_the_live_crawldb(archived: Archived) -> None:
    """Row by row, times included: the seeds are injected as of when they were."""
    crawler, live = archived.crawler, archived.live
    other = crawler.directory / "imported"
    at = Store(str(live)).entry(0).committed_at
    crawler.run("inject", "--set", f"run.clock={at}", str(other), str(crawler.seeds))
    warc(crawler, "import", "-r", "local", str(other), str(archived.archives))
    assert segments(other) == segments(live)
    for name in segments(live):
        assert content(other, name) == content(live, name)
    # The round loop goes on with what has been imported.
    crawler.run("crawl", *LIVE, str(other), "0")
    assert rows(other, ()) == rows(live, ())
    assert hosts(other) == hosts(live)
    assert len(crawler.server.requests) == archived.asked
    assert warc(crawler, "import", str(other), str(archived.archives)).count("already imported") == 3


def test_replayed_it_leaves_the_live_crawldb_up_to_times(archived: Archived) -> None:
    first = archived.replay("first")
    assert rows(first) == rows(archived.live)
    second = archived.replay("second", "--set", "fetch.chunk_rows=7", "--set", "generate.tasks=3")
    assert rows(second, ()) == rows(first, ())
    assert hosts(second) == hosts(first)
    assert segments(second) == segments(first)
    assert len(archived.crawler.server.requests) == archived.asked


def test_a_filter_is_tried_on_the_archive(archived: Archived) -> None:
    """What other settings lead to is answered from the archive too; what it lacks is gone, and nobody is asked."""
    path = archived.replay(
        "filtered", "--set", "filter.max_depth=1", "--set", "fetch.content_types=text/plain", rounds=2
    )
    found = rows(path)
    live = rows(archived.live)
    assert set(found) < set(live)
    refused = [url for url, row in found.items() if row["reason"] == "content_type"]
    assert refused
    assert {live[url]["http_status"] for url in refused} <= {200, 203, 206}
    assert all(found[url]["status"] == "gone" for url in refused)
    deeper = archived.replay("deeper", rounds=4)
    missing = [row for row in rows(deeper).values() if row["reason"] == "not_archived"]
    assert missing
    assert {row["status"] for row in missing} == {"gone"}
    assert len(archived.crawler.server.requests) == archived.asked


def test_killed_anywhere_a_rerun_ends_the_same(archived: Archived) -> None:
    crawler = archived.crawler
    name = segments(archived.live)[1]
    whole, export = crawler.directory / "whole", crawler.directory / "export"
    warc(crawler, "export", str(archived.live), name, "-o", str(whole), "--max-bytes", "20KB")
    assert any(path.name.endswith("-01.warc.gz") for path in whole.iterdir())
    command = ("warc", "export", "--set", "http.agent_name=cobnut-test", str(archived.live), name, "-o")
    for moment in (3, 40, 110):
        assert killed(*command, str(export), "--max-bytes", "20KB", dies_at=moment)
    assert "were there before" in warc(
        crawler, "export", str(archived.live), name, "-o", str(export), "--max-bytes", "20KB"
    )
    finished = {key: value for key, value in bytes_in(export).items() if not key.startswith(".")}
    assert finished == bytes_in(whole)

    other = crawler.directory / "other"
    for moment in (4, 12, 22):
        assert killed("warc", "import", str(other), str(whole), dies_at=moment)
    warc(crawler, "import", str(other), str(whole))
    assert len(segments(other)) == 1  # of another second, if a killed import had begun one of that name
    assert content(other, segments(other)[0]) == content(archived.live, name)
    assert [path.name for path in (other / "segments").iterdir() if path.name != "log"] == segments(other)


def test_a_replay_that_is_killed_goes_on_at_its_own_time(archived: Archived) -> None:
    undisturbed = archived.replay("undisturbed", rounds=2)
    crawler, path = archived.crawler, archived.crawler.directory / "disturbed"
    command = ["crawl", "-s", str(crawler.seeds), "--replay", str(archived.archives), "--set", "http.agent_name=cobnut-test",
               *LIVE]  # fmt: skip
    for moment in (9, 30, 45):
        assert killed(*command, str(path), "2", dies_at=moment)
    store = Store(str(path))
    started = len(Segments(str(path)).committed()) if store.versions() else 0
    crawler.run(*command, str(path), str(2 - started))
    assert rows(path, ()) == rows(undisturbed, ())
