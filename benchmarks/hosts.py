"""`python -m benchmarks.hosts`: what merging the host store costs, in rows per CPU second.

Every host has one robots.txt of 500 bytes that names a sitemap, and three reasons. A state and what a round learned of
the same hosts are merged, the worst case: every row meets another. Once as updatedb's reducer does it, two large
tables; once as compaction reads it, a row group of each at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from crawldb import hosts, robotstxt, schema

_FILE = b"User-agent: *\nDisallow: /private\n".ljust(500, b"#")
_REPEATS = 5


def learned(number: int, at: int) -> tuple[pa.Table, pa.Table]:
    """What a round that began at `at` learned of so many hosts: rows of the host store, and their robots.txt files."""
    names = [f"www.host{place}.example" for place in range(number)]
    files = hosts.learned(
        (f"https://{name}", f"https://{name}/robots.txt", at, 200, _FILE, False, None, [f"https://{name}/sitemap.xml"],
         None) for name in names
    )  # fmt: skip
    outcomes = np.tile(
        np.array([schema.FetchOutcome.gone, schema.FetchOutcome.retry, schema.FetchOutcome.retry], np.int8), number
    )
    content = pa.table({
        "host": pa.array(np.repeat(names, 3)).dictionary_encode(),
        "outcome": schema.from_codes(outcomes, schema.OUTCOME_NAMES),
        "http_status": pa.array([404, 500, None] * number, pa.int16()),
        "reason": pa.array(["http_404", "http_500", "timeout"] * number).dictionary_encode(),
        "fetched_at": pa.array(np.full(3 * number, at)).cast(schema.TIME),
        "elapsed": pa.array(np.full(3 * number, 40, np.int32)),
        "content_bytes": pa.array(np.full(3 * number, 30_000, np.int32)),
    })  # fmt: skip
    rows = hosts.merge([hosts.of_robots(files), hosts.of_content(content, at)])
    return rows, robotstxt.merge([robotstxt.files_of(files)])


def _pieces(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def _best(work: Callable[[], object]) -> float:
    """CPU seconds, the least of some runs."""
    times = []
    for _ in range(_REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def _measure(name: str, left: pa.Table, right: pa.Table, merge: Callable[..., pa.Table], group: int) -> None:
    rows = left.num_rows + right.num_rows
    whole = _best(lambda: merge([left, right]))
    print(f"| merge {name}, two tables | {rows:,} | {rows / whole / 1e6:.2f} |")
    pairs = list(zip(_pieces(left, group), _pieces(right, group), strict=True))
    piecewise = _best(lambda: [merge(pair) for pair in pairs])
    print(f"| merge {name}, row groups of {group:,} | {rows:,} | {rows / piecewise / 1e6:.2f} |")


def main(number: int) -> None:
    """Print the table."""
    before, files_before = learned(number, 1_000_000)
    after, files_after = learned(number, 2_000_000)
    print("| what | rows | M rows a CPU second |\n|---|---|---|")
    _measure("hosts", before, after, hosts.merge, hosts.HOSTDB.row_group)
    _measure("robots.txt files", files_before, files_after, robotstxt.merge, robotstxt.ROBOTSDB.row_group)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
