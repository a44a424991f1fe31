"""freegen: a segment straight from a list of URLs; no crawldb is needed, and none is changed.

map: a piece of a seed file → normalised, fingerprinted, without what is in flight already → requests
reduce: all requests, each once → a plan → one fetchlist file per fetch task, hosts whole (as generate does)

The segment is fetched and parsed like any other. Its updatedb puts what was fetched into the crawldb and injects all
that is on the list, so that nothing is lost of what the fetch left for later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from crawldb import plan, schema, shards
from crawldb.hostrules import HostRules
from crawldb.seeds import SeedReader
from crawldb.segments import Segment
from jobs.base import Record
from jobs.command import Run, Stopwatch, execute, parser, say
from jobs.generate import Generate, new_segment, tell_plan
from jobs.inject import BAD, bad_lines, first_of_each, no_seeds, read_seeds, tell_bad_lines, work_list


class FreeGen(Generate):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[str, pa.Table]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        if not self.context["filter"]:
            self.settings.filter.use = []
        taken = self.in_flight(run)
        left_out = 0
        for key, table in read_seeds(item, SeedReader(self.settings, self.context["now"], update=False)):
            if key == BAD:
                yield BAD, table
                continue
            keys = shards.key_bytes(table["fingerprint"])
            free = np.ones(len(keys), np.bool_)
            for of_segment in taken:
                free &= ~shards.contains(of_segment, keys)
            left_out += int(np.count_nonzero(~free))
            if free.any():
                yield "requests", _requests(table, self.settings.score.injected).filter(pa.array(free))
        if left_out:
            yield "in_flight", pa.table({"in_flight": [left_out]})

    def reducer(self, key: str, batches: Iterable[pa.Table]) -> Iterator[tuple[None, Record]]:
        if key == BAD:
            yield None, bad_lines(batches)
        elif key == "in_flight":
            yield None, {"in_flight": sum(batch["in_flight"][0].as_py() for batch in batches)}
        else:
            yield from super().reducer(key, batches)

    def best(self, batches: Iterable[pa.Table], pace: plan.Pace, rules: HostRules) -> pa.Table | None:
        """All of them, in the order of the list."""
        return first_of_each(pa.concat_tables(batches).unify_dictionaries()).sort_by("order")

    @classmethod
    def counted(cls, records: list[Record]) -> dict[str, Any]:
        return {"freegen": True}


def _requests(seeds: pa.Table, score: float) -> pa.Table:
    """Rows of schema.FETCHLIST, and `order`, of what SeedReader makes."""
    rows = seeds.num_rows
    columns = {name: seeds[name] for name in schema.FETCHLIST.names if name in seeds.column_names}
    columns["score"] = seeds["score"].fill_null(score)
    columns |= {name: pa.nulls(rows, pa.string()) for name in ("etag", "last_modified")}
    wanted = schema.FETCHLIST.append(pa.field("order", pa.int64()))
    return pa.table({name: seeds["order"] if name == "order" else columns[name] for name in wanted.names}).cast(wanted)


def run(run: Run, sources: list[str], filtered: bool) -> Segment | None:
    """Make a segment of the URLs in files, directories or `-`; None if all of them are in flight already. CobnutError if
    no line has one."""
    watch = Stopwatch()
    items = work_list(sources, run)
    segment, records = new_segment(run, FreeGen, lambda _: items, {"filter": filtered}, "files")
    bad = tell_bad_lines(records)
    in_flight = sum(record.get("in_flight", 0) for record in records)
    if segment is None and not in_flight:
        raise no_seeds(sources, bad)
    waiting = f", {in_flight:,} more are in flight already" if in_flight else ""
    if segment is None:
        say(f"freegen   nothing to fetch{waiting} {watch}")
        return None
    tell_plan(run, "freegen", segment, records, f"requests ({bad:,} bad lines{waiting})", watch)
    return segment


def main(argv: list[str] | None = None) -> int:
    """`cobnut freegen CRAWL_DIR URLS…`"""
    arguments = parser(
        "freegen", "Make a segment straight from lines URL[<TAB>key=value]…, as files, gzip or directories; no crawldb "
        "is needed. fetch, parse and updatedb go on with it.",
    )  # fmt: skip
    arguments.add_argument("urls", metavar="URLS", nargs="+", help="files or directories; - reads stdin")
    arguments.add_argument("--filter", action="store_true", help="leave out what the URL filters (filter.use) refuse")
    options = arguments.parse_args(argv)
    return execute("freegen", options, lambda run_: (run(run_, options.urls, options.filter), 0)[1])


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["freegen", *sys.argv[1:]]))
