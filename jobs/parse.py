"""parse: a segment's content to text, links and signatures.

map: content chunk → parsed chunk, rows in the same order; no reduce

Pages are parsed in a process of its own beside the task (`parsing.isolation`), so that one that takes too long or too
much memory, or crashes a parser, is recorded as that and costs nothing else.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawldb import refusals, schema, shards
from crawldb.errors import Interrupted
from crawldb.refusals import Refused
from crawldb.segments import Segment
from crawldb.settings import Settings
from jobs import control
from jobs.base import CrawlJob, Record
from jobs.command import Run, Stopwatch, add_up, counts, say, segment_command
from jobs.parsing import Document, Page, PageParser
from jobs.parsing.isolation import CAN_LIMIT_MEMORY, MEMORY, Isolation

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


class Parsed(NamedTuple):
    """A Document as it travels between the processes: plain values, the links by column, which is cheap to pickle."""

    values: tuple[Any, ...]
    """In the order of _DOCUMENT."""
    links: tuple[tuple[Any, ...], ...]
    """The columns of schema.OUTLINK; none at all for no links."""
    refused: dict[tuple[str, str], int]


ParsePages = Callable[[Sequence[Page]], Iterable[Parsed]]


class Parse(CrawlJob):
    """See the module."""

    _parser: PageParser | None = None
    _isolation: Isolation[Page, Parsed] | None = None

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
        progress = self.progress(1)
        try:
            parsed, refused = self._parse(segment, item["file"], progress)
        except BaseException:
            self._end()  # without waiting for who may look at the traceback
            raise
        path = segment.part_path("parsed", task, number)
        with shards.Writer(segment.fs, path, schema.PARSED, row_group=max(parsed.num_rows, 1)) as writer:
            writer.write(parsed)
        progress.update(1)
        yield None, _record(writer.file, parsed, refused)

    def mapper_final(self) -> Iterator[tuple[None, Record]]:
        """The process for pages ends with the task."""
        self._end()
        yield from ()

    def _parse(self, segment: Segment, name: str, progress: control.Progress) -> tuple[pa.Table, Refused]:
        if self._parser is None:
            self._parser = PageParser(self.settings)
            self._isolation = isolated(self._parser, self.settings)
        if self._isolation is not None:
            self._isolation.start()  # before there are pages in memory
        content = segment.read("content", name, _NEEDED)
        if self._isolation is None:
            return parse_chunk(content, self._parser)

        def beat() -> None:
            _stop_if_asked()
            progress.update(0)  # a chunk of slow pages is no dead task

        isolation = self._isolation
        return parse_chunk(content, self._parser, lambda pages: isolation.map(pages, beat))

    def _end(self) -> None:
        if self._isolation is not None:
            self._isolation.close()


def isolated(page_parser: PageParser, settings: Settings) -> Isolation[Page, Parsed] | None:
    """The process that pages are parsed in, or None where they have no limits to keep to."""
    if not settings.parse.timeout and not settings.parse.max_memory:
        return None

    def parse(page: Page) -> Parsed:
        document = page_parser.parse(page)
        if document.parse_detail == MEMORY:
            raise MemoryError  # what it left behind must not be the next page's undoing
        return _flat(document)

    return Isolation(
        parse, lambda page, detail: _flat(page_parser.failed(page, detail)), lambda page: len(page.content),
        settings.parse.timeout, settings.parse.max_memory,
    )  # fmt: skip


def _flat(document: Document) -> Parsed:
    values = tuple([getattr(document, name) for name in _DOCUMENT])
    return Parsed(values, tuple(zip(*document.outlinks, strict=True)), dict(document.refused))


def _record(file: shards.File, parsed: pa.Table, refused: Refused) -> Record:
    statuses = parsed["parse_status"].value_counts().to_pylist()
    links = parsed["outlinks"].combine_chunks().flatten() if "outlinks" in parsed.column_names else []
    return {
        "file": file.to_dict(),
        "parsed": {status["values"]: status["counts"] for status in statuses if status["values"]},
        "refused_by_host": refusals.by_host(refused),
        "links": {"kept": len(links)},
    }


def parse_chunk(
    content: pa.Table, page_parser: PageParser, parse_pages: ParsePages | None = None
) -> tuple[pa.Table, Refused]:
    """Rows of schema.PARSED for rows of schema.CONTENT, and how many links were refused, by host and reason.

    Without `parse_pages`, the pages are parsed here and now.
    """
    refused: Refused = Counter()
    pages: list[Page] = []
    places: list[int] = []
    results: list[Parsed] = []
    rows = zip(*(content[name].to_pylist() for name in _NEEDED if name != "response_headers"), strict=True)
    for row, headers in zip(rows, _header_lists(content["response_headers"]), strict=True):
        _, url, host, depth, outcome, redirect_to, body, truncated, rendered, rendered_url = row
        result = _NOTHING
        if outcome == "success" and body is not None:
            if rendered is None:
                content_type = next((value for name, value in headers if name.lower() == "content-type"), None)
            else:
                body, content_type = rendered, _RENDERED_TYPE
            places.append(len(results))
            pages.append(Page(url, host, depth, body, content_type, headers, truncated is not None, rendered_url))
        elif redirect_to is not None:
            links, why = page_parser.redirect(url, host, depth, redirect_to)
            result = Parsed(_NOTHING.values, tuple(zip(*links, strict=True)), dict(why))
        results.append(result)
    parsed = (parse_pages or (lambda pages: _parse_here(pages, page_parser)))(pages)
    for place, result in zip(places, parsed, strict=True):
        results[place] = result
    for result in results:
        refused.update(result.refused)
    columns: dict[str, Any] = {
        "fingerprint": content["fingerprint"],
        "refused": pa.array([sum(result.refused.values()) or None for result in results], pa.int32()),
        "outlinks": _outlink_column([result.links for result in results]),
    }
    for name, values in zip(_DOCUMENT, zip(*(result.values for result in results), strict=True), strict=False):
        field = schema.PARSED.field(name)
        if pa.types.is_dictionary(field.type):
            columns[name] = pa.array(values, pa.string()).dictionary_encode()
        elif field.type == schema.TIME:
            columns[name] = pa.array(values, pa.int64()).cast(schema.TIME)
        elif field.type == schema.METADATA:
            columns[name] = pa.array([value and list(value.items()) for value in values], schema.METADATA)
        else:
            columns[name] = pa.array(values, field.type)
    if not results:
        return schema.PARSED.empty_table(), refused
    return pa.table({name: columns[name] for name in schema.PARSED.names}, schema.PARSED), refused


_NOTHING = Parsed((None,) * len(_DOCUMENT), (), {})
"""Of a row without anything to parse."""


def _parse_here(pages: Iterable[Page], page_parser: PageParser) -> Iterator[Parsed]:
    for page in pages:
        _stop_if_asked()
        yield _flat(page_parser.parse(page))


def _stop_if_asked() -> None:
    control.raise_if_interrupted()  # in the command's own process, which knows the signal
    if control.STOP.is_set():
        raise Interrupted(15)


def _header_lists(column: pa.ChunkedArray) -> Iterator[list[tuple[str, str]]]:
    """Each answer's header fields, taken from the flat columns rather than from a Python object each."""
    for chunk in column.chunks:
        bounds = chunk.offsets.to_pylist()
        first = bounds[0]
        fields = chunk.flatten()
        pairs = list(zip(fields.field("name").to_pylist(), fields.field("value").to_pylist(), strict=True))
        for start, end in itertools.pairwise(bounds):
            yield pairs[start - first : end - first]


def _outlink_column(links: list[tuple[tuple[Any, ...], ...]]) -> pa.ListArray:
    """Of each page's links by column."""
    bounds = pa.array(np.cumsum([0, *(len(page[0]) if page else 0 for page in links)]), pa.int32())
    some = [page for page in links if page]
    arrays = [
        pa.array(list(itertools.chain.from_iterable(page[place] for page in some)), field.type)
        for place, field in enumerate(schema.OUTLINK)
    ]
    return pa.ListArray.from_arrays(bounds, pa.StructArray.from_arrays(arrays, fields=list(schema.OUTLINK)))


def run(run: Run, segment: Segment) -> int:
    """Parse a fetched segment. If it is parsed already, nothing happens."""
    watch = Stopwatch()
    if segment.is_complete("parsed"):
        say(f"parse     {segment.name}: already parsed, nothing to do")
        return 0
    PageParser(run.settings)  # a setting that is wrong is the user's to hear of, not a task's
    if run.settings.parse.max_memory and not CAN_LIMIT_MEMORY:
        say("parse     parse.max_memory: this system knows no such limit; pages are parsed without it")
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
