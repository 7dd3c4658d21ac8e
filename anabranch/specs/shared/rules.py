"""Rules of shared models' documents, and of the nodes that use shared models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anabranch.errors import Mistake
from anabranch.specs.shared.document import NODE
from anabranch.specs.shared.reference import FORM, SharedReference, is_shared
from anabranch.specs.unvalidated import Map, as_map

_USES = frozenset(
    {
        "type", "model", "inputs", "outputs", "optional_outputs", "triggers", "timeout",
        "idempotent", "retries", "on_error",
    }
)  # fmt: skip
"""Fields of a node that say how it uses a model, and not how the model runs."""


def shared_rules(node: Map) -> Iterator[Mistake]:
    """Every rule that a node with ``model: shared://…`` breaks; its parts may be anything."""
    text = str(node["model"])
    if SharedReference.parse(text) is None:
        yield ("model",), f"is no reference to a shared model; write {FORM}"
    for field in node:
        if field not in _USES:
            name = text.removeprefix("shared://").partition("@")[0]
            yield (
                (field,),
                f"says how the model runs; it belongs in the document of the shared model "
                f"{name!r} (kind: Model), so remove it here",
            )


def model_rules(data: Any) -> Iterator[Mistake]:
    """Every rule that the document of a shared model breaks, beside those of predictor nodes."""
    spec = as_map(as_map(data).get("spec"))
    if is_shared(spec.get("model")):
        yield (
            ("spec", "model"),
            "is a shared model already, to which graphs refer by themselves; name a file or a URI",
        )
    if NODE in as_map(spec.get("inputs")):
        yield ("spec", "inputs", NODE), "no input can be called so, for it is the model's own name"
