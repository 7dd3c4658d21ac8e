"""What the language says but this version does not do yet; nothing is ever ignored silently."""

from __future__ import annotations

from collections.abc import Iterator

from anabranch.errors import Problem
from anabranch.specs.models import (
    BUILTIN_FIELD,
    InferenceGraph,
    NodeBase,
)
from anabranch.specs.text import FieldPath, safe_path
from anabranch.specs.wording import Said

PLANNED: dict[str, frozenset[str]] = {}
"""Built-ins that the language knows and a later version will bring, by node type."""


def unsupported(graph: InferenceGraph) -> tuple[Problem, ...]:
    """Every part of a valid graph that cannot be deployed yet, in the order of the language."""
    return tuple(Problem(safe_path(path), message) for path, message in _parts(graph))


def _parts(graph: InferenceGraph) -> Iterator[Said]:
    spec = graph.spec
    for name, node in spec.nodes.items():
        yield from _node(("spec", "nodes", name), node)


def _node(path: FieldPath, node: NodeBase) -> Iterator[Said]:
    yield from _kind(path, node)


def _kind(path: FieldPath, node: NodeBase) -> Iterator[Said]:
    """What the node is, apart from how it runs."""
    kind = str(getattr(node, "type", ""))
    field = BUILTIN_FIELD.get(kind, "")
    name = getattr(node, field, None)
    if node.component is None and name in PLANNED.get(kind, ()):
        yield (*path, field), _cannot(f"{kind} {field} {name}", "use another")


def _cannot(what: str, instead: str = "remove it") -> str:
    return f"{what} is not supported yet; {instead} to deploy"
