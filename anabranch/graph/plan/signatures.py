"""Checks the signatures of loaded models against the tensors of the graph."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.components.contract import Bound
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.errors import LoadError
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.specs.excerpts import listing


def check_signatures(plan: Plan, bound: Mapping[str, Bound]) -> None:
    """Raise LoadError where a model takes or gives other tensors than the graph says."""
    for name, each in bound.items():
        node = plan.nodes[name]
        _check_inputs(plan, node, getattr(each.instance, "input_types", {}))
        _check_outputs(node, getattr(each.instance, "output_types", {}))


def _check_inputs(plan: Plan, node: PlannedNode, known: Mapping[str, ModelTensor]) -> None:
    for key, ref in node.inputs.items():
        spec, tensor = plan.type_of(ref), known.get(key)
        if spec is not None and tensor is not None and not tensor.agrees(spec):
            raise LoadError(node.name, f"input {key!r} is {spec}, but the model takes {tensor}")


def _check_outputs(node: PlannedNode, known: Mapping[str, ModelTensor]) -> None:
    if not known or node.outputs is None:
        return
    if len(known) == len(node.outputs) == 1:
        known = dict(zip(node.outputs, known.values(), strict=True))
    if known.keys() != node.outputs.keys():
        raise LoadError(
            node.name,
            f"the model gives {listing(known)}, the node's outputs are {listing(node.outputs)}",
        )
    for name, spec in node.outputs.items():
        if spec is not None and not known[name].agrees(spec):
            text = f"output {name!r} is {spec}, but the model gives {known[name]}"
            raise LoadError(node.name, text)
