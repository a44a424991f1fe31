"""The host store: merging, what chunks and robots.txt files tell, the lists for fetch tasks, and what people see."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawldb import hosts, robotstxt, schema, shards
from crawldb.hosts import HOSTDB
from crawldb.robotstxt import ROBOTSDB
from crawldb.schema import FetchOutcome
from crawldb.segments import Segments
from crawldb.settings import Policy, StoreSettings
from crawldb.store import LogEntry, Snapshot, Store
from tests.crawldb.tables import NOW, as_they_come

Row = dict[str, Any]
DAY = 86_400_000
NAMES = [f"h{number}.test" for number in range(12)]


def host_row(host: str, number: int) -> Row:
    """Some row of what was learned of a host."""
    random = Random(number)

    def time() -> int | None:
        return random.choice([None, NOW, NOW + random.randint(-5, 5)])

    origins = sorted(random.sample([f"http://{host}", f"https://{host}", f"http://{host}:8080"], random.randint(0, 2)))
    robots = [
        {"origin": origin, "fetched_at": NOW + random.randint(0, 2), "status": random.choice([None, 200, 404]),
         "failing_since": time(),
         "sitemaps": random.choice([None, [], [f"{origin}/1.xml"], ["/2.xml", "ftp://x/3"]])}
        for origin in origins
    ]  # fmt: skip
    outcomes = {outcome.name: random.randint(0, 3) for outcome in FetchOutcome}
    reasons = random.sample(["timeout", "http_404", "dns"], random.randint(0, 3))
    statuses = random.sample(["fetched", "gone", "unfetched"], random.randint(0, 3))
    return {
        "fingerprint": hosts.fingerprints([host])[0].tobytes(), "host": host,
        "robots": robots or random.choice([None, []]), "robots_at": time(),
        "crawl_delay": random.choice([None, 0.0, 1.5, 30.0]), "rank": random.choice([None, 0.0, 0.25]),
        "ranked_at": time(), "requests": sum(outcomes.values()), **outcomes,
        "reasons": [(reason, random.randint(1, 5)) for reason in sorted(reasons)] or None,
        "bytes": random.randint(0, 1 << 40), "latency": [random.randint(0, 3) for _ in range(schema.LATENCY_BUCKETS)],
        "measured_at": time(), "answered_at": time(), "worked_at": time(), "failed_at": time(),
        "statuses": [(status, random.randint(1, 5)) for status in sorted(statuses)] or None, "counted_at": time(),
        "first_seen": time(), "last_seen": time(),
    }  # fmt: skip


def rows_of(chosen: list[tuple[int, int]]) -> pa.Table:
    """One row per (host, number), in this order."""
    plain = [host_row(NAMES[host], number) for host, number in chosen]
    columns = []
    for field in schema.HOST:
        values = [row[field.name] for row in plain]
        if field.type == schema.TIME:
            columns.append(pa.array(values, pa.int64()).cast(schema.TIME))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema.HOST)


def as_rows(of: pa.Table) -> list[Row]:
    of.validate(full=True)
    return list(of.to_pylist())


CHOSEN = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1 << 30)), max_size=12)


# -- merging -------------------------------------------------------------------------------------------------


@given(CHOSEN, st.randoms(use_true_random=False))
def test_merging_depends_on_neither_order_nor_grouping(chosen: list[tuple[int, int]], random: Random) -> None:
    at_once = as_rows(hosts.merge([rows_of(chosen)]))
    mixed = random.sample(chosen, len(chosen))
    assert as_rows(hosts.merge([rows_of(mixed)])) == at_once
    cut, second = sorted((random.randint(0, len(chosen)), random.randint(0, len(chosen))))
    parts = [rows_of(mixed[:cut]), rows_of(mixed[cut:second]), rows_of(mixed[second:])]
    one, two, three = (hosts.merge([part]) for part in parts)
    assert as_rows(hosts.merge([hosts.merge([one, two]), three])) == at_once
    assert as_rows(hosts.merge([one, hosts.merge([three, two])])) == at_once
    assert as_rows(hosts.merge([hosts.merge(parts)])) == at_once


@given(CHOSEN)
def test_merging_is_what_a_loop_over_rows_says(chosen: list[tuple[int, int]]) -> None:
    found = as_rows(hosts.merge([rows_of(chosen)]))
    every = as_rows(rows_of(chosen))
    assert [row["fingerprint"] for row in found] == sorted({row["fingerprint"] for row in every})
    for row in found:
        mine = [one for one in every if one["host"] == row["host"]]
        for name in ("requests", "bytes", *(outcome.name for outcome in FetchOutcome)):
            assert row[name] == sum(one[name] for one in mine)
        for name, choose in (("first_seen", min), ("last_seen", max), ("answered_at", max), ("robots_at", max),
                             ("worked_at", max), ("failed_at", max), ("counted_at", max)):  # fmt: skip
            assert row[name] == choose((one[name] for one in mine if one[name] is not None), default=None)
        for name, at in (("crawl_delay", "robots_at"), ("rank", "ranked_at")):
            newest = [one for one in mine if one[at] == row[at]]
            assert row[name] == max((one[name] for one in newest if one[name] is not None), default=None)
        measured = [one["latency"] for one in mine if one["measured_at"] == row["measured_at"]]
        assert row["latency"] == np.sum(measured, axis=0).tolist()
        reasons: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        for one in mine:
            reasons.update(dict(one["reasons"] or []))
            if one["counted_at"] == row["counted_at"]:
                statuses.update(dict(one["statuses"] or []))
        assert (row["reasons"] or []) == sorted(reasons.items())
        if len(mine) > 1:
            assert (row["statuses"] or []) == sorted(statuses.items())
        robots = {}
        for entry in (entry for one in mine for entry in one["robots"] or []):
            last = robots.get(entry["origin"])
            if last is None or entry["fetched_at"] >= last:
                robots[entry["origin"]] = entry["fetched_at"]
        if len(mine) > 1:
            assert [(entry["origin"], entry["fetched_at"]) for entry in row["robots"] or []] == sorted(robots.items())


@given(CHOSEN, st.lists(st.sampled_from(schema.HOST.names), unique=True))
def test_merging_some_columns_is_merging_all(chosen: list[tuple[int, int]], names: list[str]) -> None:
    needed = [name for name in schema.HOST.names if name in {*names, *HOSTDB.deciding}]
    found = hosts.merge([rows_of(chosen).select(needed)])
    assert as_rows(found) == as_rows(hosts.merge([rows_of(chosen)]).select(needed))


# -- what a round learned ------------------------------------------------------------------------------------


def content(pages: list[Row]) -> pa.Table:
    return as_they_come(pages, schema.CONTENT).select(hosts.CONTENT_NEEDED)


def page(host: str, **values: Any) -> Row:
    return {"host": host, "outcome": "success", "http_status": 200, "fetched_at": NOW, "elapsed": 10,
            "content_bytes": 100, **values}  # fmt: skip


def test_pages_of_a_chunk_are_counted_by_host() -> None:
    found = hosts.merge([hosts.of_content(content([
        page("a.test"), page("b.test", elapsed=0), page("a.test", fetched_at=NOW + 5, elapsed=1000, content_bytes=None),
        page("a.test", outcome="gone", http_status=404, reason="http_404", fetched_at=NOW - 5, elapsed=100_000_000),
        page("c.test", outcome="retry", http_status=None, reason="timeout", fetched_at=NOW + 9, content_bytes=None),
    ]), NOW - 60_000)])  # fmt: skip
    rows = {row["host"]: row for row in as_rows(found)}
    a, b, c = (rows[f"{name}.test"] for name in "abc")
    assert (a["requests"], a["success"], a["gone"], a["bytes"], a["reasons"]) == (3, 2, 1, 200, [("http_404", 1)])
    assert [place for place, count in enumerate(a["latency"]) if count] == [3, 9, 15]
    assert [place for place, count in enumerate(b["latency"]) if count] == [0]
    assert (a["first_seen"].timestamp() * 1000, a["last_seen"].timestamp() * 1000) == (NOW - 5, NOW + 5)
    assert (c["retry"], c["answered_at"], c["measured_at"], sum(c["latency"])) == (1, None, None, 0)
    assert c["last_seen"].timestamp() * 1000 == NOW + 9
    assert a["fingerprint"] == hosts.fingerprints(["a.test"])[0].tobytes()
    assert (a["robots"], a["robots_at"], a["crawl_delay"]) == (None, None, None)


def test_an_empty_chunk_tells_nothing() -> None:
    assert hosts.merge([hosts.of_content(content([]), NOW)]).num_rows == 0
    assert hosts.of_robots(hosts.learned([])).num_rows == 0


def known(host: str, at: int = NOW, **values: Any) -> tuple[Any, ...]:
    """The columns of schema.HOSTLIST but fingerprint and host."""
    origin = f"https://{host}"
    fields: Row = {"origin": origin, "url": f"{origin}/robots.txt", "fetched_at": at, "status": 200,
                   "body": b"User-agent: *\n", "truncated": False, "failing_since": None, **values}  # fmt: skip
    return tuple(fields.values())


def test_learned_files_are_rows_and_rows_are_files_again() -> None:
    entries = [known("a.test:8443"), known("b.test", status=None, body=None, failing_since=NOW - 5, truncated=True)]
    rows = hosts.learned([(*entry, None, delay) for entry, delay in zip(entries, (2.5, None), strict=True)])
    assert rows.schema.equals(schema.LEARNED)
    assert sorted(hosts.known(rows)) == sorted(entries)
    merged = {row["host"]: row for row in as_rows(hosts.merge([hosts.of_robots(rows)]))}
    assert (merged["a.test"]["crawl_delay"], merged["a.test"]["requests"]) == (2.5, 0)
    assert merged["b.test"]["robots_at"] is None
    assert [one["origin"] for one in merged["a.test"]["robots"]] == ["https://a.test:8443"]


def test_a_file_that_fails_leaves_the_crawl_delay_as_it_was() -> None:
    before = hosts.of_robots(hosts.learned([(*known("a.test"), None, 2.5)]))
    failed = known("a.test", NOW + 1, status=503, body=None, failing_since=NOW + 1)
    after = hosts.merge([before, hosts.of_robots(hosts.learned([(*failed, None, None)]))])
    assert after["crawl_delay"].to_pylist() == [2.5]
    assert [robots["status"] for robots in after["robots"][0].as_py()] == [503]


def test_sitemaps_are_those_that_each_origin_named_last(tmp_path: Path) -> None:
    store = Store(str(tmp_path), HOSTDB)
    first = [
        (*known("a.test"), ["https://a.test/1.xml", "https://b.test/2.xml"], None),
        (*known("a.test:8443"), ["/3.xml"], None),
        (*known("b.test"), None, None),
        (*known("c.test"), ["https://c.test/old.xml"], None),
    ]
    later = [(*known("c.test", NOW + 1), ["https://c.test/new.xml"], None)]
    entry = LogEntry(-1, "new", 0, 2, None, ())
    for learned in (first, later):
        entry = commit(store, entry, hosts.merge([hosts.of_robots(hosts.learned(learned))]))
    expected = [
        ("a.test", "https://a.test", "https://a.test/1.xml"),
        ("a.test", "https://a.test", "https://b.test/2.xml"),
        ("a.test", "https://a.test:8443", "/3.xml"),
        ("c.test", "https://c.test", "https://c.test/new.xml"),
    ]
    snapshot = store.snapshot()
    for shards_ in ([None], [0, 1]):
        tables = [table for shard in shards_ for table in hosts.sitemaps(snapshot, shard)]
        assert all(table.schema.equals(hosts.SITEMAPS) for table in tables)
        assert sorted(tuple(row.values()) for table in tables for row in as_rows(table)) == expected


@pytest.mark.parametrize(
    ("origin", "host"),
    [("http://a.test", "a.test"), ("https://a.test:8443", "a.test"), ("http://[2001:db8::1]:80", "[2001:db8::1]"),
     ("http://[::1]", "[::1]"), ("http://127.0.0.1:8080", "127.0.0.1")],
)  # fmt: skip
def test_host_of_an_origin(origin: str, host: str) -> None:
    assert hosts.host_of_origin(origin) == host


# -- the store -----------------------------------------------------------------------------------------------


def commit(store: Store, onto: LogEntry, learned: pa.Table, kind: str = "delta") -> LogEntry:
    files = {}
    for shard, part in shards.split(learned, onto.shards):
        with store.writer(onto.version + 1, kind, shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    if kind == "base":
        return store.commit_base(onto, onto.shards, files, NOW, {})
    return store.commit_delta(onto, "updatedb", files, Policy(), NOW, f"segment{onto.version + 1}")


def rows_in(snapshot: Snapshot, **options: Any) -> list[Row]:
    return [row for part in snapshot.scan(**options) for row in as_rows(part)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHOSEN, min_size=1, max_size=4), st.booleans())
def test_the_state_is_all_deltas_merged(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[tuple[int, int]]], compacted: bool
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")), HOSTDB)
    entry = LogEntry(-1, "new", 0, 2, None, ())
    for chosen in history:
        entry = commit(store, entry, hosts.merge([rows_of(chosen)]))
    expected = as_rows(hosts.merge([hosts.merge([rows_of(chosen)]) for chosen in history]))
    if compacted:
        state = pa.concat_tables([schema.HOST.empty_table(), *store.snapshot().scan()])
        entry = commit(store, entry, state, "base")
    snapshot = store.snapshot()
    assert rows_in(snapshot) == expected
    columns = ["host", "latency", "crawl_delay"]
    assert rows_in(snapshot, columns=columns) == [{name: row[name] for name in columns} for row in expected]
    for row in expected:
        assert as_rows(snapshot.lookup(row["fingerprint"])) == [row]
    wanted = NAMES[1::2]
    keys = hosts.fingerprints(wanted)
    keys = keys[shards.sort_order(keys)]
    found = [row for part in snapshot.select(keys) for row in as_rows(part)]
    assert found == [row for row in expected if row["host"] in wanted]


def many(number: int, body: int = 40, at: int = NOW) -> pa.Table:
    """What was learned of the robots.txt of so many hosts."""
    return hosts.learned(
        (*known(f"m{place}.test", at, body=b"#" * body), None, place / 8 if place % 2 else None)
        for place in range(number)
    )


def test_hostlists_hold_what_is_fresh_or_fails_of_each_tasks_hosts(tmp_path: Path) -> None:
    store = Store(str(tmp_path), HOSTDB)
    stale = [(*known(f"s{place}.test", NOW - DAY), None, None) for place in range(20)]
    failing = [(*known("f.test", NOW - DAY, status=503, body=None, failing_since=NOW - 9 * DAY), None, None)]
    learned = [many(9000), hosts.learned(stale + failing)]
    new = LogEntry(-1, "new", 0, 4, None, ())
    commit(store, new, hosts.merge([hosts.of_robots(rows) for rows in learned]))
    files_known = Store(str(tmp_path), ROBOTSDB)
    commit(files_known, new, robotstxt.merge([robotstxt.files_of(rows) for rows in learned]))
    segment = Segments(str(tmp_path)).begin(NOW, 0)
    asked = [f"m{place}.test" for place in range(0, 9000, 2)] + ["s3.test", "f.test", "new.test"] + ["m0.test"] * 5
    column = pa.chunked_array([pa.array(asked).dictionary_encode()])
    task_of = np.array([sum(host.encode()) % 3 for host in asked])
    files = hosts.write_hostlists(store.snapshot(), files_known.snapshot(), segment, column, task_of, NOW - DAY + 1)
    assert segment.commit("hostlist", files, NOW, {})
    found: list[str] = []
    for task, name in segment.files_by_task("hostlist").items():
        hostlist = segment.read("hostlist", name)
        assert hostlist.schema.equals(schema.HOSTLIST)
        assert {sum(host.encode()) % 3 for host in hostlist["host"].to_pylist()} == {task}
        found += hostlist["host"].to_pylist()
        assert all(entry[2] in (NOW, NOW - DAY) for entry in hosts.known(hostlist))
        assert all(entry[4] == (None if entry[3] == 503 else b"#" * 40) for entry in hosts.known(hostlist))
    assert sorted(found) == sorted(set(asked) - {"s3.test", "new.test"})


def test_no_host_known_is_no_hostlist(tmp_path: Path) -> None:
    store = Store(str(tmp_path), HOSTDB)
    segment = Segments(str(tmp_path)).begin(NOW, 0)
    column = pa.chunked_array([pa.array(["a.test"]).dictionary_encode()])
    snapshot = store.snapshot_or_new(StoreSettings())
    no_files = Store(str(tmp_path), ROBOTSDB).snapshot_or_new(StoreSettings())
    assert hosts.write_hostlists(snapshot, no_files, segment, column, np.array([0]), NOW) == []
    assert hosts.known_delays(snapshot, ["a.test"]) == hosts.known_delays(snapshot, []) == {}
    assert hosts.all_delays(snapshot) == {}


def test_known_delays(tmp_path: Path) -> None:
    store = Store(str(tmp_path), HOSTDB)
    commit(store, store.snapshot_or_new(StoreSettings()).entry, hosts.merge([hosts.of_robots(many(40))]))
    asked = ["m9.test", "nobody.test", "m3.test", "m4.test"]
    assert hosts.known_delays(store.snapshot(), asked) == {"m9.test": 9 / 8, "m3.test": 3 / 8}
    everybodys = hosts.all_delays(store.snapshot())
    assert hosts.known_delays(store.snapshot(), [f"m{number}.test" for number in range(40)]) == everybodys


def test_row_groups_are_bounded_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large robots.txt files do not make a row group, the unit of memory, large."""
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1 << 20)
    rows = robotstxt.merge([robotstxt.files_of(many(400, 20_000))])
    with contextlib.closing(written(Store(str(tmp_path), ROBOTSDB), rows)) as reader:
        sizes = [group.num_rows for group in reader.tables(["host"])]
        assert sum(sizes) == 400
        assert max(sizes) <= 60
        assert as_rows(reader.read()) == as_rows(rows)


def written(store: Store, rows: pa.Table) -> shards.Reader:
    with store.writer(0, "delta", 0) as writer:
        for start in range(0, rows.num_rows, 150):
            writer.write(rows.slice(start, 150))
    return shards.Reader(store.fs, f"{store.path}/00000000-delta/{writer.file.name}")


# -- what people see -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_percentiles_are_right_to_a_factor_of_two(elapsed: list[int], share: float) -> None:
    rows = hosts.of_content(content([page("a.test", elapsed=one) for one in elapsed]), NOW)
    (found,) = hosts.percentile(rows["latency"], share)
    exact = sorted(elapsed)[math.ceil(share * len(elapsed)) - 1]
    assert min(exact, 1 << 15) / 2 <= found <= exact * 2


def test_of_no_answer_there_is_no_percentile() -> None:
    rows = hosts.of_content(content([page("a.test", http_status=None)]), NOW)
    assert np.isnan(hosts.percentile(rows["latency"], 0.5)).all()
    assert hosts.shown(rows)["latency_median"].to_pylist() == [None]


@given(CHOSEN)
def test_shown_is_a_row_a_host(chosen: list[tuple[int, int]]) -> None:
    state = hosts.merge([rows_of(chosen)])
    for row, shown in zip(as_rows(state), as_rows(hosts.shown(state)), strict=True):
        assert shown["host"] == row["host"]
        assert (shown["robots"] or []) == [(entry["origin"], entry["status"]) for entry in row["robots"] or []]
        since = [entry["failing_since"] for entry in row["robots"] or [] if entry["failing_since"]]
        assert shown["robots_failing_since"] == min(since, default=None)


def test_busiest_first() -> None:
    shown = hosts.shown(hosts.merge([rows_of([(host, host) for host in range(6)])]))
    requests = sorted(shown["requests"].to_pylist(), reverse=True)
    for top in (1, 4, 9):
        assert hosts.busiest([shown.slice(0, 2), shown.slice(2)], top)["requests"].to_pylist() == requests[:top]
