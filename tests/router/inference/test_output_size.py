"""The bound on a graph's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.output_size import check_outputs


def texts(*elements: Any) -> Any:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (np.zeros(10, np.float32), 40),
        (np.broadcast_to(np.float64(1), (3, 4)), 96),
        (texts("abc", b"de"), 2 * 8 + 5),
        (texts("äöü"), 8 + 6),
        (texts("\ud800", None, 3), 3 * 8 + 1),
    ],
)
def test_bytes_are_counted_to_the_last(array: Any, size: int) -> None:
    check_outputs({"y": array}, ["y"], size)
    with pytest.raises(UnencodableOutput) as raised:
        check_outputs({"y": array}, ["y"], size - 1)
    told = f"output 'y' has {size} bytes, over the limit of {size - 1} bytes of an answer"
    assert str(raised.value) == told


def test_the_largest_of_several_is_named() -> None:
    outputs = {"small": np.zeros(1), "large": np.zeros(4), "unasked": np.zeros(100)}
    check_outputs(outputs, ["small", "large"], 40)
    with pytest.raises(UnencodableOutput) as raised:
        check_outputs(outputs, ["small", "large"], 39)
    assert str(raised.value) == (
        "output 'large' has 32 bytes, all outputs together 40, over the limit of 39 bytes "
        "of an answer"
    )
