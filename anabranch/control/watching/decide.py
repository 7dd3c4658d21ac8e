"""Decides what follows from a look at watched models. Pure.

A graph goes on from one revision: the newest that is on its way to take over, else the candidate of
its rollout, else the stable one. A reference has moved where it means something else than what was
last acted on; so what failed or was aborted is not tried again until the reference moves again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from anabranch.control.lifecycle.operations import TAKE_OVER, Situation
from anabranch.control.watching.models import WatchingRevision


@dataclass(frozen=True)
class Move:
    """A new revision of the same bundle with other pins; ``changes`` are those that moved."""

    pins: Mapping[str, str]
    changes: Mapping[str, str]


@dataclass(frozen=True)
class BackToStable:
    """The stable revision has what the references mean again: whatever was to replace it goes."""

    changes: Mapping[str, str]


@dataclass(frozen=True)
class Acknowledge:
    """The revision has what the references mean already."""

    changes: Mapping[str, str]


Decision: TypeAlias = Move | BackToStable | Acknowledge


def followed(now: Situation) -> int | None:
    """Return the revision that a graph goes on from; None if none is up or on its way."""
    takers = [one for one in now.coming if now.members[one].intent.kind in TAKE_OVER]
    if takers:
        return takers[-1]
    if now.rollout is not None and now.rollout.active:
        return now.rollout.revision
    return now.stable


def decide(
    base: WatchingRevision,
    stable: WatchingRevision | None,
    seen: Mapping[str, str],
    found: Mapping[str, str],
) -> Decision | None:
    """Return what follows from what references mean now; None where nothing has moved.

    ``base`` is the revision that the graph goes on from, ``seen`` what was last acted on, by
    reference, and ``found`` what references mean, as far as that is known.
    """
    acted_on = {**base.pins, **seen}
    changes = {one: pin for one, pin in found.items() if acted_on.get(one, pin) != pin}
    if not changes:
        return None
    pins = {**base.pins, **changes}
    if pins == base.pins:
        return Acknowledge(changes)
    if stable is not None and (stable.digest, stable.pins) == (base.digest, pins):
        return BackToStable(changes)
    return Move(pins, changes)
