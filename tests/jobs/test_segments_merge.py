"""Which answers a merge of segments drops, and how it cuts what is left."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from crawldb import schema
from crawldb.settings import FetchSettings
from jobs.segments_merge import Chunk, planned, superseded
from tests.crawldb.tables import key

_answers = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 1, 2]), st.integers(0, 2)), max_size=20)


@given(_answers)
def test_of_each_request_the_newest_answer_stays(answers: list[tuple[int, int | None, int]]) -> None:
    """Of the same time that of a later chunk, then of a later row."""
    table = pa.table({
        "fingerprint": pa.array([key(request) for request, _, _ in answers], schema.FINGERPRINT),
        "fetched_at": pa.array([time for _, time, _ in answers], pa.int64()).cast(schema.TIME),
        "chunk": pa.array([chunk for _, _, chunk in answers], pa.int32()),
        "row": pa.array(range(len(answers)), pa.int32()),
    })  # fmt: skip
    newest = {}
    for row, (request, time, chunk) in enumerate(answers):
        newest[request] = max(newest.get(request, (-1, -1, -1)), (time or 0, chunk, row))
    dropped = set(superseded(table).tolist())
    assert set(range(len(answers))) - dropped == {row for _, _, row in newest.values()}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1000)), max_size=8), st.integers(0, 6),
    st.integers(1, 7), st.integers(1, 3000),
)  # fmt: skip
def test_the_new_segments_hold_what_is_left_in_order(
    sizes: list[tuple[int, int, int]], slice_rows: int, chunk_rows: int, chunk_bytes: int
) -> None:
    chunks = [Chunk("s", "c", "p", rows + dropped, size) for rows, dropped, size in sizes]
    left = [rows for rows, _, _ in sizes]
    made = planned(chunks, left, slice_rows, FetchSettings(chunk_rows=chunk_rows, chunk_bytes=chunk_bytes))
    parts = [part for segment in made for chunk in segment for part in chunk]
    rows = [(part.chunk, row) for part in parts for row in range(part.first, part.last)]
    assert rows == [(chunk, row) for chunk, number in enumerate(left) for row in range(number)]
    assert all(part.last > part.first for part in parts)
    for segment in made:
        of_segment = [sum(part.last - part.first for part in chunk) for chunk in segment]
        assert all(len(chunk) == 1 or number <= chunk_rows for chunk, number in zip(segment, of_segment, strict=True))
        if slice_rows:
            assert sum(of_segment) == slice_rows or segment is made[-1]
    assert len(made) == 1 or (slice_rows and all(made))
