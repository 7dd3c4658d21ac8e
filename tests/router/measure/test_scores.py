from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.router.measure.scores import NO_CLASS, are_scores, classes

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((3, 2)), True),
        (np.zeros((3, 2), np.float16), True),
        (np.zeros((0, 2), np.float32), True),
        (np.zeros((4, 5, 6)), True),
        (np.zeros((3, 1)), False),
        (np.zeros((3, 0)), False),
        (np.zeros(3), False),
        (np.zeros(()), False),
        (np.zeros((3, 2), int), False),
        (np.zeros((3, 2), bool), False),
        (np.zeros((3, 2), object), False),
        (np.zeros((3, 2), complex), False),
    ],
)
def test_scores_are_rows_of_floats(array: Any, expected: bool) -> None:
    assert are_scores(array) is expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.1, 0.9], [0.8, 0.2]], [1, 0]),
        ([[0.5, 0.5]], [0]),
        ([[-INF, -INF]], [0]),
        ([[1.0, INF]], [1]),
        ([[NAN, 1.0], [1.0, NAN], [NAN, NAN], [INF, NAN]], [NO_CLASS] * 4),
        ([[[1.0, 2.0], [2.0, 1.0]]], [[1, 0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_score_wins(rows: Any, expected: Any, dtype: Any) -> None:
    assert classes(np.array(rows, dtype)).tolist() == expected


def test_no_rows_have_no_classes() -> None:
    assert classes(np.zeros((0, 3))).tolist() == []
