"""Where a crawl directory's bytes are: the only room that knows.

Owns opening, listing, atomic creation and removal of files by path. Every other module names files and
leaves the rest to `FileSystem`. Here: the local file system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from pathlib import Path
from typing import IO

import pyarrow as pa

from crawldb.errors import UsageError


class FileSystem:
    """The local file system. Paths are absolute strings.

    `create` and `publish` are the atomic commits everything rests on: the name appears whole or not at all, and
    an existing name is never overwritten (POSIX link(2) fails with EEXIST).
    """

    def open_input(self, path: str) -> pa.NativeFile:
        """A file to read at random positions. FileNotFoundError if it is not there."""
        return pa.memory_map(path) if os.path.getsize(path) else pa.BufferReader(b"")

    def read(self, path: str) -> bytes:
        """All bytes of a (small) file."""
        return Path(path).read_bytes()

    def open_output(self, path: str) -> IO[bytes]:
        """A new file to write from start to end, its directory made if it lacks; close it with `publish`."""
        self._make_directory(os.path.dirname(path))
        return open(path, "xb")

    def publish(self, written: str, name: str) -> None:
        """Give the finished file `written` its final name, durably.

        FileExistsError if the name is taken, FileNotFoundError if somebody removed `written` as garbage.
        """
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        os.link(written, name)
        with contextlib.suppress(FileNotFoundError):  # a beaten writer may be quicker to remove what looks unfinished
            os.unlink(written)
        self._sync_directory(os.path.dirname(name))

    def create(self, path: str, content: bytes) -> None:
        """Create a whole small file, durably. FileExistsError if it exists, and then nothing changed."""
        written = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
        with self.open_output(written) as file:
            file.write(content)
        try:
            self.publish(written, path)
        except FileNotFoundError:  # whoever got the name may have removed what others left unfinished beside it
            if not os.path.exists(path):
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(written)

    def try_lock(self, path: str) -> IO[bytes] | None:
        """Hold a lock until the returned file is closed or the process ends, however it ends; None if another holds it.

        An advisory lock between commands on one machine (flock(2)). Nothing that is committed depends on it.
        """
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115  (open is locked)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks, as some network mounts are
            return file
        return file

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; none if there is no such directory. Names with a dot are unfinished."""
        try:
            return sorted(name for name in os.listdir(path) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def all_names(self, path: str) -> list[str]:
        """`names` with the unfinished files, for who cleans up."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        """True if there is a file or directory of this name."""
        return os.path.exists(path)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.path.getsize(path)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it; nothing to remove is no error."""
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def remove_if_empty(self, path: str) -> None:
        """Remove a directory that has nothing in it."""
        with contextlib.suppress(OSError):
            os.rmdir(path)

    def _make_directory(self, path: str) -> None:
        """Make a directory and those above it that lack, durably: a synced file in a lost directory is lost."""
        if os.path.isdir(path):
            return
        self._make_directory(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        self._sync_directory(os.path.dirname(path))

    @staticmethod
    def _sync_directory(path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def resolve(path: str) -> tuple[FileSystem, str]:
    """The file system that a path of the command line names, and the path on it, absolute."""
    scheme, colon, rest = path.partition("://")
    if colon and scheme != "file":
        raise UsageError(f"{path}: this version keeps crawls on the local file system; give a plain path")
    return FileSystem(), os.path.abspath(rest if colon else path)


def unfinished(path: str) -> str:
    """A name beside `path` for writing it: hidden from `names`, and never the same twice."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name}.{uuid.uuid4().hex[:12]}"
