"""Pass: nodes that share a process agree on its environment variables."""

from __future__ import annotations

from collections.abc import Iterator

from anabranch.errors import FieldPath, Mistake
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.specs.models import Explainer, NodeBase, Secret


def check_variables(draft: Draft) -> Draft:
    """Refuse different values, or sources, of one variable in one process."""
    found: dict[FieldPath, str] = {}
    for names in _processes(draft):
        for path, message in _differences(draft, names):
            found.setdefault(path, message)
    return draft.with_problems(found.items())


def _processes(draft: Draft) -> Iterator[tuple[str, ...]]:
    """Yield the nodes that a process hosts, or may host: an explainer's loads copies of nodes."""
    head = draft.segments[0].nodes
    for part in draft.segments:
        yield part.nodes
    for name, node in draft.nodes.items():
        if not isinstance(node.spec, Explainer):
            continue
        others = [other for other in draft.order if draft.nodes[other].type != "explainer"]
        is_whole = node.spec.explains is None and node.spec.colocate
        copied = others if is_whole else [*head, node.spec.explains]
        yield (*(other for other in others if other in copied), name)


def _differences(draft: Draft, names: tuple[str, ...]) -> Iterator[Mistake]:
    first: dict[str, tuple[str, str | Secret]] = {}
    for name in names:
        for field, variable, value in _variables(draft.nodes[name].spec):
            other, known = first.setdefault(variable, (name, value))
            if known != value:
                yield (
                    node_path(name, field, variable),
                    f"{name!r} and {other!r} share a process, and each gives {variable} another "
                    "value; give one of the nodes a process of its own (`placement: {isolate: "
                    "true}`), or the variables different names",
                )


def _variables(node: NodeBase) -> Iterator[tuple[str, str, str | Secret]]:
    yield from (("env", name, value) for name, value in node.env.items())
    yield from (("secrets", name, source) for name, source in node.secrets.items())
