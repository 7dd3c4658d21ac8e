"""What the language says but this version does not do yet; nothing is ever ignored silently."""

from __future__ import annotations

import re
from collections.abc import Iterator

from anabranch.errors import Problem
from anabranch.specs.models import (
    BUILTIN_FIELD,
    Explainer,
    InferenceGraph,
    NodeBase,
    Predictor,
    Scaling,
)
from anabranch.specs.text import FieldPath, quoted, safe_path
from anabranch.specs.wording import Said

_AUTOSCALING = (
    "min", "max", "target_ongoing", "upscale_delay", "downscale_delay", "max_queue", "schedule",
)  # fmt: skip
_REPLICAS = "use a fixed number of `replicas`"
PLANNED: dict[str, frozenset[str]] = {
    "predictor": frozenset({"mlflow", "huggingface", "open_inference"}),
    "router": frozenset({"epsilon_greedy", "thompson"}),
    "explainer": frozenset(
        [
            "anchor_tabular",
            "anchor_text",
            "anchor_image",
            "kernel_shap",
            "tree_shap",
            "ale",
            "partial_dependence",
            "partial_dependence_variance",
            "permutation_importance",
            "similarity",
            "integrated_gradients",
            "saliency",
            "deep_lift",
            "occlusion",
            "layer_gradcam",
        ]
    ),
}
"""Built-ins that the language knows and a later version will bring, by node type."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""A URI's scheme; a single letter is a drive, and ``file`` is a path like any other."""


def unsupported(graph: InferenceGraph) -> tuple[Problem, ...]:
    """Every part of a valid graph that cannot be deployed yet, in the order of the language."""
    return tuple(Problem(safe_path(path), message) for path, message in _parts(graph))


def _parts(graph: InferenceGraph) -> Iterator[Said]:
    spec = graph.spec
    for name, node in spec.nodes.items():
        yield from _node(("spec", "nodes", name), node)
    yield from _scaling(("spec", "scaling"), spec.scaling)
    if spec.warmup is not None:
        yield ("spec", "warmup"), _cannot("`warmup`")


def _node(path: FieldPath, node: NodeBase) -> Iterator[Said]:
    yield from _kind(path, node)
    if isinstance(node, Predictor | Explainer):
        yield from _remote_files(path, node)
    if getattr(node, "multiplex", None) is not None:
        yield (*path, "multiplex"), _cannot("`multiplex`")
    yield from _scaling((*path, "scaling"), node.scaling)


def _scaling(path: FieldPath, scaling: Scaling | None) -> Iterator[Said]:
    for field in _AUTOSCALING:
        if getattr(scaling, field, None) is not None:
            yield (*path, field), _cannot(f"autoscaling (`{field}`)", _REPLICAS)


def _kind(path: FieldPath, node: NodeBase) -> Iterator[Said]:
    """What the node is, apart from how it runs."""
    if isinstance(node, Explainer):
        yield path, _cannot("an explainer")
        return
    kind = str(getattr(node, "type", ""))
    field = BUILTIN_FIELD.get(kind, "")
    name = getattr(node, field, None)
    if node.component is None and name in PLANNED.get(kind, ()):
        yield (*path, field), _cannot(f"{kind} {field} {name}", "use another")


def _remote_files(path: FieldPath, node: Predictor | Explainer) -> Iterator[Said]:
    for field in ("model", "data"):
        match = _SCHEME.match(getattr(node, field, None) or "")
        if match is not None and match.group(1).lower() != "file":
            what = f"the scheme {quoted(match.group(1))}"
            yield (*path, field), _cannot(what, "use a path relative to the spec")


def _cannot(what: str, instead: str = "remove it") -> str:
    return f"{what} is not supported yet; {instead} to deploy"
