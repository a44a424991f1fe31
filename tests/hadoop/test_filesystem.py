"""HDFS on a real cluster: the contract of all file systems, through every client that there is."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from crawldb import filesystem, hdfs_lock
from crawldb.errors import CobnutError
from crawldb.filesystem import FileSystem, resolve
from crawldb.settings import HdfsSettings
from tests.filesystem_contract import FileSystemContract

pytestmark = pytest.mark.slow


def clients() -> list[str]:
    """All clients that can be tried here; libhdfs comes with Hadoop's native libraries only."""
    directories = [os.environ.get("ARROW_LIBHDFS_DIR", ""), f"{os.environ.get('HADOOP_HOME', '')}/lib/native"]
    libhdfs = any(glob.glob(f"{directory}/libhdfs.so*") for directory in directories if directory)
    return ["webhdfs", "hdfs-native", *(["libhdfs"] if libhdfs else [])]


@pytest.fixture
def root() -> Iterator[str]:
    """A directory on HDFS, not yet there."""
    fs, path = resolve(f"hdfs:///tmp/cobnut-tests/{uuid.uuid4().hex}")
    yield path
    fs.remove(path)


@pytest.mark.parametrize("client", clients())
class TestHdfs(FileSystemContract):
    """The contract, on HDFS."""

    @pytest.fixture
    def fs(self, client: str, root: str) -> Iterator[FileSystem]:
        filesystem.configure(HdfsSettings(client=client))
        yield resolve(root)[0]
        filesystem.configure(HdfsSettings())


@pytest.fixture
def fs(root: str) -> FileSystem:
    return resolve(root)[0]


def test_webhdfs_addresses_lead_to_the_same_files(fs: FileSystem, root: str) -> None:
    from crawldb.hadoop_conf import HadoopConf

    (web,) = HadoopConf.load().namenodes(root.split("/")[2])
    fs.create(f"{root}/file", b"content")
    other, path = resolve(f"web{root.replace(root.split('/')[2], web.partition('://')[2])}/file")
    assert path.startswith("webhdfs://127.0.0.1:")
    assert other.read(path) == b"content"


def test_private_directories(fs: FileSystem, root: str) -> None:
    fs.make_private_directory(f"{root}/a/b")
    assert fs._names.status(fs._path(f"{root}/a/b"))["permission"] == "700"


def test_who_may_not_is_told_so_in_one_line(fs: FileSystem, root: str) -> None:
    fs.make_private_directory(f"{root}/private")
    filesystem.configure(HdfsSettings(user="nobody-known"))
    try:
        with pytest.raises(CobnutError, match=rf"^{root}/private/\.file\..*denies access to nobody-known: .*$"):
            resolve(root)[0].create(f"{root}/private/file", b"")
    finally:
        filesystem.configure(HdfsSettings())


@pytest.mark.slow
@pytest.mark.parametrize(("quota", "value"), [("-setSpaceQuota", "200m"), ("-setQuota", "2")])
def test_full_quota_names_the_directory_and_what_to_do(fs: FileSystem, root: str, quota: str, value: str) -> None:
    directory = f"{root}/{value}"
    fs.create(f"{directory}/first", b"")
    hdfs_path = "/" + directory.split("/", 3)[3]
    subprocess.run(["hdfs", "dfsadmin", quota, value, hdfs_path], check=True, capture_output=True, env=launcher())
    begin = time.monotonic()
    if quota == "-setSpaceQuota":
        fs.create(f"{directory}/second", b"x" * (100 << 20))
    with pytest.raises(
        CobnutError, match=rf"^{directory}: the quota is exceeded; .* \(hdfs dfsadmin {quota}\)"
    ) as told:
        fs.create(f"{directory}/third", b"x" * (100 << 20))
    assert "\n" not in str(told.value)
    assert time.monotonic() - begin < 10
    assert [name for name in fs.all_names(directory) if name[0] == "."] == []
    clear = quota.replace("-set", "-clr")
    subprocess.run(["hdfs", "dfsadmin", clear, hdfs_path], check=True, capture_output=True, env=launcher())
    fs.create(f"{directory}/third", b"x")


def launcher() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['HADOOP_HOME']}/bin:{os.environ['PATH']}"}


# -- locks ---------------------------------------------------------------------------------------------------


def test_lock_of_a_killed_process_is_taken_over(fs: FileSystem, root: str) -> None:
    code = f"""
import os, sys
from crawldb.filesystem import resolve
fs, root = resolve({root!r})
lock = fs.try_lock(root + "/.lock")
print(lock is not None, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert fs.try_lock(f"{root}/.lock") is None
        assert f" {process.pid} of " in fs.lock_holder(f"{root}/.lock")
        process.kill()
    lock = fs.try_lock(f"{root}/.lock")
    assert lock is not None
    assert fs.all_names(root) == [".lock"]
    lock.close()
    assert fs.all_names(root) == []


def other_machines_lock(fs: FileSystem, path: str, age_seconds: float) -> None:
    card = {"host": "elsewhere", "pid": 1, "start": "1", "user": "somebody", "command": "cobnut fetch"}
    fs.create(path, json.dumps(card).encode())
    names = fs._names
    written = names.status(fs._path(path))["modificationTime"]
    names.set_times(fs._path(path), written - int(age_seconds * 1000))


def test_lock_of_another_machine_is_taken_over_after_a_minute_without_a_sign(fs: FileSystem, root: str) -> None:
    other_machines_lock(fs, f"{root}/.lock", hdfs_lock.STALE - 20)
    assert fs.try_lock(f"{root}/.lock") is None
    assert fs.lock_holder(f"{root}/.lock") == "cobnut fetch 1 of somebody on elsewhere"
    assert fs.all_names(root) == [".lock"]
    fs.remove(f"{root}/.lock")
    other_machines_lock(fs, f"{root}/.lock", hdfs_lock.STALE + 5)
    lock = fs.try_lock(f"{root}/.lock")
    assert lock is not None
    lock.close()


def test_lock_stays_fresh(fs: FileSystem, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdfs_lock, "REFRESH", 0.3)
    lock = fs.try_lock(f"{root}/.lock")
    assert lock is not None
    names, path = fs._names, fs._path(f"{root}/.lock")
    times = {names.status(path)["modificationTime"]}
    deadline = time.monotonic() + 10
    while len(times) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
        times.add(names.status(path)["modificationTime"])
    assert len(times) >= 3
    assert max(times) - min(times) < 10_000
    lock.close()


def test_lock_that_another_took_over_is_left_to_it(fs: FileSystem, root: str) -> None:
    lock = fs.try_lock(f"{root}/.lock")
    assert lock is not None
    fs.remove(f"{root}/.lock")
    fs.create(f"{root}/.lock", b"another's")
    lock.close()
    assert fs.read(f"{root}/.lock") == b"another's"


def test_many_find_a_stale_lock_and_one_takes_it(fs: FileSystem, root: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    other_machines_lock(fs, f"{root}/.lock", hdfs_lock.STALE + 5)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: fs.try_lock(f"{root}/.lock"), range(4)))
    held = [lock for lock in got if lock is not None]
    assert len(held) == 1
    held[0].close()
    assert fs.all_names(root) == []
