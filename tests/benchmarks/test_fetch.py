"""The measurements of fetching run, small, for every engine; the bare loops fetch every byte."""

from __future__ import annotations

import json

import pytest

from benchmarks import bare_clients, bench_site, fetch
from jobs.fetching.engines import ENGINES


@pytest.mark.parametrize("library", bare_clients.LOOPS)
def test_a_bare_loop_fetches_every_page(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    with bench_site.serve(hosts=7, pages=40, size=20_000) as site:
        bare_clients.main([library, str(site.seeds)])
    # bench_site makes the same site of the same arguments, but its links name the port
    same = bench_site.BenchSite(7, 40, 20_000, 40, site.port)
    bodies = [b"".join(pieces[1:]) for pages in same.by_host for pieces in pages.values()]
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == sum(map(len, bodies))
    assert said["cpu"] > 0


@pytest.mark.slow
def test_the_table_of_all_engines(capsys: pytest.CaptureFixture[str]) -> None:
    fetch.main(["--small", "--engine", *sorted(set(ENGINES) - {"browser"})])
    said = capsys.readouterr().out
    for engine in set(ENGINES) - {"browser"}:
        for what in ("bare client loop", "the engine alone", "engine / bare loop", "fetch, all in", "last good page"):
            assert f"| {engine}: {what}" in said


def test_ratios_are_of_rounds_side_by_side() -> None:
    assert fetch._ratio([2.0, 6.0, 4.0], [1.0, 3.0, 4.0]) == "2.00 / 2.00 ×"
