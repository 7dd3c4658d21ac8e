"""Pass: give every output a type, and refuse those that do not fit together.

Types flow from the graph's inputs through declared outputs and the rules of the built-ins. What a
component returns without declaring it is unknown, and unknown fits everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from anabranch.components import registry
from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.sticky.keys import check_key_type
from anabranch.components.tensors.types import TypeConflict
from anabranch.errors import AnabranchError, FieldPath, Mistake
from anabranch.graph.compile.draft import Draft, KnownModels, node_path
from anabranch.graph.plan.plan import PlannedNode, Ref, Signature
from anabranch.graph.plan.quorums import quorum_of
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Router, TensorSpec
from anabranch.specs.shared.reference import SharedReference, shared_reference

Outputs = Mapping[str, TensorSpec | None]


def check_types(draft: Draft) -> Draft:
    """Infer the outputs of every node in order, then check the graph's own outputs."""
    for name in draft.order:
        draft = _check_node(draft, draft.nodes[name])
    return draft.with_problems(
        problem
        for name, ref in draft.outputs.items()
        for problem in check_ref(draft, ref, ("spec", "outputs", name))
    )


def _check_node(draft: Draft, node: PlannedNode) -> Draft:
    problems = [
        problem
        for key, ref in node.inputs.items()
        for problem in check_ref(
            draft, ref, node_path(node.name, "inputs", int(key) if node.listed else key)
        )
    ]
    problems += [
        problem
        for index, ref in enumerate(node.triggers)
        for problem in check_trigger(draft, ref, node_path(node.name, "triggers", "sources", index))
    ]
    problems += [
        (node_path(node.name, *path), message) for path, message in registry.problems(node.spec)
    ]
    outputs = node.outputs
    if not problems:
        inferred, problems = _infer(draft, node)
        outputs = _agree(node, inferred, problems)
        if not problems:
            problems += _check_fallback(draft, node, outputs)
    nodes = {**draft.nodes, node.name: replace(node, outputs=outputs)}
    return replace(draft, nodes=nodes).with_problems(problems)


def _infer(draft: Draft, node: PlannedNode) -> tuple[Outputs | None, list[Mistake]]:
    """Return the types of a node's outputs, as far as its kind can tell, and the problems."""
    reference = shared_reference(node.spec)
    if reference is not None:
        types = {key: draft.type_of(ref) for key, ref in node.inputs.items()}
        return _of_model(draft.models, reference, node, types)
    builtin = registry.builtin_of(node.spec)
    if builtin is None:
        return _unify_routes(draft, node) if node.type == "router" else (None, [])
    kind = registry.get(node.type, builtin)
    types = {key: draft.type_of(ref) for key, ref in node.inputs.items()}
    try:
        found = kind.infer(types, node.spec.args)
        if isinstance(node.spec, Router):
            if node.spec.sticky is not None and node.spec.sticky.input is not None:
                check_key_type(node.spec.sticky.input, types)
            return _unify_routes(draft, node)
        if node.type != "combiner" or quorum_of(node) is None:
            return found, []
        return _of_any_subset(node, kind, found, types)
    except TypeConflict as conflict:
        return None, [(node_path(node.name), f"{conflict} ({_trails(draft, node)})")]


def _of_model(
    models: KnownModels | None, reference: SharedReference, node: PlannedNode, types: Outputs
) -> tuple[Outputs | None, list[Mistake]]:
    """Return the outputs of a shared model, as far as it is known, and what does not fit it."""
    if models is None:
        return None, []
    try:
        found = models.signature(reference)
    except AnabranchError as error:
        return None, [(node_path(node.name, "model"), str(error))]
    if found is None:
        return None, []
    return found.outputs, list(_unfit(found, reference, node, types))


def _unfit(
    found: Signature, reference: SharedReference, node: PlannedNode, types: Outputs
) -> Iterator[Mistake]:
    """Yield which inputs and optional outputs of a node do not fit a shared model."""
    declared = getattr(node.spec, "optional_outputs", None) or ()
    takes = ", ".join(f"{name} {spec}" for name, spec in found.inputs.items())
    for name in types.keys() - found.inputs.keys():
        said = f"{reference} takes no input {name!r}; it takes {takes}"
        yield node_path(node.name, "inputs", name), said
    for name, spec in found.inputs.items():
        if name not in types and not spec.optional:
            yield node_path(node.name, "inputs"), f"{reference} needs input {name!r} {spec}"
        given = types.get(name)
        if given is not None and unify(given, spec.tensor) is None:
            said = f"{reference} takes {spec}, but {node.inputs[name]} is {given}"
            yield node_path(node.name, "inputs", name), said
    lacking = sorted(found.optional_outputs.difference(declared))
    if lacking:
        said = f"{reference} may leave out {', '.join(lacking)}; say so in `optional_outputs`"
        yield node_path(node.name, "model"), said


def _of_any_subset(
    node: PlannedNode, kind: registry.Kind, whole: Outputs | None, types: Outputs
) -> tuple[Outputs | None, list[Mistake]]:
    """Return the outputs of a combiner for any subset of its inputs, and the problems.

    The datatype and the rank may not depend on the subset; a size that does is -1. ``whole`` is
    the outputs for all inputs.
    """
    alone = {
        str(node.inputs[key]): (kind.infer({key: spec}, node.spec.args) or {}).get(DEFAULT_OUTPUT)
        for key, spec in types.items()
    }
    (first, merged), *others = alone.items()
    for name, other in others:
        if merged is None or other is None:
            return {DEFAULT_OUTPUT: None}, []
        if (merged.datatype, len(merged.shape)) != (other.datatype, len(other.shape)):
            text = f"{first} alone gives {merged}, {name} alone {other}"
            return None, [(node_path(node.name, "quorum"), f"its output would vary: {text}")]
        pairs = zip(merged.shape, other.shape, strict=True)
        sizes = tuple(one if one == two else -1 for one, two in pairs)
        merged = TensorSpec(datatype=merged.datatype, shape=sizes)
    return ({DEFAULT_OUTPUT: merged} if whole is not None else None), []


def _agree(node: PlannedNode, inferred: Outputs | None, problems: list[Mistake]) -> Outputs | None:
    """Declared outputs, checked against what the kind says it returns."""
    declared = node.spec.outputs
    if declared is None or inferred is None:
        return declared if declared is not None else inferred
    for name, spec in declared.items():
        path = node_path(node.name, "outputs", name)
        if name not in inferred:
            problems.append((path, f"returns no output {name!r}" + hint(name, sorted(inferred))))
        elif unify(spec, inferred[name]) is None and inferred[name] is not None:
            problems.append((path, f"declared {spec}, but the node returns {inferred[name]}"))
    return declared


def _unify_routes(draft: Draft, node: PlannedNode) -> tuple[Outputs | None, list[Mistake]]:
    """A router returns what every route returns: equal names, types that unify.

    Single outputs of different names become one of the default name.
    """
    found = {route: draft.nodes[route].outputs for route in node.routes}
    known = {route: outputs for route, outputs in found.items() if outputs is not None}
    if not known or len(known) < len(found):
        return None, []
    names = {tuple(outputs) for outputs in known.values()}
    if len(names) > 1:
        known = {route: _normal(outputs) for route, outputs in known.items()}
    first, *others = known.items()
    merged: dict[str, TensorSpec | None] = dict(first[1])
    problems: list[Mistake] = []
    for route, outputs in others:
        if outputs.keys() != merged.keys():
            return None, []
        for name, spec in outputs.items():
            both = unify(merged[name], spec)
            if both is None and merged[name] is not None and spec is not None:
                problems.append((node_path(node.name, "routes"), _clash(draft, first[0], route)))
            merged[name] = both
    return merged, problems


def _normal(outputs: Outputs) -> Outputs:
    """Return a single output by the default name, whatever the route calls it."""
    return {DEFAULT_OUTPUT: next(iter(outputs.values()))} if len(outputs) == 1 else outputs


def _clash(draft: Draft, one: str, two: str) -> str:
    return (
        f"routes {one!r} and {two!r} return different types: "
        f"{_trail(draft, Ref(one, None))}; {_trail(draft, Ref(two, None))}"
    )


def _check_fallback(draft: Draft, node: PlannedNode, outputs: Outputs | None) -> list[Mistake]:
    """Return the problems of a node's stand-in, which must be of the type of the node's output."""
    if node.fallback is None:
        return []
    path = node_path(node.name, "on_error", "use")
    problems = check_ref(draft, node.fallback, path)
    if outputs is not None and len(outputs) > 1:
        problems.append((path, f"{node.name!r} has several outputs; one source cannot stand in"))
    given = draft.type_of(node.fallback)
    wanted = next(iter(outputs.values())) if outputs is not None and len(outputs) == 1 else None
    if not problems and given is not None and wanted is not None and unify(given, wanted) is None:
        problems.append((path, f"{node.fallback} is {given}, but {node.name!r} returns {wanted}"))
    return problems


def check_ref(draft: Draft, ref: Ref, path: FieldPath) -> list[Mistake]:
    """A bare name needs a single output; a named output must be one that the node has."""
    node = draft.nodes.get(ref.node or "")
    if node is None or node.outputs is None:
        return []
    names = sorted(node.outputs)
    if ref.output is None and len(names) > 1:
        choices = ", ".join(f"{ref.node}.{name}" for name in names)
        return [(path, f"{ref.node!r} has several outputs; name one of: {choices}")]
    if ref.output is not None and ref.output not in node.outputs:
        return [(path, f"{ref.node!r} has no output {ref.output!r}" + hint(ref.output, names))]
    return []


def check_trigger(draft: Draft, ref: Ref, path: FieldPath) -> list[Mistake]:
    """Any output of a node will do as a trigger; a named one must be one that the node has."""
    return check_ref(draft, ref, path) if ref.output is not None else []


def unify(one: TensorSpec | None, two: TensorSpec | None) -> TensorSpec | None:
    """The type that fits both; None where either is unknown or they conflict."""
    if one is None or two is None or one.datatype != two.datatype:
        return None
    if len(one.shape) != len(two.shape):
        return None
    shape = []
    for left, right in zip(one.shape, two.shape, strict=True):
        if left != right and -1 not in (left, right):
            return None
        shape.append(max(left, right))
    return TensorSpec(datatype=one.datatype, shape=tuple(shape))


def _trails(draft: Draft, node: PlannedNode) -> str:
    return "; ".join(_trail(draft, ref) for ref in node.inputs.values())


def _trail(draft: Draft, ref: Ref) -> str:
    """How a value came to be: ``pixels → scale → net: FP32[-1, 10]``."""
    steps, at = [str(ref)], ref
    while at.node is not None and len(steps) < 12:
        node = draft.nodes.get(at.node)
        sources = [*node.inputs.values()] if node else []
        if node is not None and not sources and node.routes:
            sources = [Ref(node.routes[0], None)]
        if not sources:
            break
        at = sources[0]
        steps.append(str(at))
    spec = draft.type_of(ref)
    return f"{' → '.join(reversed(steps))}: {spec if spec is not None else 'unknown type'}"
