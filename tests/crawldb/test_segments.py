"""A segment's life: begun, committed or beaten, its datasets completed once, and what crashed ones leave removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from crawldb import schema, shards
from crawldb.errors import ConflictError, CorruptionError, UsageError
from crawldb.segments import PHASES, Segment, Segments, next_phase
from crawldb.shards import File, Writer
from tests.crawldb.killed_writers import files_below, garbage

NOW = int(datetime(2026, 11, 24, 10, 15, tzinfo=timezone.utc).timestamp()) * 1000


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    """The segments of a new crawl."""
    return Segments(f"{tmp_path}/a crawl")


def write(segment: Segment, sample: Any, dataset: str, keys: list[bytes], *numbers: int) -> File:
    """A file of a dataset."""
    wanted = {"fetchlist": schema.FETCHLIST, "content": schema.CONTENT, "parsed": schema.PARSED}[dataset]
    with Writer(segment.fs, segment.part_path(dataset, *numbers), wanted) as writer:
        writer.write(sample.table(wanted, keys))
    return writer.file


def generate(segments: Segments, sample: Any, keys: list[bytes], now: int = NOW) -> Segment:
    """A committed segment."""
    number = segments.last_number() + 1
    segment = segments.begin(now, number)
    segment.commit("fetchlist", [write(segment, sample, "fetchlist", keys, 0)], now, {})
    segments.commit(segment, number, now, [])
    return segment


# -- begin and commit ----------------------------------------------------------------------------------------


def test_segment_is_named_by_its_start_and_exists_once_it_is_committed(segments: Segments, sample: Any) -> None:
    assert segments.committed() == []
    assert segments.last_number() == -1
    segment = segments.begin(NOW, 0)
    assert segment.name == "20261124T101500Z"
    assert segments.committed() == []
    with pytest.raises(UsageError, match=r"/segments: no segment 20261124T101500Z; cobnut generate makes one$"):
        segments.find(segment.name)
    segment.commit("fetchlist", [write(segment, sample, "fetchlist", sample.keys(3), 0)], NOW, {})
    segments.commit(segment, 0, NOW, ["20261123T000000Z"])
    assert segments.committed() == [segment]
    assert segments.find(segment.name) == segment
    assert segments.last_number() == 0
    entry = json.loads(Path(f"{segments.path}/log/00000000.json").read_text())
    assert entry == {"segment": segment.name, "committed_at_ms": NOW, "in_flight": ["20261123T000000Z"]}


def test_second_to_commit_a_number_is_told_so_and_leaves_nothing(segments: Segments, sample: Any) -> None:
    winner, loser = segments.begin(NOW, 0), segments.begin(NOW, 0)
    assert winner.name != loser.name
    for segment in (winner, loser):
        segment.commit("fetchlist", [write(segment, sample, "fetchlist", sample.keys(3), 0)], NOW, {})
    segments.commit(winner, 0, NOW, [])
    before = {name for name in files_below(segments.path) if not name.startswith(loser.name)}
    with pytest.raises(ConflictError, match=r"another generate committed a segment first; nothing was changed$"):
        segments.commit(loser, 0, NOW, [])
    assert files_below(segments.path) == before
    assert segments.committed() == [winner]


def test_two_in_the_same_second_get_names_of_their_own(segments: Segments) -> None:
    names = [segments.begin(NOW + millisecond, 0).name for millisecond in (0, 1, 999)]
    assert names == ["20261124T101500Z", "20261124T101501Z", "20261124T101502Z"]


def test_many_that_begin_at_once_get_directories_of_their_own(segments: Segments) -> None:
    start = threading.Barrier(8)
    begun: list[Segment] = []

    def begin() -> None:
        start.wait()
        begun.append(segments.begin(NOW, 0))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({segment.name for segment in begun}) == 8
    assert sorted(os.listdir(segments.path)) == sorted(segment.name for segment in begun)


def test_begin_starts_over_when_its_directory_is_taken_for_garbage(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def removed_meanwhile(written: str, name: str) -> None:
        monkeypatch.setattr(os, "link", link)
        segments.remove_garbage()
        link(written, name)

    monkeypatch.setattr(os, "link", removed_meanwhile)
    segment = segments.begin(NOW, 0)
    assert os.listdir(segment.path) == ["_generate.json"]
    assert os.listdir(segments.path) == [segment.name]


def test_committed_segments_are_in_the_order_of_their_commits(segments: Segments, sample: Any) -> None:
    late = segments.begin(NOW + 60_000, 0)
    early = segments.begin(NOW, 0)
    segments.commit(late, 0, NOW, [])
    segments.commit(early, 1, NOW, [])
    assert segments.committed() == [late, early]
    segments.fs.remove(late.path)  # by the user, who needs the room
    assert segments.committed() == [early]
    assert segments.last_number() == 1


def test_in_flight_is_what_no_updatedb_has_applied(segments: Segments, sample: Any) -> None:
    first, second, third = (generate(segments, sample, sample.keys(2)) for _ in range(3))
    assert segments.in_flight(()) == [first, second, third]
    assert segments.in_flight((second.name, "20200101T000000Z")) == [first, third]
    assert segments.in_flight((first.name, second.name, third.name)) == []


def test_other_files_in_the_log_are_none_of_our_business(segments: Segments, sample: Any) -> None:
    segment = generate(segments, sample, sample.keys(2))
    for name in ("notes.json", "README", "00000007.json~"):
        Path(f"{segments.path}/log/{name}").touch()
    assert segments.committed() == [segment]
    assert segments.last_number() == 0


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[]", b"3"])
def test_log_entry_that_is_none_is_named(segments: Segments, content: bytes) -> None:
    segments.commit(segments.begin(NOW, 0), 0, NOW, [])
    path = f"{segments.path}/log/00000000.json"
    Path(path).write_bytes(content)
    with pytest.raises(CorruptionError, match=f"^{path}: not a log entry: "):
        segments.committed()


# -- datasets ------------------------------------------------------------------------------------------------


def test_dataset_is_what_its_manifest_names(segments: Segments, sample: Any) -> None:
    segment = generate(segments, sample, sample.keys(3))
    assert not segment.is_complete("content")
    chunks = [write(segment, sample, "content", sample.keys(4, number), 0, number) for number in (1, 0)]
    assert not segment.is_complete("content")
    assert segment.commit("content", chunks, NOW, {"outcomes": {"success": 8}})
    assert segment.is_complete("content")
    assert segment.files("content") == chunks[::-1]
    assert segment.manifest("content") == {
        "committed_at_ms": NOW, "rows": 8, "counts": {"outcomes": {"success": 8}},
        "files": [chunk.to_dict() for chunk in chunks[::-1]],
    }  # fmt: skip
    table = segment.read("content", chunks[0].name)
    assert sample.rows(table) == sample.rows(sample.table(schema.CONTENT, sample.keys(4, 1)))
    assert segment.read("content", chunks[0].name, ["url"]).column_names == ["url"]


def test_what_a_kill_left_in_complete_datasets_goes_at_the_end(segments: Segments, sample: Any) -> None:
    """Killed between the two steps of a publish: the manifest is there, and so is the name that it had before."""
    segment = generate(segments, sample, sample.keys(3))
    segment.commit("content", [write(segment, sample, "content", sample.keys(3), 0, 0)], NOW, {})
    open_chunk = write(segment, sample, "parsed", sample.keys(3), 0, 0)
    left = [f"{segment.dataset(dataset)}/._manifest.json.0123" for dataset in ("fetchlist", "content")]
    for path in left:
        Path(path).touch()
    segment.remove_garbage()
    assert not any(map(os.path.exists, left))
    assert len(segment.fs.names(segment.dataset("content"))) == 2
    assert segment.fs.names(segment.dataset("parsed")) == [open_chunk.name]  # not complete: somebody may be at it


def test_dataset_is_completed_once(segments: Segments, sample: Any) -> None:
    segment = generate(segments, sample, sample.keys(3))
    mine, others = (write(segment, sample, "content", sample.keys(2, number), 0, 0) for number in (1, 2))
    late = Writer(segment.fs, segment.part_path("content", 0, 1), schema.CONTENT)
    assert segment.commit("content", [mine], NOW, {})
    with pytest.raises(ConflictError, match="removed while it was written"):
        late.close()
    after = write(segment, sample, "content", sample.keys(2, 3), 0, 1)
    manifest = segment.manifest("content")
    assert not segment.commit("content", [others, after], NOW + 1, {"outcomes": {"success": 9}})
    assert segment.manifest("content") == manifest
    assert sorted(os.listdir(segment.dataset("content"))) == sorted([mine.name, "_manifest.json"])


def test_commit_removes_what_killed_attempts_left_in_the_dataset_and_nothing_else(
    segments: Segments, sample: Any
) -> None:
    segment = generate(segments, sample, sample.keys(3))
    kept = write(segment, sample, "content", sample.keys(2), 0, 0)
    write(segment, sample, "content", sample.keys(2), 0, 0)
    Path(f"{segment.dataset('content')}/.part-00000-0001-x.parquet.0123").touch()
    write(segment, sample, "parsed", sample.keys(2), 0, 0)
    segment.commit("content", [kept], NOW, {})
    assert sorted(os.listdir(segment.dataset("content"))) == ["_manifest.json", kept.name]
    assert len(os.listdir(segment.dataset("parsed"))) == 1
    assert len(os.listdir(segment.dataset("fetchlist"))) == 2


def test_dataset_without_files_is_complete_too(segments: Segments, sample: Any) -> None:
    segment = generate(segments, sample, sample.keys(3))
    assert segment.commit("content", [], NOW, {})
    assert segment.files("content") == []
    assert segment.fingerprints("content").shape == (0, 20)


def test_manifest_of_what_is_not_complete(segments: Segments) -> None:
    segment = segments.begin(NOW, 0)
    with pytest.raises(UsageError, match=r"/20261124T101500Z: content is not complete; run the phase that makes it"):
        segment.files("content")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[]", b'{"files": [{"name": "x"}]}', b'{"files": 3}'])
def test_manifest_that_is_none_is_named(segments: Segments, content: bytes) -> None:
    segment = segments.begin(NOW, 0)
    segment.commit("content", [], NOW, {})
    path = f"{segment.dataset('content')}/_manifest.json"
    Path(path).write_bytes(content)
    with pytest.raises(CorruptionError, match=f"^{path}: not a manifest: "):
        segment.files("content")


def test_finished_parts_are_those_of_one_task_that_have_their_names(segments: Segments, sample: Any) -> None:
    segment = segments.begin(NOW, 0)
    assert list(segment.finished_parts("content", "part-00001-")) == []
    chunks = [write(segment, sample, "content", sample.keys(2), 1, number) for number in (0, 1, 12)]
    write(segment, sample, "content", sample.keys(2), 10, 0)
    unfinished = Writer(segment.fs, segment.part_path("content", 1, 2), schema.CONTENT)
    found = list(segment.finished_parts("content", "part-00001-"))
    unfinished.abort()
    assert found == [(chunk.name, f"{segment.path}/content/{chunk.name}") for chunk in chunks]
    assert list(segment.finished_parts("content", "part-00001-0012-")) == found[2:]


def test_part_paths_say_their_numbers_and_never_repeat() -> None:
    segment = Segment(Segments("/crawl").fs, "/crawl/segments/20261124T101500Z")
    assert segment.part_path("fetchlist", 7).startswith(f"{segment.path}/fetchlist/part-00007-")
    assert segment.part_path("parsed", 7, 3).startswith(f"{segment.path}/parsed/part-00007-0003-")
    assert len({segment.part_path("content", 0, 0) for _ in range(100)}) == 100


def test_fingerprints_are_sorted_whatever_the_file(segments: Segments, sample: Any) -> None:
    segment = segments.begin(NOW, 0)
    keys = sample.keys(40)
    files = [write(segment, sample, "fetchlist", keys[part::3], part) for part in range(3)]
    segment.commit("fetchlist", files, NOW, {})
    assert [key.tobytes() for key in segment.fingerprints()] == keys
    assert shards.contains(
        segment.fingerprints(), shards.key_bytes(segment.read("fetchlist", files[0].name)["fingerprint"])
    ).all()


def test_next_phase_is_the_first_whose_dataset_lacks(segments: Segments, sample: Any) -> None:
    segment = generate(segments, sample, sample.keys(3))
    found = [next_phase(segment)]
    for dataset in ("content", "parsed"):
        segment.commit(dataset, [], NOW, {})
        found.append(next_phase(segment))
    assert tuple(found) == PHASES


# -- garbage -------------------------------------------------------------------------------------------------


def test_next_generate_removes_what_crashed_ones_left_and_not_what_a_live_one_makes(
    segments: Segments, sample: Any
) -> None:
    first = generate(segments, sample, sample.keys(2))
    crashed = segments.begin(NOW, 1)
    write(crashed, sample, "fetchlist", sample.keys(2), 0)
    second = generate(segments, sample, sample.keys(2))
    live = segments.begin(NOW, 2)
    open_writer = Writer(live.fs, live.part_path("fetchlist", 0), schema.FETCHLIST)
    segments.remove_garbage()
    assert sorted(name for name in os.listdir(segments.path) if name != "log") == sorted(
        segment.name for segment in (first, second, live)
    )
    open_writer.close()
    live.commit("fetchlist", [open_writer.file], NOW, {})
    segments.commit(live, 2, NOW, [])
    assert segments.committed() == [first, second, live]
    assert garbage(segments.path.removesuffix("/segments")) == []


def test_beaten_generate_that_goes_on_is_told_so_and_leaves_nothing(segments: Segments, sample: Any) -> None:
    beaten = segments.begin(NOW, 0)
    open_writer = Writer(beaten.fs, beaten.part_path("fetchlist", 0), schema.FETCHLIST)
    winner = generate(segments, sample, sample.keys(2))
    segments.remove_garbage()
    with pytest.raises(ConflictError, match="removed while it was written"):
        open_writer.close()
    # Or it had finished its files, and notices at its commit.
    beaten.commit("fetchlist", [], NOW, {})
    with pytest.raises(ConflictError):
        segments.commit(beaten, 0, NOW, [])
    assert sorted(os.listdir(segments.path)) == sorted([winner.name, "log"])


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["._generate.json.0123"],
        ["fetchlist/part-00000-x.parquet"],  # its removal was killed, or it was beaten and killed
        ["fetchlist/_manifest.json", ".lock"],
        ["_generate.json"],
    ],
)
def test_whatever_a_killed_generate_left_is_removed(segments: Segments, sample: Any, left: list[str]) -> None:
    directory = Path(f"{segments.path}/20200101T000000Z")
    directory.mkdir(parents=True)
    for name in left:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text('{"number": 0}')
    segment = generate(segments, sample, sample.keys(2))
    Path(f"{segments.path}/log/.00000000.json.0123").touch()
    segments.remove_garbage()
    assert sorted(os.listdir(segments.path)) == [segment.name, "log"]
    assert os.listdir(f"{segments.path}/log") == ["00000000.json"]


def test_what_is_no_segment_is_left_alone(segments: Segments, sample: Any) -> None:
    generate(segments, sample, sample.keys(2))
    for name in ("backup/20261124T101500Z/fetchlist", "20200101T000000Z.old", "notes"):
        os.makedirs(f"{segments.path}/{name}")
    foreign = Path(f"{segments.path}/20200101T000000Z/_generate.json")
    foreign.parent.mkdir()
    foreign.write_text("not ours")
    before = sorted(os.listdir(segments.path))
    segments.remove_garbage()
    assert sorted(os.listdir(segments.path)) == before


@pytest.mark.slow
@pytest.mark.parametrize("work", ["generate", "fetch"])
def test_kill_at_any_moment_loses_nothing_that_was_finished(tmp_path: Path, checkout: Path, work: str) -> None:
    """What is in the log or has its name is whole; doing it again completes it and leaves no garbage."""
    script = checkout / "tests/crawldb/killed_writers.py"
    done = subprocess.run(
        [sys.executable, str(script), work, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[-1]["completed_at"] == len(found) - 1, done.stdout + done.stderr
    assert all(line["wrong"] == [] for line in found), [line for line in found if line["wrong"]]
    left = [line["left"] for line in found[:-1]]
    assert len(left) > 30
    if work == "generate":
        counts = [after["segments"] for after in left]
        assert counts == sorted(counts)
        assert set(counts) == {0, 1}
        assert [line["again"]["segments"] for line in found[:-1]] == [count + 1 for count in counts]
    else:
        assert {(after["chunks"], after["complete"]) for after in left} == {
            (0, False), (1, False), (2, False), (3, False), (3, True),
        }  # fmt: skip
        assert all(line["again"] == {"chunks": 3, "complete": True, "wrong": []} for line in found[:-1])


# -- merged and removed segments -----------------------------------------------------------------------------


def test_merged_segments_stand_for_what_they_were_merged_from(segments: Segments, sample: Any) -> None:
    first, second, third = (generate(segments, sample, sample.keys(2, number)) for number in range(3))
    number = segments.last_number() + 1
    made = [segments.begin(NOW, number) for _ in range(2)]
    segments.commit_merged(made, number, NOW, [first, second])
    assert segments.committed() == [third, *made]
    assert {segment.merged_from for segment in segments.committed()[1:]} == {(first.name, second.name)}
    assert segments.in_flight((first.name, second.name)) == [third]
    assert segments.in_flight((first.name,)) == [third, *made]
    # Merged once more: what counts are the names that the stores' logs have.
    number += 1
    again = segments.begin(NOW, number)
    segments.commit_merged([again], number, NOW, [third, *segments.committed()[1:]])
    assert segments.find(again.name).merged_from == (third.name, first.name, second.name)
    assert segments.in_flight((first.name, second.name, third.name)) == []
    segments.remove_garbage()
    assert sorted(segments.fs.names(segments.path)) == sorted([again.name, "log"])


def test_removed_segments_are_gone_before_their_files_are(segments: Segments, sample: Any) -> None:
    first, second = (generate(segments, sample, sample.keys(2, number)) for number in range(2))
    segments.commit_removal([first], segments.last_number() + 1, NOW)
    assert segments.committed() == [second]
    assert segments.fs.exists(first.path)
    segments.remove_garbage()
    assert not segments.fs.exists(first.path)
    assert segments.begin(first.began, 9).name not in (first.name, second.name)


def test_a_beaten_merge_or_removal_changes_nothing(segments: Segments, sample: Any) -> None:
    first = generate(segments, sample, sample.keys(2))
    made = segments.begin(NOW, 0)
    with pytest.raises(ConflictError, match="another command committed first"):
        segments.commit_merged([made], 0, NOW, [first])
    with pytest.raises(ConflictError, match="another command committed first"):
        segments.commit_removal([first], 0, NOW)
    assert segments.committed() == [first]
    assert not segments.fs.exists(made.path)
