"""The commit log: what a version is, who wins, what a kill leaves, and that every way of reading a state agrees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawldb import schema, shards, update
from crawldb.errors import ConflictError, CorruptionError, UsageError
from crawldb.settings import Policy, ScheduleSettings, ScoreSettings, StoreSettings
from crawldb.shards import Reader, Writer
from crawldb.store import LogEntry, Snapshot, Store
from tests.crawldb import tables
from tests.crawldb.killed_writers import files_below, garbage
from tests.crawldb.tables import NOW

HOUR = 3_600_000
POLICIES = [
    Policy(),
    Policy(ScheduleSettings(name="adaptive", interval=7200, max_retries=1), ScoreSettings(name="depth")),
]


def key(number: int) -> bytes:
    """One of 64 fingerprints, in all shards; every four neighbours share 8 bytes or more, and some end in NULs."""
    return (
        bytes([number // 4 * 16])
        + bytes(15)
        + [bytes(4), b"\x00\x00\x00\x01", b"\x00\x01\x00\x00", b"\xff" * 4][number % 4]
    )


def seeds(*numbers: int, **values: Any) -> pa.Table:
    """A delta of seeds."""
    return tables.delta(
        *({"fingerprint": key(n), "injected": True, "discovered_at": NOW, "score": 1.0, **values} for n in numbers)
    )


class Builder:
    """Makes a crawldb of tables; knows the state of every version by folding them with `update.apply`."""

    def __init__(self, path: Path, number_of_shards: int = 2, row_group: int = 4) -> None:
        self.store = Store(str(path))
        self.row_group = row_group
        self.entry = LogEntry(-1, "new", 0, number_of_shards, None, ())
        self.states = [schema.STATE.empty_table()]

    @property
    def snapshot(self) -> Snapshot:
        """The newest version."""
        return self.store.snapshot()

    def files(self, table: pa.Table, kind: str, version: int, number_of_shards: int) -> dict[int, shards.File]:
        """The table as files of a version that is hoped for."""
        found = {}
        for shard, part in shards.split(table, number_of_shards):
            path = self.store.part_path(version, kind, shard)
            wanted = schema.STATE if kind == "base" else schema.DELTA
            with Writer(self.store.fs, path, wanted, self.row_group) as writer:
                writer.write(part)
            found[shard] = writer.file
        return found

    def delta(
        self, table: pa.Table, policy: Policy | None = None, now: int = NOW, segment: str | None = None
    ) -> LogEntry:
        """Commit a delta."""
        policy = policy or Policy()
        files = self.files(table, "delta", self.entry.version + 1, self.entry.shards)
        self.entry = self.store.commit_delta(self.entry, "inject", files, policy, now, segment)
        self.states.append(update.apply(self.states[-1], table, policy) if table.num_rows else self.states[-1])
        return self.entry

    def base(self, number_of_shards: int | None = None, now: int = NOW) -> LogEntry:
        """Commit a base: what compaction does."""
        wanted = number_of_shards or self.entry.shards
        pieces = [*self.snapshot.scan()] or [self.states[0]]
        files = self.files(pa.concat_tables(pieces).unify_dictionaries(), "base", self.entry.version + 1, wanted)
        self.entry = self.store.commit_base(self.entry, wanted, files, now, {"status": {}})
        self.states.append(self.states[-1])
        return self.entry

    def expected(self, version: int) -> list[dict[str, Any]]:
        """The rows of a version."""
        return tables.rows(self.states[version + 1])


def scanned(snapshot: Snapshot, columns: Sequence[str] | None = None, shard: int | None = None) -> list[dict[str, Any]]:
    """The rows of a scan."""
    return [row for table in snapshot.scan(columns, shard) for row in tables.rows(table)]


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """An empty crawldb in a directory with a space in its name."""
    return Builder(tmp_path / "a crawl")


# -- commits and versions ------------------------------------------------------------------------------------


def test_every_commit_is_a_version_and_old_ones_stay_as_they_were(builder: Builder) -> None:
    builder.delta(seeds(0, 5, 40))
    builder.delta(seeds(5, 6, update=True, score=9.0))
    builder.base()
    builder.delta(seeds(1, 63))
    assert builder.store.versions() == [0, 1, 2, 3]
    for version in range(4):
        snapshot = builder.store.snapshot(version)
        assert snapshot.version == version
        assert scanned(snapshot) == builder.expected(version)
    assert len(builder.expected(3)) == 6
    assert builder.snapshot.version == 3
    assert builder.snapshot.rows == 6
    assert builder.snapshot.bytes_on_disk == sum(
        os.path.getsize(f"{builder.store.path}/{name}")
        for name in files_below(builder.store.path)
        if name.startswith(("00000002-base/", "00000003-delta/"))
    )


def test_entries_come_back_as_they_were_committed(builder: Builder) -> None:
    policy = POLICIES[1]
    builder.delta(seeds(0, 60), policy, now=123_456_789, segment="20261124T101500Z")
    files = builder.files(seeds(7), "delta", 1, 2)
    builder.entry = builder.store.commit_delta(
        builder.entry, "updatedb", files, Policy(), NOW, "20261124T101501Z", {"outcomes": {"success": 3}}
    )
    read = builder.store.entry(1)
    assert read == builder.entry
    assert read.applied == ("20261124T101500Z", "20261124T101501Z")
    assert read.segment == "20261124T101501Z"
    assert read.statistics == {"outcomes": {"success": 3}}
    assert read.deltas[0].policy == policy
    assert read.deltas[0].rows == 2
    compacted = builder.base(8)
    assert builder.store.entry(2) == compacted
    assert compacted.applied == read.applied
    assert compacted.deltas == ()
    assert compacted.shards == 8
    assert compacted.segment is None
    assert builder.delta(seeds(1)).segment is None
    log = json.loads(Path(builder.store.log_path(0)).read_text())
    assert log["committed_at"] == "1970-01-02T10:17:36.789000+00:00"


def test_commit_that_learned_nothing_is_a_version_without_a_layer(builder: Builder) -> None:
    builder.delta(seeds(1))
    entry = builder.delta(schema.DELTA.empty_table(), segment="20261124T101500Z")
    assert entry.applied == ("20261124T101500Z",)
    assert len(entry.deltas) == 1
    assert scanned(builder.snapshot) == builder.expected(0)


def test_crawldb_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^/.*: no crawldb here; inject seeds first"):
        Store(str(tmp_path)).snapshot()
    snapshot = Store(str(tmp_path)).snapshot_or_new(StoreSettings(shards=16))
    assert (snapshot.version, snapshot.shards, snapshot.rows) == (-1, 16, 0)
    assert scanned(snapshot) == []
    assert snapshot.lookup(key(1)).num_rows == 0
    assert os.listdir(tmp_path) == []


def test_snapshot_or_new_is_the_newest_version_of_a_crawldb_that_is_there(builder: Builder) -> None:
    builder.delta(seeds(1))
    assert builder.store.snapshot_or_new(StoreSettings(shards=64)).shards == 2


def test_version_that_is_not_there(builder: Builder) -> None:
    for number in range(5):
        builder.delta(seeds(number), now=NOW + number)
    os.unlink(builder.store.log_path(1))
    with pytest.raises(UsageError, match=r"^--as-of 1: there are the versions 0, 2-4$"):
        builder.store.snapshot(1)
    with pytest.raises(UsageError, match=r"^--as-of 5: "):
        builder.store.snapshot(5)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"3", b'"x"', b"{}", b'{"schema_version": 1}', b'{"schema_version": null}'],
)
def test_log_entry_that_is_none_is_named(builder: Builder, content: bytes) -> None:
    builder.delta(seeds(1))
    path = builder.store.log_path(0)
    Path(path).write_bytes(content)
    with pytest.raises(CorruptionError, match=f"^{path}: not a log entry: "):
        builder.snapshot.scan()


def test_log_entry_with_files_of_another_form_is_named(builder: Builder) -> None:
    builder.delta(seeds(1))
    path = Path(builder.store.log_path(0))
    values = json.loads(path.read_text())
    values["deltas"][0]["files"] = []
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptionError, match=f"^{path}: not a log entry: "):
        builder.store.snapshot()


def test_log_entry_of_a_newer_schema_is_refused(builder: Builder) -> None:
    builder.delta(seeds(1))
    path = Path(builder.store.log_path(0))
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(CorruptionError, match=f"^{path}: schema version 2 is newer than this program's 1; install"):
        builder.store.snapshot()


def test_file_that_the_log_names_and_is_gone_is_named(builder: Builder) -> None:
    layer = builder.delta(seeds(1)).deltas[0]
    path = f"{builder.store.path}/{layer.directory}/{layer.files[0].name}"
    os.unlink(path)
    with pytest.raises(CorruptionError, match=f"^{path}: the file is missing"):
        scanned(builder.snapshot)
    with pytest.raises(CorruptionError, match=f"^{path}: the file is missing"):
        builder.snapshot.lookup(key(1))


def test_file_with_other_rows_than_the_log_says_is_named(builder: Builder) -> None:
    layer = builder.delta(seeds(1)).deltas[0]
    path = f"{builder.store.path}/{layer.directory}/{layer.files[0].name}"
    os.unlink(path)
    with Writer(builder.store.fs, path, schema.DELTA) as writer:
        writer.write(seeds(1, 2))
    with pytest.raises(CorruptionError, match=f"^{path}: 2 rows; the log says 1$"):
        scanned(builder.snapshot)


# -- two writers ---------------------------------------------------------------------------------------------


def test_of_two_writers_one_wins_and_the_other_changes_nothing(builder: Builder) -> None:
    builder.delta(seeds(1))
    onto = builder.entry
    winners = builder.files(seeds(2, 50), "delta", 1, 2)
    losers = builder.files(seeds(3, 51), "delta", 1, 2)
    builder.store.commit_delta(onto, "inject", winners, Policy(), NOW)
    before = files_below(builder.store.crawl_dir)
    with pytest.raises(
        ConflictError,
        match=r"/a crawl: another inject committed version 1 first; this updatedb changed nothing: run it again$",
    ):
        builder.store.commit_delta(onto, "updatedb", losers, Policy(), NOW)
    assert files_below(builder.store.crawl_dir) == before
    assert garbage(builder.store.crawl_dir) == []
    assert [row["fingerprint"] for row in scanned(builder.snapshot)] == [key(1), key(2), key(50)]


def test_beaten_compaction_leaves_nothing(builder: Builder) -> None:
    builder.delta(seeds(1, 50))
    onto = builder.entry
    files = builder.files(builder.states[-1], "base", 1, 4)
    builder.delta(seeds(2))
    with pytest.raises(ConflictError, match="another inject committed version 1 first; this compact changed nothing"):
        builder.store.commit_base(onto, 4, files, NOW, {})
    assert garbage(builder.store.crawl_dir) == []
    assert scanned(builder.snapshot) == builder.expected(1)


def test_loser_that_goes_on_writing_after_the_winners_commit_leaves_nothing(builder: Builder) -> None:
    builder.delta(seeds(1))
    onto = builder.entry
    open_writer = Writer(builder.store.fs, builder.store.part_path(1, "delta", 0), schema.DELTA, 2)
    open_writer.write(seeds(3, 4, 5))
    builder.delta(seeds(2))
    with pytest.raises(ConflictError, match="removed while it was written"):
        open_writer.close()
    late = builder.files(seeds(6), "delta", 1, 2)
    with pytest.raises(ConflictError):
        builder.store.commit_delta(onto, "inject", late, Policy(), NOW)
    assert garbage(builder.store.crawl_dir) == []


def test_of_many_at_once_one_wins(builder: Builder) -> None:
    for _ in range(5):
        onto = builder.entry
        start = threading.Barrier(4)
        won: list[LogEntry] = []
        lost: list[ConflictError] = []

        def commit(number: int, onto: LogEntry = onto, start: Any = start, won: Any = won, lost: Any = lost) -> None:
            start.wait()
            try:
                files = builder.files(seeds(number, number + 40), "delta", onto.version + 1, 2)
                won.append(builder.store.commit_delta(onto, "inject", files, Policy(), NOW, f"by {number}"))
            except ConflictError as error:
                lost.append(error)

        threads = [threading.Thread(target=commit, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 3)
        builder.entry = builder.snapshot.entry
        assert builder.entry == won[0]
        number = int(str(builder.entry.segment)[3:])
        assert [builder.snapshot.lookup(key(n)).num_rows for n in (number, number + 40)] == [1, 1]
    assert garbage(builder.store.crawl_dir) == []


def test_writer_that_slept_past_retention_has_not_won(builder: Builder) -> None:
    """Its number's entry is gone, so that the name is free again."""
    builder.delta(seeds(1))
    onto = builder.entry
    files = builder.files(seeds(9), "delta", 1, 2)
    for number in range(2, 6):
        builder.delta(seeds(number), now=NOW + number)
    builder.store.expire(StoreSettings(keep_versions=2, keep_hours=0), NOW + HOUR)
    assert builder.store.versions() == [3, 4]
    with pytest.raises(ConflictError, match="another inject committed version 4 first"):
        builder.store.commit_delta(onto, "inject", files, Policy(), NOW + HOUR)
    assert builder.store.versions() == [3, 4]
    assert garbage(builder.store.crawl_dir) == []
    assert scanned(builder.snapshot) == builder.expected(4)


# -- crashed writers -----------------------------------------------------------------------------------------


def test_next_commit_removes_what_a_crashed_writer_left(builder: Builder) -> None:
    builder.delta(seeds(1))
    builder.files(seeds(*range(64)), "delta", 1, 2)
    builder.files(builder.states[-1], "base", 1, 2)
    unfinished = Writer(builder.store.fs, builder.store.part_path(1, "delta", 0), schema.DELTA, 2)
    unfinished.write(seeds(1, 2, 3))
    Path(f"{builder.store.path}/log/.00000001.json.0123").write_bytes(b"{")
    assert len(garbage(builder.store.crawl_dir)) > 4
    builder.delta(seeds(2))
    assert garbage(builder.store.crawl_dir) == []
    assert scanned(builder.snapshot) == builder.expected(1)
    unfinished.abort()


def test_commit_removes_what_the_one_before_was_killed_over(builder: Builder) -> None:
    builder.delta(seeds(1))
    builder.files(seeds(*range(64)), "delta", 0, 2)
    Path(f"{builder.store.path}/log/.00000000.json.0123").write_bytes(b"{")
    builder.delta(seeds(2))
    assert garbage(builder.store.crawl_dir) == []


@pytest.mark.parametrize("sweep", ["commit", "conflict", "expire"])
def test_files_of_a_live_writer_for_a_later_version_are_left_alone(builder: Builder, sweep: str) -> None:
    builder.delta(seeds(1))
    onto = builder.entry
    if sweep == "conflict":
        builder.delta(seeds(2))
    later = builder.entry.version + (2 if sweep == "commit" else 1)
    live = builder.files(seeds(7), "delta", later, 2)
    unfinished = Writer(builder.store.fs, builder.store.part_path(later, "base", 0), schema.STATE)
    entry = Path(f"{builder.store.path}/log/.{later:08d}.json.0123")
    entry.touch()
    if sweep == "commit":
        builder.delta(seeds(2))
    elif sweep == "conflict":
        with pytest.raises(ConflictError):
            builder.store.commit_delta(onto, "inject", {}, Policy(), NOW)
    else:
        builder.store.expire(StoreSettings(keep_versions=1, keep_hours=0), NOW + HOUR)
    unfinished.close()
    assert entry.exists()
    builder.entry = builder.store.commit_delta(builder.entry, "inject", live, Policy(), NOW)
    assert builder.entry.version == later
    assert key(7) in [row["fingerprint"] for row in scanned(builder.snapshot)]


@pytest.mark.slow
@pytest.mark.parametrize("work", ["first-commit", "commit", "compaction"])
def test_kill_at_any_moment_loses_nothing_that_was_committed(tmp_path: Path, checkout: Path, work: str) -> None:
    """The store opens at the old or the new version, doing it again completes it, and the next commit tidies up."""
    found = kills(checkout, work, tmp_path)
    assert all(line["wrong"] == [] for line in found), [line for line in found if line["wrong"]]
    versions = [line["left"]["versions"] for line in found[:-1]]
    old, new = versions[0], found[-2]["again"]["versions"]
    assert len(versions) > 20
    if work == "compaction":
        # First the new version, then the old ones go.
        assert [seen for at, seen in enumerate(versions) if seen != versions[at - 1] or not at] == [
            [0, 1, 2], [0, 1, 2, 3], [1, 2, 3], [2, 3], [3],
        ]  # fmt: skip
    else:
        assert versions == sorted(versions)
        assert {tuple(seen) for seen in versions} == {tuple(old), tuple(new)}
        assert new == [*old, len(old)]
    assert {tuple(line["again"]["versions"]) for line in found[:-1]} == {tuple(new)}


def kills(checkout: Path, work: str, directory: Path) -> list[dict[str, Any]]:
    """What killed_writers.py says; its last line tells that the work was completed."""
    script = checkout / "tests/crawldb/killed_writers.py"
    done = subprocess.run(
        [sys.executable, str(script), work, str(directory)], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["completed_at"] == len(lines) - 1, done.stdout + done.stderr
    return lines


# -- retention -----------------------------------------------------------------------------------------------


def test_retention_keeps_the_last_versions_and_every_file_they_need(builder: Builder) -> None:
    for number in range(5):
        builder.delta(seeds(number, number + 50), now=NOW + number)
    builder.base(now=NOW + 5)
    builder.delta(seeds(30), now=NOW + 6)
    assert builder.store.expire(StoreSettings(keep_versions=3, keep_hours=0), NOW + 100) == 4
    assert builder.store.versions() == [4, 5, 6]  # 4 needs the deltas of 0 to 4
    for version in (4, 5, 6):
        assert scanned(builder.store.snapshot(version)) == builder.expected(version)
    assert builder.store.expire(StoreSettings(keep_versions=2, keep_hours=0), NOW + 100) == 1
    assert sorted(name for name in os.listdir(builder.store.path) if name != "log") == [
        "00000005-base",
        "00000006-delta",
    ]
    for version in (5, 6):
        assert scanned(builder.store.snapshot(version)) == builder.expected(version)
    assert garbage(builder.store.crawl_dir) == []


def test_retention_keeps_what_was_the_newest_less_than_keep_hours_ago(builder: Builder) -> None:
    """A reader may have opened a version until the moment its successor was committed."""
    for number in range(4):
        builder.delta(seeds(number), now=NOW + number * HOUR)
    keep = StoreSettings(keep_versions=1, keep_hours=2)
    # Superseded at 1 h, 2 h, 3 h; 3 is the newest.
    assert builder.store.expire(keep, NOW + 3 * HOUR) == 0
    assert builder.store.expire(keep, NOW + 3 * HOUR + 1) == 1
    assert builder.store.versions() == [1, 2, 3]
    assert builder.store.expire(keep, NOW + 99 * HOUR) == 2
    assert builder.store.versions() == [3]
    assert scanned(builder.snapshot) == builder.expected(3)


@pytest.mark.parametrize("keep_versions", [0, 1])
def test_retention_never_removes_the_newest_version(builder: Builder, keep_versions: int) -> None:
    builder.delta(seeds(1))
    builder.delta(seeds(2))
    keep = StoreSettings(keep_versions=keep_versions, keep_hours=0)
    assert builder.store.expire(keep, NOW + 1000 * HOUR) == 1
    assert builder.store.expire(keep, NOW + 1000 * HOUR) == 0
    assert scanned(builder.snapshot) == builder.expected(1)


def test_retention_removes_garbage_of_all_past_versions(builder: Builder) -> None:
    for number in range(3):
        builder.delta(seeds(number))
        builder.files(seeds(*range(20)), "delta", number, 2)
    assert garbage(builder.store.crawl_dir)
    assert builder.store.expire(StoreSettings(), NOW) == 0
    assert garbage(builder.store.crawl_dir) == []
    assert scanned(builder.store.snapshot(0)) == builder.expected(0)


def test_retention_while_another_process_does_it_too(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        builder.delta(seeds(number), now=NOW + number)
    versions = builder.store.versions()
    os.unlink(builder.store.log_path(0))
    monkeypatch.setattr(builder.store, "versions", lambda: versions)
    assert builder.store.expire(StoreSettings(keep_versions=1, keep_hours=0), NOW + HOUR) == 2
    assert scanned(builder.snapshot) == builder.expected(3)


# -- every way of reading agrees -----------------------------------------------------------------------------

_KINDS = (
    tables.fetched_row, tables.linked_row, tables.fetched_and_linked_row, tables.seed_row, tables.listed_row, tables.marked_row,
)  # fmt: skip
_DELTAS = st.dictionaries(st.integers(0, 63), st.integers(0, 1 << 32), max_size=14).map(
    lambda found: tables.delta(*({"fingerprint": key(number), **_KINDS[row % 4](row)} for number, row in found.items()))
)


class Commit(NamedTuple):
    """What a history is made of: a delta, or with None a compaction to so many shards."""

    delta: pa.Table | None
    policy: Policy
    shards: int


_HISTORIES = st.lists(
    st.builds(Commit, _DELTAS, st.sampled_from(POLICIES), st.just(0))
    | st.builds(Commit, st.none(), st.just(Policy()), st.sampled_from([1, 2, 8])),
    min_size=1, max_size=4,
)  # fmt: skip


def build(path: Path, history: list[Commit], number_of_shards: int, row_group: int) -> Builder:
    """A crawldb with this history."""
    builder = Builder(path, number_of_shards, row_group)
    for commit in history:
        if commit.delta is not None:
            builder.delta(nulls_for_empty_maps(commit.delta), commit.policy)
        elif builder.store.versions():
            builder.base(commit.shards)
    if not builder.store.versions():
        builder.delta(schema.DELTA.empty_table())
    return builder


def nulls_for_empty_maps(table: pa.Table) -> pa.Table:
    """On disk there are no empty maps: see shards.Writer."""
    for name in ("metadata", "headers"):
        values = pa.array([value or None for value in table[name].to_pylist()], schema.METADATA)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    return table


def many(examples: int) -> settings:
    """Hypothesis with a directory of its own for every example."""
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


@many(25)
@given(_HISTORIES, st.sampled_from([1, 2, 8]), st.integers(1, 5))
def test_scan_is_apply_folded_over_the_deltas_in_order(
    tmp_path_factory: pytest.TempPathFactory, history: list[Commit], number_of_shards: int, row_group: int
) -> None:
    builder = build(tmp_path_factory.mktemp("fold"), history, number_of_shards, row_group)
    for version in builder.store.versions():
        snapshot = builder.store.snapshot(version)
        found = list(snapshot.scan())
        for table in found:
            table.validate(full=True)
            assert table.schema.equals(schema.STATE)
            assert table.num_rows
        rows = [row for table in found for row in tables.rows(table)]
        assert rows == builder.expected(version)
        assert len(rows) <= snapshot.rows
    by_shard = [scanned(snapshot, shard=shard) for shard in range(snapshot.shards)]
    assert [row for part in by_shard for row in part] == rows
    half = snapshot.shards // 2
    ranges = [*snapshot.scan_range(0, half), *snapshot.scan_range(half, snapshot.shards)]
    assert [row for table in ranges for row in tables.rows(table)] == rows


@many(15)
@given(_HISTORIES, st.integers(1, 5), st.lists(st.sampled_from(schema.STATE.names), unique=True, min_size=1))
def test_scan_of_some_columns_is_the_scan_of_all_without_the_others(
    tmp_path_factory: pytest.TempPathFactory, history: list[Commit], row_group: int, columns: list[str]
) -> None:
    builder = build(tmp_path_factory.mktemp("columns"), history, 2, row_group)
    expected = [{name: row[name] for name in columns} for row in builder.expected(builder.entry.version)]
    found = list(builder.snapshot.scan(columns))
    assert [row for table in found for row in tables.rows(table)] == expected
    assert {tuple(table.column_names) for table in found} <= {tuple(columns)}


@many(10)
@given(_HISTORIES, st.sampled_from([1, 8]), st.integers(1, 5))
def test_lookup_is_the_row_of_the_scan(
    tmp_path_factory: pytest.TempPathFactory, history: list[Commit], number_of_shards: int, row_group: int
) -> None:
    builder = build(tmp_path_factory.mktemp("lookup"), history, number_of_shards, row_group)
    rows = {row["fingerprint"]: row for row in builder.expected(builder.entry.version)}
    for fingerprint in [*map(key, range(0, 64, 3)), *list(rows)[:8], bytes(19) + b"\x07", b"\xff" * 20]:
        found = builder.snapshot.lookup(fingerprint)
        assert found.schema.equals(schema.STATE)
        assert tables.rows(found) == ([rows[fingerprint]] if fingerprint in rows else [])


@many(6)
@given(_HISTORIES)
def test_any_number_of_shards_holds_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, history: list[Commit]
) -> None:
    path = tmp_path_factory.mktemp("shards")
    found = [scanned(build(path / str(number), history, number, 3).snapshot) for number in (1, 2, 8, 64)]
    assert found[0] == found[1] == found[2] == found[3]


# -- reading only what is needed -----------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(layer's directory, rows) of every row group that is read from now on."""
    made: list[tuple[str, int]] = []
    read = Reader._read

    def note(self: Reader, group: int, columns: Any) -> pa.Table:
        table = read(self, group, columns)
        made.append((Path(self._path).parent.name, table.num_rows))
        return table

    monkeypatch.setattr(Reader, "_read", note)
    return made


def test_lookup_reads_one_row_group_of_each_layer_that_has_the_row(
    builder: Builder, reads: list[tuple[str, int]]
) -> None:
    builder.delta(seeds(*range(64)))
    builder.base()
    builder.delta(seeds(*range(0, 64, 2), update=True, score=3.0))
    builder.delta(seeds(60, 61, 62, 63))
    reads.clear()
    assert builder.snapshot.lookup(key(2)).to_pylist()[0]["score"] == 3.0
    # The keys of one row group, then the row group, of the base and of the delta that has the row.
    assert reads == [("00000001-base", 4)] * 2 + [("00000002-delta", 4)] * 2
    reads.clear()
    assert builder.snapshot.lookup(key(3)).to_pylist()[0]["score"] == 1.0
    assert reads == [("00000001-base", 4)] * 2 + [("00000002-delta", 4)]


def test_scan_of_one_shard_opens_no_other(builder: Builder) -> None:
    layer = builder.delta(seeds(0, 1, 62, 63)).deltas[0]
    os.unlink(f"{builder.store.path}/{layer.directory}/{layer.files[1].name}")
    assert [row["fingerprint"] for row in scanned(builder.snapshot, shard=0)] == [key(0), key(1)]
    assert builder.snapshot.lookup(key(1)).num_rows == 1


def test_scan_reads_each_row_group_once_and_none_ahead(builder: Builder, reads: list[tuple[str, int]]) -> None:
    """So a scan's memory is that of a row group for each layer, however many rows there are."""
    builder = Builder(Path(builder.store.crawl_dir), 1, 4)
    builder.delta(seeds(*range(64)))
    builder.base()
    touched = {"00000001-base": range(64), "00000002-delta": range(0, 64, 3), "00000003-delta": range(20, 40)}
    builder.delta(seeds(*touched["00000002-delta"], update=True, score=2.0))
    builder.delta(seeds(*touched["00000003-delta"], update=True, score=3.0))
    reads.clear()
    behind = 0
    for table in builder.snapshot.scan(["fingerprint", "score"]):
        behind += table.num_rows
        last = table["fingerprint"][-1].as_py()
        for directory, numbers in touched.items():
            read = sum(rows for layer, rows in reads if layer == directory)
            used = sum(key(number) <= last for number in numbers)
            assert used <= read <= used + 4
        assert table.num_rows <= 4 * len(touched)
    assert behind == 64
    assert sum(rows for _, rows in reads) == sum(map(len, touched.values()))


def test_scan_needs_the_same_memory_for_many_rows_as_for_few(tmp_path: Path) -> None:
    peaks = []
    for times in (2, 8):
        rows = times * 4096
        builder = Builder(tmp_path / str(times), 1, 4096)
        numbers = range(rows)
        columns = {
            "fingerprint": pa.array([number.to_bytes(3, "big") + bytes(17) for number in numbers], schema.FINGERPRINT),
            "url": pa.array([f"http://example.test/{'x' * 100}/{number}" for number in numbers]),
            "host": pa.array(["example.test"] * rows).dictionary_encode(),
            "injected": pa.array([True] * rows),
            "discovered_at": pa.array([NOW] * rows).cast(schema.TIME),
        }
        table = pa.table(
            {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in schema.DELTA}, schema.DELTA
        )
        builder.delta(table)
        builder.base()
        builder.delta(table.take(pa.array(range(0, rows, 2))))
        del table, columns, builder.states[:]
        before = pa.total_allocated_bytes()
        peak = found = 0
        for piece in builder.snapshot.scan():
            found += piece.num_rows
            peak = max(peak, pa.total_allocated_bytes() - before)
        assert found == rows
        peaks.append(peak)
    assert peaks[0] > 4096 * 100
    assert peaks[1] < 1.3 * peaks[0]
