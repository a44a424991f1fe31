"""What YARN and its jobs tell over HTTP: capacity, running applications, progress, logs of failed tasks; and kill.

By the REST interfaces of Hadoop 3: ResourceManager, MapReduce application master (through the ResourceManager's proxy)
and JobHistoryServer. What only makes the command more informative (progress, capacity, logs) never fails it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from crawldb.errors import CobnutError
from crawldb.hadoop_conf import HadoopConf
from jobs.control import COUNTER_GROUP

_TIMEOUT = 10.0
_UNFINISHED = "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"
_ENDED = ("FINISHED", "FAILED", "KILLED")
_LONGEST_KILL, _HISTORY_LAG, _LOOK = 60.0, 10.0, 0.25
"""Seconds: for an application to end, for the history server to know of it, and between two looks."""

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Capacity:
    """What the cluster can run at once."""

    nodes: int
    containers: int
    """Map tasks of the usual size."""


class Yarn:
    """The ResourceManager and the JobHistoryServer of a configuration."""

    def __init__(self, conf: HadoopConf, user: str) -> None:
        self._conf = conf
        self._resource_managers = list(conf.resource_managers())
        self._session = requests.Session()
        self._session.trust_env = False  # as Hadoop's own clients: no proxies, no .netrc
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._session.params = {} if conf.is_secure else {"user.name": user}
        if conf.is_secure:
            self._session.auth = _kerberos()

    def capacity(self, megabytes: int) -> Capacity:
        """How many containers of so many megabytes and one core fit on the nodes that are up."""
        metrics = self._rm("/ws/v1/cluster/metrics")["clusterMetrics"]
        fit = min(int(metrics["totalMB"]) // max(megabytes, 1), int(metrics["totalVirtualCores"]))
        return Capacity(nodes=max(int(metrics["activeNodes"]), 1), containers=max(fit, 1))

    def version(self) -> str:
        """Hadoop's version, such as 3.4.2."""
        return str(self._rm("/ws/v1/cluster/info")["clusterInfo"]["hadoopVersion"])

    def unfinished(self, tag: str) -> list[str]:
        """The ids of the applications with this tag that may still be running."""
        apps = self._rm("/ws/v1/cluster/apps", applicationTags=tag.lower(), states=_UNFINISHED)["apps"]
        return [str(app["id"]) for app in (apps or {}).get("app", [])]

    def kill(self, application: str) -> bool:
        """Ask YARN to kill an application, and wait until it has ended; False if YARN does not let us."""

        def is_over() -> bool | None:
            state = f"{self._resource_managers[0]}/ws/v1/cluster/apps/{application}/state"
            with contextlib.suppress(requests.RequestException):
                answer = self._session.put(state, json={"state": "KILLED"}, timeout=_TIMEOUT)
                if answer.status_code in (401, 403):
                    return False
            return self.application(application)["state"] in _ENDED or None

        return _wait_for(is_over, _LONGEST_KILL) or False

    def progress(self, application: str) -> tuple[int, int, str]:
        """What the tasks of a running job have done, of how many, as they report it; and `map 50 % reduce 0 %`."""
        base = f"/proxy/{application}/ws/v1/mapreduce/jobs/{_job(application)}"
        job = self._rm(base)["job"]
        counted = {"done": 0, "total": 0}
        for group in self._rm(f"{base}/counters")["jobCounters"].get("counterGroup", []):
            if group["counterGroupName"] == COUNTER_GROUP:
                counted |= {one["name"]: int(one["totalCounterValue"]) for one in group["counter"]}
        phases = f"map {float(job['mapProgress']):.0f} % reduce {float(job['reduceProgress']):.0f} %"
        return counted["done"], counted["total"], phases

    def application(self, application: str) -> dict[str, Any]:
        """What the ResourceManager knows of an application."""
        found: dict[str, Any] = self._rm(f"/ws/v1/cluster/apps/{application}")["app"]
        return found

    def diagnostics(self, application: str) -> str:
        """Why YARN or the application master says that an application failed."""
        with contextlib.suppress(CobnutError, KeyError):
            return str(self.application(application).get("diagnostics") or "").strip()
        return ""

    def master_log(self, application: str) -> str:
        """The log of an ended application's (last) master."""
        logs = str(self.application(application)["amContainerLogs"])
        container = logs.rstrip("/").rpartition("/")[0].rpartition("/")[2]
        return self._text(f"{self._conf.job_history()}/ws/v1/history/containerlogs/{container}/syslog")

    def failed_stderr(self, application: str) -> str:
        """What a failed task of an ended job wrote to stderr: the last attempt that failed and said something."""
        history = f"{self._conf.job_history()}/ws/v1/history"
        for container in self._failed_containers(f"{history}/mapreduce/jobs/{_job(application)}"):
            # There the text stands between a heading and a line that ends it.
            text = self._text(f"{history}/containerlogs/{container}/stderr").partition("LogContents:\n")[2]
            text = text[: text.rfind("End of LogType:stderr")]
            if text.strip():
                return text
        return ""

    def failed_diagnostics(self, application: str) -> str:
        """What Hadoop says of the last attempt that failed in an ended job, such as why it could not start it."""
        history = f"{self._conf.job_history()}/ws/v1/history"
        for attempt in self._failed_attempts(f"{history}/mapreduce/jobs/{_job(application)}"):
            lines = [line.strip() for line in str(attempt.get("diagnostics") or "").splitlines()]
            causes = [line for line in lines if line.startswith("Caused by: ")]
            if told := causes[-2:] or lines[:1]:
                return "\n".join(told)
        return ""

    def _failed_containers(self, job: str) -> list[str]:
        """The containers in which something failed, the last first."""
        containers = (
            str(one["assignedContainerId"]) for one in self._failed_attempts(job) if one.get("assignedContainerId")
        )
        return list(dict.fromkeys(containers))

    def _failed_attempts(self, job: str) -> list[dict[str, Any]]:
        """The attempts of an ended job that failed, the last first."""
        attempts: list[dict[str, Any]] = []
        with contextlib.suppress(CobnutError, KeyError):  # without a history the user gets what YARN says
            for task in self._patiently(f"{job}/tasks")["tasks"].get("task", []):
                if task["state"] == "FAILED":
                    with contextlib.suppress(CobnutError):  # it has none if it failed with another
                        of_task = self._get(f"{job}/tasks/{task['id']}/attempts").get("taskAttempts") or {}
                        attempts += of_task.get("taskAttempt", [])
        failed = [one for one in attempts if one["state"] == "FAILED"]
        return sorted(failed, key=lambda one: -int(one["finishTime"]))

    def _patiently(self, url: str) -> dict[str, Any]:
        """`_get` of what the history server may have only a moment after the job's end."""

        def look() -> dict[str, Any] | None:
            with contextlib.suppress(CobnutError):
                return self._get(url)
            return None

        return _wait_for(look, _HISTORY_LAG) or self._get(url)

    def _text(self, url: str) -> str:
        """A log, which is collected after the job's end; empty if it is not to be had."""

        def look() -> str | None:
            with contextlib.suppress(requests.RequestException):
                answer = self._session.get(url, timeout=_TIMEOUT)
                if answer.ok and "LogContents:" in answer.text:
                    return answer.text
            return None

        return _wait_for(look, _HISTORY_LAG) or ""

    def _rm(self, path: str, **parameters: str) -> dict[str, Any]:
        error: CobnutError | None = None
        for number, base in enumerate(self._resource_managers):
            try:
                found = self._get(f"{base}{path}", **parameters)
            except CobnutError as failure:
                error = error or failure
            else:
                self._resource_managers.insert(0, self._resource_managers.pop(number))
                return found
        raise error or CobnutError("no ResourceManager in the configuration: set yarn.resourcemanager.webapp.address")

    def _get(self, url: str, **parameters: str) -> dict[str, Any]:
        try:
            answer = self._session.get(url, params=parameters, headers={"Accept": "application/json"}, timeout=_TIMEOUT)
            answer.raise_for_status()
            found = answer.json()
        except requests.HTTPError:
            raise CobnutError(f"{url}: {answer.status_code} {answer.reason}") from None
        except requests.ConnectionError:
            raise CobnutError(
                f"{url}: no connection; does it run, and does HADOOP_CONF_DIR name its address?"
            ) from None
        except (requests.RequestException, ValueError) as error:
            raise CobnutError(f"{url}: {error}") from None
        if not isinstance(found, dict):
            raise CobnutError(f"{url}: not the JSON object that was expected")
        return found


def _wait_for(look: Callable[[], _Found | None], seconds: float) -> _Found | None:
    """The first thing found; None if there is none for so long. Hadoop's web services tell nobody: one has to ask."""
    end = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(_LOOK)
    return found


def _job(application: str) -> str:
    return application.replace("application_", "job_", 1)


def _kerberos() -> Any:
    try:
        from requests_kerberos import OPTIONAL, HTTPKerberosAuth
    except ImportError:
        raise CobnutError("this cluster wants Kerberos: scripts/venv.sh kerberos, then kinit") from None
    return HTTPKerberosAuth(mutual_authentication=OPTIONAL)
