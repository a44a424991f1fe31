"""What rounds learn of hosts reaches the host store once, whatever dies on the way, and the next round's engine."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crawldb import dump, hosts
from crawldb.schema import FetchOutcome
from crawldb.segments import Segment
from crawldb.settings import Settings
from crawldb.store import now_ms
from jobs import compact, control, crawl, fetch, generate, inject, parse, updatedb
from jobs.command import Run
from jobs.fetching import FetchRequest, FetchResult
from jobs.fetching.contract import FetchReport, KnownRobots
from tests.crawldb import killed_writers
from tests.rounds.conftest import rows

HOSTS = 6
DAY = 86_400_000
FILE = b"User-agent: *\nCrawl-delay: 2\nDisallow: /private\n"

given: list[list[KnownRobots]] = []
"""What each call of the engine was given."""
asked_ago = 0
"""How long ago, in ms, the robots.txt files that the engine learns were asked for."""


def engine(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots],
) -> FetchReport:  # fmt: skip
    """Every page links to two more of its host; h0's robots.txt fails, h1 has none; asks for those it does not know."""
    given.append(list(known))
    report = FetchReport()
    now = now_ms()
    for request in requests:
        report.fetched += 1
        content = b"".join(b"<a href='%s%d'>x</a>" % (request.url.encode(), number) for number in range(2))
        if request.host == "h0.test":
            emit(FetchResult(request, FetchOutcome.postponed, None, "robots_unavailable", None, now, 0))
        else:
            emit(FetchResult(request, FetchOutcome.success, 200, None, None, now, 40, content=content,
                             response_headers=[("Content-Type", "text/html")]))  # fmt: skip
    fresh = {robots.origin for robots in known if not robots.failing_since}
    for origin in sorted({f"http://{request.host}" for request in requests} - fresh):
        url, at = f"{origin}/robots.txt", now - asked_ago
        if origin == "http://h0.test":
            report.robots.append(KnownRobots(origin, url, at, 503, None, False, at))
        elif origin == "http://h1.test":
            report.robots.append(KnownRobots(origin, url, at, 404, None, False, None))
        else:
            report.robots.append(KnownRobots(origin, url, at, 200, FILE, False, None))
    return report


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A crawl directory with a seed of each of HOSTS hosts."""
    global asked_ago
    given.clear()
    asked_ago = 0
    seeds = tmp_path / "seeds"
    seeds.write_text("".join(f"http://h{number}.test/\n" for number in range(HOSTS)))
    settings = Settings()
    settings.fetch.engine = "tests.rounds.test_hosts:engine"
    settings.schedule.retry_delay = 0
    settings.generate.tasks = 2
    settings.store.shards = 1
    settings.filter.use = []
    with control.control_directory(str(tmp_path)) as directory:
        run = Run(str(tmp_path / "crawl"), settings, directory)
        inject.run(run, [str(seeds)])
        yield run
        run.close()


def up_to_parsed(run: Run) -> Segment:
    segment = generate.run(run)
    assert segment is not None
    fetch.run(run, segment)
    parse.run(run, segment)
    return segment


def one_round(run: Run) -> Segment:
    segment = up_to_parsed(run)
    updatedb.run(run, segment)
    return segment


def stored(run: Run) -> dict[str, dict[str, Any]]:
    return {row["host"]: row for table in run.hosts.snapshot().scan() for row in table.to_pylist()}


def files_stored(run: Run) -> list[tuple[str, int | None, bytes | None]]:
    names = ("origin", "status", "body")
    rows_ = (row for table in run.robots.snapshot().scan() for row in table.to_pylist())
    return sorted((row[names[0]], row[names[1]], row[names[2]]) for row in rows_)


def garbage(crawl_dir: str) -> list[str]:
    return [found for found in killed_writers.garbage(crawl_dir) if not found.endswith("/.lock")]


def test_a_round_of_known_hosts_is_given_their_robots_txt(run: Run) -> None:
    one_round(run)
    assert given == [[], []]
    given.clear()
    second = one_round(run)
    known = {robots.origin: robots for task in given for robots in task}
    assert sorted(known) == [f"http://h{number}.test" for number in range(HOSTS)]
    assert known["http://h2.test"][:4] == (
        "http://h2.test", "http://h2.test/robots.txt", known["http://h2.test"].fetched_at, 200
    )  # fmt: skip
    assert known["http://h2.test"].body == FILE
    assert known["http://h1.test"].status == 404
    assert known["http://h0.test"].failing_since == known["http://h0.test"].fetched_at
    # Each task is told of its own hosts alone.
    for task, name in second.files_by_task("fetchlist").items():
        hostlist = second.read("hostlist", second.files_by_task("hostlist")[task])
        own = set(second.read("fetchlist", name, ["host"])["host"].to_pylist())
        assert set(hostlist["host"].to_pylist()) <= own
    # Only the one that fails was asked again.
    assert sum(file.rows for file in second.files("hosts")) == 1
    assert [row["failing_since"] for row in stored(run)["h0.test"]["robots"]] != []


def test_files_older_than_a_day_are_asked_for_again(run: Run) -> None:
    global asked_ago
    asked_ago = DAY
    one_round(run)
    given.clear()
    one_round(run)
    assert [robots.origin for task in given for robots in task] == ["http://h0.test"]  # it fails: since when matters
    given.clear()
    run.settings.fetch.robots_max_age = 9 * 86_400.0  # a day at most, whatever the setting
    one_round(run)
    assert [robots.origin for task in given for robots in task] == ["http://h0.test"]


def test_the_store_adds_up_what_the_rounds_brought(run: Run) -> None:
    one_round(run)
    one_round(run)
    found = stored(run)
    assert len(found) == HOSTS
    asked = found["h3.test"]
    assert (asked["requests"], asked["success"], asked["postponed"]) == (3, 3, 0)
    assert asked["bytes"] == sum(len(b"".join(b"<a href='%s%d'>x</a>" % (url, number) for number in range(2)))
                                 for url in (b"http://h3.test/", b"http://h3.test/0", b"http://h3.test/1"))  # fmt: skip
    assert sum(asked["latency"]) == 2  # of the last round
    assert asked["latency"][5] == 2
    assert asked["first_seen"] < asked["last_seen"] == asked["answered_at"]
    assert asked["crawl_delay"] == 2.0
    failing = found["h0.test"]
    assert (failing["postponed"], failing["success"], failing["answered_at"], failing["robots_at"]) == (
        2,
        0,
        None,
        None,
    )
    assert failing["reasons"] == [("robots_unavailable", 2)]
    assert hosts.known_delays(run.hosts.snapshot(), ["h3.test", "h1.test", "nobody.test"]) == {"h3.test": 2.0}


def test_compaction_changes_nothing_but_the_files(run: Run) -> None:
    for _ in range(2):
        one_round(run)
    before, files = stored(run), files_stored(run)
    assert len(files) == HOSTS
    for store in run.other_stores():
        compact.run_other(run, store)
    assert (stored(run), files_stored(run)) == (before, files)
    assert run.robots.snapshot().entry.deltas == ()
    assert run.hosts.snapshot().entry.deltas == ()
    one_round(run)
    assert stored(run)["h3.test"]["requests"] == 7
    run.settings.store.compact_deltas = 0  # now both are due
    crawl.compact_if_due(run)
    assert run.hosts.snapshot().entry.kind == run.store.snapshot().entry.kind == "compact"
    assert garbage(run.crawl_dir) == []


def test_a_segment_without_hostlist_and_hosts_is_finished(run: Run) -> None:
    """It was made before there was a host store."""
    one_round(run)
    segment = generate.run(run)
    assert segment is not None
    shutil.rmtree(segment.dataset("hostlist"))
    given.clear()
    fetch.run(run, segment)
    assert given == [[], []]
    shutil.rmtree(segment.dataset("hosts"))
    parse.run(run, segment)
    updatedb.run(run, segment)
    assert stored(run)["h3.test"]["requests"] == 3


def test_applied_twice_is_once(run: Run) -> None:
    segment = one_round(run)
    before = stored(run)
    assert updatedb.run(run, segment) == 0
    assert stored(run) == before
    assert run.hosts.versions() == [0]


@pytest.mark.slow
def test_an_updatedb_killed_anywhere_counts_nothing_twice(run: Run, tmp_path: Path) -> None:
    segment = up_to_parsed(run)
    segment_name, prepared = segment.name, Path(run.crawl_dir)
    run.close()

    def update(directory: Path) -> Run:
        other = Run(str(directory), run.settings, run.control)
        updatedb.run(other, other.segments.at(segment_name))
        return other

    usual = update(shutil.copytree(prepared, tmp_path / "usual"))
    expected, expected_files, expected_rows = stored(usual), files_stored(usual), rows(usual.crawl_dir)
    between = 0
    for last in range(1, 1000, 4):  # every fourth step, of which there are more between the two commits
        directory = shutil.copytree(prepared, tmp_path / str(last))

        def until_killed(directory: Path = directory, last: int = last) -> None:
            killed_writers.die_at(last)
            update(directory)

        completed = killed_writers.in_child(until_killed) == 0
        left = Run(str(directory), run.settings, run.control)
        between += len(left.hosts.versions()) > len(left.store.versions()) - 1
        again = update(directory)
        assert stored(again) == expected
        assert rows(directory) == expected_rows
        assert (again.hosts.versions(), again.store.versions()) == ([0], [0, 1])
        assert again.robots.versions() == [0]
        assert files_stored(again) == expected_files
        for store in (again.robots, again.hosts, again.store):
            store.commit_delta(store.snapshot().entry, "updatedb", {}, killed_writers.Policy(), now_ms())
        assert garbage(str(directory)) == []
        shutil.rmtree(directory)
        if completed:
            break
    assert last > 20
    assert between  # killed after the first commit and before the second


def test_dump_shows_hosts(run: Run, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert dump.main([run.crawl_dir, "--hosts"]) == 2
    assert b"no host store here yet" in capfdbinary.readouterr().err
    one_round(run)
    one_round(run)

    def output(*options: str) -> list[dict[str, Any]]:
        capfdbinary.readouterr()
        assert dump.main([run.crawl_dir, "--hosts", *options]) == 0
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    everything = output()
    assert [list(row) for row in everything] == [hosts.SHOWN.names] * HOSTS
    (row,) = output("--host", "HTTP://H3.test/x")
    assert row == next(row for row in everything if row["host"] == "h3.test")
    assert (row["requests"], row["crawl_delay"], row["robots"]) == (3, 2.0, {"http://h3.test": 200})
    assert 32 <= row["latency_median"] <= row["latency_95"] < 64
    (failing,) = output("--host", "h0.test")
    assert (failing["reasons"], failing["robots"]) == ({"robots_unavailable": 2}, {"http://h0.test": 503})
    assert failing["robots_failing_since"] is not None
    assert output("--host", "h9.test") == []
    assert [row["requests"] for row in output("--top", "2")] == [3, 3]
    (failing,) = output("--where", "failing_since IS NOT NULL AND failures > 1", "--columns", "host,failing_since")
    assert failing["host"] == "h0.test"
    assert [row["host"] for row in output("--where", "reasons['robots_unavailable'] = 2", "--columns", "host")] == [
        "h0.test"
    ]
    assert output("--where", "requests > 99") == []
    assert [row["sitemaps"] for row in output("--host", "h3.test", "--columns", "sitemaps")] == [None]
    assert output("--host", "h0.test", "--columns", "host,retry", "--as-of", "0") == [{"host": "h0.test", "retry": 0}]
    for format_ in ("table", "csv"):
        assert dump.main([run.crawl_dir, "--hosts", "--format", format_]) == 0
        assert b"h3.test" in capfdbinary.readouterr().out
    for wrong in (["--where", "status = 'gone'"], ["--stats"], ["--url", "http://h3.test/"], ["--columns", "status"]):
        assert dump.main([run.crawl_dir, "--hosts", *wrong]) == 2
        assert capfdbinary.readouterr().err.count(b"\n") == 1
