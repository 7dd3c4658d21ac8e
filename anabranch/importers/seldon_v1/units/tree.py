"""Units: the nodes of a predictor's tree, with the methods that a request calls on each.

``executor/predictor/predictor_process.go`` calls, for each unit: transform-input or predict, then
route, the children, aggregate, and transform-output at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.importers.seldon_v1.units.parameters import Parameters
from anabranch.specs.excerpts import listing, shown

MAX_UNITS = 500
"""Most units of a predictor."""
PREDICT, TRANSFORM_INPUT, TRANSFORM_OUTPUT = "predict", "transform_input", "transform_output"
ROUTE, AGGREGATE, SEND_FEEDBACK = "route", "aggregate", "send_feedback"
_OF_TYPE = {
    "MODEL": PREDICT,
    "TRANSFORMER": TRANSFORM_INPUT,
    "ROUTER": ROUTE,
    "COMBINER": AGGREGATE,
    "OUTPUT_TRANSFORMER": TRANSFORM_OUTPUT,
}
_UNKNOWN_TYPE, _UNKNOWN_IMPLEMENTATION = "UNKNOWN_TYPE", "UNKNOWN_IMPLEMENTATION"
_METHODS = {
    name.upper(): name
    for name in (TRANSFORM_INPUT, TRANSFORM_OUTPUT, ROUTE, AGGREGATE, SEND_FEEDBACK)
}
BUILTINS = {
    "SIMPLE_MODEL": "MODEL",
    "SIMPLE_ROUTER": "ROUTER",
    "RANDOM_ABTEST": "ROUTER",
    "AVERAGE_COMBINER": "COMBINER",
}
"""Built-in implementations, and the type that each has."""


@dataclass(frozen=True)
class PredictiveUnit:
    """A node of a predictor's tree."""

    fields: Fields
    name: str
    methods: frozenset[str]
    """Methods that a request calls on the unit."""
    implementation: str
    """A built-in implementation or a prepackaged server; empty for a container's own code."""
    parameters: Parameters
    children: tuple[PredictiveUnit, ...]

    @property
    def before(self) -> str:
        """The method that is called before the children; transform-input wins over predict."""
        if TRANSFORM_INPUT in self.methods:
            return TRANSFORM_INPUT
        return PREDICT if PREDICT in self.methods else ""

    @property
    def routes(self) -> bool:
        """Whether the unit chooses among its children."""
        return ROUTE in self.methods and bool(self.children)

    @property
    def aggregates(self) -> bool:
        """Whether the unit joins the answers of its children."""
        return AGGREGATE in self.methods and bool(self.children)

    @property
    def after(self) -> bool:
        """Whether the unit transforms what its children answered, or its own answer on a leaf."""
        return TRANSFORM_OUTPUT in self.methods

    def walk(self) -> Iterator[PredictiveUnit]:
        """Yield the unit and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def hops(self) -> int:
        """Return the most calls that follow one another in a request."""
        own = sum((bool(self.before), self.routes, self.aggregates, self.after))
        return own + max((child.hops() for child in self.children), default=0)


def read_units(fields: Fields) -> PredictiveUnit:
    """Return the tree of a predictor's ``graph``, its mistakes kept in the fields' source."""
    unit = _unit(fields)
    _check_names(list(unit.walk()))
    return unit


def _unit(fields: Fields) -> PredictiveUnit:
    name = fields.required("name")
    children = tuple(_unit(child) for child in fields.each("children"))
    if children:
        fields.same("children, in their order", "children")
    parameters = Parameters.of(fields)
    implementation = _implementation(fields)
    methods = _methods(fields, implementation)
    unit = PredictiveUnit(fields, name, methods, implementation, parameters, children)
    _check_children(unit)
    return unit


def _implementation(fields: Fields) -> str:
    name = fields.text("implementation")
    if name == _UNKNOWN_IMPLEMENTATION:
        fields.reworded("the code is the container's", "implementation")
        return ""
    return name


def _methods(fields: Fields, implementation: str) -> frozenset[str]:
    """Return the methods that the type, the list of methods and the implementation add up to."""
    kind = fields.choice("type", {*_OF_TYPE, _UNKNOWN_TYPE})
    listed = _listed(fields)
    if implementation in BUILTINS:
        return _of_builtin(fields, implementation, kind, listed)
    if implementation:
        return _of_server(fields, implementation, kind, listed)
    if not kind and "methods" not in fields.data and not fields.has("implementation"):
        return frozenset({PREDICT})
    found = listed | ({_OF_TYPE[kind]} if kind in _OF_TYPE else set())
    if not found - {SEND_FEEDBACK}:
        _never_called(fields, kind)
    for key in ("type", "methods"):
        if fields.has(key):
            fields.same(f"calls {listing(sorted(found))}", key)
    return frozenset(found)


def _never_called(fields: Fields, kind: str) -> None:
    wrong_type = fields.has("type") and kind not in (*_OF_TYPE, _UNKNOWN_TYPE)
    if not wrong_type and fields.data.get("methods") in (None, []):
        types = ", ".join(_OF_TYPE)
        fields.mistake(f"no request calls it: give it a `type` ({types}), or `methods`")
    elif not wrong_type:
        fields.mistake("no request calls it: none of these methods is part of one", "methods")


def _listed(fields: Fields) -> set[str]:
    found = set()
    for index, value in enumerate(fields.items("methods")):
        if isinstance(value, str) and value in _METHODS:
            found.add(_METHODS[value])
        else:
            known = ", ".join(_METHODS)
            fields.mistake(f"{shown(value)} is no method (available: {known})", "methods", index)
    return found


def _of_builtin(fields: Fields, name: str, kind: str, listed: set[str]) -> frozenset[str]:
    """Return the one method of a built-in implementation; more of them would call a container."""
    method = _OF_TYPE[BUILTINS[name]]
    if kind not in ("", _UNKNOWN_TYPE, BUILTINS[name]):
        fields.mistake(f"{name} is a {BUILTINS[name]}, not a {kind}", "type")
    if listed - {method, SEND_FEEDBACK}:
        fields.mistake(f"{name} has no method but {method.upper()}", "methods")
    for key in ("type", "methods"):
        if fields.has(key):
            fields.same(f"what {name} does", key)
    return frozenset({method})


def _of_server(fields: Fields, name: str, kind: str, listed: set[str]) -> frozenset[str]:
    """A prepackaged server is a MODEL, whatever its type says (``defaults.go``)."""
    if kind not in ("", "MODEL"):
        fields.reworded(f"{name} is a MODEL, as Seldon's webhook makes it", "type")
    elif kind:
        fields.same("a predictor", "type")
    if fields.has("methods"):
        if listed - {SEND_FEEDBACK}:
            fields.left_out(f"{name} only predicts", "methods")
        else:
            fields.same("rewards are told by feedback", "methods")
    return frozenset({PREDICT})


def _check_children(unit: PredictiveUnit) -> None:
    for method, kind in ((ROUTE, "router"), (AGGREGATE, "combiner")):
        if method in unit.methods and not unit.children:
            reason = f"a {kind} without children is never asked to {method}: Seldon hands on"
            unit.fields.mistake(f"{reason} what came in; give it `children`", "children")
    if unit.implementation == "RANDOM_ABTEST" and len(unit.children) not in (0, 2):
        said = f"RANDOM_ABTEST chooses between exactly 2 children, not {len(unit.children)}"
        unit.fields.mistake(said, "children")
    unused = unit.children[1:] if not unit.routes and not unit.aggregates else ()
    for index, child in enumerate(unit.children):
        if child in unused:
            unit.fields.reworded(
                f"`{child.name}` is asked, and its answer thrown away: `{unit.name}` is no "
                "combiner, so Seldon answers with its first child",
                "children",
                index,
            )


def _check_names(units: Sequence[PredictiveUnit]) -> None:
    seen: dict[str, Any] = {}
    for unit in units:
        if unit.name and unit.name in seen:
            said = f"{shown(unit.name)} is the name of another node: both would be one container"
            unit.fields.mistake(said, "name")
        seen[unit.name] = unit
    if len(units) > MAX_UNITS:
        said = f"the graph has {len(units)} nodes; the limit is {MAX_UNITS}"
        units[0].fields.mistake(said)
