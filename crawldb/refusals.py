"""Links that were refused: how many, of which host, by which rule. Bounded, for a manifest must stay small.

Owns `refused_by_host` in the manifest of a segment's parsed dataset: {host of the refused link: {reason: links}}. A
reason is the filter's word (for regex with the line of its file), nofollow or max_links.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa

from crawldb.segments import Segment

Refused = Counter[tuple[str, str]]
"""(host of the link, reason): how many links."""
ByHost = dict[str, dict[str, int]]

MOST_HOSTS = 1000
OTHERS = "*"
"""Stands for all hosts but those with most refusals."""

SCHEMA = pa.schema([("host", pa.string()), ("rule", pa.string()), ("refused", pa.int64())])


def by_host(refused: Refused, most_hosts: int = MOST_HOSTS) -> ByHost:
    """The counts as they stand in a manifest: the hosts with most refusals, and all others as one."""
    totals: Counter[str] = Counter()
    for (host, _), links in refused.items():
        totals[host] += links
    totals.pop(OTHERS, None)
    ranked = sorted(totals, key=lambda host: (-totals[host], host))[:most_hosts]
    counts: dict[str, Counter[str]] = {host: Counter() for host in [*ranked, OTHERS]}
    for (host, reason), links in refused.items():
        counts.get(host, counts[OTHERS])[reason] += links
    return {host: dict(reasons.most_common()) for host, reasons in counts.items() if reasons}


def added(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> Refused:
    """The sum of several `by_host`."""
    total: Refused = Counter()
    for part in parts:
        for host, reasons in part.items():
            for reason, links in reasons.items():
                total[host, reason] += links
    return total


def by_reason(refused: Refused) -> Counter[str]:
    """The counts of all hosts together."""
    total: Counter[str] = Counter()
    for (_, reason), links in refused.items():
        total[reason] += links
    return total


def of_segments(segments: Iterable[Segment]) -> Refused:
    """What the parsed ones among the segments refused, all together."""
    parsed = [segment.manifest("parsed") for segment in segments if segment.is_complete("parsed")]
    return added(manifest["counts"].get("refused_by_host", {}) for manifest in parsed)


def table(refused: Refused) -> pa.Table:
    """Rows of SCHEMA, the most first, `*` among them."""
    rows = sorted(refused.items(), key=lambda item: (-item[1], item[0]))
    hosts = [host for (host, _), _ in rows]
    return pa.table([hosts, [rule for (_, rule), _ in rows], [links for _, links in rows]], schema=SCHEMA)
