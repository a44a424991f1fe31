"""What every file system of the crawl must do. A test module per place inherits these tests and says what `fs` is."""

from __future__ import annotations

import io
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawldb.filesystem import FileSystem, resolve, unfinished


class FileSystemContract:
    """`fs` is the file system under test, `root` a directory on it for one test, not yet there."""

    def test_create_makes_a_whole_file_and_the_directories_above_it(self, fs: FileSystem, root: str) -> None:
        path = f"{root}/a/b/file.json"
        fs.create(path, b"content")
        assert fs.read(path) == b"content"
        assert fs.size(path) == 7
        assert fs.all_names(f"{root}/a/b") == ["file.json"]

    def test_create_never_overwrites(self, fs: FileSystem, root: str) -> None:
        path = f"{root}/file.json"
        fs.create(path, b"first")
        with pytest.raises(FileExistsError):
            fs.create(path, b"second")
        assert fs.read(path) == b"first"
        assert fs.all_names(root) == ["file.json"]

    def test_create_does_not_go_into_a_directory_of_that_name(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/name/file", b"")
        with pytest.raises(FileExistsError):
            fs.create(f"{root}/name", b"content")
        assert fs.all_names(root) == ["name"]
        assert fs.all_names(f"{root}/name") == ["file"]

    def test_of_many_that_create_a_name_at_once_one_succeeds(self, fs: FileSystem, root: str) -> None:
        start = threading.Barrier(8)
        created: list[bytes] = []

        def create(content: bytes) -> None:
            start.wait()
            try:
                fs.create(f"{root}/new/file", content)
            except FileExistsError:
                return
            created.append(content)

        for _ in range(3):
            created.clear()
            threads = [threading.Thread(target=create, args=(bytes([number]) * 1000,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [fs.read(f"{root}/new/file")] == created
            assert fs.all_names(f"{root}/new") == ["file"]
            fs.remove(f"{root}/new")

    def test_a_file_without_content_is_created_and_read(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/empty", b"")
        assert fs.read(f"{root}/empty") == b""
        assert fs.size(f"{root}/empty") == 0
        with fs.open_input(f"{root}/empty") as source:
            assert source.read() == b""

    def test_names_of_all_kinds(self, fs: FileSystem, root: str) -> None:
        for name in ("with space", "a+b%20c", "ünïcödé", "#LATEST", "q?x=1&y", "semi;colon", "*[a]"):
            fs.create(f"{root}/{name}", name.encode())
            assert fs.read(f"{root}/{name}") == name.encode()
            assert fs.names(root) == [name]
            fs.remove(f"{root}/{name}")
            assert fs.names(root) == []

    def test_what_is_not_there_is_not_found(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/file", b"content")
        for ask in (fs.read, fs.size, fs.open_input):
            with pytest.raises(FileNotFoundError):
                ask(f"{root}/nothing")
        assert not fs.exists(f"{root}/nothing")
        assert not fs.exists(f"{root}/file/below")
        assert not fs.is_directory(f"{root}/nothing")

    def test_published_file_has_its_final_name_only(self, fs: FileSystem, root: str) -> None:
        written = unfinished(f"{root}/file")
        with fs.open_output(written) as output:
            output.write(b"con")
            output.write(memoryview(b"tent"))
            assert output.tell() == 7
        assert fs.names(root) == []
        assert len(fs.all_names(root)) == 1
        fs.publish(written, f"{root}/file")
        assert fs.all_names(root) == ["file"]
        assert fs.read(f"{root}/file") == b"content"

    def test_publish_never_overwrites(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/file", b"first")
        fs.create(f"{root}/directory/x", b"x")
        for taken in ("file", "directory"):
            written = unfinished(f"{root}/{taken}")
            with fs.open_output(written) as output:
                output.write(b"second")
            with pytest.raises(FileExistsError):
                fs.publish(written, f"{root}/{taken}")
            fs.remove(written)
        assert fs.read(f"{root}/file") == b"first"
        assert fs.all_names(f"{root}/directory") == ["x"]

    def test_publish_of_a_file_that_is_gone_creates_nothing(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/other", b"")
        with pytest.raises(FileNotFoundError):
            fs.publish(f"{root}/.gone", f"{root}/file")
        assert fs.all_names(root) == ["other"]

    def test_abandoned_file_leaves_nothing(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/other", b"")
        for spoil in (lambda _: None, io.BufferedIOBase.close):
            written = unfinished(f"{root}/file")
            output = fs.open_output(written)
            output.write(b"some")
            spoil(output)
            fs.abandon(output, written)
            assert output.closed
            assert fs.all_names(root) == ["other"]

    @pytest.mark.parametrize("size", [1000, 3 << 20, 40 << 20])
    def test_what_is_written_is_read(self, fs: FileSystem, root: str, size: int) -> None:
        content = os.urandom(1 << 20) * (size >> 20) or os.urandom(size)
        written = unfinished(f"{root}/file")
        with fs.open_output(written) as output:
            for start in range(0, size, 700_001):
                output.write(content[start : start + 700_001])
        assert fs.size(written) == size
        assert fs.read(written) == content
        with fs.open_input(written) as source:
            assert source.size() == size
            for position, length in (
                (size // 2, 100),
                (size - 10, 100),
                (0, 10),
                (10, 20),
                (size // 3, size // 3),
                (5, 1),
            ):
                source.seek(position)
                assert source.read(length) == content[position : position + length]
            source.seek(1)
            assert source.read() == content[1:]

    def test_files_are_read_by_many_threads(self, fs: FileSystem, root: str) -> None:
        content = os.urandom(2 << 20)
        fs.create(f"{root}/file", content)
        source = fs.open_input(f"{root}/file")
        wrong: list[int] = []

        def read(position: int) -> None:
            for start in range(position, len(content), 400_000):
                if source.read_at(1000, start) != content[start : start + 1000]:
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(number * 50_000,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        source.close()
        assert wrong == []

    def test_parquet(self, fs: FileSystem, root: str) -> None:
        table = pa.table({"a": range(100_000), "b": [str(number) for number in range(100_000)]})
        with fs.open_output(f"{root}/file") as output:
            pq.write_table(table, output, row_group_size=10_000)
        with fs.open_input(f"{root}/file") as source, pq.ParquetFile(source) as file:
            assert file.read().equals(table)
            assert file.read_row_group(7, columns=["b"]).equals(table.slice(70_000, 10_000).select(["b"]))

    def test_names_hide_the_unfinished_and_are_sorted(self, fs: FileSystem, root: str) -> None:
        for name in ("b", "a", os.path.basename(unfinished(f"{root}/c"))):
            fs.create(f"{root}/{name}", b"")
        assert fs.names(root) == ["a", "b"]
        assert [name for name in fs.all_names(root) if name[0] != "."] == ["a", "b"]
        assert len(fs.all_names(root)) == 3

    def test_names_of_what_is_no_directory_are_none(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/file", b"")
        for path in (f"{root}/nothing", f"{root}/file", f"{root}/file/below"):
            assert fs.names(path) == []
            assert fs.all_names(path) == []

    def test_remove_takes_files_and_trees_and_does_not_mind_their_absence(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/tree/of/files", b"12345")
        fs.create(f"{root}/file", b"123")
        fs.remove_if_empty(f"{root}/tree")
        for path in (f"{root}/tree", f"{root}/file"):
            assert fs.exists(path)
            fs.remove(path)
            fs.remove(path)
            assert not fs.exists(path)

    def test_remove_if_empty_removes_empty_directories_only(self, fs: FileSystem, root: str) -> None:
        fs.create(f"{root}/directory/file", b"")
        fs.remove_if_empty(f"{root}/directory")
        fs.remove_if_empty(f"{root}/directory/file")
        assert fs.exists(f"{root}/directory/file")
        fs.remove(f"{root}/directory/file")
        assert fs.is_directory(f"{root}/directory")
        fs.remove_if_empty(f"{root}/directory")
        fs.remove_if_empty(f"{root}/directory")
        assert not fs.exists(f"{root}/directory")

    def test_lock_is_held_until_it_is_closed(self, fs: FileSystem, root: str) -> None:
        path = f"{root}/segment/.lock"
        lock = fs.try_lock(path)
        assert lock is not None
        assert str(os.getpid()) in fs.lock_holder(path)
        assert fs.try_lock(path) is None
        lock.close()
        again = fs.try_lock(path)
        assert again is not None
        again.close()

    def test_of_many_that_want_a_lock_one_gets_it(self, fs: FileSystem, root: str) -> None:
        start = threading.Barrier(4)
        got = []

        def lock() -> None:
            start.wait()
            got.append(fs.try_lock(f"{root}/.lock"))

        threads: list[threading.Thread] = [threading.Thread(target=lock) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = [lock for lock in got if lock is not None]
        assert (len(got), len(held)) == (4, 1)
        held[0].close()

    def test_resolved_paths_resolve_to_themselves(self, fs: FileSystem, root: str) -> None:
        for path in (root, f"{root}/", f"{root}/a/../", f"{root}/./b/.."):
            assert resolve(path)[1] == root
        assert type(resolve(root)[0]) is type(fs)
