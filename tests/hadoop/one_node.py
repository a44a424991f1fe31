"""A real one-node cluster for the tests in this directory, and how to disturb it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crawldb.hadoop_conf import HadoopConf

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/hadoop-one-node.sh"
UNFINISHED = ("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING")


class OneNode:
    """The cluster of scripts/hadoop-one-node.sh in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def is_running(self) -> bool:
        """True if all of it runs."""
        return subprocess.run([SCRIPT, "status", self.directory], capture_output=True, check=False).returncode == 0

    def start(self) -> None:
        """Start what does not run."""
        done = subprocess.run([SCRIPT, "start", self.directory], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"no cluster for the tests:\n{done.stderr}\n{done.stdout}"

    def stop(self) -> None:
        """Stop all of it."""
        subprocess.run([SCRIPT, "stop", self.directory], check=True, capture_output=True)

    def environment(self) -> dict[str, str]:
        """What its `env` exports."""
        script = f'eval "$({shlex.quote(str(SCRIPT))} env {shlex.quote(str(self.directory))})"; env -0'
        listed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        found = dict(line.split("=", 1) for line in listed.split("\0") if "=" in line)
        return {name: found[name] for name in ("HADOOP_HOME", "HADOOP_CONF_DIR", "PATH")}

    def kill(self, daemon: str) -> None:
        """kill -9 one of its daemons: namenode, datanode, resourcemanager, nodemanager, historyserver."""
        os.kill(int((self.directory / "run" / f"{daemon}.pid").read_text()), signal.SIGKILL)

    def run(self, command: str, *arguments: str) -> str:
        """Run `hadoop` or `hdfs`; its stdout."""
        return subprocess.run(
            [self.directory / "bin" / command, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def applications(self, *states: str) -> list[dict[str, Any]]:
        """Our applications in these states, as the ResourceManager tells."""
        url = f"{next(iter(HadoopConf.load().resource_managers()))}/ws/v1/cluster/apps?states={','.join(states)}"
        with urllib.request.urlopen(url) as answer:
            found: list[dict[str, Any]] = (json.load(answer)["apps"] or {}).get("app", [])
        return [application for application in found if application["name"].startswith("cobnut ")]

    def runs(self, phase: str) -> bool:
        """True if an application of this phase is there that has not ended."""
        return any(one["name"].startswith(f"cobnut {phase} ") for one in self.applications(*UNFINISHED))

    def children(self, job: str) -> list[int]:
        """The pids of the Python processes that run a task of a job, such as `jobs.fetch:Fetch`."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    command = (process / "cmdline").read_bytes().split(b"\0")
                    place = os.readlink(process / "cwd")
                except OSError:
                    continue
                here = place.startswith(str(self.directory.resolve()))
                if here and b"task.py" in command and job.encode() in command:
                    found.append(int(process.name))
        return found


def wait_for(what: Callable[[], Any], seconds: float = 90, every: float = 0.05) -> Any:
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s")
