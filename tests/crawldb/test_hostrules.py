"""Rules on hosts: what is read, what is refused, and what they come to beside a loop over hosts and rules."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import hostrules, hosts, shards
from crawldb.errors import UsageError
from crawldb.hosts import HOSTDB
from crawldb.settings import Policy, Settings
from crawldb.store import LogEntry, Snapshot, Store
from tests.crawldb.tables import NOW
from tests.crawldb.test_hosts import DAY, content, page


def settings(rules: list[str] | None = None, **by_name: list[str]) -> Settings:
    values = Settings()
    values.generate.host_rules = rules or []
    for key, lines in by_name.items():
        setattr(values.hosts, key, lines)
    return values


def stored(tmp_path: Path, pages: list[dict[str, Any]]) -> Snapshot:
    store = Store(str(tmp_path), HOSTDB)
    rows = hosts.merge([hosts.of_content(content(pages), NOW)])
    files = {}
    for shard, part in shards.split(rows, 4):
        with store.writer(0, "delta", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_delta(LogEntry(-1, "new", 0, 4, None, ()), "updatedb", files, Policy(), NOW)
    return store.snapshot()


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """a works, b is dead for ten days, c is slow, d answers 503 alone."""
    old = NOW - 10 * DAY
    return stored(tmp_path, [
        *(page("a.test", fetched_at=NOW) for _ in range(3)),
        *(page("b.test", outcome="retry", http_status=None, reason="timeout", fetched_at=old + n) for n in range(4)),
        *(page("c.test", elapsed=20_000) for _ in range(2)),
        page("d.test", fetched_at=old),
        *(page("d.test", outcome="retry", http_status=503, reason="http_503", fetched_at=NOW - n) for n in range(3)),
    ])  # fmt: skip


ALL = ["a.test", "b.test", "c.test", "d.test", "new.test"]


def said(rules: hostrules.HostRules, names: list[str] = ALL) -> dict[str, tuple[str | None, int | None, float | None]]:
    verdicts = rules.of(names)
    return {
        name: (
            rules.texts[skip] if skip >= 0 else None,
            None if cap == hostrules.NO_CAP else cap,
            None if math.isnan(delay) else delay,
        )
        for name, skip, cap, delay in zip(
            names, verdicts.skipped.tolist(), verdicts.caps.tolist(), verdicts.delays.tolist(), strict=True
        )
    }


NOTHING = (None, None, None)


def test_rules_by_record(snapshot: Snapshot) -> None:
    dead, slow = "retry >= 4 AND success = 0 → skip", "latency_95 > 5000 → delay 20s"
    rules = hostrules.load(settings([dead, slow, "reasons['http_503'] > 2 => cap 7"]), snapshot, NOW)
    assert said(rules) == {
        "a.test": NOTHING, "b.test": (dead, None, None), "c.test": (None, None, 20.0), "d.test": (None, 7, None),
        "new.test": NOTHING,
    }  # fmt: skip


def test_since_when_a_host_fails(snapshot: Snapshot) -> None:
    rules = hostrules.load(settings(["failing_since < now() - 7 days -> skip"]), snapshot, NOW)
    assert [name for name, verdict in said(rules).items() if verdict[0]] == ["b.test", "d.test"]
    later = hostrules.load(settings(["failing_since < now() - 11 days -> skip"]), snapshot, NOW)
    assert set(said(later).values()) == {NOTHING}


def test_all_that_are_true_count(snapshot: Snapshot) -> None:
    texts = ["requests > 0 → cap 9", "requests > 2 → cap 5", "requests > 3 → delay 2", "gone = 0 → delay 1.5"]
    rules = hostrules.load(settings(texts), snapshot, NOW)
    assert said(rules) == {
        "a.test": (None, 5, 1.5), "b.test": (None, 5, 2.0), "c.test": (None, 9, 1.5), "d.test": (None, 5, 2.0),
        "new.test": NOTHING,
    }  # fmt: skip


def test_rules_by_name_stand_above_those_by_record(snapshot: Snapshot) -> None:
    chosen = settings(
        ["requests > 0 → cap 9", "requests > 0 → delay 9"], skip=["*.b.test", "D.test"],
        cap=["a.test 1", "*.test 3", "*.x.test 4"], delay=["*.new.test 7", "c.test 0.5s"],
    )  # fmt: skip
    rules = hostrules.load(chosen, snapshot, NOW)
    assert said(rules, [*ALL, "www.b.test", "a.x.test", "www.new.test", "other"]) == {
        "a.test": (None, 1, 9.0), "b.test": (None, 3, 9.0), "c.test": (None, 3, 0.5),
        "d.test": ("hosts.skip: D.test", 3, 9.0), "new.test": (None, 3, None),
        "www.b.test": ("hosts.skip: *.b.test", 3, None), "a.x.test": (None, 4, None),
        "www.new.test": (None, 3, 7.0), "other": NOTHING,
    }  # fmt: skip
    assert rules.delays() == {"a.test": 9.0, "b.test": 9.0, "c.test": 0.5, "d.test": 9.0, "new.test": 7.0}


def test_looking_up_some_hosts_is_looking_up_all(snapshot: Snapshot) -> None:
    chosen = settings(["retry > 0 → skip", "success > 1 → cap 2"])
    everything = said(hostrules.load(chosen, snapshot, NOW))
    for name in ALL:
        assert said(hostrules.load(chosen, snapshot, NOW, [name]), [name]) == {name: everything[name]}


def test_without_rules_nothing_is_read(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshot, "scan", None)
    rules = hostrules.load(settings(), snapshot, NOW)
    assert not rules
    assert set(said(rules).values()) == {NOTHING}


def test_a_file_of_rules(snapshot: Snapshot, tmp_path: Path) -> None:
    chosen = settings(["success = 0 → cap 3"])
    file = tmp_path / "rules"
    file.write_text("# dead ones\n\nhost IN ('a.test', 'c.test') → skip\n")
    chosen.generate.host_rules_file = str(file)
    rules = hostrules.load(chosen, snapshot, NOW)
    assert [name for name, verdict in said(rules).items() if verdict[0]] == ["a.test", "c.test"]
    assert said(rules)["b.test"] == (None, 3, None)
    file.write_text("retry > 1 → skip\nretry >> 1 → skip\n")
    with pytest.raises(UsageError, match=rf"{file}:2: retry >> 1 → skip: character 8: expected a column or a value"):
        hostrules.check(chosen)
    chosen.generate.host_rules_file = str(tmp_path / "none")
    with pytest.raises(UsageError, match=r"generate.host_rules_file: .*none: No such file"):
        hostrules.check(chosen)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("retry > 1", "generate.host_rules: retry > 1: expected EXPRESSION → skip, cap N or delay SECONDS"),
        ("retry > 1 → jump", "generate.host_rules: retry > 1 → jump: expected EXPRESSION → skip"),
        ("retry > 1 → cap", "expected EXPRESSION → skip, cap N or delay SECONDS"),
        ("retry > 1 → delay -2", "expected EXPRESSION → skip, cap N or delay SECONDS"),
        ("retries > 1 → skip", r"retries > 1 → skip: character 1: no column retries .* did you mean retry\?"),
        ("requests → skip", "character 1: expected a condition, found a number alone"),
        ("sitemaps = 'x' → skip", "character 1: sitemaps is a list"),
        ("reasons > 1 → skip", r"character 1: reasons is a map; write reasons\['key'\]"),
        ("reasons['dns'] = 'x' → skip", "character 18: expected a number to compare with, found a text"),
    ],
)
def test_mistakes_in_rules_by_record(rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hostrules.check(settings([rule]))


@pytest.mark.parametrize(
    ("key", "line", "message"),
    [
        ("skip", "a.test 5", r"hosts.skip: a.test 5: expected a host, as example.org or \*.example.org$"),
        ("skip", "a.*.test", "hosts.skip: a.*.test: expected a host"),
        ("cap", "a.test", "hosts.cap: a.test: expected a host, as .* and a number of requests"),
        ("cap", "a.test 1.5", "and a number of requests"),
        ("delay", "a.test soon", "hosts.delay: a.test soon: expected a host, as .* and seconds"),
    ],
)
def test_mistakes_in_rules_by_name(key: str, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hostrules.check(settings(**{key: [line]}))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20),
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["skip", "cap 3", "cap 1", "delay 4", "delay 2.5"])), max_size=5
    ),
)
def test_verdicts_are_what_a_loop_says(numbers: list[tuple[int, int]], rules: list[tuple[int, str]]) -> None:
    table = pa.table({
        "host": [f"h{place}.test" for place in range(len(numbers))],
        "requests": pa.array([one for one, _ in numbers], pa.int64()),
        "gone": pa.array([other for _, other in numbers], pa.int64()),
    })  # fmt: skip
    texts = [f"requests > {least} OR gone = {least} → {action}" for least, action in rules]
    names, verdicts = hostrules._matching(table, hostrules.by_record(settings(texts), NOW))
    expected = {}
    for name, (requests, gone) in zip(table["host"].to_pylist(), numbers, strict=True):
        true = [(n, action) for n, (least, action) in enumerate(rules) if requests > least or gone == least]
        if true:
            caps = [int(action[4:]) for _, action in true if action.startswith("cap")]
            delays = [float(action[6:]) for _, action in true if action.startswith("delay")]
            skips = [n for n, action in true if action == "skip"]
            expected[name] = (min(skips, default=-1), min(caps, default=hostrules.NO_CAP), max(delays, default=None))
    found = zip(verdicts.skipped.tolist(), verdicts.caps.tolist(), verdicts.delays.tolist(), strict=True)
    assert {
        name: (skip, cap, None if np.isnan(delay) else delay)
        for name, (skip, cap, delay) in zip(names.to_pylist(), found, strict=True)
    } == expected
