"""What tensors hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.components.tensors.memory import size_of


@pytest.mark.parametrize(
    ("array", "least", "most"),
    [
        (np.zeros((3, 5), np.float32), 60, 60),
        (np.zeros((0, 5), object), 0, 0),
        (np.array("abc", object), 3, 100),
        (np.array(["x" * 1000] * 1000, object), 1_000_000, 1_100_000),
        (np.array([b"x" * 10**6, b""] * 500, object), 4 * 10**8, 6 * 10**8),
        (np.array([None, 1.5, ("a",)], object), 24, 300),
    ],
)
def test_sizes(array: Any, least: int, most: int) -> None:
    assert least <= size_of(array) <= most
