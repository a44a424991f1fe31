"""The tests of this directory run on a real cluster. That it cannot be started is a failure, never a skip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crawldb.filesystem import resolve
from jobs.demo.server import DemoServer
from tests.hadoop.one_node import ROOT, OneNode
from tests.rounds.conftest import Crawler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the cluster is slow, and on one worker, for all share it."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("hadoop"))


@pytest.fixture(scope="session", autouse=True)
def one_node() -> Iterator[OneNode]:
    """The cluster in $COBNUT_TEST_CLUSTER (default: .hadoop), running; stopped afterwards if it did not run before."""
    node = OneNode(Path(os.environ.get("COBNUT_TEST_CLUSTER") or ROOT / ".hadoop").resolve())
    ran = node.is_running()
    node.start()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in node.environment().items():
            environment.setenv(name, value)
        yield node
    if not ran:
        node.stop()


@pytest.fixture
def crawler(tmp_path: Path) -> Iterator[Crawler]:
    """Commands with the cluster's environment, against the demo site."""
    with DemoServer() as server:
        yield Crawler(server, tmp_path)


@pytest.fixture
def on_hdfs(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Names crawl directories on HDFS, which are removed afterwards."""
    fs, root = resolve(f"hdfs:///tests/{tmp_path.parent.name}-{tmp_path.name}")
    yield lambda name: f"{root}/{name}"
    fs.remove(root)
