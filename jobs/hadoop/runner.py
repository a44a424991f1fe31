"""A job on the cluster: mrjob's Hadoop runner, with all its file system work over WebHDFS.

mrjob starts a JVM for each of its `hadoop fs` calls, twelve for a trivial job; here one is left, the streaming client.
Owns the wait for the job, and what becomes of it when it fails or the command is stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mrjob.fs.base import Filesystem
from mrjob.fs.composite import CompositeFilesystem
from mrjob.fs.local import LocalFilesystem
from mrjob.hadoop import HadoopJobRunner
from mrjob.logs.step import _interpret_hadoop_jar_command_stderr

from crawldb.errors import CobnutError
from crawldb.filesystem import resolve
from jobs import control
from jobs.command import say
from jobs.hadoop.submission import Submission

_POLL = 1.0
_UPLOADS = 8


class HadoopRunner(HadoopJobRunner):  # type: ignore[misc]
    """Runs one streaming job. `submission` and the command's control directory are set before `run`."""

    submission: Submission
    directory: str
    failed_task_stderr = ""
    not_submitted = ""
    """Why the cluster did not take the job."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._application = ""
        self._errors: list[str] = []

    @functools.cached_property
    def fs(self) -> Any:
        """mrjob's file systems: ours for URIs, and the local one."""
        systems = CompositeFilesystem()
        systems.add_fs("hadoop", Hdfs())
        systems.add_fs("local", LocalFilesystem())
        return systems

    def _upload_local_files(self) -> None:
        super()._upload_local_files()
        self.fs.hadoop.finish_uploads()

    def _env_for_step(self, step_num: int) -> dict[str, str]:
        return {**super()._env_for_step(step_num), "HADOOP_USER_NAME": self.submission.cluster.user}

    def get_hadoop_version(self) -> str:
        """Asked of the ResourceManager: mrjob would start a JVM."""
        return self.submission.cluster.version

    def get_hadoop_bin(self) -> list[str]:
        """The `hadoop` command."""
        return [self.submission.cluster.command]

    def _run_hadoop(
        self, hadoop_args: list[str], env: dict[str, str], record_callback: Callable[[Any], None]
    ) -> tuple[int, dict[str, Any]]:
        self.submission.kill_others()
        # In a session of its own: Ctrl-C is for us, who kill the application and not only its client.
        client = subprocess.Popen(
            hadoop_args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env,
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip
        assert client.stderr is not None
        ended = threading.Event()
        follower = threading.Thread(target=self._follow, args=(client, ended), name="application", daemon=True)
        follower.start()
        try:
            interpretation = _interpret_hadoop_jar_command_stderr(client.stderr, record_callback=self._heard)
            code = client.wait()
        finally:
            ended.set()
            follower.join()
        if code and not self._application:
            self.not_submitted = "; ".join(self._errors) or f"hadoop ended with exit code {code}"
        elif code and not control.STOP.is_set():
            self.failed_task_stderr = self._why()
        elif failed := _failed_attempts(interpretation):
            say(f"hadoop    {failed:,} task attempts died and were repeated")
        return code, interpretation

    def _heard(self, record: dict[str, Any]) -> None:
        """A log record of the client."""
        message = str(record.get("message", ""))
        if match := re.search(r"Submitted application (application_\d+_\d+)", message):
            self._application = match[1]
        elif match := re.search(r"The url to track the job: (\S+)", message):
            say(f"hadoop    {match[1]}")
        if record.get("level") in ("ERROR", "FATAL") or "Exception" in message:
            self._errors += [line.strip() for line in message.splitlines() if line.strip()][:1]

    def _follow(self, client: subprocess.Popen[bytes], ended: threading.Event) -> None:
        """Report progress while the client waits for the job; end both when the command is asked to stop."""
        while not ended.wait(_POLL):
            if control.STOP.is_set():
                self._kill(client)
                return
            if self._application and sys.stderr.isatty():
                with contextlib.suppress(CobnutError, KeyError, TypeError, ValueError):
                    control.report(self.directory, *self.submission.cluster.yarn.progress(self._application))

    def _kill(self, client: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            client.send_signal(signal.SIGTERM)  # first, so that nothing is submitted after the look
        client.wait()
        try:
            self.submission.cluster.kill(self.submission.tag)
        except CobnutError as error:
            say(f"hadoop    {self.submission.name} may still run, for it could not be killed: {error}")

    def _why(self) -> str:
        """What made the job fail: the stderr of a failed task, else what YARN or the client says."""
        yarn = self.submission.cluster.yarn
        for tell in (yarn.failed_stderr, yarn.failed_diagnostics, yarn.diagnostics):
            if told := tell(self._application):
                return told
        return "\n".join(self._errors)


def _failed_attempts(interpretation: dict[str, Any]) -> int:
    counters = interpretation.get("counters", {}).get("Job Counters ", {})
    return sum(int(counters.get(f"Failed {kind} tasks", 0)) for kind in ("map", "reduce"))


def _die_with_parent() -> None:
    """In the client, before it starts: end when the command is killed. It could still submit a job that nobody awaits.

    prctl(2) with PR_SET_PDEATHSIG; elsewhere than on Linux a rerun finds what was submitted by its tag.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Hdfs(Filesystem):  # type: ignore[misc]
    """mrjob's view of crawldb.filesystem. Uploads go on side by side until `finish_uploads`: each is mostly waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(_UPLOADS)
        self._uploads: list[Future[None]] = []

    def can_handle_path(self, path: str) -> bool:
        """All URIs but local ones."""
        return "://" in path and not path.startswith("file:")

    def ls(self, path_glob: str) -> Iterator[str]:
        """All files of a directory, hidden ones too."""
        fs, path = resolve(path_glob)
        names = fs.all_names(path)
        yield from (f"{path}/{name}" for name in names)

    def _cat_file(self, path: str) -> Iterator[bytes]:
        fs, path = resolve(path)
        yield fs.read(path)

    def exists(self, path_glob: str) -> bool:
        """True if there is a file or directory of this name."""
        fs, path = resolve(path_glob)
        return fs.exists(path)

    def mkdir(self, path: str) -> None:
        """Make a directory that only the user can read: settings may hold secrets."""
        fs, path = resolve(path)
        fs.make_private_directory(path)

    def put(self, src: str, path: str) -> None:
        """Begin to upload a local file."""
        self._uploads.append(self._pool.submit(self._upload, src, path))

    def finish_uploads(self) -> None:
        """Wait for all uploads; an error of one is raised."""
        for upload in self._uploads:
            upload.result()
        self._uploads.clear()

    @staticmethod
    def _upload(src: str, path: str) -> None:
        fs, path = resolve(path)
        with open(src, "rb") as source, fs.open_output(path) as output:
            shutil.copyfileobj(source, output, 4 << 20)

    def rm(self, path_glob: str) -> None:
        """Remove a file, or a directory with all in it."""
        fs, path = resolve(path_glob)
        fs.remove(path)
