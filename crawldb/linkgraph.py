"""PageRank over a graph that is kept in files: its numbered nodes, its edges, and one iteration after another.

Owns the arithmetic and the temporary files that a `cobnut linkrank` makes of the link store. Which links make the
graph, and how the work is spread over tasks, is jobs/linkrank.py's business.

    linkrank/nodes-00002-….arrow   fingerprints of a range of nodes, sorted (of hosts: with their names)
    linkrank/edges-00002-….arrow   (source, target) of all edges to that range, as numbers, by target
    linkrank/out-00002-….arrow     how many edges leave each node of the range; -1: the node has no part in the graph
    linkrank/rank-00002-….arrow    the rank of each node of the range

Nodes are numbered in the order of their fingerprints. The files are Arrow's, not compressed: on a local file system
they are read where they lie. Nothing of them outlives the command but by a kill, and then the next one removes it.

The rank of a node is the chance to be there for who follows links at random, and with chance 1 - damping, or where no
link leaves, goes to any node instead (Page, Brin, Motwani, Winograd: The PageRank Citation Ranking, 1998):

    rank(t) = (1 - d + d · sum of rank over nodes without links) / n  +  d · sum over links s → t of rank(s) / out(s)

Several links from s to t count as several, a link to itself as any other. In memory: 8 bytes a node to number edges,
29 bytes a node to rank them.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import schema, shards
from crawldb.filesystem import resolve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int32]

NODES = pa.schema([("fingerprint", schema.FINGERPRINT)])
HOST_NODES = pa.schema([("fingerprint", schema.FINGERPRINT), ("host", pa.string())])
PAIRS = pa.schema([("target", schema.FINGERPRINT), ("source", schema.FINGERPRINT)])
EDGES = pa.schema([("source", pa.int32()), ("target", pa.int32())])
OUT = pa.schema([("out", pa.int32())])
RANK = pa.schema([("rank", pa.float64())])

COARSEST = 1e-4
"""Never done while an iteration moves more of the whole rank, which is 1. `tolerance` × nodes, networkx's measure, is
more than that from 100 nodes on, and from a million on it would be met before the first iteration."""

ABSENT = -1
"""Instead of a number of edges: the node has no part in the graph."""


class GraphFiles:
    """The temporary files in `linkrank/` of a crawl directory."""

    def __init__(self, crawl_dir: str) -> None:
        self.fs, path = resolve(crawl_dir)
        self.path = f"{path}/linkrank"

    @contextlib.contextmanager
    def writer(self, what: str, number: int, kind: pa.Schema) -> Iterator[tuple[str, Callable[[pa.Table], None]]]:
        """A new file: its name, and what writes tables to it. An exception leaves no file."""
        name = f"{what}-{number:05d}-{uuid.uuid4().hex[:12]}.arrow"
        output = self.fs.open_output(f"{self.path}/{name}")
        try:
            with pa.ipc.new_file(output, kind) as writer:
                yield name, lambda table: writer.write_table(table.cast(kind))
        except BaseException:
            self.fs.abandon(output, f"{self.path}/{name}")
            raise
        output.close()

    def write(self, what: str, number: int, table: pa.Table) -> str:
        """A new file with one table; its name."""
        with self.writer(what, number, table.schema) as (name, write):
            write(table)
        return name

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """What a file holds, as it was written."""
        with self.fs.open_input(f"{self.path}/{name}") as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)

    def column(self, names: Iterable[str], column: str = "") -> NDArray[Any]:
        """A column, by default the only one, of some files as one array; of fingerprints as an (n, 20) array."""
        parts: list[NDArray[Any]] = []
        for name in names:
            with self.fs.open_input(f"{self.path}/{name}") as source, pa.ipc.open_file(source) as reader:
                some = reader.read_all().column(column or 0)
                is_key = some.type == schema.FINGERPRINT
                parts.append(shards.key_bytes(some) if is_key else some.to_numpy())
        return np.concatenate(parts) if parts else np.empty((0, 20) if column == "fingerprint" else 0)

    def remove(self, names: Iterable[str]) -> None:
        """Remove some files."""
        for name in names:
            self.fs.remove(f"{self.path}/{name}")

    def remove_all(self) -> None:
        """Remove all files, but for the lock that keeps two commands apart."""
        self.remove(name for name in self.fs.all_names(self.path) if name != ".lock")


class Nodes:
    """The numbers of nodes, by their fingerprints: 8 bytes of memory a node."""

    def __init__(self, parts: Iterable[NDArray[np.uint8]]) -> None:
        """`parts` are (n, 20) arrays; all in order are sorted, each fingerprint once."""
        prefixes = [np.empty(0, np.uint64)]
        self._twins: dict[bytes, int] = {}
        first, before = 0, np.empty((0, 20), np.uint8)
        for keys in parts:
            prefixes.append(shards.prefixes(keys))
            # Nodes that share 8 bytes (one pair in 2^64) are told apart by all 20.
            seam = np.concatenate([before, keys])
            leading = shards.prefixes(seam)
            for place in np.flatnonzero(leading[1:] == leading[:-1]).tolist():
                for one in (place, place + 1):
                    self._twins[seam[one].tobytes()] = first - len(before) + one
            first, before = first + len(keys), keys[-1:] if len(keys) else before
        self._prefixes = np.concatenate(prefixes)
        twins = [int.from_bytes(key[:8], "big") for key in self._twins]
        self._tied = np.unique(np.array(twins, np.uint64))

    def __len__(self) -> int:
        return len(self._prefixes)

    def numbers(self, keys: NDArray[np.uint8]) -> Ints:
        """The number of each node of `keys`, an (n, 20) array in any order; all are nodes."""
        wanted = shards.prefixes(keys)
        order = np.argsort(wanted)  # neighbours are near in memory
        numbers = np.empty(len(keys), np.int64)
        numbers[order] = np.searchsorted(self._prefixes, wanted[order])
        if len(self._tied):
            for row in np.flatnonzero(np.isin(wanted, self._tied)).tolist():
                numbers[row] = self._twins[keys[row].tobytes()]
        return numbers


def distinct(keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The distinct ones of `keys`, an (n, 20) array, sorted."""
    keys = keys[shards.sort_order(keys)]
    new: NDArray[np.bool_] = (
        np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)]) if len(keys) else np.zeros(0, bool)
    )
    return keys[new]


def fingerprints(keys: NDArray[np.uint8]) -> pa.Array:
    """An (n, 20) array as a column."""
    return pa.FixedSizeBinaryArray.from_buffers(schema.FINGERPRINT, len(keys), [None, pa.py_buffer(keys.tobytes())])


def edges(sources: Ints, targets: Ints) -> pa.Table:
    """A table of EDGES."""
    return pa.table([sources.astype(np.int32), targets.astype(np.int32)], schema=EDGES)


# -- ranks -----------------------------------------------------------------------------------------------------


def start(out: Counts) -> Floats:
    """The same rank for every node that has a part in the graph."""
    present = out != ABSENT
    rank: Floats = present / max(int(present.sum()), 1)
    return rank


def passed_on(rank: Floats, out: Counts, damping: float) -> Floats:
    """What each edge that leaves a node carries."""
    carried = np.zeros(len(rank))
    np.divide(rank, out, out=carried, where=out > 0)
    carried *= damping
    return carried


def for_all(rank: Floats, out: Counts, damping: float) -> float:
    """What each node has whatever links to it: its part of what is given to all."""
    lost = float(rank[out == 0].sum())
    return (1 - damping + damping * lost) / max(int((out != ABSENT).sum()), 1)


def received(carried: Floats, batches: Iterable[pa.RecordBatch], first: int, last: int) -> Floats:
    """What the edges to the nodes `first` up to, not including, `last` bring them. One batch is in memory."""
    total = np.zeros(last - first)
    for batch in batches:
        if batch.num_rows:
            targets = batch.column("target").to_numpy()
            low, high = int(targets.min()), int(targets.max())  # near each other, for edges stand by target
            brought = np.bincount(targets - low, carried[batch.column("source").to_numpy()], high - low + 1)
            total[low - first : high - first + 1] += brought
    return total


def is_done(moved: float, nodes: int, tolerance: float) -> bool:
    """True if an iteration moved so little of the whole rank that the next ones need not be made."""
    return moved < min(nodes * tolerance, COARSEST)


def iterate(
    out: Counts, read: Callable[[int], Iterable[pa.RecordBatch]], bounds: Sequence[int], damping: float,
    tolerance: float, iterations: int, after_each: Callable[[], None] = lambda: None,
) -> tuple[Floats, int, float]:  # fmt: skip
    """The ranks, after how many iterations, and what the last one moved.

    `read(k)` are the edges to the nodes from bounds[k] up to, not including, bounds[k + 1].
    """
    rank, moved, number = start(out), 0.0, 0
    nodes = int((out != ABSENT).sum())
    while nodes and number < iterations:
        number, moved = number + 1, 0.0
        carried, gift = passed_on(rank, out, damping), for_all(rank, out, damping)
        for k in range(len(bounds) - 1):
            first, last = bounds[k], bounds[k + 1]
            new = received(carried, read(k), first, last)
            new[out[first:last] != ABSENT] += gift
            moved += float(np.abs(new - rank[first:last]).sum())
            rank[first:last] = new  # `carried` holds what the old ones passed on
        after_each()
        if is_done(moved, nodes, tolerance):
            break
    return rank, number, moved
