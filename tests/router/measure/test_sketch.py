from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anabranch.router.measure.sketch import (
    COARSE,
    MAX_FINE,
    MAX_OUTPUTS,
    MAX_SAMPLES,
    MAX_TEXT,
    observe,
    shift,
)
from anabranch.router.measure.tally import Bin
from tests.examples import examples

QUICK = settings(max_examples=examples(100), deadline=None)
NAN, INF = np.nan, np.inf
Outputs = dict[str, dict[Bin, int]]


def sketch(*arrays: Any) -> dict[Bin, int]:
    outputs: Outputs = {}
    for array in arrays:
        observe(outputs, "y", array)
    return outputs.get("y", {})


def distance(one: Mapping[Bin, int], other: Mapping[Bin, int]) -> float:
    found = shift({"y": one}, {"y": other})
    assert found is not None
    return found


# Bins


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        # class scores
        (np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]]), {1: 2, 0: 1}),
        (np.array([[0.1, 0.9], [NAN, 0.8]], np.float16), {1: 1, "nan": 1}),
        (np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32), {0: 1, 1: 1}),
        (np.eye(1000)[[999, 999]], {999: 2}),
        # integers and bools
        (np.array([3, 3, -1]), {3: 2, -1: 1}),
        (np.array(7, np.uint8), {7: 1}),
        (np.array([2**64 - 1], np.uint64), {2**64 - 1: 1}),
        (np.array([[True, False], [True, True]]), {1: 3, 0: 1}),
        (np.array([1, 2], ">i4"), {1: 1, 2: 1}),
        # texts
        (np.array(["cat", b"cat", "dog"], object), {"=cat": 2, "=dog": 1}),
        (np.array(["cat", "dog"]), {"=cat": 1, "=dog": 1}),
        (np.array([b"cat"]), {"=cat": 1}),
        (np.array(["", "#3", b"\xff"], object), {"=": 1, "=#3": 1, "=\ufffd": 1}),
        (np.array(["\ud800"], object), {"=?": 1}),
        # floats that are no scores
        (np.array([0.0, -0.0, 1.0, 1.124, 1.125]), {"0": 2, "1": 2, "1.12": 1}),
        (np.array([0.1, -0.1]), {"0.0938": 1, "-0.0938": 1}),
        (np.array([NAN, INF, -INF, NAN]), {"nan": 2, "inf": 1, "-inf": 1}),
        (np.array([65504.0, 1e-7], np.float16), {"6.14e+04": 1, "1.19e-07": 1}),
        (np.array([[5.0], [5.1]], np.float32), {"5": 2}),
        (np.array(2.0), {"2": 1}),
        (np.array([1.0], ">f8"), {"1": 1}),
        (np.array([5e-324, 1.7e308]), {"4.94e-324": 1, "1.69e+308": 1}),
        # nothing to count
        (np.zeros(0), {}),
        (np.zeros((0, 3)), {}),
        (np.zeros((3, 0)), {}),
        (np.zeros((0, 5, 3)), {}),
        (np.zeros(0, object), {}),
        (np.zeros(2, complex), {}),
        (np.zeros(2, "datetime64[s]"), {}),
        (np.zeros(2, "i4,f4"), {}),
        # what no datatype holds, in an array of objects
        (np.array([None, 3, {}], object), {"?NoneType": 1, "?int": 1, "?dict": 1}),
    ],
)
def test_bins_of_values(array: Any, expected: dict[Bin, int]) -> None:
    found = sketch(array)
    assert found == expected
    assert all(type(one) in (int, str) and type(n) is int for one, n in found.items())


def test_rows_too_long_for_classes_are_vectors() -> None:
    assert sketch(np.full((2, 1001), 3.0)) == {"3": MAX_SAMPLES}


def test_long_texts_are_cut_and_told_apart_by_what_follows() -> None:
    start = "x" * 100
    found = sketch(np.array([start + "a", start + "b", start + "a", "y" * MAX_TEXT], object))
    assert sorted(found.values()) == [1, 1, 2]
    assert all(len(str(one)) <= MAX_TEXT + 1 for one in found)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10**6),
        np.arange(10**6)[::-3],
        np.arange(10**6).reshape(100, 100, 100).transpose(2, 0, 1),
        np.broadcast_to(np.arange(5), (10**9, 5)),
        np.broadcast_to(np.float32([1, 2, 3]), (10**9, 3)),
        np.broadcast_to(np.float32([1, 2, 3]), (10**5, 10**5, 3)),
        np.full(10**5, "x", object),
    ],
)
def test_of_a_huge_array_so_many_are_counted(array: Any) -> None:
    found = sketch(array)
    assert sum(found.values()) == MAX_SAMPLES
    assert found == sketch(array)


def test_the_samples_are_evenly_spaced() -> None:
    assert sketch(np.arange(6400)) == dict.fromkeys(range(0, 6400, 100), 1)
    assert sketch(np.repeat(np.arange(64.0), 10)) == sketch(np.arange(64.0))


@QUICK
@given(
    hnp.arrays(
        st.one_of(
            hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes(),
            hnp.byte_string_dtypes(), hnp.unicode_string_dtypes(), hnp.complex_number_dtypes(),
        ),
        hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=9),
    )
)  # fmt: skip
def test_any_array_is_counted_the_same_wherever_it_is(array: Any) -> None:
    found = sketch(array)
    assert found == sketch(array.copy()) == sketch(np.asfortranarray(array))
    assert sum(found.values()) <= MAX_SAMPLES


@QUICK
@given(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
def test_a_float_is_in_the_bin_that_its_name_says(value: float) -> None:
    (name,) = sketch(np.array([value]))
    edge = float(name)
    # The name is rounded to three digits, the bin is an eighth of a power of two.
    assert math.copysign(1, edge) == math.copysign(1, value)
    assert abs(edge) * 0.99 <= abs(value) <= abs(edge) * 1.14


def test_bins_of_floats_have_names_of_their_own() -> None:
    values = np.array([s * m * 2.0**e for s in (1, -1) for e in range(-60, 60) for m in EIGHTHS])
    names = {name for value in values for name in sketch(np.array([value]))}
    assert len(names) == len(values)


EIGHTHS = [1 + n / 8 for n in range(8)]


# Bounds


@pytest.mark.parametrize(
    "values",
    [
        np.arange(5000),
        np.arange(5000) * 10.0**9,
        np.geomspace(1e-300, 1e300, 5000),
        np.array([f"user-{n}" for n in range(5000)], object),
        np.arange(2**64 - 5000, 2**64, dtype=np.uint64),
    ],
)
def test_bins_are_bounded(values: Any) -> None:
    found = sketch(*np.split(values, 100))
    assert len(found) <= MAX_FINE + COARSE
    assert sum(found.values()) == 5000


def test_outputs_are_bounded() -> None:
    outputs: Outputs = {}
    for _ in range(2):
        for number in range(20):
            observe(outputs, f"y{number}", np.array([1]))
    assert outputs == {f"y{number}": {1: 2} for number in range(MAX_OUTPUTS)}


@pytest.mark.parametrize(
    "values",
    [
        np.arange(1000),
        np.geomspace(1e-99, 1, 1000),
        np.array([f"id-{n}" for n in range(1000)], object),
    ],
)
def test_it_does_not_matter_which_bins_came_first(values: Any) -> None:
    forward = sketch(*values.reshape(-1, 50))
    backward = sketch(*values[::-1].reshape(-1, 50))
    assert forward != backward
    assert distance(forward, backward) < 1e-6
    few = sketch(values[:50])
    many = sketch(*values.reshape(-1, 50))
    assert 0 < distance(few, many) < 1


def test_distributions_of_many_values_still_tell_a_shift() -> None:
    random = np.random.default_rng(1)
    one, other = (sketch(*random.integers(0, 1000, (200, 50))) for _ in range(2))
    moved = sketch(*random.integers(0, 100, (200, 50)))
    assert distance(one, other) < 0.1
    assert distance(one, moved) > 0.2


# Distance

histograms = st.dictionaries(
    st.integers(0, 5) | st.sampled_from(["=a", "0.5", "nan", "#1", "#2"]),
    st.integers(1, 1000),
    min_size=1,
)
fine = st.dictionaries(st.integers(0, 8), st.integers(1, 1000), min_size=1)


@QUICK
@given(fine, fine)
def test_it_is_the_distance_that_scipy_computes(one: dict[Bin, int], other: dict[Bin, int]) -> None:
    distances = pytest.importorskip("scipy.spatial.distance")
    bins = sorted({*one, *other}, key=str)
    counts = [[histogram.get(key, 0) for key in bins] for histogram in (one, other)]
    expected = distances.jensenshannon(*counts, 2)
    assert distance(one, other) == pytest.approx(expected, abs=2e-7)


@QUICK
@given(histograms, histograms)
def test_it_is_symmetric_and_between_zero_and_one(
    one: dict[Bin, int], other: dict[Bin, int]
) -> None:
    assert distance(one, other) == distance(other, one)
    assert 0 <= distance(one, other) <= 1


@QUICK
@given(fine, fine, fine)
def test_it_obeys_the_triangle_inequality(
    one: dict[Bin, int], two: dict[Bin, int], three: dict[Bin, int]
) -> None:
    assert distance(one, three) <= distance(one, two) + distance(two, three) + 1e-7


@QUICK
@given(histograms, st.integers(1, 1000))
def test_it_depends_on_shares_alone(one: dict[Bin, int], times: int) -> None:
    assert distance(one, one) == 0
    assert distance(one, {key: count * times for key, count in one.items()}) < 1e-7


def test_distributions_without_a_common_value_are_at_one() -> None:
    assert distance({1: 5}, {2: 700}) == 1
    assert distance({"=a": 5, "=b": 1}, {"0.5": 1}) == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, None),
        ({"y": {1: 1}}, {}, None),
        ({}, {"y": {1: 1}}, None),
        ({"y": {1: 1}}, {"z": {1: 1}}, None),
        ({"y": {1: 1}}, {"y": {}}, None),
        ({"y": {}}, {"y": {1: 1}}, None),
        ({"y": {1: 1}}, {"y": {1: 3}}, 0.0),
        ({"y": {1: 1}, "z": {1: 1}}, {"y": {1: 3}, "z": {2: 1}}, 1.0),
        ({"y": {1: 1}, "z": {1: 1}}, {"y": {1: 3}}, 0.0),
    ],
)
def test_the_output_that_differs_most_decides(
    one: Outputs, other: Outputs, expected: float | None
) -> None:
    assert shift(one, other) == expected


@pytest.mark.parametrize(
    ("k", "n", "m"),
    [(2, 200, 200), (10, 1000, 1000), (10, 10_000, 300), (100, 1000, 1000), (100, 5000, 50_000)],
)
def test_equal_distributions_differ_by_as_much_as_the_docstring_says(
    k: int, n: int, m: int
) -> None:
    random = np.random.default_rng(k + n + m)
    shares = random.dirichlet(np.full(k, 5.0))
    divergences = []
    for _ in range(400):
        one, other = random.multinomial(n, shares), random.multinomial(m, shares)
        divergences.append(distance(counted(one), counted(other)) ** 2)
    expected = (k - 1) * (1 / n + 1 / m) / (8 * math.log(2))
    assert np.mean(divergences) == pytest.approx(expected, rel=0.15)
    assert np.mean(np.sqrt(divergences)) <= math.sqrt(expected) * 1.05
    assert np.quantile(np.sqrt(divergences), 0.9) <= 2 * math.sqrt(expected)


def counted(numbers: Any) -> dict[Bin, int]:
    return {bin_: count for bin_, count in enumerate(numbers.tolist()) if count}
