"""What a round learned: rows of pages, and their merge in any grouping."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawldb import deltas, schema, shards, update
from crawldb.deltas import CONTENT_NEEDED, from_pages, merge
from crawldb.settings import Policy, Settings
from crawldb.update import apply
from tests.crawldb import tables
from tests.crawldb.tables import NOW, by_key, delta, key, rows, state

Pages = tuple[pa.Table, pa.Table]


def settings(**values: Any) -> Settings:
    made = Settings()
    for name, value in values.items():
        section, _, setting = name.partition("__")
        setattr(getattr(made, section), setting, value)
    return made


def link(number: int, kind: str = "link", host: str | None = None) -> dict[str, Any]:
    host = host or f"host{number % 4}.test"
    return {"fingerprint": key(number), "url": f"http://{host}/{key(number).hex()}", "host": host, "anchor": None,
            "rel": None, "kind": kind}  # fmt: skip


def page(number: int, *links: dict[str, Any], **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of content and its row of parsed."""
    host = f"host{number % 4}.test"
    content = {
        "fingerprint": key(number), "url": f"http://{host}/{key(number).hex()}", "host": host, "outcome": "success",
        "fetched_at": NOW + number, "score": 1.0, "depth": 1, **values,
    }  # fmt: skip
    return content, {"fingerprint": key(number), "signature": values.get("signature"), "outlinks": list(links)}


def chunk(*pages: tuple[dict[str, Any], dict[str, Any]]) -> Pages:
    """A content chunk and its parsed chunk, rows as they come."""
    content = tables.as_they_come([row for row, _ in pages], schema.CONTENT)
    return content.select(CONTENT_NEEDED), tables.as_they_come([row for _, row in pages], schema.PARSED)


def learned(*pages: tuple[dict[str, Any], dict[str, Any]], **values: Any) -> dict[bytes, dict[str, Any]]:
    """`from_pages` of one chunk: its rows' values that are not null."""
    table = from_pages(*chunk(*pages), settings(**values))
    assert table.schema == schema.DELTA
    return {
        fingerprint: {name: value for name, value in row.items() if value is not None}
        for fingerprint, row in by_key(table).items()
    }


# -- rows of pages -------------------------------------------------------------------------------------------------


def test_an_outcome() -> None:
    found = learned(page(
        1, outcome="gone", http_status=404, reason="http_404", etag='"1"', last_modified="then", retry_after=NOW + 9,
        signature=b"s" * 16, priority=3, metadata=[("lang", "en")], method="POST", body=b"q",
        headers=[("Accept", "*/*")],
    ))  # fmt: skip
    assert found == {
        key(1): {
            "fingerprint": key(1), "url": f"http://host1.test/{key(1).hex()}", "host": "host1.test", "outcome": "gone",
            "http_status": 404, "reason": "http_404", "fetched_at": NOW + 1, "etag": '"1"', "last_modified": "then",
            "retry_after": NOW + 9, "signature": b"s" * 16, "depth": 1, "priority": 3, "metadata": [("lang", "en")],
            "method": "POST", "body": b"q", "headers": [("Accept", "*/*")],
        }
    }  # fmt: skip


def test_a_link() -> None:
    found = learned(page(1, link(2), link(3), priority=3, depth=4, score=3.0, metadata=[("lang", "en")]))
    assert found[key(2)] == {
        "fingerprint": key(2), "url": f"http://host2.test/{key(2).hex()}", "host": "host2.test", "inlinks": 1,
        "inlink_score": 1.5, "depth": 5, "priority": 3, "discovered_at": NOW + 1, "discovered_from": key(1),
        "linked_at": NOW + 1,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "depth"), [("link", 5), ("redirect", 4), ("refresh", 4)])
def test_a_redirect_is_no_step_away_from_the_seed(kind: str, depth: int) -> None:
    assert learned(page(1, link(2, kind), depth=4))[key(2)]["depth"] == depth


def test_a_refresh_is_recorded_as_a_redirect_is() -> None:
    found = learned(
        page(1, link(2), link(3, "refresh"), link(4, "refresh")),
        page(5, link(6, "redirect"), redirect_to="http://y.test/", outcome="redir_temp"),
        page(7),
    )
    assert [found[key(number)].get("redirect_to") for number in (1, 5, 7)] == [link(3)["url"], "http://y.test/", None]


def test_only_chosen_metadata_are_inherited() -> None:
    first = page(1, link(2), metadata=[("lang", "en"), ("team", "a")])
    second = page(3, link(4), metadata=[("team", "a")])
    third = page(5, link(6))
    found = learned(first, second, third, request__inherit_metadata=["lang", "other"])
    assert [found[key(number)].get("metadata") for number in (2, 4, 6)] == [[("lang", "en")], None, None]
    assert found[key(1)]["metadata"] == [("lang", "en"), ("team", "a")]


def test_links_within_and_between_hosts() -> None:
    found = learned(page(1, link(2, host="host1.test"), link(3)), score__internal=0.5, score__external=2.0)
    assert [found[key(number)]["inlink_score"] for number in (2, 3)] == [0.25, 1.0]


def test_links_to_one_request_add_up_and_the_nearest_page_discovered_it() -> None:
    found = learned(
        page(9, link(2), link(3), depth=2, priority=1), page(8, link(2), depth=1, priority=7), page(7, link(2), depth=1)
    )
    assert found[key(2)] == {
        "fingerprint": key(2), "url": link(2)["url"], "host": "host2.test", "inlinks": 3, "inlink_score": 2.5,
        "depth": 2, "priority": 7, "discovered_at": NOW + 7, "discovered_from": key(7),
        "linked_at": NOW + 9,
    }  # fmt: skip


def test_a_page_that_was_fetched_and_linked() -> None:
    found = learned(
        page(1, link(1), link(2), depth=0, metadata=[("lang", "en")]), page(2, depth=5, etag='"2"'),
        request__inherit_metadata=["lang"],
    )  # fmt: skip
    assert found[key(1)]["inlinks"] == 1
    assert (found[key(1)]["depth"], found[key(1)]["metadata"]) == (0, [("lang", "en")])
    two = found[key(2)]
    assert (two["outcome"], two["etag"], two["inlinks"], two["depth"]) == ("success", '"2"', 1, 1)
    assert "discovered_from" not in two
    assert "metadata" not in two


def test_a_page_at_the_greatest_depth() -> None:
    found = learned(page(1, link(2), depth=32_767), page(3, link(2), depth=32_766))
    assert found[key(2)]["depth"] == 32_766


def test_no_pages_and_no_links() -> None:
    assert learned() == {}
    assert set(learned(page(1), page(2))) == {key(1), key(2)}


def test_lists_that_are_null_or_part_of_a_longer_column() -> None:
    content, parsed = chunk(page(1, link(2)), page(3, link(4)), page(5, link(6)))
    nothing = pa.array([[link(9)], None, [link(6)]], schema.PARSED.field("outlinks").type)
    parsed = parsed.set_column(parsed.schema.get_field_index("outlinks"), "outlinks", nothing)
    found = by_key(from_pages(content.slice(1), parsed.slice(1), Settings()))
    assert set(found) == {key(3), key(5), key(6)}
    assert found[key(6)]["discovered_from"] == key(5)


# -- merge ---------------------------------------------------------------------------------------------------------


def some_pages(numbers: list[int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A web at random, some pages of it fetched twice."""
    pages = []
    for number in numbers:
        random = Random(number)
        targets = random.sample(range(12), random.randint(0, 5))
        links = [link(target, random.choice(["link", "link", "redirect"]), "host.test") for target in targets]
        values = tables.fetched_row(number) | {
            "fetched_at": NOW + random.randint(0, 2),
            "score": random.choice([0.1, 1 / 3, 1e6, 7.0, None]),
        }
        pages.append(page(number % 12, *links, **values))
    return pages


fewer = hypothesis_settings(max_examples=40)  # each is some dozens of small tables
webs = st.lists(st.integers(0, (1 << 32) - 1), max_size=7).map(some_pages)
inheriting = settings(request__inherit_metadata=["lang"], score__internal=0.7)


@fewer
@given(webs, st.randoms())
@example(some_pages([663, 1_296_899_139]), Random(0))  # one page twice, with other metadata to inherit
def test_any_grouping_in_any_order_is_the_same_to_the_last_bit(
    pages: list[tuple[dict[str, Any], dict[str, Any]]], random: Random
) -> None:
    one_by_one = [from_pages(*chunk(one), inheriting) for one in pages]
    whole = rows(merge(one_by_one)) if one_by_one else []
    parts = one_by_one
    while len(parts) > 1:
        random.shuffle(parts)
        size = random.randint(1, len(parts))
        parts = [*parts[size:], merge(parts[:size])]
    assert [row for part in parts for row in rows(merge(parts))] == whole
    assert [row for part in parts for row in rows(part)] == whole


@fewer
@given(webs)
def test_merging_what_is_merged_changes_nothing(pages: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    once = merge([from_pages(*chunk(one), inheriting) for one in pages] or [schema.DELTA.empty_table()])
    assert rows(merge([once])) == rows(once)
    names = once["fingerprint"].to_pylist()
    assert names == sorted(set(names))
    assert once.schema == schema.DELTA
    once.validate(full=True)


@fewer
@given(webs, st.sampled_from([1, 2, 16]))
def test_shards_merged_alone_are_the_whole(pages: list[tuple[dict[str, Any], dict[str, Any]]], number: int) -> None:
    parts = [from_pages(*chunk(one), inheriting) for one in pages] or [schema.DELTA.empty_table()]
    by_shard: dict[int, list[pa.Table]] = {}
    for part in parts:
        for shard, piece in shards.split(part, number):
            by_shard.setdefault(shard, []).append(piece)
    assert [row for shard in sorted(by_shard) for row in rows(merge(by_shard[shard]))] == rows(merge(parts))


@fewer
@given(webs)
def test_nothing_is_lost(pages: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Against plain sums: links, requests, the latest outcome, depths."""
    found = by_key(merge([from_pages(*chunk(one), inheriting) for one in pages] or [schema.DELTA.empty_table()]))
    links = [(content, target) for content, parsed in pages for target in parsed["outlinks"]]
    assert set(found) == {content["fingerprint"] for content, _ in pages} | {each["fingerprint"] for _, each in links}
    for fingerprint, row in found.items():
        to_it = [(content, each) for content, each in links if each["fingerprint"] == fingerprint]
        fetches = [content for content, _ in pages if content["fingerprint"] == fingerprint]
        assert (row["inlinks"] or 0) == len(to_it)
        assert row["fetched_at"] == max((content["fetched_at"] for content in fetches), default=None)
        depths = [content["depth"] + (each["kind"] == "link") for content, each in to_it]
        assert row["depth"] == min([*depths, *(content["depth"] for content in fetches)])
        if not fetches:
            nearest = min(
                (content["depth"] + (each["kind"] == "link"), content["fingerprint"]) for content, each in to_it
            )
            assert (row["depth"], row["discovered_from"]) == nearest


def test_the_latest_fetch_counts() -> None:
    early = delta({"fingerprint": key(1), "outcome": "success", "fetched_at": NOW, "etag": '"1"', "http_status": 200})
    late = delta({"fingerprint": key(1), "outcome": "gone", "fetched_at": NOW + 1, "http_status": 404})
    for order in ([early, late], [late, early]):
        [row] = rows(merge(order))
        assert (row["outcome"], row["http_status"], row["etag"]) == ("gone", 404, None)


def test_merge_of_nothing() -> None:
    assert rows(merge([schema.DELTA.empty_table(), schema.DELTA.empty_table()])) == []


def test_a_round_in_the_crawldb() -> None:
    """Two pages and what they say, from their chunk to the state."""
    before = state(
        {"fingerprint": key(1), "score": 1.0, "depth": 0, "discovered_from": None}, {"fingerprint": key(2), "depth": 1}
    )
    web = chunk(
        page(1, link(2), link(3), depth=0, http_status=200, signature=b"s" * 16), page(2, outcome="retry", depth=1)
    )
    after = by_key(apply(before, from_pages(*web, Settings()), Policy()))
    columns = ("status", "score", "depth", "retries", "discovered_from")
    assert {name: tuple(row[column] for column in columns) for name, row in after.items()} == {
        key(1): ("fetched", 1.0, 0, 0, None),
        key(2): ("unfetched", 1.5, 1, 1, None),
        key(3): ("unfetched", 0.5, 1, 0, key(1)),
    }


@given(tables.tables_of([tables.fetched_row, tables.linked_row], schema.DELTA), tables.seeds, st.integers(0, 3))
def test_what_is_a_seed_is_one_whatever_else_was_learned_of_it(learned: pa.Table, seeds: pa.Table, cut: int) -> None:
    assert tables.rows(deltas.with_seeds([learned])) == tables.rows(deltas.merge([learned]))
    seeds = deltas.of_fetchlist(
        seeds.set_column(seeds.column_names.index("score"), "score", pa.array([2.5] * seeds.num_rows, pa.float32())),
        tables.NOW,
    )
    both = tables.by_key(deltas.with_seeds([seeds.slice(cut), learned, seeds.slice(0, cut)]))
    alone, injected = tables.by_key(deltas.merge([learned])), tables.by_key(seeds)
    assert set(both) == set(alone) | set(injected)
    for fingerprint, row in both.items():
        if fingerprint not in injected:
            assert row == alone[fingerprint]
            continue
        assert (row["injected"], row["score"], row["discovered_at"], row["discovered_from"]) == (
            True,
            2.5,
            tables.NOW,
            None,
        )
        if fingerprint in alone:
            for name in ("outcome", "fetched_at", "signature", "inlinks", "inlink_score", "linked_at"):
                assert row[name] == alone[fingerprint][name]


def test_a_seed_that_was_fetched_is_born_with_its_score() -> None:
    """And not with that of a page that nobody links to, which is 0."""
    seed = deltas.of_fetchlist(tables.delta({"fingerprint": tables.key(1), "score": 5.0, "depth": 0}), tables.NOW)
    fetched = tables.delta(
        {"fingerprint": tables.key(1), "outcome": "success", "fetched_at": tables.NOW + 9, "depth": 0}
    )
    state = update.apply(schema.STATE.empty_table(), deltas.with_seeds([fetched, seed]), Policy())
    (row,) = tables.rows(state)
    assert (row["status"], row["score"], row["depth"], row["discovered_at"]) == ("fetched", 5.0, 0, tables.NOW)
