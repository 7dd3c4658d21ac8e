"""How a component gets its inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from anabranch.components.contract import Bound, Context
from anabranch.graph.calls.values import identity
from anabranch.graph.execute.invoke import invoker


def named(x: Any) -> Any:
    return ("x", x)


def keyword_only(*, x: Any) -> Any:
    return ("x", x)


def any_names(**inputs: Any) -> Any:
    return next(iter(inputs.items()))


def others_first(first: Any = None, x: Any = None) -> Any:
    return ("x", x) if first is None else ("first", first)


@wraps(named)
def wrapped(**inputs: Any) -> Any:
    return any_names(**inputs)


def _negated(value: int) -> int:
    return -value


@pytest.mark.parametrize("call", [named, keyword_only, any_names, others_first, wrapped])
def test_an_only_input_comes_by_its_name_however_the_component_takes_it(
    call: Callable[..., Any],
) -> None:
    bound = Bound("node", None, call)
    plain = invoker(bound, [("x", 1, identity)], listed=False)
    assert plain([0, 7], Context()) == ("x", 7)
    converted = invoker(bound, [("x", 1, _negated)], listed=False)
    assert converted([0, 7], Context()) == ("x", -7)


def test_a_component_may_have_no_inputs() -> None:
    assert invoker(Bound("node", None, lambda: "route"), [], listed=False)([], Context()) == "route"
