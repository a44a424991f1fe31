"""Content chunks: when they close, what survives of a killed attempt, what two attempts at once come to."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawldb import schema, shards
from crawldb.fingerprint import url_fingerprint
from crawldb.schema import FetchOutcome
from crawldb.segments import Segment, Segments
from crawldb.settings import FetchSettings
from jobs.fetch import Adopted, Chunks, binary_column, requests_of, table_of
from jobs.fetching import FetchResult


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    return Segments(str(tmp_path)).begin(1_000_000, 0)


def fetchlist(rows: int) -> pa.Table:
    urls = [f"http://h{row % 3}.example/{row}" for row in range(rows)]
    columns: dict[str, Any] = {
        "fingerprint": pa.array([url_fingerprint(url) for url in urls], schema.FINGERPRINT),
        "url": urls,
        "host": pa.array([url.split("/")[2] for url in urls]).dictionary_encode(),
        "score": pa.array([row / 8 for row in range(rows)], pa.float32()),
        "depth": pa.array([row % 5 for row in range(rows)], pa.int16()),
        "headers": pa.array([[("Accept", "a/b")] if row == 1 else None for row in range(rows)], schema.METADATA),
        "metadata": pa.array([[("n", str(row))] for row in range(rows)], schema.METADATA),
    }
    arrays = [columns.get(field.name, pa.nulls(rows, field.type)) for field in schema.FETCHLIST]
    return pa.Table.from_arrays(arrays, schema=schema.FETCHLIST)


def results(table: pa.Table) -> Iterator[FetchResult]:
    for request in requests_of(table, np.arange(table.num_rows)):
        yield FetchResult(
            request, FetchOutcome(request.row % 7), 200, None if request.row % 2 else "why", None, 1_000_000, 12,
            response_headers=[("Content-Type", "text/html"), ("X", str(request.row))] * (request.row % 3),
            content=b"x" * request.row,
        )  # fmt: skip


def settings(**changes: Any) -> FetchSettings:
    return FetchSettings(**changes)


def test_rows_carry_what_their_requests_had(segment: Segment) -> None:
    table = fetchlist(20)
    rows = table_of(list(results(table)), table)
    assert rows.schema.equals(schema.CONTENT)
    for row, listed in zip(rows.to_pylist(), table.to_pylist(), strict=True):
        number = int(dict(listed["metadata"])["n"])
        assert all(row[name] == listed[name] for name in ("fingerprint", "url", "host", "headers", "score", "depth"))
        assert row["outcome"] == FetchOutcome(number % 7).name
        assert row["content"] == b"x" * number
        assert len(row["response_headers"]) == 2 * (number % 3)
        assert row["reason"] == (None if number % 2 else "why")


@given(st.lists(st.none() | st.binary(max_size=20)))
def test_a_binary_column_is_what_arrow_makes_of_it(values: list[bytes | None]) -> None:
    column = binary_column(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.binary()))
    assert column.null_count == values.count(None)


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [({"chunk_rows": 4}, [4, 4, 2]), ({"chunk_bytes": 6000}, [3, 3, 3, 1]), ({}, [10])],
)
def test_chunks_close_by_rows_and_bytes(segment: Segment, changes: dict[str, Any], sizes: list[int]) -> None:
    table = fetchlist(10)
    with Chunks(segment, 0, 0, table, settings(**changes)) as chunks:
        for result in results(table):
            chunks.add(result)
    assert [file.rows for file in chunks.files] == sizes
    assert sum(chunks.outcomes.values()) == 10
    assert chunks.reasons == {"why": 5}


def test_a_chunk_closes_by_itself_when_it_is_old(segment: Segment) -> None:
    table = fetchlist(3)
    with Chunks(segment, 0, 0, table, settings(chunk_seconds=0.2)) as chunks:
        chunks.add(next(results(table)))
        waited = threading.Event()
        for _ in range(200):
            if chunks.files or waited.wait(0.05):
                break
        assert [file.rows for file in chunks.files] == [1]


def test_a_full_disk_stops_the_fetch(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fetchlist(6)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.Writer, "write", full)

    def fetch() -> None:
        with Chunks(segment, 0, 0, table, settings(chunk_rows=2)) as chunks:
            for result in results(table):
                chunks.add(result)

    with pytest.raises(OSError, match="No space left"):
        fetch()
    assert list(segment.finished_parts("content", "")) == []


def test_a_later_attempt_adopts_finished_chunks_and_numbers_on(segment: Segment) -> None:
    table = fetchlist(10)
    with Chunks(segment, 3, 0, table, settings(chunk_rows=4)) as first:
        for result in results(table):
            first.add(result)
    other = Adopted(segment, 2)
    assert (other.files, other.next_number, len(other.fingerprints)) == ([], 0, 0)
    adopted = Adopted(segment, 3)
    assert adopted.files == first.files
    assert adopted.next_number == 3
    assert adopted.outcomes == first.outcomes
    assert shards.contains(adopted.fingerprints, shards.key_bytes(table["fingerprint"])).all()


def test_of_two_attempts_at_once_nothing_is_adopted_twice(segment: Segment) -> None:
    table = fetchlist(10)
    for rows in (range(6), range(4, 10)):  # rows 4 and 5 were fetched by both
        with Chunks(segment, 0, 0, table, settings(chunk_rows=3)) as chunks:
            for row, result in enumerate(results(table)):
                if row in rows:
                    chunks.add(result)
    adopted = Adopted(segment, 0)
    keys = [bytes(key) for key in adopted.fingerprints]
    assert len(keys) == len(set(keys)) == sum(file.rows for file in adopted.files)
    assert len(keys) >= 6
