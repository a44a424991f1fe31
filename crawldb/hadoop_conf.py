"""The cluster's own configuration: what Hadoop's XML files say of its addresses, its user and its security.

Owns finding and reading core-site.xml, hdfs-site.xml, yarn-site.xml and mapred-site.xml, and which web address
belongs to which name. Speaks to none of them.
"""

from __future__ import annotations

import os
import re
import xml.parsers.expat
from functools import lru_cache
from xml.etree import ElementTree

from crawldb.errors import UsageError
from crawldb.lock_holder import user_name

FILES = ("core-site.xml", "hdfs-site.xml", "mapred-site.xml", "yarn-site.xml")
_VARIABLE = re.compile(r"\$\{([^{}$\s]+)\}")
_DEPTH = 20
"""Hadoop's own limit of substitutions within substitutions."""


class HadoopConf:
    """The properties of one configuration directory; `directory` is None where none was found."""

    def __init__(self, properties: dict[str, str], directory: str | None = None) -> None:
        self._properties = properties
        self.directory = directory

    @classmethod
    def load(cls) -> HadoopConf:
        """The configuration of HADOOP_CONF_DIR, HADOOP_HOME/etc/hadoop or /etc/hadoop/conf, read once.

        UsageError for a HADOOP_CONF_DIR that is no directory and for a file that is no XML.
        """
        return _load(os.environ.get("HADOOP_CONF_DIR", ""), os.environ.get("HADOOP_HOME", ""))

    def get(self, key: str, default: str = "") -> str:
        """A property, its variables replaced; an empty one counts as missing, as it does for most of Hadoop."""
        value = self._properties.get(key, "")
        for _ in range(_DEPTH):
            replaced = _VARIABLE.sub(self._variable, value)
            if replaced == value:
                break
            value = replaced
        return value.strip() or default

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("env."):
            variable, given, default = name[4:].partition("-")
            value = os.environ.get(variable.removesuffix(":"))
            if given and (value is None or (variable.endswith(":") and not value)):
                return default
            return match[0] if value is None else value
        if name == "user.name":
            return self.user
        return self._properties.get(name, match[0])

    def _list(self, key: str) -> list[str]:
        return [item.strip() for item in self.get(key).split(",") if item.strip()]

    @property
    def user(self) -> str:
        """Who we are for a cluster without security."""
        return os.environ.get("HADOOP_USER_NAME") or user_name()

    @property
    def is_secure(self) -> bool:
        """True if the cluster wants Kerberos."""
        return self.get("hadoop.security.authentication", "simple").lower() == "kerberos"

    @property
    def default_fs(self) -> str:
        """`hdfs://name:8020`, without a slash at its end; empty if the configuration names none."""
        return self.get("fs.defaultFS", self.get("fs.default.name")).rstrip("/")

    def namenodes(self, authority: str) -> list[str]:
        """The web addresses, http or https, of the NameNodes behind `host:port` or a name service."""
        https = self.get("dfs.http.policy").upper() == "HTTPS_ONLY"
        services = [*self._list("dfs.nameservices"), *self._list("dfs.internal.nameservices")]
        if authority in services:
            nodes = self._list(f"dfs.ha.namenodes.{authority}")
            suffixes = [f".{authority}.{node}" for node in nodes] or [f".{authority}"]
            addresses = [self._namenode(suffix, "", https) for suffix in suffixes]
            if not all(addresses):
                raise UsageError(
                    f"hdfs://{authority}: {self.directory}/hdfs-site.xml gives its NameNodes no dfs.namenode.http-address"
                )
            return addresses
        for suffix in self._suffixes(services):
            if self.get(f"dfs.namenode.rpc-address{suffix}") == authority:
                return [self._namenode(suffix, authority, https)]
        if authority == self.default_fs.partition("://")[2]:
            return [self._namenode("", authority, https)]
        return [_url("", _host(authority), 9871 if https else 9870, https)]

    def _suffixes(self, services: list[str]) -> list[str]:
        suffixes = [""]
        for service in services:
            nodes = self._list(f"dfs.ha.namenodes.{service}")
            suffixes += [f".{service}.{node}" for node in nodes] or [f".{service}"]
        return suffixes

    def _namenode(self, suffix: str, authority: str, https: bool) -> str:
        key, port = ("dfs.namenode.https-address", 9871) if https else ("dfs.namenode.http-address", 9870)
        host = _host(authority or self.get(f"dfs.namenode.rpc-address{suffix}"))
        return _url(self.get(key + suffix), host, port, https)

    def resource_managers(self) -> list[str]:
        """The web addresses of YARN's ResourceManagers, of all where there is more than one."""
        https = self.get("yarn.http.policy").upper() == "HTTPS_ONLY"
        key, port = ("webapp.https.address", 8090) if https else ("webapp.address", 8088)
        ids = self._list("yarn.resourcemanager.ha.rm-ids")
        suffixes = [f".{name}" for name in ids] if self.get("yarn.resourcemanager.ha.enabled") == "true" else []
        return [
            _url(
                self.get(f"yarn.resourcemanager.{key}{suffix}"),
                self.get(f"yarn.resourcemanager.hostname{suffix}", "0.0.0.0"),
                port,
                https,
            )
            for suffix in suffixes or [""]
        ]

    def job_history(self) -> str:
        """The web address of MapReduce's JobHistoryServer."""
        https = self.get("mapreduce.jobhistory.http.policy").upper() == "HTTPS_ONLY"
        key, port = ("webapp.https.address", 19890) if https else ("webapp.address", 19888)
        host = _host(self.get("mapreduce.jobhistory.address")) or "0.0.0.0"
        return _url(self.get(f"mapreduce.jobhistory.{key}"), host, port, https)


@lru_cache
def _load(conf_dir: str, home: str) -> HadoopConf:
    if conf_dir and not os.path.isdir(conf_dir):
        raise UsageError(f"HADOOP_CONF_DIR={conf_dir}: no such directory")
    candidates = [conf_dir, f"{home}/etc/hadoop" if home else "", "/etc/hadoop/conf"]
    directory = next((path for path in candidates if path and os.path.isdir(path)), None)
    properties: dict[str, str] = {}
    for name in FILES if directory else ():
        path = f"{directory}/{name}"
        if os.path.exists(path):
            properties.update(_read(path))
    return HadoopConf(properties, directory)


def _read(path: str) -> dict[str, str]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        why = xml.parsers.expat.ErrorString(error.code)
        raise UsageError(f"{path}:{error.position[0]}: not an XML file: {why}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    names = ((element.findtext("name") or "", element.findtext("value") or "") for element in root.iter("property"))
    return {name.strip(): value.strip() for name, value in names if name.strip()}


def _host(address: str) -> str:
    return address.rpartition(":")[0] if re.search(r":\d+$", address) else address


def _url(address: str, host: str, port: int, https: bool) -> str:
    """The base URL of `address`, or of `host:port` where the configuration names none."""
    address = address or (f"{host}:{port}" if host else "")
    if not address:
        return ""
    for anywhere in ("0.0.0.0", "[::]"):  # where it listens is not where it can be reached
        if _host(address) == anywhere:
            reachable = "127.0.0.1" if host in ("", "0.0.0.0", "[::]") else host
            address = reachable + address.removeprefix(anywhere)
    return f"{'https' if https else 'http'}://{address}"
