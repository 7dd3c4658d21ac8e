"""Mutated specs give a graph or a typed error, and nothing else.

``ANABRANCH_FUZZ`` is the number of examples; ``tests/project/test_long_fuzz.py`` takes 10000.
"""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.specs.checks import check
from anabranch.specs.dump import to_yaml
from anabranch.specs.loader import parse
from tests.strategies import graph_data, graphs, json_values

EXAMPLES = int(os.environ.get("ANABRANCH_FUZZ", "100"))
fuzz = settings(max_examples=EXAMPLES // 2, suppress_health_check=list(HealthCheck), deadline=None)
PIECES = st.sampled_from(
    [
        *("[", "]", "{", "}", ":", ": ", "- ", "? ", "&a ", "*a ", "!x ", "!!int ", "|\n", ">\n"),
        *("'", '"', "#", "\n", "\t", "\r", "%", "@", "`", ",", "---\n", "...\n", "<<: ", "~", "\0"),
        *("\x1b", "\ud800", "\ufeff", "\u2028", "é", "9" * 70, ".nan", "null", "010", "x" * 100),
    ]
)


def judge(text: bytes | str) -> None:
    """Read and check ``text``; what is said about it is short, printable and has its place."""
    try:
        checked = check(parse(text))
    except SpecError as error:
        problems = error.problems
    else:
        assert (checked.graph is None) == bool(checked.problems)
        problems = checked.problems
        assert not checked.partial.broken & checked.partial.nodes.keys()
    message = str(SpecError(problems))
    assert len(message.encode()) <= 4096
    for problem in problems:
        assert problem.position is not None
        assert all(line.isprintable() for line in str(problem).split("\n"))
        assert "Input should" not in problem.message
        assert "not allowed here" not in problem.message or ".inf" in problem.message


@fuzz
@given(st.data(), graphs(max_nodes=3))
def test_mutated_text(data: st.DataObject, graph: Any) -> None:
    text = to_yaml(graph)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(PIECES | st.just("")) + text[end:]
    judge(text)


@fuzz
@given(st.data(), graph_data(max_nodes=3))
def test_mutated_values(data: st.DataObject, graph: dict[str, Any]) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        _mutate(data, graph)
    judge(json.dumps(graph))


def _mutate(data: st.DataObject, graph: Any) -> None:
    """Replace, drop, rename or add one thing somewhere."""
    at = graph
    for _ in range(data.draw(st.integers(0, 6))):
        values = at.values() if isinstance(at, dict) else at
        inner = [value for value in values if value and isinstance(value, dict | list)]
        if not inner:
            break
        at = data.draw(st.sampled_from(inner))
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    if not keys:
        return
    key = data.draw(st.sampled_from(keys))
    match data.draw(st.sampled_from(["replace", "drop", "rename"])):
        case "replace":
            at[key] = data.draw(json_values)
        case "drop":
            del at[key]
        case "rename" if isinstance(at, dict):
            at[data.draw(st.just(str(key)[:-1]) | st.text(max_size=5))] = at.pop(key)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_noise(noise: bytes | str) -> None:
    judge(noise)
