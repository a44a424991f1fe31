"""`python -m benchmarks.links`: what the link store and PageRank cost, as benchmarks/README.md shows it.

A made-up web: pages whose links go to few pages often and to most seldom. `--small` makes a hundredth of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import Cost, cobnut, cost
from crawldb import links, schema, shards
from crawldb.settings import Policy, StoreSettings
from crawldb.store import Store, now_ms

LINKS_A_PAGE = 10
HOSTS = 1000
AT_ONCE = 1 << 20


def made_up(pages: int, edges: int, seen_at: int, seed: int = 20261124) -> tuple[pa.Table, pa.Table]:
    """Rows of schema.LINK and of schema.SOURCE: `edges` links among `pages` pages."""
    random = np.random.default_rng(seed)
    keys = random.integers(0, 256, (pages, 20), np.uint8)
    keys = keys[shards.sort_order(keys)]
    names = pa.array([f"h{number}.test" for number in range(HOSTS)])
    source = random.integers(0, pages, edges)
    target = (pages * random.random(edges) ** 3).astype(np.int64)  # the first are linked to most
    target = (target * 2_654_435_761) % pages
    pairs = np.unique(target << 32 | source)
    target, source = pairs >> 32, pairs & 0xFFFFFFFF
    host = pa.DictionaryArray.from_arrays(pa.array((target % HOSTS).astype(np.int32)), names)
    anchors = pa.array([f"link number {number}" for number in range(10_000)])
    of_targets = _column(keys[target])
    times = pa.array(seen_at + source % 1_000_000).cast(schema.TIME)
    link = pa.table({
        "fingerprint": links.keys(of_targets, keys[source]), "target": of_targets, "source": _column(keys[source]),
        "host": host, "anchor": anchors.take(pa.array(random.integers(0, 10_000, len(pairs)))),
        "rel": pa.nulls(len(pairs), schema.NAME), "kind": pa.array(["link"]).take(pa.array(np.zeros(len(pairs), int))).dictionary_encode(),
        "seen_at": times,
    }, schema.LINK)  # fmt: skip
    number = np.arange(pages)
    page = pa.table({
        "fingerprint": _column(keys), "url": pa.array([f"http://h{n % HOSTS}.test/{n}" for n in range(pages)]),
        "host": pa.DictionaryArray.from_arrays(pa.array((number % HOSTS).astype(np.int32)), names),
        "links": pa.array(np.bincount(source, minlength=pages).astype(np.int32)),
        "parsed_at": pa.array(seen_at + number % 1_000_000).cast(schema.TIME),
        "segment": pa.nulls(pages, schema.NAME), "file": pa.nulls(pages, schema.NAME),
    }, schema.SOURCE)  # fmt: skip
    return link, page


def _column(keys: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(schema.FINGERPRINT, len(keys), [None, pa.py_buffer(keys.tobytes())])


def commit(crawl_dir: str, kind: links.Kind, rows: pa.Table) -> None:
    """Add rows, which are sorted, to a store."""
    store = Store(crawl_dir, kind)
    snapshot = store.snapshot_or_new(StoreSettings())
    files = {}
    for shard, part in shards.split(rows, snapshot.shards):
        with store.writer(snapshot.version + 1, "delta", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_delta(snapshot.entry, "benchmark", files, Policy(), now_ms())


def merging(rows: int) -> float:
    """Rows a CPU second of merging four sorted deltas, half of whose rows are known from another."""
    link, _ = made_up(rows // LINKS_A_PAGE, rows, now_ms())
    random = np.random.default_rng(1)
    parts = []
    for number in range(4):
        later = pa.array(link["seen_at"].cast(pa.int64()).to_numpy() + number).cast(schema.TIME)
        mine = link.set_column(link.column_names.index("seen_at"), link.schema.field("seen_at"), later)
        parts.append(mine.filter(pa.array(random.random(link.num_rows) < 0.5)))
    start = time.process_time()
    links.merge(parts)
    return sum(part.num_rows for part in parts) / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.links", description=__doc__)
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--make", nargs=2, metavar=("CRAWL_DIR", "LINKS"), help="only make a link store")
    arguments.add_argument("--merge", type=int, metavar="LINKS", help="only merge")
    options = arguments.parse_args()
    if options.merge:
        print(f"{merging(options.merge) / 1e6:.2f}")
        return
    if options.make:
        link, page = made_up(int(options.make[1]) // LINKS_A_PAGE, int(options.make[1]), now_ms() - 2_000_000)
        commit(options.make[0], links.LINKDB, link)
        commit(options.make[0], links.SOURCEDB, page)
        return
    scale = 100 if options.small else 1
    directory = Path(tempfile.mkdtemp(prefix="cobnut-bench-"))
    crawl_dir, log = str(directory / "crawl"), directory / "log"
    try:
        cost([sys.executable, "-m", "benchmarks.links", "--merge", str(1_000_000 // scale)], log)
        print(f"| merge of links | {log.read_text().split()[-1]} M rows a CPU second | at least 1 |", flush=True)
        edges = 10_000_000 // scale
        # In a process of its own: what a process has in memory counts for those that it starts.
        cost([sys.executable, "-m", "benchmarks.links", "--make", crawl_dir, str(edges)], log)
        store = Store(crawl_dir, links.LINKDB).snapshot()
        number, pages = store.rows, Store(crawl_dir, links.SOURCEDB).snapshot().rows
        print(f"| a link on disk | {store.bytes_on_disk / number:.0f} bytes | |", flush=True)
        seeds = directory / "seeds"
        seeds.write_text("http://h0.test/0\n")
        cost(cobnut("inject", crawl_dir, str(seeds)), log)
        for of in ("pages", "hosts"):
            took = cost(cobnut("linkrank", crawl_dir, "--of", of), log)
            print(f"| linkrank of {of}: {number:,} links of {pages:,} pages | {_shown(took)} | 60 s |", flush=True)
        iterations = [line for line in log.read_text().splitlines() if line.startswith("linkrank")]
        print("\n".join(iterations), file=sys.stderr)
        took = cost(cobnut("compact", crawl_dir), log)
        print(f"| compact the link store | {number / took.cpu / 1e6:.2f} M links a CPU second, {took.peak:.0f} MB | |")
    finally:
        shutil.rmtree(directory)


def _shown(took: Cost) -> str:
    return f"{took.wall:.0f} s, {took.cpu:.0f} CPU s, {took.peak:.0f} MB"


if __name__ == "__main__":
    main()
