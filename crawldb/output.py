"""Where a command's data go: stdout, or a file that appears whole or not at all.

Owns the stream. What is written to it is `formats`'s business.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

from crawldb import filesystem, formats
from crawldb.errors import UsageError


def is_stdout(name: str | None) -> bool:
    """True for no name and for `-`."""
    return name in (None, "-")


def write_table(table: pa.Table, format_: str, name: str | None) -> None:
    """Write a table, whole, as other commands' output: in a format of formats.FORMATS to a file, None for stdout."""
    if format_ == "parquet" and is_stdout(name) and sys.stdout.isatty():
        raise UsageError("parquet is not for terminals; give -o FILE")
    try:
        with output(name) as (stream, width):
            formats.FORMATS[format_]([table], table.schema, stream, width)
    except BrokenPipeError:
        abandon_stdout()


@contextlib.contextmanager
def output(name: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """The stream to write to, and the columns of the terminal that it is, or 0.

    A regular file is written beside its place under a name of its own, and renamed when it is whole. On HDFS nothing
    is overwritten.
    """
    if name is None or name == "-":
        sys.stdout.flush()
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        yield sys.stdout.buffer, width
        sys.stdout.buffer.flush()
        return
    fs, path = filesystem.resolve(name)
    if not isinstance(fs, filesystem.LocalFileSystem):
        with _remote_output(fs, path) as remote:
            yield cast("IO[bytes]", remote), 0
        return
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise UsageError(f"-o {name}: a directory; give a file name")
    if not os.path.isdir(os.path.dirname(target)):
        raise UsageError(f"-o {name}: no directory {os.path.dirname(target)}")
    if os.path.exists(target) and not os.path.isfile(target):  # a pipe or a device cannot be replaced
        with open(target, "wb") as device:
            yield device, 0
        return
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
    try:
        with open(descriptor, "wb") as file:
            yield file, 0
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(unfinished, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


@contextlib.contextmanager
def _remote_output(fs: filesystem.FileSystem, path: str) -> Iterator[io.BufferedIOBase]:
    unfinished = filesystem.unfinished(path)
    output = fs.open_output(unfinished)
    try:
        yield output
        output.close()
        fs.publish(unfinished, path)
    except FileExistsError:
        fs.abandon(output, unfinished)
        raise UsageError(f"-o {path}: there is such a file; give another name") from None
    except BaseException:
        fs.abandon(output, unfinished)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def abandon_stdout() -> None:
    """Nobody reads stdout any more: let what is still buffered go nowhere when Python flushes it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
