"""Pass: what stands in for nodes that fail must be what their readers can take.

``on_error: {value: …}`` is of the type of the node's only output. What ``skip`` leaves out may be
read by combiners with a ``quorum`` alone, for nothing else can do without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from anabranch.errors import Mistake, Problem
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.plan.absence import absentable
from anabranch.graph.plan.constants import constant
from anabranch.graph.plan.plan import PlannedNode
from anabranch.graph.plan.quorums import quorum_of
from anabranch.specs.excerpts import listing
from anabranch.specs.models import StandIn

Found = Iterator[Mistake]


def check_stand_ins(draft: Draft) -> Draft:
    """Check constants, who reads nodes that may be left out, and quorums."""
    problems = [found for node in draft.nodes.values() for found in _check(draft, node)]
    warnings = tuple(
        Problem(
            node_path(node.name, "quorum"),
            "no input may be absent or has `on_error: skip`, so `quorum` has no effect",
        )
        for node in draft.nodes.values()
        if quorum_of(node) is not None and not absentable(draft.source.inputs, draft.nodes, node)
    )
    return replace(draft, warnings=draft.warnings + warnings).with_problems(problems)


def _check(draft: Draft, node: PlannedNode) -> Found:
    yield from _check_quorum(node)
    on_error = node.spec.on_error
    value = on_error.value if isinstance(on_error, StandIn) else None
    if node.type == "router" and (value is not None or on_error == "skip"):
        yield (
            node_path(node.name, "on_error"),
            "a router node has the outputs of its route; use `{use: …}` for when it cannot choose",
        )
    elif on_error == "skip":
        yield from _check_readers(draft, node)
    elif value is not None and not _is_wrong(draft, node):
        yield from _check_value(node, value)


def _check_quorum(node: PlannedNode) -> Found:
    quorum = quorum_of(node)
    if quorum is not None and quorum > len(node.inputs):
        inputs = f"{len(node.inputs)} input{'s' if len(node.inputs) != 1 else ''}"
        yield node_path(node.name, "quorum"), f"is {quorum}, but {node.name!r} has {inputs}"


def _check_readers(draft: Draft, node: PlannedNode) -> Found:
    wrong = list(_readers_that_need(draft, node.name))
    if wrong:
        yield (
            node_path(node.name, "on_error"),
            f"`skip` leaves {node.name!r} out, so that only nodes with a `quorum` may read it, "
            f"but {listing(wrong)} {'does' if len(wrong) == 1 else 'do'}",
        )


def _readers_that_need(draft: Draft, name: str) -> Iterator[str]:
    """Whatever reads a node and cannot do without it."""
    for other in draft.nodes.values():
        reads = name in {ref.node for ref in other.inputs.values()}
        stands_in = other.fallback is not None and other.fallback.node == name
        triggers = name in {ref.node for ref in other.triggers}
        needs = (reads and quorum_of(other) is None) or triggers
        if needs or name in other.routes or stands_in:
            yield f"node {other.name!r}"
    for output, ref in draft.outputs.items():
        if ref.node == name:
            yield f"output {output!r}"


def _is_wrong(draft: Draft, node: PlannedNode) -> bool:
    """Whether something else is wrong with a node, so that its type may be unknown for that."""
    own = node_path(node.name)
    return any(problem.path[: len(own)] == own for problem in draft.problems)


def _check_value(node: PlannedNode, value: object) -> Found:
    path = node_path(node.name, "on_error", "value")
    outputs = node.outputs
    if outputs is not None and len(outputs) > 1:
        yield path, f"{node.name!r} has several outputs; one value cannot stand in"
        return
    spec = next(iter(outputs.values())) if outputs else None
    if spec is None:
        yield (
            path,
            f"the type of {node.name!r} is not known, so the constant cannot be checked: add to "
            "the node e.g. `outputs: {output: {datatype: FP32, shape: [-1, 2]}}`",
        )
        return
    try:
        constant(value, spec)
    except ValueError as error:
        yield path, str(error)
