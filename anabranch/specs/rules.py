"""What needs more than one field to judge, but no more than one node, whatever its built-in.

What a built-in needs is said by the built-in itself (its ``check`` in the registry); how nodes fit
together is said by the compiler's passes. Each rule reads plain data, as far as it has the right
shape, and says nothing about the rest: so a mistake in one field never hides the mistakes of
others. An absent field and a null one are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anabranch.specs.models import BUILTIN_FIELD, NODE_TYPES
from anabranch.specs.text import FieldPath, listing, nearest
from anabranch.specs.units import Duration
from anabranch.specs.wording import Said, guess_type

Map = Mapping[str, Any]

RESERVED = {
    "head": "the segment that runs inside the router",
    "router": "the deployment that takes the graph's requests",
}
"""Names that no node may have, and what has them."""
_EXAMPLES = {
    "transformer": "scale",
    "predictor": "sklearn",
    "combiner": "mean",
    "router": "weighted",
    "explainer": "anchor_tabular",
}
_AUTOSCALING = ("min", "max", "target_ongoing", "upscale_delay", "downscale_delay")
_ONLY_BUILTIN = {"predictor": ("model", "method", "sha256"), "explainer": ("model", "sha256")}
"""Fields that say something to a built-in and nothing to a component, which has ``args``."""


def broken_rules(data: Any) -> Iterator[Said]:
    """Every rule that a whole document breaks; ``data`` may be anything."""
    spec = as_map(as_map(data).get("spec"))
    nodes = as_map(spec.get("nodes"))
    yield from _under(("spec",), _positive_timeout(spec))
    for name, node in nodes.items():
        yield from _under(("spec", "nodes", name), _name(name, as_map(spec.get("inputs"))))
        yield from _under(("spec", "nodes", name), _node(as_map(node)))
    yield from _under(("spec", "traffic", "sticky"), _sticky(spec))
    yield from _under(("spec", "rollout", "analysis", "metrics"), _metrics(spec))


def as_map(value: Any) -> dict[str, Any]:
    """``value`` without its null fields if it is a map, else an empty one."""
    if not isinstance(value, Mapping):
        return {}
    return {key: inner for key, inner in value.items() if inner is not None}


def _under(prefix: FieldPath, found: Iterator[Said]) -> Iterator[Said]:
    for path, message in found:
        yield (*prefix, *path), message


def _name(name: str, inputs: Map) -> Iterator[Said]:
    if name in inputs:
        yield (), "has the name of an input; a source could mean either"
    if name in RESERVED:
        yield (), f"this name is taken: it is {RESERVED[name]}"


def _node(node: Map) -> Iterator[Said]:
    kind = guess_type(node)
    if kind is None:
        return
    for rule in _RULES.get(kind, _EVERY_NODE):
        yield from rule({**node, "type": kind})
    yield from _under(("scaling",), _scaling(as_map(node.get("scaling"))))
    for field in ("resources", "scaling", "placement", "outputs"):
        if field in node and node[field] == {}:
            yield (field,), "is empty; remove it"


def _intended(node: Map, kind: str) -> set[str]:
    """The fields of a node, and those that its unknown fields were likely meant to be."""
    known = NODE_TYPES[kind].model_fields
    return {field if field in known else nearest(field, known) or field for field in node}


def _one_origin(node: Map) -> Iterator[Said]:
    """Exactly one of ``component`` and the field that names a built-in."""
    kind = node["type"]
    builtin, present = BUILTIN_FIELD[kind], _intended(node, kind)
    if "component" in node and builtin in node:
        if not (kind == "predictor" and builtin == "method"):
            yield (builtin,), f"a node has either `component` or `{builtin}`; remove one"
    elif not present & {"component", builtin}:
        example = f"a built-in `{builtin}` such as {_EXAMPLES[kind]}"
        yield (), f"needs either `component`, your class, or {example}"


def _only_for_builtins(node: Map) -> Iterator[Said]:
    kind = node["type"]
    if "component" in node and BUILTIN_FIELD[kind] not in node:
        for field in _ONLY_BUILTIN.get(kind, ()):
            if field in node:
                yield (field,), "says nothing to a `component`; pass it in `args`"
    if "sha256" in node and "model" not in _intended(node, kind) and "component" not in node:
        yield ("sha256",), "needs `model`, the file that it is the digest of"


def _router(node: Map) -> Iterator[Said]:
    routes = node.get("routes")
    yield from _repeated(routes if isinstance(routes, list) else [])
    if "component" in node:
        yield from _own_router(node)
    elif node.get("strategy") == "rules":
        if isinstance(routes, list):
            yield ("routes",), "strategy rules takes its nodes from `rules` and `otherwise`"
        if "otherwise" not in _intended(node, "router"):
            yield (), "strategy rules needs `otherwise`, the node for what no rule matches"


def _repeated(routes: list[Any]) -> Iterator[Said]:
    seen: set[str] = set()
    for index, route in enumerate(routes):
        if isinstance(route, str):
            if route in seen:
                yield ("routes", index), "is already in the list"
            seen.add(route)


def _own_router(node: Map) -> Iterator[Said]:
    """A component picks by itself: it has no weights and no rules."""
    for field in ("rules", "otherwise"):
        if field in node:
            yield (field,), "only strategy rules reads this, not your `component`; remove it"
    if isinstance(node.get("routes"), dict):
        yield ("routes",), "only strategy weighted has weights; write a list of nodes"
    elif "routes" not in _intended(node, "router"):
        yield (), "a `component` needs `routes`, a list of the nodes to pick from"


def _scaling(scaling: Map) -> Iterator[Said]:
    auto = [field for field in _AUTOSCALING if field in scaling]
    low, high = _number(scaling.get("min")), _number(scaling.get("max"))
    if "replicas" in scaling and auto:
        yield ("replicas",), f"a fixed number excludes autoscaling; remove it or {listing(auto)}"
    elif auto and not {"max", "replicas"} & {nearest(f, _SCALING) or f for f in scaling}:
        yield (), "autoscaling needs `max`, the most replicas"
    if low is not None and high is not None and low > high:
        yield ("min",), f"min {low} is more than max {high}"


def _positive_timeout(owner: Map) -> Iterator[Said]:
    try:
        timeout = Duration.parse(owner.get("timeout"))
    except ValueError:
        return
    if timeout == 0:
        yield ("timeout",), "must be more than 0"


def _sticky(spec: Map) -> Iterator[Said]:
    traffic = as_map(spec.get("traffic"))
    sticky = as_map(traffic.get("sticky"))
    known = [field for field in ("header", "cookie", "parameter") if field in sticky]
    if len(known) > 1:
        yield (), f"takes one field, not {listing(known)}"
    if not sticky and isinstance(traffic.get("sticky"), Mapping):
        yield (), "needs one of `header`, `cookie` and `parameter`"


def _metrics(spec: Map) -> Iterator[Said]:
    metrics = as_map(as_map(spec.get("rollout")).get("analysis")).get("metrics")
    for index, item in enumerate(metrics if isinstance(metrics, list) else ()):
        metric = as_map(item)
        if "metric" in metric and not {"min", "max"} & {nearest(f, _METRIC) or f for f in metric}:
            yield (index,), "needs `max` or `min`, the limit to hold"
        if metric.get("metric") == "promql" and "query" not in metric:
            yield (index,), "the metric promql needs `query`"
        if metric.get("metric") != "promql" and "query" in metric:
            yield (index, "query"), "only the metric promql has a query"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


Rule = Callable[[Map], Iterator[Said]]
_SCALING = ("replicas", *_AUTOSCALING)
_METRIC = ("metric", "max", "min", "query")
_EVERY_NODE: tuple[Rule, ...] = (_one_origin, _only_for_builtins, _positive_timeout)
_RULES: dict[str, tuple[Rule, ...]] = {"router": (*_EVERY_NODE, _router)}
