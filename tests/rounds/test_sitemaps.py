"""A crawl that reads sitemaps, and one that dies while it does: the same crawldb in the end."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from crawldb.sitemaps import SITEMAPDB
from crawldb.store import Store
from tests.crawldb import killed_writers
from tests.jobs.fetching.conftest import Server, answer
from tests.rounds.conftest import ROOT, TIMES, Crawler, environment, rows

WHEN = (*TIMES, "linked_at")
HOSTS = ("127.0.9.1", "127.0.9.2", "127.0.9.3")


@pytest.fixture
def server() -> Iterator[Server]:
    """Three hosts, each with an index of two sitemaps."""
    server = Server()
    for host in HOSTS:
        url = f"{server.url('/', host)}"
        server.on("/robots.txt", answer(200, f"Sitemap: {url}index.xml\n".encode()), host=host)
        server.on("/", answer(200, b"<p>hello</p>", "Content-Type: text/html"), host=host)
        names = "".join(f"<sitemap><loc>{url}{n}.xml</loc></sitemap>" for n in range(2))
        server.on("/index.xml", answer(200, f"<sitemapindex>{names}</sitemapindex>".encode()), host=host)
        for n in range(2):
            listed = "".join(f"<url><loc>{url}page-{m}</loc></url>" for m in range(n, n + 5))
            server.on(f"/{n}.xml", answer(200, f"<urlset>{listed}</urlset>".encode()), host=host)
    yield server
    server.close()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_nothing_happened(crawler: Crawler, server: Server) -> None:
    crawler.seeds.write_text("".join(server.url("/", host) + "\n" for host in HOSTS))
    begun = crawler.crawl("begun", rounds=1)
    undisturbed, killed = crawler.directory / "undisturbed", crawler.directory / "killed"
    shutil.copytree(begun, undisturbed)
    crawler.run("sitemaps", str(undisturbed))
    wanted = rows(undisturbed, WHEN)
    assert len(wanted) == len(HOSTS) * 7
    shutil.copytree(begun, killed)
    moments = random.Random(20261124)
    for _ in range(3):
        command = crawler.command("sitemaps", "--due", str(killed), program="tests.rounds.killed")
        life = subprocess.run(
            command, cwd=ROOT, env={**environment(), "COBNUT_DIES_AT": str(moments.randint(1, 24))}, check=False,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert life.returncode in (0, -signal.SIGKILL), life.stderr
    crawler.run("sitemaps", "--due", str(killed))
    assert rows(killed, WHEN) == wanted
    said = crawler.run("sitemaps", "--due", str(killed))
    assert "none is due" in said
    read = [
        row for table in Store(str(killed), SITEMAPDB).snapshot().scan(["url", "reason"]) for row in table.to_pylist()
    ]
    assert len(read) == len(HOSTS) * 3
    assert {row["reason"] for row in read} == {None}
    for _ in range(2):  # the next writers remove what was left
        crawler.run("inject", str(killed), str(crawler.seeds))
    found = [name for name in killed_writers.garbage(str(killed)) if not name.endswith("/.lock")]
    assert [name for name in found if "sitemapdb" not in name] == []


@pytest.mark.slow
def test_a_crawl_that_reads_sitemaps_comes_to_pages_that_nothing_links_to(crawler: Crawler, server: Server) -> None:
    crawler.seeds.write_text("".join(server.url("/", host) + "\n" for host in HOSTS))
    for host in HOSTS:
        for number in range(6):
            server.on(f"/page-{number}", answer(200, b"<p>alone</p>", "Content-Type: text/html"), host=host)
    path = crawler.crawl("crawl", "--sitemaps", "once", rounds=3)
    found = rows(path)
    assert [found[server.url(f"/page-{number}", host)]["status"] for host in HOSTS for number in range(6)] == [
        "fetched"
    ] * 18
    assert len(server.asked("/index.xml")) == len(HOSTS)
