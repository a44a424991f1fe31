"""The link store: what parsed pages come to, that order does not matter, and which links count."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawldb import links, schema, shards
from crawldb.settings import LinkdbSettings, Policy, Settings
from crawldb.store import Kind, Snapshot, Store
from tests.crawldb import tables

NOW = tables.NOW


def key(number: int) -> bytes:
    """The fingerprint of a page; 0 and 1, 2 and 3, … share their first 15 bytes."""
    return bytes([number // 2 * 40]) + b"\x07" * 14 + bytes([number]) * 5


def outlink(target: int, host: str = "t.test", anchor: str | None = "to", rel: str | None = None) -> dict[str, Any]:
    return {"fingerprint": key(target), "url": f"http://{host}/{target}", "host": host, "anchor": anchor, "rel": rel,
            "kind": "link"}  # fmt: skip


def chunk(pages: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """A content chunk and its parsed chunk: `page`, `at`, `outlinks`, and what else a page says."""
    content = [
        {"fingerprint": key(page["page"]), "url": f"http://s.test/{page['page']}", "host": "s.test",
         "outcome": page.get("outcome", "success"), "fetched_at": NOW + page["at"]}
        for page in pages
    ]  # fmt: skip
    parsed = [
        {"fingerprint": key(page["page"]), "parse_status": page.get("parse_status", "parsed"),
         "outlinks": page["outlinks"]}
        for page in pages
    ]  # fmt: skip
    needed = pa.schema([schema.CONTENT.field(name) for name in links.CONTENT_NEEDED])
    return (
        tables.as_they_come(content, needed),
        tables.as_they_come(parsed, pa.schema([schema.PARSED.field(name) for name in links.PARSED_NEEDED])),
    )


def told(pages: list[dict[str, Any]], **settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    link, source = links.of_pages(*chunk(pages), "seg", "file", LinkdbSettings(**settings))
    assert (link.schema, source.schema) == (schema.LINK, schema.SOURCE)
    return link.to_pylist(), source.to_pylist()


def test_what_a_page_says() -> None:
    link, source = told([{"page": 1, "at": 5, "outlinks": [outlink(4, anchor="four", rel="me"), outlink(2)]}])
    assert [(row["target"], row["anchor"], row["rel"], row["kind"]) for row in link] == [
        (key(2), "to", None, "link"), (key(4), "four", "me", "link")
    ]  # fmt: skip
    assert {row["source"] for row in link} == {key(1)}
    assert link[0]["fingerprint"] == key(2)[:10] + key(1)[:10]
    assert [row["host"] for row in link] == ["t.test"] * 2
    (row,) = source
    assert (row["fingerprint"], row["url"], row["host"], row["links"]) == (key(1), "http://s.test/1", "s.test", 2)
    assert (row["segment"], row["file"]) == ("seg", "file")
    assert row["parsed_at"] == link[0]["seen_at"]


def test_links_within_a_host_may_be_left_out() -> None:
    page = {"page": 1, "at": 5, "outlinks": [outlink(2, "s.test"), outlink(4, "t.test")]}
    link, source = told([page], ignore_internal=True)
    assert [row["target"] for row in link] == [key(4)]
    assert source[0]["links"] == 1


def test_anchors_are_cut() -> None:
    page = {"page": 1, "at": 5, "outlinks": [outlink(2, anchor="äöü"), outlink(4, anchor=""), outlink(6, anchor=None)]}
    assert [row["anchor"] for row in told([page], max_anchor=2)[0]] == ["äö", None, None]
    assert [row["anchor"] for row in told([page], max_anchor=0)[0]] == [None, None, None]


@pytest.mark.parametrize(
    ("outcome", "parse_status", "tells"),
    [
        ("success", "parsed", True),
        ("success", "no_parser", True),
        ("success", "failed", False),  # it may have links as before
        ("redir_perm", None, True),
        ("gone", None, True),
        ("notmodified", None, False),
        ("retry", None, False),
        ("postponed", None, False),
    ],
)
def test_which_answers_say_that_a_page_has_no_links(outcome: str, parse_status: str | None, tells: bool) -> None:
    link, source = told([{"page": 1, "at": 5, "outlinks": [], "outcome": outcome, "parse_status": parse_status}])
    assert link == []
    assert [(row["links"], row["url"]) for row in source] == [(0, None)] * tells


# -- merging -------------------------------------------------------------------------------------------------

pages = st.fixed_dictionaries({
    "page": st.integers(0, 3).map(lambda number: 2 * number),
    "at": st.integers(0, 3),
    "outcome": st.sampled_from(["success", "success", "gone", "retry"]),
    "outlinks": st.lists(st.builds(outlink, st.integers(0, 5).map(lambda number: 2 * number), anchor=st.sampled_from(["a", "b", None])), max_size=4,
                         unique_by=lambda link: link["fingerprint"]),
})  # fmt: skip


def empty_unless_success(page: dict[str, Any]) -> dict[str, Any]:
    return page if page["outcome"] == "success" else {**page, "outlinks": [], "parse_status": None}


chunks = st.lists(
    st.lists(pages.map(empty_unless_success), max_size=4, unique_by=lambda page: page["page"]), min_size=1, max_size=6
)


@given(chunks, st.data())
def test_merge_depends_neither_on_order_nor_on_grouping(some: list[list[dict[str, Any]]], data: st.DataObject) -> None:
    both = [links.of_pages(*chunk(one), "seg", f"file{number}", LinkdbSettings()) for number, one in enumerate(some)]
    for rows in zip(*both, strict=True):
        expected = links.merge(rows).to_pylist()
        order = data.draw(st.permutations(rows))
        cut = data.draw(st.integers(0, len(order)))
        groups = [links.merge(group) for group in (order[:cut], order[cut:]) if group]
        assert links.merge(groups).to_pylist() == expected
        assert links.merge([*rows, *rows]).to_pylist() == expected
        keys = [row["fingerprint"] for row in expected]
        assert all(one < other for one, other in pairwise(keys))


def put(crawl_dir: str, kind: Kind, rows: pa.Table, number_of_shards: int = 1) -> Snapshot:
    """Commit a delta."""
    chosen = Settings()
    chosen.store.shards = number_of_shards
    store = Store(crawl_dir, kind)
    snapshot = store.snapshot_or_new(chosen.store)
    files = {}
    for shard, part in shards.split(rows, snapshot.shards):
        with store.writer(snapshot.version + 1, "delta", shard) as writer:
            writer.write(part)
        files[shard] = writer.file
    store.commit_delta(snapshot.entry, "test", files, Policy(), NOW)
    return store.snapshot()


def current(crawl_dir: str, most: int = 0) -> set[tuple[bytes, bytes]]:
    """(source, target) of the links that count, as a reader of everything sees them."""
    chosen = Settings()
    chosen.linkdb.max_inlinks = most
    keep = links.Current(crawl_dir, chosen)
    return {
        (row["source"], row["target"])
        for table in Store(crawl_dir, links.LINKDB).snapshot().scan()
        for row in keep(table).to_pylist()
    }


def of_one_target(crawl_dir: str, target: int, most: int = 0) -> set[tuple[bytes, bytes]]:
    stores = [Store(crawl_dir, kind).snapshot() for kind in (links.LINKDB, links.SOURCEDB)]
    return {(row["source"], row["target"]) for row in links.to_target(*stores, key(target), most).to_pylist()}


@settings(max_examples=25)
@given(chunks, st.data(), st.sampled_from([1, 4]))
def test_segments_in_any_order_give_the_newest_links_of_each_page(
    tmp_path_factory: pytest.TempPathFactory, some: list[list[dict[str, Any]]], data: st.DataObject, number: int
) -> None:
    # A page is fetched once in a millisecond.
    seen: set[tuple[int, int]] = set()
    for one in some:
        one[:] = [page for page in one if (page["page"], page["at"]) not in seen]
        seen.update((page["page"], page["at"]) for page in one)
    newest = {}
    for page in sorted((page for one in some for page in one), key=lambda page: page["at"]):
        if page["outcome"] != "retry":
            newest[page["page"]] = page["outlinks"]
    expected = {(key(page), link["fingerprint"]) for page, outlinks in newest.items() for link in outlinks}
    crawl_dir = str(tmp_path_factory.mktemp("crawl"))
    for one in data.draw(st.permutations(some)):
        link, source = links.of_pages(*chunk(one), "seg", "file", LinkdbSettings())
        put(crawl_dir, links.LINKDB, link, number)
        put(crawl_dir, links.SOURCEDB, source, number)
    found = current(crawl_dir)
    assert found == expected
    assert found == {pair for target in range(0, 12, 2) for pair in of_one_target(crawl_dir, target)}


def test_two_targets_that_share_half_a_fingerprint_are_told_apart(tmp_path: Path) -> None:
    link, source = links.of_pages(
        *chunk([{"page": 0, "at": 1, "outlinks": [outlink(4)]}, {"page": 2, "at": 1, "outlinks": [outlink(5)]}]),
        "seg", "file", LinkdbSettings(),
    )  # fmt: skip
    put(str(tmp_path), links.LINKDB, link)
    put(str(tmp_path), links.SOURCEDB, source)
    assert of_one_target(str(tmp_path), 4) == {(key(0), key(4))}
    assert of_one_target(str(tmp_path), 5) == {(key(2), key(5))}
    assert of_one_target(str(tmp_path), 0) == set()


def test_two_pages_that_share_eight_bytes_lose_no_link(tmp_path: Path) -> None:
    link, _ = links.of_pages(*chunk([{"page": 0, "at": 1, "outlinks": [outlink(4)]}]), "seg", "file", LinkdbSettings())
    _, source = links.of_pages(
        *chunk([{"page": 0, "at": 1, "outlinks": []}, {"page": 1, "at": 9, "outlinks": []}]),
        "seg",
        "f",
        LinkdbSettings(),
    )
    put(str(tmp_path), links.LINKDB, link)
    put(str(tmp_path), links.SOURCEDB, source)
    assert current(str(tmp_path)) == {(key(0), key(4))}


def test_links_count_before_the_store_of_pages_is_there(tmp_path: Path) -> None:
    link, _ = links.of_pages(*chunk([{"page": 0, "at": 1, "outlinks": [outlink(4)]}]), "seg", "file", LinkdbSettings())
    put(str(tmp_path), links.LINKDB, link)
    assert current(str(tmp_path)) == {(key(0), key(4))}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), unique=True), st.integers(0, 4), st.integers(1, 5))
def test_at_most_so_many_links_to_a_target(pairs: list[tuple[int, int]], most: int, group: int) -> None:
    """Whatever tables they come in."""
    rows = [
        {"fingerprint": bytes([target]) * 10 + bytes([source]) * 10, "target": bytes([target]) * 20,
         "source": bytes([source]) * 20, "host": "t", "seen_at": NOW}
        for target, source in pairs
    ]  # fmt: skip
    table = tables.table(rows, schema.LINK)
    kept = sorted(pairs)
    if most:
        kept = [pair for pair in kept if sum(other[0] == pair[0] and other < pair for other in kept) < most]
    expected = [bytes([target]) * 10 + bytes([source]) * 10 for target, source in kept]
    assert links.capped(table, most)["fingerprint"].to_pylist() == expected
    chosen = Settings()
    chosen.linkdb.max_inlinks = most
    keep = links.Current("/nowhere", chosen)
    parts = [keep(table.slice(first, group)) for first in range(0, len(rows), group)]
    assert [one for part in parts for one in part["fingerprint"].to_pylist()] == expected


def test_of_two_statements_of_one_millisecond_one_counts_whatever_the_order() -> None:
    rows = [
        links.of_pages(
            *chunk([{"page": 0, "at": 1, "outlinks": [outlink(4, anchor=anchor)]}]), "s", "f", LinkdbSettings()
        )[0]
        for anchor in ("a", "b", None)
    ]
    merged = {str(links.merge(order).to_pylist()) for order in (rows, rows[::-1], [rows[1], rows[0], rows[2]])}
    assert len(merged) == 1


def test_a_target_with_links_in_many_row_groups(tmp_path: Path) -> None:
    """The range of a target is found across row groups, base and deltas."""
    number = 3000
    rows = [
        {"fingerprint": bytes([50 if place % 3 else 51]) * 10 + place.to_bytes(10, "big"),
         "target": bytes([50 if place % 3 else 51]) * 20, "source": place.to_bytes(10, "big") * 2, "host": "t",
         "seen_at": NOW}
        for place in range(number)
    ]  # fmt: skip
    table = tables.table(rows, schema.LINK)
    small = Kind(**{**vars(links.LINKDB), "row_group": 100})
    half = pa.array([place % 2 == 0 for place in range(number)])
    put(str(tmp_path), small, table.filter(half))
    snapshot = put(str(tmp_path), small, table.filter(pc.invert(half)))
    for value in (50, 51):
        found = snapshot.between(
            bytes([value]) * 10 + bytes(10), bytes([value]) * 10 + b"\xff" * 10, ["fingerprint", "source"]
        )
        assert found.num_rows == sum(row["target"][0] == value for row in rows)
        assert found["fingerprint"].to_pylist() == sorted(
            row["fingerprint"] for row in rows if row["target"][0] == value
        )
    assert snapshot.between(bytes(20), b"\x31" * 20).num_rows == 0
    assert snapshot.between(bytes(20), b"\xff" * 20).num_rows == number
    assert sum(part.num_rows for part in snapshot.scan(["source"])) == number
