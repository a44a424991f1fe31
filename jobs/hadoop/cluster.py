"""The cluster that a command's jobs run on: its configuration, its services, our directory in HDFS.

Owns how all that is found: HADOOP_HOME, HADOOP_CONF_DIR, the streaming jar.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import shutil
import subprocess
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from crawldb.errors import UsageError
from crawldb.filesystem import is_uri, resolve
from crawldb.hadoop_conf import HadoopConf
from crawldb.settings import HadoopSettings, HdfsSettings, Settings
from jobs.hadoop import shipping
from jobs.hadoop.yarn import Capacity, Yarn

_KEPT = timedelta(days=7)
"""Longer than any job runs."""


class Cluster:
    """What all jobs of one command share: the cluster's services, the directory in HDFS, the archives."""

    def __init__(self, settings: HadoopSettings, hdfs: HdfsSettings, extras: tuple[str, ...] = ()) -> None:
        self.settings, self.hdfs, self.extras = settings, hdfs, extras
        self.conf = HadoopConf.load()
        self.user = hdfs.user or self.conf.user
        self.command = _hadoop_command()
        self.streaming_jar = _streaming_jar(self.command)
        self.yarn = Yarn(self.conf, self.user)
        if settings.stage and not is_uri(settings.stage):
            raise UsageError(f"hadoop.stage = {settings.stage}: expected a directory that every node sees: hdfs:///…")
        self.fs, self.stage = resolve(settings.stage or f"hdfs:///user/{self.user}/.cobnut")
        self.fs.make_private_directory(self.stage)
        self._remove_garbage()

    @staticmethod
    def of(settings: Settings) -> Cluster:
        """The cluster of these settings; the same one for all jobs of a command."""
        wanted = settings.hadoop, settings.hdfs, _extras(settings)
        if not _clusters or (_clusters[0].settings, _clusters[0].hdfs, _clusters[0].extras) != wanted:
            _clusters[:] = [Cluster(*wanted)]
        return _clusters[0]

    @functools.cached_property
    def archives(self) -> list[str]:
        """`URI#name` of what the tasks find in their working directory."""
        carried = not self.settings.python
        return [
            f"{shipping.environment(self.fs, self.stage, carried, self.extras)}#env",
            f"{shipping.code(self.fs, self.stage, self.settings.py_files)}#code",
        ]

    @functools.cached_property
    def version(self) -> str:
        """Hadoop's version."""
        return self.yarn.version()

    @functools.cached_property
    def capacity(self) -> Capacity:
        """What the cluster can run at once."""
        return self.yarn.capacity(self.megabytes("mapreduce.map.memory.mb", 1024))

    @property
    def temporary(self) -> str:
        """Where the jobs have their directories while they run."""
        return f"{self.stage}/jobs"

    def upload(self, path: str) -> str:
        """A copy of a local file in a directory of its own; remove that when it has served."""
        now = datetime.now(timezone.utc)
        copy = f"{self.temporary}/upload.{now:%Y%m%d.%H%M%S}.{uuid.uuid4().hex}/{os.path.basename(path)}"
        with open(path, "rb") as file:
            shipping.upload(self.fs, file, copy)
        return copy

    def _remove_garbage(self) -> None:
        """Remove what killed commands left among the temporary files; mrjob's names too tell when they were made."""
        oldest = f"{datetime.now(timezone.utc) - _KEPT:%Y%m%d.%H%M%S}"
        for name in self.fs.names(self.temporary):
            made = re.search(r"\.(\d{8}\.\d{6})\.", name)
            if made and made[1] < oldest:
                self.fs.remove(f"{self.temporary}/{name}")

    def kill(self, tag: str) -> int:
        """Kill the applications that still run under a tag; how many that were."""
        applications = self.yarn.unfinished(tag)
        for application in applications:
            if not self.yarn.kill(application):
                job = application.replace("application_", "job_", 1)
                subprocess.run([self.command, "job", "-kill", job], check=False, capture_output=True)
        return len(applications)

    def megabytes(self, name: str, default: int) -> int:
        """A size among Hadoop's properties, as the jobs will see it."""
        value = self.settings.properties.get(name) or self.conf.get(name) or ""
        return int(value) if value.isdecimal() else default


_clusters: list[Cluster] = []


def _extras(settings: Settings) -> tuple[str, ...]:
    """setup.py's extras that tasks need besides. Chromium itself does not travel: the nodes must have it."""
    extras = {"hdfs-native": settings.hdfs.client == "hdfs-native", "browser": settings.fetch.engine == "browser",
              "text": settings.parse.main_text}  # fmt: skip
    return tuple(name for name, needed in extras.items() if needed)


def _hadoop_command() -> str:
    home = os.environ.get("HADOOP_HOME")
    found = shutil.which("hadoop", path=f"{home}/bin") if home else None
    found = found or shutil.which("hadoop")
    if not found:
        raise UsageError("-r hadoop: no hadoop command; put it in PATH or set HADOOP_HOME")
    return found


def _streaming_jar(hadoop: str) -> str:
    homes = [
        os.environ.get("HADOOP_MAPRED_HOME"),
        os.environ.get("HADOOP_HOME"),
        str(Path(hadoop).resolve().parent.parent),
    ]
    places = [f"{home}/share/hadoop/tools/lib" for home in homes if home]
    places += [home for home in homes if home] + [
        "/usr/lib/hadoop-mapreduce",
        "/usr/hdp/current/hadoop-mapreduce-client",
    ]
    for place in places:
        for jar in sorted(glob.glob(f"{glob.escape(place)}/hadoop-streaming*.jar"), key=lambda jar: (len(jar), jar)):
            if not jar.endswith("-sources.jar"):
                return jar
    raise UsageError(
        f"-r hadoop: no hadoop-streaming*.jar in {', '.join(dict.fromkeys(places))}; set HADOOP_HOME, or HADOOP_MAPRED_HOME"
    )
