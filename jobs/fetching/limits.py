"""What this machine runs out of before the web does: open files, ports, buffers.

Owns the rule for which errors are this machine's own (never a page's failure), the limit on open files, and the
throttle that takes an engine down and slowly up again. Opens nothing itself.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading

if sys.platform != "win32":
    import resource

# EADDRINUSE: a bind or a connect found no port that is free
_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE}
_LOCAL_LOOKUPS = {
    getattr(socket, name) for name in ("EAI_AGAIN", "EAI_MEMORY", "EAI_SYSTEM") if hasattr(socket, name)
}  # fmt: skip
_HALVING_SECONDS = 1.0
"""What runs out fails a hundred requests at the same moment: they count once."""
_MIN_PAUSE, _MAX_PAUSE = 0.5, 8.0
_STEPS = 64
"""The allowance regains a 64th of its maximum for every full round of successes."""


def is_local(error: OSError | int, address: str | None = None) -> bool:
    """True if an error, or its errno, says that this machine lacks something, so that it says nothing of the page.

    `address` is what a connect was meant for; None: it came from bind() or socket(). EADDRNOTAVAIL says that all
    local ports to a destination are taken, but over IPv6 it mostly says that this machine has no such address.
    """
    if isinstance(error, socket.gaierror):
        return error.errno in _LOCAL_LOOKUPS
    number = error if isinstance(error, int) else error.errno
    if number == errno.EADDRNOTAVAIL:
        return address is None or ":" not in address
    return number in _LOCAL_ERRNOS


def raise_open_files(needed: int) -> tuple[int, str | None]:
    """Let this process open `needed` files if it may; returns how many it may open now, and a line for the user if
    that is less. Root raises the hard limit too. Nothing is ever lowered; Windows has no such limit.
    """
    if sys.platform == "win32":
        return needed, None
    soft, hard = (_count(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    for wanted in (needed, min(needed, hard)):
        if soft >= wanted:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard) if hard < sys.maxsize else -1))
            soft = wanted
        except (OSError, ValueError):  # not root; or more than the system gives to anybody
            continue
    if soft >= needed:
        return soft, None
    return soft, (
        f"this process may open {soft:,} files, and needs {needed:,} for so many connections: fewer are made at once; "
        f"`ulimit -n {needed}` before the start (or nofile in limits.conf) allows them"
    )


def _count(limit: int) -> int:
    """RLIM_INFINITY is -1 on Linux and a huge number elsewhere."""
    return sys.maxsize if limit < 0 or limit > sys.maxsize else limit


class Throttle:
    """How many requests may be under way: halved when this machine runs out of something, and grown back by
    successes (additive increase, multiplicative decrease, as TCP does it: RFC 5681). Thread-safe; has no clock.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self._lock = threading.Lock()
        self._allowance = float(self.maximum)
        self._pause = _MIN_PAUSE
        self._halved_at: float | None = None
        self._resume_at: float | None = None

    @property
    def allowed(self) -> int:
        """Requests that may be under way now, from 1 to the maximum."""
        return int(self._allowance)

    def slow_down(self, now: float, under_way: int | None = None) -> float:
        """Something ran out at `now`, with so many requests `under_way`. Returns the seconds during which nothing new
        should start: half a second at first, twice that with every halving that follows before things went well.
        """
        with self._lock:
            if self._halved_at is None or now - self._halved_at >= _HALVING_SECONDS:
                if self._halved_at is not None:
                    self._pause = min(2 * self._pause, _MAX_PAUSE)
                # If fewer were under way than were allowed, it is their number that was too many
                from_here = self._allowance if under_way is None else min(self._allowance, float(under_way))
                self._allowance = max(1.0, from_here / 2)
                self._halved_at = now
                self._resume_at = now + self._pause
            return min(max(0.0, self._resume_at - now), self._pause) if self._resume_at is not None else 0.0

    def succeeded(self, count: int = 1) -> None:
        """So many requests went well."""
        if self._halved_at is None:
            return  # the usual case, without the lock
        with self._lock:
            step = max(1.0, self.maximum / _STEPS)
            self._allowance = min(float(self.maximum), self._allowance + count * step / self._allowance)
            if self._allowance >= self.maximum:
                self._halved_at = self._resume_at = None
                self._pause = _MIN_PAUSE
