"""A `cobnut` that kills itself with SIGKILL at the moment number $COBNUT_DIES_AT.

A moment is a call that changes what is on disk, before or after it happens, or a page that comes in.
"""

from __future__ import annotations

import builtins
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from jobs import cli, fetch

_left = int(os.environ["COBNUT_DIES_AT"])


def _moment() -> None:
    global _left
    _left -= 1
    if _left == 0:
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _deadly(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        _moment()
        result = function(*arguments, **options)
        _moment()
        return result

    return call


def _deadly_open(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    if "x" in mode and "parquet" in str(path):
        _moment()
    return _open(path, mode, *arguments, **options)


if __name__ == "__main__":
    _open = builtins.open
    builtins.open = _deadly_open
    for name in ("link", "fsync"):
        setattr(os, name, _deadly(getattr(os, name)))
    fetch.Chunks.add = _deadly(fetch.Chunks.add)  # type: ignore[method-assign]
    sys.exit(cli.main(sys.argv[1:]))
