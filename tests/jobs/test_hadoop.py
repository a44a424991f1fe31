"""What goes to the cluster, seen without one: archives that carry all that tasks need, and a job's properties."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from crawldb.errors import UsageError
from crawldb.filesystem import resolve
from crawldb.hadoop_conf import HadoopConf
from crawldb.settings import Settings
from jobs.compact import Compact
from jobs.fetch import Fetch
from jobs.generate import Generate
from jobs.hadoop import cluster as module
from jobs.hadoop import shipping
from jobs.hadoop.submission import Submission
from jobs.hadoop.yarn import Capacity
from jobs.updatedb import UpdateDb

# -- shipping ------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path: Path) -> str:
    return str(tmp_path / "stage")


def members(path: str) -> set[str]:
    with tarfile.open(path) as archive:
        return set(archive.getnames())


def test_code_is_shipped_once_for_its_content(stage: str, tmp_path: Path) -> None:
    fs, _ = resolve(stage)
    first = shipping.code(fs, stage, [])
    made = os.stat(first).st_mtime_ns
    time.sleep(0.01)
    assert shipping.code(fs, stage, []) == first
    assert os.stat(first).st_mtime_ns == made
    assert {"jobs/cli.py", "jobs/hadoop/shipping.py", "crawldb/update.py"} <= members(first)
    assert any(name.startswith("jobs/__pycache__/cli.cpython-") for name in members(first))
    assert os.path.getsize(first) < 2 << 20
    # The user's own files ride along; another content is another archive.
    module_file, package = tmp_path / "ours.py", tmp_path / "more"
    package.mkdir()
    module_file.write_text("x = 1\n")
    (package / "__init__.py").write_text("")
    second = shipping.code(fs, stage, [str(module_file), str(package)])
    assert {"ours.py", "more/__init__.py", "jobs/cli.py"} <= members(second)
    module_file.write_text("x = 2\n")
    assert len({first, second, shipping.code(fs, stage, [str(module_file), str(package)])}) == 3
    assert [name for name in os.listdir(stage) if name.startswith(".")] == []


def test_a_user_file_that_is_not_there_is_told(stage: str) -> None:
    with pytest.raises(UsageError, match=r"^hadoop\.py_files: nowhere\.py: no such file"):
        shipping.code(resolve(stage)[0], stage, ["nowhere.py"])


def test_the_environment_is_what_cobnut_needs_and_no_more() -> None:
    names = {distribution.metadata["Name"].lower() for distribution in shipping.requirements()}
    assert {"mrjob", "pyarrow", "lxml", "requests", "hdfs", "numpy", "pyyaml"} <= names
    assert not names & {"pytest", "scrapy", "ruff", "mypy", "cobnut", "playwright"}


def test_what_the_settings_need_besides_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    real, of = module.Cluster, module.Cluster.of
    made: list[tuple[str, ...]] = []

    def cluster(settings: object, hdfs: object, extras: tuple[str, ...]) -> Any:
        made.append(extras)
        found = real.__new__(real)
        found.__dict__.update(settings=settings, hdfs=hdfs, extras=extras)
        return found

    monkeypatch.setattr(module, "_clusters", [])
    monkeypatch.setattr(module, "Cluster", cluster)
    settings = Settings()
    of(settings)
    settings.fetch.engine = "browser"
    assert of(settings) is of(settings)
    settings.hdfs.client = "hdfs-native"
    of(settings)
    assert made == [(), ("browser",), ("hdfs-native", "browser")]
    base = set(map(str.lower, names_of(())))
    assert set(map(str.lower, names_of(("browser",)))) - base >= {"playwright", "greenlet"}


def names_of(extras: tuple[str, ...]) -> list[str]:
    return [distribution.metadata["Name"] for distribution in shipping.requirements(extras)]


@pytest.mark.slow
def test_playwrights_driver_runs_far_from_here(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacked elsewhere its programs are executable, and steer the Chromium that is there."""
    base = set(names_of(()))
    only = [one for one in shipping.requirements(("browser",)) if one.metadata["Name"] not in base]
    monkeypatch.setattr(shipping, "requirements", lambda extras: only)
    archive = shipping.environment(resolve(stage)[0], stage, with_python=False, extras=("browser",))
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    program = """if True:
        import shutil
        from playwright.sync_api import sync_playwright
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
            page = browser.new_page()
            page.set_content("<script>document.title = 6 * 7</script>")
            print(page.title(), playwright.__class__.__module__, __import__("playwright").__file__)
            browser.close()
    """
    python = getattr(sys, "_base_executable", sys.executable)
    variables = {"PYTHONPATH": str(tmp_path / shipping.PACKAGES), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [python, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("42 ")
    assert str(tmp_path) in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("with_python", [True, False])
def test_the_archives_run_far_from_here(stage: str, tmp_path: Path, with_python: bool) -> None:
    """Unpacked elsewhere they inject seeds, with no other variable than those that tasks get."""
    fs, _ = resolve(stage)
    here = tmp_path / "a node"
    for name, path in (
        ("env", shipping.environment(fs, stage, with_python)), ("code", shipping.code(fs, stage, []))
    ):  # fmt: skip
        (here / name).mkdir(parents=True)
        subprocess.run(["tar", "-xzf", path, "-C", here / name], check=True)
    again = shipping.environment(fs, stage, with_python)
    assert sorted(os.listdir(stage)).count(os.path.basename(again)) == 1
    (here / "seeds").write_text("http://a.example/\n")
    (here / "regex-urlfilter.txt").write_text("+.\n")
    python = f"env/{shipping.PYTHON}" if with_python else getattr(sys, "_base_executable", sys.executable)
    variables = {"PYTHONPATH": f"code:env/{shipping.PACKAGES}", "PATH": "/usr/bin:/bin", "COBNUT_CONF_DIR": "."}
    if with_python:
        variables["LD_LIBRARY_PATH"] = shipping.LIBRARIES
    done = subprocess.run(
        [python, "-m", "jobs.cli", "inject", "crawl", "seeds"], cwd=here, env=variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 seeds" in done.stderr


# -- a job's properties --------------------------------------------------------------------------------------


class Properties:
    """The properties of jobs on a cluster with 8 containers on 4 nodes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def of(self, job: type[Any], items: int) -> dict[str, Any]:
        context = {"crawl_dir": "hdfs://namenode:8020/crawl", "segment": "20261124T101500Z"}
        submission = Submission(job, items, self.settings, context, job.__name__.lower())
        listed = submission.arguments()
        pairs = [value for option, value in itertools.pairwise(listed) if option == "-D"]
        return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture
def properties(monkeypatch: pytest.MonkeyPatch) -> Properties:
    cluster = module.Cluster.__new__(module.Cluster)
    settings = Settings()
    cluster.settings, cluster.hdfs, cluster.extras, cluster.user = settings.hadoop, settings.hdfs, (), "alice"
    cluster.conf = HadoopConf({"mapreduce.map.memory.mb": "3000"})
    cluster.command, cluster.streaming_jar, cluster.stage = "hadoop", "streaming.jar", "hdfs://namenode:8020/stage"
    for name, value in (("capacity", Capacity(4, 8)), ("archives", ["hdfs:///a#env"]), ("version", "3.4.2")):
        monkeypatch.setitem(vars(cluster), name, value)
    monkeypatch.setattr(module, "_clusters", [cluster])
    return Properties(settings)


MAPS = "mapreduce.input.lineinputformat.linespermap"
UBER = "mapreduce.job.ubertask.enable"
REDUCES = "mapreduce.job.reduces"


def test_few_items_run_in_the_application_master(properties: Properties) -> None:
    few = properties.of(UpdateDb, 4)
    assert (few[MAPS], few[UBER], few[REDUCES]) == ("4", "true", "1")
    assert few["yarn.app.mapreduce.am.resource.mb"] == "3000"  # as large as a task
    assert few["mapreduce.job.name"] == "cobnut updatedb 20261124T101500Z"
    assert UBER not in properties.of(UpdateDb, 5)
    properties.settings.hadoop.small = 0
    assert UBER not in properties.of(UpdateDb, 1)


def test_tasks_follow_the_cluster(properties: Properties) -> None:
    many = properties.of(UpdateDb, 100)
    assert (many[MAPS], many[REDUCES]) == ("13", "7")  # eight maps, and a reducer for every 16 chunks
    assert properties.of(UpdateDb, 1000)[REDUCES] == "8"
    assert properties.of(Generate, 100)[REDUCES] == "1"
    assert REDUCES not in properties.of(Compact, 100)
    properties.settings.hadoop.maps, properties.settings.hadoop.reducers = 50, 3
    asked = properties.of(UpdateDb, 100)
    assert (asked[MAPS], asked[REDUCES]) == ("2", "3")


def test_every_fetch_task_is_one_map_and_never_two_attempts_at_once(properties: Properties) -> None:
    fetch = properties.of(Fetch, 20)
    assert fetch[MAPS] == "1"
    assert fetch["mapreduce.map.speculative"] == "false"
    assert UBER not in fetch
    assert UBER not in properties.of(Fetch, 2)  # one after the other would take twice as long
    assert properties.of(Fetch, 1)[UBER] == "true"
    assert "mapreduce.map.speculative" not in properties.of(UpdateDb, 20)


def test_settings_and_hadoops_own_properties_win(properties: Properties) -> None:
    hadoop = properties.settings.hadoop
    hadoop.queue = "crawl"
    hadoop.properties = {"mapreduce.map.memory.mb": "4096", UBER: "false"}
    few = properties.of(UpdateDb, 1)
    assert few["mapreduce.job.queuename"] == "crawl"
    assert (few["mapreduce.map.memory.mb"], few[UBER]) == ("4096", "false")
    assert few["yarn.app.mapreduce.am.resource.mb"] == "4096"


def test_the_tag_tells_crawls_and_rounds_apart(properties: Properties) -> None:
    def tag(crawl_dir: str, segment: str) -> str:
        return Submission(Fetch, 1, properties.settings, {"crawl_dir": crawl_dir, "segment": segment}, "fetch").tag

    tags = {tag(crawl, segment) for crawl in ("hdfs:///a", "hdfs:///b") for segment in ("1", "2")}
    assert len(tags) == 4
    assert tag("hdfs:///a", "1") in tags


def test_filter_files_travel_under_their_settings_names(properties: Properties, tmp_path: Path) -> None:
    rules = tmp_path / "my rules.txt"
    rules.write_text("+.\n")
    properties.settings.filter.regex_file = str(rules)
    submission = Submission(Fetch, 1, properties.settings, {"crawl_dir": "hdfs:///a"}, "fetch")
    assert submission.settings_on_nodes.filter.regex_file == "regex_file"
    assert properties.settings.filter.regex_file == str(rules)
    assert f"{rules}#regex_file" in submission.arguments()
    properties.settings.filter.regex_file = str(rules.rename(tmp_path / "rules#1"))
    with pytest.raises(UsageError, match="rules#1: a file that goes to the nodes can't have a # in its path"):
        Submission(Fetch, 1, properties.settings, {"crawl_dir": "hdfs:///a"}, "fetch")
