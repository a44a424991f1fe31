"""What it costs to parse pages in a process beside the task: `python -m benchmarks.isolation`.

CPU of this process and its children for the same 2,000 pages of 30 KB with 40 links, parsed here and there in turns.
"""

from __future__ import annotations

import resource

import pyarrow as pa

from benchmarks.bench_site import BenchSite
from crawldb import schema
from crawldb.settings import load
from jobs.base import _collect_less
from jobs.parse import isolated, parse_chunk
from jobs.parsing import PageParser

PAGES = 2_000
TURNS = 7


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


def main() -> None:
    """Print both, and their ratio."""
    _collect_less()
    table = content()
    settings = load(None, ["http.agent_name=cobnut-bench"])
    took: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * TURNS):
        start = cpu()
        parser = PageParser(settings)
        isolation = isolated(parser, settings) if turn % 2 else None
        if isolation:
            isolation.start()
        parse_chunk(table, parser, isolation.map if isolation else None)
        if isolation:
            isolation.close()
        took[isolation is not None].append((cpu() - start) / PAGES * 1000)
    here, there = min(took[False]), min(took[True])
    ratios = sorted(apart / together for together, apart in zip(took[False], took[True], strict=True))
    print(f"in the task: {here:.3f} CPU ms a page (best of {TURNS})")
    print(
        f"beside it:   {there:.3f} CPU ms a page; {there / here:.3f} times, median of the turns {ratios[TURNS // 2]:.3f}"
    )


if __name__ == "__main__":
    main()
