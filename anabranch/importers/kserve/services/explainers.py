"""Explainers of InferenceServices as explainer nodes.

``explainer.alibi`` and ``explainer.aix`` are fields of KServe up to 0.10, ``explainer.art`` is one
still (pkg/apis/serving/v1beta1/explainer.go).
"""

from __future__ import annotations

from typing import Any

from anabranch.importers.containers import NO_COUNTERPART
from anabranch.importers.explainers import METHODS, WITHOUT, literal, method_arguments
from anabranch.importers.fields import Fields
from anabranch.importers.kserve.services.extensions import component_fields
from anabranch.importers.kserve.services.storage import model_fields

_OTHERS = {
    "art": "attacks on models have no counterpart; write a component with `explain`",
    "aix": "its explainers have no counterpart; write a component with `explain`",
    "custom": "paste the code of the image into a component with `explain`, and add an explainer "
    "node with it",
    "containers": "paste the code of the image into a component with `explain`, and add an "
    "explainer node with it",
}
TEXTS = {"datatype": "BYTES", "shape": [-1]}
IMAGES = {"datatype": "FP32", "shape": [-1, -1, -1, -1]}
_INPUTS = {"anchor_text": TEXTS, "anchor_image": IMAGES}


def explainer_node(explainer: Fields) -> dict[str, Any] | None:
    """Return the explainer node of a service; None where its kind has no counterpart."""
    found = None
    if "alibi" in explainer.data:
        alibi = explainer.within("alibi")
        found = _alibi(alibi)
        alibi.finish()
    elif not any(key in explainer.data for key in _OTHERS):
        explainer.mistake("needs one of art and containers")
    explainer.leave_out(_OTHERS)
    own = component_fields(explainer)
    if found is not None:
        found |= {key: own[key] for key in ("placement", "timeout") if key in own}
        if "replicas" in own.get("scaling", {}):
            found["scaling"] = own["scaling"]
        elif "scaling" in own:
            explainer.left_out("an explainer has a fixed number of replicas", "minReplicas")
    explainer.asked |= {"logger", "serviceAccountName"}
    explainer.finish()
    return found


def inputs_for(explainer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the type of the input that an explainer's method needs; None for any matrix."""
    return _INPUTS.get(explainer["method"])


def _alibi(alibi: Fields) -> dict[str, Any] | None:
    alibi.leave_out(
        {
            **NO_COUNTERPART,
            "runtimeVersion": "the explainers are those of the engine",
            "resources": "an explainer gets the processor time that no other process wants",
            "env": "the explainer is a built-in, which reads no environment",
            "name": "nodes run in the engine's processes, not in containers",
            "image": "nodes run in the engine's processes, not from an image",
        }
    )
    kind = alibi.choice("type", {*METHODS, *WITHOUT})
    if kind in WITHOUT:
        alibi.left_out(WITHOUT[kind], "type")
    if kind not in METHODS:
        for key in ("storageUri", "storage", "config"):
            if alibi.has(key):
                alibi.asked.add(key)
                alibi.left_out("belongs to an explainer that has no counterpart", key)
        return None
    method = METHODS[kind]
    alibi.same(f"`method: {method}`", "type")
    node: dict[str, Any] = {"type": "explainer", "method": method}
    if kind == "AnchorTabular" and alibi.has("storageUri"):
        node |= model_fields(alibi, "", runs_code=True)
    elif kind == "AnchorTabular":
        alibi.to_do("put a sample of the training data beside the graph: `data: sample.csv`")
        node["data"] = "sample.csv"
    elif alibi.has("storageUri"):
        alibi.text("storageUri")
        alibi.reworded("the method calls the model, and needs no file", "storageUri")
    given = {
        name: (alibi, literal(text), ("config", name))
        for name, text in alibi.texts("config").items()
    }
    args = method_arguments(method, given)
    return node | ({"args": args} if args else {})
