"""Renders a plan: as JSON for programs, as a Mermaid flowchart for people."""

from __future__ import annotations

from typing import Any

from anabranch.graph.compile.explainers import explained_part
from anabranch.graph.compile.memory.budgets import BUDGETS, reserved_bytes
from anabranch.graph.plan.drawing import DrawnArrow
from anabranch.graph.plan.plan import Plan, PlannedMonitor, PlannedNode, Segment
from anabranch.specs.models import TensorSpec

SHAPES = {
    "transformer": ("[", "]"),
    "predictor": ("[[", "]]"),
    "combiner": ("{{", "}}"),
    "router": ("{", "}"),
    "explainer": ("[/", "/]"),
}
"""Mermaid's brackets for each node type."""


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return a JSON-able summary of a plan: segments, hops, warnings, nodes and types.

    ``budgets`` are the bytes of all replicas together, by the field of ``resources``.
    """
    return {
        "name": plan.name,
        "segments": [_segment(segment) for segment in plan.segments],
        "critical_path_hops": plan.critical_path_hops,
        "pool": plan.pool,
        "budgets": {
            field: {"min": found[0], "max": found[1]}
            for field in BUDGETS
            if (found := reserved_bytes(plan, field)) is not None
        },
        "warnings": [str(warning) for warning in plan.warnings],
        "inputs": {name: str(spec) for name, spec in plan.inputs.items()},
        "nodes": {name: _node(plan, node) for name, node in plan.nodes.items()},
        "outputs": {
            name: {"source": str(ref), "type": _type(plan.output_types.get(name))}
            for name, ref in plan.outputs.items()
        },
        "monitors": {name: _monitor(monitor) for name, monitor in plan.monitors.items()},
    }


def _monitor(monitor: PlannedMonitor) -> dict[str, Any]:
    spec = monitor.spec
    return {
        "method": spec.component or spec.method,
        "watches": list(monitor.watches),
        "window": spec.window,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "name": segment.name,
        "nodes": list(segment.nodes),
        "resources": _dump(segment.resources),
        "scaling": _dump(segment.scaling),
        "placement": _dump(segment.placement),
        **({} if segment.model is None else {"model": str(segment.model)}),
    }


def _dump(model: Any) -> dict[str, Any] | None:
    return None if model is None else model.model_dump(mode="json", exclude_none=True)


def _node(plan: Plan, node: PlannedNode) -> dict[str, Any]:
    home = next(part.name for part in plan.segments if node.name in part.nodes)
    outputs = node.outputs
    explained = {"explains": _explained(plan, node.name)} if node.type == "explainer" else {}
    return {
        "type": node.type,
        **explained,
        "segment": home,
        "inputs": {key: str(ref) for key, ref in node.inputs.items()},
        "routes": list(node.routes),
        "spec": node.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "outputs": None if outputs is None else {key: _type(spec) for key, spec in outputs.items()},
    }


def _explained(plan: Plan, name: str) -> dict[str, Any]:
    """Return the explained model of an explainer, its copied nodes, and the called segments."""
    found = explained_part(plan, name)
    return {
        "node": None if found.target is None else found.target.name,
        "copies": list(found.copied),
        "calls": list(found.called),
    }


def _type(spec: TensorSpec | None) -> str | None:
    return None if spec is None else str(spec)


def to_mermaid(plan: Plan) -> str:
    """Return a Mermaid flowchart: segments as boxes, routes and stand-ins as dotted arrows."""
    lines = ["flowchart LR"]
    lines += [f"  in_{name}([{_quoted(f'{name}: {spec}')}])" for name, spec in plan.inputs.items()]
    for segment in plan.segments:
        if segment.nodes:
            lines += [f'  subgraph seg_{segment.name} ["{_title(segment)}"]']
            lines += [f"    {_shape(plan.nodes[name])}" for name in segment.nodes]
            lines += ["  end"]
    lines += [f"  out_{name}([{_quoted(name)}])" for name in plan.outputs]
    lines += [f"  {_arrow(edge)}" for edge in plan.edges]
    return "\n".join(lines) + "\n"


def _arrow(edge: DrawnArrow) -> str:
    label = f"|{edge.label}|" if edge.label else ""
    return f"{edge.source} {'-.->' if edge.is_dotted else '-->'}{label} {edge.target}"


def _shape(node: PlannedNode) -> str:
    left, right = SHAPES[node.type]
    return f"node_{node.name}{left}{_quoted(node.name)}{right}"


def _title(segment: Segment) -> str:
    asked = {} if segment.resources is None else segment.resources.amounts()
    if segment.model is not None:
        return f"{segment.name}, {segment.model}"
    return ", ".join([segment.name, *(f"{key} {value}" for key, value in asked.items())])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
