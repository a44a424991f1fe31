"""What fetching costs, layer by layer: `python -m benchmarks.fetch [--engine NAME …]` prints a table.

For each engine, in turns: the bare client loop of its library, the engine alone (its results dropped), and the whole
`cobnut fetch` to committed Parquet; each in a process of its own, some rounds of it, best and median. The web that is
crawled is served by another process, which is not counted. Then, on a web of 1,000 hosts, how much later the last
good page comes when a dead and a dripping host are among them.

Bare loop and engine are measured without the start of Python and imports, `cobnut fetch` with them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import bare_clients, bench_site, engine_run, polite_site
from benchmarks.measure import ROOT, cobnut, cost
from jobs.fetching.engines import ENGINES

GOALS = {"requests": 1.2, "curl": 0.35}
"""CPU ms a page at most, all in, by engine."""
GOAL_OF_ENGINE = 1.3
"""Times the bare loop of its library, at most."""
_MANY = 1000
"""Pages from which it is worth knowing what a fetch of one takes."""
_NO_DELAY = ["fetch.delay=0", "fetch.max_failures_per_host=0"]

Row = tuple[str, str, str]
"""What, figure, goal."""


def layers(engines: Sequence[str], hosts: int, pages: int, size: int, rounds: int) -> Iterator[Row]:
    """The cost of a page in each layer, in CPU ms."""
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="cobnut-bench-") as name:
        directory = Path(name)
        with bench_site.serve(hosts, pages, size) as site, bench_site.serve(1, 1) as one:
            for number in range(rounds):
                for engine in engines:
                    measured = {
                        "bare": _bare(engine, site.seeds),
                        "engine": _engine(engine, site.seeds, pages),
                        "whole": _whole(engine, site.seeds, directory, f"{engine}-{number}"),
                    }
                    if number == 0 and pages >= _MANY:  # it hardly varies
                        measured["start"] = _whole(engine, one.seeds, directory, f"{engine}-one")
                    for layer, seconds in measured.items():
                        taken.setdefault((engine, layer), []).append(seconds / pages * 1000)
    for engine in engines:
        yield from _rows(engine, {layer: figures for (name, layer), figures in taken.items() if name == engine}, pages)


def _rows(engine: str, taken: dict[str, list[float]], pages: int) -> Iterator[Row]:
    goal = GOALS.get(engine)
    yield f"{engine}: bare client loop", _figure(taken["bare"]), ""
    yield f"{engine}: the engine alone", _figure(taken["engine"]), ""
    yield f"{engine}: engine / bare loop", _ratio(taken["engine"], taken["bare"]), f"{GOAL_OF_ENGINE} ×"
    yield f"{engine}: fetch, all in", _figure(taken["whole"]), f"{goal} ms" if goal else ""
    yield f"{engine}: all in / bare loop", _ratio(taken["whole"], taken["bare"]), ""
    if "start" in taken:
        yield f"{engine}: of it to start and end a fetch of one page ({pages:,}th part)", _figure(taken["start"]), ""


def _figure(taken: list[float]) -> str:
    return f"{min(taken):.3f} / {statistics.median(taken):.3f} CPU ms a page"


def _ratio(upper: list[float], lower: list[float]) -> str:
    """Of the best, and the median of the rounds' own: what ran side by side met the same machine."""
    pairs = statistics.median(above / below for above, below in zip(upper, lower, strict=True))
    return f"{min(upper) / min(lower):.2f} / {pairs:.2f} ×"


def _bare(engine: str, seeds: Path) -> float:
    library = engine if engine in bare_clients.LOOPS else "curl"  # the browser engine fetches with it
    command = [sys.executable, "-m", "benchmarks.bare_clients", library, str(seeds)]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(json.loads(said)["cpu"])


def _engine(engine: str, seeds: Path, pages: int) -> float:
    ran = engine_run.apart(engine_run.Work([f"fetch.engine={engine}", *_NO_DELAY], seeds=str(seeds))).ran
    if ran.good != pages:
        raise RuntimeError(f"{engine}: {ran.good:,} of {pages:,} pages came: {ran.failed or ran.left}")
    return ran.cpu


def _whole(engine: str, seeds: Path, directory: Path, name: str) -> float:
    settings = [f"fetch.engine={engine}", *_NO_DELAY, *engine_run.SETTINGS]
    options = [word for setting in settings for word in ("--set", setting)]
    crawl, log = str(directory / name), directory / "log"
    cost(cobnut("inject", *options, crawl, str(seeds)), log)
    cost(cobnut("generate", *options, crawl), log)
    return cost(cobnut("fetch", *options, crawl), log).cpu


def bad_hosts(engine: str, hosts: int, pages: int, rounds: int, patience: float) -> Iterator[Row]:
    """When the last good page comes, without and with a dead and a dripping host among the others."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    settings = [f"fetch.engine={engine}", *_NO_DELAY, f"fetch.timeout={patience}", f"fetch.max_seconds={patience}",
                "fetch.shutdown_seconds=0"]  # fmt: skip
    for number in range(rounds):
        for bad in (False, True) if number % 2 else (True, False):
            wanted = {"*": pages}
            if bad:
                wanted |= {polite_site.BAD[name]: pages for name in ("dead", "drip")}
            with polite_site.watch(hosts, latency=0.02, delay=0, size=5000, bad=bad) as site:
                work = engine_run.Work(settings, port=site.port, hosts=hosts, pages=wanted, until_good=True)
                ran = engine_run.apart(work).ran
            if ran.good != hosts * pages:
                raise RuntimeError(f"{engine}: {ran.good:,} of {hosts * pages:,} pages came: {ran.failed or ran.left}")
            taken[bad].append(ran.last_good)
    what = f"{engine}: last good page of {hosts:,} hosts, with / without a dead and a dripping one"
    yield what, f"{min(taken[True]):.2f} / {min(taken[False]):.2f} s, {_ratio(taken[True], taken[False])}", "1.05 ×"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fetch", description=__doc__)
    parser.add_argument("--engine", nargs="+", default=list(ENGINES), metavar="NAME", help="which (default: all)")
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=30_000, help="of a page")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a hundredth of it, once, to see that it runs")
    options = parser.parse_args(arguments)
    if options.small:
        options.pages, options.hosts, options.rounds = 100, 4, 1
    print("| what | best / median | at most |\n|---|---|---|")
    rows = layers(options.engine, options.hosts, options.pages, options.bytes, options.rounds)
    many, each, patience = (20, 5, 1.0) if options.small else (1000, 10, 5.0)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    for engine in options.engine:
        for row in bad_hosts(engine, many, each, options.rounds, patience):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
