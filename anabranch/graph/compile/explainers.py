"""Explainers in a plan: what they may explain, what they receive, and where their model is.

An explainer asks the model as often as it likes, so it never does that in a process of the request
path. A node with a deployment of its own is called there; everything else is loaded once more in
the explainer's process, and what that in turn needs of other deployments is called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from anabranch.components import registry
from anabranch.errors import Mistake
from anabranch.explainers.applicable import fitting
from anabranch.graph.compile.draft import Draft, needed_by, node_path
from anabranch.graph.plan.dependence import homes_of
from anabranch.graph.plan.plan import Plan, PlannedNode, Ref
from anabranch.graph.plan.vertices import vertex_of
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Explainer
from anabranch.specs.shared.reference import shared_reference

_SAYS_NOTHING = {
    "outputs": "an explainer gives no tensors",
    "retries": "the client repeats a request for an explanation that failed",
    "idempotent": "an explainer is called once for an explanation",
    "on_error": "no node reads an explainer, so nothing needs a stand-in",
    "triggers": "no request runs an explainer",
}
"""Fields of other nodes that mean nothing here, and why."""


def check_explainers(draft: Draft) -> Draft:
    """Refuse explainers that do not fit what they explain; give each its inputs."""
    mistakes: list[Mistake] = []
    nodes = dict(draft.nodes)
    for name, node in draft.nodes.items():
        mistakes += _shares(draft, node)
        if isinstance(node.spec, Explainer):
            mistakes += _explainer(draft, node, node.spec)
            if not node.inputs:
                received = received_by(draft.nodes, draft.source.inputs, node.spec)
                nodes[name] = replace(node, inputs=received)
    return replace(draft, nodes=nodes).with_problems(mistakes)


def received_by(
    nodes: Mapping[str, PlannedNode], inputs: Collection[str], spec: Explainer
) -> Mapping[str, Ref]:
    """Return the sources of the explained model's inputs: the explained node's, or graph inputs.

    The value of a router node depends on more than the inputs by which it decides, so its model
    takes the graph's inputs.
    """
    explained = nodes.get(spec.explains or "")
    if explained is None or explained.type == "router":
        return {name: Ref(None, name) for name in inputs}
    return explained.inputs


def _shares(draft: Draft, node: PlannedNode) -> Iterator[Mistake]:
    tied = node.spec.placement.with_ if node.spec.placement is not None else None
    other = draft.nodes.get(tied or "")
    if other is not None and "explainer" in (node.type, other.type):
        who = node.name if node.type == "explainer" else other.name
        yield (
            node_path(node.name, "placement", "with"),
            f"explainer {who!r} always has a process of its own, so that it slows no request",
        )


def _explainer(draft: Draft, node: PlannedNode, spec: Explainer) -> Iterator[Mistake]:
    for field, why in _SAYS_NOTHING.items():
        if field in spec.model_fields_set:
            yield node_path(node.name, field), f"has no meaning here: {why}; remove it"
    explained = draft.nodes.get(spec.explains or "")
    if spec.explains is not None and (explained is None or explained.type == "explainer"):
        return  # it is broken itself, or a pass before has said so
    if explained is not None:
        yield from _sources(node, explained)
    yield from _copies(draft, node, spec, explained)
    method = registry.builtin_of(spec)
    if method is None or method not in registry.names("explainer"):
        return
    yield from _method(node, spec, explained, method)
    received = received_by(draft.nodes, draft.source.inputs, spec)
    if node.inputs and node.inputs.keys() != received.keys():
        yield (
            node_path(node.name, "inputs"),
            f"method {method} calls the model with its own inputs, so they must have the "
            f"model's names: {listing(received)}",
        )


def _copies(
    draft: Draft, node: PlannedNode, spec: Explainer, explained: PlannedNode | None
) -> Iterator[Mistake]:
    """Refuse a copy of a shared model, which is loaded in its own processes alone."""
    of = draft.nodes.values() if explained is None else [explained]
    shared = [one.name for one in of if shared_reference(one.spec) is not None]
    method = registry.builtin_of(spec)
    looks = explained is not None and method in registry.names("explainer")
    if shared and spec.colocate:
        what = f"{listing(shared)} is a shared model, of which no copy is made"
        yield node_path(node.name, "colocate"), f"{what}; remove `colocate`"
    elif shared and looks and registry.get("explainer", str(method)).looks_inside:
        what = f"method {method} reads the model, and {listing(shared)} is a shared model"
        yield node_path(node.name, "method"), f"{what}, which can only be called"


def _method(
    node: PlannedNode, spec: Explainer, explained: PlannedNode | None, method: str
) -> Iterator[Mistake]:
    subject = None if explained is None else explained.spec
    kind = registry.get("explainer", method)
    reason = kind.fits(subject)
    if reason is not None:
        what = "the whole graph" if explained is None else repr(explained.name)
        others = fitting(subject)
        instead = f"methods that can: {', '.join(others)}" if others else "a `component` may"
        yield (
            node_path(node.name, "method"),
            f"{method} cannot explain {what}: {reason}; {instead}",
        )
    if kind.looks_inside and spec.colocate is False:
        yield (
            node_path(node.name, "colocate"),
            f"method {method} reads the model, so it needs a copy of the node; remove `colocate`",
        )


def _sources(node: PlannedNode, explained: PlannedNode) -> Iterator[Mistake]:
    """A node is asked by its sources, so each of its inputs needs one of its own."""
    if explained.type == "router":
        return
    taken: dict[Ref, str] = {}
    for key, ref in explained.inputs.items():
        if ref in taken:
            yield (
                node_path(node.name, "explains"),
                f"inputs {taken[ref]!r} and {key!r} of {explained.name!r} are both {ref}, so they "
                "cannot be varied by themselves; explain the whole graph",
            )
        taken[ref] = key


@dataclass(frozen=True)
class ExplainedPart:
    """The part of the plan that an explainer asks, and the place where each node of it runs."""

    plan: Plan
    """The plan, in which the explained node and all copies are asked without any ceremony."""
    node: PlannedNode
    """The explainer, with the inputs that it receives."""
    target: PlannedNode | None
    """The explained node; None for the whole graph."""
    takes: Mapping[str, Ref]
    """Sources of the explained model's inputs, by name."""
    copied: tuple[str, ...]
    """Nodes that are loaded in the explainer's process, in order of evaluation."""
    called: tuple[str, ...]
    """Segments that are called."""
    remote: str | None
    """The segment in which the explained node itself is called; None if it is copied."""

    @property
    def is_alone(self) -> bool:
        """Whether the model is one node, asked by its sources, and not what leads to it too."""
        return self.target is not None and self.target.type != "router"


def explained_part(plan: Plan, name: str) -> ExplainedPart:
    """Where the explainer of that name finds its model."""
    node = plan.nodes[name]
    spec = node.spec
    assert isinstance(spec, Explainer)
    target = None if spec.explains is None else plan.nodes[spec.explains]
    home = homes_of(plan)
    whole = target is None or target.type == "router"
    remote = None if target is None or whole else _remote(plan, spec, target, home)
    needed = _needed(plan, node, target, whole)
    everything = whole and bool(spec.colocate)
    copied = {each for each in needed if everything or home[each] == plan.head.name}
    if target is not None and not whole and remote is None:
        copied.add(target.name)
    called = {home[each] for each in needed - copied} | ({remote} if remote else set())
    return ExplainedPart(
        plan=_plainly(plan, copied, target),
        node=node,
        target=target,
        takes=received_by(plan.nodes, plan.inputs, spec),
        copied=tuple(each for each in plan.nodes if each in copied),
        called=tuple(part.name for part in plan.segments if part.name in called),
        remote=remote,
    )


def _remote(
    plan: Plan, spec: Explainer, target: PlannedNode, home: Mapping[str, str]
) -> str | None:
    """The segment to call the explained node in; None where a copy of it is to be made."""
    method = registry.builtin_of(spec)
    looks = method is not None and registry.get("explainer", method).looks_inside
    away = home[target.name] != plan.head.name
    return home[target.name] if away and not looks and not spec.colocate else None


def _needed(plan: Plan, node: PlannedNode, target: PlannedNode | None, whole: bool) -> set[str]:
    """Nodes that have to be evaluated on the way from the graph's inputs."""
    nodes = {name: each for name, each in plan.nodes.items() if each.type != "explainer"}
    wanted = {vertex_of(ref) for ref in node.inputs.values() if ref.node is not None}
    if whole:
        refs = plan.outputs.values()
        outputs = {ref.node for ref in refs if ref.node is not None}
        wanted |= outputs if target is None else {target.name}
    return needed_by(nodes, wanted)


def _plainly(plan: Plan, copied: Collection[str], target: PlannedNode | None) -> Plan:
    """The plan without batching of what is copied, and without stand-ins for what is explained."""
    nodes = dict(plan.nodes)
    for name in copied:
        changes: dict[str, object] = {"batching": None}
        fallback = nodes[name].fallback
        if target is not None and name == target.name:
            changes |= {"on_error": "fail"}
            fallback = None
        spec = nodes[name].spec.model_copy(update=changes)
        nodes[name] = replace(nodes[name], spec=spec, fallback=fallback)
    return replace(plan, nodes=nodes)
