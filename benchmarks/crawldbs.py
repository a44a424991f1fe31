"""Crawldbs of any size, made at once instead of crawled: what the benchmarks of the store run on."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from crawldb import schema, shards
from crawldb.schema import Status
from crawldb.settings import StoreSettings
from crawldb.store import Store

_BLOCK = 500_000
DAY = 86_400_000


def urls(rows: int, hosts: int = 20_000, first: int = 0) -> list[str]:
    """Canonical URLs of pages on many hosts, as a crawl of the web would hold."""
    sections = ("news", "wiki", "products", "blog/2026", "docs/en")
    return [
        f"https://www.site{i * 7919 % hosts}.example/{sections[i % 5]}/item-{i * 2654435761 % (1 << 32):x}"
        for i in range(first, first + rows)
    ]


def seeds_file(path: Path, rows: int) -> None:
    """A seed file of as many different URLs."""
    with path.open("w") as file:
        for first in range(0, rows, _BLOCK):
            file.writelines(f"{url}\n" for url in urls(min(_BLOCK, rows - first), first=first))


def make(crawl_dir: Path, rows: int, now: int, fetched: float = 0.0) -> None:
    """A crawldb of one base. A share `fetched` of the rows was fetched and is due in a month, the rest is due."""
    store = Store(str(crawl_dir))
    snapshot = store.snapshot_or_new(StoreSettings())
    blocks = [
        _state(urls(min(_BLOCK, rows - first), first=first), now, fetched, first) for first in range(0, rows, _BLOCK)
    ]
    files: dict[int, shards.File] = {}
    for shard in range(snapshot.shards):
        pieces = [
            piece for block in blocks for number, piece in shards.split(block, snapshot.shards) if number == shard
        ]
        path = store.part_path(0, "base", shard)
        with shards.Writer(store.fs, path, schema.STATE) as writer:
            for table in _sorted(pieces):
                writer.write(table)
        files[shard] = writer.file
    store.commit_base(snapshot.entry, snapshot.shards, files, now, {})


def _sorted(pieces: list[pa.Table]) -> Iterator[pa.Table]:
    table = shards.sort(pa.concat_tables(pieces).unify_dictionaries())
    for first in range(0, table.num_rows, shards.ROW_GROUP):
        yield table.slice(first, shards.ROW_GROUP)


def _state(names: list[str], now: int, fetched: float, seed: int) -> pa.Table:
    rows = len(names)
    random = np.random.default_rng(seed)
    done = random.random(rows) < fetched
    status = np.where(done, np.where(random.random(rows) < 0.9, Status.fetched, Status.gone), Status.unfetched)
    discovered = now - random.integers(0, 30 * DAY, rows)
    fetched_at = np.minimum(discovered + random.integers(0, DAY, rows), now - 1)
    signature = pa.array([digest if d else None for digest, d in zip(
        np.frombuffer(random.bytes(16 * rows), "V16").tolist(), done.tolist(), strict=True)], schema.SIGNATURE)  # fmt: skip
    columns = {
        "fingerprint": pa.array([_fingerprint(name) for name in names], schema.FINGERPRINT),
        "url": pa.array(names),
        "host": pa.array([name.split("/", 3)[2] for name in names]).dictionary_encode(),
        "status": schema.from_codes(status.astype(np.int8), schema.STATUS_NAMES),
        "http_status": pa.array(np.where(status == Status.gone, 404, 200).astype(np.int16), mask=~done),
        "reason": pa.array(["http_404"])
        .dictionary_encode()
        .take(pa.array(np.zeros(rows, int), mask=status != Status.gone)),
        "fetched_at": pa.array(fetched_at, mask=~done).cast(schema.TIME),
        "due_at": pa.array(np.where(done, fetched_at + 30 * DAY, discovered)).cast(schema.TIME),
        "modified_at": pa.array(fetched_at, mask=~done | (status == Status.gone)).cast(schema.TIME),
        "interval": pa.array(np.full(rows, 30 * 86400, np.int32)),
        "retries": pa.array(np.zeros(rows, np.int8)),
        "score": pa.array((np.round(random.pareto(1.5, rows) * 64) / 4096).astype(np.float32)),
        "depth": pa.array(random.integers(0, 6, rows).astype(np.int16)),
        "signature": signature,
        "discovered_at": pa.array(discovered).cast(schema.TIME),
    }
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in schema.STATE]
    return shards.sort(pa.Table.from_arrays(arrays, schema=schema.STATE))


def _fingerprint(url: str) -> bytes:
    return hashlib.sha1(f'{{"body": "", "headers": {{}}, "method": "GET", "url": "{url}"}}'.encode()).digest()


if __name__ == "__main__":
    # In a process of its own: Linux counts what a parent had in memory as its child's peak.
    directory, number, moment, share = sys.argv[1:]
    make(Path(directory), int(number), int(moment), float(share))
