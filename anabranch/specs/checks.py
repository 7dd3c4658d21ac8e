"""Finds every mistake in a spec that can be judged without the whole graph, in one pass.

What validated on its own is handed on even if something else did not, so that the compiler's
passes can report their mistakes together with these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from anabranch.errors import FieldPath, Mistake, Problem
from anabranch.specs.excerpts import nearest
from anabranch.specs.indentation import misplaced
from anabranch.specs.kinds import foreign
from anabranch.specs.loader import MAX_KEPT_PROBLEMS, Document
from anabranch.specs.messages import ALL_FIELDS, explain
from anabranch.specs.models import (
    MAX_RULES,
    Caching,
    Condition,
    GraphName,
    GraphPlacement,
    InferenceGraph,
    InputSpec,
    Monitor,
    Node,
    NodeBase,
    ProtocolName,
    Scaling,
    Serving,
    Source,
    Telemetry,
)
from anabranch.specs.rules import broken_rules
from anabranch.specs.shared.document import SharedModelDocument, expanded, is_model
from anabranch.specs.shared.rules import model_rules
from anabranch.specs.units import Duration
from anabranch.specs.unvalidated import as_list, as_map

MAX_EXPLAINED = 20_000
"""With more mistakes than this they are only counted: listing them takes memory for all of them."""
T = TypeVar("T")
KindT = TypeVar("KindT", bound=BaseModel)
_NAME: TypeAdapter[str] = TypeAdapter(GraphName)
_INPUT = TypeAdapter(InputSpec)
_NODE: TypeAdapter[NodeBase] = TypeAdapter(Node)
_OUTPUT: TypeAdapter[str] = TypeAdapter(Source)
_DURATION = TypeAdapter(Duration)
_SCALING = TypeAdapter(Scaling)
_MONITOR = TypeAdapter(Monitor)
_CONDITION: TypeAdapter[str] = TypeAdapter(Condition)
_DISPENSABLE = NodeBase.model_fields.keys() - {"component", "args"}
"""Fields of a node that say how it runs, not what it does."""


@dataclass(frozen=True)
class Partial:
    """The parts of a graph that validated on their own.

    ``broken`` names the inputs and nodes that are meant to exist but cannot be judged: whoever
    meets such a name knows nothing about it, and must not call it unknown. A node that is wrong
    only in how it runs (such as ``retries``) is in ``nodes``, without these fields.
    """

    name: str | None = None
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    nodes: Mapping[str, NodeBase] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    timeout: Duration | None = None
    scaling: Scaling | None = None
    conditions: Mapping[int, str] = field(default_factory=dict)
    """Conditions of the traffic's rules, by index."""
    telemetry: Telemetry | None = None
    """Of a valid graph only: no pass judges it."""
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    serving: Serving | None = None
    """Of a valid graph only, likewise."""
    placement: GraphPlacement | None = None
    """Of a valid graph only, likewise."""
    protocols: tuple[ProtocolName, ...] = ()
    """Of a valid graph only, likewise."""
    is_model: bool = False
    """Whether the graph stands for a shared model."""
    cache: Caching | None = None
    """Of a valid graph only, likewise."""

    @classmethod
    def of(cls, graph: InferenceGraph) -> Partial:
        """All of a valid graph."""
        spec = graph.spec
        rules = (spec.traffic.rules if spec.traffic is not None else None) or ()
        return cls(
            graph.name,
            spec.inputs,
            spec.nodes,
            spec.outputs,
            spec.timeout,
            spec.scaling,
            {index: rule.when for index, rule in enumerate(rules)},
            spec.telemetry,
            spec.monitors or {},
            serving=spec.serving,
            placement=spec.placement,
            protocols=tuple(dict.fromkeys(spec.protocols or ())),
            cache=spec.cache,
        )


@dataclass(frozen=True)
class Checked:
    """The result of a check: the graph if nothing is wrong with it, and otherwise the problems."""

    graph: InferenceGraph | None
    partial: Partial
    problems: tuple[Problem, ...]
    document: Document
    """Says where fields of the graph stand."""


def check(document: Document) -> Checked:
    """Judge a document; every mistake is in ``problems``, in the order of the file.

    Where fields stand in the wrong place by their indentation, what is below them is not judged.
    """
    if (mistake := foreign(document.data, document.file)) is not None:
        return Checked(None, Partial(), (document.problem(*mistake),), document)
    return _check_model(document) if is_model(document.data) else _check_graph(document)


def _check_model(document: Document) -> Checked:
    """Judge the document of a shared model: its fields, and if they are right, its graph."""
    _, wrong = _validate(document.data, SharedModelDocument)
    wrong += model_rules(document.data)
    if wrong:
        found = [document.problem(path, message) for path, message in wrong]
        return Checked(
            None, Partial(), tuple(sorted([*document.problems, *found], key=_place)), document
        )
    checked = _check_graph(expanded(document))
    return replace(checked, partial=replace(checked.partial, is_model=True))


def _check_graph(document: Document) -> Checked:
    graph, refused = _validate(document.data, InferenceGraph)
    told = islice(chain(refused, broken_rules(document.data)), MAX_KEPT_PROBLEMS)
    said = list(dict.fromkeys(told))
    found = [document.problem(path, _step(path) + message) for path, message in said]
    problems = tuple(sorted([*document.problems, *found], key=_place))
    if astray := misplaced(document, [path for path, _ in said]):
        above = _with_those_above(problems, astray, document)
        return Checked(None, Partial(), above, document)
    if graph is not None and not problems:
        return Checked(graph, Partial.of(graph), (), document)
    partial = Partial.of(graph) if graph else _partial(document.data, [path for path, _ in refused])
    return Checked(None, partial, problems, document)


def _with_those_above(
    problems: Iterable[Problem], astray: Iterable[Mistake], document: Document
) -> tuple[Problem, ...]:
    """Return what stands in the wrong place, and the mistakes above that do not follow from it."""
    found = sorted((document.problem(path, message) for path, message in astray), key=_place)
    names = {one.path[-1] for one in found}
    above = [one for one in problems if _place(one) < _place(found[0])]
    return (*(one for one in above if not names.intersection(one.path[-1:])), *found)


def _validate(data: Any, kind: type[KindT]) -> tuple[KindT | None, list[Mistake]]:
    if data is None:
        return None, [((), "is empty; a graph starts with `apiVersion: anabranch/v1`")]
    try:
        return kind.model_validate(data), []
    except ValidationError as error:
        if error.error_count() > MAX_EXPLAINED:
            return None, [((), f"has {error.error_count()} mistakes; is it a graph at all?")]
        return None, list(islice(explain(error, kind, data), MAX_KEPT_PROBLEMS))


def _step(path: FieldPath) -> str:
    """Return which step of a rollout a mistake is in, counted from 1 as elsewhere."""
    match path:
        case ("spec", "rollout", "steps", int(index), *_):
            return f"step {index + 1}: "
    return ""


def _place(problem: Problem) -> tuple[int, int]:
    position = problem.position
    return (position.line, position.column) if position else (0, 0)


def _partial(data: Any, mistakes: list[FieldPath]) -> Partial:
    """The parts of ``data`` that hold none of the mistakes, or can do without what does."""
    spec = as_map(as_map(data).get("spec"))
    raw_inputs, raw_nodes = as_map(spec.get("inputs")), as_map(spec.get("nodes"))
    raw_outputs = as_map(spec.get("outputs"))
    wrong = _by_part(mistakes)
    inputs = _valid(raw_inputs, _INPUT, wrong.get("inputs", {}))
    nodes = _valid(_repaired(raw_nodes, wrong.get("nodes", {})), _NODE, {})
    broken = (raw_inputs.keys() - inputs.keys()) | (raw_nodes.keys() - nodes.keys())
    if not raw_inputs or not raw_nodes:
        broken |= _mentioned(nodes.values(), raw_outputs)
    return Partial(
        name=_accepted(_NAME, as_map(as_map(data).get("metadata")).get("name")),
        inputs=inputs,
        nodes=nodes,
        outputs=_valid(raw_outputs, _OUTPUT, wrong.get("outputs", {})),
        timeout=_accepted(_DURATION, spec.get("timeout")),
        scaling=_accepted(_SCALING, spec.get("scaling")),
        conditions=_conditions(as_map(spec.get("traffic"))),
        monitors=_valid(as_map(spec.get("monitors")), _MONITOR, wrong.get("monitors", {})),
        broken=frozenset(broken - inputs.keys() - nodes.keys()),
    )


def _conditions(traffic: Mapping[str, Any]) -> dict[int, str]:
    rules = as_list(traffic.get("rules"))[:MAX_RULES]
    pairs = {
        index: _accepted(_CONDITION, as_map(rule).get("when")) for index, rule in enumerate(rules)
    }
    return {index: text for index, text in pairs.items() if text is not None}


def _by_part(mistakes: list[FieldPath]) -> dict[str, dict[Any, list[FieldPath]]]:
    """The mistakes by section of the spec and name in it, each as its path from there."""
    found: dict[str, dict[Any, list[FieldPath]]] = {}
    for path in mistakes:
        if len(path) > 2 and path[0] == "spec":
            found.setdefault(str(path[1]), {}).setdefault(path[2], []).append(path[3:])
    return found


def _valid(
    raw: Mapping[str, Any], adapter: TypeAdapter[T], wrong: Mapping[Any, Any]
) -> dict[str, T]:
    """The entries that have no mistake and that ``adapter`` accepts."""
    pairs = ((name, _accepted(adapter, value)) for name, value in raw.items() if name not in wrong)
    return {name: value for name, value in pairs if value is not None}


def _accepted(adapter: TypeAdapter[T], value: Any) -> T | None:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _repaired(
    nodes: Mapping[str, Any], wrong: Mapping[Any, list[FieldPath]]
) -> dict[str, dict[str, Any]]:
    """The nodes that can be judged further, without their wrong fields and entries."""
    found = {}
    for name, node in nodes.items():
        rest = _without(as_map(node), wrong.get(name, []))
        if rest is not None:
            found[name] = rest
    return found


def _without(node: dict[str, Any], wrong: list[FieldPath]) -> dict[str, Any] | None:
    """The node without what is wrong with it; None if it would no longer mean the same."""
    entries = {path[:2] for path in wrong if len(path) > 1 and path[0] in _MAPS}
    fields = {path[:1] for path in wrong} - {entry[:1] for entry in entries}
    if not all(_dispensable(field, node) for field in fields):
        return None
    rest = {key: value for key, value in node.items() if (key,) not in fields}
    for key in {str(entry[0]) for entry in entries}:
        kept = {
            name: item for name, item in as_map(node[key]).items() if (key, name) not in entries
        }
        if not kept:
            return None
        rest[key] = kept
    return rest


_MAPS = ("inputs", "outputs", "routes")
"""Fields of a node that are maps, the entries of which can be judged one by one."""


def _dispensable(field: FieldPath, node: Mapping[str, Any]) -> bool:
    """Whether a node without this field, the path of which is given, still means the same."""
    if not field:
        return False
    name = str(field[0])
    if name in ALL_FIELDS:
        return name in _DISPENSABLE
    meant = nearest(name, ALL_FIELDS)
    return meant is None or meant in _DISPENSABLE or meant in node


def _mentioned(nodes: Iterable[NodeBase], outputs: Mapping[str, Any]) -> set[str]:
    """The names that sources begin with."""
    sources: list[Any] = list(outputs.values())
    for node in nodes:
        inputs = getattr(node, "inputs", {})
        sources += inputs if isinstance(inputs, list) else inputs.values()
    return {source.partition(".")[0] for source in sources if isinstance(source, str)}
