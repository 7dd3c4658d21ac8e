"""Arrays of several requests as one along dimension 0, and what came of it split again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from anabranch.errors import NodeError

Array = np.ndarray[Any, Any]
Values = Mapping[str, Array]
"""Inputs of one request, by parameter."""
_BATCHED = "with `batching`, every output has one row for each of the input"


def rows_of(node: str, values: Values) -> int:
    """The rows that a request has, the same in every input; NodeError where they differ."""
    found = {array.shape[:1] for array in values.values()}
    if len(found) == 1 and () not in found:
        return int(found.pop()[0])
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in values.items())
    raise NodeError(
        node, f"with `batching`, its inputs must have the same rows in dimension 0, got {shapes}"
    )


def group_of(values: Values) -> Hashable:
    """Return the key that requests must share to be one batch: names, dtypes and shapes of rows.

    Requests without rows are kept apart: alone they may fail where a batch of others does not.
    """
    return tuple(
        (name, array.dtype, array.shape[1:], array.shape[0] == 0) for name, array in values.items()
    )


def stacked(requests: Sequence[Values]) -> Values:
    """The inputs of all requests as one; those of a single one are not copied."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([one[name] for one in requests]) for name in requests[0]}


def split(node: str, value: Array | Values, sizes: Sequence[int]) -> list[Any]:
    """The rows of each request, as views of what the component returned for all.

    Raises NodeError naming an output that has not one row for each that went in.
    """
    check_rows(node, value, sum(sizes))
    ends = np.cumsum(sizes).tolist()
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    if isinstance(value, np.ndarray):
        return [value[start:end] for start, end in bounds]
    return [{name: value[name][start:end] for name in value} for start, end in bounds]


def check_rows(node: str, value: Array | Values, rows: int, why: str = _BATCHED) -> None:
    """Raise NodeError, which says why, where an output has not exactly ``rows`` rows."""
    outputs = {"output": value} if isinstance(value, np.ndarray) else value
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            shape = list(array.shape)
            raise NodeError(
                node, f"output {name!r} has shape {shape} for {rows} rows of input; {why}"
            )
