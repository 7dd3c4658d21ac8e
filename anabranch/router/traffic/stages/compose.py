"""Composes the stages of arms: each arm gets those that it needs under one table, and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anabranch.components.weights import Draw
from anabranch.router.core import InferenceCore
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.measure.tally import Tally
from anabranch.router.request_log.recording import ArmLog
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.decisions import Made
from anabranch.router.traffic.explaining import Explainers
from anabranch.router.traffic.mirror import Mirrors
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.split import Split
from anabranch.router.traffic.stages.contract import Answering, Evaluation
from anabranch.router.traffic.stages.counted import Counted
from anabranch.router.traffic.stages.decided import Decided
from anabranch.router.traffic.stages.encoded import Encoded
from anabranch.router.traffic.stages.explained import Explained
from anabranch.router.traffic.stages.limited import Limited
from anabranch.router.traffic.stages.logged import Logged
from anabranch.router.traffic.stages.mirrored import Mirrored
from anabranch.router.traffic.stages.sampled import Sampled
from anabranch.router.traffic.stages.sketched import Sketched
from anabranch.router.traffic.stages.traced import Traced
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


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What the stages of all arms of a router share."""

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
        self, table: RoutingTable, arms: Mapping[int, Arm], split: Split, shared: SharedParts
    ) -> None:
        self._table = table
        self._arms = arms
        self._stable = arms[table.stable]
        self._split = split
        self._shared = shared

    def numbered(self, number: int) -> Answering:
        """The way of requests that name the revision: they are logged, and not counted."""
        arm = self._arms[number]
        others = None if arm is self._stable else self._stable.explainers
        explained = Explained(
            self._evaluation(arm), arm.explainers, others, self._shared.explaining
        )
        encoded = Encoded(explained)
        return encoded if arm.log is None else Logged(encoded, arm.log)

    def _evaluation(self, arm: Arm) -> Evaluation:
        stage: Evaluation = arm.core
        if arm is not self._stable:
            stage = Limited(stage, self._shared.guests)
        stage = Traced(stage, arm.core.revision)
        if arm.routers or len(self._table.weights) > 1:
            stage = Decided(stage, arm.core.revision, self._shared.made)
        return stage

    def routed(self, number: int, numbered: Answering) -> Answering:
        """The way of requests that the table sends: that of ``numbered`` ones, and what counts."""
        arm, shared = self._arms[number], self._shared
        stable = None if arm is self._stable else self._stable.core
        stage: Answering = Counted(numbered, arm.tally, stable)
        if self._table.sketch:
            stage = Sketched(stage, arm.tally)
        if self._split.is_mirrored(number):
            cores = {n: self._arms[n].core for n in self._table.mirrors}
            rule = self._table.policy.compare or Compare()
            stage = Mirrored(stage, number, self._split, cores, shared.mirrors, rule)
        if arm.explainers.shares:
            stage = Sampled(stage, arm.explainers, shared.samples, shared.draw)
        return stage
