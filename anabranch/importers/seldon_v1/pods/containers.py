"""Containers of pods: the settings of a node, and containers whose server runs elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anabranch.importers.containers import NO_COUNTERPART, environment, resources
from anabranch.importers.fields import Fields


@dataclass(frozen=True)
class Container:
    """A container of a predictor."""

    fields: Fields
    name: str
    image: str
    pod: int
    """Index of its entry in ``componentSpecs``."""


def read_container(fields: Fields, pod: int) -> Container:
    """Return a container, its name checked."""
    name = fields.required("name")
    return Container(fields, name, fields.text("image"), pod)


def node_settings(container: Container) -> dict[str, Any]:
    """Return ``env``, ``secrets`` and ``resources`` of a container's node; note all its fields."""
    fields = container.fields
    fields.same(f"the node `{container.name}`", "name")
    settings = {**environment(fields), **resources(fields)}
    fields.leave_out(NO_COUNTERPART)
    fields.finish(NO_COUNTERPART)
    return settings


def note_elsewhere(container: Container) -> None:
    """Note the fields of a container whose server runs outside of the graph."""
    container.fields.left_out(f"belongs to the server of `{container.name}`, which runs elsewhere")
