"""The crawldb, its segments and what reads them, on a real HDFS: the same rows as on the local file system."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawldb import dump, schema, shards
from crawldb.errors import ConflictError, CorruptionError, UsageError
from crawldb.filesystem import resolve
from crawldb.segments import Segments
from crawldb.settings import Policy, StoreSettings
from crawldb.shards import Writer
from crawldb.store import LogEntry, Snapshot, Store
from tests.crawldb import golden_crawldb, tables
from tests.crawldb.golden_crawldb import DAY, NOW

pytestmark = pytest.mark.slow

SHARDS = 4


@pytest.fixture
def crawl_dir() -> Iterator[str]:
    """A crawl directory on HDFS, not yet there; its URI."""
    path = f"hdfs:///tmp/cobnut-tests/{uuid.uuid4().hex}"
    yield path
    fs, absolute = resolve(path)
    fs.remove(absolute)


def rows(snapshot: Snapshot, columns: list[str] | None = None) -> list[dict[str, Any]]:
    return [row for table in snapshot.scan(columns) for row in tables.rows(table)]


def history(crawl_dir: str) -> Store:
    """Seeds, a second injection of some, a compaction into more shards, a delta."""
    store = Store(crawl_dir)
    entry = store.snapshot_or_new(StoreSettings(shards=SHARDS)).entry

    def key(number: int) -> bytes:
        return bytes([number * 5 % 256, number]) + bytes(18)

    def written(table: Any, kind: str, version: int, number_of_shards: int) -> dict[int, shards.File]:
        files = {}
        for shard, part in shards.split(table, number_of_shards):
            wanted = schema.STATE if kind == "base" else schema.DELTA
            with Writer(store.fs, store.part_path(version, kind, shard), wanted, row_group=20) as writer:
                writer.write(part)
            files[shard] = writer.file
        return files

    def delta(numbers: range, entry: LogEntry, **values: Any) -> LogEntry:
        learned = tables.delta(*(
            {"fingerprint": key(n), "injected": True, "discovered_at": NOW + n, "score": n / 7, **values}
            for n in sorted(numbers, key=key)
        ))  # fmt: skip
        files = written(learned, "delta", entry.version + 1, entry.shards)
        return store.commit_delta(entry, "inject", files, Policy(), NOW - 10 * DAY)

    entry = delta(range(200), entry)
    entry = delta(range(50, 90), entry, update=True)
    import pyarrow as pa

    state = pa.concat_tables([*store.snapshot().scan()]).unify_dictionaries()
    files = written(state, "base", entry.version + 1, 8)
    entry = store.commit_base(entry, 8, files, NOW - 9 * DAY, {"status": {}})
    delta(range(190, 220), entry, score=0.5)
    return store


def test_a_store_on_hdfs_equals_the_local_one(crawl_dir: str, tmp_path: Path) -> None:
    there, here = history(crawl_dir), history(str(tmp_path / "crawl"))
    assert there.versions() == here.versions() == [0, 1, 2, 3]
    for version in here.versions():
        assert rows(there.snapshot(version)) == rows(here.snapshot(version)) != []
        wanted = ["status", "score", "fingerprint"]
        assert rows(there.snapshot(version), wanted) == rows(here.snapshot(version), wanted)
    fingerprint = rows(here.snapshot(), ["fingerprint"])[77]["fingerprint"]
    assert there.snapshot().lookup(fingerprint).equals(here.snapshot().lookup(fingerprint))
    settings = StoreSettings(keep_versions=1, keep_hours=1)
    assert there.expire(settings, NOW) == here.expire(settings, NOW) == 3
    assert there.versions() == here.versions() == [3]
    assert sorted(there.fs.all_names(there.path)) == sorted(here.fs.all_names(here.path))
    assert rows(there.snapshot()) == rows(here.snapshot())


def test_two_writers_and_missing_files(crawl_dir: str) -> None:
    store = history(crawl_dir)
    entry = store.snapshot().entry
    old = store.entry(entry.version - 1)
    with pytest.raises(ConflictError, match=r"^hdfs:///\S+: another inject committed version 3 first"):
        store.commit_delta(old, "updatedb", {}, Policy(), NOW)
    assert store.versions() == [0, 1, 2, 3]
    (file, *_) = entry.deltas[-1].files.values()
    path = f"{store.path}/{entry.deltas[-1].directory}/{file.name}"
    store.fs.remove(path)
    with pytest.raises(CorruptionError, match=rf"^{path}: the file is missing"):
        rows(store.snapshot())


def test_segments(crawl_dir: str) -> None:
    segments = Segments(crawl_dir)
    assert segments.committed() == []
    segment = segments.begin(NOW, segments.last_number() + 1)
    other = segments.begin(NOW, segments.last_number() + 1)
    assert other.name != segment.name
    with Writer(segment.fs, segment.part_path("fetchlist", 0), schema.FETCHLIST) as writer:
        writer.write(schema.FETCHLIST.empty_table())
    assert segment.commit("fetchlist", [writer.file], NOW, {})
    segments.commit(segment, 0, NOW, [])
    with pytest.raises(ConflictError, match="another generate committed"):
        segments.commit(other, 0, NOW, [])
    segments.remove_garbage()
    assert [found.name for found in Segments(crawl_dir).committed()] == [segment.name]
    assert sorted(segments.fs.all_names(segments.path)) == sorted(["log", segment.name])
    assert segments.find(segment.name).files("fetchlist") == [writer.file]
    assert not segment.commit("fetchlist", [], NOW, {})


@pytest.mark.parametrize("options", [[], ["--stats"], ["--top", "2", "--format", "csv"], ["--as-of", "0"],
                                     ["--where", "status = 'gone'"], ["--url", "https://example.com/"]])  # fmt: skip
def test_dump_says_the_same(
    crawl_dir: str, tmp_path: Path, options: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    golden_crawldb.build(crawl_dir)
    golden_crawldb.build(tmp_path / "crawl")
    outputs = []
    for place in (crawl_dir, str(tmp_path / "crawl")):
        assert dump.main([place, *options], NOW) == 0
        outputs.append(capfdbinary.readouterr().out)
    assert outputs[0] == outputs[1] != b""


def test_dump_into_hdfs(crawl_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    golden_crawldb.build(crawl_dir)
    fs, path = resolve(crawl_dir)
    assert dump.main([crawl_dir, "--columns", "url", "-o", f"{crawl_dir}/out.jsonl"], NOW) == 0
    assert fs.read(f"{path}/out.jsonl").startswith(b'{"url":')
    assert dump.main([crawl_dir, "-o", f"{crawl_dir}/out.jsonl"], NOW) == 2
    assert "there is such a file" in capsys.readouterr().err
    assert fs.all_names(path) == ["crawldb", "out.jsonl"]


def test_nothing_there(crawl_dir: str) -> None:
    with pytest.raises(UsageError, match=r"^hdfs:///\S+: no crawldb here"):
        Store(crawl_dir).snapshot()
