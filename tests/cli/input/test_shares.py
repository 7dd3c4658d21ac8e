"""Revisions, weights and percentages are read strictly, and what is wrong is named."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from anabranch.cli.input import shares


@pytest.mark.parametrize("text", ["3", "r3", 3])
def test_a_revision(text):
    assert shares.revision(text) == 3


@pytest.mark.parametrize(
    "text", ["", "r", "0", "r0", "03", "-1", "r-1", "1.0", "R3", "rr3", " 3", "9" * 10, "\u0663"]
)
def test_no_revision(text):
    with pytest.raises(typer.BadParameter, match="is not a revision"):
        shares.revision(text)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], {}),
        (["r3=90", "r4=10"], {3: 90, 4: 10}),
        (["r4=0.05", "3=.5"], {4: 0.05, 3: 0.5}),
        (["4=10", "r3=0"], {4: 10, 3: 0}),
        (["r1=123456"], {1: 123456}),
    ],
)
def test_weights(pairs, expected):
    assert shares.weights(pairs) == expected


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        (["r1=nan"], "r1=nan"),
        (["r1=inf"], "r1=inf"),
        (["r1=-1"], "r1=-1"),
        (["r1=+1"], r"r1=\+1"),
        (["r1=1e3"], "r1=1e3"),
        (["r1=1_000"], "r1=1_000"),
        (["r1=0x10"], "r1=0x10"),
        (["r1= 1"], "r1= 1"),
        (["r1=1."], "r1=1."),
        (["r1="], "r1="),
        (["r1=50%"], "r1=50%"),
        (["r1=" + "9" * 400], "r1="),
        (["r1"], "'r1' is not REVISION=NUMBER"),
        (["=5"], "'' is not a revision"),
        (["x=5"], "'x' is not a revision"),
        (["r1=1=2"], "r1=1=2"),
        (["r1=1", "1=2"], "'1=2': revision 1 is given twice"),
    ],
)
def test_what_is_wrong_with_weights_is_named(pairs, named):
    with pytest.raises(typer.BadParameter, match=named):
        shares.weights(pairs)


def test_percentages_end_at_100():
    assert shares.percentages(["r5=100", "6=0"]) == {5: 100, 6: 0}
    with pytest.raises(typer.BadParameter, match=r"'r5=100\.1' is not a number from 0 to 100"):
        shares.percentages(["r5=100.1"])
    assert shares.percent("2.5") == 2.5
    with pytest.raises(typer.BadParameter, match="101"):
        shares.percent("101")


@pytest.mark.parametrize(
    ("text", "expected"), [("5,25,50", [5, 25, 50]), ("0.5, 100", [0.5, 100]), ("7", [7])]
)
def test_steps(text, expected):
    assert shares.steps(text) == expected


@pytest.mark.parametrize("text", ["", "5,", ",5", "5,5", "50,25", "5;25", "5,nan", "5,101", "a"])
def test_no_steps(text):
    with pytest.raises(typer.BadParameter):
        shares.steps(text)


@given(st.lists(st.text(alphabet="r0123456789=.-+einfa_ ", max_size=12), max_size=4))
def test_whatever_is_typed_is_a_finite_weight_or_refused(pairs):
    try:
        found = shares.weights(pairs)
    except typer.BadParameter:
        return
    assert len(found) == len(pairs)
    assert all(number > 0 and 0 <= weight < 1e16 for number, weight in found.items())
