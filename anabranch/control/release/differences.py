"""Differences between two revisions: fields of their specs, plans, files, and the text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from anabranch.components.artefacts.uris import redacted
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import Loaded, load_text
from anabranch.graph.compile.render import plan_to_json

Json: TypeAlias = dict[str, Any]


def difference(
    before: Json, after: Json, old_files: Mapping[str, str], new_files: Mapping[str, str]
) -> Json:
    """Return the differences between two revisions of the control API and between their files.

    ``old_files`` and ``new_files`` are marks of the files' contents, by file name. The result is
    ``{"graph", "from", "to", "spec", "plan", "files", "models": lines, "text": a unified diff of
    the specs}``.
    """
    old, new = _loaded(before), _loaded(after)
    return {
        "graph": after["graph"],
        "from": before["revision"],
        "to": after["revision"],
        "spec": list(spec_changes(_data(old), _data(new))),
        "plan": list(plan_changes(_plan(old), _plan(new))),
        "files": list(file_changes(old_files, new_files)),
        "models": list(model_changes(before.get("pins", {}), after.get("pins", {}))),
        "text": _unified(before, after),
    }


def file_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield the differences between two sets of files, by name."""
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{'+' if name not in old else '-' if name not in new else '~'} {name}"


def model_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield the references to models, such as an alias, whose meaning has changed."""
    for reference in sorted({*old, *new}):
        before, after = old.get(reference), new.get(reference)
        if before != after:
            yield f"~ {redacted(reference)}: {before or 'not there'} -> {after or 'not there'}"


def plan_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences between two plans as JSON: segments one by one, hops, and types."""
    before = {segment["name"]: segment for segment in old.get("segments", ())}
    after = {segment["name"]: segment for segment in new.get("segments", ())}
    yield from (f"- segment {name}" for name in before if name not in after)
    for name, segment in after.items():
        if name not in before:
            yield f"+ segment {name} ({', '.join(segment['nodes'])})"
        elif before[name] != segment:
            yield f"~ segment {name}: {', '.join(_differing(before[name], segment))}"
    for part in ("critical_path_hops", "inputs", "outputs"):
        if old.get(part) != new.get(part):
            yield f"~ {part}{_shown(old.get(part), new.get(part))}"


def _shown(before: Any, after: Any) -> str:
    return f": {before} -> {after}" if isinstance(before, int) and isinstance(after, int) else ""


def _unified(before: Json, after: Json) -> str:
    lines = difflib.unified_diff(
        before["spec"].splitlines(), after["spec"].splitlines(),
        f"r{before['revision']}", f"r{after['revision']}", lineterm="",
    )  # fmt: skip
    return "\n".join(lines)


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


def spec_of(revision: Json) -> Mapping[str, Any]:
    """The spec of a revision as data, empty where this version of the language cannot read it."""
    return _data(_loaded(revision))


def _loaded(revision: Json) -> Loaded | None:
    try:
        return load_text(revision["spec"])
    except SpecError:
        return None


def _data(loaded: Loaded | None) -> Mapping[str, Any]:
    return {} if loaded is None else loaded.graph.to_dict()


def _plan(loaded: Loaded | None) -> Mapping[str, Any]:
    return {} if loaded is None else plan_to_json(loaded.plan)
