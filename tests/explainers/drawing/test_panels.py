"""What is shown of an answer."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.explainers.drawing.panels import (
    MOST_BARS,
    MOST_PANELS,
    MOST_PIXELS,
    Bars,
    Heat,
    Line,
    Said,
    left_out,
    panels,
)
from tests.explainers import answers


def part(attributions, **fields):
    (panel,) = panels(answers.answer("m", {"attributions": attributions, **fields}))
    return panel.parts[0]


def test_features_are_bars_with_their_names():
    (panel,) = panels(answers.TABULAR)
    assert panel.title == ""
    assert dict(panel.facts) == {
        "target": "1", "prediction": "0.93", "base value": "0.61", "seed": "0"
    }  # fmt: skip
    names = ("mean <radius>", "$texture$", "area & more")
    assert panel.parts == (Bars("attribution", "feature", names, (0.5, -0.25, 0.07)),)


def test_features_without_names_are_numbered_and_no_number_is_missing():
    assert part([1, None]) == Bars("attribution", "feature", ("x0", "x1"), (1.0, 0.0))
    assert part(2.5) == Bars("attribution", "feature", ("value",), (2.5,))


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 6), None), ((3, 4, 6), 0), ((1, 4, 6), 0), ((4, 6, 3), 2)]
)
def test_pictures_are_maps_without_their_channels(shape, axis):
    values = np.random.default_rng(0).normal(size=shape)
    found = part(values.tolist())
    assert isinstance(found, Heat)
    np.testing.assert_allclose(found.values, values if axis is None else values.sum(axis))


def test_large_maps_are_shown_by_means_of_blocks():
    values = np.arange(300.0 * 129).reshape(300, 129)
    found = part(values.tolist()).values
    assert found.shape == (100, 65)
    assert max(found.shape) <= MOST_PIXELS
    assert found[0, 0] == values[:3, :2].mean()
    assert found[-1, -1] == values[297:, 128:].mean()


def test_the_smallest_of_many_bars_are_one():
    (panel,) = panels(answers.WIDE)
    (bars,) = panel.parts
    assert len(bars.labels) == MOST_BARS
    assert bars.labels[:2] == ("x0", "x1") and bars.labels[-1] == "81 others"
    assert sum(bars.values) == pytest.approx(sum(range(-50, 50)))


def test_only_so_many_rows_are_shown():
    found = panels(answers.MANY)
    assert [panel.title for panel in found] == [f"row {row}" for row in range(MOST_PANELS)]
    assert left_out(answers.MANY) == 40 - MOST_PANELS
    assert panels(answers.NOTHING) == []


def test_rules_curves_examples_and_what_others_say():
    first, second = panels(answers.RULE)
    assert first.parts[0].lines == ("radius > 13.4", "texture <= 25")
    assert ("precision", "0.97") in first.facts and ("coverage", "0.25") in first.facts
    assert second.parts[0].lines == ("anything: no condition",)
    (curves,) = panels(answers.CURVES)
    assert curves.parts == (
        Line("age", (0.0, 1.0, 4.0), (0.0, 0.5, 0.25)),
        Bars("colour", "category", ("red", "green"), (0.1, -0.3)),
    )
    (examples,) = panels(answers.EXAMPLES)
    assert examples.parts == (Bars("similarity", "sample", ("row 7", "row 12"), (3.0, -1.0)),)
    (own,) = panels(answers.OWN)
    assert own.parts == (Said("", ('{"because": "<script>alert(1)</script>"}',)),)


def test_what_others_say_is_cut():
    (panel,) = panels(answers.answer("a.py:A", {"library": "x" * 5000}))
    assert len(panel.parts[0].lines[0]) == 2001
