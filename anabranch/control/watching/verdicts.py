"""Verdicts on versions of watched models, as tags that go back to the model registry. Pure.

| tag | value |
|---|---|
| ``anabranch.graph`` | the graph whose verdict came last |
| ``anabranch.state`` | see ``VerdictState`` |
| ``anabranch.revision`` | the graph's revision with this version |
| ``anabranch.reason`` | why it is aborted, failed to load, or was replaced; else empty |
| ``anabranch.analysis`` | JSON: the measurements of the last look of its rollout, or ``[]`` |
| ``anabranch.graph.<graph>`` | JSON of state, revision, reason and analysis for this graph |
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from anabranch.control.lifecycle.operations import (
    ABORTED,
    COMING,
    DELETED,
    SUPERSEDED,
    Situation,
)
from anabranch.control.lifecycle.rollouts import Measurement
from anabranch.control.store.records import RevisionInfo

VerdictState: TypeAlias = Literal[
    "deploying", "canary", "mirror", "live", "aborted", "failed-to-load", "replaced", "removed"
]
PREFIX = "anabranch."
_MOST_REASON = 500
_MOST_ANALYSIS = 3500
_RANK = ("live", "ready", "deploying", "pending")
"""States of revisions that say more of a version than those of newer ones, the first the most."""


@dataclass(frozen=True)
class ModelVerdict:
    """How a version of a model fares in a graph."""

    graph: str
    revision: int
    state: VerdictState
    reason: str = ""
    analysis: tuple[Measurement, ...] = ()
    """Of the last look of its rollout; empty where none is known."""


def telling(revisions: Iterable[RevisionInfo]) -> RevisionInfo:
    """Return the one of several revisions with a version that says how the version fares."""
    return min(revisions, key=lambda one: (_rank(one), -one.number))


def _rank(one: RevisionInfo) -> int:
    return _RANK.index(one.state) if one.state in _RANK else len(_RANK)


def verdict_on(now: Situation, one: RevisionInfo) -> ModelVerdict:
    """Return how the version of a revision fares, as the graph stands now."""
    rollout = now.rollout
    found = rollout.found if rollout is not None and rollout.revision == one.number else ()
    state = _state(now, one)
    reason = "" if state in ("live", "canary", "mirror", "deploying") else one.reason
    return ModelVerdict(one.graph, one.number, state, reason, tuple(found))


def removed(graph: str, revision: int) -> ModelVerdict:
    """Return the verdict where the graph has gone."""
    return ModelVerdict(graph, revision, "removed", DELETED)


def _state(now: Situation, one: RevisionInfo) -> VerdictState:
    if one.state in COMING:
        return "deploying"
    if one.state == "live":
        return "live"
    if one.state == "ready":
        return "canary" if one.number in now.weights else "mirror"
    if one.state == "failed":
        return "replaced" if one.reason.startswith(SUPERSEDED) else "failed-to-load"
    if one.reason == DELETED:
        return "removed"
    was_aborted = one.live_at is None and one.reason.startswith(ABORTED)
    return "aborted" if was_aborted else "replaced"


def tags_of(verdict: ModelVerdict, before: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a verdict, where those ``before`` may be of the same revision.

    Its analysis stays where none is known any more, and where only numbers differ: the registry is
    not told of every look.
    """
    number, rows = str(verdict.revision), _rows(verdict.analysis)
    if before.get(f"{PREFIX}revision") == number:
        known = json.loads(before[f"{PREFIX}analysis"])
        is_same = before[f"{PREFIX}state"] == verdict.state and _judged(rows) == _judged(known)
        rows = known if is_same or not rows else rows
    reason = verdict.reason[:_MOST_REASON]
    facts = {
        "state": verdict.state, "revision": verdict.revision, "reason": reason, "analysis": rows,
    }  # fmt: skip
    return {
        f"{PREFIX}graph": verdict.graph,
        f"{PREFIX}state": verdict.state,
        f"{PREFIX}revision": number,
        f"{PREFIX}reason": reason,
        f"{PREFIX}analysis": _compact(rows),
        f"{PREFIX}graph.{verdict.graph}": _compact(facts),
    }


def _judged(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(one["metric"], one["verdict"]) for one in rows]


def _rows(found: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return the measurements as data, the last ones left out where they are too many."""
    rows = [
        {
            "metric": one.metric,
            "verdict": one.verdict,
            "value": _number(one.value),
            "limit": _number(one.limit),
            "samples": one.samples,
        }
        for one in found
    ]
    while len(_compact(rows)) > _MOST_ANALYSIS:
        rows.pop()
    return rows


def _number(value: float | None) -> float | None:
    """Return a number with six digits; JSON knows no others than finite ones."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
