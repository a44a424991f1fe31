"""The cluster's configuration: where it is, what its properties say, and which web address belongs to which name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crawldb import hadoop_conf
from crawldb.errors import UsageError
from crawldb.filesystem import resolve
from crawldb.hadoop_conf import HadoopConf

Write = Callable[..., HadoopConf]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes properties into the file that Hadoop has them in, and loads the configuration."""
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")

    def load(**files: dict[str, str]) -> HadoopConf:
        for name, properties in files.items():
            rows = "".join(
                f"<property><name> {key}</name>\n<value>{value}\n</value><final>true</final></property>\n"
                for key, value in properties.items()
            )
            text = f'<?xml version="1.0"?>\n<!-- made -->\n<configuration>{rows}</configuration>\n'
            (tmp_path / f"{name}-site.xml").write_text(text)
        hadoop_conf._load.cache_clear()
        return HadoopConf.load()

    return load


def test_properties_of_all_files(write: Write) -> None:
    conf = write(core={"a": "1"}, hdfs={"b": "2"}, yarn={"c": "3"}, mapred={"d": "4"})
    assert [conf.get(key) for key in "abcde"] == ["1", "2", "3", "4", ""]
    assert conf.get("e", "x") == "x"


def test_variables(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "set")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    conf = write(core={
        "a": "${b}/${c}", "b": "<![CDATA[${env.SET}]]>", "c": "${user.name}", "unknown": "${nobody} ${env.UNSET}",
        "minus": "${env.UNSET-one} ${env.EMPTY-two} ${env.UNSET:-three} ${env.EMPTY:-four}", "loop": "${loop}x",
    })  # fmt: skip
    assert conf.get("a") == "set/someone"
    assert conf.get("unknown") == "${nobody} ${env.UNSET}"
    assert conf.get("minus") == "one  three four"
    assert conf.get("loop").startswith("${loop}x")


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc" / "hadoop").mkdir(parents=True)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path))
    assert HadoopConf.load().directory == f"{tmp_path}/etc/hadoop"
    monkeypatch.setenv("HADOOP_CONF_DIR", f"{tmp_path}/etc")
    assert HadoopConf.load().directory == f"{tmp_path}/etc"
    assert HadoopConf.load() is HadoopConf.load()
    monkeypatch.setenv("HADOOP_CONF_DIR", f"{tmp_path}/none")
    with pytest.raises(UsageError, match=r"^HADOOP_CONF_DIR=.*/none: no such directory$"):
        HadoopConf.load()


def test_broken_file_is_told_with_its_line(write: Write, tmp_path: Path) -> None:
    (tmp_path / "hdfs-site.xml").write_text("<configuration>\n<property>\n</configuration>\n")
    with pytest.raises(UsageError, match=r"^.*/hdfs-site\.xml:3: not an XML file: mismatched tag$"):
        write()
    (tmp_path / "hdfs-site.xml").write_bytes(b"")
    with pytest.raises(UsageError, match=r"^.*/hdfs-site\.xml:1: not an XML file: no element found$"):
        write()


def test_user_and_security(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = write(core={"hadoop.security.authentication": "kerberos"})
    assert conf.is_secure
    assert not write(core={}).is_secure
    assert conf.user == "someone"
    monkeypatch.delenv("HADOOP_USER_NAME")
    assert conf.user


HA = {
    "dfs.nameservices": "here, there", "dfs.ha.namenodes.here": "nn1,nn2",
    "dfs.namenode.rpc-address.here.nn1": "one:8020", "dfs.namenode.rpc-address.here.nn2": "two:8020",
    "dfs.namenode.http-address.here.nn1": "one:50070", "dfs.namenode.https-address.here.nn2": "two:50470",
    "dfs.namenode.rpc-address.there": "three:9000",
}  # fmt: skip


@pytest.mark.parametrize(
    ("properties", "authority", "urls"),
    [
        ({}, "host:8020", ["http://host:9870"]),
        ({"dfs.http.policy": "HTTPS_ONLY"}, "host:8020", ["https://host:9871"]),
        ({"dfs.http.policy": "HTTP_AND_HTTPS"}, "host", ["http://host:9870"]),
        ({"dfs.namenode.http-address": "web:1234"}, "host:8020", ["http://host:9870"]),
        ({"dfs.namenode.http-address": "web:1234"}, "default:8020", ["http://web:1234"]),
        ({"dfs.namenode.http-address": "0.0.0.0:1234"}, "default:8020", ["http://default:1234"]),
        ({"dfs.namenode.rpc-address": "host:8020", "dfs.namenode.http-address": "web:1"}, "host:8020", ["http://web:1"]),
        (HA, "here", ["http://one:50070", "http://two:9870"]),
        ({**HA, "dfs.http.policy": "HTTPS_ONLY"}, "here", ["https://one:9871", "https://two:50470"]),
        (HA, "there", ["http://three:9870"]),
        (HA, "one:8020", ["http://one:50070"]),
        (HA, "three:9000", ["http://three:9870"]),
        (HA, "elsewhere:8020", ["http://elsewhere:9870"]),
    ],
)  # fmt: skip
def test_namenodes(write: Write, properties: dict[str, str], authority: str, urls: list[str]) -> None:
    assert write(core={"fs.defaultFS": "hdfs://default:8020"}, hdfs=properties).namenodes(authority) == urls


def test_a_name_service_without_addresses(write: Write) -> None:
    conf = write(hdfs={"dfs.nameservices": "ns", "dfs.ha.namenodes.ns": "a,b"})
    with pytest.raises(
        UsageError, match=r"^hdfs://ns: .*/hdfs-site\.xml gives its NameNodes no dfs\.namenode\.http-address$"
    ):
        conf.namenodes("ns")


@pytest.mark.parametrize(
    ("properties", "urls"),
    [
        ({}, ["http://127.0.0.1:8088"]),
        ({"yarn.resourcemanager.hostname": "rm"}, ["http://rm:8088"]),
        ({"yarn.resourcemanager.hostname": "rm", "yarn.http.policy": "HTTPS_ONLY"}, ["https://rm:8090"]),
        ({"yarn.resourcemanager.hostname": "rm", "yarn.resourcemanager.webapp.address": "${yarn.resourcemanager.hostname}:99"},
         ["http://rm:99"]),
        ({"yarn.resourcemanager.hostname": "rm", "yarn.resourcemanager.webapp.address": "0.0.0.0:99"}, ["http://rm:99"]),
        ({"yarn.resourcemanager.ha.enabled": "true", "yarn.resourcemanager.ha.rm-ids": "a,b",
          "yarn.resourcemanager.hostname.a": "one", "yarn.resourcemanager.webapp.address.b": "two:99"},
         ["http://one:8088", "http://two:99"]),
    ],
)  # fmt: skip
def test_resource_managers(write: Write, properties: dict[str, str], urls: list[str]) -> None:
    assert write(yarn=properties).resource_managers() == urls


@pytest.mark.parametrize(
    ("properties", "url"),
    [
        ({}, "http://127.0.0.1:19888"),
        ({"mapreduce.jobhistory.address": "jhs:10020"}, "http://jhs:19888"),
        ({"mapreduce.jobhistory.webapp.address": "jhs:99"}, "http://jhs:99"),
        ({"mapreduce.jobhistory.address": "jhs:10020", "mapreduce.jobhistory.http.policy": "HTTPS_ONLY"}, "https://jhs:19890"),
    ],
)  # fmt: skip
def test_job_history(write: Write, properties: dict[str, str], url: str) -> None:
    assert write(mapred=properties).job_history() == url


# -- paths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("hdfs:///crawl", "hdfs://default:8020/crawl"),
        ("hdfs:/crawl", "hdfs://default:8020/crawl"),
        ("hdfs:///a/../crawl//x/./", "hdfs://default:8020/crawl/x"),
        ("hdfs:///../..", "hdfs://default:8020"),
        ("hdfs:///", "hdfs://default:8020"),
        ("hdfs://", "hdfs://default:8020"),
        ("hdfs://here/crawl/", "hdfs://here/crawl"),
        ("hdfs://other:8020//crawl", "hdfs://other:8020/crawl"),
        ("webhdfs://web:99/crawl/", "webhdfs://web:99/crawl"),
        ("swebhdfs://web/crawl/.", "swebhdfs://web/crawl"),
        ("hdfs:///with space/%41?x#y", "hdfs://default:8020/with space/%41?x#y"),
    ],
)
def test_paths_on_hdfs_stay_whole(write: Write, path: str, resolved: str) -> None:
    write(core={"fs.defaultFS": "hdfs://default:8020/"}, hdfs=HA)
    assert resolve(path)[1] == resolved
    assert resolve(resolved)[1] == resolved
    assert resolve(path)[0] is resolve(resolved)[0]


def test_default_file_system_over_http(write: Write) -> None:
    write(core={"fs.defaultFS": "webhdfs://web:99"})
    assert resolve("hdfs:///crawl")[1] == "webhdfs://web:99/crawl"


@pytest.mark.parametrize("default", [{}, {"fs.defaultFS": "file:///"}, {"fs.defaultFS": "s3a://bucket"}])
def test_no_default_file_system(write: Write, default: dict[str, str]) -> None:
    write(core=default)
    with pytest.raises(
        UsageError, match=r"^hdfs:///: no default file system: set HADOOP_CONF_DIR .* webhdfs://HOST:PORT/…$"
    ):
        resolve("hdfs:///crawl")


def test_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HadoopConf, "load", lambda: HadoopConf({}))
    with pytest.raises(UsageError, match=r"^hdfs://host:8020: .* set HADOOP_CONF_DIR .* webhdfs://HOST:PORT/…$"):
        resolve("hdfs://host:8020/crawl")
    assert resolve("webhdfs://host:9870/crawl")[1] == "webhdfs://host:9870/crawl"
