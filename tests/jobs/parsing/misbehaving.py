"""Parsers for parse.parsers that do what a parser must not."""

from __future__ import annotations

import os
import signal

from crawldb.settings import ParseSettings
from jobs.parsing import Extract


def parse(content: bytes, content_type: str | None, settings: ParseSettings) -> Extract:
    """Do what the page says."""
    if content == b"hang":
        while True:
            pass
    if content == b"eat":
        hoard = [bytes(1 << 20) for _ in range(1 << 12)]
        assert hoard
    if content == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return Extract(text=content.decode())
