"""When compaction is due, and that it changes nothing but the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawldb.errors import UsageError
from crawldb.settings import Policy, Settings, StoreSettings
from crawldb.shards import File
from crawldb.store import Layer, LogEntry, Store
from jobs import compact, control, inject
from jobs.command import Run


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
        for shards in (None, 16, 2):
            compact.run(run, shards)
            snapshot = Store(crawl_dir).snapshot()
            assert snapshot.entry.deltas == ()
            assert snapshot.shards == (shards or 4)
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
