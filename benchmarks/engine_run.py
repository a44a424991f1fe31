"""Runs a fetch engine by itself in a process of its own: requests in, results counted and dropped.

Owns the requests (of a seeds file, or of the polite site's hosts) and the count of what came back. Prints one line of
JSON, for `apart`, which starts it and watches its memory. No Parquet, no mrjob, no robots.txt of earlier rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import polite_site
from crawldb import settings
from crawldb.schema import FetchOutcome
from crawldb.urls import host_of
from jobs.fetching import FetchRequest, FetchResult, engine

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ["http.agent_name=cobnut-bench", "fetch.allow_private_addresses=true"]

_PRIVATE = 20
"""Every so many pages of a polite site's host are one that its robots.txt denies."""
_SAMPLE = 0.25
_MEGABYTE = 1 << 20


@dataclass
class Work:
    """What to fetch, and until when."""

    settings: list[str] = field(default_factory=list)
    """KEY=VALUE, beside SETTINGS."""
    seeds: str = ""
    """A file with a URL a line; or else, of a polite site:"""
    port: int = 0
    hosts: int = 0
    pages: dict[str, int] = field(default_factory=dict)
    """Allowed pages of a host, by its address; `*`: of all good ones."""
    seconds: float = 3600.0
    """After which the engine is stopped."""
    until_good: bool = False
    """True: it is stopped when the last page of a good host is there."""


@dataclass
class Ran:
    """What came of it."""

    cpu: float
    """Seconds of the engine's call alone, all threads."""
    wall: float
    began: float
    """time.monotonic(), which all processes of a machine share."""
    requests: int
    fetched: int
    left: dict[str, int]
    robots_fetched: int
    good: int
    """Pages of good hosts that came whole."""
    failed: dict[str, int]
    """By reason: pages of good hosts that neither came nor were denied by robots.txt."""
    bad: dict[str, int]
    """Results of misbehaving hosts, by host and reason."""
    last_good: float
    """Seconds from the beginning to the last good page."""
    notes: list[str]


def run(work: Work) -> Ran:
    """Do it in this process."""
    options = settings.load(overrides=[*SETTINGS, *work.settings])
    requests = list(_seeds(Path(work.seeds)) if work.seeds else _polite(work))
    names = {place: name for name, place in polite_site.BAD.items()}
    wanted = sum(request.host not in names and "/private/" not in request.url for request in requests)
    stop = threading.Event()
    failed: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    good, last_good = 0, 0.0

    def keep(result: FetchResult) -> None:
        nonlocal good, last_good
        if result.request.host in names:
            bad[f"{names[result.request.host]} {result.reason or result.truncated}"] += 1
        elif result.outcome is FetchOutcome.success and result.truncated is None:
            good, last_good = good + 1, time.monotonic()
            if work.until_good and good == wanted:
                stop.set()
        elif result.reason != "robots_denied":
            failed[result.reason or "truncated"] += 1

    fetch = engine(options)
    timer = threading.Timer(work.seconds, stop.set)
    timer.daemon = True
    timer.start()
    began, cpu = time.monotonic(), time.process_time()
    report = fetch(requests, options, keep, stop, ())
    cpu, wall = time.process_time() - cpu, time.monotonic() - began
    timer.cancel()
    return Ran(cpu, wall, began, len(requests), report.fetched, dict(report.left), report.robots_fetched,
               good, dict(failed), dict(bad), max(0.0, last_good - began), report.notes)  # fmt: skip


def _seeds(file: Path) -> Iterator[FetchRequest]:
    for number, url in enumerate(file.read_text().split()):
        yield _request(url, host_of(url), number)


def _polite(work: Work) -> Iterator[FetchRequest]:
    """Hosts taking turns, as a fetchlist has them."""
    places = [polite_site.address(host) for host in range(work.hosts)]
    places += [place for place in work.pages if place != "*"]
    left = {place: work.pages.get(place, work.pages.get("*", 0)) for place in places}
    number = 0
    for page in range(max(left.values(), default=0)):
        for place in places:
            if page < left[place]:
                if page % _PRIVATE == _PRIVATE - 1:
                    yield _request(f"http://{place}:{work.port}/private/{page}", place, number)
                    number += 1
                yield _request(f"http://{place}:{work.port}/page/{page}", place, number)
                number += 1


def _request(url: str, host: str, number: int) -> FetchRequest:
    return FetchRequest(number.to_bytes(20, "big"), url, None, None, None, host, None, None, number)


@dataclass(frozen=True)
class Apart:
    """A run in a process of its own."""

    ran: Ran
    cpu: float
    """Seconds of the whole process."""
    memory: list[tuple[float, float]]
    """(seconds since the engine began, MB resident), to its end."""


def apart(work: Work) -> Apart:
    """`run` in a process of its own. RuntimeError if it fails."""
    command = [sys.executable, "-m", "benchmarks.engine_run", json.dumps(asdict(work))]
    samples: list[tuple[float, float]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        reader = threading.Thread(target=lambda out: said.append(out.read()), args=(process.stdout,))
        reader.start()
        while reader.is_alive():
            resident = _resident(process.pid)
            if resident:
                samples.append((time.monotonic(), resident))
            reader.join(_SAMPLE)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    ran = Ran(**json.loads(said[0]))
    end = ran.began + ran.wall
    memory = [(at - ran.began, resident) for at, resident in samples if ran.began <= at <= end]
    return Apart(ran, usage.ru_utime + usage.ru_stime, memory)


def _resident(process: int) -> float:
    """MB of a process; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE


def main(arguments: list[str] | None = None) -> None:
    """See the module: the one argument is a Work in JSON."""
    (text,) = sys.argv[1:] if arguments is None else arguments
    print(json.dumps(asdict(run(Work(**json.loads(text))))))


if __name__ == "__main__":
    main()
