from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.environment import Environment, listed, number
from anabranch.errors import ArtefactError, EngineError


def refuse(text: str) -> int:
    raise ValueError(f"{text!r} holds no number")


def test_what_is_not_set_or_empty_has_its_default() -> None:
    for variables in (Environment({}), Environment({"N": ""})):
        assert variables.read("N", refuse, 7) == 7
        assert (variables.text("N"), variables.text("N", "x")) == ("", "x")


@given(st.floats(0, 1e300))
def test_what_is_set_is_parsed(value: float) -> None:
    assert Environment({"N": str(value)}).read("N", number(), -1.0) == value


@pytest.mark.parametrize("text", ["2.5", "-0.1", "nan", "inf", "many", "1e999"])
def test_an_error_names_the_variable_its_value_and_what_is_expected(text: str) -> None:
    variables = Environment({"N": text})
    with pytest.raises(EngineError) as caught:
        variables.read("N", number(most=2.0), 0.0, "a number from 0 to 2")
    assert str(caught.value) == f"N='{text}' is not a number from 0 to 2"


def test_a_parser_may_say_itself_what_is_wrong_and_the_caller_which_error_that_is() -> None:
    with pytest.raises(ArtefactError, match=r"^N: 'x' holds no number$"):
        Environment({"N": "x"}, ArtefactError).read("N", refuse, 0)


def test_no_number_is_infinite() -> None:
    with pytest.raises(ValueError):
        number(most=math.inf)("inf")


def test_values_are_listed_by_commas() -> None:
    assert listed(" a, b,,c ,") == ("a", "b", "c")
    assert listed("") == ()


def test_the_home_is_one_folder_for_all(tmp_path: Path) -> None:
    assert Environment({"ANABRANCH_HOME": str(tmp_path)}).home == tmp_path
    assert Environment({}).home == Path.home() / ".anabranch"
