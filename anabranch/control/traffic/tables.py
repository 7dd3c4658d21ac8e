"""From a graph's situation to its routing table, and the policy that is in force.

The newest revision that takes part in the traffic has the say. A revision whose spec this version
cannot compile any more is left out: it must not take the others with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from anabranch.components.registry import builtin_of
from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Store, Stored
from anabranch.errors import SpecError
from anabranch.graph.plan.learners import LearningRouter, learners
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.router.signing import SigningKey
from anabranch.router.table import RoutingTable
from anabranch.specs.models import Traffic
from anabranch.specs.shared.reference import SharedReference

logger = logging.getLogger("anabranch.control")

_KEPT = 4096
"""Outlines kept in memory."""


@dataclass(frozen=True)
class Outline:
    """The facts of a revision's spec that the control plane keeps in memory."""

    signature: Signature
    policy: Traffic
    remote: bool
    """Whether it runs anything beside its head: segments, or monitors."""
    learners: Mapping[str, LearningRouter] = field(default_factory=dict)
    """Routers that learn, by name."""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Router nodes that choose by weight alone, and the routes of each."""
    pool: str | None = None
    """The pool in which its router runs, if it is in one."""
    is_model: bool = False
    """Whether it is of a shared model."""
    models: frozenset[SharedReference] = frozenset()
    """The shared models that it uses."""


Find: TypeAlias = Callable[[int], Outline | None]
"""The outline of a graph's revision by number; None if its spec does not compile."""


class Catalogue:
    """The outlines of revisions, which never change."""

    def __init__(self, store: Store, releases: Releases) -> None:
        self._store = store
        self._releases = releases
        self._outline = lru_cache(_KEPT)(self._read)

    def of(self, graph: str) -> Find:
        """The outlines of one graph's revisions."""
        return lambda number: self._outline(graph, number)

    def _read(self, graph: str, number: int) -> Outline | None:
        try:
            loaded = self._releases.loaded(self._store.revision(graph, number))
        except SpecError as error:
            logger.warning("%s: revision %d does not compile: %s", graph, number, error)
            return None
        plan = loaded.plan
        policy = loaded.graph.spec.traffic or Traffic()
        signature = self._releases.signature(plan)
        beside = len(plan.own_segments) > 1 or bool(plan.monitors)
        return Outline(
            signature, policy, beside, learners(plan), splits(plan), plan.pool,
            plan.is_model, plan.models,
        )  # fmt: skip


def splits(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the router nodes that choose by weight alone, and the routes of each."""
    return {
        name: node.routes
        for name, node in plan.nodes.items()
        if node.type == "router" and builtin_of(node.spec) == "weighted"
    }


def build(stored: Stored, find: Find, keys: tuple[SigningKey, ...]) -> RoutingTable | None:
    """The routing table of a graph; None if there is nothing to route to.

    For a graph whose first revision is on its way: that revision alone. ``keys`` are those of the
    engine, the newest first.
    """
    now = stored.situation
    stable = first(now) if now.stable is None else now.stable
    if now.state != "present" or stable is None:
        return None
    up = {n: outline for n in sorted(now.up | {stable}) if (outline := find(n)) is not None}
    weights = now.weights if now.stable is not None else {stable: 100.0}
    known = {number: weight for number, weight in weights.items() if number in up}
    if not any(known.values()):
        return None
    return RoutingTable(
        now.graph, stored.generation, stable,
        weights=known,
        mirrors={number: share for number, share in now.mirrors.items() if number in up},
        revisions={number: outline.signature for number, outline in up.items()},
        policy=policy(known, find),
        sketch=_shift_is_judged(now.rollout),
        keys=keys,
        created=stored.created,
    )  # fmt: skip


def first(now: Situation) -> int | None:
    """The revision that is to be a graph's first: the oldest on its way."""
    return now.coming[0] if now.stable is None and now.coming else None


def policy(arms: Iterable[int], find: Find) -> Traffic:
    """The policy of the newest of these revisions."""
    found = (find(number) for number in sorted(arms, reverse=True))
    return next((outline.policy for outline in found if outline is not None), Traffic())


def grace(
    before: Mapping[int, float], after: Mapping[int, float], find: Find, default: float
) -> float:
    """Return how long what a change of weights leaves idle stays up, in seconds.

    The newest of the arms before and after has the say: a new revision over what it replaces, and
    a candidate that is aborted over itself.
    """
    asked = policy([*before, *after], find).grace
    return default if asked is None else asked.seconds


def _shift_is_judged(rollout: RolloutState | None) -> bool:
    if rollout is None or not rollout.active or rollout.plan.analysis is None:
        return False
    return any(metric.metric == "prediction_shift" for metric in rollout.plan.analysis.metrics)
