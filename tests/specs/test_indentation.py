"""One message where a wrong indentation is the cause of many mistakes."""

from __future__ import annotations

from textwrap import indent

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_data, load_text

HEAD = "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: shop}\n"
INPUTS = "inputs:\n  x:\n    datatype: FP32\n    shape: [-1]\n"
NODE = "type: predictor\ncomponent: parts.py:Net\ninputs: {x: x}\n"
NODES = "nodes:\n  net:\n" + indent(NODE, "    ")
OUTPUTS = "outputs: {y: net}\n"


def spec(*sections: str) -> str:
    return f"{HEAD}spec:\n{indent(''.join(sections), '  ')}"


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        load_text(text, "f")
    return str(raised.value).splitlines()


def test_the_graph_itself_is_right() -> None:
    assert load_text(spec(INPUTS, NODES, OUTPUTS)).plan.name == "shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            spec(INPUTS, "nodes:\n  net:\n" + indent(NODE, "  "), OUTPUTS),
            "f:10:5: spec.nodes.net: is empty: `type`, `component` and `inputs` below it begin in"
            " the same column; indent them deeper",
        ),
        (
            spec("inputs:\nx: {datatype: FP32, shape: [-1]}\n", NODES, OUTPUTS),
            "f:5:3: spec.inputs: is empty: `x` belongs under it; indent that deeper",
        ),
        (
            spec("inputs:\n  x:\n  datatype: FP32\n  shape: [-1]\n", NODES, OUTPUTS),
            "f:6:5: spec.inputs.x: is empty: `datatype` and `shape` below it begin in the same"
            " column; indent them deeper",
        ),
        (
            f"{HEAD}spec:\n{INPUTS}{NODES}{OUTPUTS}",
            "f:4:1: spec: is empty: `inputs`, `nodes` and `outputs` below it begin in the same"
            " column; indent them deeper",
        ),
        (
            spec(INPUTS, NODES, indent(OUTPUTS, "  ")),
            "f:14:5: spec.nodes.outputs: is indented so that it is a part of `nodes`; begin it in"
            " its column",
        ),
    ],
)
def test_one_message_says_what_to_indent(text: str, said: str) -> None:
    assert refused(text) == [said]


def test_mistakes_above_are_said_too() -> None:
    text = spec("timeout: soon\n", INPUTS, NODES, indent(OUTPUTS, "  "))
    first, second = refused(text)
    assert first.startswith("f:5:3: spec.timeout: ")
    assert second.startswith("f:15:5: spec.nodes.outputs: is indented")


@pytest.mark.parametrize(
    "nodes",
    [
        "nodes:\n  net:\n  other: {type: transformer, method: softmax, inputs: {x: x}}\n",
        "nodes: {net: , type: predictor}\n",
        "nodes:\n  net:\n",
    ],
)
def test_an_empty_node_alone_is_no_matter_of_indentation(nodes: str) -> None:
    said = refused(spec(INPUTS, nodes, OUTPUTS))
    assert any("spec.nodes.net: expects fields, not nothing" in line for line in said)
    assert not any("indent" in line for line in said)


def test_a_graph_made_in_python_has_no_indentation() -> None:
    data = {"spec": {"nodes": {"outputs": {"y": "net"}, "net": None, "type": "predictor"}}}
    with pytest.raises(SpecError) as raised:
        load_data(data)
    assert "indent" not in str(raised.value)
