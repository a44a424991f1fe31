"""HDFS as the crawl's file system.

Owns the guarantees of `filesystem.FileSystem` on HDFS and the choice of who moves the bytes. Names always go over
WebHDFS, for commits need a rename that never overwrites and numbers by which a file is known again: Arrow's libhdfs
deletes the target of a move, and neither it nor hdfs-native tells the numbers. Bytes go through any `pyarrow.fs`.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.fs

from crawldb import webhdfs_files
from crawldb.errors import CobnutError, UsageError
from crawldb.filesystem import FileSystem, Lock
from crawldb.hadoop_conf import HadoopConf
from crawldb.hdfs_lock import HdfsLock, holder
from crawldb.settings import HdfsSettings
from crawldb.webhdfs import WebHdfs


class HdfsFileSystem(FileSystem):
    """HDFS; paths are URIs that begin with `names.root`. An existing name is never overwritten: rename2 refuses."""

    def __init__(self, names: WebHdfs, data: pyarrow.fs.FileSystem) -> None:
        self._names, self._data = names, data

    def _path(self, path: str) -> str:
        """The path on HDFS."""
        if path != self._names.root and not path.startswith(self._names.root + "/"):
            raise ValueError(f"{path} is not on {self._names.root}")
        return path[len(self._names.root) :] or "/"

    def open_input(self, path: str) -> pa.NativeFile:
        return self._data.open_input_file(self._path(path))

    def read(self, path: str) -> bytes:
        return self._names.read(self._path(path))

    def open_output(self, path: str) -> io.BufferedIOBase:
        if isinstance(self._data, pyarrow.fs.PyFileSystem) and type(self._data.handler) is webhdfs_files.Handler:
            return webhdfs_files.Output(self._names, self._path(path))
        return _Output(self._data.open_output_stream(self._path(path)))

    def abandon(self, output: io.BufferedIOBase, path: str) -> None:
        if isinstance(output, webhdfs_files.Output) and not output.closed:
            output.discard()
            return
        try:
            with contextlib.suppress(OSError, CobnutError):
                output.close()
        finally:
            self.remove(path)

    def publish(self, written: str, name: str) -> None:
        self._names.rename(self._path(written), self._path(name))

    def _write(self, path: str, content: bytes) -> None:
        self._names.upload(self._path(path), lambda: content)

    def try_lock(self, path: str) -> Lock | None:
        """As of `FileSystem`, between commands on any machine; see `hdfs_lock`."""
        return HdfsLock.take(self._names, self._path(path))

    def lock_holder(self, path: str) -> str:
        return holder(self._names, self._path(path))

    def all_names(self, path: str) -> list[str]:
        try:
            return sorted(s["pathSuffix"] for s in self._names.listing(self._path(path)) if s["pathSuffix"])
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        return self._type(path) != ""

    def is_directory(self, path: str) -> bool:
        return self._type(path) == "DIRECTORY"

    def _type(self, path: str) -> str:
        try:
            return str(self._names.status(self._path(path))["type"])
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def size(self, path: str) -> int:
        return int(self._names.status(self._path(path))["length"])

    def make_private_directory(self, path: str) -> None:
        self._names.make_directory(self._path(path), "700")

    def remove(self, path: str) -> None:
        with contextlib.suppress(NotADirectoryError):
            self._names.delete(self._path(path), recursive=True)

    def remove_if_empty(self, path: str) -> None:
        if self.is_directory(path):
            with contextlib.suppress(OSError):
                self._names.delete(self._path(path))

    def delegation_token(self) -> str | None:
        """See `filesystem.delegation_token`."""
        return self._names.delegation_token() if self._names.kerberos else None


def connect(scheme: str, authority: str, settings: HdfsSettings, token: str) -> tuple[str, HdfsFileSystem]:
    """The root that paths of `scheme://authority` have, and their file system. UsageError if it can't be found."""
    if scheme == "hdfs":
        conf = HadoopConf.load()
        if not authority:
            scheme, _, authority = conf.default_fs.partition("://")
            if scheme not in ("hdfs", "webhdfs", "swebhdfs") or not authority:
                raise UsageError(
                    "hdfs:///: no default file system: set HADOOP_CONF_DIR to the cluster's configuration, "
                    "or give webhdfs://HOST:PORT/…"
                )
    root = f"{scheme}://{authority}"
    return root, _connect(
        root, settings.client, settings.user, settings.timeout, settings.retries, token, HadoopConf.load()
    )


@lru_cache
def _connect(
    root: str, client: str, user: str, timeout: float, retries: int, token: str, conf: HadoopConf
) -> HdfsFileSystem:
    scheme, _, authority = root.partition("://")
    if scheme == "hdfs":
        if conf.directory is None:
            raise UsageError(
                f"{root}: no configuration tells its web address: set HADOOP_CONF_DIR to the cluster's, "
                "or give webhdfs://HOST:PORT/…"
            )
        urls = conf.namenodes(authority)
    else:
        port = "" if ":" in authority else ":9870" if scheme == "webhdfs" else ":9871"
        urls = [f"{'http' if scheme == 'webhdfs' else 'https'}://{authority}{port}"]
    names = WebHdfs(root, urls, user or conf.user, kerberos=conf.is_secure, token=token or None,
                    timeout=timeout, retries=retries)  # fmt: skip
    if client != "webhdfs" and scheme != "hdfs":
        raise UsageError(f"{root}: hdfs.client={client} wants an hdfs:// path")
    return HdfsFileSystem(names, _CLIENTS[client](names, conf))


def _webhdfs(names: WebHdfs, conf: HadoopConf) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.PyFileSystem(webhdfs_files.Handler(names))


def _libhdfs(names: WebHdfs, conf: HadoopConf) -> pyarrow.fs.FileSystem:
    authority = names.root.partition("://")[2]
    host, _, port = authority.partition(":")
    try:
        return pyarrow.fs.HadoopFileSystem(host, int(port or 0), user=names.user)
    except OSError as error:
        raise UsageError(
            "hdfs.client=libhdfs: it wants libhdfs.so (ARROW_LIBHDFS_DIR or HADOOP_HOME/lib/native), JAVA_HOME, and "
            f"CLASSPATH as of `hadoop classpath --glob`: {str(error).splitlines()[0]}"
        ) from None


def _hdfs_native(names: WebHdfs, conf: HadoopConf) -> pyarrow.fs.FileSystem:
    try:
        import hdfs_native
    except ImportError:
        raise UsageError("hdfs.client=hdfs-native: not installed: scripts/venv.sh hdfs-native") from None
    os.environ["HADOOP_USER_NAME"] = names.user  # it takes the user from nowhere else
    return pyarrow.fs.PyFileSystem(_NativeHandler(names, hdfs_native.Client(names.root, config_dir=conf.directory)))


_CLIENTS = {"webhdfs": _webhdfs, "libhdfs": _libhdfs, "hdfs-native": _hdfs_native}


class _Output(io.BufferedIOBase):
    """A file of Arrow's to write, as a Python file."""

    def __init__(self, file: pa.NativeFile) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def write(self, data: Any) -> int:
        return int(self._file.write(data))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


class _NativeHandler(webhdfs_files.Handler):
    """hdfs-native for Arrow, as far as bytes go."""

    def __init__(self, names: WebHdfs, client: Any) -> None:
        super().__init__(names)
        self._client = client

    def get_type_name(self) -> str:
        return "hdfs-native"

    def open_input_file(self, path: str) -> pa.NativeFile:
        where = self.fs.root + path
        with _in_one_line(where):
            return pa.PythonFile(_Native(self._client.read(path), where), mode="r")

    def open_output_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        where = self.fs.root + path
        with _in_one_line(where):
            return pa.PythonFile(_Native(self._client.create(path), where), mode="w")


class _Native(io.RawIOBase):
    """A file of hdfs-native, its errors said in one line."""

    def __init__(self, file: Any, where: str) -> None:
        super().__init__()
        self._file, self._where = file, where
        self._written = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return int(self._file.tell())

    def tell(self) -> int:
        return self._written or int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        with _in_one_line(self._where):
            return bytes(self._file.read(-1 if size is None else size))

    def write(self, data: Any) -> int:
        with _in_one_line(self._where):
            written = int(self._file.write(bytes(data)))  # it takes any other buffer apart byte by byte
        self._written += written
        return written

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _in_one_line(self._where):
                self._file.close()


@contextlib.contextmanager
def _in_one_line(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, FileExistsError, CobnutError):
        raise
    except Exception as error:  # Rust's errors come as Python classes of all kinds
        reason = str(error).strip() or type(error).__name__
        raise CobnutError(f"{where}: hdfs-native: {reason.splitlines()[0]}") from None
