"""What HDFS costs beside the local file system: `python -m benchmarks.hdfs hdfs:///tmp/bench` on a running cluster.

A crawldb's shard is written and scanned on both, in turns, the best of some rounds counts; then what a single small
request costs, which is what a commit is made of. Prints a table like `python -m benchmarks`, which runs it, too, when
it is given `--hdfs URI`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import crawldbs
from crawldb import filesystem, shards
from crawldb.filesystem import FileSystem, resolve, unfinished
from crawldb.settings import HdfsSettings
from crawldb.store import Store, now_ms

COLUMNS = ["fingerprint", "status", "due_at", "score"]
"""What generate reads, more or less."""


def measure(directory: Path, uri: str, scale: int, rounds: int = 3) -> Iterator[tuple[str, str, str, str]]:
    """The rows of the table; what is made in `uri` is removed."""
    rows = 4_000_000 // scale
    crawldbs.make(directory / "hdfs", rows, now_ms(), 0.3)
    shard = _largest(str(directory / "hdfs"))
    content = Path(shard).read_bytes()
    fs, place = resolve(uri)
    path = f"{place}/{Path(unfinished('/x')).name}/shard.parquet"
    try:
        yield from _compare(content, shard, fs, path, rounds)
        small = _best(rounds, lambda: _put(fs, f"{path}-{time.monotonic_ns()}", b"{}"))
        yield "create a small file on HDFS, as every commit does", f"{small * 1000:.0f} ms", "", ""
        again = _best(rounds, lambda: fs.size(path))
        yield "ask the NameNode for a file's size", f"{again * 1000:.1f} ms", "", ""
    finally:
        fs.remove(path.rpartition("/")[0])


def _compare(content: bytes, local: str, fs: FileSystem, path: str, rounds: int) -> Iterator[tuple[str, str, str, str]]:
    here, size = resolve(local)[0], len(content) / 1e6
    files = [(here, f"{local}.copy"), (fs, path)]
    works: list[tuple[str, str, Callable[[FileSystem, str], object]]] = [
        ("write", "", lambda place, name: _put(place, name, content)),
        ("read", "", lambda place, name: _read(place, name)),
        ("scan", "≥ 150 MB/s", lambda place, name: _scan(place, name, None)),
        (f"scan {len(COLUMNS)} columns of", "", lambda place, name: _scan(place, name, COLUMNS)),
    ]
    for what, goal, work in works:
        taken = [float("inf")] * len(files)
        for _ in range(rounds):
            for number, (place, name) in enumerate(files):
                if what == "write":
                    place.remove(name)
                start = time.perf_counter()
                work(place, name)
                taken[number] = min(taken[number], time.perf_counter() - start)
        speeds = " / ".join(f"{size / seconds:.0f} MB/s" for seconds in taken)
        yield f"{what} {size:.0f} MB of Parquet, local / HDFS", speeds, goal, ""


def _best(rounds: int, work: Callable[[], object]) -> float:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _put(fs: FileSystem, path: str, content: bytes) -> None:
    written = unfinished(path)
    with fs.open_output(written) as output:
        output.write(content)
    fs.publish(written, path)


def _read(fs: FileSystem, path: str) -> None:
    with fs.open_input(path) as source:
        while source.read(4 << 20):
            pass


def _scan(fs: FileSystem, path: str, columns: list[str] | None) -> None:
    reader = shards.Reader(fs, path)
    rows = sum(table.num_rows for table in reader.tables(columns))
    assert rows == reader.rows
    reader.close()


def _largest(crawl_dir: str) -> str:
    store = Store(crawl_dir)
    base = store.snapshot().entry.base
    assert base is not None
    file = max(base.files.values(), key=lambda file: file.bytes)
    return f"{store.path}/{base.directory}/{file.name}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hdfs", description=__doc__)
    parser.add_argument("uri", help="a directory on HDFS")
    parser.add_argument("--client", default="webhdfs", help="hdfs.client")
    parser.add_argument("--scale", type=int, default=1, help="so many times smaller")
    options = parser.parse_args()
    filesystem.configure(HdfsSettings(client=options.client))
    print("| what | here | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="cobnut-bench-") as directory:
        for row in measure(Path(directory), options.uri, options.scale):
            print("| " + " | ".join(row[:3]) + " |", flush=True)


if __name__ == "__main__":
    main()
