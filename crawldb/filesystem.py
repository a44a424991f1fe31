"""Where a crawl directory's bytes are: the only door to file systems.

Owns what a file system must guarantee (`FileSystem`), which one a path names (`resolve`), and the local one. Every
other module names files and leaves the rest to `FileSystem`. HDFS is in `hdfs`, which is imported when a path asks.

Paths on HDFS are whole URIs everywhere, `hdfs://127.0.0.1:8020/crawl/crawldb/log/00000001.json`: they are put together
with `/` like any other, and an error message names the place.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import fcntl
import io
import os
import posixpath
import re
import shutil
import uuid
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from crawldb.errors import UsageError
from crawldb.lock_holder import Holder
from crawldb.settings import HdfsSettings

_SCHEME = re.compile(r"(file|hdfs|webhdfs|swebhdfs):(?://([^/]*))?(/.*)?$|([A-Za-z][A-Za-z0-9+.-]*)://", re.DOTALL)


class Lock(Protocol):
    """What `try_lock` returns to who got the lock."""

    def close(self) -> None:
        """Let go of it."""


class FileSystem(abc.ABC):
    """What the crawl needs of a file system. Paths are those that `resolve` returns, and names below them.

    `create` and `publish` are the atomic commits everything rests on: the name appears whole or not at all, and
    an existing name is never overwritten.

    What is missing is a FileNotFoundError (NotADirectoryError below a file), what is there already a FileExistsError,
    on every file system.
    """

    @abc.abstractmethod
    def open_input(self, path: str) -> pa.NativeFile:
        """A file to read at random positions. FileNotFoundError if it is not there."""

    @abc.abstractmethod
    def read(self, path: str) -> bytes:
        """All bytes of a (small) file."""

    @abc.abstractmethod
    def open_output(self, path: str) -> io.BufferedIOBase:
        """A new file to write from start to end, its directory made if it lacks; close it, then `publish` it.

        `path` is a name that nobody else uses, such as one of `unfinished`.
        """

    @abc.abstractmethod
    def abandon(self, output: io.BufferedIOBase, path: str) -> None:
        """Close a file of `open_output(path)`, whatever state it is in, and leave nothing of it."""

    @abc.abstractmethod
    def publish(self, written: str, name: str) -> None:
        """Give the finished file `written` its final name, durably.

        FileExistsError if the name is taken, FileNotFoundError if somebody removed `written` as garbage.
        """

    def create(self, path: str, content: bytes) -> None:
        """Create a whole small file, durably. FileExistsError if it exists, and then nothing changed."""
        written = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
        self._write(written, content)
        published = False
        try:
            self.publish(written, path)
            published = True
        except FileNotFoundError:  # whoever got the name may have removed what others left unfinished beside it
            if not self.exists(path):
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        finally:
            if not published:
                self.remove(written)

    def _write(self, path: str, content: bytes) -> None:
        with self.open_output(path) as file:
            file.write(content)

    @abc.abstractmethod
    def try_lock(self, path: str) -> Lock | None:
        """Hold a lock until it is closed or the process ends, however it ends; None if another holds it.

        An advisory lock between commands. Nothing that is committed depends on it.
        """

    @abc.abstractmethod
    def lock_holder(self, path: str) -> str:
        """Who holds the lock, for a message; empty if it is not known."""

    @abc.abstractmethod
    def all_names(self, path: str) -> list[str]:
        """`names` with the unfinished files, for who cleans up."""

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; none if there is no such directory. Names with a dot are unfinished."""
        return [name for name in self.all_names(path) if not name.startswith(".")]

    @abc.abstractmethod
    def exists(self, path: str) -> bool:
        """True if there is a file or directory of this name."""

    @abc.abstractmethod
    def is_directory(self, path: str) -> bool:
        """True if there is a directory of this name."""

    @abc.abstractmethod
    def size(self, path: str) -> int:
        """Bytes of a file."""

    @abc.abstractmethod
    def make_private_directory(self, path: str) -> None:
        """Make a directory, and those above it that lack, which only its owner can enter."""

    @abc.abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it; nothing to remove is no error."""

    @abc.abstractmethod
    def remove_if_empty(self, path: str) -> None:
        """Remove a directory that has nothing in it."""


class LocalFileSystem(FileSystem):
    """The local file system. Paths are absolute. An existing name is never overwritten: link(2) fails with EEXIST."""

    def make_private_directory(self, path: str) -> None:
        self._make_directory(path)
        os.chmod(path, 0o700)

    def open_input(self, path: str) -> pa.NativeFile:
        return pa.memory_map(path) if os.path.getsize(path) else pa.BufferReader(b"")

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def open_output(self, path: str) -> io.BufferedIOBase:
        self._make_directory(os.path.dirname(path))
        return open(path, "xb")

    def abandon(self, output: io.BufferedIOBase, path: str) -> None:
        try:
            with contextlib.suppress(OSError):  # a full disk has no room for what was buffered either
                output.close()
        finally:
            self.remove(path)

    def publish(self, written: str, name: str) -> None:
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        os.link(written, name)
        with contextlib.suppress(FileNotFoundError):  # a beaten writer may be quicker to remove what looks unfinished
            os.unlink(written)
        self._sync_directory(os.path.dirname(name))

    def try_lock(self, path: str) -> Lock | None:
        """As of `FileSystem`, between commands on one machine: flock(2)."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115  (open is locked)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks, as some network mounts are
            return file
        with contextlib.suppress(OSError):  # a full disk
            file.truncate(0)
            file.write(Holder.this().to_json())
            file.flush()
        return file

    def lock_holder(self, path: str) -> str:
        try:
            return str(Holder.from_json(self.read(path)) or "")
        except OSError:
            return ""

    def all_names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        return os.path.getsize(path)

    def remove(self, path: str) -> None:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def remove_if_empty(self, path: str) -> None:
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


_settings, _token = HdfsSettings(), ""


def configure(settings: HdfsSettings, token: str | None = None) -> None:
    """How this process reaches HDFS; a command or task says so once, before it resolves its first path.

    `token` is a delegation token that a command got from `delegation_token`, for tasks, which have no Kerberos ticket.
    """
    global _settings, _token
    _settings, _token = settings, token or ""


def is_uri(path: str) -> bool:
    """True for `hdfs:///crawl` and `file:///crawl`, False for plain paths."""
    return _SCHEME.match(path) is not None


def resolve(path: str) -> tuple[FileSystem, str]:
    """The file system that a path of the command line names, and the path on it, absolute.

    A resolved path resolves to itself. UsageError for a file system that we don't know or can't find.
    """
    match = _SCHEME.match(path)
    if match is None:
        return LocalFileSystem(), os.path.abspath(path)
    scheme, authority, rest, other = match[1], match[2] or "", match[3] or "/", match[4]
    if other:
        raise UsageError(f"{path}: no file system for {other}://; give a plain path, hdfs:// or webhdfs://")
    if scheme == "file":
        return LocalFileSystem(), os.path.abspath(authority + rest)
    from crawldb import hdfs

    root, fs = hdfs.connect(scheme, authority, _settings, _token)
    return fs, root + posixpath.normpath("/" + rest.lstrip("/")).rstrip("/")


def delegation_token(path: str) -> str | None:
    """What lets tasks act for us at the HDFS of `path`; None where none is needed: local paths, no Kerberos.

    Has not been tried on a secured cluster.
    """
    fs, _ = resolve(path)
    if isinstance(fs, LocalFileSystem):
        return None
    from crawldb import hdfs

    return fs.delegation_token() if isinstance(fs, hdfs.HdfsFileSystem) else None


def unfinished(path: str) -> str:
    """A name beside `path` for writing it: hidden from `names`, and never the same twice."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name}.{uuid.uuid4().hex[:12]}"
