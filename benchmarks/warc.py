"""`python -m benchmarks.warc`: what web archives cost, in pages a CPU second, with pages of 30 KB.

Export and import are whole commands, interpreter start included, on a segment of the benchmark's site, gzip per record;
beside them the same records with warcio alone, in this process.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from benchmarks import bench_site
from benchmarks.measure import cobnut, cost
from crawldb.segments import Segments

SETTINGS = ["--set", "http.agent_name=cobnut-bench", "--set", "fetch.delay=0", "--set", "fetch.max_failures_per_host=0",
            "--set", "fetch.allow_private_addresses=true"]  # fmt: skip


def measure(directory: Path, pages: int, level: int | None) -> list[tuple[str, str]]:
    """(what, figure) of export, import, and both with warcio."""
    log = directory / "log"
    crawl, other, archives = (str(directory / name) for name in ("crawl", "other", "archives"))
    with bench_site.serve(hosts=max(pages // 50, 1), pages=pages) as site:
        for arguments in (["inject", *SETTINGS, crawl, str(site.seeds)], ["generate", *SETTINGS, crawl],
                          ["fetch", *SETTINGS, "--set", "fetch.engine=curl", crawl]):  # fmt: skip
            cost(cobnut(*arguments), log)
    levels = [] if level is None else ["--set", f"warc.compression_level={level}"]
    wrote = cost(cobnut("warc", "export", *SETTINGS, *levels, crawl, "-o", archives), log)
    read = cost(cobnut("warc", "import", *SETTINGS, other, archives), log)
    size = sum(path.stat().st_size for path in Path(archives).glob("*.warc.gz"))
    found = [
        ("warc export, gzip per record", _rate(pages, wrote.cpu)),
        ("warc import", _rate(pages, read.cpu)),
        ("peak memory of either", f"{max(wrote.peak, read.peak):.0f} MB"),
        ("bytes a page in the archive", f"{size / pages:,.0f}"),
    ]
    rows = list(_rows(crawl))
    written = io.BytesIO()
    found.append(("warcio, the response records alone, writing", _rate(pages, _cpu(lambda: _write(written, rows)))))
    written.seek(0)
    found.append(("warcio, the same, reading", _rate(pages, _cpu(lambda: _read(written)))))
    return found


def _rate(pages: int, seconds: float) -> str:
    return f"{pages / seconds:,.0f} pages a CPU second"


def _cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _rows(crawl: str) -> list[dict[str, Any]]:
    (segment,) = Segments(crawl).committed()
    columns = ["url", "response_headers", "content"]
    return [row for file in segment.files("content") for row in segment.read("content", file.name, columns).to_pylist()]


def _write(output: io.BytesIO, rows: Sequence[dict[str, Any]]) -> None:
    writer = WARCWriter(output, gzip=True, warc_version="1.1")
    for row in rows:
        fields = [(one["name"], one["value"]) for one in row["response_headers"]]
        head = StatusAndHeaders("200 OK", fields, protocol="HTTP/1.1")
        body = io.BytesIO(row["content"] or b"")
        writer.write_record(writer.create_warc_record(row["url"], "response", payload=body, http_headers=head))


def _read(source: io.BytesIO) -> None:
    for record in ArchiveIterator(source):
        record.content_stream().read()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warc", description=__doc__)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--level", type=int, help="warc.compression_level")
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="cobnut-bench-"))
    try:
        print("| what | figure |\n|---|---|")
        for row in measure(directory, options.pages, options.level):
            print("| " + " | ".join(row) + " |", flush=True)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
