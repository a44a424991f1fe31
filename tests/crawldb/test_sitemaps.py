"""The sitemap store: the latest reading counts; and lists of sitemaps, dealt out by domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import schema
from crawldb.fingerprint import url_fingerprint
from crawldb.settings import Policy, Settings
from crawldb.sitemaps import (
    SITEMAPDB,
    Wanted,
    apply_all,
    from_table,
    last_readings,
    merge,
    of_reason,
    read_since,
    readings,
    task_of,
    to_table,
    without,
)  # fmt: skip
from crawldb.store import Store
from tests.crawldb.tables import NOW


def reading(number: int, read_at: int, **values: Any) -> dict[str, Any]:
    url = f"https://a.example/{number}.xml"
    return {"fingerprint": url_fingerprint(url), "url": url, "host": "a.example", "read_at": read_at, **values}


_readings = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 50), st.sampled_from([None, "bad_xml"])),
    max_size=8,
    unique_by=lambda r: r[:2],
)


@given(_readings, st.data())
def test_merging_depends_on_neither_order_nor_grouping(rows: list[Any], data: st.DataObject) -> None:
    empty = schema.SITEMAP.empty_table()
    tables = [
        readings([reading(number, at, reason=why, left_out={"x": at} if at else None)]) for number, at, why in rows
    ]
    whole = merge([empty, *tables])
    shuffled = data.draw(st.permutations(tables))
    cut = data.draw(st.integers(0, len(tables)))
    assert merge([merge([empty, *shuffled[:cut]]), merge([empty, *shuffled[cut:]])]).to_pylist() == whole.to_pylist()
    assert (
        apply_all(merge([empty, *shuffled[:cut]]), [(merge([empty, *shuffled[cut:]]), Policy())]).to_pylist()
        == whole.to_pylist()
    )
    latest = {number: max(at for n, at, _ in rows if n == number) for number, *_ in rows}
    assert {row["url"]: row["left_out"] for row in whole.to_pylist()} == {
        f"https://a.example/{number}.xml": [("x", at)] if at else None for number, at in latest.items()
    }


def test_what_came_of_sitemaps_is_counted() -> None:
    table = readings([reading(1, NOW), reading(2, NOW, reason="http_404"), reading(3, NOW)])
    assert of_reason(table) == {"read": 2, "http_404": 1}
    assert of_reason(schema.SITEMAP.empty_table()) == {}


def test_the_last_readings_are_found(tmp_path: Path) -> None:
    store = Store(str(tmp_path), SITEMAPDB)
    wanted = [Wanted(f"https://a.example/{number}.xml") for number in (1, 2, 9)]
    assert last_readings(store.new(Settings().store), wanted) == {}
    snapshot = store.new(Settings().store)
    for at in (NOW, NOW + 5):
        with store.writer(snapshot.version + 1, "delta", 0) as writer:
            writer.write(merge([readings([reading(1, at, format="index"), reading(2, NOW, etag='"x"')])]))
        store.commit_delta(snapshot.entry, "sitemaps", {0: writer.file}, Policy(), at)
        snapshot = store.snapshot()
    assert last_readings(snapshot, wanted) == {
        wanted[0].fingerprint: {"read_at": NOW + 5, "format": "index", "etag": None, "last_modified": None},
        wanted[1].fingerprint: {"read_at": NOW, "format": None, "etag": '"x"', "last_modified": None},
    }
    assert last_readings(snapshot, []) == {}
    assert without(wanted, read_since(snapshot, NOW)) == wanted[2:]
    assert without(wanted, read_since(snapshot, NOW + 1)) == wanted[1:]
    assert without(wanted, read_since(snapshot, NOW + 6)) == wanted
    assert without([], read_since(store.new(Settings().store), 0)) == []


_wanted = st.builds(
    Wanted, st.sampled_from([f"https://{host}/s.xml" for host in ("a.example", "www.a.example", "b.example", "127.0.0.1")]),
    st.sets(st.sampled_from(["a.example", "b.example:81"])), st.integers(0, 5), st.sampled_from([None, b"i" * 20]),
)  # fmt: skip


@given(st.lists(_wanted, max_size=6, unique_by=lambda one: one.url))
def test_lists_keep_all(wanted: list[Wanted]) -> None:
    assert from_table(to_table(wanted)) == sorted(wanted, key=lambda one: one.url)
    assert [Wanted.from_dict(one.to_dict()) for one in wanted] == wanted


@given(st.lists(_wanted, min_size=1, max_size=6))
def test_several_that_name_one_vouch_for_it_together(wanted: list[Wanted]) -> None:
    for one in from_table(to_table(wanted)):
        same = [other for other in wanted if other.url == one.url]
        assert one.authorities == set().union(*(other.authorities for other in same))
        assert one.hops == min(other.hops for other in same)


@pytest.mark.parametrize("tasks", [1, 2, 8])
def test_hosts_of_a_domain_have_one_task(tasks: int) -> None:
    assert task_of("https://a.example/s.xml", tasks) == task_of("http://www.a.example:8080/t.xml", tasks) < tasks
    assert len({task_of(f"https://d{number}.example/", tasks) for number in range(200)}) == tasks
