"""Shared models as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anabranch.cli.terminal import table

Json = dict[str, Any]
_MIB = 2**20


def models_text(found: list[Json]) -> str:
    """Return the models, a line for each revision, and then their users."""
    if not found:
        return "no shared models"
    revisions = [row for one in found for row in _revisions(one)]
    columns = ("MODEL", "REVISION", "STATE", "REPLICAS", "MEMORY", "REQUESTS/S", "IN FLIGHT")
    lines = [table(columns, revisions)]
    if users := [row for one in found for row in _users(one)]:
        columns = ("MODEL", "USED BY", "AS", "REQUESTS", "ERRORS", "REQUESTS/S", "MEAN TIME")
        lines += ["", table(columns, users)]
    return "\n".join(lines)


def _revisions(model: Json) -> Iterator[tuple[str, ...]]:
    for one in model["revisions"]:
        held = f" (held by {one['held_by']})" if one["held_by"] else ""
        is_live = one["revision"] == model["live"]
        yield (
            model["model"],
            f"r{one['revision']}",
            one["state"] + held,
            str(one["replicas"]),
            "" if one["memory"] is None else f"{one['memory'] / _MIB:.0f} MiB",
            f"{model['per_second']:.1f}" if is_live else "",
            str(model["in_flight"]) if is_live else "",
        )


def _users(model: Json) -> Iterator[tuple[str, ...]]:
    for one in model["users"]:
        seconds = one["seconds"]
        yield (
            model["model"],
            one["graph"],
            ", ".join(one["references"]),
            str(one["requests"]),
            str(one["errors"]),
            f"{one['per_second']:.1f}",
            "" if seconds is None else f"{1000 * seconds:.1f} ms",
        )
    if model["hidden_users"]:
        count = model["hidden_users"]
        yield model["model"], f"{count} that you may not view", *[""] * 5
