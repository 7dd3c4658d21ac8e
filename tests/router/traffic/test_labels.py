from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.router.inference.contract import OutputTensor
from anabranch.router.traffic.labels import (
    MAX_BYTES,
    MAX_LABEL,
    MAX_ROWS,
    agreeing,
    answer_of,
    is_small,
)

SCORES = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)


def output(value: Any, dtype: Any = None) -> OutputTensor:
    return OutputTensor("y", "any", np.array(value, dtype))


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ([output([3, 1])], (3, 1)),
        ([output([[3], [1]], np.uint8)], (3, 1)),
        ([output([True, False])], (True, False)),
        ([output(["cat", b"dog"], object)], ("cat", "dog")),
        ([output(["cat"])], ("cat",)),
        ([output(["\ud800", b"\xff"], object)], ("?", "\ufffd")),
        ([output(SCORES)], (1, 0)),
        ([output([[np.nan, 1.0]])], (-1,)),
        ([output(SCORES), output(["no", "yes"], object)], ("no", "yes")),
        ([output([0.5, 0.25]), output(SCORES)], (1, 0)),
        ([output([0.5])], None),
        ([output([[0.5]])], None),
        ([output([[1, 2]])], None),
        ([output(SCORES[np.newaxis])], None),
        ([output(["x" * (MAX_LABEL + 1)], object)], None),
        ([output([b"\xff" * 10**6], object)], None),
        ([output([None], object)], None),
        ([], None),
    ],
)
def test_the_answer_is_the_labels_or_else_the_winners(
    outputs: list[OutputTensor], answer: tuple[Any, ...] | None
) -> None:
    assert answer_of(outputs) == answer


@pytest.mark.parametrize(
    ("value", "small"),
    [
        (np.zeros(MAX_ROWS), True),
        (np.zeros(MAX_ROWS + 1), False),
        (np.zeros((1, MAX_BYTES), np.uint8), True),
        (np.zeros((1, MAX_BYTES + 1), np.uint8), False),
        (np.zeros(0), False),
        (np.array(1), False),
    ],
)
def test_only_small_outputs_are_kept(value: Any, small: bool) -> None:
    assert is_small(output(value)) is small


def test_numbers_agree_by_value_and_texts_as_they_are() -> None:
    assert agreeing((1, 2, True, "a", "1"), [1.0, 3, 1, "A", 1]) == 2
