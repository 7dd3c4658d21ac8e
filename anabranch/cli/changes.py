"""What a deploy would change, against the revision that answers now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anabranch.control.bundles import pack
from anabranch.control.client import ControlClient, Json
from anabranch.control.settings import Settings
from anabranch.errors import EngineError, NotFound, SpecError
from anabranch.graph.loading import load_text, open_graph


def changes_against_live(file: Path, home: Path) -> list[str] | None:
    """One line per change, none if nothing changes; None where there is no engine to ask."""
    loaded = open_graph(file)
    try:
        with ControlClient.of_home(home) as client:
            live = _live(client, loaded.graph.name)
    except EngineError:
        return None
    if live is None:
        return [f"{loaded.graph.name} is new"]
    digest = pack(file, Settings.from_env().max_bundle).digest
    return list(spec_changes(_spec_of(live), loaded.graph.to_dict())) + _file_changes(live, digest)


def spec_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Fields that differ: nodes one by one, everything else by the name of its part."""
    before, after = old.get("spec", {}), new.get("spec", {})
    yield from _node_changes(before.get("nodes", {}), after.get("nodes", {}))
    for part in sorted({*before, *after} - {"nodes"}):
        if before.get(part) != after.get(part):
            yield f"~ {part}"


def _node_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"- node {name}" for name in before if name not in after)
    for name, node in after.items():
        if name not in before:
            yield f"+ node {name}"
        elif before[name] != node:
            yield f"~ node {name}: {', '.join(_differing(before[name], node))}"


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def _live(client: ControlClient, name: str) -> Json | None:
    try:
        number = client.graph(name).get("live")
        return None if number is None else client.revision(name, number)
    except NotFound:
        return None


def _spec_of(live: Json) -> Mapping[str, Any]:
    """The spec that runs; nothing where this version of the language cannot read it any more."""
    try:
        return load_text(live["spec"]).graph.to_dict()
    except SpecError:
        return {}


def _file_changes(live: Json, digest: str) -> list[str]:
    return [] if live["digest"] == digest else ["~ files of the bundle"]
