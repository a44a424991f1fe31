"""`cobnut VERB …`: help, exit codes, one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli import VERBS, main


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert "CRAWL_DIR" in capsys.readouterr().out


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetsch"]) == 2
    assert capsys.readouterr().err.startswith("cobnut: no verb fetsch; there are: crawl, inject,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "DIR", "--set", "fetch.dely=2"], "--set: unknown setting fetch.dely; did you mean fetch.delay?"),
        (["fetch", "DIR", "--set", "fetch.delay"], "--set fetch.delay: expected KEY=VALUE"),
        (["fetch", "DIR", "--set", "fetch.delay=soon"], "fetch.delay = 'soon': expected a number of seconds"),
        (["fetch", "DIR", "-r", "spark"], "run.runner = 'spark': expected one of inline, local"),
        (["fetch", "DIR", "--conf", "nowhere.toml"], "--conf nowhere.toml: no such file"),
        (["fetch", "DIR"], "no crawldb here; inject seeds first"),
        (["generate", "DIR"], "no crawldb here; inject seeds first"),
        (["invertlinks", "DIR"], "no crawldb here; inject seeds first"),
        (["sitemaps", "DIR"], "no crawldb here; inject seeds first"),
        (["sitemaps", "DIR", "--due"], "no crawldb here; inject seeds first"),
        (["segments", "list", "DIR"], "no crawldb here; inject seeds first"),
        (["updatedb", "DIR", "20260101T000000Z"], "no segment 20260101T000000Z"),
        (["fetch", "s3://bucket/crawl"], "s3://bucket/crawl: no file system for s3://; give a plain path, hdfs:// or"),
        (["fetch", "hdfs:///crawl"], "hdfs:///: no default file system: set HADOOP_CONF_DIR"),
        (["fetch", "-r", "hadoop", "DIR"], "-r hadoop wants a directory that every node sees"),
        (["crawl", "DIR", "1"], "http.agent_name is not set"),
    ],
)
def test_mistakes_get_one_line_and_code_2(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME"):
        monkeypatch.delenv(name, raising=False)
    arguments = [str(tmp_path / "crawl") if argument == "DIR" else argument for argument in arguments]
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert message in said
    assert said.startswith(f"cobnut {arguments[0]}: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "crawl").exists()
