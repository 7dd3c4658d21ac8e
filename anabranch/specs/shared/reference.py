"""References to shared models: ``shared://name``, or ``shared://name@3`` for one revision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anabranch.names import GRAPH_NAME
from anabranch.specs.models import NodeBase, Predictor

SCHEME = "shared://"
_REFERENCE = re.compile(rf"{SCHEME}(?P<name>{GRAPH_NAME[1:-1]})(@(?P<revision>[1-9][0-9]{{0,8}}))?")
FORM = "shared://name, shared://namespace/name, or shared://name@3 for its revision 3"


@dataclass(frozen=True, order=True)
class SharedReference:
    """A shared model by name; without a ``revision``, the one that the model's traffic chooses."""

    name: str
    revision: int | None = None

    @classmethod
    def parse(cls, text: str) -> SharedReference | None:
        """Return the reference that a text is; None if it is none."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            return None
        revision = match["revision"]
        return cls(match["name"], None if revision is None else int(revision))

    def __str__(self) -> str:
        pin = "" if self.revision is None else f"@{self.revision}"
        return f"{SCHEME}{self.name}{pin}"


def is_shared(model: object) -> bool:
    """Return whether a node's ``model`` is meant to be a shared model."""
    return isinstance(model, str) and model.startswith(SCHEME)


def shared_reference(node: NodeBase) -> SharedReference | None:
    """Return the shared model that a node uses; None if it uses none."""
    if not isinstance(node, Predictor) or not is_shared(node.model):
        return None
    return SharedReference.parse(str(node.model))
