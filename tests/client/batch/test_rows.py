"""Chunks of an input."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.batch.rows import MOST_CHUNKS, InputRows, RowSpan, chunked


@given(st.lists(st.integers(1, 30), max_size=5), st.integers(1, 9))
def test_chunks_are_numbered_and_have_all_rows(sizes: list[int], rows: int) -> None:
    spans = [
        RowSpan(file, 0, min(rows, size - at), at, min(size, at + rows))
        for file, size in enumerate(sizes)
        for at in range(0, size, rows)
    ]
    chunks = chunked(spans, rows)
    assert [chunk.span for chunk in chunks] == spans
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.start for chunk in chunks] == [
        sum(span.rows for span in spans[:at]) for at in range(len(spans))
    ]


def test_many_spans_are_put_together_within_one_file_and_group() -> None:
    spans = [
        RowSpan(file, group, 10, 10 * at, 10 * at + 10)
        for file in range(2)
        for group in range(2)
        for at in range(1001)
    ]
    chunks = chunked(spans, None)
    assert sum(chunk.rows for chunk in chunks) == 40_040
    assert len(chunks) <= MOST_CHUNKS + 4
    assert {chunk.rows for chunk in chunks} <= {50, 10}
    assert chunked(spans[:3], None) == chunked(spans[:3], 10)


def test_a_part_of_rows_has_their_numbers_and_reasons() -> None:
    rows = InputRows(5, 4, {"a": np.arange(4)}, {1: "x", 3: "y"})
    part = rows.part(1, 3)
    assert (part.start, part.count, part.columns["a"].tolist()) == (6, 2, [1, 2])
    assert part.broken == {0: "x"}
    assert part.row(1) == {"a": 2}
