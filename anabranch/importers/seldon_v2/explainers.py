"""Explainers: a Model with ``explainer`` as an explainer node of the graph that it explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.importers.graph_names import graph_name, node_name
from anabranch.importers.result import ImportedGraph
from anabranch.importers.seldon_v1.servers.model_uris import model_fields
from anabranch.importers.seldon_v2.models import PlacedModel
from anabranch.specs.rules import RESERVED

_FITTED = ("anchor_tabular", "kernel_shap")
"""Methods here of that name, whose explainer is fitted: the model is the one that Alibi saved."""
_ASKING = ("anchor_text",)
"""Methods that ask the model, and need no file."""


def add_explainer(
    graphs: Sequence[ImportedGraph], model: PlacedModel
) -> list[ImportedGraph] | None:
    """Return the graphs with the explainer in the one that it explains.

    Return None, with a note why, where it stays a model on Seldon's servers.
    """
    assert model.source is not None and model.explained is not None
    kind, name, method = model.explained
    spec = Fields(model.source, model.source.manifest.data.get("spec") or {}, ("spec",))
    found = [graph for graph in graphs if graph.name.rpartition("/")[2] == graph_name(name)]
    if not found:
        reason = f"there is no {kind} {name!r} among the manifests: the explainer stays a model"
        spec.left_out(reason, "explainer")
        return None
    if method not in (*_FITTED, *_ASKING):
        spec.left_out(
            f"no method here is {method!r}: write a component with `explain`", "explainer"
        )
        return None
    target = found[0]
    if _is_uncertain(target.spec["spec"]):
        spec.left_out("the graph gives no answer to some requests", "explainer")
        return None
    node: dict[str, Any] = {"type": "explainer", "method": method}
    if method in _FITTED:
        node |= model_fields(spec, "", "storageUri")
    else:
        spec.reworded("the method calls the model, and needs no file", "storageUri")
    nodes = dict(target.spec["spec"]["nodes"])
    own = node_name(model.name, {*nodes, *target.spec["spec"]["inputs"], *RESERVED})
    spec.reworded(f"`method: {node['method']}` of the explainer node {own!r}", "explainer")
    body = {**target.spec["spec"], "nodes": {**nodes, own: node}}
    changed = _with_notes(replace(target, spec={**target.spec, "spec": body}), model)
    return [changed if one is target else one for one in graphs]


def _is_uncertain(spec: Mapping[str, Any]) -> bool:
    """Return whether a value of the graph may be absent."""
    nodes = spec["nodes"].values()
    optional = any(one.get("optional") for one in spec["inputs"].values())
    return optional or any("optional_outputs" in node for node in nodes)


def _with_notes(graph: ImportedGraph, model: PlacedModel) -> ImportedGraph:
    assert model.source is not None
    return replace(graph, notes=[*graph.notes, *model.source.notes.found])
