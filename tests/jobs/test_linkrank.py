"""linkrank over a link store: networkx's ranks come back as scores and ranks, whatever the runner and the shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx
import pytest

from crawldb import links, schema
from crawldb.errors import ConflictError, UsageError
from crawldb.settings import Policy, Settings
from crawldb.store import Store
from jobs import control, inject, linkrank
from jobs.command import Run
from tests.crawldb import killed_writers, tables
from tests.crawldb.test_links import put

NOW = tables.NOW
SEEN = NOW - 1000


def url(page: int) -> str:
    return f"http://h{page % 5}.test/{page}"


def fingerprint(page: int) -> bytes:
    from crawldb.fingerprint import url_fingerprint

    return url_fingerprint(url(page))


def web() -> networkx.DiGraph:
    """60 pages of 5 hosts with loops, pages without links, and a part that nothing else leads to."""
    graph = networkx.gnm_random_graph(50, 200, seed=3, directed=True)
    graph.add_edges_from([(7, 7), (50, 51), (51, 50), (50, 3), (52, 3)])
    graph.add_edges_from((page, 55) for page in range(10))
    return graph


def store(crawl_dir: str, graph: networkx.DiGraph, shards: tuple[int, int], outdated: list[tuple[int, int]]) -> None:
    """The graph as a link store, with links that their pages no longer have."""
    rows = [
        {"target": fingerprint(target), "source": fingerprint(source), "host": f"h{target % 5}.test", "seen_at": at,
         "fingerprint": fingerprint(target)[:10] + fingerprint(source)[:10], "kind": "link"}
        for pairs, at in ((graph.edges, SEEN), (outdated, SEEN - 1))
        for source, target in pairs
    ]  # fmt: skip
    # In two deltas, as two rounds leave them.
    put(crawl_dir, links.LINKDB, tables.table(rows[::2], schema.LINK), shards[0])
    put(crawl_dir, links.LINKDB, tables.table(rows[1::2], schema.LINK), shards[0])
    pages = [
        {"fingerprint": fingerprint(page), "url": url(page), "host": f"h{page % 5}.test" if number else None,
         "links": number, "parsed_at": SEEN}
        for page, number in graph.out_degree
    ]  # fmt: skip
    put(crawl_dir, links.SOURCEDB, tables.table(pages, schema.SOURCE), shards[1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A crawl directory with the requests 0 to 59 in the crawldb, and 10,000 more that no link knows."""
    seeds = tmp_path / "seeds"
    seeds.write_text("".join(f"{url(page)}\n" for page in [*range(60), *range(100, 300)]))
    with control.control_directory(str(tmp_path)) as directory:
        settings = Settings()
        settings.filter.use = []
        settings.linkrank.tolerance = 1e-14
        run = Run(str(tmp_path / "crawl"), settings, directory)
        inject.run(run, [str(seeds)])
        yield run
        run.close()


def scores(run: Run) -> dict[str, float]:
    state = run.store.snapshot().scan(["url", "score"])
    return {row["url"]: row["score"] for table in state for row in table.to_pylist()}


def page_scores(graph: networkx.DiGraph) -> dict[str, float]:
    """By networkx: 1 on average, and the seeds' score for what is not in the graph."""
    rank = networkx.pagerank(graph, tol=1e-14, max_iter=1000)
    return {url(page): rank[page] * len(rank) if page in rank else 1.0 for page in [*range(60), *range(100, 300)]}


def left_over(run: Run) -> list[str]:
    return [path.name for path in (Path(run.crawl_dir) / "linkrank").glob("*") if path.name != ".lock"]


@pytest.mark.parametrize("shards", [(1, 1), (4, 4), (8, 2), (2, 16)])
@pytest.mark.parametrize("edges_per_task", [1 << 30, 0])
def test_pages(run: Run, shards: tuple[int, int], edges_per_task: int, capfd: pytest.CaptureFixture[str]) -> None:
    graph = web()
    if not edges_per_task:  # a job an iteration: fewer of them
        run.settings.linkrank.tolerance = 1e-9
    run.settings.linkrank.edges_per_task = edges_per_task
    store(run.crawl_dir, graph, shards, [(1, 58), (2, 3), (4, 58)])
    before = [row for table in run.store.snapshot().scan() for row in table.to_pylist()]
    assert linkrank.run(run, "pages", scores=False) == 0
    assert scores(run) == pytest.approx(page_scores(graph), abs=1e-5 if edges_per_task == 0 else 1e-6)
    after = [row for table in run.store.snapshot().scan() for row in table.to_pylist()]
    assert [{**row, "score": 0} for row in after] == [{**row, "score": 0} for row in before]  # nothing but scores
    assert left_over(run) == []
    assert f"{len(graph):,} pages, {graph.number_of_edges():,} links" in capfd.readouterr().err
    assert run.store.snapshot().entry.statistics == {"scores": len(graph)}


def test_in_processes_of_their_own(run: Run) -> None:
    graph = web()
    store(run.crawl_dir, graph, (2, 2), [])
    run.settings.run.runner = "local"
    assert linkrank.run(run, "pages", scores=False) == 0
    assert scores(run) == pytest.approx(page_scores(graph), abs=1e-6)


@pytest.mark.parametrize("shards", [(1, 1), (8, 4)])
def test_hosts(run: Run, shards: tuple[int, int]) -> None:
    graph = web()
    pages = run.store.snapshot().version
    store(run.crawl_dir, graph, shards, [(1, 58)])
    assert linkrank.run(run, "hosts", scores=False) == 0
    between = networkx.DiGraph()
    between.add_nodes_from(f"h{number}.test" for number in range(5))
    between.add_edges_from((f"h{a % 5}.test", f"h{b % 5}.test") for a, b in graph.edges if a % 5 != b % 5)
    expected = networkx.pagerank(between, tol=1e-14, max_iter=1000)
    found = {row["host"]: row for table in run.hosts.snapshot().scan() for row in table.to_pylist()}
    assert {host: row["rank"] for host, row in found.items()} == pytest.approx(expected, abs=1e-9)
    assert all(row["ranked_at"] is not None for row in found.values())
    assert run.store.snapshot().version == pages

    assert linkrank.run(run, "hosts", scores=True) == 0
    assert scores(run) == pytest.approx(
        {url(page): expected[f"h{page % 5}.test"] * 5 for page in [*range(60), *range(100, 300)]}, abs=1e-6
    )


def test_a_host_with_links_of_its_own_alone_is_ranked_too(run: Run) -> None:
    store(run.crawl_dir, networkx.DiGraph([(0, 5), (1, 2)]), (4, 4), [])
    assert linkrank.run(run, "hosts", scores=False) == 0
    found = {row["host"]: row["rank"] for table in run.hosts.snapshot().scan() for row in table.to_pylist()}
    graph = networkx.DiGraph([("h1.test", "h2.test")])
    graph.add_node("h0.test")
    assert found == pytest.approx(networkx.pagerank(graph, tol=1e-14, max_iter=1000), abs=1e-9)


def test_requests_that_the_crawldb_does_not_know_stay_unknown(run: Run) -> None:
    graph = networkx.DiGraph([(0, 1000), (1000, 1), (1, 2)])
    store(run.crawl_dir, graph, (4, 4), [])
    before = len(scores(run))
    assert linkrank.run(run, "pages", scores=False) == 0
    found = scores(run)
    assert len(found) == before
    rank = networkx.pagerank(graph, tol=1e-14, max_iter=1000)
    assert [found[url(page)] for page in range(3)] == pytest.approx([rank[page] * 4 for page in range(3)], abs=1e-6)


def test_nothing_to_rank(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no link store here yet"):
        linkrank.run(run, "pages", scores=False)
    store(run.crawl_dir, networkx.DiGraph(), (1, 1), [])
    version = run.store.snapshot().version
    for of in ("pages", "hosts"):
        assert linkrank.run(run, of, scores=True) == 0
        assert "nothing to rank" in capfd.readouterr().err
    assert run.store.snapshot().version == version
    assert left_over(run) == []


def test_iterations_are_limited_and_that_is_said(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    store(run.crawl_dir, web(), (1, 1), [])
    for edges in (1 << 30, 0):
        run.settings.linkrank.edges_per_task = edges
        run.settings.linkrank.iterations = 2
        assert linkrank.run(run, "pages", scores=False) == 0
        assert "not converged after 2 iterations" in capfd.readouterr().err


def test_one_at_a_time(run: Run) -> None:
    store(run.crawl_dir, web(), (1, 1), [])
    files = linkrank.GraphFiles(run.crawl_dir)
    lock = files.fs.try_lock(f"{files.path}/.lock")
    assert lock is not None
    with pytest.raises(ConflictError, match="another linkrank"):
        linkrank.run(run, "pages", scores=False)
    lock.close()
    assert linkrank.run(run, "pages", scores=False) == 0


def test_another_writer_may_come_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = web()
    store(run.crawl_dir, graph, (1, 1), [])
    commit, beaten = Store.commit_delta, []

    def late(self: Store, onto: Any, kind: str, *arguments: Any, **more: Any) -> Any:
        if kind == "linkrank" and not beaten:
            beaten.append(commit(self, onto, "other", {}, Policy(), NOW))
        return commit(self, onto, kind, *arguments, **more)

    monkeypatch.setattr(Store, "commit_delta", late)
    assert linkrank.run(run, "pages", scores=False) == 0
    assert beaten
    assert scores(run) == pytest.approx(page_scores(graph), abs=1e-6)


@pytest.mark.parametrize("wrong", [["--damping", "1"], ["--iterations", "0"], ["--of", "domains"], ["--damping", "x"]])
def test_wrong_usage(run: Run, wrong: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code = linkrank.main([run.crawl_dir, *wrong])
    except SystemExit as exit_:
        code = int(str(exit_.code))
    assert code == 2
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_killed_anywhere_nothing_half_written_counts(run: Run, tmp_path: Path) -> None:
    graph = web()
    store(run.crawl_dir, graph, (2, 2), [])
    before, expected = scores(run), page_scores(graph)
    left = 0
    for last in range(1, 1000, 17):

        def until_killed(last: int = last) -> None:
            killed_writers.die_at(last)
            linkrank.run(Run(run.crawl_dir, run.settings, run.control), "pages", scores=False)

        completed = killed_writers.in_child(until_killed) == 0
        left += bool(left_over(run))
        found = scores(run)
        assert found == before or found == pytest.approx(expected, abs=1e-6)
        if completed or found != before:
            break
    assert left
    assert linkrank.run(run, "pages", scores=False) == 0
    assert scores(run) == pytest.approx(expected, abs=1e-6)
    assert left_over(run) == []
