"""The intent of a deploy, from the options of ``deploy``."""

from __future__ import annotations

from typing import Any

import typer

Json = dict[str, Any]


def intent(
    canary: float | None = None,
    mirror: float | None = None,
    rollout: list[float] | None = None,
    hold: str | None = None,
    now: bool = False,
) -> Json | None:
    """Return the intent; None leaves it to the spec. Raise BadParameter for options that exclude
    each other.
    """
    asked: dict[str, Json] = {}
    if canary is not None:
        asked["--canary"] = {"kind": "canary", "percent": canary}
    if mirror is not None:
        asked["--mirror"] = {"kind": "mirror", "percent": mirror}
    if rollout is not None:
        fields = {"steps": rollout} | ({} if hold is None else {"hold": hold})
        asked["--rollout"] = {"kind": "rollout", "rollout": fields}
    if now:
        asked["--now"] = {"kind": "replace"}
    if len(asked) > 1:
        raise typer.BadParameter(f"give only one of {', '.join(asked)}")
    if hold is not None and rollout is None:
        raise typer.BadParameter("--hold goes with --rollout")
    return next(iter(asked.values()), None)
