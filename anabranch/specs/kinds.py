"""Finds documents that are no graphs at all: those of other systems, and unindented ones.

Judging their fields would only add mistakes that make no sense to their authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.errors import Mistake
from anabranch.specs.excerpts import clean, quoted_all

GRAPH_KINDS = ("InferenceGraph", "Model")
POLICY_KIND = "AccessPolicy"
_IMPORTABLE = {
    "machinelearning.seldon.io": "Seldon Core",
    "mlops.seldon.io": "Seldon Core",
    "serving.kserve.io": "KServe",
}
_SECTIONS = ("inputs", "nodes", "outputs")


def foreign(data: Any, file: str | None) -> Mistake | None:
    """Return the one mistake of a document that is no graph; None if its fields can be judged."""
    if file is not None and file.endswith(".pbtxt"):
        return (), "This is a configuration of Triton. Convert its folder with `anabranch import`."
    if not isinstance(data, Mapping):
        return None
    version, kind = data.get("apiVersion"), data.get("kind")
    if isinstance(version, str) and not version.startswith("anabranch/"):
        system = _IMPORTABLE.get(version.partition("/")[0])
        if system is not None:
            return (), f"This is a {system} spec. Convert it with `anabranch import FILE`."
        if isinstance(kind, str) and kind not in GRAPH_KINDS:
            return (), f"This is not an anabranch document (kind {clean(kind)})."
    elif kind == POLICY_KIND:
        return ("kind",), "AccessPolicy is no graph; apply it with `anabranch access set FILE`"
    return _unindented(data)


def _unindented(data: Mapping[Any, Any]) -> Mistake | None:
    """Return the mistake of a graph whose sections stand beside ``metadata``."""
    found = [name for name in _SECTIONS if name in data]
    if "spec" in data or not found:
        return None
    return (found[0],), f"put {quoted_all(found)} under `spec:`"
