"""A node that uses a shared model: from the graph's values to the model's inputs, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anabranch.graph.calls.values import (
    Convert,
    Skipped,
    accessor,
    finisher,
    identity,
    unless_skipped,
)
from anabranch.graph.plan.plan import Plan, Ref
from anabranch.graph.plan.reached import reached
from anabranch.graph.plan.vertices import vertex_of
from anabranch.specs.shared.reference import SharedReference

Array = np.ndarray[Any, Any]


class SharedModelNode:
    """The node ``name`` of a plan, which uses the shared model ``model``."""

    def __init__(self, plan: Plan, name: str) -> None:
        model, node = plan.segment(name).model, plan.nodes[name]
        assert model is not None
        self.name = name
        self.model: SharedReference = model
        self.sources = {key: str(ref) for key, ref in node.inputs.items()}
        """Sources of the model's inputs, by input."""
        self._reads = {key: _reader(plan, ref) for key, ref in node.inputs.items()}
        self._finish = finisher(node)
        self._plan = plan

    def inputs(self, values: Mapping[str, Any]) -> dict[str, Array]:
        """Return the model's inputs, as far as they are there, of the values of vertices."""
        read = {key: access(values[vertex]) for key, (vertex, access) in self._reads.items()}
        return {key: value for key, value in read.items() if not isinstance(value, Skipped)}

    def is_reached(self, path: Mapping[str, str]) -> bool:
        """Return whether a request with the routes ``path`` may have called the model."""
        return self.name in reached(self._plan, path)

    def value(self, outputs: Mapping[str, Array]) -> Any:
        """Return the node's value of the model's outputs; NodeError where it may not have these."""
        return self._finish(dict(outputs))


def _reader(plan: Plan, ref: Ref) -> tuple[str, Convert]:
    """Return the vertex that a source reads, and the way from its value to the source's."""
    access = identity if ref.node is None else accessor(plan.nodes[ref.node], ref)
    return vertex_of(ref), unless_skipped(access)
