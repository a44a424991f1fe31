"""What it costs to parse pages in a process beside the task: `python -m benchmarks.isolation`.

CPU of this process and its children for the same 2,000 pages of 30 KB with 40 links, parsed here and there in turns.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import pyarrow as pa

from benchmarks.bench_site import BenchSite
from crawldb import schema
from crawldb.settings import load
from jobs.base import _collect_less
from jobs.parse import isolated, parse_chunk
from jobs.parsing import PageParser

PAGES = 2_000
TURNS = 5


def content() -> pa.Table:
    """Rows of schema.CONTENT."""
    site = BenchSite(hosts=50, pages=PAGES, size=30_000, links=40, port=80)
    rows = []
    for number, url in enumerate(site.seeds()):
        host = url.split("/")[2]
        _, *pieces = site.by_host[number % site.hosts]["/".join(["", *url.split("/")[3:]]).encode()]
        rows.append({
            "fingerprint": number.to_bytes(20, "big"), "url": url, "host": host, "depth": 1, "outcome": "success",
            "content": b"".join(pieces),
            "response_headers": [{"name": "Content-Type", "value": "text/html; charset=utf-8"}],
        })  # fmt: skip
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema.CONTENT]
    return pa.table(columns, schema=schema.CONTENT)


def cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def turn(apart: bool) -> float:
    """CPU ms a page in this process, which has parsed nothing before: memory that it had touched would be copied."""
    _collect_less()
    settings = load(None, ["http.agent_name=cobnut-bench"])
    parser = PageParser(settings)
    isolation = isolated(parser, settings) if apart else None
    if isolation:
        isolation.start()
    table = content()
    start = cpu()
    parse_chunk(table, parser, isolation.map if isolation else None)
    if isolation:
        isolation.close()
    return (cpu() - start) / PAGES * 1000


def main() -> None:
    """Print both, and their ratio."""
    if sys.argv[1:]:
        print(turn(sys.argv[1] == "beside"))
        return
    took: dict[str, list[float]] = {"within": [], "beside": []}
    for _ in range(TURNS):
        for where, figures in took.items():
            run = subprocess.run(
                [sys.executable, "-m", "benchmarks.isolation", where], stdout=subprocess.PIPE, check=True
            )
            figures.append(float(run.stdout))
    here, there = min(took["within"]), min(took["beside"])
    ratios = sorted(apart / together for together, apart in zip(*took.values(), strict=True))
    print(f"in the task: {here:.3f} CPU ms a page (best of {TURNS})")
    print(
        f"beside it:   {there:.3f} CPU ms a page; {there / here:.3f} times, median of the turns {ratios[TURNS // 2]:.3f}"
    )


if __name__ == "__main__":
    main()
