"""Composes the stages of arms: each arm gets those that it needs under one table, and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from anabranch.components.weights import Draw
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.measure.tally import Tally
from anabranch.router.measure.tokens import COMPLETION
from anabranch.router.request_log.recording import ArmLog
from anabranch.router.signing import Signatures
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.decisions import Made
from anabranch.router.traffic.explaining import Explainers
from anabranch.router.traffic.mirror import Mirrors
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.split import Split
from anabranch.router.traffic.stages.contract import Answering, Evaluation
from anabranch.router.traffic.stages.copied import mirrored, sampled
from anabranch.router.traffic.stages.counted import counted, sketched
from anabranch.router.traffic.stages.evaluating import (
    decided,
    encoded,
    explained,
    limited,
    traced,
)
from anabranch.router.traffic.stages.logged import logged
from anabranch.specs.models import Compare


@dataclass(frozen=True, slots=True)
class Arm:
    """A revision that can be reached, and what is counted of it."""

    core: InferenceCore
    tally: Tally
    explainers: Explainers
    routers: Collection[str] = ()
    """Nodes that pick a route."""
    log: ArmLog | None = None
    """Where its requests are logged."""

    @property
    def decides(self) -> bool:
        """Whether requests leave decisions: for routers, or components that take rewards."""
        return bool(self.routers) or self.core.takes_feedback


@dataclass(frozen=True, slots=True)
class SharedParts:
    """The parts that the stages of all arms of a router share."""

    guests: ConcurrencyLimit
    """For requests at other revisions than the stable one."""
    explaining: ConcurrencyLimit
    """For requests that wait for an explanation."""
    made: Made
    mirrors: Mirrors
    samples: Samples
    draw: Draw


class StageComposer:
    """Composes the stages of the arms of one table."""

    def __init__(
        self,
        table: RoutingTable,
        arms: Mapping[int, Arm],
        split: Split,
        signatures: Signatures,
        shared: SharedParts,
    ) -> None:
        self._table = table
        self._arms = arms
        self._stable = arms[table.stable]
        self._split = split
        self._signatures = signatures
        self._shared = shared

    def numbered(self, number: int) -> Answering:
        """The way of requests that name the revision: they are logged, and not counted."""
        arm, core, shared = self._arms[number], self._arms[number].core, self._shared
        stage = Evaluation(core.infer, core.stream)
        others = None
        if arm is not self._stable:
            stage, others = limited(stage, shared.guests), self._stable.explainers
        stage = traced(stage, core.revision)
        if arm.decides or len(self._table.weights) > 1:
            stage = decided(stage, core.revision, shared.made, self._signatures)
        answering = encoded(explained(stage, arm.explainers, others, shared.explaining))
        return answering if arm.log is None else logged(answering, arm.log)

    def routed(self, number: int, numbered: Answering) -> Answering:
        """The way of requests that the table sends: that of ``numbered`` ones, and what counts."""
        arm, table, shared = self._arms[number], self._table, self._shared
        stable = None if arm is self._stable else self._stable.core
        stage = counted(numbered, arm.tally, stable, COMPLETION in arm.core.signature.outputs)
        if table.sketch:
            stage = sketched(stage, arm.tally)
        if self._split.is_mirrored(number):
            rule = table.policy.compare or Compare()
            stage = mirrored(stage, partial(self._mirrors, number), shared.mirrors, rule)
        if arm.explainers.shares:
            draw = partial(shared.samples.drawn, arm.explainers, shared.draw)
            stage = sampled(stage, draw, shared.samples, arm.explainers)
        return stage

    def _mirrors(self, number: int) -> Mapping[int, InferenceCore]:
        """Draw the mirrors of a request that an arm answers."""
        return {one: self._arms[one].core for one in self._split.mirrors(number)}
