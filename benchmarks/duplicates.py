"""What dedup costs, and how well simhash tells near-duplicates: `python -m benchmarks.duplicates`.

Pages are made: words by Zipf's law within a subject's own vocabulary, in a site's frame (navigation, footer), and edits of
known size, in words that stand together or are scattered. A pair is labelled a near-duplicate if one page was made from
the other by such an edit; all other pairs of pages are not, also those on one subject and of one site.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import cobnut, cost
from crawldb import duplicates, schema, shards
from crawldb.settings import DedupSettings
from crawldb.store import LogEntry, Store
from jobs.parsing.simhash import simhash
from jobs.protocol import ArrowProtocol

NOW = 1_795_000_000_000
EDITS = (1, 2, 3, 5, 10, 20)
"""Words in a thousand, one at least."""


def pages(number: int, seed: int = 0) -> list[list[str]]:
    """So many pages of 200 to 1,500 words, of ten sites on ten subjects."""
    choose = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = {"".join(choose.choices(letters, k=choose.randint(2, 9))) for _ in range(20_000)}
    words = sorted(made)
    frames = [choose.choices(words, k=60) for _ in range(10)]
    weights = list(itertools.accumulate(1 / (place + 1) for place in range(4000)))
    subjects = [[*words[:500], *choose.sample(words, 3500)] for _ in range(10)]
    return [
        [*frames[choose.randrange(10)], *choose.choices(subjects[choose.randrange(10)], cum_weights=weights,
                                                        k=choose.randint(200, 1500))]
        for _ in range(number)
    ]  # fmt: skip


def edited(words: list[str], in_a_thousand: int, together: bool, choose: random.Random) -> list[str]:
    """The page with so many of its words replaced by others."""
    number = max(1, round(in_a_thousand * len(words) / 1000))
    first = choose.randrange(len(words) - number)
    places = range(first, first + number) if together else choose.sample(range(len(words)), number)
    found = list(words)
    for place in places:
        found[place] = f"edit{choose.randrange(1 << 30)}"
    return found


def hashes(found: list[list[str]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Their simhashes."""
    return np.array([simhash(" ".join(words)) or 0 for words in found], np.uint64)


def quality(number: int, distance: int) -> dict[str, float]:
    """Recall by size and kind of edit, and the precision over all pairs of originals and edits of up to 5 in 1,000."""
    choose = random.Random(1)
    originals = pages(number)
    first = hashes(originals)
    found: dict[str, float] = {}
    true = 0
    everything = [first]
    for size, together in itertools.product(EDITS, (True, False)):
        changed = hashes([edited(words, size, together, choose) for words in originals])
        near = np.bitwise_count(first ^ changed) <= distance
        found[f"{size} in 1,000, {'together' if together else 'scattered'}"] = float(near.mean())
        if size <= 5:
            everything.append(changed)
    origin = np.tile(np.arange(number), len(everything))
    values = np.concatenate(everything)
    wrong = 0
    for place in range(len(values) - 1):
        near = np.bitwise_count(values[place] ^ values[place + 1 :]) <= distance
        same = origin[place + 1 :] == origin[place]
        true += int((near & same).sum())
        wrong += int((near & ~same).sum())
    found["precision"] = true / max(true + wrong, 1)
    return found


def candidates(rows: int, seed: int = 0) -> pa.Table:
    """The state's columns that dedup reads, of so many pages; three tenths have the signature of another."""
    choose = np.random.default_rng(seed)
    distinct = max(rows * 7 // 10, 1)
    signatures = choose.integers(0, 256, (distinct, 16), np.uint8)
    which = np.concatenate([np.arange(distinct), choose.integers(0, distinct, rows - distinct)])
    keys = choose.integers(0, 256, (rows, 20), np.uint8)
    keys = keys[shards.sort_order(keys)]
    base = choose.integers(0, 1 << 63, rows, np.uint64) * np.uint64(2) + choose.integers(0, 2, rows, np.uint64)
    base[rows // 2 :: 5] = base[: len(base[rows // 2 :: 5])] ^ np.uint64(0b1001)

    def fixed(values: np.ndarray[tuple[int, int], np.dtype[np.uint8]], width: int) -> pa.Array:
        buffer = pa.py_buffer(np.ascontiguousarray(values).tobytes())
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, buffer])

    names = pa.array([f"www.site{number}.example" for number in range(2000)])
    hosts = choose.integers(0, 2000, rows).astype(np.int32)
    return pa.table({
        "fingerprint": fixed(keys, 20),
        "url": pa.array([f"https://www.site{host}.example/news/item-{row:x}" for row, host in enumerate(hosts.tolist())]),
        "host": pa.DictionaryArray.from_arrays(hosts, names),
        "status": pa.DictionaryArray.from_arrays(pa.array(np.ones(rows, np.int32)), schema.STATUS_NAMES),
        "signature": fixed(signatures[which], 16),
        "simhash": base,
        "canonical": pa.nulls(rows, schema.FINGERPRINT),
        "duplicate_of": pa.nulls(rows, schema.FINGERPRINT),
        "score": choose.integers(0, 100, rows).astype(np.float32),
        "discovered_at": pa.array(NOW - choose.integers(0, 10**9, rows)).cast(schema.TIME),
    })  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def merge(rows: int) -> list[str]:
    """Lines of the table: map, shuffle and reduce of so many rows, each alone."""
    settings = DedupSettings()
    state = candidates(rows)
    made = duplicates.candidates(state, settings)
    protocol = ArrowProtocol()
    line = protocol.write("0", made)
    lines = [
        ("map: rows that take part, cut by signature", lambda: [*duplicates.by_range(duplicates.candidates(state, settings), 4)]),
        ("shuffle: a line written and read", lambda: protocol.read(protocol.write("0", made))),
        ("reduce: the best of each group, the marks", lambda: duplicates.decide(duplicates.same(made)[0])),
    ]  # fmt: skip
    told = [f"| {what} | {rows / seconds(work) / 1e6:.2f} M rows a CPU second |" for what, work in lines]
    told.append(f"| a line of the shuffle | {len(line) / rows:.0f} bytes a row |")
    blocks = duplicates.Blocks.for_rows(rows, 3)
    near = duplicates.candidates(state, DedupSettings(near=True))
    [(_, batch)] = _whole(blocks.split(near, 1))
    told.append(f"| near: {len(blocks.masks())} tables of blocks compared | "
                f"{rows / seconds(lambda: blocks.pairs(batch)) / 1e6:.2f} M rows a CPU second |")  # fmt: skip
    return told


def _whole(batches: object) -> list[tuple[int, pa.Table]]:
    return [(0, pa.concat_tables([batch for _, batch in batches]))]  # type: ignore[attr-defined]


def command(rows: int) -> list[str]:
    """Lines of the table: the whole command on a crawldb, start of Python included."""
    told = []
    with tempfile.TemporaryDirectory() as directory:
        crawl_dir = Path(directory) / "crawl"
        store, files = Store(str(crawl_dir)), {}
        state = candidates(rows)
        for name in schema.STATE.names:
            if name not in state.column_names:
                field = schema.STATE.field(name)
                zero = pa.array(np.full(rows, NOW)).cast(field.type) if name == "due_at" else (
                    pa.nulls(rows, field.type) if field.nullable else pa.array(np.zeros(rows, np.int32)).cast(field.type))  # fmt: skip
                state = state.append_column(name, zero)
        for shard, part in shards.split(state, 4):
            with store.writer(0, "base", shard) as writer:
                writer.write(part)
            files[shard] = writer.file
        store.commit_base(LogEntry(-1, "new", 0, 4, None, ()), 4, files, NOW, {})
        log = Path(directory) / "log"
        for what, options in (("dedup", []), ("the same again: nothing changes", []), ("dedup --near", ["--near"])):
            spent = cost(cobnut("dedup", str(crawl_dir), *options), log)
            told.append(f"| {what} of {rows:,} pages | {spent.cpu:.1f} CPU s, {spent.peak:.0f} MB |")
    return told


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.duplicates", description=__doc__)
    arguments.add_argument("--pages", type=int, default=400, help="originals of the labelled set")
    arguments.add_argument("--rows", type=int, default=1_000_000, help="pages of the crawldb")
    options = arguments.parse_args()
    text = " ".join(pages(1)[0] * 3)
    simhash(text)
    spent = seconds(lambda: [simhash(text) for _ in range(100)]) / 100
    print(f"| simhash of a text of {len(text):,} characters | {spent * 1e6:.0f} µs |")
    for line in [*merge(options.rows), *command(options.rows)]:
        print(line, flush=True)
    print("\n| edit | recall at 3 bits | at 6 bits |\n|---|---|---|")
    three, six = quality(options.pages, 3), quality(options.pages, 6)
    for what, recall in three.items():
        print(f"| {what} | {recall:.3f} | {six[what]:.3f} |")


if __name__ == "__main__":
    main()
