"""Explainers of Alibi as methods of explainer nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from anabranch.components import registry
from anabranch.components.arguments import constructor_problems, spec_arguments
from anabranch.importers.fields import Fields

METHODS = {
    "AnchorTabular": "anchor_tabular",
    "AnchorText": "anchor_text",
    "AnchorImages": "anchor_image",
}
"""Methods by the types that Seldon Core v1 and KServe both have."""
WITHOUT = {
    "Counterfactuals": "counterfactuals need a component of yours with `explain`",
    "Contrastive": "contrastive explanations need a component of yours with `explain`",
}
"""Types without a method, and the reason of each."""
Given: TypeAlias = Mapping[str, tuple[Fields, Any, tuple[str, ...]]]
"""Values by the name of an argument, each with its place: the fields of a map, and a path there."""


def method_arguments(method: str, given: Given) -> dict[str, Any]:
    """Return the values that a method takes as arguments; note those and all others."""
    cls = registry.get("explainer", method).cls
    known = spec_arguments(cls)
    args = {}
    for name, (fields, value, path) in given.items():
        if name in known and not constructor_problems(cls, {name: value}, method):
            args[name] = value
            fields.same(f"`args.{name}`", *path)
        else:
            fields.left_out(f"`{name}` is no argument of `{method}`", *path)
    return args


def literal(text: str) -> Any:
    """Return the value that a text of the command line means; the text where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
