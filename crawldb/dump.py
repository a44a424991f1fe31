"""`dump.py`, `cobnut dump`: looks into the crawldb: rows, one row, or statistics; or into the host store.

Owns the command: its arguments, which rows are meant, and where the output goes. How rows are written is `formats`'s
business, what a condition is `conditions`'s and its language `where`'s, counting `statistics`'s, the story of one row
`explain`'s.

Data goes to stdout (or to -o FILE, which appears whole or not at all), everything else to stderr. A reader that stops
reading (`| head`) ends the dump without an error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import conditions, filesystem, formats, schema, settings, where
from crawldb.errors import CobnutError, UsageError
from crawldb.output import abandon_stdout, is_stdout
from crawldb.output import output as _output
from crawldb.store import Snapshot, Store, now_ms

TABLE_COLUMNS = ("url", "status", "http_status", "reason", "depth", "score", "fetched_at", "due_at")
"""What `--format table` shows unless --columns says otherwise."""

HOST_TABLE_COLUMNS = (
    "host", "requests", "success", "gone", "retry", "postponed", "latency_median", "latency_95", "crawl_delay",
    "last_seen",
)  # fmt: skip
"""The same of --hosts."""

_OF_ROWS = ("--refused", "--stats", "--url", "--host", "--hosts", "--status", "--where", "--as-of")
"""Options that mean nothing to links."""

_TOP_SLACK = 1 << 16
"""Rows that may wait beyond the N best before the rest is thrown away."""


def main(argv: Sequence[str] | None = None, now: int | None = None) -> int:
    """Run the command; returns its exit code. `now` (UTC ms) is for tests; SystemExit(2) for wrong arguments."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments, now_ms() if now is None else now)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()
    except CobnutError as error:
        print(f"dump: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"dump: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        abandon_stdout()
        return 1
    except KeyboardInterrupt:
        abandon_stdout()
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dump", description="Look into a crawldb: its rows (by default all, as jsonl, in fingerprint order), "
        "one row with --url, --stats, or --refused.", epilog="Exit codes: 0 done, 1 failed or --url not found, 2 wrong usage.",
    )  # fmt: skip
    add = parser.add_argument
    add("crawl_dir", metavar="CRAWL_DIR", help="the crawl")
    add("--stats", action="store_true", help="counts by status, reason, host and so on; as text or as one JSON object "
        "(--format jsonl); of the rows that --host, --status and --where leave")  # fmt: skip
    add("--refused", action="store_true", help="links that were refused in the segments on disk, by host and rule, the "
        "most first (a table unless --format says otherwise; * stands for hosts with few)")  # fmt: skip
    add("--url", metavar="URL", help="one row, by any spelling of its URL, and why it is what it is")
    add("--host", metavar="H", help="rows of this host")
    add("--hosts", action="store_true", help="what is known of each host instead: requests by outcome and reason, "
        "latency, Crawl-delay, robots.txt, sitemaps; with --where, for example \"failing_since < now() - 7 days\", with "
        "--top the N hosts with the most requests")  # fmt: skip
    add("--links-to", metavar="URL", help="the links to this URL that the link store knows, with their anchors; with --top "
        "the N that were seen last")  # fmt: skip
    add("--links-from", metavar="URL", help="the links of this page when it was last parsed; with --top its first N")
    add("--status", metavar="S", help=f"rows with this status, or these (a,b): {', '.join(_statuses())}")
    add("--top", metavar="N", type=_positive, help="the N rows with the highest scores, highest first")
    add("--where", metavar="EXPR", help="rows for which this is true, for example: \"status = 'gone' AND reason LIKE "
        "'http_%%' AND due_at < now() + 7 days\"; also IN, BETWEEN, NOT, OR, IS NULL, REGEXP, length(), lower(), "
        "metadata['key']")  # fmt: skip
    add("--columns", metavar="a,b", help="these columns, in this order")
    add("--format", choices=tuple(formats.FORMATS), help="default: jsonl; table with --url, --stats and --refused")
    add("--as-of", metavar="N", type=int, help="the crawldb as of version N of its log")
    add("-o", dest="output", metavar="FILE", help="write to FILE instead of stdout")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


_positive.__name__ = "whole number"  # what argparse calls it in its message


def _run(arguments: argparse.Namespace, now: int) -> None:
    _check(arguments)
    if any(":/" in path for path in (arguments.crawl_dir, arguments.output or "")):
        filesystem.configure(settings.load().hdfs)
    if arguments.hosts:
        _write_hosts(arguments, now)
        return
    if arguments.links_to is not None or arguments.links_from is not None:
        _write_links(arguments)
        return
    condition = _condition(arguments, now)
    columns = _chosen_columns(arguments, schema.STATE.names, TABLE_COLUMNS)
    snapshot = Store(arguments.crawl_dir).snapshot(arguments.as_of)
    if arguments.refused:
        _write_refused(arguments)
    elif arguments.stats:
        _write_statistics(snapshot, condition, arguments, now)
    elif arguments.url is not None:
        _write_request(snapshot, columns, arguments, now)
    else:
        _write_rows(snapshot, condition, columns, arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Options that do not go together."""
    alone = {
        "--refused": ("--stats", "--url", "--status", "--top", "--where", "--columns", "--as-of", "--hosts"),
        "--url": ("--stats", "--host", "--status", "--top", "--where"), "--stats": ("--top", "--columns"),
        "--hosts": ("--url", "--stats", "--status"),
        "--links-to": ("--links-from", *_OF_ROWS), "--links-from": _OF_ROWS,
    }  # fmt: skip
    names = (
        "--refused",
        "--stats",
        "--url",
        "--host",
        "--hosts",
        "--status",
        "--top",
        "--where",
        "--columns",
        "--as-of",
        "--links-to",
        "--links-from",
    )
    values = {name: getattr(arguments, name[2:].replace("-", "_")) for name in names}
    given = {name for name, value in values.items() if value is not None and value is not False}
    for option, excluded in alone.items():
        for other in excluded:
            if option in given and other in given:
                raise UsageError(f"{option} and {other} do not go together")
    if arguments.stats and arguments.format in ("csv", "parquet"):
        raise UsageError(f"--stats is printed as table or jsonl, not as {arguments.format}")
    if arguments.format == "parquet" and is_stdout(arguments.output) and sys.stdout.isatty():
        raise UsageError("parquet is not for terminals; give -o FILE")


# -- which rows --------------------------------------------------------------------------------------------------


def _condition(arguments: argparse.Namespace, now: int) -> conditions.Condition | None:
    parts = []
    if arguments.host is not None:
        parts.append(conditions.one_of("host", [_host(arguments.host)]))
    if arguments.status is not None:
        names = [name.strip() for name in arguments.status.split(",")]
        for name in names:
            if name not in schema.Status.__members__:
                raise UsageError(f"--status {name}: no such status{conditions.nearest(name, _statuses())}")
        parts.append(conditions.one_of("status", names))
    if arguments.where is not None:
        parts.append(where.parse(arguments.where, now))
    return conditions.all_of(parts) if parts else None


def _host(text: str) -> str:
    """A host as the crawldb writes it, also of `Example.COM` or of a URL."""
    from crawldb import urls  # costs its libraries' start, which most dumps do not need

    canonical = urls.canonicalize(text if "://" in text else f"http://{text}/")
    if canonical is None:
        raise UsageError(f"--host {text}: not a host")
    return urls.host_of(canonical)


def _statuses() -> list[str]:
    return [status.name for status in schema.Status]


def _chosen_columns(arguments: argparse.Namespace, known: list[str], shown: Sequence[str]) -> list[str]:
    """Those of --columns; without it `shown` in a table, all that are `known` elsewhere."""
    if arguments.columns is None:
        short = arguments.format == "table" and arguments.url is None
        return list(shown) if short else list(known)
    names = [name.strip() for name in arguments.columns.split(",")]
    for place, name in enumerate(names):
        if name not in known:
            raise UsageError(f"--columns: no column {name!r}{conditions.nearest(name, known)}")
        if name in names[:place]:
            raise UsageError(f"--columns: {name} is named twice")
    return names


def _selected(
    snapshot: Snapshot, condition: conditions.Condition | None, columns: Sequence[str], top: int | None = None
) -> Iterator[pa.Table]:
    """The rows meant, with these columns; in fingerprint order, or by score if `top` is given."""
    needed = dict.fromkeys([*columns, *(condition.columns if condition else ()), *(["score"] if top else [])])
    tables: Iterable[pa.Table] = snapshot.scan([name for name in schema.STATE.names if name in needed])
    if condition is not None:
        tables = (condition.filter(table) for table in tables)
    if top is not None:
        tables = [highest(tables, top)]
    for table in tables:
        if table.num_rows:
            yield table.select(columns)


def highest(tables: Iterable[pa.Table], top: int) -> pa.Table:
    """The `top` rows with the highest scores (null is lowest), equal ones in the order they came.

    Holds about `top` rows and no more than some ten thousand others.
    """
    pending: list[pa.Table] = []
    rows, least = 0, -np.inf
    for table in tables:
        if not pending:
            pending = [table.slice(0, 0)]
        # Among equals the first that came wins, so once there are enough a row must be better than the worst.
        better = table.filter(pa.array(_scores(table) > least)) if least > -np.inf else table
        pending.append(better)
        rows += better.num_rows
        if rows >= 2 * top + _TOP_SLACK:
            best = _best(pending, top)
            pending, rows = [best], best.num_rows
            least = float(_scores(best)[-1])
    return _best(pending, top) if pending else schema.STATE.empty_table()


def _best(tables: list[pa.Table], top: int) -> pa.Table:
    table = pa.concat_tables(tables).unify_dictionaries()
    return table.take(pa.array(np.argsort(-_scores(table), kind="stable")[:top]))


def _scores(table: pa.Table) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = table["score"].to_numpy()  # a null is NaN
    return np.where(np.isnan(scores), np.float32(-np.inf), scores)


# -- what is written ---------------------------------------------------------------------------------------------


def _write_rows(
    snapshot: Snapshot, condition: conditions.Condition | None, columns: list[str], arguments: argparse.Namespace
) -> None:
    tables = _selected(snapshot, condition, columns, arguments.top)
    written = formats.FORMATS[arguments.format or "jsonl"]
    kept = pa.schema([schema.STATE.field(name) for name in columns])
    with _output(arguments.output) as (output, width):
        rows = written(tables, kept, output, width)
    if condition is not None and not rows:
        print("dump: no row meets the conditions", file=sys.stderr)


def _write_request(snapshot: Snapshot, columns: list[str], arguments: argparse.Namespace, now: int) -> None:
    from crawldb import explain  # brings the URL filters and their libraries

    row = explain.find(snapshot, arguments.url)
    with _output(arguments.output) as (output, width):
        if arguments.format in (None, "table"):
            output.write(explain.vertical(row, columns, explain.reasons(snapshot, row, now)).encode())
        else:
            chosen = row.select(columns)
            kept = pa.schema([schema.STATE.field(name) for name in columns])
            formats.FORMATS[arguments.format]([chosen], kept, output, width)


def _write_hosts(arguments: argparse.Namespace, now: int) -> None:
    from crawldb import hosts

    columns = _chosen_columns(arguments, hosts.SHOWN.names, HOST_TABLE_COLUMNS)
    condition = where.parse(arguments.where, now, hosts.SHOWN) if arguments.where is not None else None
    snapshot = Store(arguments.crawl_dir, hosts.HOSTDB).snapshot(arguments.as_of)
    asked = {*columns, *(condition.columns if condition else ()), *(["requests"] if arguments.top else [])}
    made = [name for name in hosts.SHOWN.names if name in asked]
    if arguments.host is not None:
        found = snapshot.select(hosts.fingerprints([_host(arguments.host)]), hosts.needed(made))
    else:
        found = snapshot.scan(hosts.needed(made))
    tables = (hosts.shown(table, made) for table in found)
    if condition is not None:
        tables = (condition.filter(table) for table in tables)
    if arguments.top:
        tables = (table for table in [hosts.busiest(tables, arguments.top)])
    kept = pa.schema([hosts.SHOWN.field(name) for name in columns])
    with _output(arguments.output) as (output, width):
        rows = formats.FORMATS[arguments.format or "jsonl"](
            (table.select(columns) for table in tables), kept, output, width
        )
    if condition is not None and not rows:
        print("dump: no host meets the conditions", file=sys.stderr)
    elif arguments.host is not None and not rows:
        print(f"dump: {arguments.host} was never asked", file=sys.stderr)


def _write_links(arguments: argparse.Namespace) -> None:
    from crawldb import explain, linklists

    columns = _chosen_columns(arguments, linklists.SHOWN.names, linklists.TABLE_COLUMNS)
    url = arguments.links_to if arguments.links_to is not None else arguments.links_from
    found = linklists.SHOWN.empty_table()
    for form in explain.canonical_forms(url):
        if arguments.links_to is not None:
            found = linklists.to_url(arguments.crawl_dir, form)
        else:
            found = linklists.from_url(
                arguments.crawl_dir, form, lambda line: print(f"dump: {url}: {line}", file=sys.stderr)
            )
        if found.num_rows:
            break
    if arguments.top:
        found = linklists.newest(found, arguments.top) if arguments.links_to is not None else found[: arguments.top]
    kept = pa.schema([linklists.SHOWN.field(name) for name in columns])
    with _output(arguments.output) as (output, width):
        formats.FORMATS[arguments.format or "jsonl"]([found.select(columns)], kept, output, width)
    if not found.num_rows:
        print(f"dump: no link {'to' if arguments.links_to is not None else 'from'} {url} is known", file=sys.stderr)


def _write_statistics(
    snapshot: Snapshot, condition: conditions.Condition | None, arguments: argparse.Namespace, now: int
) -> None:
    from crawldb import statistics

    counted = statistics.count(_selected(snapshot, condition, statistics.COLUMNS), now)
    everything = statistics.describe(snapshot) | counted
    text = statistics.to_json if arguments.format == "jsonl" else statistics.to_text
    with _output(arguments.output) as (output, _):
        output.write(text(everything).encode())


def _write_refused(arguments: argparse.Namespace) -> None:
    from crawldb import refusals
    from crawldb.segments import Segments

    refused = refusals.of_segments(Segments(arguments.crawl_dir).committed())
    if arguments.host is not None:
        host = _host(arguments.host) if arguments.host != refusals.OTHERS else refusals.OTHERS
        refused = refusals.Refused({place: links for place, links in refused.items() if place[0] == host})
    with _output(arguments.output) as (output, width):
        formats.FORMATS[arguments.format or "table"]([refusals.table(refused)], refusals.SCHEMA, output, width)
    if not refused:
        print("dump: no segment on disk refused such links", file=sys.stderr)
