"""The shared models of a process: all are at hand, or none is held."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from anabranch.errors import Unavailable
from anabranch.graph.compile.loading import load_text
from anabranch.serve.shared.deployed import DeployedModels
from tests.serve.shared.test_model_call import Local, total

GRAPH = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pay}
spec:
  inputs: {rows: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    first: {type: predictor, model: "shared://fraud", inputs: {x: rows}}
    second: {type: predictor, model: "shared://risk@2", inputs: {x: rows}}
    third: {type: transformer, method: scale, args: {multiply_by: 2}, inputs: {x: rows}}
  outputs: {y: first, z: second, w: third}
"""


def of_plan(*nodes: str) -> tuple[DeployedModels, Local]:
    """The models of some nodes, all of which are one that has the revision 1 alone."""
    found = DeployedModels(load_text(GRAPH).plan, nodes)
    model = Local({1: total}, {1: 1.0})
    for call in found.calls.values():
        call._models = cast(Any, model)
    return found, model


def test_only_nodes_that_use_models_have_calls() -> None:
    found, _ = of_plan("first", "second", "third")
    assert list(found.calls) == ["first", "second"]
    assert list(of_plan("first", "third")[0].calls) == ["first"]


def test_models_are_open_until_they_are_closed() -> None:
    async def main() -> None:
        found, model = of_plan("first", "third")
        await found.start()
        assert model.is_open
        await found.close()
        assert not model.is_open

    asyncio.run(main())


def test_where_one_does_not_run_none_is_held_and_the_node_is_named() -> None:
    async def main() -> None:
        found, model = of_plan("first", "second")
        with pytest.raises(Unavailable, match="node 'second': no such revision"):
            await found.start()
        assert not model.is_open

    asyncio.run(main())
