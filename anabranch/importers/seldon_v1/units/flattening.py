"""From a tree of units to nodes of a graph, with the order of calls that Seldon's executor has.

``executor/predictor/predictor_process.go``: a unit transforms or predicts, routes, joins the
answers of its children, and transforms the result. A router's -1 asks all children at once, its -2
none, and a unit that is no combiner answers with its first child.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from anabranch.importers.graph_names import node_name
from anabranch.importers.seldon_v1.units.tree import (
    AGGREGATE,
    ROUTE,
    TRANSFORM_OUTPUT,
    PredictiveUnit,
)
from anabranch.specs.rules import RESERVED

PARAMETER = "x"
"""Parameter of a node's only input."""
NodeFields: TypeAlias = dict[str, Any]
_UNCHANGED = {"type": "transformer", "method": "rename", "args": {"names": {PARAMETER: "output"}}}


@dataclass(frozen=True)
class Call:
    """A node that does one method of a unit: its fields but the sources, and weights of routes."""

    fields: NodeFields
    weights: tuple[float, ...] = ()
    """Shares of a router's children; empty where the router decides by its own code."""
    decides: bool = False
    """Whether a router's own code may also choose all children, or none."""


Caller: TypeAlias = Callable[[PredictiveUnit, str], Call]
"""Returns the node for a method of a unit."""


@dataclass
class Flattening:
    """The nodes of a graph, as units are added."""

    caller: Caller
    taken: set[str] = field(default_factory=lambda: set(RESERVED))
    """Names that no further node may have: those of inputs too."""
    nodes: dict[str, NodeFields] = field(default_factory=dict)
    of_unit: dict[str, list[str]] = field(default_factory=dict)
    """Nodes of each unit, the first one first."""

    def result(self, unit: PredictiveUnit, source: str) -> str:
        """Add the nodes of a unit that gets ``source``; return the source of its answer."""
        if unit.before:
            source = self._method(unit, unit.before, inputs={PARAMETER: source})
        if unit.routes:
            source = self._routed(unit, source)
        elif unit.children:
            source = self._joined(unit, [self.result(child, source) for child in unit.children])
        if unit.after:
            source = self._method(unit, TRANSFORM_OUTPUT, inputs={PARAMETER: source})
        return source

    def _routed(self, unit: PredictiveUnit, source: str) -> str:
        results = [self.result(child, source) for child in unit.children]
        ends = [self._joined(unit, [one]) for one in results] if unit.aggregates else results
        call = self.caller(unit, ROUTE)
        if call.weights:
            routes: Any = dict(zip(ends, call.weights, strict=True))
            return self._add(unit, ROUTE, {**call.fields, "routes": routes})
        sources: NodeFields = {"routes": ends}
        if call.decides:
            sources |= {"inputs": {PARAMETER: source}, **self._others(unit, results, source)}
        return self._add(unit, ROUTE, {**call.fields, **sources})

    def _others(self, unit: PredictiveUnit, results: Sequence[str], source: str) -> NodeFields:
        """Return the targets of a router that asks all children, or none."""
        everyone = self._joined(unit, results)
        passed = self._help(unit, "skipped", {**_UNCHANGED, "inputs": {PARAMETER: source}})
        return {"broadcast": everyone, "skip": passed}

    def _joined(self, unit: PredictiveUnit, results: Sequence[str]) -> str:
        """Return the source of what a unit makes of its children's answers."""
        if unit.aggregates:
            return self._method(unit, AGGREGATE, inputs=list(results))
        if len(results) == 1:
            return results[0]
        first = {"type": "combiner", "strategy": "first", "inputs": list(results)}
        return self._help(unit, "first", first)

    def _method(self, unit: PredictiveUnit, method: str, **sources: Any) -> str:
        return self._add(unit, method, {**self.caller(unit, method).fields, **sources})

    def _add(self, unit: PredictiveUnit, method: str, node: NodeFields) -> str:
        """Add a node; the first one of a unit has its name, the others that of the method too."""
        own = self.of_unit.setdefault(unit.name, [])
        wanted = unit.name if not own else f"{unit.name}_{method}"
        own.append(self._named(wanted, node))
        return own[-1]

    def _help(self, unit: PredictiveUnit, purpose: str, node: NodeFields) -> str:
        """Add a node that no container stands for."""
        return self._named(f"{unit.name}_{purpose}", node)

    def _named(self, wanted: str, node: NodeFields) -> str:
        name = node_name(wanted, self.taken)
        self.taken.add(name)
        self.nodes[name] = node
        return name
