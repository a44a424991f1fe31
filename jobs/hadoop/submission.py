"""One job as the cluster gets it: its name and tag, the files that go with it, its properties.

Owns the arguments of Hadoop Streaming: how many tasks, what they find in their working directories, their environment.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrjob.job import MRJob

from crawldb.errors import UsageError
from crawldb.settings import FILES, Settings
from jobs.command import say
from jobs.hadoop import shipping
from jobs.hadoop.cluster import Cluster

_ITEMS_A_REDUCER = 16
_CONFIGURATION = ("core-site.xml", "hdfs-site.xml")


class Submission:
    """One job for the cluster: what it is called, which files go with it, and its properties."""

    def __init__(
        self, job_class: type[Any], items: int, settings: Settings, context: Mapping[str, Any], label: str
    ) -> None:
        self.cluster = Cluster.of(settings)
        self._job_class, self._items, self._settings = job_class, items, settings
        about = os.path.basename(context.get("segment") or context["crawl_dir"])
        self.name = f"cobnut {label} {about}"
        self.tag = "cobnut-" + hashlib.sha1(f"{context['crawl_dir']}\0{self.name}".encode()).hexdigest()[:20]
        self.is_small = items <= settings.hadoop.small and (items == 1 or not job_class.FETCHES)
        self._files: list[str] = []
        self.settings_on_nodes = self._with_files(settings)

    def _with_files(self, settings: Settings) -> Settings:
        """The settings with the names that their files have in the tasks' working directories."""
        there = Settings.from_json(settings.to_json())
        for section, key in FILES:
            path = getattr(getattr(settings, section), key)
            if "#" in path:
                raise UsageError(f"{section}.{key} = {path}: a file that goes to the nodes can't have a # in its path")
            if path and os.path.exists(path):
                self._files.append(f"{path}#{key}")
                setattr(getattr(there, section), key, key)
        return there

    def kill_others(self) -> None:
        """Kill what an earlier command, killed itself, left running of the same job: two would ask the same hosts."""
        if self._job_class.FETCHES and (number := self.cluster.kill(self.tag)):
            say(f"hadoop    killed {number} application that an earlier command had left running: {self.name}")

    def use_containers(self) -> None:
        """Run the tasks in containers of their own: there Hadoop repeats what dies, in the application master's not."""
        say("hadoop    a task died within the application master; once more in containers of their own")
        self.is_small = False

    def arguments(self) -> list[str]:
        """mrjob's arguments."""
        cluster, hadoop = self.cluster, self._settings.hadoop
        arguments = [
            "-r", "hadoop", "--hadoop-bin", cluster.command, "--hadoop-streaming-jar", cluster.streaming_jar,
            "--hadoop-tmp-dir", cluster.temporary, "--no-read-logs",
            "--cleanup", "ALL", "--cleanup-on-failure", "ALL",
            "--python-bin", hadoop.python or f"env/{shipping.PYTHON}",
        ]  # fmt: skip
        environment = {
            "PYTHONPATH": f"code:env/{shipping.PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1", "HADOOP_CONF_DIR": ".", "COBNUT_CONF_DIR": ".", "HADOOP_USER_NAME": cluster.user,
        }  # fmt: skip
        if not hadoop.python:
            environment["LD_LIBRARY_PATH"] = shipping.LIBRARIES
        files = list(self._files)
        if os.path.isfile(authorities := os.environ.get("REQUESTS_CA_BUNDLE", "")):
            files.append(f"{authorities}#authorities.pem")
            environment["REQUESTS_CA_BUNDLE"] = "authorities.pem"
        for name in _CONFIGURATION:
            if cluster.conf.directory and (path := Path(cluster.conf.directory, name)).is_file():
                files.append(f"{path}#{name}")
        options = [("--cmdenv", f"{key}={value}") for key, value in environment.items()]
        options += [("--archive", archive) for archive in cluster.archives]
        options += [("--file", file) for file in files]
        options += [("-D", f"{key}={value}") for key, value in self._properties().items()]
        return [*arguments, *itertools.chain.from_iterable(options)]

    def _properties(self) -> dict[str, Any]:
        cluster, hadoop, items = self.cluster, self._settings.hadoop, self._items
        fetches = self._job_class.FETCHES
        maps = items if fetches else min(items, hadoop.maps or cluster.capacity.containers)
        properties: dict[str, Any] = {
            "mapreduce.job.name": self.name,
            "mapreduce.job.tags": self.tag,
            "mapreduce.input.lineinputformat.linespermap": items if self.is_small else -(-items // maps),
            "stream.map.input.ignoreKey": "true",
        }
        reducers = 0
        if self._job_class.reducer is not MRJob.reducer:
            fitting = hadoop.reducers or min(cluster.capacity.containers, -(-items // _ITEMS_A_REDUCER))
            reducers = min(self._job_class.REDUCERS, fitting)
            properties["mapreduce.job.reduces"] = reducers
        if hadoop.queue:
            properties["mapreduce.job.queuename"] = hadoop.queue
        if fetches:  # two attempts at once would ask the same hosts
            properties["mapreduce.map.speculative"] = "false"
        if self.is_small and reducers <= 1:  # the application master runs the tasks itself, if it is as large as one
            sizes = [cluster.megabytes(f"mapreduce.{kind}.memory.mb", 1024) for kind in ("map", "reduce")]
            sizes.append(cluster.megabytes("yarn.app.mapreduce.am.resource.mb", 1536))
            properties["mapreduce.job.ubertask.enable"] = "true"
            properties["mapreduce.task.progress-report.interval"] = "1000"  # milliseconds, not 3,000: there is but one
            properties["yarn.app.mapreduce.am.resource.mb"] = max(sizes)
        return properties | hadoop.properties
