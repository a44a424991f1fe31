"""Files on HDFS to read and to write, and WebHDFS as a `pyarrow.fs` file system.

Owns random reads, what is asked for ahead of them, and writes that are spooled and uploaded whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
import tempfile
import threading
from typing import Any

import pyarrow as pa
import pyarrow.fs

from crawldb.webhdfs import BLOCK, FAILURES, Patience, WebHdfs

SPOOL = 32 << 20
"""Bytes of a file being written that stay in memory; more go to a temporary file."""
_WINDOW, _SCAN = 1 << 20, 128 << 20
"""Bytes asked for at least, here and there or from one end to the other: a request costs some 20 ms, for it is
redirected, and the DataNode makes a client for it."""
_AHEAD = 16
"""Blocks that are read before they are wanted."""
_SKIP = 4 << 20
"""Bytes that are read and thrown away rather than asking anew."""


class Input(io.RawIOBase):
    """A file to read at random positions.

    Bytes come through one answer at a time. Reads from the beginning of the file on, and those that go on where one
    ended, are a scan: few large requests that run ahead of it. Others are lookups, small ones. A small file is read at
    once.
    """

    def __init__(self, fs: WebHdfs, path: str, size: int) -> None:
        super().__init__()
        self._fs, self._path, self._size = fs, path, size
        self._position = 0
        self._stream: _Stream | None = None
        self._at = self._until = 0
        self._datanode = ""
        self._whole: bytes | None = None
        self._lock = threading.RLock()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is asked for yet."""
        with self._lock:
            start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
            if start + offset < 0:
                raise ValueError(f"negative seek position {start + offset}")
            self._position = start + offset
            return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or what the file has left."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """The rest of the file."""
        return self.read()

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes, fewer only at the end of the file."""
        with self._lock:
            if self.closed:
                raise ValueError("read of closed file")
            left = max(self._size - self._position, 0)
            wanted = left if size is None or size < 0 else min(size, left)
            patience = Patience(self._fs, self._path)
            patience.datanode = self._datanode
            parts: list[bytes | memoryview] = []
            while wanted:
                try:
                    part = self._some(wanted, patience)
                except FAILURES as error:
                    self._let_go()
                    patience.after(error)
                    continue
                patience.reset()
                parts.append(part)
                self._position += len(part)
                wanted -= len(part)
            return b"".join(parts)

    def _some(self, wanted: int, patience: Patience) -> bytes | memoryview:
        """Some bytes from the position on, at least one."""
        if self._size <= _WINDOW:
            if self._whole is None:
                stream = self._ask(0, self._size, patience, ahead=False)
                parts = []
                while self._at < self._size:
                    parts.append(stream.take(self._size - self._at))
                    self._at += len(parts[-1])
                self._whole = b"".join(parts)
            return memoryview(self._whole)[self._position : self._position + wanted]
        stream_now = self._stream
        forward = 0 <= self._position - self._at <= _SKIP
        if stream_now is None or not forward or self._position >= self._until:
            scan = forward or self._position <= _SKIP
            length = min(max(wanted, _SCAN if scan else _WINDOW), self._size - self._position)
            stream_now = self._ask(self._position, length, patience, ahead=scan)
        while self._at < self._position:
            self._at += len(stream_now.take(self._position - self._at))
        part = stream_now.take(min(wanted, self._until - self._at))
        self._at += len(part)
        return part

    def _ask(self, offset: int, length: int, patience: Patience, *, ahead: bool) -> _Stream:
        self._let_go()
        self._at, self._until = offset, offset + length
        answer = self._fs.open_range(self._path, patience, offset=offset, length=length)
        self._stream, self._datanode = _Stream(answer, length, ahead=ahead), patience.datanode
        return self._stream

    def _let_go(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go()
        super().close()


class _Stream:
    """The bytes of one answer; those of a long one arrive while the ones before are worked on."""

    def __init__(self, answer: Any, length: int, *, ahead: bool) -> None:
        self._answer, self._length = answer, length
        self._block: memoryview = memoryview(b"")
        self._closed = threading.Event()
        self._blocks: queue.Queue[bytes | Exception] | None = None
        if ahead and length > 2 * BLOCK:
            self._blocks = queue.Queue(_AHEAD)
            threading.Thread(target=self._run_ahead, args=(self._blocks,), name="read ahead", daemon=True).start()

    def take(self, size: int) -> bytes | memoryview:
        """Between one and `size` of the next bytes. Whatever breaks raises one of FAILURES."""
        if self._blocks is None:
            return self._read(min(size, BLOCK))
        if not self._block:
            block = self._blocks.get()
            if isinstance(block, Exception):
                raise block
            self._block = memoryview(block)
        part, self._block = self._block[:size], self._block[size:]
        return part

    def close(self) -> None:
        """Let go of the connection, at once or as soon as the thread that reads it notices."""
        self._closed.set()
        if self._blocks is None:
            self._answer.close()
            return
        with contextlib.suppress(queue.Empty):
            while True:
                self._blocks.get_nowait()

    def _read(self, size: int) -> bytes:
        data: bytes = self._answer.raw.read(size)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "fewer bytes came than there should be")
        return data

    def _run_ahead(self, blocks: queue.Queue[bytes | Exception]) -> None:
        left = self._length
        with contextlib.closing(self._answer):
            while left and not self._closed.is_set():
                try:
                    block = self._read(min(left, BLOCK))
                except Exception as error:  # whatever it is, it is raised where the block is read
                    blocks.put(error)
                    return
                left -= len(block)
                blocks.put(block)


class Output(io.BufferedIOBase):
    """A file to write from start to end. It is uploaded whole when it is closed, and not at all if it never is."""

    def __init__(self, fs: WebHdfs, path: str) -> None:
        super().__init__()
        self._fs, self._path = fs, path
        self._spool: Any = io.BytesIO()
        self._size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, data: Any) -> int:
        """Append bytes."""
        if self.closed:
            raise ValueError("write to closed file")
        length = memoryview(data).nbytes
        if self._size + length > SPOOL and isinstance(self._spool, io.BytesIO):
            memory, self._spool = self._spool, tempfile.TemporaryFile()  # noqa: SIM115  (close closes it)
            self._spool.write(memory.getbuffer())
        self._spool.write(data)
        self._size += length
        return length

    def close(self) -> None:
        """Upload the file."""
        if not self.closed:
            try:
                self._fs.upload(self._path, self._content)
            finally:
                self.discard()

    def discard(self) -> None:
        """Forget the file."""
        self._spool.close()
        super().close()

    def _content(self) -> Any:
        if isinstance(self._spool, io.BytesIO):
            return self._spool.getvalue()
        self._spool.seek(0)
        return self._spool

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self.discard()


class Handler(pyarrow.fs.FileSystemHandler):  # type: ignore[misc]
    """WebHDFS for Arrow: `pyarrow.fs.PyFileSystem(Handler(WebHdfs(…)))`. `move` never overwrites."""

    def __init__(self, fs: WebHdfs) -> None:
        self.fs = fs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handler) and (self.fs.urls, self.fs.user) == (other.fs.urls, other.fs.user)

    def get_type_name(self) -> str:
        """`webhdfs`."""
        return "webhdfs"

    def normalize_path(self, path: str) -> str:
        """As it is."""
        return path

    def get_file_info(self, paths: list[str]) -> list[Any]:
        """Type, size and time of each path."""
        infos = []
        for path in paths:
            try:
                infos.append(_info(path, self.fs.status(path)))
            except (FileNotFoundError, NotADirectoryError):
                infos.append(pyarrow.fs.FileInfo(path, pyarrow.fs.FileType.NotFound))
        return infos

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        """All in a directory, and below it if asked for."""
        try:
            statuses = self.fs.listing(selector.base_dir)
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise
        if any(not status["pathSuffix"] for status in statuses):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.fs.root + selector.base_dir)
        infos = []
        for status in statuses:
            path = f"{selector.base_dir.rstrip('/')}/{status['pathSuffix']}"
            infos.append(_info(path, status))
            if selector.recursive and status["type"] == "DIRECTORY":
                infos += self.get_file_info_selector(
                    pyarrow.fs.FileSelector(path, allow_not_found=True, recursive=True)
                )
        return infos

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a directory; HDFS makes those above it, too."""
        self.fs.make_directory(path)

    def delete_dir(self, path: str) -> None:
        """Delete a directory with all in it."""
        self.fs.delete(path, recursive=True)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Empty a directory."""
        selector = pyarrow.fs.FileSelector(path, allow_not_found=missing_dir_ok)
        for info in self.get_file_info_selector(selector):
            self.fs.delete(info.path, recursive=True)

    def delete_root_dir_contents(self) -> None:
        """Not done: that would be everybody's files."""
        raise NotImplementedError(f"{self.fs.root}/: everything on HDFS is not deleted at once")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        if self.fs.status(path)["type"] == "DIRECTORY":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.fs.root + path)
        self.fs.delete(path)

    def move(self, src: str, dest: str) -> None:
        """Rename; FileExistsError if there is anything at `dest`."""
        self.fs.rename(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file through this machine."""
        with contextlib.ExitStack() as files:
            source = files.enter_context(Input(self.fs, src, int(self.fs.status(src)["length"])))
            target = files.enter_context(Output(self.fs, dest))
            while block := source.read(BLOCK):
                target.write(block)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read at random positions."""
        status = self.fs.status(path)
        if status["type"] == "DIRECTORY":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.fs.root + path)
        return pa.PythonFile(Input(self.fs, path, int(status["length"])), mode="r")

    def open_output_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        """A file to write, over what is there."""
        return pa.PythonFile(Output(self.fs, path), mode="w")

    def open_append_stream(self, path: str, metadata: dict[str, str] | None) -> pa.NativeFile:
        """Not done: nothing of ours is ever changed."""
        raise NotImplementedError(f"{self.fs.root}{path}: files are written once and never appended to")


def _info(path: str, status: dict[str, Any]) -> Any:
    is_file = status["type"] == "FILE"
    return pyarrow.fs.FileInfo(
        path,
        pyarrow.fs.FileType.File if is_file else pyarrow.fs.FileType.Directory,
        size=int(status["length"]) if is_file else None,
        mtime_ns=int(status["modificationTime"]) * 1_000_000,
    )
