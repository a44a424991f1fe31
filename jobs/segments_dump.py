"""segments dump: what is in a segment: its requests, its answers, its parsed pages; all of them or one URL's.

Owns which rows and columns are meant; how they are written is `crawldb.formats`'s business. No job: it reads a chunk
after the other and holds one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crawldb import conditions, formats, schema, shards, where
from crawldb.errors import CobnutError, UsageError
from crawldb.fingerprint import url_fingerprint
from crawldb.output import abandon_stdout, output
from crawldb.segments import SCHEMAS, Segment
from crawldb.store import now_ms
from crawldb.urls import canonicalize
from jobs.command import Run, parser, say

BODIES = ("content", "rendered")
"""Columns that are shown only if they are named."""

TABLE_COLUMNS = {
    "fetchlist": ("url", "depth", "score"),
    "content": ("url", "outcome", "http_status", "reason", "content_bytes", "elapsed", "fetched_at"),
    "parsed": ("fingerprint", "parse_status", "content_type", "language", "title"),
    "pages": ("url", "outcome", "http_status", "reason", "content_bytes", "parse_status", "title"),
}
"""What --format table shows unless --columns says otherwise."""

_PARSED = {
    name: name if name not in schema.CONTENT.names else f"parsed_{name}"
    for name in schema.PARSED.names
    if name != "fingerprint"
}
"""The columns of `parsed` beside those of `content`: two have the same name."""

PAGES = pa.schema([*schema.CONTENT, *(schema.PARSED.field(name).with_name(shown) for name, shown in _PARSED.items())])
"""An answer and what was parsed of it."""


def _schema_of(dataset: str) -> pa.Schema:
    return PAGES if dataset == "pages" else SCHEMAS[dataset]


def dataset_of(segment: Segment, named: str | None) -> str:
    """The dataset that is meant: if none is named, the most that there is of it. UsageError if it is not complete."""
    if named is None:
        complete = [name for name in ("fetchlist", "content", "parsed") if segment.is_complete(name)]
        return "pages" if complete[-1:] == ["parsed"] else complete[-1] if complete else "fetchlist"
    segment.manifest(named)
    return named


def _chunks(segment: Segment, dataset: str) -> list[str]:
    """The names of the files that its rows come in; of PAGES, those of the content."""
    return [file.name for file in segment.files("content" if dataset == "pages" else dataset)]


def tables(segment: Segment, dataset: str, columns: Sequence[str], chunks: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of some chunks of a dataset, or of PAGES, one at a time."""
    if dataset != "pages":
        for name in chunks:
            yield segment.read(dataset, name, columns).select(columns)
        return
    parsed = {file.name.rpartition("-")[0]: file.name for file in segment.files("parsed")}
    of_parsed = {name: shown for name, shown in _PARSED.items() if shown in columns}
    of_content = [name for name in schema.CONTENT.names if name in columns] or ["fingerprint"]
    for chunk in chunks:
        table = segment.read("content", chunk, of_content)
        if of_parsed:
            beside = segment.read("parsed", parsed[chunk.rpartition("-")[0]], list(of_parsed))
            for name, shown in of_parsed.items():
                table = table.append_column(shown, beside[name])
        yield table.select(columns)


def selected(
    segment: Segment, dataset: str, columns: Sequence[str], condition: conditions.Condition | None, key: bytes | None
) -> Iterator[pa.Table]:
    """The rows that are meant, with these columns."""
    whole = _schema_of(dataset)
    deciding = [*(condition.columns if condition else ()), *(["fingerprint"] if key is not None else ())]
    needed = [name for name in whole.names if name in columns or name in deciding]
    chunks = _chunks(segment, dataset)
    wanted = np.frombuffer(key or b"", np.uint8)
    if key is not None:  # a look at one column spares reading the others of nearly all chunks
        looks = tables(segment, dataset, ["fingerprint"], chunks)
        chunks = [chunk for chunk, look in zip(chunks, looks, strict=True) if _is(look, wanted).any()]
    for table in tables(segment, dataset, needed, chunks):
        if key is not None:
            table = table.filter(pa.array(_is(table, wanted)))
        if condition is not None:
            table = condition.filter(table)
        if table.num_rows:
            yield table.select(columns)


def _is(table: pa.Table, wanted: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows have this fingerprint."""
    same: NDArray[np.bool_] = (shards.key_bytes(table["fingerprint"]) == wanted).all(axis=1)
    return same


def arguments() -> argparse.ArgumentParser:
    """`cobnut segments dump CRAWL_DIR SEGMENT …`"""
    made = parser("segments dump", "Show what is in a segment: of each request its answer and what was parsed of it.")
    add = made.add_argument
    add("segment", metavar="SEGMENT", help="its name, or latest")
    add("--dataset", choices=tuple(SCHEMAS), help="only this part; default: answers and parsed pages side by side")
    add("--url", metavar="URL", help="one request, by any spelling of its URL")
    add("--content", action="store_true", help="with --url: the answer's body, as it came, and nothing else")
    add("--columns", metavar="a,b", help=f"these columns, in this order; default: all but {' and '.join(BODIES)}")
    add("--where", metavar="EXPR", help="rows for which this is true, as in dump.py")
    add("--format", choices=tuple(formats.FORMATS), help="default: jsonl")
    add("-o", dest="output", metavar="FILE", help="write to FILE instead of stdout")
    return made


def run(run: Run, options: argparse.Namespace) -> int:
    """Write what is meant. CobnutError if --url is not in the segment."""
    segment = run.segments.find(_latest(run) if options.segment == "latest" else options.segment)
    key = None if options.url is None else _key(options.url)
    if options.content:
        if key is None:
            raise UsageError("--content shows one answer's body; say whose with --url")
        if options.format or options.columns or options.where or options.dataset:
            raise UsageError("--content goes with --url and -o alone")
        return _write_content(segment, key, options)
    dataset = dataset_of(segment, options.dataset)
    whole = _schema_of(dataset)
    columns = _columns(options, dataset, whole)
    condition = None if options.where is None else where.parse(options.where, now_ms(), whole)
    rows = 0
    kept = pa.schema([whole.field(name) for name in columns])
    try:
        with output(options.output) as (stream, width):
            found = selected(segment, dataset, columns, condition, key)
            rows = formats.FORMATS[options.format or "jsonl"](found, kept, stream, width)
    except BrokenPipeError:
        abandon_stdout()
        return 0
    if not rows and key is not None:
        raise CobnutError(f"{segment.path}: {options.url} is not in {dataset}")
    if not rows:
        say("segments  no row meets the conditions" if condition else f"segments  {segment.name}: {dataset} is empty")
    return 0


def _write_content(segment: Segment, key: bytes, options: argparse.Namespace) -> int:
    segment.manifest("content")
    for table in selected(segment, "content", ["content"], None, key):
        body = table["content"][0].as_py()
        if body is None:
            raise CobnutError(f"{segment.path}: {options.url} was asked for, but there is no content")
        with output(options.output) as (stream, _):
            stream.write(body)
        return 0
    raise CobnutError(f"{segment.path}: {options.url} is not in content")


def _latest(run: Run) -> str:
    committed = run.segments.committed()
    if not committed:
        raise UsageError(f"{run.crawl_dir}: no segments; cobnut generate makes one")
    return committed[-1].name


def _key(url: str) -> bytes:
    canonical = canonicalize(url if "://" in url else f"http://{url}")
    if canonical is None:
        raise UsageError(f"--url {url}: not an http or https URL")
    return url_fingerprint(canonical)


def _columns(options: argparse.Namespace, dataset: str, whole: pa.Schema) -> list[str]:
    if options.columns is None:
        if options.format == "table" and dataset in TABLE_COLUMNS:
            return list(TABLE_COLUMNS[dataset])
        return [name for name in whole.names if name not in BODIES]
    names = [name.strip() for name in options.columns.split(",")]
    for place, name in enumerate(names):
        if name not in whole.names:
            raise UsageError(f"--columns: no column {name!r} in {dataset}{conditions.nearest(name, whole.names)}")
        if name in names[:place]:
            raise UsageError(f"--columns: {name} is named twice")
    return names
