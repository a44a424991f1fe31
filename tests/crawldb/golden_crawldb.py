"""A small crawldb of two versions with one row of every kind, and what dump.py must print of it.

`python -m tests.crawldb.golden_crawldb` writes golden/dump-* anew; look at the difference before it is committed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from crawldb import schema, shards
from crawldb.fingerprint import fingerprint, url_fingerprint
from crawldb.settings import Policy
from crawldb.store import LogEntry, Store
from tests.crawldb.tables import table

NOW = 1_795_515_300_123
"""2026-11-24T10:15:00.123Z"""
DAY = 86_400_000
SEED = "https://example.com/"
SHARDS = 2

COMMANDS = {
    "dump-all.jsonl": [],
    "dump-all.csv": ["--format", "csv"],
    "dump-all.table": ["--format", "table"],
    "dump-columns.jsonl": ["--columns", "status,url"],
    "dump-first-version.jsonl": ["--as-of", "0", "--columns", "url,status,http_status"],
    "dump-top.csv": ["--format", "csv", "--top", "3", "--columns", "score,url"],
    "dump-stats.txt": ["--stats"],
    "dump-stats.jsonl": ["--stats", "--format", "jsonl"],
    "dump-url.txt": ["--url", SEED],
}


def _row(url: str, **values: Any) -> dict[str, Any]:
    host = url.split("/")[2].partition(":")[0]
    return {"fingerprint": url_fingerprint(url), "url": url, "host": host, "status": "unfetched", "due_at": NOW - DAY,
            "interval": 2_592_000, "retries": 0, "score": 1.0, "depth": 1, "priority": 0,
            "discovered_at": NOW - 3 * DAY, "discovered_from": url_fingerprint(SEED), **values}  # fmt: skip


def base_rows() -> list[dict[str, Any]]:
    """The rows of version 0."""
    fetched = {"fetched_at": NOW - 2 * DAY, "due_at": NOW + 28 * DAY}
    posted = {"method": "POST", "body": b"q=\x00\xff", "headers": [("Accept", "a/b"), ("X", '"\n')]}
    post = _row("https://example.com/search", **posted, depth=0, discovered_from=None)
    post["fingerprint"] = fingerprint(post["url"], "POST", posted["body"])
    return [
        _row(SEED, status="fetched", http_status=200, **fetched, modified_at=NOW - 2 * DAY, etag='W/"a,b"', depth=0,
             last_modified="Tue, 24 Nov 2026 10:00:00 GMT", signature=bytes(range(16)), discovered_from=None,
             metadata=[("collection", 'say "é"'), ("empty", "")], interval_fixed=True),
        _row("https://example.com/old", status="redir_perm", http_status=301, **fetched, redirect_to=SEED, score=0.1),
        _row("https://example.com/away", status="redir_temp", http_status=302, **fetched, score=0.25,
             redirect_to="http://other.example/", reason="redirect"),
        _row("http://other.example/", status="gone", http_status=404, reason="http_404", **fetched, score=0.5),
        _row("http://other.example:8080/", status="unfetched", reason="timeout", retries=2, fetched_at=NOW - 7_200_000,
             due_at=NOW + 5_400_000, score=None),
        _row("https://example.com/same", status="notmodified", http_status=304, **fetched,
             modified_at=NOW - 90 * DAY, score=1e-7, depth=2),
        _row("https://example.com/copy", status="duplicate", http_status=200, **fetched, score=2.5, depth=300,
             content_type="text/html", canonical=url_fingerprint(SEED), simhash=2**63 + 5, lastmod=NOW - 9 * DAY,
             duplicate_of=url_fingerprint(SEED), changefreq="weekly", sitemap_priority=0.5, linked_at=NOW - DAY),
        _row("https://example.com/lost", status="orphan", http_status=200, **fetched, score=-0.0, priority=-7,
             discovered_from=bytes(20)),
        _row("https://xn--bcher-kva.example/", discovered_at=None, discovered_from=None, depth=None, priority=None),
        post,
    ]  # fmt: skip


def build(crawl_dir: Path) -> Store:
    """Write it: version 0 is a base, version 1 a delta that fetched one request and found a new one."""
    store = Store(str(crawl_dir))
    new = LogEntry(-1, "new", 0, SHARDS, None, ())
    first = store.commit_base(new, SHARDS, _write(store, 0, "base", table(base_rows(), schema.STATE)), NOW - DAY, {})
    url = "http://other.example:8080/"
    learned = [
        {"fingerprint": url_fingerprint(url), "url": url, "host": "other.example", "outcome": "success",
         "http_status": 200, "fetched_at": NOW - 60_000, "signature": bytes(16)},
        {"fingerprint": url_fingerprint(f"{url}new"), "url": f"{url}new", "host": "other.example", "inlinks": 1,
         "inlink_score": 0.125, "depth": 2, "discovered_at": NOW - 60_000, "discovered_from": url_fingerprint(url)},
    ]  # fmt: skip
    store.commit_delta(first, "updatedb", _write(store, 1, "delta", table(learned, schema.DELTA)), Policy(), NOW,
                       "20261124T101400Z")  # fmt: skip
    return store


def _write(store: Store, version: int, kind: str, rows: pa.Table) -> dict[int, shards.File]:
    files = {}
    for shard, part in shards.split(rows, SHARDS):
        with shards.Writer(store.fs, store.part_path(version, kind, shard), part.schema) as writer:
            writer.write(part)
        files[shard] = writer.file
    return files


def without_sizes(output: str) -> str:
    """The output without the sizes of Parquet files, which depend on pyarrow's version."""
    return re.sub(r'("bytes":)\d+|(?m:^(bytes +).*)', r"\1\2N", output)


def write_golden_files(directory: Path) -> None:
    """Run every command of COMMANDS and keep its output."""
    program = f"import sys; from crawldb.dump import main; sys.exit(main(sys.argv[1:], {NOW}))"
    with tempfile.TemporaryDirectory() as crawl_dir:
        build(Path(crawl_dir))
        for name, options in COMMANDS.items():
            command = [sys.executable, "-c", program, crawl_dir, *options]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
            (directory / name).write_bytes(without_sizes(output).encode())


if __name__ == "__main__":
    write_golden_files(Path(__file__).parent / "golden")
