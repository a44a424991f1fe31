"""Locks between commands on any machine, as files on HDFS.

Owns the life of a lock file: created under a name that must not exist, kept fresh by a thread, taken over when its
holder is known to be dead or has not been heard of for a minute by the NameNode's clock, deleted when it is closed.

Advisory: a holder that was out of reach for a minute may find that it shares the work. Nothing committed depends on it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
import time
from typing import Any

from crawldb.errors import CobnutError
from crawldb.filesystem import unfinished
from crawldb.lock_holder import Holder
from crawldb.webhdfs import WebHdfs

REFRESH = 10.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without one after which a lock is anybody's."""


class HdfsLock:
    """A lock that is held until it is closed."""

    def __init__(self, fs: WebHdfs, path: str, status: dict[str, Any], noticed: float) -> None:
        self._fs, self._path = fs, path
        self._number = status["fileId"]
        self._clock, self._noticed = int(status["modificationTime"]), noticed
        self._process = os.getpid()
        self._closed = threading.Event()
        threading.Thread(target=self._refresh, name=f"lock {path}", daemon=True).start()

    @classmethod
    def take(cls, fs: WebHdfs, path: str) -> HdfsLock | None:
        """The lock, or None if another holds it."""
        candidate = unfinished(path)
        card = Holder.this().to_json()
        fs.upload(candidate, lambda: card)
        noticed = time.monotonic()
        taken = False
        try:
            status = fs.status(candidate)
            for _ in range(2):
                with contextlib.suppress(FileExistsError):
                    fs.rename(candidate, path)
                    taken = True
                    return cls(fs, path, status, noticed)
                # The candidate was written just now, so its time is the NameNode's clock.
                if not _remove_stale(fs, path, int(status["modificationTime"])):
                    return None
            return None  # another was quicker to take it over
        finally:
            if not taken:
                fs.delete(candidate)

    def close(self) -> None:
        """Let go of it, if it is still ours."""
        if self._closed.is_set() or self._process != os.getpid():
            return
        self._closed.set()
        with contextlib.suppress(OSError, CobnutError):  # then it goes stale
            if self._fs.status(self._path)["fileId"] == self._number:
                self._fs.delete(self._path)

    def _refresh(self) -> None:
        while not self._closed.wait(REFRESH):
            with contextlib.suppress(OSError, CobnutError):
                if self._fs.status(self._path)["fileId"] == self._number and not self._closed.is_set():
                    self._fs.set_times(self._path, self._clock + int((time.monotonic() - self._noticed) * 1000))


def holder(fs: WebHdfs, path: str) -> str:
    """Who holds a lock, for a message; empty if nobody does."""
    try:
        return str(Holder.from_json(fs.read(path)) or "")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _remove_stale(fs: WebHdfs, path: str, now: int) -> bool:
    """Take a lock away whose holder is gone. True if the name may be free now. `now` is the NameNode's."""
    try:
        status = fs.status(path)
        who = Holder.from_json(fs.read(path))
        if not (who and who.is_dead()) and now - int(status["modificationTime"]) <= STALE * 1000:
            return False
        aside = unfinished(posixpath.normpath(path))
        fs.rename(path, aside)  # of many that judge so, one gets it
    except FileNotFoundError:
        return True
    if fs.status(aside)["fileId"] != status["fileId"]:  # another has it by now, and it is fresh: back with it
        with contextlib.suppress(FileExistsError):
            fs.rename(aside, path)
            return False
    fs.delete(aside)
    return True
