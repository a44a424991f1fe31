"""Sets of things in whole rounds: segments listed, shown, merged and removed; a segment without a crawldb; two crawls as one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from crawldb.errors import ConflictError, UsageError
from crawldb.schema import FetchOutcome
from crawldb.segments import Segment
from crawldb.settings import Settings
from crawldb.store import Store, now_ms
from jobs import control, fetch, freegen, generate, inject, merge, parse, segments, segments_merge, updatedb
from jobs.cli import main
from jobs.command import Run
from jobs.fetching import FetchRequest, FetchResult
from jobs.fetching.contract import FetchReport, KnownRobots
from tests.crawldb import killed_writers
from tests.rounds.conftest import rows

DAY = 86_400_000
visits = 0
"""How often the engine was called: what pages say changes with it."""
unreachable: set[str] = set()
"""URLs that the engine leaves for later."""


def engine(
    requests: Sequence[FetchRequest], settings: Settings, emit: Callable[[FetchResult], None], stop: threading.Event,
    known: Sequence[KnownRobots],
) -> FetchReport:  # fmt: skip
    """Every page links to /next of its host, and says which visit it was."""
    global visits
    visits += 1
    report = FetchReport()
    for request in requests:
        if request.url in unreachable:
            report.left["time_limit"] += 1
            continue
        report.fetched += 1
        content = f"<title>{request.url} at {visits}</title><a href='/next'>next</a>".encode()
        emit(FetchResult(request, FetchOutcome.success, 200, None, None, now_ms(), 5, content=content,
                         response_headers=[("Content-Type", "text/html")]))  # fmt: skip
        report.robots.append(
            KnownRobots(f"http://{request.host}", f"http://{request.host}/robots.txt", now_ms(), 404, None, False, None)
        )
    return report


def settings() -> Settings:
    made = Settings()
    made.fetch.engine = "tests.rounds.test_sets:engine"
    made.fetch.chunk_rows = 3
    made.store.shards = 2
    made.generate.tasks = 2
    made.filter.use = []
    return made


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes crawl directories."""
    unreachable.clear()
    runs = []
    with control.control_directory(str(tmp_path)) as directory:

        def new(name: str) -> Run:
            runs.append(Run(str(tmp_path / name), settings(), directory))
            return runs[-1]

        yield new
        for run in runs:
            run.close()


def seed(run: Run, *urls: str) -> None:
    """Inject these; known ones become due again."""
    file = Path(run.control) / "seeds"
    file.write_text("".join(f"{url}\n" for url in urls))
    inject.run(run, [str(file)])


def one_round(run: Run, urls: Sequence[str] = ()) -> Segment:
    """A round of what is due, or of these URLs."""
    if urls:
        file = Path(run.control) / "urls"
        file.write_text("".join(f"{url}\n" for url in urls))
        segment = freegen.run(run, [str(file)], filtered=False)
    else:
        segment = generate.run(run)
    assert segment is not None
    fetch.run(run, segment)
    parse.run(run, segment)
    updatedb.run(run, segment)
    run.close()
    return segment


def titles(run: Run) -> dict[str, str]:
    """What each page that is in a segment says, as far as segments tell one answer for each."""
    found: dict[str, str] = {}
    for segment in run.segments.committed():
        content = {file.name.rpartition("-")[0]: file.name for file in segment.files("content")}
        for file in segment.files("parsed"):
            answers = segment.read("content", content[file.name.rpartition("-")[0]])
            pages = segment.read("parsed", file.name)
            assert answers["fingerprint"] == pages["fingerprint"]
            for url, title, body in zip(
                answers["url"].to_pylist(), pages["title"].to_pylist(), answers["content"].to_pylist(), strict=True
            ):
                assert url not in found
                assert title.encode() in body
                found[url] = title
    return found


HOSTS = [f"http://h{number}.test/" for number in range(5)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A crawl of three segments: the seeds, what they link to, and three of the seeds again."""
    global visits
    visits = 0
    directory = tmp_path_factory.mktemp("prepared")
    run = Run(str(directory / "crawl"), settings(), str(directory))
    seed(run, *HOSTS)
    one_round(run)
    one_round(run)
    one_round(run, HOSTS[:3])
    return run.crawl_dir


@pytest.fixture
def crawled(prepared: str, make: Callable[..., Run]) -> Run:
    """A copy of it."""
    run = make("crawl")
    shutil.copytree(prepared, run.crawl_dir)
    return run


def garbage(crawl_dir: str) -> list[str]:
    return [found for found in killed_writers.garbage(crawl_dir) if not found.endswith("/.lock")]


# -- a segment without a crawldb -----------------------------------------------------------------------------


def test_freegen_needs_no_crawldb_and_updatedb_makes_one(make: Callable[..., Run], tmp_path: Path) -> None:
    run = make("free")
    urls = tmp_path / "urls"
    urls.write_text(
        "http://a.test/\tscore=5\tteam=x\nhttp://b.test/\nno url\nhttp://a.test/\nhttp://late.test/\nhttp://a.test/next\n"
    )
    unreachable.add("http://late.test/")
    segment = freegen.run(run, [str(urls)], filtered=False)
    assert segment is not None
    assert not run.store.versions()
    assert segment.manifest("fetchlist")["rows"] == 4
    run.close()
    crawl_dir = run.crawl_dir
    options = ["--set", "fetch.engine=tests.rounds.test_sets:engine"]
    for phase in ("fetch", "parse", "updatedb"):
        assert main([phase, crawl_dir, *options]) == 0
    found = rows(crawl_dir, without=())
    assert set(found) == {
        "http://a.test/",
        "http://b.test/",
        "http://a.test/next",
        "http://b.test/next",
        "http://late.test/",
    }
    first = found["http://a.test/"]
    assert (first["status"], first["score"], first["depth"], first["metadata"]) == ("fetched", 5.0, 0, [("team", "x")])
    # On the list, and linked to: it is a seed all the same.
    linked = found["http://a.test/next"]
    assert (linked["status"], linked["depth"], linked["discovered_from"]) == ("fetched", 0, None)
    assert linked["score"] >= 1.0
    # What the fetch left is not lost.
    late = found["http://late.test/"]
    assert (late["status"], late["depth"], late["score"]) == ("unfetched", 0, 1.0)
    assert found["http://b.test/next"]["discovered_from"] == found["http://b.test/"]["fingerprint"]
    assert main(["updatedb", crawl_dir, segment.name, *options]) == 0  # twice is once
    assert Store(crawl_dir).versions() == [0]
    assert garbage(crawl_dir) == []


def test_freegen_leaves_out_what_is_in_flight(make: Callable[..., Run], capfd: pytest.CaptureFixture[str]) -> None:
    run = make("crawl")
    seed(run, *HOSTS)
    first = generate.run(run)
    urls = Path(run.control) / "urls"
    urls.write_text(f"{HOSTS[0]}\nhttp://new.test/\n")
    second = freegen.run(run, [str(urls)], filtered=False)
    assert first is not None
    assert second is not None
    assert second.files("fetchlist")[0].rows == 1
    assert "1 requests (0 bad lines, 1 more are in flight already)" in capfd.readouterr().err
    assert freegen.run(run, [str(urls)], filtered=False) is None
    assert "nothing to fetch, 2 more are in flight already" in capfd.readouterr().err
    assert generate.run(run) is None
    assert len(run.segments.committed()) == 2


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_freegen_filters_on_request_and_keeps_hosts_whole(
    runner: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = tmp_path / "urls"
    urls.write_text("".join(f"http://h{n % 4}.test/{n}{'.gif' if n % 5 == 0 else ''}\n" for n in range(40)))
    crawl_dir = str(tmp_path / "crawl")
    options = ["--set", "generate.tasks=3", "-r", runner]
    assert main(["freegen", crawl_dir, str(urls), "--filter", *options]) == 0
    run = Run(crawl_dir, Settings(), "")
    (segment,) = run.in_flight()
    tasks = [set(segment.read("fetchlist", file.name)["host"].to_pylist()) for file in segment.files("fetchlist")]
    assert sum(file.rows for file in segment.files("fetchlist")) == 32
    assert len(tasks) == 3
    assert sum(map(len, tasks)) == 4
    assert "32 requests (8 bad lines), 4 hosts, 3 fetch tasks; plan:" in capfd.readouterr().err
    urls.write_text("nothing\n")
    assert main(["freegen", crawl_dir, str(urls)]) == 1
    assert "no seeds, 1 bad lines" in capfd.readouterr().err


def test_phases_without_crawldb_and_segment_say_what_lacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for phase in ("fetch", "parse", "updatedb", "generate"):
        assert main([phase, str(tmp_path / "nothing")]) == 2
        assert "no crawldb here" in capfd.readouterr().err


# -- list and dump -------------------------------------------------------------------------------------------


def test_segments_are_listed(crawled: Run, capfd: pytest.CaptureFixture[str]) -> None:
    newest = generate.run(crawled)
    assert newest is None  # nothing is due
    seed(crawled, "http://more.test/")
    newest = generate.run(crawled)
    assert newest is not None
    capfd.readouterr()
    assert main(["segments", "list", crawled.crawl_dir, "--format", "jsonl"]) == 0
    listed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["next"] for row in listed] == ["nothing", "nothing", "nothing", "fetch"]
    assert [(row["requests"], row["fetched"], row["parsed"]) for row in listed] == [
        (5, 5, 5),
        (5, 5, 5),
        (3, 3, 3),
        (1, None, None),
    ]
    assert [row["applied_version"] for row in listed] == [1, 2, 3, None]
    assert listed[3]["lacking_in"] == "hostdb,hostdb/robots"
    assert all(row["bytes"] > 0 for row in listed)
    assert main(["segments", "list", crawled.crawl_dir]) == 0
    assert capfd.readouterr().out.splitlines()[4].split()[:2] == [newest.name, "fetch"]


def test_a_segment_is_shown(crawled: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = crawled.segments.committed()[2].name

    def dumped(*options: str, code: int = 0) -> str:
        capfd.readouterr()
        assert main(["segments", "dump", crawled.crawl_dir, name, *options]) == code
        said = capfd.readouterr()
        return said.err if code else said.out

    everything = [json.loads(line) for line in dumped().splitlines()]
    assert sorted(row["url"] for row in everything) == HOSTS[:3]
    assert all(row["title"].startswith(f"{row['url']} at ") for row in everything)
    assert everything[0]["response_headers"] == [{"name": "Content-Type", "value": "text/html"}]
    assert everything[0]["outlinks"][0]["url"] == f"{everything[0]['url']}next"
    assert "content" not in everything[0]
    assert sorted(row["url"] for row in map(json.loads, dumped("--dataset", "fetchlist").splitlines())) == HOSTS[:3]
    assert dumped(
        "--columns", "url,title", "--where", "url LIKE '%h1%' AND parse_status = 'parsed'", "--format", "csv"
    ).startswith("url,title\r\nhttp://h1.test/,http://h1.test/ at ")
    (one,) = map(json.loads, dumped("--url", "h2.test", "--dataset", "parsed").splitlines())
    assert one["title"].startswith("http://h2.test/ at ")
    body = tmp_path / "body"
    assert dumped("--url", HOSTS[0], "--content", "-o", str(body)) == ""
    assert body.read_bytes().startswith(b"<title>http://h0.test/ at ")
    assert "http://h1.test/" in dumped("--format", "table")
    kept = tmp_path / "rows.parquet"
    dumped("--format", "parquet", "-o", str(kept))
    assert pq.read_table(kept).num_rows == 3
    assert "is not in pages" in dumped("--url", "http://nobody.test/", code=1)
    assert "no segment 2000" in main_error(capfd, ["segments", "dump", crawled.crawl_dir, "2000"], 2)
    assert "did you mean title?" in dumped("--columns", "titel", code=2)
    assert "outlinks is a list" in dumped("--where", "outlinks = 3", code=2)
    assert "say whose with --url" in dumped("--content", code=2)


def main_error(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    capfd.readouterr()
    assert main(arguments) == code
    return capfd.readouterr().err


# -- merge of segments ---------------------------------------------------------------------------------------


def test_merged_segments_have_of_each_request_the_newest_answer(crawled: Run) -> None:
    before = rows(crawled.crawl_dir, without=())
    version = crawled.store.snapshot().version
    sources = crawled.segments.committed()
    assert segments_merge.run(crawled, []) == 0
    (merged,) = crawled.segments.committed()
    assert merged.merged_from == tuple(source.name for source in sources)
    found = titles(crawled)
    assert sorted(found) == sorted([*HOSTS, *(f"{host}next" for host in HOSTS)])
    # Two fetch tasks a round, three rounds: 5 and 6 are the third's.
    visited = {url: int(title.rpartition(" ")[2]) for url, title in found.items()}
    assert all((visited[host] > 4) == (host in HOSTS[:3]) for host in HOSTS)
    assert crawled.segments.in_flight(crawled.store.snapshot().entry.applied) == []
    updatedb.run(crawled, crawled.segments.find(merged.name))  # is in the crawldb already
    assert crawled.store.snapshot().version == version
    assert rows(crawled.crawl_dir, without=()) == before
    assert garbage(crawled.crawl_dir) == []
    assert merged.manifest("content")["counts"]["outcomes"] == {"success": 10}
    assert merged.manifest("fetchlist")["rows"] == merged.manifest("parsed")["rows"] == 10
    assert merged.manifest("hosts")["rows"] == 13
    assert segments_merge.run(crawled, []) == 0  # one alone: nothing to do
    assert crawled.segments.committed() == [merged]
    # What is merged can be merged again, and its name is in no log of a store.
    crawled.close()
    one_round(crawled, HOSTS[:1])
    segments_merge.run(crawled, [])
    (again,) = crawled.segments.committed()
    assert len(again.merged_from) == 4
    assert crawled.segments.in_flight(crawled.store.snapshot().entry.applied) == []
    assert main(["segments", "list", crawled.crawl_dir]) == 0


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_slices(crawled: Run, runner: str) -> None:
    expected = len(titles_of_newest(crawled))
    crawled.close()
    assert main(["segments", "merge", crawled.crawl_dir, "--slice", "4", "-r", runner]) == 0
    made = crawled.segments.committed()
    assert [segment.manifest("content")["rows"] for segment in made] == [4, 4, 2]
    assert len({segment.name for segment in made}) == 3
    assert len(titles(crawled)) == expected
    assert crawled.segments.in_flight(crawled.store.snapshot().entry.applied) == []
    assert garbage(crawled.crawl_dir) == []


def titles_of_newest(run: Run) -> set[str]:
    return {url for segment in run.segments.committed() for file in segment.files("content")
            for url in segment.read("content", file.name, ["url"])["url"].to_pylist()}  # fmt: skip


def test_what_cannot_be_merged_is_told(crawled: Run) -> None:
    seed(crawled, "http://more.test/")
    newest = generate.run(crawled)
    assert newest is not None
    with pytest.raises(UsageError, match="is not in the crawldb yet; run cobnut updatedb first"):
        segments_merge.run(crawled, [newest.name, crawled.segments.committed()[0].name])
    with pytest.raises(UsageError, match="no segment 20000101T000000Z"):
        segments_merge.run(crawled, ["20000101T000000Z"])
    # It is left alone by a merge of all that can be.
    segments_merge.run(crawled, [])
    assert [segment.merged_from == () for segment in crawled.segments.committed()] == [True, False]
    assert crawled.segments.in_flight(crawled.store.snapshot().entry.applied) == [newest]


def test_a_merge_that_another_segment_beats_is_made_anew(crawled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(crawled, "http://more.test/")
    really, rivals = segments_merge._complete, []

    def beaten(*arguments: Any, **options: Any) -> None:
        if not rivals:
            rival = Run(crawled.crawl_dir, crawled.settings, crawled.control)
            rivals.append(generate.run(rival))
            rival.close()
        really(*arguments, **options)

    monkeypatch.setattr(segments_merge, "_complete", beaten)
    segments_merge.run(crawled, [])
    committed = [segment.name for segment in crawled.segments.committed()]
    assert rivals[0].name in committed
    assert len(committed) == 2
    assert len(titles_of_newest_applied(crawled)) == 10
    crawled.segments.remove_garbage()
    assert garbage(crawled.crawl_dir) == []


def titles_of_newest_applied(run: Run) -> set[str]:
    merged = next(segment for segment in run.segments.committed() if segment.merged_from)
    return {
        url for file in merged.files("content") for url in merged.read("content", file.name, ["url"])["url"].to_pylist()
    }


# -- prune ---------------------------------------------------------------------------------------------------


def test_only_applied_segments_are_removed(crawled: Run, capfd: pytest.CaptureFixture[str]) -> None:
    seed(crawled, "http://more.test/")
    waiting = generate.run(crawled)
    names = [segment.name for segment in crawled.segments.committed()]
    before = rows(crawled.crawl_dir, without=())
    crawled.close()
    capfd.readouterr()
    assert main(["segments", "prune", crawled.crawl_dir, "--keep", "1", "--dry-run"]) == 0
    said = capfd.readouterr().err
    assert "would remove 2 segments, " in said
    assert said.count("T") >= 2
    assert [segment.name for segment in crawled.segments.committed()] == names
    assert main(["segments", "prune", crawled.crawl_dir, "--older", "1h"]) == 0
    assert [segment.name for segment in crawled.segments.committed()] == names
    assert main(["segments", "prune", crawled.crawl_dir, "--keep", "1"]) == 0
    assert [segment.name for segment in crawled.segments.committed()] == names[2:]
    assert main(["segments", "prune", crawled.crawl_dir, "--older", "0h"]) == 0
    assert crawled.segments.committed() == [waiting]
    assert rows(crawled.crawl_dir, without=()) == before
    assert crawled.in_flight() == [waiting]
    assert garbage(crawled.crawl_dir) == []
    assert "give either --older" in main_error(capfd, ["segments", "prune", crawled.crawl_dir], 2)
    assert "expected a number with h, d or w" in main_error(
        capfd, ["segments", "prune", crawled.crawl_dir, "--older", "x"], 2
    )


def test_what_another_store_or_command_needs_is_kept(crawled: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """A host store that was made anew has applied none of them."""
    crawled.store.fs.remove(crawled.hosts.path)
    first = crawled.segments.committed()[0]
    one_round(crawled, HOSTS[:1])
    held = Run(crawled.crawl_dir, crawled.settings, crawled.control)
    held.hold(first)
    assert segments.prune(crawled, None, 1, dry_run=False, force=False) == 0
    assert "is kept: hostdb, hostdb/robots has not applied it" in capfd.readouterr().err
    assert len(crawled.segments.committed()) == 4
    assert segments.prune(crawled, None, 1, dry_run=False, force=True) == 0
    assert f"{first.name} is kept" in capfd.readouterr().err
    held.close()
    assert len(crawled.segments.committed()) == 2
    assert first in crawled.segments.committed()
    with pytest.raises(UsageError, match="hostdb has applied some of the segments"):
        segments_merge.run(crawled, [])


def test_the_store_of_sitemaps_keeps_no_segment(
    crawled: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its rows come from sitemaps alone, so it never applies a segment, and must not be waited for."""
    named = tmp_path / "sitemap.xml"
    named.write_text("<urlset><url><loc>http://listed.test/</loc></url></urlset>")
    options = ["--set", "http.agent_name=testbot", crawled.crawl_dir]
    assert main(["sitemaps", *options, str(named), "--url", "http://listed.test/sitemap.xml"]) == 0
    assert crawled.store_named("sitemapdb").versions()
    assert {row["lacking_in"] for row in segments.listed(crawled).to_pylist()} == {None}
    capfd.readouterr()
    assert segments.prune(crawled, None, 1, dry_run=False, force=False) == 0
    assert "is kept" not in capfd.readouterr().err
    assert len(crawled.segments.committed()) == 1


def test_a_removed_name_is_not_given_again(crawled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crawldb's log says that it is applied: a new segment of that name would be taken for done."""
    first = crawled.segments.committed()[0]
    segments.prune(crawled, None, 0, dry_run=False, force=False)
    begun = crawled.segments.begin(first.began, crawled.segments.last_number() + 1)
    assert begun.name > first.name


# -- two crawls as one ---------------------------------------------------------------------------------------


def test_two_crawls_become_one(crawled: Run, make: Callable[..., Run], capfd: pytest.CaptureFixture[str]) -> None:
    other = make("other")
    seed(other, HOSTS[0], "http://else.test/")
    one_round(other)
    third = make("third")
    third.settings.store.shards = 8
    seed(third, "http://third.test/", HOSTS[1])
    third_rows, sources = rows(third.crawl_dir, without=()), [crawled.crawl_dir, other.crawl_dir, third.crawl_dir]
    generate.run(third)
    first, second = rows(crawled.crawl_dir, without=()), rows(other.crawl_dir, without=())
    out = f"{crawled.crawl_dir}-merged"
    capfd.readouterr()
    assert main(["merge", out, *sources]) == 0
    said = capfd.readouterr().err
    assert "third: what 1 segments without updatedb hold is not in its crawldb yet" in said
    assert "merge     hostdb: " in said
    merged = rows(out, without=())
    assert set(merged) == {*first, *second, *third_rows}
    newest = max(first[HOSTS[0]], second[HOSTS[0]], key=lambda row: row["fetched_at"])
    assert merged[HOSTS[0]]["fetched_at"] == newest["fetched_at"] == second[HOSTS[0]]["fetched_at"]
    assert merged[HOSTS[0]]["signature"] == newest["signature"]
    assert merged[HOSTS[0]]["discovered_at"] == first[HOSTS[0]]["discovered_at"]
    assert merged["http://else.test/"] == second["http://else.test/"]
    entry = Store(out).snapshot().entry
    assert (entry.version, entry.kind, entry.shards, entry.deltas, entry.applied) == (0, "merge", 8, (), ())
    assert set(entry.statistics["merged_from"]) == set(sources)
    hosts = {
        row["host"]: row for table in Run(out, Settings(), "").hosts.snapshot().scan() for row in table.to_pylist()
    }
    assert hosts["h0.test"]["requests"] == 4
    assert hosts["else.test"]["requests"] == 1
    assert garbage(out) == []
    assert "is not empty; merge writes to a new directory" in main_error(capfd, ["merge", out, *sources], 2)
    again = f"{out}-again"  # in another grouping and order, with another runner
    assert main(["merge", f"{out}-two", third.crawl_dir, other.crawl_dir, "-r", "local"]) == 0
    assert main(["merge", again, f"{out}-two", crawled.crawl_dir]) == 0
    assert rows(again, without=()) == merged
    # The new crawl goes on like any other.
    assert main(["generate", out]) == 0


def test_a_merge_that_was_broken_off_goes_on(
    crawled: Run, make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = make("other")
    seed(other, "http://else.test/")
    out = make("out")
    really = merge._merge

    def dies(run: Run, store: Store, *rest: Any) -> None:
        if store.kind.name == "crawldb":
            raise ConflictError("gone")
        really(run, store, *rest)

    monkeypatch.setattr(merge, "_merge", dies)
    with pytest.raises(ConflictError, match="gone"):
        merge.run(out, [crawled.crawl_dir, other.crawl_dir], filtered=False)
    monkeypatch.undo()
    seed(other, "http://after.test/")  # what was begun is finished as it was
    with pytest.raises(UsageError, match="holds an unfinished merge of"):
        merge.run(out, [crawled.crawl_dir], filtered=False)
    assert merge.run(out, [crawled.crawl_dir, other.crawl_dir], filtered=False) == 0
    assert "going on with what was broken off" in capfd.readouterr().err
    assert {"http://else.test/"} == set(rows(out.crawl_dir)) - set(rows(crawled.crawl_dir))
    assert out.hosts.versions() == [0]
    assert garbage(out.crawl_dir) == []


def test_filters_on_request(make: Callable[..., Run], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = make("crawl")
    seed(run, "http://a.test/x.gif", "http://a.test/x")
    out = str(tmp_path / "out")
    assert main(["merge", out, run.crawl_dir, "--filter"]) == 0
    assert set(rows(out)) == {"http://a.test/x"}
    assert "1 refused by filters" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "nowhere"], "nowhere: no crawldb or hostdb"),
        (["out", "crawl", "crawl"], "crawl: is named twice"),
        (["crawl", "crawl"], "crawl: is the directory to write to"),
        (["seeds", "crawl"], "seeds: a file; merge makes a new directory"),
        (["out", "crawl", "-r", "hadoop"], "-r hadoop wants"),
    ],
)
def test_mistakes_in_merging_are_told(
    make: Callable[..., Run], tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run = make("crawl")
    seed(run, *HOSTS)
    (tmp_path / "seeds").touch()
    paths = [
        argument if argument[0] == "-" or argument == "hadoop" else str(tmp_path / argument) for argument in arguments
    ]
    assert message in main_error(capfd, ["merge", *paths], 2)


# -- kill -9 -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("work", "stride", "least"), [("merge", 6, 60), ("prune", 3, 25)])
def test_killed_at_any_step_nothing_is_lost_or_applied_twice(
    work: str, stride: int, least: int, prepared: str, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("killed_sets.py")
    done = subprocess.run(
        [sys.executable, str(script), work, prepared, str(tmp_path), str(stride)], capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in found if line["wrong"]] == [], done.stderr
    assert found[-1]["completed_at"] > least
