"""Spans of files whose rows are lines, by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from anabranch.client.batch.rows import RowSpan
from anabranch.components.tensors.arrays import Array


def line_spans(
    file: IO[bytes], number: int, rows: int, at: int = 0, ends_row: Callable[[bytes], bool] = bool
) -> Iterator[RowSpan]:
    """Divide the lines from byte ``at`` into spans of so many rows; empty lines are none.

    ``ends_row`` is asked for each line that is not empty, in their order.
    """
    file.seek(at)
    start, count, is_inside = at, 0, False
    for line in file:
        at += len(line)
        if not is_inside and is_blank(line):
            continue
        is_inside = not ends_row(line)
        if is_inside:
            continue
        count += 1
        if count == rows:
            yield RowSpan(number, 0, count, start, at)
            start, count = at, 0
    if count or is_inside:
        yield RowSpan(number, 0, count + is_inside, start, at)


def is_blank(line: bytes) -> bool:
    """Return whether a line is no row."""
    return not line.strip(b"\r\n")


def objects(values: list[Any]) -> Array:
    """Return values as an array of one dimension, whatever they are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
