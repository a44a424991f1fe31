"""Refused links by host and rule: nothing is lost in the sums, and a manifest stays small."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from crawldb import refusals
from crawldb.refusals import OTHERS, added, by_host, by_reason

counted = st.dictionaries(
    st.tuples(st.sampled_from(["a.test", "b.test", "c.test", OTHERS]), st.sampled_from(["scope", "regex:3"])),
    st.integers(1, 9),
).map(Counter)


@given(counted, st.integers(0, 4))
def test_the_hosts_with_most_and_the_rest(refused: refusals.Refused, most_hosts: int) -> None:
    bounded = by_host(refused, most_hosts)
    assert by_reason(added([bounded])) == by_reason(refused)
    hosts = [host for host in bounded if host != OTHERS]
    assert len(hosts) <= most_hosts
    totals = {host: sum(bounded[host].values()) for host in hosts}
    assert list(totals.values()) == sorted(totals.values(), reverse=True)
    for (host, reason), links in refused.items():
        if host in totals:
            assert bounded[host][reason] == links
        elif host != OTHERS:
            assert sum(links for (other, _), links in refused.items() if other == host) <= min(
                totals.values(), default=1 << 30
            )


@given(st.lists(counted, max_size=4))
def test_parts_add_up(parts: list[refusals.Refused]) -> None:
    assert added(by_host(part) for part in parts) == sum(parts, Counter())


def test_a_table_has_the_most_first() -> None:
    table = refusals.table(Counter({("a.test", "scope"): 1, ("b.test", "regex:3"): 5, ("a.test", "length"): 1}))
    assert table.to_pylist() == [
        {"host": "b.test", "rule": "regex:3", "refused": 5},
        {"host": "a.test", "rule": "length", "refused": 1},
        {"host": "a.test", "rule": "scope", "refused": 1},
    ]
    assert refusals.table(Counter()).schema == refusals.SCHEMA
