"""Requests as one array along dimension 0, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.errors import NodeError
from anabranch.graph.batch.rows import Values, group_of, rows_of, split, stacked


def one(*shape: int, dtype: object = np.float32) -> Values:
    return {"x": np.zeros(shape, dtype)}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (one(1, 4), one(7, 4), True),
        (one(1, 4), one(1, 5), False),
        (one(1, 4), one(1, 4, 1), False),
        (one(1, 4), one(1, 4, dtype=np.float64), False),
        (one(1), one(0), False),
        (one(0, 2), one(0, 2), True),
        (one(1), {"y": np.zeros(1, np.float32)}, False),
        (one(1, dtype=object), one(2, dtype=object), True),
    ],
)
def test_what_may_be_one_batch(left: Values, right: Values, same: bool) -> None:
    assert (group_of(left) == group_of(right)) is same
    hash(group_of(left))


def test_every_input_has_the_same_rows() -> None:
    assert rows_of("a", {"x": np.zeros((3, 2)), "y": np.zeros(3)}) == 3
    with pytest.raises(NodeError, match=r"node 'a' failed: .*same rows.*got x \[3, 2\], y \[1\]"):
        rows_of("a", {"x": np.zeros((3, 2)), "y": np.zeros(1)})
    with pytest.raises(NodeError, match=r"got x \[\]"):
        rows_of("a", {"x": np.array(1.0)})


@pytest.mark.parametrize("shape", [[2, 4], [4], [], [0, 3]])
def test_an_output_without_a_row_for_each_is_named(shape: list[int]) -> None:
    value = {"good": np.zeros((3, 1)), "bad": np.zeros(shape)}
    with pytest.raises(NodeError, match=r"output 'bad' has shape .* for 3 rows of input"):
        split("a", value, [1, 2])


def test_what_came_alone_is_not_copied() -> None:
    values = one(2, 2)
    assert stacked([values]) is values


SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(SIZES, st.sampled_from(sorted(DTYPES)), st.integers(0, 3))
def test_what_goes_in_comes_out(sizes: list[int], datatype: str, width: int) -> None:
    random = np.random.default_rng(0)
    requests = [
        {
            "x": random.integers(0, 2, (rows, width)).astype(DTYPES[datatype]),
            "y": np.array([f"{rows}-{row}" for row in range(rows)], object),
        }
        for rows in sizes
    ]
    together = stacked(requests)
    assert together["x"].dtype == DTYPES[datatype]
    for request, part in zip(requests, split("a", dict(together), sizes), strict=True):
        for name, array in request.items():
            assert part[name].dtype == array.dtype
            np.testing.assert_array_equal(part[name], array)
    bare = split("a", together["y"], sizes)
    assert [part.tolist() for part in bare] == [request["y"].tolist() for request in requests]
