"""`make soak`: an engine crawls thousands of hosts for minutes, and the hosts say whether it was polite.

    python -m benchmarks.soak --engine curl --seconds 300 --hosts 5000 --latency 0.05 --delay 0.2

Prints what was seen, and ends with 1 and a line for each rule that was broken:
- no two requests to a host closer than its delay, none at once, none for what robots.txt denies, none before a
  Retry-After is over;
- at least 95 % of the rate that the delays allow, counted over the good hosts alone, with a dead, a mute, a dripping,
  an overloaded (429) and a closed (robots.txt: 503) one among them;
- flat memory: by least squares over the second half, at most --growth MB.

5,000 hosts and 0.2 s allow 25,000 requests a second: more than two cores can serve and ask for. So the first tenth of
the time goes into measuring, without a delay, how many a second engine and site manage together on this machine, and
the run allows --share of that: with a longer delay (--keep hosts) or with fewer hosts (--keep delay). Both figures are
printed. A machine that can do what was asked runs it unscaled.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import engine_run, polite_site
from benchmarks.engine_run import Apart, Work
from jobs.fetching.engines import ENGINES

_TOLERANCE = 0.001
"""Seconds that a gap may fall short by: the clocks of both sides count in this."""
_RATE = 0.95
_CALIBRATION_HOSTS = 1000
_SPARE = 1.2
"""Pages in a host's queue, times what its delay allows: none must run dry."""
_BAD_PAGES = 200


@dataclass(frozen=True)
class Soak:
    """What one run came to."""

    capacity: float
    """Requests a second of engine and site together, without delays."""
    allowed: float
    """Requests a second that the good hosts' delays allow."""
    rates: list[int]
    """Requests of good hosts in each second, start and end left out."""
    growth: float
    """MB over the second half, by least squares."""
    apart: Apart
    seen: dict[str, Any]
    """The site's report."""

    @property
    def rate(self) -> float:
        """Requests a second of good hosts."""
        return sum(self.rates) / len(self.rates) if self.rates else 0.0


def broken(soak: Soak, growth: float) -> list[str]:
    """A line for each rule that was broken; `growth` is what memory may gain in MB."""
    seen, ran = soak.seen, soak.apart.ran
    lines = []
    if seen["shortfall"] > _TOLERANCE:
        lines.append(f"delay: a request came {seen['shortfall'] * 1000:.1f} ms too early")
    if seen["most_at_once"] > 1:
        lines.append(f"threads_per_host: {seen['most_at_once']} requests at once to one host")
    if seen["denied"]:
        lines.append(f"robots.txt: {seen['denied']:,} requests for what it denies")
    if seen["early"]:
        lines.append(f"Retry-After: {seen['early']:,} requests before it was over")
    if soak.rate < _RATE * soak.allowed:
        lines.append(f"rate: {soak.rate / soak.allowed:.1%} of what politeness allows, below {_RATE:.0%}")
    if soak.growth > growth:
        lines.append(f"memory: grew by {soak.growth:.1f} MB in the second half, more than {growth:g}")
    if ran.failed:
        lines.append(f"pages: good ones failed: {ran.failed}")
    if ran.fetched + sum(ran.left.values()) != ran.requests:
        lines.append(f"report: {ran.fetched:,} fetched and {ran.left} left are not {ran.requests:,}")
    return lines


def slope(samples: list[tuple[float, float]]) -> float:
    """What the second half of (seconds, MB) gains from its begin to its end, by least squares; 0 if there is none."""
    half = [(at, size) for at, size in samples if at >= samples[-1][0] / 2] if samples else []
    if len(half) < 3:
        return 0.0
    seconds, sizes = np.array(half).T
    return float(np.polyfit(seconds - seconds[0], sizes, 1)[0] * (seconds[-1] - seconds[0]))


def soak(engine: str, seconds: float, hosts: int, latency: float, delay: float, size: int, share: float,
         keep: str, threads: int) -> Soak:  # fmt: skip
    """Measure the capacity, then run for the rest of `seconds`."""
    settings = [f"fetch.engine={engine}", f"fetch.threads={threads}", "fetch.timeout=5", "fetch.max_seconds=15",
                "fetch.shutdown_seconds=1",
                f"fetch.connections={max(1000, math.ceil(2 * hosts / delay * latency))}"]  # fmt: skip
    calibration = max(seconds / 10, 1.0)
    capacity = _capacity(settings, calibration, hosts, latency, size)
    allowed = _allowed(hosts, delay)
    if allowed > share * capacity:
        if keep == "hosts":
            delay *= allowed / (share * capacity)
        else:
            hosts = max(1, int(hosts * share * capacity / allowed))
        allowed = _allowed(hosts, delay)
    seconds = max(seconds - calibration, 1.0)
    pages = {"*": math.ceil(_SPARE * seconds / delay) + 2} | dict.fromkeys(polite_site.BAD.values(), _BAD_PAGES)
    print(f"{hosts:,} hosts, delay {delay:.3g} s, {latency:g} s latency, pages of {size} bytes, {seconds:.0f} s: "
          f"allowed are {allowed:,.0f} requests a second, {allowed / capacity:.0%} of what engine and site can do "
          f"together ({capacity:,.0f})", flush=True)  # fmt: skip
    with polite_site.watch(hosts, latency, delay, size, bad=True) as site:
        work = Work([*settings, f"fetch.delay={delay}"], port=site.port, hosts=hosts, pages=pages, seconds=seconds)
        apart = engine_run.apart(work)
        seen = site.report()
    start = math.ceil(max(seconds / 10, min(3 * delay, seconds / 3)))
    rates = seen["rates"][start : max(int(seconds) - 1, start + 1)]
    return Soak(capacity, allowed, rates, slope(apart.memory), apart, seen)


def _allowed(hosts: int, delay: float) -> float:
    return sum(1 / polite_site.delay_of(host, delay) for host in range(hosts))


def _capacity(settings: list[str], seconds: float, hosts: int, latency: float, size: int) -> float:
    """Requests a second without delays, in the second half of `seconds`: when all connections are there."""
    hosts = min(hosts, _CALIBRATION_HOSTS)
    most = 30_000 * seconds
    pages = {"*": math.ceil(min(most / hosts, 1 + seconds / latency if latency else math.inf))}
    with polite_site.watch(hosts, latency, 0.0, size) as site:
        work = Work([*settings, "fetch.delay=0"], port=site.port, hosts=hosts, pages=pages, seconds=seconds)
        ran = engine_run.apart(work).ran
        rates = site.report()["rates"]
    half = rates[max(1, len(rates) // 2) : max(2, int(seconds))]
    # In a second or two there is no second that is whole
    return sum(half) / len(half) if seconds > 4 and half else ran.good / max(ran.last_good, 0.1)


def rows(result: Soak) -> list[tuple[str, str]]:
    """What was seen, as a table's rows."""
    seen, gaps, ran = result.seen, result.seen["gaps"], result.apart.ran
    tens = [sum(result.rates[at : at + 10]) / 10 for at in range(0, len(result.rates) - 9, 10)] or [result.rate]
    memory = [size for _, size in result.apart.memory] or [0.0]
    middle = memory[len(memory) // 2]
    return [
        ("requests to good hosts", f"{seen['requests']:,}"),
        ("rate", f"{result.rate:,.0f} a second, {result.rate / result.allowed:.1%} of the allowed"),
        ("slowest / fastest ten seconds", f"{min(tens) / result.allowed:.1%} / {max(tens) / result.allowed:.1%}"),
        ("gaps from start to start, of the delay",
         "none" if not gaps["number"] else
         f"min {gaps['lowest']:.3f}, 1st percentile {gaps['percentile']:.3f}, median {gaps['median']:.3f} ×"),
        ("most requests at once to one host", str(seen["most_at_once"])),
        ("requests for denied paths", str(seen["denied"])),
        ("requests before Retry-After was over", str(seen["early"])),
        ("requests to misbehaving hosts", ", ".join(f"{name} {number}" for name, number in seen["bad"].items())),
        ("their results", ", ".join(f"{name} {number}" for name, number in sorted(ran.bad.items())) or "none"),
        ("memory at half-time, at the end, growth", f"{middle:.0f}, {memory[-1]:.0f}, {result.growth:+.1f} MB"),
        ("CPU of the client", f"{ran.cpu / max(ran.good, 1) * 1000:.3f} ms a page, {ran.cpu / ran.wall:.0%} of a core"),
        ("after the stop", f"{ran.wall:.1f} s in all; left {ran.left}"),
        *(("note", note) for note in ran.notes),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--engine", default="curl" if "curl" in ENGINES else "requests")
    parser.add_argument("--seconds", type=float, default=300.0, help="in all, a tenth of them to measure the capacity")
    parser.add_argument("--hosts", type=int, default=5000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds from start to start")
    parser.add_argument("--bytes", type=int, default=500, help="of a page")
    parser.add_argument("--share", type=float, default=0.6, help="of the capacity that the delays allow at most")
    parser.add_argument("--keep", choices=["hosts", "delay"], default="hosts", help="what is not scaled")
    parser.add_argument("--threads", type=int, default=250, help="requests: fetch.threads")
    parser.add_argument("--growth", type=float, default=8.0, help="MB that memory may gain in the second half")
    parser.add_argument("--small", action="store_true", help="a few seconds on 40 hosts, to see that it runs")
    options = parser.parse_args(arguments)
    if options.small:
        options.seconds, options.hosts, options.latency, options.delay = 3.0, 40, 0.01, 0.5
    result = soak(options.engine, options.seconds, options.hosts, options.latency, options.delay, options.bytes,
                  options.share, options.keep, options.threads)  # fmt: skip
    print("\n| what | seen |\n|---|---|")
    for row in rows(result):
        print("| " + " | ".join(row) + " |")
    lines = broken(result, options.growth)
    print("\n" + ("\n".join(f"soak: FAILED: {line}" for line in lines) or "soak: passed"))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
