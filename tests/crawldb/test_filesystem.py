"""The local file system: the contract of all, and what only it must do; which file system a path names."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from crawldb.errors import UsageError
from crawldb.filesystem import LocalFileSystem, resolve, unfinished
from tests.filesystem_contract import FileSystemContract

FS = LocalFileSystem()


class TestLocal(FileSystemContract):
    """The contract, on the local file system."""

    @pytest.fixture
    def fs(self) -> LocalFileSystem:
        return FS

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return f"{tmp_path}/root"


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


@pytest.mark.parametrize(
    "path", ["s3://bucket/crawl", "viewfs://cluster/crawl", "http://host/crawl", "hdfs+x://host/crawl"]
)
def test_resolve_refuses_other_file_systems_in_one_line(path: str) -> None:
    with pytest.raises(UsageError, match=r"^\S+: no file system for \S+://; give a plain path, hdfs:// or webhdfs://$"):
        resolve(path)


def test_paths_with_colons_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("a:b", "12:30", "hdfs:crawl", "file"):
        assert resolve(path)[1] == f"{tmp_path}/{path}"


def test_an_existing_lock_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"what another version wrote")
    assert FS.lock_holder(f"{tmp_path}/.lock") == ""
    lock = FS.try_lock(f"{tmp_path}/.lock")
    assert lock is not None
    assert f" {os.getpid()} of " in FS.lock_holder(f"{tmp_path}/.lock")
    lock.close()
    assert FS.lock_holder(f"{tmp_path}/none") == ""
