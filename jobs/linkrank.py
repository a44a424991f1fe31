"""linkrank: PageRank over the pages or the hosts of the link store, written back as scores and ranks.

One job after another, over ranges of fingerprints; `crawldb.linkgraph` says what their files hold:

    HostLinks   of hosts only. map: links of a range → which host links to which  → by range of the target
                               reduce: nodes, and pairs of host fingerprints, of a range
    PageNodes   of pages only. map: targets and sources of a range → its nodes
    Edges       map: links to a range → numbered edges; how many leave each node  → by range of the source
                reduce: how many leave each node of a range
    Rank        map: all iterations over a graph of at most linkrank.edges_per_task edges
    Iteration   map: one iteration over the edges to a range, where there are more; a job for each
    Scores      map: ranks → a delta of a shard of the crawldb
    HostRanks   map: ranks → by shard of the host store; reduce: its delta

All iterations in one task, because a job takes seconds on a cluster and an iteration over ten million edges a fraction
of one. What counts is the last job's commit; a command that was killed before leaves files that the next one removes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import hosts as hostdb
from crawldb import linkgraph, schema, shards
from crawldb.errors import CobnutError, ConflictError, Interrupted, UsageError
from crawldb.linkgraph import GraphFiles
from crawldb.links import LINKDB, SOURCEDB, Current
from crawldb.settings import Policy
from crawldb.store import Snapshot
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, execute, parser, say
from jobs.protocol import shard_key

_NODES, _PAIRS, _FILES = "nodes-", "pairs-", "files-"
"""What keys of the shuffle begin with."""
_HOST_PAIRS = 1 << 22
"""Links between hosts that a task gathers before it throws out repetitions."""
_WRITTEN_AT_ONCE = 1 << 20
_TRIES = 5
"""How often scores are written again because another writer came first."""


class RankJob(CrawlJob):
    """What the jobs share."""

    @property
    def graph_files(self) -> GraphFiles:
        """The graph's files."""
        return GraphFiles(self.crawl_dir)

    def store_at(self, name: str) -> Snapshot:
        """A store as of the version that the command saw."""
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        store = run.store_named(name)
        version = self.context["versions"][name]
        return store.new(self.settings.store) if version < 0 else store.snapshot(version)

    def scan(self, snapshot: Snapshot, part: int, columns: list[str]) -> Iterator[pa.Table]:
        """The rows of a range, of `context["ranges"]`; a range is one shard or several."""
        width = snapshot.shards // self.context["ranges"]
        for table in snapshot.scan_range(part * width, (part + 1) * width, columns):
            if control.STOP.is_set():
                raise Interrupted(15)
            yield table

    def links(self, part: int, columns: list[str]) -> Iterator[pa.Table]:
        """The links to a range that count."""
        current = Current(self.crawl_dir, self.settings)
        needed = list(dict.fromkeys([*columns, *Current.NEEDED]))
        return (current(table) for table in self.scan(self.store_at(LINKDB.name), part, needed))


class PageNodes(RankJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        part = item["range"]
        keys = [np.empty((0, 20), np.uint8)]
        for table in self.scan(self.store_at(SOURCEDB.name), part, ["fingerprint", "parsed_at", "links"]):
            linking = table["links"].to_numpy() > 0
            keys.append(shards.key_bytes(table["fingerprint"])[linking])
        for table in self.scan(self.store_at(LINKDB.name), part, ["fingerprint", "source", "seen_at", "target"]):
            keys.append(linkgraph.distinct(shards.key_bytes(table["target"])))
        nodes = linkgraph.distinct(np.concatenate(keys))
        name = self.graph_files.write("nodes", part, pa.table([linkgraph.fingerprints(nodes)], schema=linkgraph.NODES))
        yield None, {"range": part, "nodes": name, "number": len(nodes)}


class HostLinks(RankJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        names = _Names()
        prefixes, codes = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        for table in self.store_at(SOURCEDB.name).scan(["fingerprint", "parsed_at", "host"]):
            prefixes.append(shards.prefixes(shards.key_bytes(table["fingerprint"])))
            codes.append(names.codes(table["host"]))
        of_page, host_of_page = np.concatenate(prefixes), np.concatenate(codes)
        pairs = np.empty(0, np.int64)
        for table in self.links(item["range"], ["host"]):
            place = np.searchsorted(of_page, shards.prefixes(shards.key_bytes(table["source"])))
            source, target = host_of_page[np.minimum(place, len(host_of_page) - 1)], names.codes(table["host"])
            pairs = np.concatenate([pairs, np.unique(source.astype(np.int64) << 32 | target)])
            if len(pairs) > _HOST_PAIRS:
                pairs = np.unique(pairs)
        pairs = np.unique(pairs)
        yield from self._batches(pairs >> 32, pairs & 0xFFFFFFFF, names)

    def _batches(
        self, source: NDArray[np.int64], target: NDArray[np.int64], names: _Names
    ) -> Iterator[tuple[str, pa.Table]]:
        known = np.union1d(source, target)
        keys = np.zeros((len(names.all), 20), np.uint8)
        used = [names.all[code] for code in known.tolist()]
        keys[known] = hostdb.fingerprints(used)
        nodes = pa.table(
            [linkgraph.fingerprints(keys[known]), pa.array(used, pa.string())], schema=linkgraph.HOST_NODES
        )
        yield from self._by_range(_NODES, keys[known], nodes)
        other = source != target  # what a host says of itself
        source, target = source[other], target[other]
        for first in range(0, len(source), _WRITTEN_AT_ONCE):
            some = slice(first, first + _WRITTEN_AT_ONCE)
            columns = [linkgraph.fingerprints(keys[target[some]]), linkgraph.fingerprints(keys[source[some]])]
            yield from self._by_range(_PAIRS, keys[target[some]], pa.table(columns, schema=linkgraph.PAIRS))

    def _by_range(self, kind: str, keys: NDArray[np.uint8], rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        part = shards.shard_of(keys, self.context["ranges"])
        for number in np.unique(part).tolist():
            yield kind + shard_key(number), rows.filter(pa.array(part == number))

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        kind, part = key[: len(_NODES)], int(key[len(_NODES) :])
        table = pa.concat_tables(batches).combine_chunks()
        columns = table.column_names[:1] if kind == _NODES else table.column_names
        order = np.arange(table.num_rows)
        for name in reversed(columns):
            order = order[shards.sort_order(shards.key_bytes(table[name])[order])]
        table = table.take(pa.array(order))
        new = np.zeros(table.num_rows, np.bool_)
        new[0] = True
        for name in columns:
            keys = shards.key_bytes(table[name])
            new[1:] |= (keys[1:] != keys[:-1]).any(axis=1)
        table = table.filter(pa.array(new)).combine_chunks()
        what = kind.rstrip("-")
        yield None, {"range": part, what: self.graph_files.write(what, part, table), "number": table.num_rows}


class _Names:
    """Numbers for the values of string columns, the same in all tables."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._code: dict[str, int] = {}

    def codes(self, column: pa.ChunkedArray) -> NDArray[np.int32]:
        """The number of each value; of null any."""
        parts = [np.empty(0, np.int32)]
        for chunk in column.chunks:
            known = [self._code.setdefault(name, len(self._code)) for name in chunk.dictionary.to_pylist()]
            self.all = list(self._code) if len(self._code) > len(self.all) else self.all
            parts.append(np.array([*known, 0], np.int32)[chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
        return np.concatenate(parts)


class Edges(RankJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        files, part, bounds = self.graph_files, item["range"], self.context["bounds"]
        nodes = linkgraph.Nodes(files.column([name], "fingerprint") for name in self.context["nodes"])
        out = np.zeros(len(nodes), np.int32)
        out -= 1  # linkgraph.ABSENT
        if self.context["of"] == "hosts":
            pairs: Iterable[Any] = files.batches(item["pairs"]) if item["pairs"] else []
            out[bounds[part] : bounds[part + 1]] = 0  # hosts that only link to themselves have a part too
        else:
            pairs = self.links(part, ["target"])
        number = 0
        with files.writer("edges", part, linkgraph.EDGES) as (name, write):
            for rows in pairs:
                source = nodes.numbers(shards.key_bytes(rows.column("source")))
                target = nodes.numbers(shards.key_bytes(rows.column("target")))
                out[target] = np.maximum(out[target], 0)
                out[source] = np.maximum(out[source], 0)
                np.add.at(out, source, 1)
                write(linkgraph.edges(source, target))
                number += len(source)
        yield _FILES + shard_key(part), pa.table({"name": [name], "number": [number]})
        for place in range(len(bounds) - 1):
            mine = out[bounds[place] : bounds[place + 1]]
            there = np.flatnonzero(mine >= 0)
            if len(there):
                yield shard_key(place), pa.table({"node": there, "out": mine[there]})

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        if key.startswith(_FILES):
            for table in batches:
                yield None, {"range": int(key[len(_FILES) :]), "edges": table["name"][0].as_py(),
                             "number": table["number"][0].as_py()}  # fmt: skip
            return
        part, bounds = int(key), self.context["bounds"]
        out = np.full(bounds[part + 1] - bounds[part], linkgraph.ABSENT, np.int32)
        for table in batches:
            node = table["node"].to_numpy()
            out[node] = np.maximum(out[node], 0) + table["out"].to_numpy()
        name = self.graph_files.write("out", part, pa.table([out], schema=linkgraph.OUT))
        yield None, {"range": part, "out": name, "number": int((out != linkgraph.ABSENT).sum())}


class _Ranked(RankJob):
    """What the jobs on ranks share."""

    def out(self) -> NDArray[np.int32]:
        """How many edges leave each node."""
        bounds = self.context["bounds"]
        out = np.full(bounds[-1], linkgraph.ABSENT, np.int32)
        for part, name in enumerate(self.context["out"]):
            if name:
                out[bounds[part] : bounds[part + 1]] = self.graph_files.column([name])
        return out

    def edges(self, part: int) -> Iterator[pa.RecordBatch]:
        """The edges to a range."""
        for batch in self.graph_files.batches(self.context["edges"][part]):
            if control.STOP.is_set():
                raise Interrupted(15)
            yield batch

    def write_rank(self, part: int, rank: NDArray[np.float64]) -> str:
        """A file of the ranks of a range."""
        return self.graph_files.write("rank", part, pa.table([rank], schema=linkgraph.RANK))


class Rank(_Ranked):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        settings, bounds = self.settings.linkrank, self.context["bounds"]
        progress = self.progress(settings.iterations)
        rank, iterations, moved = linkgraph.iterate(
            self.out(), self.edges, bounds, settings.damping, settings.tolerance, settings.iterations,
            lambda: progress.update(1),
        )  # fmt: skip
        names = [self.write_rank(part, rank[bounds[part] : bounds[part + 1]]) for part in range(len(bounds) - 1)]
        yield None, {"rank": names, "iterations": iterations, "moved": moved}


class Iteration(_Ranked):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        part, bounds, damping = item["range"], self.context["bounds"], self.settings.linkrank.damping
        first, last = bounds[part], bounds[part + 1]
        out = self.out()
        rank = self.graph_files.column(self.context["rank"]) if self.context["rank"] else linkgraph.start(out)
        carried, gift = linkgraph.passed_on(rank, out, damping), linkgraph.for_all(rank, out, damping)
        new = linkgraph.received(carried, self.edges(part), first, last)
        new[out[first:last] != linkgraph.ABSENT] += gift
        moved = float(np.abs(new - rank[first:last]).sum())
        yield None, {"range": part, "rank": self.write_rank(part, new), "moved": moved}


class Scores(RankJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        snapshot, shard = run.store.snapshot(self.context["version"]), item["shard"]
        keys, score = self._scores(shard, snapshot.shards)
        rows = 0
        with run.store.writer(snapshot.version + 1, "delta", shard) as writer:
            for table in snapshot.scan(["fingerprint", "url", "host"], shard):
                if control.STOP.is_set():
                    raise Interrupted(15)
                wanted = self._keys_of_hosts(table) if self.context["of"] == "hosts" else None
                if wanted is None:
                    place, known = shards.match(keys, shards.key_bytes(table["fingerprint"]))
                else:
                    own, code = wanted
                    order = shards.sort_order(own)
                    place, known = np.empty(len(own), np.int64), np.empty(len(own), np.bool_)
                    place[order], known[order] = shards.match(keys, own[order])
                    place, known = place[code], known[code]
                known &= ~np.isnan(score[np.where(known, place, 0)]) if len(score) else known
                if known.any():
                    writer.write(_new_scores(table.filter(pa.array(known)), score[place[known]]))
                    rows += int(known.sum())
        yield None, {"shard": shard, "file": writer.file.to_dict(), "rows": rows}

    def _scores(self, shard: int, shards_of_crawldb: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The fingerprints of the nodes that matter to a shard, sorted, and their scores: 1 on average."""
        ranges, files = self.context["ranges"], self.graph_files
        parts = range(ranges)
        if self.context["of"] == "pages":
            parts = range(shard * ranges // shards_of_crawldb, -(-(shard + 1) * ranges // shards_of_crawldb))
        keys, rank, out = (
            files.column([self.context[what][part] for part in parts if self.context[what][part]], column)
            for what, column in (("nodes", "fingerprint"), ("rank", ""), ("out", ""))
        )
        score = rank * self.context["number"]
        score[out == linkgraph.ABSENT] = np.nan
        return keys.astype(np.uint8, copy=False), score

    def _keys_of_hosts(self, table: pa.Table) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The fingerprints of the hosts of some requests, and for each request which of them is its host's."""
        encoded = table["host"].cast(pa.string()).combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        return hostdb.fingerprints(encoded.dictionary.to_pylist()), encoded.indices.to_numpy().astype(np.int64)


def _new_scores(requests: pa.Table, score: NDArray[np.float64]) -> pa.Table:
    """Rows of schema.DELTA."""
    given = {name: requests[name] for name in requests.column_names}
    given["new_score"] = pa.array(score.astype(np.float32))
    return pa.Table.from_arrays(
        [given.get(field.name, pa.nulls(requests.num_rows, field.type)) for field in schema.DELTA], schema=schema.DELTA
    )


class HostRanks(RankJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        names = pa.concat_arrays(
            [batch.column("host") for batch in self.graph_files.batches(item["nodes"])] or [pa.array([], pa.string())]
        )
        rank = self.graph_files.column([item["rank"]])
        rows = hostdb.merge([hostdb.of_ranks(names, rank, self.context["ranked_at"])])
        for shard, part in shards.split(rows, self.context["shards"]):
            yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        with run.hosts.writer(self.context["version"], "delta", int(key)) as writer:
            writer.write(hostdb.merge(batches))
        yield None, {"shard": int(key), "file": writer.file.to_dict()}


# -- the command -----------------------------------------------------------------------------------------------


def run(run: Run, of: str, scores: bool) -> int:
    """Rank pages or hosts (`of`); with `scores`, hosts' ranks become their pages' scores too."""
    files = GraphFiles(run.crawl_dir)
    linkdb = run.store_named(LINKDB.name).snapshot()  # UsageError before anything is made
    lock = files.fs.try_lock(f"{files.path}/.lock")
    if lock is None:
        raise ConflictError(f"{files.path}: another linkrank is at work; wait for it to end")
    try:
        files.remove_all()
        return _rank(run, files, linkdb, of, scores)
    finally:
        files.remove_all()
        lock.close()


def _rank(run: Run, files: GraphFiles, linkdb: Snapshot, of: str, scores: bool) -> int:
    watch = Stopwatch()
    sources = run.store_named(SOURCEDB.name).snapshot_or_new(run.settings.store)
    context: dict[str, Any] = {
        "of": of, "ranges": min(linkdb.shards, sources.shards),
        "versions": {LINKDB.name: linkdb.version, SOURCEDB.name: sources.version},
    }  # fmt: skip
    graph = _graph(run, context)
    if graph["bounds"][-1] > np.iinfo(np.int32).max:
        raise CobnutError(f"{files.path}: {graph['bounds'][-1]:,} nodes are more than 2^31; rank hosts instead")
    context |= graph
    if not context["number"]:
        say(f"linkrank  the link store has no links: nothing to rank {watch}")
        return 0
    small = context["number_of_edges"] <= run.settings.linkrank.edges_per_task
    iterations, moved = (_in_one_task if small else _job_by_job)(run, files, context)
    done = linkgraph.is_done(moved, context["number"], run.settings.linkrank.tolerance)
    how = f"{'after' if done else 'not converged after'} {iterations} iterations, of which the last moved {moved:.1e}"
    written = []
    if of == "hosts":
        written.append(_until_first(lambda: _write_hosts(run, context)))
    if of == "pages" or scores:
        written.append(_until_first(lambda: _write_scores(run, context)))
    say(
        f"linkrank  {context['number']:,} {of}, {context['number_of_edges']:,} links, {how}; {'; '.join(written)} {watch}"
    )
    return 0


def _graph(run: Run, context: dict[str, Any]) -> dict[str, Any]:
    """Make the graph's files; their names and numbers."""
    ranges = context["ranges"]
    items: list[dict[str, Any]] = [{"range": part} for part in range(ranges)]
    job = HostLinks if context["of"] == "hosts" else PageNodes
    records = run.job(job, items, context, "nodes", "ranges")
    nodes, number = [""] * ranges, [0] * ranges
    pairs = [""] * ranges
    for record in records:
        if "nodes" in record:
            nodes[record["range"]], number[record["range"]] = record["nodes"], record["number"]
        else:
            pairs[record["range"]] = record["pairs"]
    bounds = [0, *np.cumsum(number).tolist()]
    made: dict[str, Any] = {"nodes": nodes, "bounds": bounds}
    items = [item | {"pairs": pairs[item["range"]]} for item in items]
    told = context | made | {"nodes": [name for name in nodes if name]}
    records = run.job(Edges, items, told, "edges", "ranges") if bounds[-1] else []
    made |= {"edges": [""] * ranges, "out": [""] * ranges}
    for record in records:
        what = "edges" if "edges" in record else "out"
        made[what][record["range"]] = record[what]
    made["number_of_edges"] = sum(record["number"] for record in records if "edges" in record)
    made["number"] = sum(record["number"] for record in records if "out" in record)
    return made


def _in_one_task(run: Run, files: GraphFiles, context: dict[str, Any]) -> tuple[int, float]:
    """All iterations; how many there were, and what the last one moved."""
    (record,) = run.job(Rank, [{}], context, "rank", "iterations")
    context["rank"] = record["rank"]
    return record["iterations"], record["moved"]


def _job_by_job(run: Run, files: GraphFiles, context: dict[str, Any]) -> tuple[int, float]:
    """The same, with a job for each iteration and a task for each range."""
    items = [{"range": part} for part in range(context["ranges"])]
    settings = run.settings.linkrank
    context["rank"] = []
    moved = 0.0
    for iteration in range(1, settings.iterations + 1):
        records = run.job(Iteration, items, context, f"iteration {iteration}", "ranges")
        before = context["rank"]
        context["rank"] = [record["rank"] for record in sorted(records, key=lambda record: int(record["range"]))]
        moved = sum(record["moved"] for record in records)
        files.remove(before)
        if linkgraph.is_done(moved, context["number"], settings.tolerance):
            break
    return iteration, moved


def _until_first(write: Callable[[], str]) -> str:
    """What `write` says, tried again while other writers come first: ranking anew would cost more."""
    for attempt in range(_TRIES):
        try:
            return write()
        except ConflictError:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def _write_scores(run: Run, context: dict[str, Any]) -> str:
    snapshot = run.store.snapshot()
    items = [{"shard": shard} for shard in range(snapshot.shards)]
    records = run.job(Scores, items, context | {"version": snapshot.version}, "scores", "shards")
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records if record["rows"]}
    number = sum(record["rows"] for record in records)
    policy = Policy(run.settings.schedule, run.settings.score)
    entry = run.store.commit_delta(snapshot.entry, "linkrank", files, policy, run.now(), None, {"scores": number})
    return f"{number:,} scores in crawldb version {entry.version}"


def _write_hosts(run: Run, context: dict[str, Any]) -> str:
    snapshot, now = run.hosts.snapshot_or_new(run.settings.store), run.now()
    items = [{"nodes": nodes, "rank": rank} for nodes, rank in zip(context["nodes"], context["rank"], strict=True)
             if nodes]  # fmt: skip
    told = context | {"version": snapshot.version + 1, "shards": snapshot.shards, "ranked_at": now}
    records = run.job(HostRanks, items, told, "ranks", "ranges")
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records}
    number = sum(file.rows for file in files.values())
    policy = Policy(run.settings.schedule, run.settings.score)
    entry = run.hosts.commit_delta(snapshot.entry, "linkrank", files, policy, now, None, {"hosts": number})
    return f"{number:,} ranks in hostdb version {entry.version}"


def main(argv: list[str] | None = None) -> int:
    """`cobnut linkrank CRAWL_DIR [--of pages|hosts] [--scores] [--damping D] [--tolerance T] [--iterations N]`"""
    arguments = parser(
        "linkrank",
        "Rank pages or hosts by the links to them (PageRank), and write the ranks back: pages' as their scores, "
        "hosts' into the host store.",
    )
    add = arguments.add_argument
    add("--of", choices=("pages", "hosts"), default="pages", help="what is ranked (default: pages)")
    add("--scores", action="store_true", help="of hosts: give their rank to their pages as score too; always so with "
        "score.name=host_authority")  # fmt: skip
    add("--damping", metavar="D", help="linkrank.damping")
    add("--tolerance", metavar="T", help="linkrank.tolerance")
    add("--iterations", metavar="N", help="linkrank.iterations")
    options = arguments.parse_args(argv)
    for name in ("damping", "tolerance", "iterations"):
        if getattr(options, name) is not None:
            options.overrides.append(f"linkrank.{name}={getattr(options, name)}")

    def rank(run_: Run) -> int:
        settings = run_.settings
        if not 0 <= settings.linkrank.damping < 1:
            raise UsageError(f"linkrank.damping = {settings.linkrank.damping}: expected 0 up to, not including, 1")
        if settings.linkrank.iterations < 1:
            raise UsageError(f"linkrank.iterations = {settings.linkrank.iterations}: must be at least 1")
        return run(run_, options.of, options.scores or settings.score.name == "host_authority")

    return execute("linkrank", options, rank)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["linkrank", *sys.argv[1:]]))
