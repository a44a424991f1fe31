"""Runs a command and says what it took: CPU of the whole process and its children, wall time, peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    cpu: float
    """Seconds, user + sys."""
    wall: float
    """Seconds."""
    peak: float
    """MB resident, of the largest process."""


def cost(command: Sequence[str], log: Path) -> Cost:
    """Run a command from the project's root to its end; its output goes to `log`. RuntimeError if it fails."""
    start = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - start, usage.ru_maxrss / 1024)


def cobnut(*arguments: str) -> list[str]:
    """The command line of a verb."""
    return [sys.executable, "-m", "jobs.cli", *arguments]
