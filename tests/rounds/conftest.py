"""Whole rounds against the demo site: how to run them, and how to compare what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb.schema import STATE
from crawldb.store import Store
from jobs.demo.server import DemoServer

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("due_at", "fetched_at", "modified_at", "discovered_at")
"""Columns that differ between two crawls of the same site."""
ROUNDS = 3


class Crawler:
    """Runs commands as a user does, in processes of their own, against one server."""

    def __init__(self, server: DemoServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.seeds = directory / "seeds.txt"
        self.seeds.write_text("\n".join(server.site.seeds()) + "\n")

    def command(self, verb: str, *arguments: str, delay: float = 0, program: str = "jobs.cli") -> list[str]:
        """The command line of a verb."""
        settings = ["--set", "http.agent_name=cobnut-test", "--set", f"fetch.delay={delay}",
                    "--set", "fetch.allow_private_addresses=true"]  # fmt: skip
        return [sys.executable, "-m", program, verb, *settings, *arguments]

    def run(self, verb: str, *arguments: str, code: int = 0, **options: Any) -> str:
        """Run a verb to its end, which must have this exit code; its stderr."""
        done = subprocess.run(
            self.command(verb, *arguments, **options), cwd=ROOT, env=environment(), text=True, capture_output=True,
            check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        unexpected = [line for line in done.stderr.splitlines() if line.startswith(("nanobind", " - leaked"))]
        assert unexpected == []  # an extension that complains at the exit about objects we kept from it
        return done.stderr

    def run_for_error(self, verb: str, *arguments: str) -> str:
        """Run a verb that fails in a way that may take several lines to tell; its stderr."""
        done = subprocess.run(
            self.command(verb, *arguments), cwd=ROOT, env=environment(), text=True, capture_output=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        return done.stderr

    def crawl(self, name: str, *arguments: str, rounds: int = ROUNDS, **options: Any) -> Path:
        """A whole crawl from the seeds."""
        path = self.directory / name
        self.run("crawl", "-s", str(self.seeds), *arguments, str(path), str(rounds), **options)
        return path

    def pages_requested(self) -> list[str]:
        """Every URL the server was asked for, but robots.txt, in order."""
        port = self.server.site.port
        return [f"http://{r.host}:{port}{r.path}" for r in self.server.requests if r.path != "/robots.txt"]


def environment() -> dict[str, str]:
    """The tests' environment, with the checkout in front of everything."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def rows(crawl_dir: Path | str, without: tuple[str, ...] = TIMES) -> dict[str, dict[str, Any]]:
    """The crawldb by URL, without the columns that hold times."""
    columns = [name for name in STATE.names if name not in without]
    state = Store(str(crawl_dir)).snapshot().scan(columns)
    return {row["url"]: row for table in state for row in table.to_pylist()}


@pytest.fixture
def crawler(tmp_path: Path) -> Iterator[Crawler]:
    with DemoServer() as server:
        yield Crawler(server, tmp_path)
