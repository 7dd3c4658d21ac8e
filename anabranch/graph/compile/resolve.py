"""Pass: turn every source into a reference, and every route into a known node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from anabranch.errors import FieldPath, Mistake
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.plan.plan import PlannedNode, Ref
from anabranch.specs.checks import Partial
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Explainer, NodeBase, Router, StandIn

Mistakes = list[Mistake]


def resolve_sources(draft: Draft) -> Draft:
    """Resolve inputs, outputs, routes, fallbacks, placements and explained nodes."""
    source, mistakes = draft.source, Mistakes()
    nodes = {name: _plan_node(source, name, node, mistakes) for name, node in source.nodes.items()}
    outputs: dict[str, Ref] = {}
    for name, text in source.outputs.items():
        ref = resolve(source, text, ("spec", "outputs", name), mistakes)
        if ref is not None:
            outputs[name] = ref
    return replace(draft, nodes=nodes, outputs=outputs).with_problems(mistakes)


def _plan_node(source: Partial, name: str, node: NodeBase, mistakes: Mistakes) -> PlannedNode:
    refs: dict[str, Ref] = {}
    for key, text in _inputs(node):
        ref = resolve(source, text, node_path(name, "inputs", key), mistakes)
        if ref is not None:
            refs[str(key)] = ref
    triggers = _triggers(source, name, node, mistakes)
    fallback = None
    if isinstance(node.on_error, StandIn) and node.on_error.use is not None:
        fallback = resolve(source, node.on_error.use, node_path(name, "on_error", "use"), mistakes)
    for path, target in _named_nodes(name, node):
        _check_node(source, name, target, path, mistakes)
    return PlannedNode(
        name=name,
        spec=node,
        type=str(getattr(node, "type", "")),
        inputs=refs,
        listed=isinstance(getattr(node, "inputs", None), list),
        routes=_known_routes(source, name, node),
        fallback=fallback,
        outputs=node.outputs,
        triggers=triggers,
    )


def _triggers(source: Partial, name: str, node: NodeBase, mistakes: Mistakes) -> tuple[Ref, ...]:
    sources = node.triggers.sources if node.triggers is not None else ()
    refs = [
        resolve(source, text, node_path(name, "triggers", "sources", index), mistakes)
        for index, text in enumerate(sources)
    ]
    return tuple(ref for ref in refs if ref is not None)


def _inputs(node: NodeBase) -> Iterator[tuple[str | int, str]]:
    inputs = getattr(node, "inputs", {})
    yield from enumerate(inputs) if isinstance(inputs, list) else inputs.items()


def _named_nodes(name: str, node: NodeBase) -> Iterator[Mistake]:
    """Fields that must name another node, rather than any source."""
    if node.placement is not None and node.placement.with_ is not None:
        yield node_path(name, "placement", "with"), node.placement.with_
    if isinstance(node, Explainer) and node.explains is not None:
        yield node_path(name, "explains"), node.explains
    if isinstance(node, Router):
        keyed = isinstance(node.routes, Mapping)
        for index, route in enumerate(node.routes or ()):
            yield node_path(name, "routes", route if keyed else index), route
        for index, rule in enumerate(node.rules or ()):
            yield node_path(name, "rules", index, "to"), rule.to
        if node.otherwise is not None:
            yield node_path(name, "otherwise"), node.otherwise
        for field in ("broadcast", "skip"):
            if (target := getattr(node, field)) is not None:
                yield node_path(name, field), target


def _known_routes(source: Partial, name: str, node: NodeBase) -> tuple[str, ...]:
    if not isinstance(node, Router):
        return ()
    return tuple(target for target in node.targets() if target in source.nodes and target != name)


def _check_node(
    source: Partial, name: str, target: str, path: FieldPath, mistakes: Mistakes
) -> None:
    if target == name:
        mistakes.append((path, f"node {name!r} names itself"))
    elif target in source.inputs:
        mistakes.append((path, f"{target!r} is a graph input; this field takes a node"))
    elif target not in source.nodes and target not in source.broken:
        known = sorted({*source.nodes, *source.broken} - {name})
        mistakes.append((path, f"there is no node {target!r}" + hint(target, known)))
    elif isinstance(source.nodes.get(target), Explainer):
        mistakes.append((path, f"{target!r} is an explainer, which gives no tensors"))


def resolve(source: Partial, text: str, path: FieldPath, mistakes: Mistakes) -> Ref | None:
    """The reference for ``text``; None where it cannot be judged or is wrong."""
    if text in source.inputs:
        return Ref(None, text)
    name, _, output = text.partition(".")
    if name in source.broken:
        return None
    if name in source.inputs:
        mistakes.append((path, f"{name!r} is a graph input, which has no outputs; write {name!r}"))
        return None
    node = source.nodes.get(name)
    if node is None:
        known = sorted({*source.inputs, *source.nodes, *source.broken})
        mistakes.append((path, f"there is no graph input or node {name!r}" + hint(name, known)))
        return None
    if isinstance(node, Explainer):
        mistakes.append((path, f"{name!r} is an explainer, which gives no tensors"))
        return None
    if "." not in text:
        return Ref(name, None)
    return Ref(name, output)
