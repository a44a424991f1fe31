"""PageRank over ranges of numbered nodes is networkx's, whatever the graph and however it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import networkx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import linkgraph

DAMPING = 0.85


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Nodes and edges: with loops, repetitions, nodes without links, parts that nothing connects."""
    nodes = draw(st.integers(1, 12))
    place = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(place, place), max_size=40))


def ranked(
    nodes: int,
    pairs: list[tuple[int, int]],
    bounds: list[int],
    batch: int,
    tolerance: float,
    absent: set[int] | None = None,
) -> tuple[np.ndarray, int, float]:
    out = np.zeros(nodes, np.int32)
    np.add.at(out, [source for source, _ in pairs], 1)
    out[list(absent or ())] = linkgraph.ABSENT
    ordered = sorted(pairs, key=lambda pair: pair[1])

    def read(k: int) -> Iterator[pa.RecordBatch]:
        mine = [pair for pair in ordered if bounds[k] <= pair[1] < bounds[k + 1]]
        for first in range(0, len(mine), batch):
            some = np.array(mine[first : first + batch])
            yield from linkgraph.edges(some[:, 0], some[:, 1]).to_batches()

    return linkgraph.iterate(out, read, bounds, DAMPING, tolerance, 1000)


def by_networkx(nodes: int, pairs: list[tuple[int, int]], tolerance: float) -> np.ndarray:
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(pairs)
    rank = networkx.pagerank(graph, alpha=DAMPING, tol=tolerance, max_iter=1000)
    return np.array([rank[node] for node in range(nodes)])


@given(graphs(), st.lists(st.integers(0, 12), max_size=3), st.integers(1, 7))
def test_equal_to_networkx(graph: tuple[int, list[tuple[int, int]]], cuts: list[int], batch: int) -> None:
    nodes, pairs = graph
    bounds = [0, *sorted(min(cut, nodes) for cut in cuts), nodes]
    rank, _, _ = ranked(nodes, pairs, bounds, batch, 1e-12)
    assert rank == pytest.approx(by_networkx(nodes, pairs, 1e-12), abs=1e-9)
    assert rank.sum() == pytest.approx(1)


@given(graphs())
def test_with_networkx_own_tolerance_the_same_iterations_are_made(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, pairs = graph
    rank, _, _ = ranked(nodes, pairs, [0, nodes], 100, 1e-6)
    assert rank == pytest.approx(by_networkx(nodes, pairs, 1e-6), abs=1e-6)


def test_a_larger_random_graph() -> None:
    graph = networkx.gnm_random_graph(3000, 9000, seed=6, directed=True)
    pairs = list(graph.edges)
    rank, iterations, moved = ranked(3000, pairs, [0, 1000, 1001, 3000], 500, 1e-13)
    assert rank == pytest.approx(by_networkx(3000, pairs, 1e-13), abs=1e-10)
    assert iterations < 200
    assert moved < 3000 * 1e-13


@given(graphs(), st.integers(1, 5))
def test_absent_nodes_have_no_part(graph: tuple[int, list[tuple[int, int]]], more: int) -> None:
    nodes, pairs = graph
    absent = set(range(nodes, nodes + more))
    rank, _, _ = ranked(nodes + more, pairs, [0, nodes + more], 100, 1e-12, absent)
    alone, _, _ = ranked(nodes, pairs, [0, nodes], 100, 1e-12)
    assert rank[:nodes] == pytest.approx(alone)
    assert not rank[nodes:].any()


def test_an_empty_graph() -> None:
    rank, iterations, moved = ranked(0, [], [0, 0, 0], 10, 1e-6)
    assert (len(rank), iterations, moved) == (0, 0, 0.0)


def test_a_large_graph_is_not_done_before_it_began() -> None:
    assert not linkgraph.is_done(1.0, 10_000_000, 1e-6)  # networkx: less than 10
    assert linkgraph.is_done(9e-5, 10_000_000, 1e-6)
    assert linkgraph.is_done(9e-6, 10, 1e-6)
    assert not linkgraph.is_done(2e-5, 10, 1e-6)


keys = st.binary(min_size=2, max_size=2).map(lambda ends: b"\x01" * 7 + ends[:1] + b"\x02" * 11 + ends[1:])
"""Many share their first 8 bytes, as random ones never do."""


@given(st.sets(st.one_of(keys, st.binary(min_size=20, max_size=20)), min_size=1), st.data())
def test_nodes_are_numbered_in_their_order(known: set[bytes], data: st.DataObject) -> None:
    ordered = sorted(known)
    array = np.frombuffer(b"".join(ordered), np.uint8).reshape(-1, 20)
    cut = data.draw(st.integers(0, len(ordered)))
    nodes = linkgraph.Nodes([array[:cut], array[:0], array[cut:]])
    assert len(nodes) == len(ordered)
    asked = data.draw(st.lists(st.sampled_from(range(len(ordered)))))
    assert nodes.numbers(array[asked]).tolist() == asked


@given(st.lists(keys))
def test_distinct(some: list[bytes]) -> None:
    array = np.frombuffer(b"".join(some), np.uint8).reshape(-1, 20)
    assert [key.tobytes() for key in linkgraph.distinct(array)] == sorted(set(some))


def test_files(tmp_path: Path) -> None:
    files = linkgraph.GraphFiles(str(tmp_path))
    with files.writer("edges", 3, linkgraph.EDGES) as (name, write):
        write(linkgraph.edges(np.array([1, 2]), np.array([3, 4])))
        write(linkgraph.edges(np.array([5]), np.array([6])))
    assert name.startswith("edges-00003-")
    assert files.column([name, name], "target").tolist() == [3, 4, 6, 3, 4, 6]
    (tmp_path / "linkrank" / ".lock").touch()
    with pytest.raises(pa.ArrowInvalid), files.writer("edges", 0, linkgraph.EDGES) as (_, write):
        write(pa.table({"source": ["not"], "target": ["numbers"]}))
    assert sorted(path.name for path in (tmp_path / "linkrank").iterdir()) == [".lock", name]
    files.remove_all()
    assert [path.name for path in (tmp_path / "linkrank").iterdir()] == [".lock"]
