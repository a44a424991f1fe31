"""The benchmarks' web serves what it says, and does not outlive its use."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from urllib.parse import urlsplit

import lxml.html
import pytest

from benchmarks.bench_site import BenchSite, main, serve
from crawldb.urls import canonicalize

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_page_is_served_with_the_size_and_links_asked_for() -> None:
    with serve(hosts=7, pages=150, size=20_000, links=40) as served:
        seeds = served.seeds.read_text().split()
        assert len(set(seeds)) == 150
        assert len({urlsplit(seed).hostname for seed in seeds}) == 7
        sizes, foreign, connections = [], 0, {}
        for seed in seeds:
            parts = urlsplit(seed)
            assert parts.port == served.port
            connection = connections.setdefault(
                parts.hostname, http.client.HTTPConnection(parts.hostname or "", served.port)
            )
            connection.request("GET", parts.path)
            response = connection.getresponse()
            body = response.read()
            assert (response.status, response.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
            sizes.append(len(body))
            links = [canonicalize(link.get("href"), seed) for link in lxml.html.document_fromstring(body).iter("a")]
            assert len(links) == 40
            assert set(links) <= set(seeds)
            foreign += sum(urlsplit(link or "").hostname != parts.hostname for link in links)
        connection.request("GET", "/robots.txt")
        response = connection.getresponse()
        assert (response.status, response.read()) == (404, b"not found\n")
        for connection in connections.values():
            connection.close()
        assert 0.9 < mean(sizes) / 20_000 < 1.1
        assert 0 < foreign < 0.2 * 40 * 150
    assert served.process.returncode is not None


def test_the_same_arguments_make_the_same_site() -> None:
    one, two = (BenchSite(3, 20, 5_000, 15, 80) for _ in range(2))
    assert one.by_host == two.by_host
    assert [len(pages) for pages in one.by_host] == [7, 7, 6]
    assert all(b"".join(pieces).count(b"<a ") == 15 for pages in one.by_host for pieces in pages.values())


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(hosts=1, pages=1) as served:
        assert main(["--hosts=1", "--pages=1", f"--port={served.port}"]) == 1
        assert f"cannot listen on 127.20.0.1:{served.port}" in capsys.readouterr().err


def test_it_ends_after_its_time(tmp_path: Path) -> None:
    assert main(["--hosts=2", "--pages=4", "--seconds=0", f"--seeds={tmp_path / 'seeds'}"]) == 0
    assert len((tmp_path / "seeds").read_text().split()) == 4


def test_it_ends_when_its_parent_does(tmp_path: Path) -> None:
    """The parent starts it, tells its process id and is gone."""
    start = ("import subprocess, sys; child = subprocess.Popen([sys.executable, '-m', 'benchmarks.bench_site', '--hosts=1', "
             f"'--pages=1', '--seeds={tmp_path / 'seeds'}'], stdout=subprocess.PIPE); child.stdout.readline(); "
             "print(child.pid); child.returncode = 0")  # fmt: skip
    parent = subprocess.run([sys.executable, "-c", start], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    child = int(parent.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # a zombie that nobody waits for has ended too
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
