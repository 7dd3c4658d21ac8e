"""Nodes with a ``quorum``: they go on where inputs are absent or left out by ``on_error: skip``.

A combiner over a list gets the shorter list; a node with a map of inputs is called without the
parameter, which must have a default. Built-in combiners know which of their inputs are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.components.contract import METHODS, Bound, Context
from anabranch.components.parameters import is_required, parameters_of
from anabranch.errors import LoadError, NodeError
from anabranch.graph.calls.values import Skipped
from anabranch.graph.execute.invoke import Parameter
from anabranch.graph.execute.run import Frame
from anabranch.graph.execute.steps import Invoke
from anabranch.graph.plan.absence import absentable
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.graph.plan.quorums import quorum_of

MAX_TOLD = 4
"""Most inputs whose failure an error tells."""


def check_quorums(plan: Plan, bound: Mapping[str, Bound]) -> None:
    """Raise LoadError where a component cannot do without a parameter that may be left out."""
    for name, each in bound.items():
        node = plan.nodes[name]
        if node.listed or node.spec.component is None or quorum_of(node) is None:
            continue
        parameters = parameters_of(getattr(each.instance, METHODS[node.type])) or ()
        required = {one.name for one in parameters if is_required(one)}
        for key in absentable(plan.inputs, plan.nodes, node):
            if key in required:
                raise LoadError(
                    name,
                    f"{node.inputs[key]} may be left out, so the parameter {key!r} of "
                    f"{METHODS[node.type]}() needs a default",
                )


def quorum_invoker(node: PlannedNode, bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    """Calls a component with those inputs that are there. Raises NodeError if they are too few."""
    call = _call(node, bound)
    quorum = quorum_of(node) or 1

    def invoke(frame: Frame, context: Context) -> Any:
        values = [convert(frame[slot]) for _, slot, convert in parameters]
        lost = [value for value in values if isinstance(value, Skipped)]
        if len(values) - len(lost) < quorum:
            raise NodeError(node.name, _too_few(lost, len(values), quorum))
        there = {
            index: value for index, value in enumerate(values) if not isinstance(value, Skipped)
        }
        more = {"context": context} if bound.wants_context else {}
        return call(there, parameters, more)

    return invoke


def _call(node: PlannedNode, bound: Bound) -> Any:
    if node.spec.component is None and node.type == "combiner":
        return _call_builtin(bound)
    if node.listed:
        return lambda there, parameters, more: bound.call(list(there.values()), **more)
    return lambda there, parameters, more: bound.call(
        **{parameters[index][0]: value for index, value in there.items()}, **more
    )


def _call_builtin(bound: Bound) -> Any:
    combine = bound.instance.combine
    combine_some = getattr(bound.instance, "combine_some", None)
    if combine_some is None:
        return lambda there, parameters, more: combine(list(there.values()))
    return lambda there, parameters, more: combine_some(there)


def _too_few(lost: Sequence[Skipped], count: int, quorum: int) -> str:
    reasons = [one.reason for one in lost]
    told = "; ".join(reason[:200] for reason in dict.fromkeys(reasons[:MAX_TOLD]))
    more = f"; and {len(reasons) - MAX_TOLD} more" if len(reasons) > MAX_TOLD else ""
    left = count - len(lost)
    return f"{left} of {count} inputs are left, its quorum is {quorum} ({told}{more})"
