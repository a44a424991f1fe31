"""`make bench`: runs every measurement and prints the table of benchmarks/README.md.

Each figure is of a whole process, interpreter start included. The web that is crawled is served by another process,
which is not counted. `python -m benchmarks --small` does all of it at a hundredth of the size, to see that it runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from benchmarks import bench_site, crawldbs, hdfs
from benchmarks.measure import Cost, cobnut, cost
from crawldb.store import Store, now_ms

SETTINGS = ["--set", "http.agent_name=cobnut-bench", "--set", "fetch.delay=0", "--set", "fetch.max_failures_per_host=0",
            "--set", "fetch.allow_private_addresses=true"]  # fmt: skip


class Bench:
    """The measurements, their files in a directory that is gone afterwards."""

    def __init__(self, directory: Path, scale: int) -> None:
        self.directory, self.scale = directory, scale
        self.log = directory / "log"
        self.peak = 0.0

    def run(self, *arguments: str) -> Cost:
        """Cost of a verb."""
        return cost(cobnut(*arguments), self.log)

    def crawl(self, name: str) -> str:
        """A crawl directory."""
        return str(self.directory / name)

    def one_url(self) -> Iterator[tuple[str, str, str, str]]:
        """The fixed cost of a round."""
        with bench_site.serve(hosts=1, pages=1) as site:
            self.run("inject", *SETTINGS, self.crawl("one"), str(site.seeds))
            took = self.run("crawl", *SETTINGS, self.crawl("one"), "1")
        yield "round on 1 URL, four jobs in one process, wall", f"{took.wall:.1f} s", "2 s", "24 s"

    def inject(self) -> Iterator[tuple[str, str, str, str]]:
        """Seeds, and what a row takes on disk."""
        rows = 1_000_000 // self.scale
        seeds = self.directory / "seeds.txt"
        crawldbs.seeds_file(seeds, rows)
        took = self.run("inject", self.crawl("inject"), str(seeds))
        yield f"inject {rows:,} URLs", f"{took.cpu:.1f} CPU s", "8", "22"
        self.run("compact", self.crawl("inject"))
        yield (
            "crawldb after compaction, injected rows",
            f"{_bytes_a_row(self.crawl('inject')):.1f} bytes a row",
            "50",
            "67",
        )

    def store(self) -> Iterator[tuple[str, str, str, str]]:
        """What reads and rewrites a large crawldb."""
        rows = 5_000_000 // self.scale
        for name, size in (("large", rows), ("middle", rows // 5)):
            arguments = [self.crawl(name), str(size), str(now_ms() - crawldbs.DAY), "0.2"]
            cost([sys.executable, "-m", "benchmarks.crawldbs", *arguments], self.log)
        yield "crawldb, a fifth of the rows fetched", f"{_bytes_a_row(self.crawl('large')):.1f} bytes a row", "50", ""
        took = self.noted("generate", "--top", "10000", self.crawl("large"))
        shutil.rmtree(self.directory / "large" / "segments")
        yield f"generate top 10,000 of {rows:,}", f"{took.cpu:.1f} CPU s", "3", "63"
        took = self.noted("generate", "--top", "10000", "--set", "generate.max_per_host=5", self.crawl("large"))
        shutil.rmtree(self.directory / "large" / "segments")
        yield "the same, at most 5 of a host", f"{took.cpu:.1f} CPU s", "", ""
        took = self.noted("dump", self.crawl("large"), "--stats")
        yield f"dump --stats of {rows:,}", f"{took.cpu:.1f} CPU s", "3", "33"

    def rounds(self) -> Iterator[tuple[str, str, str, str]]:
        """A round of many pages, applied to crawldbs of three sizes, and the compaction after it."""
        pages, hosts = 10_000 // self.scale, max(200 // self.scale, 2)
        small = self.crawl("small")
        with bench_site.serve(hosts=hosts, pages=pages) as site:
            self.run("inject", *SETTINGS, small, str(site.seeds))
            self.run("generate", *SETTINGS, small)
            took = self.run("fetch", *SETTINGS, small)
        yield f"fetch {pages:,} pages of 30 KB, {hosts} hosts, no delay", _per_page(took, pages), "1.2", "4.5"
        took = self.run("parse", *SETTINGS, small)
        yield "parse them, 40 links a page", _per_page(took, pages), "1.3", "3.9"
        segments = self.directory / "small" / "segments"
        figures = []
        for name in ("small", "middle", "large"):
            if name != "small":
                shutil.copytree(segments, self.directory / name / "segments", ignore=shutil.ignore_patterns(".lock"))
            figures.append(self.noted("updatedb", *SETTINGS, self.crawl(name)).cpu)
        sizes = f"{pages:,}, {5_000_000 // self.scale // 5:,} and {5_000_000 // self.scale:,} rows"
        yield (
            f"updatedb of that segment into {sizes}",
            " / ".join(f"{f:.1f}" for f in figures) + " CPU s",
            "2",
            "9 / 12 / 26",
        )
        yield "the slowest of the three beside the fastest", f"{max(figures) / min(figures):.2f} ×", "1.2", "2.9"
        took = self.noted("compact", self.crawl("large"))
        yield "compact it all", f"{took.cpu:.1f} CPU s", "8", ""
        yield "peak memory of any job at the largest size", f"{self.peak:.0f} MB", "700", "1,300–3,000"

    def noted(self, *arguments: str) -> Cost:
        """`run`, its peak memory remembered."""
        took = self.run(*arguments)
        self.peak = max(self.peak, took.peak)
        return took


def _per_page(took: Cost, pages: int) -> str:
    return f"{took.cpu / pages * 1000:.2f} CPU ms a page"


def _bytes_a_row(crawl_dir: str) -> float:
    snapshot = Store(crawl_dir).snapshot()
    return snapshot.bytes_on_disk / snapshot.rows


@contextmanager
def _directory(parent: str | None) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cobnut-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a hundredth of every size")
    parser.add_argument("--directory", help="where the files go meanwhile (about 2 GB)")
    parser.add_argument("--hdfs", metavar="URI", help="a directory on a running cluster, to measure HDFS too")
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}\n"
    )
    print("| what | here | at most | Nutch 1.22 |\n|---|---|---|---|")
    with _directory(options.directory) as directory:
        bench = Bench(directory, 100 if options.small else 1)
        for measurement in (bench.one_url, bench.inject, bench.store, bench.rounds):
            for row in measurement():
                print("| " + " | ".join(row) + " |", flush=True)
        for row in hdfs.measure(directory, options.hdfs, bench.scale) if options.hdfs else ():
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
