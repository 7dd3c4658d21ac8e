from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.monitors.sketch import ACCURACY, MAX_BUCKETS, QuantileSketch, Sketch
from anabranch.monitors.table import table_of

numbers = st.floats(-1e9, 1e9).map(lambda x: 0.0 if abs(x) < 1e-6 else x)


@given(st.lists(numbers, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_as_accurate_as_it_says(values: list[float], share: float) -> None:
    sketch = QuantileSketch.of(np.array(values))
    exact = sorted(values)[math.floor(share * (len(values) - 1))]
    above = sorted(values)[math.ceil(share * (len(values) - 1))]
    found = sketch.quantile(share)
    slack = ACCURACY * max(abs(exact), abs(above)) * 1.0001
    assert exact - slack <= found <= above + slack


@given(st.lists(numbers, max_size=60), st.lists(numbers, max_size=60))
def test_sketches_of_parts_add_up_to_that_of_the_whole(one: list[float], two: list[float]) -> None:
    parts = QuantileSketch.of(np.array(one, float))
    parts.add(QuantileSketch.of(np.array(two, float)))
    whole = QuantileSketch.of(np.array(one + two, float))
    assert parts.summary() == pytest.approx(whole.summary(), rel=1e-9, abs=1e-3)
    assert parts.quantiles() == whole.quantiles()


def test_memory_is_bounded_and_the_small_ones_pay_for_it() -> None:
    values = 10.0 ** np.linspace(-150, 150, 20_000)
    sketch = QuantileSketch.of(values)
    assert len(sketch._above) == MAX_BUCKETS
    assert sketch.count == 20_000
    assert sketch.quantile(0.99) == pytest.approx(np.quantile(values, 0.99), rel=0.05)


def test_what_is_missing_is_counted() -> None:
    summary = QuantileSketch.of(np.array([1.0, np.nan, np.inf, 3.0])).summary()
    assert summary["count"] == 2 and summary["missing"] == 2 and summary["mean"] == 2
    assert QuantileSketch.of(np.array([np.nan])).summary() == {"count": 0, "missing": 1}


def test_the_method_goes_on_from_window_to_window() -> None:
    method = Sketch()
    found: Any = None
    for number, base in enumerate((0.0, 100.0), 1):
        tensors = {"x": np.arange(100.0) + base, "word": np.array(["a"] * 100, object)}
        found = method.look(table_of(tensors), number)
    (feature,) = found.features
    assert found.score is None and feature.name == "x"
    assert feature.summary["count"] == 200 and feature.summary["max"] == 199
    assert feature.quantiles[0.5] == pytest.approx(99.5, rel=0.02)
