"""dedup end to end: marks in one commit, again and again, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawldb import explain, shards
from crawldb.errors import ConflictError, UsageError
from crawldb.settings import Policy, Settings
from crawldb.store import LogEntry, Store
from jobs import compact, control, crawl, dedup
from jobs.command import Run
from tests.crawldb.tables import DAY, NOW, delta, key, state


def page(number: int, signature: int, **row: Any) -> dict[str, Any]:
    return {"fingerprint": number.to_bytes(20, "little"), "url": f"http://a.test/{number:05d}", "host": "a.test",
            "status": "fetched", "fetched_at": NOW - DAY, "signature": signature.to_bytes(16, "little"), **row}  # fmt: skip


def build(crawl_dir: Path, *pages: dict[str, Any]) -> Store:
    store = Store(str(crawl_dir))
    files = {}
    for shard, part in shards.split(state(*pages), 4):
        with store.writer(0, "base", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_base(LogEntry(-1, "new", 0, 4, None, ()), 4, files, NOW, {})
    return store


def run(crawl_dir: Path, work: Any = dedup.run, **options: Any) -> None:
    settings = Settings()
    settings.run.runner = options.pop("runner", "inline")
    for name, value in options.items():
        setattr(settings.dedup, name, value)
    with control.control_directory(str(crawl_dir.parent)) as directory:
        work(Run(str(crawl_dir), settings, directory))


def marks(store: Store) -> dict[int, int]:
    """Duplicate → what stands for it, by number."""
    found = {}
    for table in store.snapshot().scan(["fingerprint", "status", "duplicate_of"]):
        for row in table.to_pylist():
            assert (row["status"] == "duplicate") == (row["duplicate_of"] is not None)
            if row["duplicate_of"]:
                found[int.from_bytes(row["fingerprint"], "little")] = int.from_bytes(row["duplicate_of"], "little")
    return found


@pytest.mark.slow
def test_the_same_with_a_process_for_each_task(tmp_path: Path) -> None:
    found = [page(number, number % 5, simhash=1 << number % 5) for number in range(1, 20)]
    stores = {runner: build(tmp_path / runner / "crawl", *found) for runner in ("inline", "local")}
    for runner, store in stores.items():
        run(tmp_path / runner / "crawl", near=True, runner=runner)
        assert store.versions() == [0, 1]
    assert marks(stores["local"]) == marks(stores["inline"])
    assert len(marks(stores["local"])) == 18


def test_one_commit_marks_what_changed_and_the_next_nothing(tmp_path: Path) -> None:
    crawl_dir = tmp_path / "crawl"
    found = [page(number, number % 20) for number in range(1, 100)]
    found += [
        page(number, number, simhash=simhash) for number, simhash in ((200, 0), (201, 7), (202, 31), (203, 1 << 63))
    ]
    store = build(crawl_dir, *found)
    run(crawl_dir)
    same = {number: number % 20 or 20 for number in range(21, 100)}
    assert marks(store) == same
    entry = store.snapshot().entry
    assert (entry.version, entry.kind) == (1, "dedup")
    assert entry.statistics == {"pages": 103, "marked": 79, "unmarked": 0, "duplicates": 79}
    assert entry.deltas[-1].rows == 79
    run(crawl_dir)
    assert store.versions() == [0, 1]
    run(crawl_dir, near=True)
    assert marks(store) == same | {201: 200, 203: 200}
    assert store.snapshot().entry.deltas[-1].rows == 2
    run(crawl_dir, group="host")
    assert marks(store) == same
    names = {path.name for path in (crawl_dir / "crawldb").iterdir()}
    assert names == {"log", "00000000-base", "00000001-delta", "00000002-delta", "00000003-delta"}
    urls = [row["url"] for table in store.snapshot().scan(["url"]) for row in table.to_pylist()]
    assert sorted(urls) == sorted(row["url"] for row in found)


def test_canonical_pages_of_other_shards(tmp_path: Path) -> None:
    canonical = {number: page(number, number) for number in range(1, 20)}
    claiming = [page(number, number, canonical=canonical[number - 100]["fingerprint"]) for number in range(101, 120)]
    store = build(tmp_path / "crawl", *canonical.values(), *claiming)
    run(tmp_path / "crawl", canonical="host")
    assert marks(store) == {number: number - 100 for number in range(101, 120)}


def test_whose_duplicate_it_is_is_told_to_the_end(tmp_path: Path) -> None:
    first, second, third = page(1, 1, canonical=page(2, 0)["fingerprint"]), page(2, 5), page(3, 5, score=9.0)
    store = build(tmp_path / "crawl", first, second, third)
    run(tmp_path / "crawl", canonical="host")
    assert marks(store) == {1: 2, 2: 3}
    snapshot = store.snapshot()
    said = explain.reasons(snapshot, snapshot.lookup(first["fingerprint"]), NOW)
    assert said[0] == (
        "A duplicate of http://a.test/00002, itself a duplicate of http://a.test/00003; fetched 24 hours ago."
    )


def test_a_duplicate_that_is_fetched_again_is_fetched_until_the_next_run(tmp_path: Path) -> None:
    store = build(tmp_path / "crawl", page(1, 5), page(2, 5))
    run(tmp_path / "crawl")
    assert marks(store) == {2: 1}
    snapshot = store.snapshot()
    again = delta({**page(2, 5), "outcome": "success", "fetched_at": NOW, "status": None})
    files = {}
    for shard, part in shards.split(again, 4):
        with store.writer(snapshot.version + 1, "delta", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_delta(snapshot.entry, "updatedb", files, Policy(), NOW)
    assert marks(store) == {}
    run(tmp_path / "crawl")
    assert marks(store) == {2: 1}
    run(tmp_path / "crawl", compact.run)
    assert marks(store) == {2: 1}


def test_another_writer_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(tmp_path / "crawl", page(1, 5), page(2, 5))
    decide = dedup.duplicates.decide

    def meanwhile(found: Any) -> Any:
        entry = store.snapshot().entry
        if entry.version == 0:
            store.commit_delta(entry, "inject", {}, Policy(), NOW)
        return decide(found)

    monkeypatch.setattr(dedup.duplicates, "decide", meanwhile)
    with pytest.raises(ConflictError):
        run(tmp_path / "crawl")
    assert marks(store) == {}
    run(tmp_path / "crawl")
    assert marks(store) == {2: 1}


@pytest.mark.parametrize("job", ["Pairs", "Mark"])
def test_another_writer_wins_and_removes_what_goes_from_job_to_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    store = build(tmp_path / "crawl", page(1, 5), page(2, 5), page(3, 6, simhash=0), page(4, 7, simhash=1))
    mapper = getattr(dedup, job).mapper

    def meanwhile(self: Any, key: Any, item: Any) -> Any:
        entry = store.snapshot().entry
        if entry.version == 0:
            store.commit_delta(entry, "inject", {}, Policy(), NOW)
        return mapper(self, key, item)

    monkeypatch.setattr(getattr(dedup, job), "mapper", meanwhile)
    with pytest.raises(ConflictError, match="changed nothing"):
        run(tmp_path / "crawl", near=True)
    run(tmp_path / "crawl", near=True)
    assert marks(store) == {2: 1, 4: 3}


@pytest.mark.parametrize("each_round", [True, False])
def test_the_loop_marks_duplicates_after_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each_round: bool
) -> None:
    store = build(tmp_path / "crawl", page(1, 5), page(2, 5))
    monkeypatch.setattr(crawl, "next_phase", lambda segment: "fetch")
    monkeypatch.setattr(crawl, "_PHASES", dict.fromkeys(("fetch", "parse", "updatedb"), lambda run, segment: 0))
    run(tmp_path / "crawl", lambda started: crawl.finish(started, None), each_round=each_round)  # type: ignore[arg-type]
    assert marks(store) == ({2: 1} if each_round else {})


def test_an_empty_crawldb_and_pages_without_simhash(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = build(tmp_path / "crawl", {"fingerprint": key(1), "status": "gone"})
    run(tmp_path / "crawl", near=True)
    assert store.versions() == [0]
    assert "0 pages, 0 duplicates; no mark changes" in capfd.readouterr().err
    with pytest.raises(UsageError, match=r"dedup\.order = scores: unknown; did you mean score"):
        run(tmp_path / "crawl", order=["scores"])
