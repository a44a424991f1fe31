"""Rules on hosts through whole rounds: a dead host is left out, a big one capped, a slow one asked slowly; and counts by
host that come into the host store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crawldb import dump, plan
from crawldb.segments import Segment
from jobs import domainstats, fetch, generate
from jobs.command import Run
from tests.rounds import test_hosts
from tests.rounds.test_hosts import HOSTS, one_round, stored

run = test_hosts.run


def hosts_of(run: Run, segment: Segment) -> Counter[str]:
    names: Counter[str] = Counter()
    for name in segment.files_by_task("fetchlist").values():
        names.update(segment.read("fetchlist", name, ["host"])["host"].to_pylist())
    return names


def generated(run: Run) -> Segment:
    segment = generate.run(run)
    assert segment is not None
    return segment


def test_a_dead_host_is_left_out_and_named(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    one_round(run)
    rule = "postponed > 0 AND success = 0 → skip"
    run.settings.generate.host_rules = [rule]
    run.settings.hosts.skip = ["h1.test"]
    capfd.readouterr()
    segment = generated(run)
    assert sorted(hosts_of(run, segment)) == ["h2.test", "h3.test", "h4.test", "h5.test"]
    told = capfd.readouterr().err
    assert f"left out 1 due requests of 1 hosts: {rule}" in told
    assert "left out 2 due requests of 1 hosts: hosts.skip: h1.test" in told
    assert segment.manifest("fetchlist")["counts"]["skipped"][rule] == {"hosts": 1, "requests": 1}
    fetch.run(run, segment)


def test_all_hosts_left_out_is_nothing_to_fetch(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run.settings.hosts.skip = ["*.test"]
    assert generate.run(run) is None
    told = capfd.readouterr().err
    assert "nothing that is due may be fetched" in told
    assert f"left out {HOSTS} due requests of {HOSTS} hosts: hosts.skip: *.test" in told


def test_a_big_host_is_capped(run: Run) -> None:
    one_round(run)
    run.settings.generate.host_rules = ["host = 'h4.test' → cap 1"]
    run.settings.hosts.cap = ["h5.test 0"]
    chosen = hosts_of(run, generated(run))
    assert (chosen["h2.test"], chosen["h3.test"], chosen["h4.test"], chosen["h5.test"]) == (2, 2, 1, 0)


def test_a_delay_goes_into_the_plan_and_to_the_fetch_task(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    one_round(run)
    run.settings.generate.host_rules = ["host = 'h4.test' → delay 30"]
    run.settings.hosts.delay = ["*.test 0.25", "h2.test 3"]
    run.settings.generate.seconds_per_request = 0.0
    paces: dict[str, float] = {}
    make = plan.make

    def made(*arguments: Any) -> plan.Plan:
        result = make(*arguments)
        paces.update(zip(result.queue_names, result.queue_pace.tolist(), strict=True))
        return result

    monkeypatch.setattr(plan, "make", made)
    segment = generated(run)
    # h1 has no robots.txt; the others' asks for 2 s, which holds where the rule's is shorter. By name before by record.
    assert paces == {"h0.test": 0.25, "h1.test": 0.25, "h2.test": 3.0, "h3.test": 2.0, "h4.test": 2.0, "h5.test": 2.0}
    told: dict[int, list[str]] = {}
    run.settings.fetch.engine = "tests.rounds.test_host_rules:remembering"
    remembered.clear()
    fetch.run(run, segment)
    delays = segment.manifest("fetchlist")["counts"]["delays"]
    for task in segment.files_by_task("fetchlist"):
        told[task] = delays.get(str(task), [])
        assert [*run.settings.hosts.delay, *told[task]] in remembered
    assert sorted(line for lines in told.values() for line in lines if line.startswith("h2")) == ["h2.test 3.000"]


remembered: list[list[str]] = []
"""What fetch tasks were told of delays."""


def remembering(requests: Any, settings: Any, *others: Any) -> Any:
    """The engine of test_hosts, which keeps what it is told."""
    remembered.append(list(settings.hosts.delay))
    return test_hosts.engine(requests, settings, *others)


def test_counts_by_host_come_into_the_host_store(run: Run, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    one_round(run)
    assert stored(run)["h3.test"]["statuses"] is None
    domainstats.run(run, "host", keep=True)
    row = stored(run)["h3.test"]
    assert dict(row["statuses"]) == {"fetched": 1, "unfetched": 2}
    assert row["counted_at"] is not None
    assert row["requests"] == 1
    one_round(run)
    domainstats.run(run, "host", keep=True)
    assert dict(stored(run)["h3.test"]["statuses"]) == {"fetched": 3, "unfetched": 4}
    capfdbinary.readouterr()
    assert dump.main([run.crawl_dir, "--hosts", "--where", "statuses['unfetched'] > 3", "--columns", "host"]) == 0
    found = [json.loads(line)["host"] for line in capfdbinary.readouterr().out.splitlines()]
    assert sorted(found) == ["h1.test", "h2.test", "h3.test", "h4.test", "h5.test"]
    run.settings.generate.host_rules = ["statuses['unfetched'] > 3 → cap 2"]
    assert set(hosts_of(run, generated(run)).values()) <= {1, 2}


@pytest.mark.parametrize("runner", ["inline", pytest.param("local", marks=pytest.mark.slow)])
def test_domainstats_counts_all(run: Run, runner: str, tmp_path: Path) -> None:
    one_round(run)
    run.settings.run.runner = runner
    by_domain = domainstats.run(run, "domain").to_pylist()
    assert [row["domain"] for row in by_domain] == [f"h{number}.test" for number in (1, 2, 3, 4, 5, 0)]
    assert by_domain[0] | {"domain": ""} == {
        "domain": "", "requests": 3, "unfetched": 2, "fetched": 1, "redir_temp": 0, "redir_perm": 0, "gone": 0,
        "notmodified": 0, "duplicate": 0, "orphan": 0,
    }  # fmt: skip
    (tld,) = domainstats.run(run, "tld", "reason", where="http_status IS NULL").to_pylist()
    assert (tld["tld"], tld["requests"], tld["robots_unavailable"]) == ("test", 11, 1)
    assert [row["host"] for row in domainstats.run(run, "host", top=2).to_pylist()] == ["h1.test", "h2.test"]


def test_domainstats_as_a_command(run: Run, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    assert domainstats.main([run.crawl_dir, "--format", "jsonl", "--top", "1", "--by", "host"]) == 0
    (line,) = capfdbinary.readouterr().out.splitlines()
    assert json.loads(line)["unfetched"] == 1
    file = tmp_path / "out.csv"
    assert domainstats.main([run.crawl_dir, "--format", "csv", "-o", str(file)]) == 0
    assert len(file.read_text().splitlines()) == HOSTS + 1
    capfdbinary.readouterr()
    for wrong in (["--keep"], ["--where", "nothing = 1"], ["--by", "host", "--keep", "--top", "3"]):
        assert domainstats.main([run.crawl_dir, *wrong]) == 2
        assert capfdbinary.readouterr().err.count(b"\n") == 1


def test_a_rule_that_cannot_be_read_stops_generate(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert generate.main([run.crawl_dir, "--set", "generate.host_rules=retry >> 1 → skip"]) == 2
    said = capfd.readouterr().err
    assert said == (
        "cobnut generate: generate.host_rules: retry >> 1 → skip: character 8: expected a column or a value, found >\n"
    )
