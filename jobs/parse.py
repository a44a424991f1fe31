"""parse: a segment's content to text, links and signatures.

map: content chunk → parsed chunk, rows in the same order; no reduce
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawldb import refusals, schema, shards
from crawldb.errors import Interrupted
from crawldb.refusals import Refused
from crawldb.segments import Segment
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.parsing import Document, Outlink, Page, PageParser

_NEEDED = [
    "fingerprint", "url", "host", "depth", "outcome", "redirect_to", "response_headers", "content", "truncated",
    "rendered", "rendered_url",
]  # fmt: skip
_RENDERED_TYPE = "text/html; charset=utf-8"
"""Of the DOM that a browser wrote out, whatever the answer's own type and a meta element in it say."""
_DOCUMENT = (
    "parse_status", "parse_detail", "content_type", "charset", "title", "text", "language", "language_by",
    "description", "published_at", "modified_at", "metadata", "json_ld", "main_text", "canonical_url", "canonical",
    "simhash", "noindex", "nofollow", "signature",
)  # fmt: skip


class Parse(CrawlJob):
    """See the module."""

    def mapper(self, _: None, item: dict[str, Any]) -> Iterator[tuple[None, Record]]:
        run = Run(self.crawl_dir, self.settings, self.context["control"])
        segment = run.segments.at(self.context["segment"])
        task, number = (int(part) for part in item["file"].split("-")[1:3])
        for name, path in segment.finished_parts("parsed", f"part-{task:05d}-{number:04d}-"):
            done = segment.read("parsed", name, ["parse_status", "refused"])
            if done.num_rows == item["rows"]:
                # Of what an earlier attempt refused, the file knows how many links they were.
                links = pc.sum(done["refused"]).as_py() or 0
                refused: Refused = Counter({(refusals.OTHERS, "unknown"): links} if links else {})
                yield None, _record(shards.File(name, done.num_rows, segment.fs.size(path)), done, refused)
                return
        content = segment.read("content", item["file"], _NEEDED)
        parsed, refused = parse_chunk(content, PageParser(self.settings))
        path = segment.part_path("parsed", task, number)
        with shards.Writer(segment.fs, path, schema.PARSED, row_group=max(parsed.num_rows, 1)) as writer:
            writer.write(parsed)
        self.progress(1).update(1)
        yield None, _record(writer.file, parsed, refused)


def _record(file: shards.File, parsed: pa.Table, refused: Refused) -> Record:
    statuses = parsed["parse_status"].value_counts().to_pylist()
    links = parsed["outlinks"].combine_chunks().flatten() if "outlinks" in parsed.column_names else []
    return {
        "file": file.to_dict(),
        "parsed": {status["values"]: status["counts"] for status in statuses if status["values"]},
        "refused_by_host": refusals.by_host(refused),
        "links": {"kept": len(links)},
    }


def parse_chunk(content: pa.Table, page_parser: PageParser) -> tuple[pa.Table, Refused]:
    """Rows of schema.PARSED for rows of schema.CONTENT, and how many links were refused, by host and reason."""
    refused: Refused = Counter()
    documents: list[Document | None] = []
    outlinks: list[list[Outlink]] = []
    left_out: list[int | None] = []
    rows = zip(*(content[name].to_pylist() for name in _NEEDED if name != "response_headers"), strict=True)
    for row, headers in zip(rows, _header_lists(content["response_headers"]), strict=True):
        if control.STOP.is_set():
            raise Interrupted(15)
        _, url, host, depth, outcome, redirect_to, body, truncated, rendered, rendered_url = row
        document: Document | None = None
        links: list[Outlink] = []
        why: Refused = Counter()
        if outcome == "success" and body is not None:
            if rendered is None:
                content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
            else:
                body, content_type = rendered, _RENDERED_TYPE
            page = Page(url, host, depth, body, content_type, headers, truncated is not None, rendered_url)
            document = page_parser.parse(page)
            links, why = document.outlinks, document.refused
        elif redirect_to is not None:
            links, why = page_parser.redirect(url, host, depth, redirect_to)
        documents.append(document)
        outlinks.append(links)
        left_out.append(why.total() or None)
        refused.update(why)
    columns: dict[str, Any] = {
        "fingerprint": content["fingerprint"],
        "refused": pa.array(left_out, pa.int32()),
        "outlinks": _outlink_column(outlinks),
    }
    for name in _DOCUMENT:
        field = schema.PARSED.field(name)
        values = [None if document is None else getattr(document, name) for document in documents]
        if pa.types.is_dictionary(field.type):
            columns[name] = pa.array(values, pa.string()).dictionary_encode()
        elif field.type == schema.TIME:
            columns[name] = pa.array(values, pa.int64()).cast(schema.TIME)
        elif field.type == schema.METADATA:
            columns[name] = pa.array([value and list(value.items()) for value in values], schema.METADATA)
        else:
            columns[name] = pa.array(values, field.type)
    return pa.table({name: columns[name] for name in schema.PARSED.names}, schema.PARSED), refused


def _header_lists(column: pa.ChunkedArray) -> Iterator[list[tuple[str, str]]]:
    """Each answer's header fields, taken from the flat columns rather than from a Python object each."""
    for chunk in column.chunks:
        bounds = chunk.offsets.to_pylist()
        first = bounds[0]
        fields = chunk.flatten()
        pairs = list(zip(fields.field("name").to_pylist(), fields.field("value").to_pylist(), strict=True))
        for start, end in itertools.pairwise(bounds):
            yield pairs[start - first : end - first]


def _outlink_column(outlinks: list[list[Outlink]]) -> pa.ListArray:
    links = [link for page in outlinks for link in page]
    bounds = pa.array(np.cumsum([0, *(len(page) for page in outlinks)]), pa.int32())
    columns = list(zip(*links, strict=True)) if links else [()] * len(schema.OUTLINK)
    arrays = [pa.array(column, schema.OUTLINK.field(place).type) for place, column in enumerate(columns)]
    return pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(arrays, fields=list(schema.OUTLINK)))


def run(run: Run, segment: Segment) -> int:
    """Parse a fetched segment. If it is parsed already, nothing happens."""
    watch = Stopwatch()
    if segment.is_complete("parsed"):
        say(f"parse     {segment.name}: already parsed, nothing to do")
        return 0
    items = [{"file": file.name, "rows": file.rows} for file in segment.files("content")]
    records = run.job(Parse, items, {"segment": segment.name}, "parse", "chunks") if items else []
    files = [shards.File.from_dict(record["file"]) for record in records]
    totals = {key: dict(add_up(records, key)) for key in ("parsed", "links")}
    by_host = refusals.added(record["refused_by_host"] for record in records)
    by_reason = dict(refusals.by_reason(by_host))
    told = {**totals, "refused": by_reason, "refused_by_host": refusals.by_host(by_host)}
    segment.commit("parsed", files, run.now(), told)
    refused = f", refused: {counts(by_reason)}" if by_reason else ""
    parsed = f" ({counts(totals['parsed'])})" if totals["parsed"] else ""
    say(
        f"parse     {segment.name}: {sum(file.rows for file in files):,} answers{parsed}, "
        f"{totals['links'].get('kept', 0):,} links{refused} {watch}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """`cobnut parse CRAWL_DIR [SEGMENT]`"""
    return segment_command("parse", "Parse a fetched segment: text, links, signatures.", run, argv)


if __name__ == "__main__":
    from jobs import cli

    sys.exit(cli.main(["parse", *sys.argv[1:]]))
