"""Does a piece of work again and again, killed (SIGKILL) at its first, second, … step, and tells what was left.

    python killed_writers.py WORK DIRECTORY      one JSON object a line: what the check after each kill found

A step is the moment before a call by which the work changes the file system, or the middle of a write.
WORK is one of WORKS. Everything runs in forked processes; this one only imports and waits.
"""

from __future__ import annotations

import builtins
import io
import itertools
import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow as pa

from crawldb import schema, shards, update
from crawldb.hosts import HOSTDB
from crawldb.links import LINKDB, SOURCEDB
from crawldb.robotstxt import ROBOTSDB
from crawldb.segments import DATASETS, Segments
from crawldb.settings import Policy, StoreSettings
from crawldb.sitemaps import SITEMAPDB
from crawldb.store import CRAWLDB, LogEntry, Store
from tests.crawldb import tables

NOW = tables.NOW
RETENTION = StoreSettings(keep_versions=1, keep_hours=0)


class Work(NamedTuple):
    """What is done in a directory: `prepare` once, `act` (again after a kill), `check` after it."""

    prepare: Callable[[str], None]
    act: Callable[[str], None]
    check: Callable[[str], dict[str, Any]]
    """What is there, while nobody works. `wrong` lists what must not be."""
    follow: Callable[[str], None]
    """The next work of this kind: after it there must be no garbage."""


# -- killing -------------------------------------------------------------------------------------------------


class DyingFile(io.FileIO):
    """Unbuffered; its first, third, ninth, … write is a step."""

    writes = 0

    def write(self, data: Any) -> int:
        """Write half of it, then the rest."""
        content = bytes(data)
        half = len(content) // 2
        counted = self.writes in (0, 2, 8, 26, 80)
        self.writes += 1
        super().write(content[:half])
        if counted:
            step()
        super().write(content[half:])
        return len(content)


_steps = 0
_last = sys.maxsize


def step() -> None:
    """Die if this was the last step."""
    global _steps
    _steps += 1
    if _steps >= _last:
        os.kill(os.getpid(), signal.SIGKILL)


def die_at(last: int) -> None:
    """From now on this process counts its steps and dies at this one."""
    global _last
    _last = last
    for name in ("link", "unlink", "fsync", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    really_open = builtins.open

    def opening(path: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if "x" not in mode:
            return really_open(path, mode, *rest, **more)
        step()
        return DyingFile(path, mode)

    builtins.open = opening


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a step before it."""

    def stepping(*arguments: Any, **more: Any) -> Any:
        step()
        return function(*arguments, **more)

    return stepping


def in_child(function: Callable[[], None]) -> int:
    """Run it in a process of its own; how that ended, as os.wait has it."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        function()
    except BaseException as error:
        import traceback

        traceback.print_exc()
        print(json.dumps({"wrong": [f"{type(error).__name__}: {error}"]}), flush=True)
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def main(name: str, root: str) -> None:
    """Kill `name` at every step there is."""
    work = WORKS[name]
    prepared = f"{root}/prepared"
    in_child(lambda: work.prepare(prepared))
    in_child(lambda: keep_expected(root))
    for last in itertools.count(1):
        directory = f"{root}/{last}"

        def until_killed(directory: str = directory, last: int = last) -> None:
            shutil.copytree(prepared, directory)
            die_at(last)
            work.act(directory)

        def then(directory: str = directory, last: int = last, killed: bool = False) -> None:
            found = work.check(directory)
            work.act(directory)
            again = work.check(directory)
            work.follow(directory)
            again["wrong"] += garbage(directory)
            print(json.dumps({"step": last, "left": found, "again": again, "wrong": found["wrong"] + again["wrong"]}))

        killed = os.WIFSIGNALED(in_child(until_killed))
        in_child(then)
        if not killed:
            print(json.dumps({"completed_at": last, "wrong": []}))
            return


# -- what is on disk -----------------------------------------------------------------------------------------


def files_below(path: str) -> set[str]:
    """Paths of all files, relative to `path`."""
    return {
        os.path.relpath(os.path.join(directory, name), path) for directory, _, names in os.walk(path) for name in names
    }


def garbage(crawl_dir: str) -> list[str]:
    """The files of a crawl that no log entry and no manifest names."""
    segments = Segments(crawl_dir)
    named: set[str] = set()
    for store in (Store(crawl_dir, kind) for kind in (CRAWLDB, HOSTDB, ROBOTSDB, LINKDB, SOURCEDB, SITEMAPDB)):
        named |= {os.path.relpath(store.log_path(version), crawl_dir) for version in store.versions()}
        for entry in store.entries().values():
            for layer in entry.layers():
                named |= {f"{store.kind.name}/{layer.directory}/{file.name}" for file in layer.files.values()}
    committed = segments.committed()
    named |= {f"segments/log/{number:08d}.json" for number in range(segments.last_number() + 1)}
    for segment in committed:
        named.add(f"segments/{segment.name}/_generate.json")
        for dataset in DATASETS:
            if segment.is_complete(dataset):
                named.add(f"segments/{segment.name}/{dataset}/_manifest.json")
                named |= {f"segments/{segment.name}/{dataset}/{file.name}" for file in segment.files(dataset)}
    found = files_below(crawl_dir)
    return [f"garbage: {name}" for name in sorted(found - named)] + [f"lost: {name}" for name in sorted(named - found)]


def key(number: int) -> bytes:
    """Fingerprint `number` of up to 256, all over the shards."""
    return bytes([number * 7 % 256]) + bytes(18) + bytes([number])


def seeds(first: int, last: int) -> pa.Table:
    """A delta."""
    return tables.delta(
        *({"fingerprint": key(n), "injected": True, "score": float(first), "discovered_at": NOW, "update": True}
          for n in range(first, last))
    )  # fmt: skip


def write(store: Store, version: int, kind: str, table: pa.Table, number_of_shards: int) -> dict[int, shards.File]:
    """The table as files of a version."""
    files = {}
    for shard, part in shards.split(table, number_of_shards):
        path = store.part_path(version, kind, shard)
        with shards.Writer(store.fs, path, schema.DELTA if kind == "delta" else schema.STATE, row_group=100) as writer:
            writer.write(part)
        files[shard] = writer.file
    return files


DELTAS = [seeds(0, 12), seeds(8, 20), seeds(3, 15)]
EMPTY = LogEntry(-1, "new", 0, 2, None, ())


def keep_expected(root: str) -> None:
    """Write down the rows after every number of DELTAS."""
    states = [schema.STATE.empty_table()]
    for delta in DELTAS:
        states.append(update.apply(states[-1], delta, Policy()))
    Path(f"{root}/expected").write_bytes(pickle.dumps([tables.rows(state) for state in states]))


def commit_until(directory: str, commits: int) -> None:
    """Commit DELTAS that are not there yet."""
    store = Store(directory)
    while len(store.versions()) < commits:
        entry = store.snapshot().entry if store.versions() else EMPTY
        done = len(store.versions())
        files = write(store, entry.version + 1, "delta", DELTAS[done], 2)
        store.commit_delta(entry, "inject", files, Policy(), NOW, segment=f"segment{done}")


def check_versions(directory: str) -> dict[str, Any]:
    """Every version in the log holds what it held when it was committed; a base is the state of the one before."""
    store = Store(directory)
    expected = pickle.loads(Path(f"{directory}/../expected").read_bytes())
    wrong = []
    for version in store.versions():
        snapshot = store.snapshot(version)
        found = [row for table in snapshot.scan() for row in tables.rows(table)]
        if found != expected[len(snapshot.entry.applied)] or len(snapshot.entry.applied) != min(version + 1, 3):
            wrong.append(f"version {version} is another")
    return {"versions": store.versions(), "wrong": wrong}


# -- the pieces of work --------------------------------------------------------------------------------------


def first_commit(directory: str) -> None:
    """The first commit of a crawl."""
    commit_until(directory, 1)


def prepare_second(directory: str) -> None:
    """One commit, and the garbage of one that crashed in trying the second."""
    commit_until(directory, 1)
    write(Store(directory), 1, "delta", seeds(0, 256), 2)


def second_commit(directory: str) -> None:
    """Another one."""
    commit_until(directory, 2)


def third_commit(directory: str) -> None:
    """And another one."""
    commit_until(directory, 3)


def compaction_and_retention(directory: str) -> None:
    """A base, then no other version."""
    store = Store(directory)
    entry = store.snapshot().entry
    if entry.kind != "compact":
        state = pa.concat_tables(store.snapshot().scan()).unify_dictionaries()
        files = write(store, entry.version + 1, "base", state, 4)
        store.commit_base(entry, 4, files, NOW + 1, {})
    store.expire(RETENTION, NOW + 10)


def nothing(directory: str) -> None:
    """A directory."""
    os.makedirs(directory)


def generate(directory: str) -> None:
    """What generate does: a segment, committed; then the garbage of crashed ones goes."""
    segments = Segments(directory)
    number = segments.last_number() + 1
    segment = segments.begin(NOW, number)
    files = []
    for task in range(2):
        with shards.Writer(segments.fs, segment.part_path("fetchlist", task), schema.FETCHLIST) as writer:
            writer.write(fetchlist().slice(task * 5, 5))
        files.append(writer.file)
    segment.commit("fetchlist", files, NOW, {})
    segments.commit(segment, number, NOW, [])
    segments.remove_garbage()


def fetchlist() -> pa.Table:
    """Ten requests."""
    return pa.table({name: seeds(0, 10)[name] if name in schema.DELTA.names else pa.nulls(10, schema.FETCHLIST.field(name).type)
                     for name in schema.FETCHLIST.names}, schema.FETCHLIST)  # fmt: skip


def check_segments(directory: str) -> dict[str, Any]:
    """Every segment in the log has its whole fetchlist."""
    segments = Segments(directory)
    committed = segments.committed()
    wrong = []
    for segment in committed:
        if not segment.is_complete("fetchlist") or segment.fingerprints().shape != (10, 20):
            wrong.append(f"{segment.name}: not its fetchlist")
    if len(committed) != segments.last_number() + 1:
        wrong.append("a segment in the log is not there")
    return {"segments": len(committed), "wrong": wrong}


def fetch(directory: str) -> None:
    """What fetch does: adopt finished chunks, make the others, commit them all."""
    segment = Segments(directory).committed()[0]
    files = []
    for number in range(3):
        finished = list(segment.finished_parts("content", f"part-00000-{number:04d}-"))
        if finished:
            name, path = finished[0]
            files.append(shards.File(name, 2, segment.fs.size(path)))
            continue
        with shards.Writer(segment.fs, segment.part_path("content", 0, number), schema.FETCHLIST) as writer:
            writer.write(fetchlist().slice(number * 2, 2))
        files.append(writer.file)
    segment.commit("content", files, NOW, {})


def check_content(directory: str) -> dict[str, Any]:
    """A finished chunk is whole, and so is the content if it's complete."""
    segment = Segments(directory).committed()[0]
    finished = [name for name, _ in segment.finished_parts("content", "part-00000-")]
    wrong = [f"{name} is not whole" for name in finished if segment.read("content", name).num_rows != 2]
    if segment.is_complete("content") and segment.fingerprints("content").shape != (6, 20):
        wrong.append("not its content")
    return {"chunks": len(finished), "complete": segment.is_complete("content"), "wrong": wrong}


WORKS = {
    "first-commit": Work(nothing, first_commit, check_versions, second_commit),
    "commit": Work(prepare_second, second_commit, check_versions, third_commit),
    "compaction": Work(third_commit, compaction_and_retention, check_versions, compaction_and_retention),
    "generate": Work(nothing, generate, check_segments, generate),
    "fetch": Work(generate, fetch, check_content, fetch),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
