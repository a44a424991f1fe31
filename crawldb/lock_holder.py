"""Who holds a lock: what is written into a lock file, and whether that process is still there.

Owns nothing of how locks are taken (`filesystem`, `hdfs_lock`).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the content of a lock file."""

    host: str
    """The machine's name and the number of its boot, where it has one: a name alone may be used twice."""
    pid: int
    start: str
    """When the process began, in the system's own unit: a process number may be used twice, too."""
    user: str
    command: str

    @classmethod
    def this(cls) -> Holder:
        """This process."""
        command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:2]]) if sys.argv else ""
        return cls(_this_host(), os.getpid(), _start_of(os.getpid()), user_name(), command)

    def is_dead(self) -> bool:
        """True if the process was on this machine and is there no more."""
        return self.host == _this_host() and _start_of(self.pid) != self.start

    def to_json(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Holder | None:
        """The inverse of `to_json`; None for a file that says something else, or nothing."""
        try:
            values = json.loads(text)
            return cls(*(kind(values[key]) for key, kind in _CARD.items()))
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return f"{self.command or 'process'} {self.pid} of {self.user} on {self.host.partition(' ')[0]}"


_CARD: dict[str, type] = {"host": str, "pid": int, "start": str, "user": str, "command": str}


def user_name() -> str:
    """The login name, or the number of a user who has none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def _this_host() -> str:
    with contextlib.suppress(OSError):
        return f"{os.uname().nodename} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return os.uname().nodename


def _start_of(pid: int) -> str:
    """When a process began (proc(5): stat, field 22), as far as the system tells; empty if it is no more."""
    with contextlib.suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    with contextlib.suppress(OSError):  # ProcessLookupError is one
        os.kill(pid, 0)
        return "running"
    return ""
