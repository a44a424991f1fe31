"""Atomic creation, listing and removal on the local file system."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from crawldb.errors import UsageError
from crawldb.filesystem import FileSystem, resolve, unfinished

FS = FileSystem()


def test_create_makes_a_whole_file_and_the_directories_above_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/a/b/file.json"
    FS.create(path, b"content")
    assert FS.read(path) == b"content"
    assert FS.size(path) == 7
    assert os.listdir(f"{tmp_path}/a/b") == ["file.json"]


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = f"{tmp_path}/file.json"
    FS.create(path, b"first")
    with pytest.raises(FileExistsError):
        FS.create(path, b"second")
    assert FS.read(path) == b"first"
    assert os.listdir(tmp_path) == ["file.json"]


def test_of_many_that_create_a_name_at_once_one_succeeds(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    created: list[bytes] = []

    def create(content: bytes) -> None:
        start.wait()
        try:
            FS.create(f"{tmp_path}/new/file", content)
        except FileExistsError:
            return
        created.append(content)

    for _ in range(20):
        created.clear()
        threads = [threading.Thread(target=create, args=(bytes([number]) * 1000,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [FS.read(f"{tmp_path}/new/file")] == created
        assert os.listdir(f"{tmp_path}/new") == ["file"]
        FS.remove(f"{tmp_path}/new")


def test_a_file_without_content_is_created_and_read(tmp_path: Path) -> None:
    FS.create(f"{tmp_path}/empty", b"")
    assert FS.read(f"{tmp_path}/empty") == b""
    with FS.open_input(f"{tmp_path}/empty") as source:
        assert source.read() == b""


def test_create_that_fails_to_publish_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="no links here"):
        FS.create(f"{tmp_path}/file", b"content")
    assert os.listdir(tmp_path) == []


def test_beaten_creator_whose_unfinished_file_was_removed_hears_that_the_name_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner removes what looks unfinished beside its file before the loser comes to link."""
    link = os.link

    def overtaken(written: str, name: str) -> None:
        Path(name).write_bytes(b"the winner's")
        os.unlink(written)
        link(written, name)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(FileExistsError):
        FS.create(f"{tmp_path}/file", b"the loser's")
    assert FS.read(f"{tmp_path}/file") == b"the winner's"


def test_winner_whose_unfinished_file_was_removed_has_won_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beaten writer cleans up between the winner's link and its unlink."""
    link = os.link

    def cleaned_up_after(written: str, name: str) -> None:
        link(written, name)
        os.unlink(written)

    monkeypatch.setattr(os, "link", cleaned_up_after)
    FS.create(f"{tmp_path}/file", b"content")
    assert FS.read(f"{tmp_path}/file") == b"content"


def test_publish_of_a_file_that_is_gone_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FS.publish(f"{tmp_path}/.gone", f"{tmp_path}/file")
    assert os.listdir(tmp_path) == []


def test_file_and_the_entries_of_new_directories_are_synced_before_create_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}") if os.path.isdir("/proc/self/fd") else str(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    FS.create(f"{tmp_path}/a/b/file", b"content")
    if os.path.isdir("/proc/self/fd"):
        assert synced[:2] == [str(tmp_path), f"{tmp_path}/a"]
        assert os.path.basename(synced[2]).startswith(".file.")
        assert synced[3:] == [f"{tmp_path}/a/b"]
    else:
        assert len(synced) == 4


def test_names_hide_the_unfinished_and_are_sorted(tmp_path: Path) -> None:
    for name in ("b", "a", os.path.basename(unfinished(f"{tmp_path}/c"))):
        (tmp_path / name).touch()
    assert FS.names(str(tmp_path)) == ["a", "b"]
    assert [name for name in FS.all_names(str(tmp_path)) if name[0] != "."] == ["a", "b"]
    assert len(FS.all_names(str(tmp_path))) == 3


def test_names_of_what_is_no_directory_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (f"{tmp_path}/nothing", f"{tmp_path}/file", f"{tmp_path}/file/below"):
        assert FS.names(path) == []
        assert FS.all_names(path) == []


def test_remove_takes_files_and_trees_and_does_not_mind_their_absence(tmp_path: Path) -> None:
    FS.create(f"{tmp_path}/tree/of/files", b"12345")
    FS.create(f"{tmp_path}/file", b"123")
    FS.remove_if_empty(f"{tmp_path}/tree")
    for path in (f"{tmp_path}/tree", f"{tmp_path}/file"):
        assert FS.exists(path)
        FS.remove(path)
        FS.remove(path)
        assert not FS.exists(path)
    (tmp_path / "empty").mkdir()
    FS.remove_if_empty(f"{tmp_path}/empty")
    FS.remove_if_empty(f"{tmp_path}/empty")
    assert os.listdir(tmp_path) == []


def test_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    lock = FS.try_lock(f"{tmp_path}/segment/.lock")
    assert lock is not None
    assert FS.try_lock(f"{tmp_path}/segment/.lock") is None
    lock.close()
    again = FS.try_lock(f"{tmp_path}/segment/.lock")
    assert again is not None
    again.close()


def test_where_there_are_no_locks_nobody_is_kept_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = FS.try_lock(f"{tmp_path}/.lock")
    assert lock is not None
    lock.close()


def test_unfinished_names_are_beside_the_file_and_differ(tmp_path: Path) -> None:
    names = {unfinished(f"{tmp_path}/part-00000") for _ in range(100)}
    assert len(names) == 100
    assert {os.path.dirname(name) for name in names} == {str(tmp_path)}
    assert all(os.path.basename(name).startswith(".part-00000.") for name in names)


def test_resolve_makes_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("a crawl/../b")[1] == f"{tmp_path}/b"
    assert resolve("/x/y/")[1] == "/x/y"
    assert resolve("file:///x/y")[1] == "/x/y"


def test_resolve_refuses_other_file_systems_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"^hdfs://name/crawl: .*give a plain path$"):
        resolve("hdfs://name/crawl")
