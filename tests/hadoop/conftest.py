"""The tests of this directory run on a real cluster. That it cannot be started is a failure, never a skip.

They disturb the cluster that they share, so they run one after the other: scripts/test.sh does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crawldb.filesystem import resolve
from jobs.demo.server import DemoServer
from jobs.demo.site import Site
from jobs.demo.web import demo_site
from tests.hadoop.one_node import ROOT, OneNode
from tests.rounds.conftest import Crawler


@pytest.fixture(scope="session", autouse=True)
def one_node() -> Iterator[OneNode]:
    """The cluster in $COBNUT_TEST_CLUSTER (default: .hadoop), running; stopped afterwards if it did not run before."""
    assert os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1") == "1", "run tests/hadoop without -n: they share a cluster"
    node = OneNode(Path(os.environ.get("COBNUT_TEST_CLUSTER") or ROOT / ".hadoop").resolve())
    ran = node.is_running()
    node.start()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in node.environment().items():
            environment.setenv(name, value)
        yield node
    if not ran:
        node.stop()


def steady_site(port: int) -> Site:
    """The demo site without pages that answer otherwise the second time: what is lost is asked for again here."""
    site = demo_site(port)
    return replace(site, pages={url: replace(page, recovered=None) for url, page in site.pages.items()})


@pytest.fixture
def crawler(tmp_path: Path) -> Iterator[Crawler]:
    """Commands with the cluster's environment, against a site."""
    with DemoServer(steady_site) as server:
        yield Crawler(server, tmp_path)


@pytest.fixture
def on_hdfs(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Names crawl directories on HDFS, which are removed afterwards."""
    fs, root = resolve(f"hdfs:///tests/{tmp_path.parent.name}-{tmp_path.name}")
    yield lambda name: f"{root}/{name}"
    fs.remove(root)
