"""Processes of nodes: what containers give them, and which of them run in one process."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.importers.seldon_v1.pods.componentspecs import WITH, Pods
from anabranch.importers.seldon_v1.pods.containers import node_settings, note_elsewhere
from anabranch.importers.seldon_v1.servers.calls import Calls
from anabranch.importers.seldon_v1.units.flattening import Flattening, NodeFields
from anabranch.importers.seldon_v1.units.tree import BUILTINS, PredictiveUnit

_OF_PROCESS = ("resources", "scaling", "placement")
"""Fields that give a node a process of its own."""


def settings_of(units: Sequence[PredictiveUnit], calls: Calls, pods: Pods) -> dict[str, NodeFields]:
    """Return the fields that the containers of units give their nodes."""
    found: dict[str, NodeFields] = {}
    named = {unit.name: unit for unit in units}
    for name, container in pods.containers.items():
        unit = named.get(name)
        if unit is None or (unit.implementation in BUILTINS):
            container.fields.left_out("is no node of the graph: run it beside the engine")
        elif calls.is_elsewhere(unit):
            note_elsewhere(container)
        else:
            found[name] = node_settings(container)
    pods.add_scaling(found, [unit for unit in units if not calls.is_elsewhere(unit)])
    return _apart(found)


def _apart(settings: dict[str, NodeFields]) -> dict[str, NodeFields]:
    """Give nodes a process of their own whose variables have other values in another node."""
    values: dict[str, set[str]] = {}
    for own in settings.values():
        for kind in ("env", "secrets"):
            for name, value in own.get(kind, {}).items():
                values.setdefault(name, set()).add(f"{kind}:{value}")
    for own in settings.values():
        names = [*own.get("env", {}), *own.get("secrets", {})]
        if any(len(values[name]) > 1 for name in names) and "placement" not in own:
            own["placement"] = {"isolate": True}
    return settings


def tie(flattening: Flattening) -> None:
    """Let all nodes of a unit run in the process of its first, as in one container."""
    for names in flattening.of_unit.values():
        first = flattening.nodes[names[0]]
        tied = first.get("placement", {}).get(WITH)
        if tied is not None:
            first["placement"] = {WITH: flattening.of_unit[tied][0]}
        for name in names[1:]:
            node = flattening.nodes[name]
            if "component" in node and {"resources", "scaling", "placement"} & set(first):
                kept = {key: value for key, value in node.items() if key not in _OF_PROCESS}
                flattening.nodes[name] = kept | {"placement": {WITH: names[0]}}
