"""When compaction is due, and that it changes nothing but the files."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from crawldb import selection, shards
from crawldb.errors import UsageError
from crawldb.settings import Policy, ScheduleSettings, Settings, StoreSettings
from crawldb.shards import File
from crawldb.store import Layer, LogEntry, Store
from crawldb.update import age, apply
from jobs import compact, control, generate, inject
from jobs.command import Run
from tests.crawldb import tables
from tests.crawldb.tables import DAY, NOW, delta, key, rows, state


def entry(base: int, *deltas: int) -> LogEntry:
    def layer(number: int, kind: str, rows: int) -> Layer:
        return Layer(number, kind, f"{number:08d}-{kind}", {0: File("f", rows, rows)}, Policy())

    layers = tuple(layer(number, "delta", rows) for number, rows in enumerate(deltas, 1))
    return LogEntry(len(deltas), "updatedb", 0, 1, layer(0, "base", base) if base else None, layers)


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (entry(100_000), False),
        (entry(100_000, 20_000), False),  # a sixth of all rows
        (entry(100_000, 20_000, 6_000), True),
        (entry(0, 20_000), True),  # no base yet
        (entry(0, 9_999), False),  # too small to bother
        (entry(100_000, *[10] * 16), False),
        (entry(100_000, *[10] * 17), True),
    ],
)
def test_due_by_share_or_by_number(state: LogEntry, due: bool) -> None:
    assert compact.is_due(state, StoreSettings()) is due


def test_compaction_changes_nothing_but_the_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seeds = tmp_path / "seeds"
    crawl_dir = str(tmp_path / "crawl")
    with control.control_directory(str(tmp_path)) as directory:
        run = Run(crawl_dir, Settings(), directory)
        run.settings.filter.use = []
        for first in (0, 50):
            seeds.write_text("".join(f"http://h{i % 7}.example/{i}\tn={i}\n" for i in range(first, first + 100)))
            inject.run(run, [str(seeds)])
        before = [row for table in run.store.snapshot().scan() for row in table.to_pylist()]
        for number in (None, 16, 2):
            compact.run(run, number)
            snapshot = Store(crawl_dir).snapshot()
            assert snapshot.entry.deltas == ()
            assert snapshot.shards == (number or 4)
            assert [row for table in snapshot.scan() for row in table.to_pylist()] == before
            assert snapshot.entry.statistics["status"]["unfetched"] == 150
        assert [row for table in Store(crawl_dir).snapshot(1).scan() for row in table.to_pylist()] == before
    assert "150 requests" in capfd.readouterr().err


def test_shards_that_are_no_power_of_two_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        compact.main(["crawl", "--shards", "3"])
    assert ended.value.code == 2
    assert "power of two" in capsys.readouterr().err


def test_what_is_not_there_cannot_be_compacted(tmp_path: Path) -> None:
    with control.control_directory(str(tmp_path)) as directory, pytest.raises(UsageError, match="no crawldb here"):
        compact.run(Run(str(tmp_path / "crawl"), Settings(), directory))


# -- orphans and what is forgotten ---------------------------------------------------------------------------

LATER = NOW + 100 * DAY
"""When the compaction runs."""


def lost(number: int, **row: Any) -> dict[str, Any]:
    return {"fingerprint": key(number), "status": "fetched", "fetched_at": NOW, "modified_at": NOW, "depth": 1, **row}


AGED: dict[str, tuple[dict[str, Any], str | None]] = {
    "linked not long ago": (lost(0, linked_at=LATER - 5 * DAY), "fetched"),
    "linked long ago": (lost(0, linked_at=LATER - 31 * DAY), "orphan"),
    "discovered long ago, and no link seen since": (lost(0), "orphan"),
    "discovered long ago, but linked": (lost(0, linked_at=LATER), "fetched"),
    "nobody knows when": (lost(0, discovered_at=None), "fetched"),
    "a seed": (lost(0, depth=0), "fetched"),
    "never fetched": (lost(0, status="unfetched", fetched_at=None, linked_at=NOW + 60 * DAY), "orphan"),
    "a redirect": (lost(0, status="redir_perm"), "orphan"),
    "a duplicate": (lost(0, status="duplicate", duplicate_of=key(9)), "orphan"),
    "gone": (lost(0, status="gone", fetched_at=LATER - 19 * DAY), "gone"),
    "gone for long": (lost(0, status="gone", fetched_at=LATER - 21 * DAY), None),
    "an orphan": (lost(0, status="orphan", linked_at=LATER - 79 * DAY), "orphan"),
    "an orphan for long": (lost(0, status="orphan", linked_at=LATER - 161 * DAY), None),
    "an orphan from now on, and at once for long": (lost(0, linked_at=LATER - 161 * DAY), None),
}


@pytest.mark.parametrize("name", AGED)
def test_what_time_does(name: str) -> None:
    row, expected = AGED[name]
    if "for long" not in name and row.get("linked_at") is None and row["status"] != "gone":
        row = {**row, "discovered_at": row.get("discovered_at", LATER - 40 * DAY)}
    before = state(row)
    schedule = ScheduleSettings(orphan_after=30 * 86_400)
    store = StoreSettings(purge_gone=20 * 86_400, purge_orphans=160 * 86_400)
    aged = age(before, schedule, store, LATER)
    assert [row["status"] for row in rows(aged.state)] == ([expected] if expected else [])
    changed = [row["status"] for row in rows(aged.state)] != [row["status"]]
    assert (aged.orphans, aged.purged) == (int(changed and expected is not None), int(expected is None))
    assert all(row["duplicate_of"] is None for row in rows(aged.state))
    assert aged.state.schema == before.schema
    assert rows(age(aged.state, schedule, store, LATER).state) == rows(aged.state)
    # Kept is what a round is fetching; and without the settings time does nothing.
    assert age(before, schedule, store, LATER, np.ones(1, np.bool_)).state.num_rows == 1
    assert age(before, ScheduleSettings(), StoreSettings(), LATER).state is before


def test_orphans_are_marked_by_the_commit_of_a_compaction(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "crawl"))
    found = [lost(number, linked_at=[NOW, LATER][number % 2]) for number in range(20)]
    found += [lost(30, status="gone"), lost(31, depth=0)]
    files = {}
    for shard, part in shards.split(state(*found), 4):
        with store.writer(0, "base", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_base(LogEntry(-1, "new", 0, 4, None, ()), 4, files, NOW, {})
    settings = Settings()
    settings.run.clock = LATER
    settings.schedule.orphan_after = 30 * 86_400
    settings.store.purge_gone = 20 * 86_400
    with control.control_directory(str(tmp_path)) as directory:
        compact.run(Run(str(tmp_path / "crawl"), settings, directory))
    assert "21 requests (fetched 11, orphan 10), 10 orphaned, 1 purged in 4 shards" in capfd.readouterr().err

    def statuses(version: int) -> list[str]:
        return [row["status"] for table in store.snapshot(version).scan(["status"]) for row in table.to_pylist()]

    assert Counter(statuses(0)) == {"fetched": 21, "gone": 1}
    assert Counter(statuses(1)) == {"fetched": 11, "orphan": 10}
    assert store.snapshot().entry.statistics["status"]["orphan"] == 10
    table = pa.concat_tables(store.snapshot().scan(selection.DECIDING)).unify_dictionaries()
    assert selection.due(table, settings, LATER + 100 * DAY).sum() == 11


def test_a_link_finds_an_orphan_again() -> None:
    policy = Policy(ScheduleSettings(orphan_after=86_400))
    link = {"inlinks": 1, "inlink_score": 0.0, "discovered_at": LATER, "linked_at": LATER}
    before = state(lost(0, status="orphan"), lost(1, status="orphan", fetched_at=None, modified_at=None))
    learned = delta(*({"fingerprint": key(number), **link} for number in (0, 1)))
    after = apply(before, learned, policy)
    assert [row["status"] for row in rows(after)] == ["fetched", "unfetched"]
    assert age(after, policy.schedule, StoreSettings(), LATER + DAY).orphans == 0
    for named in ({"injected": True}, {"listed": True}):
        again = apply(before, delta({"fingerprint": key(0), **named, "discovered_at": LATER}), policy)
        assert rows(again)[0]["status"] == "fetched"
        assert age(again, policy.schedule, StoreSettings(), LATER + DAY).orphans == 0


@settings_of_hypothesis(max_examples=25)
@given(tables.states, st.lists(tables.deltas, max_size=3))
def test_compaction_is_merge_on_read(before: pa.Table, learned: list[pa.Table]) -> None:
    """Without a setting that makes time matter; whatever the deltas say."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(f"{directory}/crawl")
        entry = LogEntry(-1, "new", 0, 2, None, ())
        for version, table in enumerate([before, *learned]):
            kind, files = "delta" if version else "base", {}
            for shard, part in shards.split(table, 2):
                with store.writer(version, kind, shard) as writer:
                    writer.write(part)
                files[shard] = writer.file
            if version:
                entry = store.commit_delta(entry, "test", files, Policy(ScheduleSettings(orphan_after=9)), NOW)
            else:
                entry = store.commit_base(entry, 2, files, NOW, {})
        merged = [row for table in store.snapshot().scan() for row in rows(table)]
        with control.control_directory(directory) as messages:
            compact.run(Run(f"{directory}/crawl", Settings(), messages))
        assert store.snapshot().entry.deltas == ()
        assert [row for table in store.snapshot().scan() for row in rows(table)] == merged
        assert [row for table in store.snapshot(len(learned)).scan() for row in rows(table)] == merged


def test_what_a_round_is_fetching_is_not_forgotten(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "crawl"))
    rows_ = [lost(number, status="gone", score=float(number), due_at=NOW) for number in range(8)]
    with store.writer(0, "base", 0) as writer:
        writer.write(state(*rows_))
    store.commit_base(LogEntry(-1, "new", 0, 1, None, ()), 1, {0: writer.file}, NOW, {})
    settings = Settings()
    settings.http.agent_name, settings.generate.top, settings.store.purge_gone = "test", 3, 86_400
    settings.run.clock = LATER
    with (
        control.control_directory(str(tmp_path)) as directory,
        closing(Run(str(tmp_path / "crawl"), settings, directory)) as run,
    ):
        assert generate.run(run) is not None
        compact.run(run)
    left = [row["score"] for table in store.snapshot().scan(["score"]) for row in table.to_pylist()]
    assert sorted(left) == [5.0, 6.0, 7.0]
