"""What every job shares: work lists in, Arrow batches between, commit records out; inline or in local processes.

Owns mrjob: the runners, how a task finds its job's class and settings, how a failure of a task is shown. A job file
shows only what is unique to that job. Commits are not made here: a job's caller makes one of its records.

A job's input is a work list, one JSON value a line, one item a task's unit of work. Its output is commit records,
JSON again: which files are finished and what was counted. Rows go through files and the shuffle only.
"""

from __future__ import annotations

import jobs.compat  # isort: skip  # noqa: F401  (before mrjob)

import gc
import importlib
import json
import logging
import os
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, cast

from mrjob.inline import InlineMRJobRunner
from mrjob.job import MRJob
from mrjob.local import LocalMRJobRunner
from mrjob.protocol import JSONValueProtocol
from mrjob.step import StepFailedException

from crawldb import errors
from crawldb.errors import CobnutError, Interrupted
from crawldb.filesystem import configure, delegation_token
from crawldb.settings import Settings
from jobs import control
from jobs.protocol import ArrowProtocol

Record = dict[str, Any]


class CrawlJob(MRJob):  # type: ignore[misc]
    """A MapReduce job of a round. Subclasses define `mapper(self, _, item)` and, if they need one, `reducer`."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = ArrowProtocol
    OUTPUT_PROTOCOL = JSONValueProtocol

    REDUCERS = 1 << 16
    """At most so many reducers are of use."""

    FETCHES = False
    """True if the tasks ask other people's servers: then one runs per item, never two of the same."""

    def configure_args(self) -> None:
        """mrjob's options, and the two that carry our own to the tasks."""
        super().configure_args()
        self.add_passthru_arg("--job-class", help="module:class of this job, for its tasks")
        self.add_file_arg("--job-context", help="a JSON file with what the command tells the tasks")

    @classmethod
    def mr_job_script(cls) -> str:
        """The file that task processes run: see `jobs.task`."""
        return str(Path(__file__).with_name("task.py"))

    def _runner_class(self) -> type[Any]:
        if self.options.runner == "hadoop":
            from jobs.hadoop.runner import HadoopRunner

            return HadoopRunner
        return {"inline": InlineRunner, "local": LocalRunner}[self.options.runner]

    def hadoop_input_format(self) -> str | None:
        """On a cluster, so many lines of the work list to a task."""
        return "org.apache.hadoop.mapred.lib.NLineInputFormat" if self.options.runner == "hadoop" else None

    @cached_property
    def context(self) -> dict[str, Any]:
        """What the command gave `run_job` for the tasks."""
        return cast("dict[str, Any]", json.loads(Path(self.options.job_context).read_text()))

    @cached_property
    def settings(self) -> Settings:
        """The run's settings."""
        return Settings.from_json(self.context["settings"])

    @property
    def crawl_dir(self) -> str:
        """The crawl directory."""
        return cast(str, self.context["crawl_dir"])

    def progress(self, total: int) -> control.Progress:
        """For telling the command how far this task is."""
        return control.Progress(self.context["control"], total)


class InlineRunner(InlineMRJobRunner):  # type: ignore[misc]
    """All tasks in this process: one mapper, then one reducer."""

    def _pick_mapper_split_size(self, input_paths: list[str], step_num: int) -> int:
        return sys.maxsize


class LocalRunner(LocalMRJobRunner):  # type: ignore[misc]
    """Every task in a process of its own, as many at once as there are cores."""

    def _pick_mapper_split_size(self, input_paths: list[str], step_num: int) -> int:
        # One task a core, not mrjob's two: a task costs the start of a Python with Arrow.
        total = sum(os.path.getsize(path) for path in input_paths)
        return -(-total // int(self._num_cores()))

    def _run_multiple(self, funcs: Iterable[Any], num_processes: int | None = None) -> None:
        # Threads, for each only waits for its process: forked pool workers would take over our signal handlers.
        with ThreadPool(self._num_cores()) as pool:
            for result in [pool.apply_async(function) for function in funcs]:
                result.get()

    def _log_cause_of_error(self, error: Any) -> None:
        """Keep the failed task's stderr: its traceback is what the user needs."""
        if hasattr(error, "task_type"):
            path = self._task_stderr_path(error.task_type, error.step_num, error.task_num)
            self.failed_task_stderr = Path(path).read_text("utf-8", "replace")


def _collect_less() -> None:
    """Look for reference cycles far less often: our data are long lists and columns, which Python's default of one look
    for every 700 new objects goes through again and again (a third of parse's CPU time)."""
    gc.set_threshold(100_000, 50, 100)


def run_job(
    job_class: type[CrawlJob], items: Sequence[Any], context: dict[str, Any], settings: Settings, directory: str,
    label: str = "", unit: str = "items",
) -> list[Record]:  # fmt: skip
    """Run a job over its work list and return its commit records, in no particular order.

    `directory` is the command's control directory. Interrupted is raised if the command was asked to stop meanwhile,
    CobnutError if a task failed: then nothing counts, for nothing was committed.
    """
    _collect_less()
    if settings.run.runner != "hadoop":
        arguments: list[str] = []
        if settings.run.runner == "local":
            arguments += ["--cmdenv", f"PYTHONPATH={Path(__file__).resolve().parent.parent}"]
            arguments += ["--num-cores", str(settings.run.processes or os.cpu_count() or 1)]
        told = {**context, "settings": settings.to_json(), "control": directory, "pid": os.getpid()}
        return _run(job_class, items, told, [*arguments, "-r", settings.run.runner], directory, label, unit)
    if not items:
        return []  # Hadoop makes no task of an empty work list
    from jobs.hadoop.submission import Submission

    submission = Submission(job_class, len(items), settings, context, label)
    told = {**context, "settings": submission.settings_on_nodes.to_json(), "control": "",
            "token": delegation_token(context["crawl_dir"])}  # fmt: skip
    try:
        return _run(job_class, items, told, submission.arguments(), directory, label, unit, submission)
    except _TaskDied:
        if not submission.is_small:
            raise
    submission.use_containers()
    return _run(job_class, items, told, submission.arguments(), directory, label, unit, submission)


def _run(
    job_class: type[CrawlJob], items: Sequence[Any], told: Mapping[str, Any], arguments: list[str], directory: str,
    label: str, unit: str, submission: Any = None,
) -> list[Record]:  # fmt: skip
    """Run a job with these arguments of its runner; the tasks are `told` what is in their context file."""
    run = f"{directory}/{uuid.uuid4().hex[:8]}"
    os.mkdir(run)
    work_list, context_file = f"{run}/work", f"{run}/context.json"
    Path(work_list).write_text("".join(json.dumps(item) + "\n" for item in items))
    private = os.open(context_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(private, "w") as file:
        json.dump(told, file)
    arguments = [
        *arguments, "--no-conf", "--no-bootstrap-mrjob", "--local-tmp-dir", run,
        "--job-class", f"{job_class.__module__}:{job_class.__name__}", "--job-context", context_file, work_list,
    ]  # fmt: skip
    logging.getLogger("mrjob").setLevel(logging.CRITICAL)
    with control.progress_bar(directory, label, unit), job_class(arguments).make_runner() as runner:
        if submission:
            runner.submission, runner.directory = submission, directory
        try:
            runner.run()
        except StepFailedException as error:
            control.raise_if_interrupted()
            if not_submitted := getattr(runner, "not_submitted", ""):
                raise CobnutError(f"the cluster did not take the job: {not_submitted}") from None
            _explain(error, getattr(runner, "failed_task_stderr", ""))
        control.raise_if_interrupted()
        return [record for _, record in job_class(arguments).parse_output(runner.cat_output())]


class _TaskDied(CobnutError):
    """A task ended without a word of Python's: killed, out of memory."""


def _explain(error: StepFailedException, stderr: str) -> None:
    """Raise what made a task process fail: its own last line if it is one of ours, else all it wrote."""
    lines = [line for line in stderr.splitlines() if line and not line.startswith(("reporter:", "log4j:"))]
    if ours := [line for line in lines if line.startswith(_OURS)]:
        kind, _, message = ours[-1][len(_OURS) :].partition(": ")
        raise getattr(errors, kind, CobnutError)(message) from None
    if starts := [number for number, line in enumerate(lines) if line.startswith("Traceback ")]:
        raise CobnutError("\n".join(["a task failed:", *lines[starts[-1] :]])) from None
    raise _TaskDied("\n".join(["a task died", *(lines[-40:] or [str(error.reason)])])) from None


_OURS = "cobnut-error: "


def run_task(arguments: list[str]) -> None:
    """Run one mapper or reducer in a process of its own; called by `jobs.task`."""
    _collect_less()
    module, _, name = arguments[arguments.index("--job-class") + 1].partition(":")
    job = getattr(importlib.import_module(module), name)(arguments)
    configure(job.settings.hdfs, job.context.get("token"))
    if job.context["control"]:
        control.follow_command(job.context["control"], job.context["pid"])
    else:
        control.on_a_cluster(keep_alive=job.FETCHES)
    try:
        job.execute()
    except Interrupted:
        sys.exit("stopped")  # the command knows: it asked for it, or is gone
    except (CobnutError, OSError) as error:
        sys.exit(f"{_OURS}{type(error).__name__}: {error}")
