"""A model in the process of the test, and what asks an explainer about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from anabranch.components.binding import bind
from anabranch.components.contract import DEFAULT_OUTPUT, CannotLoad, Context
from anabranch.errors import AnabranchError
from anabranch.specs.models import Node, NodeBase, TensorSpec

_NODE: TypeAdapter[NodeBase] = TypeAdapter(Node)

REFUSED = (CannotLoad, AnabranchError)
"""What an explainer that cannot be loaded may raise."""


def node(**fields: Any) -> NodeBase:
    return _NODE.validate_python({"inputs": {"x": "x"}, **fields})


def tensor(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(datatype=datatype, shape=(-1, *shape))


class Local:
    """A bound node, called in the same thread; counts its calls and the rows in them."""

    def __init__(
        self,
        spec: NodeBase,
        root: Path,
        inputs: Mapping[str, TensorSpec | None],
        outputs: Mapping[str, TensorSpec | None] | None = None,
    ) -> None:
        self.node: NodeBase | None = spec
        self._bound = bind("model", spec, root)
        self.instance = self._bound.instance
        self.inputs, self.outputs = inputs, outputs
        self.calls: list[int] = []

    def __call__(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Mapping[str, Any]:
        assert inputs.keys() == self.inputs.keys()
        for name, spec in self.inputs.items():
            if spec is not None:
                assert inputs[name].ndim == len(spec.shape)
        self.calls.append(len(next(iter(inputs.values()))))
        found = self._bound.call(**inputs)
        return found if isinstance(found, dict) else {DEFAULT_OUTPUT: found}


def explainer(model: Any, root: Path, method: str, /, **fields: Any) -> Any:
    """Make an explainer of a model and load it, as the engine does."""
    bound = bind(
        "why", node(**{"type": "explainer", "method": method, "inputs": {}, **fields}), root
    )
    bound.instance.attach(model)
    asyncio.run(bound.load())
    return bound


def ask(bound: Any, inputs: Mapping[str, Any], **parameters: Any) -> list[dict[str, Any]]:
    """Return what an explainer answers to a request, as clients see it."""
    found = bound.call(context=Context(parameters=parameters), **inputs)
    return [explanation.to_json() for explanation in found]
