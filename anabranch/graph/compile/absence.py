"""Pass: mark what may be absent from a request, and refuse nodes that could not do without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from anabranch.components import registry
from anabranch.errors import Mistake
from anabranch.graph.compile.draft import Draft, needed_by, node_path
from anabranch.graph.plan.absence import is_conditional, optional_outputs
from anabranch.graph.plan.plan import PlannedNode, Ref, may_be_absent
from anabranch.graph.plan.quorums import quorum_of
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import Explainer

Found = Iterator[Mistake]


def mark_absent(draft: Draft) -> Draft:
    """Mark optional outputs and conditional nodes in order, and check the fields that say so."""
    for name in draft.order:
        node = draft.nodes[name]
        node = replace(node, optional=optional_outputs(draft.nodes, node))
        node = replace(node, is_conditional=is_conditional(draft.source.inputs, draft.nodes, node))
        draft = replace(draft, nodes={**draft.nodes, name: node})
    problems = [found for node in draft.nodes.values() for found in _check(draft, node)]
    return draft.with_problems(problems)


def _check(draft: Draft, node: PlannedNode) -> Found:
    yield from _check_names(node)
    yield from _check_triggers(node)
    if node.type in ("predictor", "transformer", "combiner"):
        yield from _check_builtin(node)
    if node.spec.batching is not None:
        yield from _check_batching(node)
    if isinstance(node.spec, Explainer):
        yield from _check_explained(draft, node, node.spec)


def _check_names(node: PlannedNode) -> Found:
    named = getattr(node.spec, "optional_outputs", None) or ()
    for index, output in enumerate(named):
        path = node_path(node.name, "optional_outputs", index)
        if output in named[:index]:
            yield path, "is already in the list"
        elif node.outputs is not None and output not in node.outputs:
            said = f"{node.name!r} has no output {output!r}{hint(output, sorted(node.outputs))}"
            yield path, said


def _check_triggers(node: PlannedNode) -> Found:
    triggers = node.spec.triggers
    if triggers is None or triggers.quorum is None:
        return
    if triggers.quorum > len(triggers.sources):
        sources = f"{len(triggers.sources)} source{'s' if len(triggers.sources) != 1 else ''}"
        said = f"is {triggers.quorum}, but there {'are' if sources[-1] == 's' else 'is'} {sources}"
        yield node_path(node.name, "triggers", "quorum"), said


def _check_builtin(node: PlannedNode) -> Found:
    """Built-ins give all outputs that they have, and take all inputs, unless they say otherwise."""
    name = registry.builtin_of(node.spec)
    if name is None or name not in registry.names(node.type):
        return
    if getattr(registry.get(node.type, name).cls, "partial", False):
        return
    if getattr(node.spec, "optional_outputs", None) is not None:
        said = f"{shown(name)} leaves out no output; a `component` or a remote model may"
        yield node_path(node.name, "optional_outputs"), said
    if node.type != "combiner" and quorum_of(node) is not None:
        said = f"{shown(name)} needs every input; a `component` or a remote model may do without"
        yield node_path(node.name, "quorum"), said


def _check_batching(node: PlannedNode) -> Found:
    for field in ("optional_outputs", "quorum"):
        if getattr(node.spec, field, None) is not None:
            said = (
                "has no meaning with `batching`: one call answers several requests; remove one of "
                "the two"
            )
            yield node_path(node.name, field), said


def _check_explained(draft: Draft, node: PlannedNode, spec: Explainer) -> Found:
    """What is explained is asked again and again, and must give an answer each time."""
    explained = draft.nodes.get(spec.explains or "")
    refs = [*draft.outputs.values()] if explained is None else [Ref(explained.name, None)]
    optional = _optional_inputs(draft, [*refs, *node.inputs.values()])
    if optional:
        said = f"depends on input {optional[0]!r}, which is optional; explainers need every input"
        yield node_path(node.name), said
    elif any(may_be_absent(draft.source.inputs, draft.nodes, ref) for ref in refs):
        what = "the graph" if explained is None else repr(explained.name)
        said = f"{what} gives no answer to some requests, so that it cannot be explained"
        yield node_path(node.name, *(["explains"] if explained else [])), said


def _optional_inputs(draft: Draft, refs: Sequence[Ref]) -> list[str]:
    """Return the optional graph inputs that sources depend on."""
    before = needed_by(draft.nodes, (ref.node for ref in refs))
    read = [
        ref
        for name, node in draft.nodes.items()
        if name in before
        for ref in (*node.inputs.values(), *node.triggers)
    ]
    names = {ref.output for ref in (*refs, *read) if ref.node is None}
    return [name for name, one in draft.source.inputs.items() if one.optional and name in names]
