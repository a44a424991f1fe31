"""Selection: exact against a brute-force model, whatever the parts and their order."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import hostrules, schema, selection
from crawldb.errors import UsageError
from crawldb.hosts import HOSTDB
from crawldb.orders import ORDERS
from crawldb.plan import Pace
from crawldb.selection import Selection, directory_groups, due, host_groups
from crawldb.settings import Settings
from crawldb.store import Store
from crawldb.urls import registrable_domain
from tests.crawldb import tables
from tests.crawldb.tables import DAY, NOW, key, state

HOSTS = ["a.x.test", "b.x.test", "www.example.co.uk", "example.co.uk", "127.0.0.1", "127.0.0.2"]

DIRECTORIES = ["/", "/a/", "/a/b/", "/?a=/b/", "/a/?b=/"]
"""Of these, the last two are the first two."""
CRAWL_DELAYS = {"a.x.test": 7.0, "127.0.0.1": 0.5, "example.co.uk": 40.0, "elsewhere.test": 1.0}


def settings(**generate: Any) -> Settings:
    made = Settings()
    for name, value in generate.items():
        setattr(made.generate, name, value)
    return made


def request(number: int) -> dict[str, Any]:
    """Some request, without its fingerprint; few different values, so that many are alike."""
    random = Random(number)
    host = random.choice(HOSTS)
    return {
        "url": f"{random.choice(['http', 'https'])}://{host}{random.choice(DIRECTORIES)}x{number}",
        "host": host,
        "score": random.choice([0.0, 0.25, 1.0, 1.5, None]),
        "depth": random.randint(0, 2),
        "priority": random.choice([None, -1, 3]),
        "discovered_at": NOW + random.randint(0, 3),
        "fetched_at": random.choice([None, NOW - DAY, NOW - 40 * DAY]),
        "modified_at": random.choice([None, NOW - DAY, NOW - 90 * DAY]),
        "interval": random.choice([86_400, 30 * 86_400]),
    }


requests = tables.tables_of([request], schema.STATE)


def with_queues(
    plan: Settings, queue_mode: str, caps: dict[str, int], delays: dict[str, float], score: str
) -> Settings:
    plan.fetch.queue_mode, plan.score.name = queue_mode, score
    plan.hosts.cap = [f"{host} {cap}" for host, cap in caps.items()]
    plan.hosts.delay = [f"{host} {delay}" for host, delay in delays.items()] if queue_mode == "host" else []
    return plan


def by_name(lines: list[str], host: str) -> float | None:
    """What the rules by name say of a host: its own, else the longest pattern that it is below."""
    values = {name: float(value) for name, value in (line.split() for line in lines)}
    below = [name for name in values if name[:2] == "*." and host.endswith(name[1:])]
    return values.get(host, values[max(below, key=len)] if below else None)


plans = st.builds(
    with_queues,
    st.builds(
        settings,
        top=st.integers(0, 8),
        max_per_host=st.integers(0, 3),
        max_per_directory=st.integers(0, 2),
        time_limit=st.sampled_from([0.0, 1.0, 10.0, 15.0]),
        count_mode=st.sampled_from(["host", "domain"]),
        order=st.sampled_from(sorted(ORDERS)),
    ),
    st.sampled_from(["host", "domain", "ip"]),
    st.dictionaries(
        st.sampled_from(["a.x.test", "*.x.test", "*.co.uk", "*.uk", "127.0.0.1"]), st.integers(0, 2), max_size=3
    ),
    st.dictionaries(st.sampled_from(["a.x.test", "b.x.test", "*.uk"]), st.sampled_from([0.0, 2.0, 12.0]), max_size=2),
    st.sampled_from(["opic", "host_authority", "freshness"]),
)

RANK = {
    "score": lambda row, value: (-value,),
    "fifo": lambda row, value: (row["discovered_at"],),
    "lifo": lambda row, value: (-row["discovered_at"],),
    "depth": lambda row, value: (row["depth"], -value),
    "priority": lambda row, value: (-(row["priority"] or 0), -value),
}


def worth(row: dict[str, Any], score: str) -> float:
    """What fetching the request at NOW is worth."""
    value: float = row["score"] or 0.0
    if score == "host_authority":
        return value / (1 + row["depth"])
    if score == "freshness" and row["fetched_at"] is not None:
        interval = row["interval"] * 1000
        modified_at = row["fetched_at"] if row["modified_at"] is None else row["modified_at"]
        visits = 1 + max(row["fetched_at"] - modified_at, 0) // interval
        return value * (1 - ((visits - 0.5) / (visits + 0.5)) ** ((NOW - row["fetched_at"]) / interval))
    return value


def share(host: str, queue: str, plan: Settings) -> int:
    """How many requests of a host's queue fit in generate.time_limit."""
    known = {
        name: 0 if delay > plan.fetch.max_crawl_delay else delay
        for name, delay in CRAWL_DELAYS.items()
        if (registrable_domain(name) if plan.fetch.queue_mode == "domain" else name) == queue
    }
    own = by_name(plan.hosts.delay, host)
    delay = max(known.values()) if known else plan.fetch.delay if own is None else own
    if own is not None and CRAWL_DELAYS.get(host, 0) <= plan.fetch.max_crawl_delay:
        delay = max(delay, own, plan.generate.seconds_per_request)
    if plan.fetch.queue_mode == "domain":
        delay = max(delay, plan.fetch.delay)
    return 1 << 30 if not delay else max(1, int(plan.generate.time_limit / delay))


def brute_force(found: pa.Table, plan: Settings) -> list[dict[str, Any]]:
    """All requests in order, one by one, unless the share of its directory, host, queue or of the whole is used up."""
    chosen: list[dict[str, Any]] = []
    used: Counter[tuple[str, str]] = Counter()
    generate = plan.generate
    for row in sorted(
        tables.rows(found),
        key=lambda row: (*RANK[generate.order](row, worth(row, plan.score.name)), row["fingerprint"]),
    ):
        host = row["host"]
        group = registrable_domain(host) if generate.count_mode == "domain" else host
        queue = registrable_domain(host) if plan.fetch.queue_mode == "domain" else host
        directory = row["url"].partition("://")[2].partition("?")[0].rpartition("/")[0]
        limits = {("all", ""): generate.top}
        if generate.max_per_host:
            limits["host", group] = generate.max_per_host
        if (cap := by_name(plan.hosts.cap, host)) is not None:
            limits["capped", host] = int(cap)
        if generate.max_per_directory:
            limits["directory", directory] = generate.max_per_directory
        if generate.time_limit:
            limits["queue", queue] = share(host, queue, plan)
        if all(used[each] < most for each, most in limits.items()):
            used.update(limits.keys())
            chosen.append(row)
    return chosen


def selection_of(plan: Settings) -> Selection:
    nothing_known = Store("/nowhere", HOSTDB).new(plan.store)
    return Selection(plan, Pace(plan, CRAWL_DELAYS), hostrules.load(plan, nothing_known, NOW), NOW)


def select(parts: list[pa.Table], plan: Settings, cut_each: bool = False) -> list[dict[str, Any]]:
    chosen = selection_of(plan)
    for part in parts:
        chosen.add(part)
        if cut_each:
            chosen.result()
    best = chosen.result()
    return [] if best is None else tables.rows(best.drop_columns(["value"]))


@given(requests, plans)
def test_exactly_the_best(found: pa.Table, plan: Settings) -> None:
    assert select([found], plan) == brute_force(found, plan)


@given(requests, plans, st.lists(st.integers(0, 3), min_size=10, max_size=10), st.randoms(), st.booleans())
def test_any_parts_in_any_order(
    found: pa.Table, plan: Settings, part_of: list[int], random: Random, cut_each: bool
) -> None:
    parts = tables.shuffled_parts(found, part_of)
    random.shuffle(parts)
    assert select(parts, plan, cut_each) == brute_force(found, plan)


@given(requests, plans, st.lists(st.integers(0, 7), min_size=10, max_size=10))
def test_cuts_of_cuts(found: pa.Table, plan: Settings, part_of: list[int]) -> None:
    """Shards cut alone, some of their cuts cut again, and all of that once more."""
    cuts: list[list[pa.Table]] = [[], []]
    for number, part in enumerate(tables.shuffled_parts(found, part_of)):
        shard = selection_of(plan)
        shard.add(part)
        best = shard.result()
        assert best is not None
        cuts[number % 2].append(best)
    node = selection_of(plan)
    for cut in cuts[0]:
        node.add(cut)
    again = node.result()
    assert select([*cuts[1], *([again] if again is not None else [])], plan) == brute_force(found, plan)


@given(requests, plans, st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_may_enter_keeps_every_request_of_the_result(found: pa.Table, plan: Settings, part_of: list[int]) -> None:
    chosen = selection_of(plan)
    for part in tables.shuffled_parts(found, part_of):
        chosen.add(part.filter(pa.array(chosen.may_enter(part))))
        chosen.result()
    best = chosen.result()
    assert ([] if best is None else tables.rows(best.drop_columns(["value"]))) == brute_force(found, plan)


def test_may_enter_tells_the_hopeless() -> None:
    chosen = Selection(settings(top=1))
    assert chosen.may_enter(state({"fingerprint": key(1), "score": 0.0})).tolist() == [True]
    chosen.add(state({"fingerprint": key(1), "score": 1.0}))
    chosen.result()
    others = state(*({"fingerprint": key(number), "score": number / 2} for number in (1, 2, 3)))
    assert chosen.may_enter(others).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "plan",
    [
        settings(top=500),
        settings(top=500, max_per_host=40, order="depth"),
        settings(top=500, max_per_host=40, max_per_directory=7),
        settings(top=300, time_limit=60.0, max_per_directory=3),
    ],
)
def test_many_requests(plan: Settings) -> None:
    """More than are held back before a cut, so that cuts happen on the way."""
    rows = 100_000
    random = np.random.default_rng(7)
    host_names = pa.array([f"host{number}.test" for number in range(30)])
    hosts = random.integers(0, 30, rows)
    directories = random.integers(0, 5, rows)
    found = pa.table({
        "fingerprint": pa.array([number.to_bytes(20, "big") for number in random.permutation(rows).tolist()],
                                schema.FINGERPRINT),
        "url": pa.array([f"http://host{host}.test/{directory}/x{row}" for row, (host, directory)
                         in enumerate(zip(hosts.tolist(), directories.tolist(), strict=True))]),
        "host": pa.DictionaryArray.from_arrays(pa.array(hosts, pa.int32()), host_names),
        "score": pa.array(random.integers(0, 1000, rows) / 8, pa.float32()),
        "depth": pa.array(random.integers(0, 4, rows), pa.int16()),
        "priority": pa.nulls(rows, pa.int32()),
        "discovered_at": pa.array(np.full(rows, NOW)).cast(schema.TIME),
    })  # fmt: skip
    chosen = Selection(plan)
    entered = 0
    for start in range(0, rows, 20_000):
        part = found.slice(start, 20_000)
        part = part.filter(pa.array(chosen.may_enter(part)))
        entered += part.num_rows
        chosen.add(part)
    best = chosen.result()
    assert best is not None
    assert tables.rows(best.drop_columns(["value"])) == brute_force(found, plan)
    assert entered < rows


def test_nothing_was_shown() -> None:
    assert Selection(settings()).result() is None
    chosen = Selection(settings())
    chosen.add(state())
    assert chosen.result() is None


def test_an_unknown_order() -> None:
    with pytest.raises(UsageError, match=r"^generate\.order = scores: unknown; did you mean score\?$"):
        Selection(settings(order="scores"))


# -- due ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due_at", "expected"),
    [(NOW - DAY, True), (NOW, True), (NOW + 1, False), (NOW + 90 * DAY, False), (NOW + 90 * DAY + 1, True)],
)
def test_due(due_at: int, expected: bool) -> None:
    assert due(state({"fingerprint": key(1), "due_at": due_at}), Settings(), NOW).tolist() == [expected]


@pytest.mark.parametrize(
    ("min_score", "expected"),
    [
        (-2.0, [True, True, True, True, True]),
        (0.0, [False, True, True, True, True]),
        (0.1, [False, False, False, True, True]),
        (0.5, [False, False, False, False, True]),
    ],
)
def test_requests_with_a_lower_score_wait(min_score: float, expected: list[bool]) -> None:
    found = state(*({"fingerprint": key(place), "score": score} for place, score in enumerate([-1, None, 0, 0.1, 0.5])))
    assert due(found, settings(min_score=min_score), NOW).tolist() == expected


def test_the_columns_that_decide_are_enough() -> None:
    found = state({"fingerprint": key(1)}, {"fingerprint": key(2)}).select(selection.DECIDING)
    assert due(found, Settings(), NOW).tolist() == [True, True]
    assert len(select([found], settings(max_per_host=1, order="priority"))) == 2


# -- hosts and directories -----------------------------------------------------------------------------------------


def test_host_groups_number_hosts_as_they_come() -> None:
    column = pa.chunked_array([["b.x.test", "a.x.test"], ["b.x.test", "127.0.0.1"]])
    groups, names = host_groups(column, "host")
    assert (groups.tolist(), names) == ([0, 1, 0, 2], ["b.x.test", "a.x.test", "127.0.0.1"])
    groups, names = host_groups(column, "domain")
    assert (groups.tolist(), names) == ([0, 0, 0, 1], ["x.test", "127.0.0.1"])


def test_host_groups_of_dictionaries_know_only_hosts_that_are_there() -> None:
    first = pa.array(["a.test", "b.test"]).dictionary_encode()
    second = pa.array(["c.test", "b.test", "a.test"]).dictionary_encode()
    groups, names = host_groups(pa.chunked_array([first.slice(1), second.slice(1)]), "host")
    assert (groups.tolist(), names) == ([0, 0, 1], ["b.test", "a.test"])


@pytest.mark.parametrize("mode", ["host", "domain"])
def test_host_groups_of_nothing(mode: str) -> None:
    groups, names = host_groups(schema.STATE.empty_table()["host"], mode)
    assert (len(groups), names) == (0, [])


def test_directories_are_paths_up_to_the_last_slash() -> None:
    urls = [
        "http://a.test/", "https://a.test/x", "http://a.test/?b=/c/", "http://a.test:80/", "http://a.test/b/",
        "http://a.test/b/c?d", "http://a.test/b", "http://[::1]:8080/b/c/d.html",
    ]  # fmt: skip
    groups = directory_groups(pa.chunked_array([urls[:3], urls[3:]])).tolist()
    assert groups == [0, 0, 0, 1, 2, 2, 0, 3]
    assert directory_groups(schema.STATE.empty_table()["url"]).tolist() == []
