"""What is archived comes back: any row of content, robots.txt or left request, through bytes on a disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from crawldb import hosts as hostdb
from crawldb import schema
from crawldb.filesystem import LocalFileSystem
from crawldb.fingerprint import fingerprint
from crawldb.schema import FetchOutcome
from crawldb.settings import Settings
from jobs.archiving import cdxj, rows
from jobs.archiving.pages import ArchivedPage, ArchivedRobots, Left, Reader
from jobs.archiving.records import WarcFile, compressor
from jobs.fetch import table_of
from jobs.warc import _at_row, fetchlist_of

AT = 1_795_516_500_123
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.one_of(st.sampled_from(["Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "ETag",
                                   "X-Crawl-Content-Length", "x-crawl-content-encoding"]), TEXT)  # fmt: skip
FIELDS = st.lists(st.fixed_dictionaries({"name": NAMES, "value": st.one_of(TEXT, st.sampled_from(["0", "5", "gzip"]))}),
                  max_size=5)  # fmt: skip
TIMES = st.integers(0, 4_000_000_000_000)
SMALL = st.integers(0, 1 << 30)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A row of schema.CONTENT as an engine may leave it."""
    outcome = draw(st.sampled_from([one.name for one in FetchOutcome]))
    url = f"http{draw(st.sampled_from(['', 's']))}://a.example:8080/{draw(st.integers(0, 9))}?q=1"
    status = draw(st.integers(200, 599)) if outcome == "success" else draw(maybe(st.integers(100, 599)))
    status = 304 if outcome == "notmodified" else status
    content = draw(st.binary(max_size=60)) if outcome == "success" else None
    method = draw(maybe(st.sampled_from(["POST", "HEAD"])))
    body = draw(maybe(st.binary(min_size=1, max_size=20))) if method else None
    values: dict[str, Any] = {one.name: None for one in schema.CONTENT}
    values |= {
        "fingerprint": draw(st.sampled_from([fingerprint(url, method, body), b"\0" * 20])), "url": url, "host": "a.example",
        "method": method, "body": body, "headers": draw(maybe(st.dictionaries(TEXT, TEXT, min_size=1, max_size=2))),
        "metadata": draw(maybe(st.dictionaries(TEXT, TEXT, min_size=1, max_size=2))),
        "score": draw(st.floats(0, 9, width=32)), "depth": draw(maybe(st.integers(0, 99))),
        "priority": draw(maybe(st.integers(-9, 9))), "outcome": outcome, "http_status": status, "content": content,
        "content_bytes": None if content is None else len(content), "fetched_at": draw(TIMES), "elapsed": draw(SMALL),
        "response_headers": draw(FIELDS) if status is not None else [], "retry_after": draw(maybe(TIMES)),
        "request_headers": draw(maybe(FIELDS)) if status is not None else None, "reason": draw(maybe(TEXT)),
        "detail": draw(maybe(TEXT)), "etag": draw(maybe(TEXT)), "last_modified": draw(maybe(TEXT)),
        "redirect_to": draw(maybe(TEXT)), "protocol": draw(maybe(st.sampled_from(["http/1.0", "http/1.1", "h2"]))),
        "tls": draw(maybe(st.sampled_from(["verified", "unverified"]))), "dns_time": draw(maybe(SMALL)),
        "first_byte_time": draw(maybe(SMALL)), "ip_address": draw(maybe(st.sampled_from(["192.0.2.1", "2001:db8::1"]))),
        "truncated": draw(maybe(st.sampled_from(sorted(rows.TRUNCATED)))) if content is not None else None,
        "rendered": draw(maybe(st.binary(max_size=20))) if content is not None else None,
        "rendered_url": draw(maybe(TEXT)) if content is not None else None,
        "discovered_from": draw(maybe(st.binary(min_size=20, max_size=20))),
    }  # fmt: skip
    for name in ("headers", "metadata"):
        values[name] = values[name] and list(values[name].items())
    return values


def table(values: list[dict[str, Any]], wanted: pa.Schema) -> pa.Table:
    arrays = []
    for one in wanted:
        column = [row[one.name] for row in values]
        if pa.types.is_dictionary(one.type):
            arrays.append(pa.array(column, pa.string()).dictionary_encode())
        elif one.type == schema.TIME:
            arrays.append(pa.array(column, pa.int64()).cast(schema.TIME))
        else:
            arrays.append(pa.array(column, one.type))
    return pa.Table.from_arrays(arrays, schema=wanted)


def archive(path: Path, gzip: bool = True, level: int = 2) -> tuple[WarcFile, rows.Archive]:
    path.unlink(missing_ok=True)
    file = WarcFile(LocalFileSystem(), str(path), compressor(level) if gzip else None)
    origin = rows.Origin(
        "20261124T101500Z", "20261124T101500Z/content/part-0", AT, "bot/1.0", [("User-Agent", "bot/1.0")]
    )
    one = rows.Archive(file, path.name, origin)
    one.info(0)
    return file, one


def write(path: Path, content: pa.Table, gzip: bool = True, level: int = 2) -> rows.Archive:
    file, one = archive(path, gzip, level)
    with file:
        for number, row in enumerate(rows.dicts(content)):
            one.page(number, row)
        file.publish()
    return one


def read(path: Path) -> pa.Table:
    found = list(Reader(str(path), Settings()).pages())
    pages = [one for one in found if isinstance(one, ArchivedPage)]
    assert len(pages) == len(found), found
    results = [_at_row(one.result, row) for row, one in enumerate(pages)]
    return table_of(results, fetchlist_of(results, [one.lineage for one in pages]))


def plain(content: pa.Table) -> list[dict[str, Any]]:
    return list(rows.dicts(content))


@given(st.lists(contents(), min_size=1, max_size=4), st.booleans(), st.sampled_from([1, 2, 6]))
@settings(max_examples=100)
def test_any_row_comes_back_as_it_was(
    tmp_path_factory: Any, values: list[dict[str, Any]], gzip: bool, level: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.warc.gz"
    content = table(values, schema.CONTENT)
    written = write(path, content, gzip, level)
    assert plain(read(path)) == plain(content)
    # And anybody else reads the same records, with digests that fit.
    checked = 0
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, check_digests="raise"):
            record.raw_stream.read()
            checked += 1
    assert checked == written.records


@given(contents(), contents())
@settings(max_examples=20)
def test_the_same_row_has_the_same_bytes(tmp_path_factory: Any, first: dict[str, Any], second: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "same.warc.gz"
    content = table([first, second], schema.CONTENT)
    write(path, content)
    before = path.read_bytes()
    write(path, content)
    assert path.read_bytes() == before
    ids = [value for record in records_by_warcio(path) for value in [record.rec_headers["WARC-Record-ID"]]]
    assert len(set(ids)) == len(ids)


def records_by_warcio(path: Path) -> list[Any]:
    found = []
    with open(path, "rb") as file:
        for record in ArchiveIterator(file):
            record.body = record.content_stream().read()
            found.append(record)
    return found


def page(url: str, **values: Any) -> dict[str, Any]:
    """A plain success."""
    row: dict[str, Any] = {one.name: None for one in schema.CONTENT}
    row |= {"fingerprint": fingerprint(url), "url": url, "host": "a.example", "score": 1.0, "outcome": "success",
            "http_status": 200, "fetched_at": AT, "elapsed": 5, "content": b"<p>hi", "protocol": "http/1.1",
            "response_headers": [{"name": "Content-Type", "value": "text/html"}]} | values  # fmt: skip
    row["content_bytes"] = None if row["content"] is None else len(row["content"])
    return row


def test_what_others_see(tmp_path: Path) -> None:
    """Types, profiles and fields by ISO 28500, as warcio reads them."""
    coded = [{"name": "Content-Encoding", "value": "gzip"}, {"name": "Content-Length", "value": "17"},
             {"name": "Set-Cookie", "value": "a=ä"}]  # fmt: skip
    values = [
        page("https://a.example/", response_headers=coded, protocol="h2", ip_address="192.0.2.1"),
        page("https://a.example/same"),
        page("https://a.example/304", outcome="notmodified", http_status=304, content=None),
        page("https://a.example/cut", content=b"half", truncated="bytes", rendered=b"<b>whole", method="POST", body=b"q=1"),
        page("https://a.example/404", outcome="gone", http_status=404, content=None,
             response_headers=[{"name": "Content-Length", "value": "300"}]),
        page("https://a.example/dns", outcome="retry", http_status=None, content=None, response_headers=[], reason="dns"),
    ]  # fmt: skip
    written = write(tmp_path / "x.warc.gz", table(values, schema.CONTENT))
    found = records_by_warcio(tmp_path / "x.warc.gz")
    kinds = [record.rec_type for record in found]
    exchange = ["response", "request", "metadata"]
    again = ["revisit", "request", "metadata"]
    assert kinds == ["warcinfo", *exchange, *again, *again, "response", "request", "conversion", "metadata", *exchange,
                     "metadata"]  # fmt: skip
    first, request = found[1], found[2]
    assert first.body == b"<p>hi"
    assert first.http_headers.headers == [
        ("X-Crawl-Content-Encoding", "gzip"), ("X-Crawl-Content-Length", "17"), ("Set-Cookie", "a=ä"), ("Content-Length", "5"),
    ]  # fmt: skip
    heads = {record.rec_headers["WARC-Target-URI"] + " " + record.rec_type: record.rec_headers for record in found[1:]}
    about = heads["https://a.example/ response"]
    assert (about["WARC-Protocol"], about["WARC-IP-Address"]) == ("h2", "192.0.2.1")
    assert about["WARC-Date"] == "2026-11-24T10:35:00.123Z"
    assert request.http_headers.headers == [("Host", "a.example"), ("User-Agent", "bot/1.0")]
    assert request.rec_headers["X-Cobnut-Request"] == "rebuilt"
    assert request.rec_headers["WARC-Concurrent-To"] == about["WARC-Record-ID"]
    same = heads["https://a.example/same revisit"]
    assert same["WARC-Profile"] == "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
    assert same["WARC-Refers-To"] == about["WARC-Record-ID"]
    assert same["WARC-Payload-Digest"] == about["WARC-Payload-Digest"]
    unmodified = heads["https://a.example/304 revisit"]
    assert unmodified["WARC-Profile"] == "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
    assert heads["https://a.example/cut response"]["WARC-Truncated"] == "length"
    assert heads["https://a.example/404 response"]["WARC-Truncated"] == "unspecified"
    assert next(r.body for r in found if r.rec_type == "conversion") == b"<b>whole"
    assert plain(read(tmp_path / "x.warc.gz")) == plain(table(values, schema.CONTENT))

    # The index names each answer's place.
    data = (tmp_path / "x.warc.gz").read_bytes()
    assert len(written.lines) == 5
    for line in written.lines:
        key, time, entry = cdxj.read(line)
        piece = data[int(entry["offset"]) :][: int(entry["length"])]
        (record,) = ArchiveIterator(io.BytesIO(piece))
        assert record.rec_headers["WARC-Target-URI"] == entry["url"]
        assert key.startswith("example,a)/")
        assert time == "20261124103500"
        assert entry["filename"] == "x.warc.gz"
        assert entry["mime"] == ("warc/revisit" if record.rec_type == "revisit" else entry["mime"])
    assert cdxj.read(written.lines[3])[0] == "example,a)/cut?__wb_method=post&q=1"


def test_robots_and_what_was_left_come_back(tmp_path: Path) -> None:
    known = [
        (
            "https://a.example",
            "https://a.example/robots.txt",
            AT,
            200,
            b"User-agent: *\nDisallow: /x",
            False,
            None,
            None,
            2.5,
        ),
        ("https://b.example", "https://c.example/robots.txt", AT, 404, None, False, None, None, None),
        ("https://d.example", "https://d.example/robots.txt", AT + 1, None, None, False, AT - 5, None, None),
        ("https://e.example", "https://e.example/robots.txt", AT + 2, 200, b"", True, None, None, None),
    ]
    hostlist = hostdb.learned(known)
    left = page("https://a.example/later")
    file, one = archive(tmp_path / "r.warc")
    with file:
        for number, row in enumerate(rows.dicts(hostlist)):
            one.robots(number, row)
        one.left(9, {name: left[name] for name in schema.FETCHLIST.names})
        file.publish()
    found = list(Reader(str(tmp_path / "r.warc"), Settings()).pages())
    back = [(*robots.known, None, robots.crawl_delay) for robots in found if isinstance(robots, ArchivedRobots)]
    assert hostdb.learned(back) == hostlist
    assert [one.fingerprint for one in found if isinstance(one, Left)] == [left["fingerprint"]]
    assert len(found) == 5
    assert sorted(cdxj.read(line)[2]["status"] for line in one.lines) == ["200", "200", "404"]


def test_a_page_is_read_at_its_place(tmp_path: Path) -> None:
    """Also a revisit whose content stands elsewhere in the file."""
    values = [page("https://a.example/1"), page("https://a.example/2"), page("https://a.example/3", content=b"else")]
    write(tmp_path / "p.warc.gz", table(values, schema.CONTENT))
    reader = Reader(str(tmp_path / "p.warc.gz"), Settings())
    for found in list(reader.pages()):
        assert isinstance(found, ArchivedPage)
        again = Reader(reader.path, Settings()).at(found.place, reader.about)
        assert isinstance(again, ArchivedPage)
        assert again.result == found.result


def test_an_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    file, one = archive(tmp_path / "u.warc")
    row = next(rows.dicts(table([page("https://a.example/")], schema.CONTENT)))

    def fail() -> None:
        with file:
            one.page(0, row)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
