"""What is said of text that is no YAML: its line, a caret, and its indentation."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import Problem, SpecError
from anabranch.specs.loader import parse

NODES = """
spec:
  nodes:
    a:
      type: predictor
      inputs:
        - x   # first
"""


def refused(text: str) -> Problem:
    with pytest.raises(SpecError) as raised:
        parse(text, "f")
    return raised.value.problems[-1]


def test_the_line_stands_below_with_a_caret() -> None:
    assert str(refused("x: 1\na: {b: c\nd: e\n")) == (
        "f:3:2: not valid YAML: did not find expected ',' or '}' while parsing a flow mapping that"
        " starts on line 2\n"
        "    2 | a: {b: c\n"
        "    3 | d: e\n"
        "      |  ^"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("     method: predict", "indented by 5, which fits no line above; indent it by 4 or 6"),
        ("       - y", "indented by 7, which fits no line above; indent it by 6 or 8"),
        (" nodes: 1", "indented by 1, which fits no line above; indent it by 0 or 2"),
        (
            "          method: predict",
            "indented by 10, deeper than line 7, which has its value already; indent it by 8"
            " or less",
        ),
    ],
)
def test_an_indentation_that_fits_no_line_is_named(line: str, said: str) -> None:
    problem = refused(f"{NODES}{line}\n")
    assert problem.message == f"not valid YAML: {said}"
    column = len(line) - len(line.lstrip()) + 1
    assert problem.position and (problem.position.line, problem.position.column) == (8, column)
    assert problem.excerpt.splitlines()[-1] == "      | " + " " * (column - 1) + "^"


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "a: [1\nb: 2",
        'a: "one\nb: 2',
        "a:\n  b: c: d",
        "a: |\n  text\nb: c: d",
    ],
)
def test_what_is_indented_well_gets_the_parsers_words(text: str) -> None:
    assert "indent" not in refused(text).message


def test_a_long_line_is_shown_around_its_column() -> None:
    problem = refused("a: " + "x" * 500 + ": y")
    shown, caret = problem.excerpt.splitlines()
    assert max(len(shown), len(caret)) <= 80
    assert shown[caret.index("^")] == ":"


@given(st.text(alphabet=" \t\n-:[]{}#|>ab\u202e\u3000", max_size=60))
def test_no_text_breaks_an_excerpt(text: str) -> None:
    try:
        parse(text)
    except SpecError as error:
        for problem in error.problems:
            assert all(line.isprintable() for line in problem.excerpt.split("\n"))
            assert not problem.excerpt or problem.excerpt.count("^") >= 1


def test_the_whole_is_one_message() -> None:
    text = dedent("""\
        nodes:
          a: 1
           b: 2
        """)
    with pytest.raises(SpecError) as raised:
        parse(text)
    assert len(raised.value.problems) == 1
