from __future__ import annotations

import numpy as np
import pytest

from anabranch.errors import InvalidRequest
from anabranch.explainers.predictions import labels, plain_label, scores, target


def test_scores_have_a_column_for_each_target():
    assert scores(np.float32([1, 2])).tolist() == [[1], [2]]
    assert scores(np.array([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert scores(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match=r"gives \[2, 2, 2\], expected \[rows\] or"):
        scores(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="gives BYTES"):
        scores(np.array(["a"], dtype=object))


def test_the_target_is_the_wanted_column_or_the_highest():
    row = np.array([0.1, 0.7, 0.2])
    assert target(row, None) == 1
    assert target(row, 2) == 2
    assert target(row, None, of_outputs=True) == 0
    assert target(row, 2, of_outputs=True) == 2
    with pytest.raises(
        InvalidRequest, match="'target' is 3, but the explained node gives 3 scores"
    ):
        target(row, 3)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (np.array([3, 1]), [3, 1]),
        (np.array([[3], [1]]), [3, 1]),
        (np.array([[0.1, 0.9], [0.8, 0.2]]), [1, 0]),
        (np.array([True, False]), [True, False]),
        (np.array([b"a", b"b"], dtype=object), [b"a", b"b"]),
    ],
)
def test_labels(answers, expected):
    assert labels(answers).tolist() == expected


@pytest.mark.parametrize("answers", [np.zeros(3), np.zeros((3, 1)), np.zeros((3, 2, 2))])
def test_what_has_no_labels(answers):
    with pytest.raises(ValueError, match="the explained node gives"):
        labels(answers)


def test_labels_as_json_knows_them():
    assert [plain_label(one) for one in (np.int64(3), b"a", "a", np.str_("a"))] == [
        3,
        "a",
        "a",
        "a",
    ]
