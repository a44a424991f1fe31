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
from collections.abc import Iterable, Sequence
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
from crawldb.settings import Settings
from jobs import control
from jobs.protocol import ArrowProtocol

Record = dict[str, Any]


class CrawlJob(MRJob):  # type: ignore[misc]
    """A MapReduce job of a round. Subclasses define `mapper(self, _, item)` and, if they need one, `reducer`."""

    INPUT_PROTOCOL = JSONValueProtocol
    INTERNAL_PROTOCOL = ArrowProtocol
    OUTPUT_PROTOCOL = JSONValueProtocol

    def configure_args(self) -> None:
        """mrjob's options, and the two that carry our own to the tasks."""
        super().configure_args()
        self.add_passthru_arg("--job-class", help="module:class of this job, for its tasks")
        self.add_passthru_arg("--job-context", help="a JSON file with what the command tells the tasks")

    @classmethod
    def mr_job_script(cls) -> str:
        """The file that task processes run: see `jobs.task`."""
        return str(Path(__file__).with_name("task.py"))

    def _runner_class(self) -> type[Any]:
        return {"inline": InlineRunner, "local": LocalRunner}[self.options.runner]

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
    run = f"{directory}/{uuid.uuid4().hex[:8]}"
    os.mkdir(run)
    work_list, context_file = f"{run}/work", f"{run}/context.json"
    Path(work_list).write_text("".join(json.dumps(item) + "\n" for item in items))
    private = os.open(context_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(private, "w") as file:
        json.dump({**context, "settings": settings.to_json(), "control": directory, "pid": os.getpid()}, file)
    name = f"{job_class.__module__}:{job_class.__name__}"
    arguments = [
        "-r", settings.run.runner, "--no-conf", "--no-bootstrap-mrjob", "--local-tmp-dir", run,
        "--cmdenv", f"PYTHONPATH={Path(__file__).resolve().parent.parent}",
        "--job-class", name, "--job-context", context_file, work_list,
    ]  # fmt: skip
    if settings.run.runner == "local":
        processes = settings.run.processes or os.cpu_count() or 1
        arguments[:0] = ["--num-cores", str(processes)]
    logging.getLogger("mrjob").setLevel(logging.CRITICAL)
    with control.progress_bar(directory, label, unit), job_class(arguments).make_runner() as runner:
        try:
            runner.run()
        except StepFailedException as error:
            control.raise_if_interrupted()
            _explain(error, getattr(runner, "failed_task_stderr", ""))
        control.raise_if_interrupted()
        return [record for _, record in job_class(arguments).parse_output(runner.cat_output())]


def _explain(error: StepFailedException, stderr: str) -> None:
    """Raise what made a task process fail: its own last line if it is one of ours, else all it wrote."""
    lines = [line for line in stderr.splitlines() if line and not line.startswith("reporter:")]
    if lines and lines[-1].startswith(_OURS):
        kind, _, message = lines[-1][len(_OURS) :].partition(": ")
        raise getattr(errors, kind, CobnutError)(message) from None
    raise CobnutError("\n".join([f"a task failed: {error}", *lines[-40:]])) from None


_OURS = "cobnut-error: "


def run_task(arguments: list[str]) -> None:
    """Run one mapper or reducer in a process of its own; called by `jobs.task`."""
    _collect_less()
    module, _, name = arguments[arguments.index("--job-class") + 1].partition(":")
    job = getattr(importlib.import_module(module), name)(arguments)
    control.follow_command(job.context["control"], job.context["pid"])
    try:
        job.execute()
    except Interrupted:
        sys.exit("stopped")  # the command knows: it asked for it, or is gone
    except (CobnutError, OSError) as error:
        sys.exit(f"{_OURS}{type(error).__name__}: {error}")
