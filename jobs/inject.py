"""inject: seeds into the crawldb.

map: a piece of a seed file → normalised, filtered, fingerprinted → batches by shard
reduce: a shard's batches → one sorted delta file, each seed once (the first line that names it)
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa

from crawldb import schema, shards
from crawldb.errors import CobnutError, UsageError
from crawldb.filesystem import is_uri, resolve
from crawldb.seeds import SeedReader
from crawldb.settings import Policy
from crawldb.store import LogEntry
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, execute, parser, say
from jobs.protocol import shard_key

PIECE = 16 << 20
"""Bytes of a seed file that make one work item."""

_BATCH = 50_000
_REPORTED = 100
"""Bad lines shown in full; the rest is counted."""


class Inject(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        for key, table in read_seeds(item, SeedReader(self.settings, self.context["now"], self.context["update"])):
            if key == BAD:
                yield BAD, table
                continue
            for shard, part in shards.split(table, self.context["shards"]):
                yield shard_key(shard), part

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        if key == BAD:
            yield None, bad_lines(batches)
            return
        table = first_of_each(pa.concat_tables(batches))
        store = Run(self.crawl_dir, self.settings, self.context["control"]).store
        path = store.part_path(self.context["version"], "delta", int(key))
        with shards.Writer(store.fs, path, schema.DELTA) as writer:
            writer.write(table.select(schema.DELTA.names))
        yield None, {"shard": int(key), "file": writer.file.to_dict()}


BAD, SEEDS = "bad", "seeds"


def read_seeds(item: dict[str, Any], reader: SeedReader) -> Iterator[tuple[str, pa.Table]]:
    """(SEEDS, rows as `reader` makes them, sorted, each once) of parts of a work item's piece of a seed file, and (BAD,
    what `bad_lines` reads) if it has lines that are no seeds. Ends early when the command is stopped."""
    lines = numbered_lines(item)
    bad: list[str] = []
    refused = 0
    while numbered := list(itertools.islice(lines, _BATCH)):
        if control.STOP.is_set():
            return
        table, wrong = reader.read(numbered, item["file"] << 40)
        refused += len(wrong)
        bad += [f"{item['name']}:{seed.line}: {seed.why}" for seed in wrong[: _REPORTED - len(bad)]]
        yield SEEDS, first_of_each(table)
    if refused:
        yield BAD, pa.table({"file": [item["file"]], "piece": [item["start"]], "bad": [refused], "lines": [bad]})


def bad_lines(batches: Iterable[pa.Table]) -> Record:
    """The commit record of the lines that are no seeds."""
    table = pa.concat_tables(batches).sort_by([("file", "ascending"), ("piece", "ascending")])
    lines = list(itertools.chain.from_iterable(table["lines"].to_pylist()))
    return {"bad": sum(table["bad"].to_pylist()), "lines": lines[:_REPORTED]}


def tell_bad_lines(records: list[Record]) -> int:
    """Say which lines are no seeds; how many they are."""
    bad: int = sum(record.get("bad", 0) for record in records)
    for line in itertools.chain.from_iterable(record.get("lines", []) for record in records):
        say(line)
    if bad > _REPORTED:
        say(f"… and {bad - _REPORTED:,} more lines that are no seeds")
    return bad


def no_seeds(sources: list[str], bad: int) -> CobnutError:
    """What is to be raised where no line is a seed."""
    return CobnutError(
        f"{', '.join(sources)}: no seeds{f', {bad:,} bad lines' if bad else ''}; "
        "a seed is a line with a URL, such as https://example.com/"
    )


def first_of_each(table: pa.Table) -> pa.Table:
    """Sorted by fingerprint, of equal ones only the first in the input."""
    if not table.num_rows:
        return table
    keys = shards.key_bytes(table["fingerprint"])
    by_place = np.argsort(table["order"].to_numpy(), kind="stable")
    order = by_place[shards.sort_order(keys[by_place])]
    keys = keys[order]
    first = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])
    return table.unify_dictionaries().take(pa.array(order[first]))


def numbered_lines(item: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(number, line) of a work item's piece of a seed file."""
    with _open(item["path"]) as file:
        file.seek(item["start"])
        content = gzip.GzipFile(fileobj=file) if item["gzip"] else io.BytesIO(file.read(item["bytes"]))
        text = io.TextIOWrapper(cast(IO[bytes], content), "utf-8", errors="surrogateescape", newline="\n")
        yield from enumerate(text, item["line"])


def run(run: Run, sources: list[str], update: bool = False) -> int:
    """Inject the seeds of files, directories or `-` (stdin). CobnutError if no line of them is a seed."""
    watch = Stopwatch()
    items = work_list(sources, run)
    now = run.now()
    snapshot = run.store.snapshot_or_new(run.settings.store)
    records = run.job(
        Inject, items, {"now": now, "update": update, "version": snapshot.version + 1, "shards": snapshot.shards},
        "inject", "files",
    )  # fmt: skip
    bad = tell_bad_lines(records)
    files = {record["shard"]: shards.File.from_dict(record["file"]) for record in records if "shard" in record}
    seeds = sum(file.rows for file in files.values())
    if not seeds:
        raise no_seeds(sources, bad)
    policy = Policy(run.settings.schedule, run.settings.score)
    entry: LogEntry = run.store.commit_delta(
        snapshot.entry, "inject", files, policy, now, statistics={"seeds": seeds, "bad": bad}
    )
    say(f"inject    {seeds:,} seeds, {bad:,} bad lines; crawldb version {entry.version} {watch}")
    return 0


def work_list(sources: list[str], run: Run) -> list[dict[str, Any]]:
    """Pieces of all seed files, each beginning at a line's start and knowing that line's number."""
    items: list[dict[str, Any]] = []
    for number, (name, path) in enumerate(_seed_files(sources, run.control)):
        with _open(path) as file:
            zipped = file.read(2) == b"\x1f\x8b"
        if zipped:
            _check_gzip(name, path)
        pieces = [(0, 0, 1)] if zipped else list(_pieces(path))
        path = run.visible_to_tasks(path)
        items += [
            {"file": number, "name": name, "path": path, "gzip": zipped, "start": start, "bytes": size, "line": line}
            for start, size, line in pieces
        ]
    return items


def _seed_files(sources: list[str], directory: str) -> Iterator[tuple[str, str]]:
    """(name to show, path) of every seed file."""
    for source in sources:
        if source == "-":
            spooled = f"{directory}/stdin"
            with open(spooled, "wb") as file:
                for block in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
                    file.write(block)
            yield "-", spooled
            continue
        if is_uri(source):
            yield from _seed_files_on(source)
            continue
        path = Path(source)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_")))
            if not files:
                raise UsageError(f"{source}: no seed files in this directory")
            yield from ((str(file), str(file.absolute())) for file in files)
        elif path.is_file():
            yield source, str(path.absolute())
        else:
            raise UsageError(f"{source}: no such file or directory")


def _seed_files_on(source: str) -> Iterator[tuple[str, str]]:
    """`_seed_files` of a file or directory that is not this machine's."""
    fs, path = resolve(source)
    if not fs.exists(path):
        raise UsageError(f"{source}: no such file or directory")
    names = [name for name in fs.names(path) if not name.startswith("_")]
    if names:
        for name in names:
            yield from _seed_files_on(f"{path}/{name}")
    else:
        yield path, path


def _open(path: str) -> io.BufferedReader:
    fs, path = resolve(path)
    return io.BufferedReader(fs.open_input(path))


def _check_gzip(name: str, path: str) -> None:
    try:
        with _open(path) as source, gzip.GzipFile(fileobj=source) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError) as error:
        raise UsageError(f"{name}: a broken gzip file: {error}") from None


def _pieces(path: str) -> Iterator[tuple[int, int, int]]:
    """(start, bytes, number of the first line) of pieces of about PIECE bytes that end at line ends."""
    start, line = 0, 1
    with _open(path) as file:
        while block := file.read(PIECE):
            block += file.readline()
            yield start, len(block), line
            start, line = start + len(block), line + block.count(b"\n")


def main(argv: list[str] | None = None) -> int:
    """`cobnut inject CRAWL_DIR SEEDS…`"""
    arguments = parser(
        "inject", "Put seeds into the crawldb: lines URL[<TAB>key=value]…, as files, gzip or directories."
    )
    arguments.add_argument("seeds", metavar="SEEDS", nargs="+", help="files or directories; - reads stdin")
    arguments.add_argument(
        "--update", action="store_true", help="known requests take over the seeds' score, interval, …"
    )
    options: argparse.Namespace = arguments.parse_args(argv)
    return execute("inject", options, lambda run_: run(run_, options.seeds, options.update))


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["inject", *sys.argv[1:]]))
