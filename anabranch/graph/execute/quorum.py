"""Combiners with a ``quorum``: they go on where inputs were left out by ``on_error: skip``.

A combiner over a list gets the shorter list; one over a map is called without the parameter, which
must have a default. Built-in combiners know which of their inputs are left.
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
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.graph.plan.quorums import quorum_of, skippable

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
        for key in skippable(plan.nodes, node):
            if key in required:
                raise LoadError(
                    name,
                    f"{node.inputs[key]} may be left out (`on_error: skip`), so the parameter "
                    f"{key!r} of combine() needs a default",
                )


def quorum_invoker(node: PlannedNode, bound: Bound, parameters: Sequence[Parameter]) -> Invoke:
    """Calls a combiner with those inputs that are there. Raises NodeError if they are too few."""
    call = _call(node, bound)
    quorum = quorum_of(node) or 1

    def invoke(frame: Frame, context: Context) -> Any:
        there = {
            index: convert(frame[slot])
            for index, (_, slot, convert) in enumerate(parameters)
            if not isinstance(frame[slot], Skipped)
        }
        if len(there) < quorum:
            raise NodeError(node.name, _too_few(len(there), quorum, frame, parameters))
        more = {"context": context} if bound.wants_context else {}
        return call(there, parameters, more)

    return invoke


def _call(node: PlannedNode, bound: Bound) -> Any:
    if node.spec.component is None:
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


def _too_few(left: int, quorum: int, frame: Frame, parameters: Sequence[Parameter]) -> str:
    reasons = [frame[slot].reason for _, slot, _ in parameters if isinstance(frame[slot], Skipped)]
    told = "; ".join(reason[:200] for reason in dict.fromkeys(reasons[:MAX_TOLD]))
    more = f"; and {len(reasons) - MAX_TOLD} more" if len(reasons) > MAX_TOLD else ""
    return f"{left} of {len(parameters)} inputs are left, its quorum is {quorum} ({told}{more})"
