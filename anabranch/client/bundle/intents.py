"""The intent of a deploy: what becomes of its revision once it is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]


def intent(
    canary: float | None = None,
    mirror: float | None = None,
    rollout: Sequence[float] | None = None,
    hold: str | None = None,
    now: bool = False,
    shown: Callable[[str], str] = str,
) -> Json | None:
    """Return the intent; None leaves it to the spec.

    ``canary`` and ``mirror`` are percentages, ``rollout`` the percentages of its steps, ``hold``
    the shortest time of each step. Raise ValueError for fields that exclude each other; ``shown``
    gives the name of a field in its message.
    """
    asked: dict[str, Json] = {}
    if canary is not None:
        asked["canary"] = {"kind": "canary", "percent": canary}
    if mirror is not None:
        asked["mirror"] = {"kind": "mirror", "percent": mirror}
    if rollout is not None:
        fields = {"steps": list(rollout)} | ({} if hold is None else {"hold": hold})
        asked["rollout"] = {"kind": "rollout", "rollout": fields}
    if now:
        asked["now"] = {"kind": "replace"}
    if len(asked) > 1:
        raise ValueError(f"give only one of {', '.join(map(shown, asked))}")
    if hold is not None and rollout is None:
        raise ValueError(f"{shown('hold')} goes with {shown('rollout')}")
    return next(iter(asked.values()), None)
