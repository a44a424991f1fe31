"""HDFS when things go wrong: a scripted server that speaks just enough WebHDFS. The rest is in tests/hadoop."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import filesystem, hdfs, webhdfs, webhdfs_files
from crawldb.errors import CobnutError, CorruptionError, UsageError
from crawldb.filesystem import resolve
from crawldb.settings import HdfsSettings
from crawldb.shards import Reader
from crawldb.webhdfs import WebHdfs


class Cluster:
    """A NameNode and a DataNode in one, their files in memory, with faults to come."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, bytes]] = {}
        self.numbers = itertools.count(1000)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.faults: dict[str, list[Any]] = {}
        """By operation, what happens to its next requests: see `_Handler.answer`."""
        self.always: tuple[int, str, str] | None = None
        """What every request is answered, if anything."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": self}))
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.datanodes: list[str] = []
        """Where the next requests are sent for bytes, instead of to ourselves."""
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def operations(self) -> list[str]:
        return [operation for operation, _ in self.requests]

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = (next(self.numbers), content)


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.cluster.connections += 1
        super().setup()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    do_PUT = do_GET  # noqa: N815  (http.server's names)
    do_DELETE = do_GET  # noqa: N815

    def answer(self) -> None:
        """`reset`: no answer. `lost`: done, but no answer. `short`: half the bytes. A triple: that exception."""
        cluster = self.cluster
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        at_datanode = url.path.startswith("/data")
        path = unquote(url.path.removeprefix("/data").removeprefix("/webhdfs/v1"))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = query["op"] + ("@data" if at_datanode else "")
        cluster.requests.append((operation, query))
        faults = cluster.faults.get(operation) or []
        fault = faults.pop(0) if faults else cluster.always
        if fault == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif isinstance(fault, tuple):
            status, exception, message = fault
            told = {
                "RemoteException": {"exception": exception, "message": message, "javaClassName": "org." + exception}
            }
            self.send(status, json.dumps(told).encode() if exception else message.encode())
        else:
            try:
                status, content, headers = getattr(self, operation.partition("@")[0])(path, query, body, at_datanode)
            except FileNotFoundError as error:
                told = {"RemoteException": {"exception": "FileNotFoundException", "message": str(error)}}
                status, content, headers = 404, json.dumps(told).encode(), {}
            if fault == "lost":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.send(status, content, headers, half=fault == "short")

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None, *, half: bool = False) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = half

    def _found(self, path: str) -> tuple[int, bytes]:
        if path not in self.cluster.files:
            raise FileNotFoundError(f"File does not exist: {path}")
        return self.cluster.files[path]

    def _datanode(self) -> str:
        return self.cluster.datanodes.pop(0) if self.cluster.datanodes else self.cluster.host

    def GETFILESTATUS(self, path: str, *_: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: N802
        number, content = self._found(path)
        status = {"fileId": number, "length": len(content), "type": "FILE", "modificationTime": 1, "pathSuffix": ""}
        return 200, json.dumps({"FileStatus": status}).encode(), {}

    def RENAME(self, path: str, query: dict[str, str], *_: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: N802
        file = self._found(path)
        if query["destination"] in self.cluster.files:
            told = {"exception": "FileAlreadyExistsException", "message": "rename destination already exists"}
            return 403, json.dumps({"RemoteException": told}).encode(), {}
        assert query["renameoptions"] == "NONE"
        self.cluster.files[query["destination"]] = file
        del self.cluster.files[path]
        return 200, b"", {}

    def DELETE(self, path: str, *_: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: N802
        return 200, json.dumps({"boolean": self.cluster.files.pop(path, None) is not None}).encode(), {}

    def CREATE(self, path: str, query: Any, body: bytes, at_datanode: bool) -> tuple[int, bytes, dict[str, str]]:  # noqa: N802
        if not at_datanode:
            return 307, b"", {"Location": f"http://{self._datanode()}/data{path}?op=CREATE"}
        self.cluster.put(path, body)
        return 201, b"", {}

    def OPEN(self, path: str, query: dict[str, str], _: bytes, at_datanode: bool) -> tuple[int, bytes, dict[str, str]]:  # noqa: N802
        content = self._found(path)[1]
        if not at_datanode:
            more = "".join(f"&{key}={query[key]}" for key in ("offset", "length") if key in query)
            return 307, b"", {"Location": f"http://{self._datanode()}/data{path}?op=OPEN{more}"}
        offset = int(query.get("offset", 0))
        return 200, content[offset : offset + int(query.get("length", len(content)))], {}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with contextlib.closing(Cluster()) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhdfs, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(webhdfs, "_LONGEST_WAIT", 0.002)


def client(*clusters: Cluster, retries: int = 3, timeout: float = 10) -> WebHdfs:
    return WebHdfs("hdfs://c", [f"http://{one.host}" for one in clusters], "me", retries=retries, timeout=timeout)


def file_system(names: WebHdfs) -> hdfs.HdfsFileSystem:
    return hdfs.HdfsFileSystem(names, pyarrow.fs.PyFileSystem(webhdfs_files.Handler(names)))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


SAFE = (403, "SafeModeException", "Cannot create file/x. Name node is in safe mode.\nThe reported blocks 0 needs …")
STANDBY = (403, "StandbyException", "Operation category READ is not supported in state standby")


# -- NameNodes -----------------------------------------------------------------------------------------------


def test_the_active_namenode_is_found_and_remembered(cluster: Cluster) -> None:
    with contextlib.closing(Cluster()) as standby:
        standby.always = STANDBY
        cluster.put("/f", b"content")
        names = client(standby, cluster)
        assert names.status("/f")["length"] == 7
        assert names.status("/f")["length"] == 7
        assert (len(standby.requests), len(cluster.requests)) == (1, 2)
        standby.always, cluster.always = None, STANDBY  # they change places
        standby.put("/f", b"other")
        assert names.status("/f")["length"] == 5


def test_a_failover_that_takes_its_time_is_waited_for(cluster: Cluster) -> None:
    with contextlib.closing(Cluster()) as other:
        cluster.put("/f", b"content")
        other.always = STANDBY
        cluster.faults["GETFILESTATUS"] = [STANDBY, STANDBY]
        assert client(other, cluster).status("/f")["length"] == 7


def test_a_namenode_that_is_gone_is_passed_over(cluster: Cluster) -> None:
    cluster.put("/f", b"content")
    names = WebHdfs("hdfs://c", [f"http://127.0.0.1:{free_port()}", f"http://{cluster.host}"], "me")
    assert names.status("/f")["length"] == 7


def test_nobody_answers() -> None:
    port = free_port()
    names = WebHdfs("hdfs://c", [f"http://127.0.0.1:{port}"], "me", retries=2)
    with pytest.raises(CobnutError, match=rf"^hdfs://c/f: 127\.0\.0\.1:{port}: Connection refused$"):
        names.status("/f")


def test_answers_that_do_not_come(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        names = WebHdfs("hdfs://c", [f"http://127.0.0.1:{port}"], "me", retries=0, timeout=0.2)
        with pytest.raises(CobnutError, match=rf"^hdfs://c/f: 127\.0\.0\.1:{port}: no answer within 0\.2 s$"):
            names.status("/f")


@pytest.mark.parametrize("fault", ["reset", (503, "", "<html>busy</html>"), (200, "", "<html>"), (200, "", "[1]")])
def test_what_passes_is_tried_again(cluster: Cluster, fault: Any) -> None:
    cluster.put("/f", b"content")
    cluster.faults["GETFILESTATUS"] = [fault, fault]
    assert client(cluster).status("/f")["length"] == 7
    cluster.faults["GETFILESTATUS"] = [fault] * 10
    with pytest.raises(CobnutError, match=rf"^hdfs://c/f: {cluster.host}: .+$") as told:
        client(cluster).status("/f")
    assert "\n" not in str(told.value)
    assert len(cluster.faults["GETFILESTATUS"]) == 6


def test_safe_mode_that_ends_is_waited_for(cluster: Cluster) -> None:
    cluster.faults["CREATE"] = [SAFE, SAFE]
    client(cluster).upload("/f", lambda: b"content")
    assert cluster.files["/f"][1] == b"content"


@pytest.mark.parametrize("exception", ["SafeModeException", "RetriableException"])
def test_safe_mode_that_does_not_end_is_said_clearly(cluster: Cluster, exception: str) -> None:
    cluster.always = (403, exception, SAFE[2])
    with pytest.raises(
        CobnutError, match=rf"^hdfs://c/\.f\.\w+: the NameNode is in safe mode \({cluster.host}\); wait .*$"
    ):
        file_system(client(cluster)).create("hdfs://c/f", b"content")


@pytest.mark.parametrize(
    ("exception", "message", "told"),
    [
        (
            "DSQuotaExceededException",
            "The DiskSpace quota of /a b/c is exceeded: quota = 1 B but diskspace consumed = 2 B",
            r"^hdfs://c/a b/c: the quota is exceeded; raise it \(hdfs dfsadmin -setSpaceQuota\) or make room, .*consumed = 2 B$",
        ),
        (
            "NSQuotaExceededException",
            "The NameSpace quota (directories and files) of directory /a is exceeded: quota=2 file count=3",
            r"^hdfs://c/a: the quota is exceeded; raise it \(hdfs dfsadmin -setQuota\)",
        ),
        ("AccessControlException", "Permission denied: user=me", r"^hdfs://c/f: 127.* denies access to me: Permission denied: user=me$"),
        ("SecretManager$InvalidToken", "token is expired", r"^hdfs://c/f: 127.* denies access to me: token is expired$"),
        ("IllegalArgumentException", "Invalid value: \"x\"\n  at java", r"^hdfs://c/f: 127.*: Invalid value: \"x\"$"),
        ("", "no such page", r"^hdfs://c/f: 127.*: HTTP status 403 Forbidden$"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_said_at_once(cluster: Cluster, exception: str, message: str, told: str) -> None:
    cluster.faults["CREATE@data"] = [(403, exception, message)]
    with pytest.raises(CobnutError, match=told):
        client(cluster).upload("/f", lambda: b"content")
    assert cluster.operations() == ["CREATE", "CREATE@data", "DELETE"]


def test_the_configuration_is_not_asked_for_a_web_address(cluster: Cluster) -> None:
    cluster.put("/a/f", b"content")
    fs, path = resolve(f"webhdfs://{cluster.host}/a/./b/../f")
    assert path == f"webhdfs://{cluster.host}/a/f"
    assert fs.read(path) == b"content"


# -- renames -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["reset", "lost"])
def test_rename_whose_answer_is_lost_is_known_as_our_own(cluster: Cluster, fault: str) -> None:
    cluster.put("/.f", b"ours")
    cluster.faults["RENAME"] = [fault]
    client(cluster).rename("/.f", "/f")
    assert cluster.files.keys() == {"/f"}


def test_create_whose_answer_is_lost_is_known_as_our_own(cluster: Cluster) -> None:
    cluster.faults = {"RENAME": ["lost"], "CREATE@data": ["lost", "reset"]}
    file_system(client(cluster)).create("hdfs://c/f", b"ours")
    assert {path: content for path, (_, content) in cluster.files.items()} == {"/f": b"ours"}


def test_rename_that_was_lost_on_its_way_and_overtaken_has_failed(cluster: Cluster) -> None:
    cluster.put("/.f", b"ours")
    cluster.put("/f", b"another's")
    cluster.faults["RENAME"] = ["reset"]
    with pytest.raises(FileExistsError) as told:
        client(cluster).rename("/.f", "/f")
    assert told.value.filename == "hdfs://c/f"
    assert cluster.files["/f"][1] == b"another's"


def test_rename_of_what_is_gone(cluster: Cluster) -> None:
    with pytest.raises(FileNotFoundError) as told:
        client(cluster).rename("/.f", "/f")
    assert told.value.filename == "hdfs://c/.f"
    cluster.put("/f", b"another's")
    with pytest.raises(FileNotFoundError):
        client(cluster).rename("/.f", "/f")


def test_beaten_creator_whose_file_was_removed_as_garbage_hears_that_the_name_is_taken(cluster: Cluster) -> None:
    fs = file_system(client(cluster))
    rename = WebHdfs.rename

    def overtaken(names: WebHdfs, source: str, target: str) -> None:
        cluster.put(target, b"the winner's")
        del cluster.files[source]
        rename(names, source, target)

    with mock.patch.object(WebHdfs, "rename", overtaken), pytest.raises(FileExistsError):
        fs.create("hdfs://c/f", b"the loser's")
    assert cluster.files["/f"][1] == b"the winner's"
    assert cluster.files.keys() == {"/f"}


# -- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["short", "reset", (500, "", "oops"), (403, "IOException", "a disk")])
@pytest.mark.parametrize("size", [1000, 5 << 20])
def test_broken_transfers_go_on_where_they_broke(cluster: Cluster, fault: Any, size: int) -> None:
    content = bytes(range(250)) * (size // 250)
    cluster.put("/f", content)
    cluster.faults["OPEN@data"] = [fault, fault]
    fs = file_system(client(cluster))
    with fs.open_input("hdfs://c/f") as file:
        assert file.read() == content
    cluster.faults["OPEN@data"] = [fault]
    assert fs.read("hdfs://c/f") == content


def test_read_that_never_succeeds_names_file_and_host(cluster: Cluster) -> None:
    cluster.put("/f.parquet", bytes(5 << 20))
    cluster.faults["OPEN@data"] = ["reset"] * 100
    with pytest.raises(CobnutError, match=rf"^hdfs://c/f\.parquet: {cluster.host}: .+$") as told:
        Reader(file_system(client(cluster)), "hdfs://c/f.parquet")
    assert not isinstance(told.value, CorruptionError)
    assert "\n" not in str(told.value)


def test_other_datanodes_are_asked_for_when_one_is_gone(cluster: Cluster) -> None:
    gone = f"127.0.0.1:{free_port()}"
    cluster.put("/f", b"content")
    cluster.datanodes = [gone]
    assert client(cluster).read("/f") == b"content"
    assert [query.get("excludedatanodes") for operation, query in cluster.requests if operation == "OPEN"] == [
        None, "127.0.0.1"
    ]  # fmt: skip
    cluster.datanodes = [gone]
    client(cluster).upload("/g", lambda: b"more")
    assert cluster.files["/g"][1] == b"more"
    cluster.datanodes = [gone] * 10
    with pytest.raises(CobnutError, match=rf"^hdfs://c/f: {gone}: Connection refused$"):
        client(cluster).read("/f")


def test_the_only_datanode_is_asked_again(cluster: Cluster) -> None:
    cluster.put("/f", b"content")
    cluster.datanodes = [f"127.0.0.1:{free_port()}"]
    none = (403, "IOException", "Failed to find datanode, suggest to check cluster health. excludeDatanodes=127.0.0.1")
    cluster.faults["OPEN"] = [None, none]
    assert client(cluster, retries=1).read("/f") == b"content"


def test_small_files_are_read_at_once(cluster: Cluster) -> None:
    table = pa.table({"a": range(1000), "b": range(1000)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    cluster.put("/f", sink.getvalue().to_pybytes())
    with file_system(client(cluster)).open_input("hdfs://c/f") as file, pq.ParquetFile(file) as parquet:
        assert parquet.read().equals(table)
    assert cluster.operations() == ["GETFILESTATUS", "OPEN", "OPEN@data"]


def test_connections_are_kept(cluster: Cluster) -> None:
    cluster.put("/f", b"content")
    names = client(cluster)
    for _ in range(10):
        assert names.read("/f") == b"content"
        names.upload("/g", lambda: b"more")
        names.rename("/g", "/h")
        assert names.delete("/h")
    assert cluster.connections == 1


class Answers:
    """A WebHdfs that has one file, some of whose answers break off."""

    root, retries, urls, timeout = "hdfs://c", 100, ["http://c"], 1.0

    def __init__(self, content: bytes, broken: list[int]) -> None:
        self.content, self.broken = content, broken

    def open_range(self, path: str, patience: Any, offset: int, length: int) -> Any:
        assert length > 0
        assert offset + length <= len(self.content)
        end = offset + (min(self.broken.pop(0), length) if self.broken else length)
        answer = mock.Mock()
        answer.raw = io.BytesIO(self.content[offset:end])
        return answer


@settings(deadline=None)
@given(
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 320), st.sampled_from([0, 1, 2]), st.one_of(st.none(), st.integers(-1, 330)))),
    st.lists(st.integers(0, 50), max_size=5),
)
def test_any_reads_are_slices(size: int, reads: list[tuple[int, int, int | None]], broken: list[int]) -> None:
    content = bytes(index % 251 for index in range(size))
    small = {"_WINDOW": 20, "_SCAN": 100, "_SKIP": 10, "BLOCK": 8, "_AHEAD": 2}
    with mock.patch.multiple(webhdfs_files, **small):
        file = webhdfs_files.Input(Answers(content, broken), "/f", size)
        expected = io.BytesIO(content)
        for position, whence, length in reads:
            offset = (position, position - 160, -position)[whence]
            origin = (0, expected.tell(), size)[whence]
            if origin + offset < 0:
                with pytest.raises(ValueError, match="negative seek"):
                    file.seek(offset, whence)
                continue
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            assert file.read(length) == expected.read(length)
            assert file.tell() == expected.tell()
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.read(1)


def test_read_ahead_ends_with_its_file() -> None:
    content = bytes(1000)
    with mock.patch.multiple(webhdfs_files, _WINDOW=20, _SCAN=1000, BLOCK=8, _AHEAD=2):
        file = webhdfs_files.Input(Answers(content, []), "/f", 1000)
        assert file.read(10) == content[:10]
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "read ahead"]
        file.close()
        thread.join(5)
        assert not thread.is_alive()


def test_a_file_that_is_never_closed_is_never_uploaded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhdfs_files, "SPOOL", 10)
    fs = file_system(client(cluster))
    for content in (b"small", b"larger than the spool"):
        output = fs.open_output("hdfs://c/.f")
        output.write(content)
        del output
        gc.collect()
        with contextlib.suppress(RuntimeError), fs.open_output("hdfs://c/.f") as output:
            output.write(content)
            raise RuntimeError
    assert cluster.requests == []


def test_large_files_are_spooled_on_disk(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhdfs_files, "SPOOL", 100)
    cluster.faults["CREATE@data"] = ["reset"]
    output = file_system(client(cluster)).open_output("hdfs://c/f")
    for number in range(50):
        output.write(bytes([number]) * 7)
        assert output.tell() == 7 * (number + 1)
    output.flush()
    output.close()
    output.close()
    assert cluster.files["/f"][1] == b"".join(bytes([number]) * 7 for number in range(50))
    with pytest.raises(ValueError, match="closed"):
        output.write(b"more")


def test_a_failed_upload_leaves_nothing(cluster: Cluster) -> None:
    cluster.faults["CREATE@data"] = ["lost"] * 10
    with pytest.raises(CobnutError):
        file_system(client(cluster)).create("hdfs://c/f", b"content")
    assert cluster.files == {}


def test_a_child_process_makes_its_own_connections(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.put("/f", b"content")
    names = client(cluster)
    before = names._client()
    assert names._client() is before
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert names._client() is not before
    assert names.read("/f") == b"content"


# -- who we are, and what is not installed -------------------------------------------------------------------


def test_the_user_is_named_in_every_request(cluster: Cluster) -> None:
    cluster.put("/f", b"content")
    client(cluster).status("/f")
    assert cluster.requests[0][1]["user.name"] == "me"


def test_a_token_stands_for_a_ticket(cluster: Cluster) -> None:
    cluster.put("/f", b"content")
    names = WebHdfs("hdfs://c", [f"http://{cluster.host}"], "me", kerberos=True, token="the-token")
    names.status("/f")
    assert cluster.requests[0][1]["delegation"] == "the-token"
    assert "user.name" not in cluster.requests[0][1]


def test_kerberos_that_is_not_installed(cluster: Cluster) -> None:
    names = WebHdfs("hdfs://c", [f"http://{cluster.host}"], "me", kerberos=True)
    with (
        mock.patch.dict("sys.modules", {"hdfs.ext.kerberos": None}),
        pytest.raises(UsageError, match=r"^hdfs://c: the cluster wants Kerberos: scripts/venv.sh kerberos"),
    ):
        names.status("/f")


def test_clients_that_are_not_installed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("ARROW_LIBHDFS_DIR", str(tmp_path))
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "hdfs_native", None)
    try:
        filesystem.configure(HdfsSettings(client="hdfs-native"))
        with pytest.raises(UsageError, match=r"^hdfs.client=hdfs-native: not installed: scripts/venv.sh hdfs-native$"):
            resolve("hdfs://host:8020/f")
        with pytest.raises(UsageError, match=r"hdfs.client=hdfs-native wants an hdfs:// path$"):
            resolve("webhdfs://host:9870/f")
        filesystem.configure(HdfsSettings(client="libhdfs"))
        with pytest.raises(UsageError, match=r"^hdfs.client=libhdfs: it wants libhdfs.so .*$"):
            resolve("hdfs://host:8020/f")
    finally:
        filesystem.configure(HdfsSettings())


def test_local_paths_need_no_token(tmp_path: Any) -> None:
    assert filesystem.delegation_token(str(tmp_path)) is None


# -- as a file system of Arrow's -----------------------------------------------------------------------------


def test_move_of_arrows_never_overwrites(cluster: Cluster) -> None:
    arrow = pyarrow.fs.PyFileSystem(webhdfs_files.Handler(client(cluster)))
    with arrow.open_output_stream("/a") as file:
        file.write(b"content")
    arrow.copy_file("/a", "/b")
    with pytest.raises(FileExistsError):
        arrow.move("/a", "/b")
    arrow.delete_file("/b")
    arrow.move("/a", "/b")
    assert arrow.get_file_info("/b").size == 7
    assert arrow.get_file_info("/a").type == pyarrow.fs.FileType.NotFound
    with arrow.open_input_stream("/b") as file:
        assert file.read() == b"content"
