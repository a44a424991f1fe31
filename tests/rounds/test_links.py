"""What rounds leave in the link store: the newest links of each page, once, whatever dies on the way."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crawldb import dump, links
from crawldb.fingerprint import url_fingerprint
from crawldb.schema import FetchOutcome
from crawldb.segments import Segment
from crawldb.settings import Policy, Settings
from crawldb.store import Store, now_ms
from jobs import compact, control, crawl, fetch, generate, inject, invertlinks, parse, updatedb
from jobs.command import Run
from jobs.demo.truth import truth
from jobs.fetching import FetchRequest, FetchResult
from jobs.fetching.contract import FetchReport, KnownRobots
from tests.crawldb import killed_writers
from tests.rounds.conftest import Crawler

SEEDS = 5
rounds = 0
"""How often the engine was called."""


def engine(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots],
) -> FetchReport:  # fmt: skip
    """Seed n links to a page of its own, to a page of this round, and to the next seed; seed 4 is gone in round 2, seed
    3 fails. What they lead to has no links."""
    global rounds
    rounds += 1
    report = FetchReport()
    for request in requests:
        report.fetched += 1
        outcome, status, content = FetchOutcome.success, 200, b"<p>nothing</p>"
        if "?" not in request.url:
            number = int(request.url[-1])
            content = "".join(
                f"<a href='http://h{host}.test/{path}'>to {path}</a>"
                for host, path in (
                    (number, f"{number}?own=1"),
                    (0, f"{number}?round={rounds}"),
                    (1, (number + 1) % SEEDS),
                )
            ).encode()
            if rounds == 2 and number == 4:
                outcome, status = FetchOutcome.gone, 410
            elif rounds == 2 and number == 3:
                outcome, status = FetchOutcome.retry, 500
        emit(FetchResult(request, outcome, status, None, None, now_ms(), 40, content=content,
                         response_headers=[("Content-Type", "text/html")]))  # fmt: skip
    return report


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A crawl directory with the seeds."""
    global rounds
    rounds = 0
    seeds = tmp_path / "seeds"
    seeds.write_text("".join(f"http://h1.test/{number}\n" for number in range(SEEDS)))
    settings = Settings()
    settings.fetch.engine = "tests.rounds.test_links:engine"
    settings.http.agent_name = "cobnut-test"
    settings.fetch.chunk_rows = 2
    settings.store.shards = 2
    settings.filter.use = []
    with control.control_directory(str(tmp_path)) as directory:
        run = Run(str(tmp_path / "crawl"), settings, directory)
        inject.run(run, [str(seeds)])
        yield run
        run.close()


def one_round(run: Run) -> Segment:
    """A round of everything that is known: due so far ahead that it is due now."""
    run.settings.schedule.max_interval, longest = 1, run.settings.schedule.max_interval
    segment = generate.run(run)
    run.settings.schedule.max_interval = longest
    assert segment is not None
    for phase in (fetch, parse, updatedb):
        phase.run(run, segment)
    return segment


def in_segments(crawl_dir: str) -> dict[tuple[str, str], Any]:
    """(source, target) → anchor, as the newest answer of each page has them: read page by page, without the store."""
    newest: dict[str, tuple[Any, list[dict[str, Any]]]] = {}
    for segment in Run(crawl_dir, Settings(), "").segments.committed():
        parsed = {file.name.rpartition("-")[0]: file.name for file in segment.files("parsed")}
        for file in segment.files("content"):
            pages = segment.read("content", file.name, ["url", "outcome", "fetched_at"]).to_pylist()
            said = segment.read("parsed", parsed[file.name.rpartition("-")[0]]).to_pylist()
            for page, found in zip(pages, said, strict=True):
                if page["outcome"] in ("success", "gone", "redir_temp", "redir_perm"):
                    before = newest.get(page["url"])
                    if before is None or page["fetched_at"] > before[0]:
                        newest[page["url"]] = page["fetched_at"], found["outlinks"] or []
    return {(url, link["url"]): link["anchor"] for url, (_, found) in newest.items() for link in found}


def in_store(crawl_dir: str) -> dict[tuple[str, str], Any]:
    """The same as the link store has them."""
    urls = {
        row["fingerprint"]: row["url"]
        for table in Store(crawl_dir).snapshot().scan(["fingerprint", "url"])
        for row in table.to_pylist()
    }
    keep = links.Current(crawl_dir, Settings())
    return {
        (urls[row["source"]], urls[row["target"]]): row["anchor"]
        for table in Store(crawl_dir, links.LINKDB).snapshot().scan()
        for row in keep(table).to_pylist()
    }


def stored_rows(run: Run) -> list[list[dict[str, Any]]]:
    return [
        [row for table in run.store_named(name).snapshot().scan() for row in table.to_pylist()]
        for name in ("linkdb", "sourcedb")
    ]


def test_the_store_has_the_newest_links_of_each_page(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        segment = one_round(run)
        assert invertlinks.run(run, invertlinks.parsed_segments(run)) == 0
        assert in_store(run.crawl_dir) == in_segments(run.crawl_dir)
        assert segment.name in capfd.readouterr().err
    found = in_store(run.crawl_dir)
    assert ("http://h1.test/2", "http://h0.test/2?round=3") in found
    assert ("http://h1.test/2", "http://h0.test/2?round=1") not in found
    linkdb = run.store_named("linkdb")
    before = linkdb.snapshot().rows
    compact.run_other(run, linkdb)
    assert linkdb.snapshot().rows == len(found) < before  # what is no more was dropped
    assert in_store(run.crawl_dir) == found
    run.settings.linkdb.max_inlinks = 1
    compact.run_other(run, linkdb)
    assert linkdb.snapshot().rows == len({target for _, target in found})
    assert compact.is_due(linkdb.snapshot().entry, run.settings.store) is False


def test_what_is_gone_has_no_links_and_what_failed_has_its_old_ones(run: Run) -> None:
    for _ in range(2):
        one_round(run)
    invertlinks.run(run, invertlinks.parsed_segments(run))
    sources = {source for source, _ in in_store(run.crawl_dir)}
    assert "http://h1.test/4" not in sources
    assert ("http://h1.test/3", "http://h0.test/3?round=1") in in_store(run.crawl_dir)


def test_any_order_of_segments_comes_to_the_same(run: Run, tmp_path: Path) -> None:
    for _ in range(3):
        one_round(run)
    prepared = Path(run.crawl_dir)
    came_to = []
    for number, order in enumerate([(0, 1, 2), (2, 0, 1), (2, 1, 0)]):
        other = Run(str(shutil.copytree(prepared, tmp_path / str(number))), run.settings, run.control)
        segments = other.segments.committed()
        for place in order:
            assert invertlinks.run(other, [segments[place]]) == 0
        came_to.append(stored_rows(other))
    at_once = Run(str(shutil.copytree(prepared, tmp_path / "once")), run.settings, run.control)
    invertlinks.run(at_once, invertlinks.parsed_segments(at_once))
    assert at_once.store_named("linkdb").versions() == [0]  # one delta for all
    assert at_once.store_named("linkdb").snapshot().entry.applied == tuple(
        segment.name for segment in at_once.segments.committed()
    )
    came_to.append(stored_rows(at_once))
    assert all(one == came_to[0] for one in came_to)


def test_applied_twice_is_once(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    segment = one_round(run)
    for segments in (invertlinks.parsed_segments(run), [segment], invertlinks.parsed_segments(run)):
        assert invertlinks.run(run, segments) == 0
    assert run.store_named("linkdb").versions() == run.store_named("sourcedb").versions() == [0]
    assert capfd.readouterr().err.count("nothing to do") == 2


def test_rounds_keep_the_store_when_a_setting_says_so(run: Run, tmp_path: Path) -> None:
    run.settings.store.compact_deltas = 1
    assert crawl.run(run, [], 2) == 0
    assert run.store_named("linkdb").versions() == []
    run.settings.linkdb.update = True
    (tmp_path / "seeds").write_text("http://h1.test/0?seed\n")
    assert crawl.run(run, [str(tmp_path / "seeds")], 1) == 0  # a round later: the ones before are not forgotten
    linkdb = run.store_named("linkdb").snapshot()
    assert linkdb.entry.applied == tuple(segment.name for segment in run.segments.committed())
    assert len(linkdb.entry.applied) == 3
    assert in_store(run.crawl_dir) == in_segments(run.crawl_dir)


@pytest.mark.slow
def test_an_invertlinks_killed_anywhere_counts_once(run: Run, tmp_path: Path) -> None:
    one_round(run)
    one_round(run)
    prepared = Path(run.crawl_dir)
    run.close()

    def invert(directory: Path) -> Run:
        other = Run(str(directory), run.settings, run.control)
        invertlinks.run(other, invertlinks.parsed_segments(other))
        return other

    expected = stored_rows(invert(shutil.copytree(prepared, tmp_path / "usual")))
    between = 0
    for last in range(1, 1000, 7):
        directory = shutil.copytree(prepared, tmp_path / str(last))

        def until_killed(directory: Path = directory, last: int = last) -> None:
            killed_writers.die_at(last)
            invert(directory)

        completed = killed_writers.in_child(until_killed) == 0
        left = Run(str(directory), run.settings, run.control)
        between += len(left.store_named("linkdb").versions()) > len(left.store_named("sourcedb").versions())
        again = invert(directory)
        assert stored_rows(again) == expected
        for name in ("linkdb", "sourcedb"):
            store = again.store_named(name)
            assert store.versions() == [0]
            store.commit_delta(store.snapshot().entry, "test", {}, Policy(), now_ms())  # removes what was left
        assert [path for path in killed_writers.garbage(str(directory)) if not path.endswith(".lock")] == []
        shutil.rmtree(directory)
        if completed:
            break
    assert last > 20
    assert between  # killed after the first commit and before the second


# -- dump ------------------------------------------------------------------------------------------------------


def output(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[dict[str, Any]], str]:
    capfd.readouterr()
    assert dump.main(list(arguments)) == 0
    out, err = capfd.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


def test_links_to(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert dump.main([run.crawl_dir, "--links-to", "http://h1.test/3"]) == 2
    assert "no link store here yet" in capfd.readouterr().err
    one_round(run)
    one_round(run)
    invertlinks.run(run, invertlinks.parsed_segments(run))
    (row,), _ = output(capfd, run.crawl_dir, "--links-to", "h1.test/3")  # any spelling
    assert (row["url"], row["anchor"], row["kind"]) == ("http://h1.test/2", "to 3", "link")
    assert row["fingerprint"] == url_fingerprint("http://h1.test/2").hex()
    for target in ("http://h0.test/2?round=1", "http://h0.test/nothing"):
        rows, err = output(capfd, run.crawl_dir, "--links-to", target)
        assert rows == []
        assert err == f"dump: no link to {target} is known\n"
    assert len(output(capfd, run.crawl_dir, "--links-to", "http://h1.test/3", "--top", "5", "--columns", "url")[0]) == 1
    for wrong in (
        ["--stats"],
        ["--where", "depth = 1"],
        ["--links-from", "x"],
        ["--columns", "status"],
        ["--as-of", "0"],
    ):
        assert dump.main([run.crawl_dir, "--links-to", "http://h1.test/3", *wrong]) == 2
        assert capfd.readouterr().err.count("\n") == 1
    for form in ("table", "csv"):
        assert dump.main([run.crawl_dir, "--links-to", "http://h1.test/3", "--format", form]) == 0
        assert "to 3" in capfd.readouterr().out


def test_links_from_wherever_they_are(run: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one_round(run)
    second = one_round(run)
    page = "http://h1.test/2"
    expected = ["http://h2.test/2?own=1", "http://h0.test/2?round=2", "http://h1.test/3"]
    without, said = output(capfd, run.crawl_dir, "--links-from", page)  # no link store yet
    assert [row["url"] for row in without] == expected
    assert "looking for it in 2 segments" in said
    invertlinks.run(run, invertlinks.parsed_segments(run))
    rows, said = output(capfd, run.crawl_dir, "--links-from", page)
    assert rows == without
    assert said == ""
    assert [row["url"] for row in output(capfd, run.crawl_dir, "--links-from", page, "--top", "2")[0]] == expected[:2]
    assert output(capfd, run.crawl_dir, "--links-from", "http://h1.test/4")[0] == []  # gone
    shutil.rmtree(second.path)
    for segment in run.segments.committed():
        shutil.rmtree(segment.path)
    from_store, said = output(capfd, run.crawl_dir, "--links-from", page)
    assert "looking through all" in said
    assert sorted(row["url"] for row in from_store) == sorted(expected)
    assert {json.dumps(row) for row in from_store} == {json.dumps(row) for row in rows}


@pytest.mark.slow
def test_the_demo_site(crawler: Crawler, capfd: pytest.CaptureFixture[str]) -> None:
    """The store against the segments, and against what the site declares."""
    crawl_dir = str(crawler.crawl("crawl", "--set", "linkdb.update=true"))
    found = in_store(crawl_dir)
    assert found == in_segments(crawl_dir)
    expected = truth(crawler.server.site, 3)
    linked = {target for _, target in found}
    for url, row in expected.items():
        assert url in linked or not row.discovered_in
        if row.discovered_in:
            assert any((source, url) in found for source in row.discovered_from)
    assert linked <= set(expected)
    assert "pages" in crawler.run("linkrank", crawl_dir)
    target = max(linked, key=lambda url: sum(other == url for _, other in found))
    rows, _ = output(capfd, crawl_dir, "--links-to", target)
    assert {row["url"] for row in rows} == {source for source, other in found if other == target}
