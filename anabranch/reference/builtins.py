"""The built-ins in sections, from the registry: arguments, tensors, and an example of each.

Examples are the specs in ``docs/reference/builtins``, by the name of the built-in. One with a
``request`` is run, so what the page says of its answer is true.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from anabranch import Graph
from anabranch.components.arguments import describe, spec_arguments
from anabranch.components.registry import MONITOR, Kind, get, names
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.graph.compile.loading import Loaded, load_data
from anabranch.graph.plan.plan import Plan, PlannedNode
from anabranch.reference.markdown import block, code, plain, prose, section, table
from anabranch.specs.models import BUILTIN_FIELD, InputSpec, TensorSpec

PAGES = {
    "transformer": "transformers",
    "combiner": "combiners",
    "router": "routers",
    "predictor": "runtimes",
    "explainer": "explainers",
    MONITOR: "monitors",
}
"""Name of the page of each kind."""
_HEAD = ("argument", "type", "default", "meaning")
_DIGITS = 4

Example = Mapping[str, Any]


def sections(kind: str, docs: Path) -> str:
    """Return a section for each built-in of a kind, sorted by name."""
    found = examples(kind, docs)
    return "\n\n".join(_section(get(kind, name), found[name], docs) for name in names(kind))


def examples(kind: str, docs: Path) -> dict[str, Example]:
    """Return the examples of a kind by the name of the built-in: ``spec``, maybe ``request``."""
    path = docs / "reference" / "builtins" / f"{kind}.yaml"
    found: dict[str, Example] = yaml.safe_load(path.read_text())
    return found


def load(example: Example, root: Path) -> Loaded:
    """Compile an example whose files are in ``root``; raise SpecError with its mistakes."""
    head = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "example"}}
    return load_data({**head, "spec": example["spec"]}, root)


def arguments(kind: Kind) -> dict[str, inspect.Parameter]:
    """Return the arguments of a built-in that a spec can give."""
    return spec_arguments(kind.cls)


def meanings(kind: Kind) -> dict[str, str]:
    """Return what the docstrings of a built-in and of its bases say of its arguments."""
    found: dict[str, str] = {}
    for cls in reversed(kind.cls.__mro__):
        found |= section(vars(cls).get("__doc__"), "Args")
    return found


def _section(kind: Kind, example: Example, docs: Path) -> str:
    loaded = load(example, docs)
    parts = [f"## {kind.name}", prose(kind.cls.__doc__), *_arguments(kind)]
    parts += [block(_snippet(loaded), "yaml"), *_tensors(kind, loaded.plan)]
    if "request" in example:
        answer = run(loaded, example["request"])
        parts.append(f"{_line(example['request'])} gives {_line(answer)}.")
    return "\n\n".join(parts)


def _arguments(kind: Kind) -> list[str]:
    told = meanings(kind)
    rows = [
        [code(name), describe(one.annotation), _default(one.default), told.get(name, "")]
        for name, one in arguments(kind).items()
    ]
    return [table(_HEAD, rows)] if rows else ["It takes no `args`."]


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return "" if value is None else code(orjson.dumps(value).decode())


def _snippet(loaded: Loaded) -> str:
    """Return the spec of a graph as YAML, without its head."""
    text = Graph.from_spec(loaded.graph, loaded.root).to_yaml()
    return text[text.index("spec:\n") :]


def _tensors(kind: Kind, plan: Plan) -> list[str]:
    """Return the types that the compiler knows of the built-in's tensors in the example."""
    uses = (node for node in plan.nodes.values() if _is(node, kind))
    return [
        f"Tensors: {_types(_inputs(node, plan))} → {_types(node.outputs)}."
        for node in uses
        if node.type not in ("router", "explainer")
    ][:1]


def _is(node: PlannedNode, kind: Kind) -> bool:
    field = BUILTIN_FIELD.get(kind.type)
    return node.type == kind.type and getattr(node.spec, field or "", None) == kind.name


def _inputs(node: PlannedNode, plan: Plan) -> dict[str, TensorSpec | None]:
    found: dict[str, TensorSpec | None] = {}
    for name, source in node.inputs.items():
        shown = str(source) if node.listed else name
        if source.node is None:
            found[shown] = plan.inputs[str(source.output)].tensor
        else:
            found[shown] = next(iter((plan.nodes[source.node].outputs or {}).values()), None)
    return found


def _types(found: Mapping[str, TensorSpec | None] | None) -> str:
    if not found:
        return "outputs that the model names"
    return ", ".join(
        f"{code(name)} {spec if spec is not None else 'of the type that the model gives'}"
        for name, spec in found.items()
    )


def run(loaded: Loaded, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of an example's graph as plain lists, floats with four digits."""
    with Graph.from_spec(loaded.graph, loaded.root) as graph:
        given = {name: _array(value, loaded.plan.inputs[name]) for name, value in request.items()}
        return {name: _rounded(array.tolist()) for name, array in graph.run(given).items()}


def _array(value: Any, spec: InputSpec) -> Array:
    return np.asarray(value, dtype=to_dtype(spec.datatype))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def _line(values: Mapping[str, Any]) -> str:
    return plain(code(orjson.dumps(values).decode().replace(",", ", ").replace(":", ": ")))
