"""What the cluster refuses or a task does wrong is told in clear words, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crawldb.errors import CobnutError
from crawldb.filesystem import configure, resolve
from crawldb.hadoop_conf import HadoopConf
from crawldb.settings import HdfsSettings
from tests.hadoop.one_node import OneNode
from tests.rounds.conftest import Crawler, rows

pytestmark = pytest.mark.slow

ONCE = ("--set", "hdfs.retries=1")


def test_safe_mode(crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode) -> None:
    crawl_dir = on_hdfs("crawl")
    one_node.run("hdfs", "dfsadmin", "-safemode", "enter")
    try:
        for runner in ("inline", "hadoop"):
            said = crawler.run("inject", "-r", runner, *ONCE, crawl_dir, str(crawler.seeds), code=1)
            assert "safe mode" in said
            assert said.count("\n") == 1
    finally:
        one_node.run("hdfs", "dfsadmin", "-safemode", "leave")
    crawler.run("inject", crawl_dir, str(crawler.seeds))


def test_a_full_quota_loses_nothing(crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode) -> None:
    expected = rows(crawler.crawl("usual", rounds=2))
    crawler.server.reset()
    crawl_dir = on_hdfs("crawl")
    crawler.run("crawl", "-s", str(crawler.seeds), crawl_dir, "1")
    crawler.run("generate", crawl_dir)
    path = crawl_dir.partition("://")[2].partition("/")[2]
    before = rows(crawl_dir)
    one_node.run("hdfs", "dfsadmin", "-setSpaceQuota", "1m", f"/{path}")
    said = crawler.run("crawl", "-r", "hadoop", *ONCE, crawl_dir, "1", code=1)
    assert "quota" in said
    assert "-setSpaceQuota" in said
    assert rows(crawl_dir) == before
    one_node.run("hdfs", "dfsadmin", "-clrSpaceQuota", f"/{path}")
    crawler.server.reset()
    said = crawler.run("crawl", "-r", "hadoop", crawl_dir, "0")
    assert "finishing the round" in said
    assert rows(crawl_dir) == expected


def test_a_task_that_raises_shows_its_traceback(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    ours = crawler.directory / "ours.py"
    ours.write_text("def keep(*arguments, **options):\n    raise ZeroDivisionError('a defect of ours')\n")
    said = crawler.run_for_error(
        "inject", "-r", "hadoop", "--set", "filter.use=ours:keep", "--set", f"hadoop.py_files={ours}",
        on_hdfs("crawl"), str(crawler.seeds),
    )  # fmt: skip
    assert "ZeroDivisionError: a defect of ours" in said
    assert "ours.py" in said
    assert "exit status" not in said


def test_an_unknown_queue(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    said = crawler.run_for_error(
        "inject", "-r", "hadoop", "--set", "hadoop.queue=nobody", on_hdfs("crawl"), str(crawler.seeds)
    )
    assert "nobody" in said
    assert "queue" in said


def test_a_property_reaches_the_job(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    crawl_dir = on_hdfs("crawl")
    said = crawler.run_for_error(
        "inject", "-r", "hadoop", "--set", "hadoop.mapreduce.job.queuename=nobody", crawl_dir, str(crawler.seeds)
    )
    assert "nobody" in said


def test_a_python_that_the_nodes_lack(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    said = crawler.run_for_error(
        "inject", "-r", "hadoop", "--set", "hadoop.python=python3.99", "--set", "hadoop.small=0", on_hdfs("crawl"),
        str(crawler.seeds),
    )  # fmt: skip
    assert 'Cannot run program "python3.99"' in said
    assert "hadoop-streaming" not in said


def test_a_stage_that_the_nodes_do_not_see(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    said = crawler.run(
        "inject", "-r", "hadoop", "--set", "hadoop.stage=/tmp", on_hdfs("crawl"), str(crawler.seeds), code=2
    )
    assert "hadoop.stage = /tmp: expected a directory that every node sees" in said


def test_a_plain_path_is_refused(crawler: Crawler) -> None:
    said = crawler.run("inject", "-r", "hadoop", str(crawler.directory / "crawl"), str(crawler.seeds), code=2)
    assert "a directory that every node sees" in said


def test_what_travels_is_nobody_elses_to_read(crawler: Crawler, on_hdfs: Callable[[str], str]) -> None:
    """Settings may hold secrets: proxies' passwords, seeds' headers."""
    crawler.run("inject", "-r", "hadoop", on_hdfs("crawl"), str(crawler.seeds))
    stage = resolve(f"hdfs:///user/{HadoopConf.load().user}/.cobnut")[1]
    assert resolve(stage)[0].names(stage)
    configure(HdfsSettings(user="stranger"))
    try:
        with pytest.raises(CobnutError, match="denies access to stranger"):
            resolve(stage)[0].names(stage)
    finally:
        configure(HdfsSettings())


def test_no_permission_is_one_line(crawler: Crawler, on_hdfs: Callable[[str], str], one_node: OneNode) -> None:
    crawl_dir = on_hdfs("crawl")
    crawler.run("inject", crawl_dir, str(crawler.seeds))
    fs, path = resolve(crawl_dir)
    assert fs.exists(path)
    said = crawler.run("inject", *ONCE, "--set", "hdfs.user=stranger", crawl_dir, str(crawler.seeds), code=1)
    assert said.count("\n") == 1
    assert "stranger" in said
