"""The difference between two situations of a graph, as the log of events keeps it."""

from __future__ import annotations

from typing import Any

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import RolloutState


def changed(before: Situation, after: Situation) -> dict[str, Any]:
    """Return what differs as ``{"before": {...}, "after": {...}}``; empty where nothing does.

    Fields are ``state``, ``stable``, ``weights`` and ``mirrors`` by revision, ``rollout`` (its
    revision, phase, step from 1, weight, and who paused it), and ``revisions``: the states of those
    that differ; null before a revision was there.
    """
    was, now = _facts(before), _facts(after)
    states = {number: member.state for number, member in before.members.items()}
    changes = {
        number: (states.get(number), member.state)
        for number, member in sorted(after.members.items())
        if states.get(number) != member.state
    }
    if changes:
        was["revisions"] = {str(number): state for number, (state, _) in changes.items()}
        now["revisions"] = {str(number): state for number, (_, state) in changes.items()}
    differ = [name for name in now if now[name] != was.get(name)]
    if not differ:
        return {}
    return {
        "before": {name: was.get(name) for name in differ},
        "after": {name: now[name] for name in differ},
    }


def _facts(now: Situation) -> dict[str, Any]:
    return {
        "state": now.state,
        "stable": now.stable,
        "weights": {str(number): share for number, share in now.weights.items()},
        "mirrors": {str(number): share for number, share in now.mirrors.items()},
        "rollout": None if now.rollout is None else _rollout(now.rollout),
    }


def _rollout(state: RolloutState) -> dict[str, Any]:
    return {
        "revision": state.revision,
        "phase": state.phase,
        "step": state.step + 1,
        "weight": state.weight,
        "paused_by": state.paused_by,
    }
