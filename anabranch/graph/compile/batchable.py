"""Pass: refuse batching where the tensors of a node are known to have no rows."""

from __future__ import annotations

from collections.abc import Iterator

from anabranch.errors import Mistake
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.plan.plan import PlannedNode
from anabranch.specs.models import TensorSpec


def check_batching(draft: Draft) -> Draft:
    """Look at the inputs and outputs of every node that has ``batching``."""
    return draft.with_problems(
        problem
        for name in draft.order
        if draft.nodes[name].spec.batching is not None
        for problem in _problems(draft, draft.nodes[name])
    )


def _problems(draft: Draft, node: PlannedNode) -> Iterator[Mistake]:
    for key, ref in node.inputs.items():
        if _has_no_rows(draft.type_of(ref)):
            text = f"{str(ref)!r} has no rows, which `batching` gathers along dimension 0"
            yield node_path(node.name, "inputs", key), text
    for name, spec in (node.outputs or {}).items():
        if _has_no_rows(spec):
            text = f"output {name!r} has no rows, along which `batching` splits results"
            yield node_path(node.name, "batching"), text


def _has_no_rows(spec: TensorSpec | None) -> bool:
    return spec is not None and not spec.shape
