"""Arrow batches as mrjob protocol lines: what goes through the shuffle.

A line is `key <TAB> base64(Arrow IPC stream, lz4)`: tens of thousands of rows, so that serialisation costs well under
a microsecond a row. Keys are short strings whose text order is their order (`00003`), for Hadoop sorts bytes.
"""

from __future__ import annotations

import base64

import pyarrow as pa

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=True)


class ArrowProtocol:
    """Key: a string without tab or line end; value: a pa.Table."""

    def read(self, line: bytes) -> tuple[str, pa.Table]:
        """One line of the shuffle."""
        key, _, value = line.partition(b"\t")
        with pa.ipc.open_stream(base64.b64decode(value)) as reader:
            return key.decode(), reader.read_all()

    def write(self, key: str, value: pa.Table) -> bytes:
        """The inverse of `read`."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema, options=_OPTIONS) as writer:
            writer.write_table(value.unify_dictionaries())
        return key.encode() + b"\t" + base64.b64encode(sink.getvalue())


def shard_key(shard: int) -> str:
    """A shard's number as a key."""
    return f"{shard:05d}"
