"""The intermediate representation that the compiler's passes hand on.

A draft is immutable; each pass returns a new one. Mistakes are collected in ``problems``, so that
one run of the compiler reports all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import networkx as nx

from anabranch.errors import FieldPath, Mistake, Problem
from anabranch.graph.plan.plan import (
    PlannedMonitor,
    PlannedNode,
    Ref,
    Segment,
    Signature,
    source_type,
)
from anabranch.specs.checks import Partial
from anabranch.specs.models import TensorSpec
from anabranch.specs.shared.reference import SharedReference


class KnownModels(Protocol):
    """The shared models that graphs may use."""

    def signature(self, model: SharedReference) -> Signature | None:
        """Return the signature of a shared model; AnabranchError says why there is none.

        None where it is not known: then the node is taken for right.
        """


@dataclass(frozen=True)
class Draft:
    """A graph on its way to a plan."""

    source: Partial
    nodes: Mapping[str, PlannedNode] = field(default_factory=dict)
    outputs: Mapping[str, Ref] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    hops: int = 0
    monitors: Mapping[str, PlannedMonitor] = field(default_factory=dict)
    recorded: Mapping[str, Ref] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    unchecked: tuple[Problem, ...] = ()
    """What could not be checked, and is taken for right."""
    models: KnownModels | None = None
    """None where shared models are not known: then their nodes are taken for right."""

    def with_problems(self, problems: Iterable[Mistake]) -> Draft:
        """The draft with more mistakes on record."""
        found = tuple(Problem(path, message) for path, message in problems)
        return replace(self, problems=self.problems + found)

    def type_of(self, ref: Ref) -> TensorSpec | None:
        """The type of what ``ref`` names; None where it is not known."""
        return source_type(self.source.inputs, self.nodes, ref)


def node_path(name: str, *rest: str | int) -> FieldPath:
    """Field path of a node or of a field in it."""
    return ("spec", "nodes", name, *rest)


def data_sources(node: PlannedNode) -> list[Mistake]:
    """Every node that ``node`` may need, with the field that says so."""
    found: list[Mistake] = []
    for key, ref in node.inputs.items():
        if ref.node is not None:
            found.append(
                (node_path(node.name, "inputs", int(key) if node.listed else key), ref.node)
            )
    found += [
        (node_path(node.name, "triggers", "sources"), ref.node)
        for ref in node.triggers
        if ref.node is not None
    ]
    found += [(node_path(node.name, "routes"), route) for route in node.routes]
    if node.fallback is not None and node.fallback.node is not None:
        found.append((node_path(node.name, "on_error", "use"), node.fallback.node))
    explains = getattr(node.spec, "explains", None)
    if explains is not None:
        found.append((node_path(node.name, "explains"), explains))
    return found


def needed_by(nodes: Mapping[str, PlannedNode], ends: Iterable[str | None]) -> set[str]:
    """The nodes among ``ends``, and all that these may need."""
    graph, roots = edges(nodes), nodes.keys() & set(ends)
    return roots.union(*(nx.ancestors(graph, root) for root in roots))


def edges(nodes: Mapping[str, PlannedNode]) -> nx.DiGraph[str]:
    """The dependency graph: an edge from each node to those that may need it."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    for node in nodes.values():
        for path, source in data_sources(node):
            if source in nodes and not graph.has_edge(source, node.name):
                graph.add_edge(source, node.name, path=path)
    return graph
