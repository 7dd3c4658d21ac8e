"""The loop that moves rollouts: looks at the metrics, asks gates, steps, promotes and aborts.

All that matters is in the store: the driver can die anywhere, and another goes on at the same step
and weight. It remembers only where each window began. A new driver begins a window anew, and looks
once that is an interval long; a gate that had been asked before may be asked again.

A look and a gate of one graph do not wait for each other, nor for those of another graph. What is
done about their outcome is decided inside the transaction, by what the rollout is then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anabranch.control.lifecycle import operations, rollouts
from anabranch.control.lifecycle.analysis import (
    AnalysisWindow,
    Outside,
    judge,
    named,
    window_between,
)
from anabranch.control.lifecycle.operations import (
    Change,
    Moment,
    Operation,
    Overtaken,
    Situation,
)
from anabranch.control.lifecycle.rollouts import Measurement, Move, RolloutState
from anabranch.control.lifecycle.significance import Trial
from anabranch.control.lifecycle.trials import evidence_after
from anabranch.control.observe.looks import LookHistory
from anabranch.control.observe.monitors import Monitors
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.rollout.gates import Gate, question
from anabranch.control.rollout.metrics import RolloutMetrics
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.rollout.promql import Prometheus
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.tasks import WokenLoop
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.errors import Conflict
from anabranch.router.measure.tally import Report
from anabranch.specs.models import Metric

logger = logging.getLogger("anabranch.control")

_BUSY, _IDLE = 0.15, 10.0
"""Seconds between two looks at the store, with and without a rollout in progress."""
_RETRY = 1.0
_LATE = 1.0, 0.25
"""A window that begins so much later than its step, or after its last look, is a new driver's: in
seconds, and as a share of the interval; the longer of both.
"""


@dataclass(frozen=True)
class _Mark:
    """Where a window began."""

    revision: int
    step: int
    since: float
    sums: Report
    looked: Report
    """Counts at the last look, whatever its verdict: evidence takes each count once."""
    evidence: Mapping[str, Trial]
    """What the store held of evidence after that look."""


@dataclass(frozen=True)
class _Case:
    """A rollout as it was when something about it became due."""

    graph: str
    stable: int
    state: RolloutState
    mark: _Mark


class RolloutDriver(WokenLoop[tuple[str, str]]):
    """Runs until it is cancelled. ``clock`` gives Unix time."""

    def __init__(
        self,
        store: Store,
        writer: TrafficWriter,
        totals: ArmTotals,
        settings: Settings,
        monitors: Monitors,
        looks: LookHistory,
        *,
        caller: Caller | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._store, self._writer, self._totals = store, writer, totals
        self._monitors = monitors
        self._looks = looks
        self._caller = caller or Caller()
        self._gate = Gate(settings.webhooks, self._caller, sleep or asyncio.sleep)
        self._prometheus = Prometheus(settings.prometheus, self._caller)
        self._clock, self._sleep = clock, sleep or asyncio.sleep
        self._pause = sleep or super()._until_woken
        self._marks: dict[str, _Mark] = {}
        self._metrics = RolloutMetrics()

    async def _close(self) -> None:
        await self._caller.close()

    async def _until_woken(self, seconds: float) -> None:
        await self._pause(seconds)

    async def _round(self) -> float:
        """Start what is due, and say how long to wait until the next time."""
        try:
            stored = await asyncio.to_thread(self._store.situations)
        except Exception:
            logger.exception("cannot read the store; trying again in %gs", _RETRY)
            return _RETRY
        at = self._clock()
        self._metrics.see(one.situation for one in stored)
        cases = [case for one in stored if (case := self._case(one.situation, at)) is not None]
        self._marks = {case.graph: case.mark for case in cases}
        for case in cases:
            self._begin(case, at)
        return _BUSY if cases else _IDLE

    def _case(self, now: Situation, at: float) -> _Case | None:
        state = now.rollout
        if state is None or not state.active or now.stable is None:
            return None
        mark = self._marks.get(now.graph)
        if mark is None or (mark.revision, mark.step) != (state.revision, state.step):
            sums = self._totals.watched(now.graph)
            mark = _Mark(state.revision, state.step, at, sums, sums, state.evidence)
        return _Case(now.graph, now.stable, state, mark)

    def _begin(self, case: _Case, at: float) -> None:
        """Start a task for what is due, unless one of its kind is at work."""
        move = rollouts.next_move(case.state, at)
        if move is None or (move == "look" and _is_short(case, at)):
            return
        kind = "look" if move == "look" else "go"
        if (case.graph, kind) not in self._tasks:
            work = self._look(case) if move == "look" else self._go(case, move)
            self._start((case.graph, kind), self._do(case, work))

    async def _do(self, case: _Case, work: Coroutine[Any, Any, None]) -> None:
        try:
            await self._done(case, work)
        except Overtaken as error:
            logger.debug("%s: overtaken: %s", case.graph, error)
        except Exception:
            logger.exception("%s: the rollout cannot go on; trying again", case.graph)
            await self._sleep(_RETRY)

    async def _done(self, case: _Case, work: Coroutine[Any, Any, None]) -> None:
        """Do work on a rollout; pause it where a check of the graph's change refuses that."""
        try:
            await work
        except Overtaken:
            raise
        except Conflict as error:
            refused = partial(_refused, case=case, reason=str(error))
            await self._writer.change(case.graph, refused)
            await self._sleep(_RETRY)  # a look is due again at once

    async def _look(self, case: _Case) -> None:
        """Judge the window, and let the verdict have its consequences."""
        sums = self._totals.watched(case.graph)
        drift = self._monitors.drift(case.graph, case.state.revision, case.mark.since)
        window = window_between(case.mark.sums, sums, case.state.revision, case.stable, drift)
        evidence = _evidence(case, sums)
        found = await self._measured(case, replace(window, evidence=evidence))
        looked = partial(_looked, case=case, found=found, evidence=evidence)
        stored = await self._writer.change(case.graph, looked)
        self._metrics.judged(case.graph, found)
        state = case.state
        self._looks.take(case.graph, self._clock(), state.revision, state.step, found)
        after, mark = stored.situation.rollout, replace(case.mark, looked=sums, evidence=evidence)
        if after is not None and after.verdict in ("pass", "fail"):
            mark = replace(mark, since=after.looked_at, sums=sums)
        self._marks[case.graph] = mark

    async def _measured(self, case: _Case, window: AnalysisWindow) -> list[Measurement]:
        """Measure what the routers know first: if that fails, no server outside is waited for."""
        analysis = case.state.plan.analysis
        assert analysis is not None
        metrics = named(analysis.metrics)
        found = judge([one for one in metrics if not _is_outside(one[1])], window, analysis)
        outside = [one for one in metrics if _is_outside(one[1])]
        if not outside or rollouts.overall(found) == "fail":
            return found
        asked = await asyncio.gather(*(self._asked(case, metric) for _, metric in outside))
        external = {name: answer for (name, _), answer in zip(outside, asked, strict=True)}
        return found + judge(outside, replace(window, external=external), analysis)

    async def _asked(self, case: _Case, metric: Metric) -> Outside:
        return await self._prometheus.outside(metric, case.graph, case.state.revision, case.stable)

    async def _go(self, case: _Case, move: Move) -> None:
        """Make a move, if the gate has nothing against it."""
        refusal = await self._refusal(case, move)
        moved = partial(_moved, case=case, move=move, refusal=refusal)
        await self._writer.change(case.graph, moved)

    async def _refusal(self, case: _Case, move: Move) -> str | None:
        gate = case.state.plan.gate
        if gate is None or move in ("pause", "ask"):
            return None
        asked = question(case.graph, case.stable, case.state, move, self._clock())
        return await self._gate.refusal(gate, asked)


def _evidence(case: _Case, sums: Report) -> dict[str, Trial]:
    """The evidence of the rollout with what was counted since the last look.

    Where the store has other evidence than that look left, as after a database that went away once
    it had stored another one, which counts that has taken is not known: none is taken twice.
    """
    analysis = case.state.plan.analysis
    assert analysis is not None
    before = case.state.evidence
    looked = case.mark.looked if before == case.mark.evidence else sums
    candidate, stable = (
        sums.arm(one).minus(looked.arm(one)) for one in (case.state.revision, case.stable)
    )
    return evidence_after(named(analysis.metrics), before, candidate, stable)


def _is_short(case: _Case, at: float) -> bool:
    """Return whether the window is one that a new driver began, and not an interval long yet."""
    analysis = case.state.plan.analysis
    interval = analysis.interval.seconds if analysis else 0.0
    seconds, share = _LATE
    is_new = case.mark.since - case.state.looked_at > max(seconds, share * interval)
    return is_new and at - case.mark.since < interval


def _is_outside(metric: Metric) -> bool:
    return metric.metric == "promql"


def _in_step(now: Situation, case: _Case) -> RolloutState:
    """The rollout, if it is still the one of the case and in the same step."""
    state = now.rollout
    is_same = state is not None and (state.revision, state.step) == (
        case.state.revision,
        case.state.step,
    )
    if state is None or not (is_same and state.active) or now.stable != case.stable:
        raise Overtaken(f"the rollout of graph {now.graph!r} has moved on")
    return state


def _looked(
    now: Situation,
    moment: Moment,
    case: _Case,
    found: list[Measurement],
    evidence: dict[str, Trial],
) -> Change:
    """Take a look into account, if it is still due."""
    state = _in_step(now, case)
    is_taken = state.looked_at != case.state.looked_at
    if is_taken or rollouts.next_move(state, moment.at) != "look":
        raise Overtaken(f"no look at graph {now.graph!r} is due any more")
    return operations.looked(now, moment, found, evidence)


def _moved(now: Situation, moment: Moment, case: _Case, move: Move, refusal: str | None) -> Change:
    """Make a move, or pause if the gate refuses it, where the move is still due.

    Whether a look is due too does not matter.
    """
    state = replace(_in_step(now, case), looked_at=moment.at)
    if rollouts.next_move(state, moment.at) != move:
        raise Overtaken(f"the rollout of graph {now.graph!r} may not {move} any more")
    if refusal is not None:
        return operations.paused(now, moment, "gate", refusal)
    return _MOVES[move](now, moment)


def _refused(now: Situation, moment: Moment, case: _Case, reason: str) -> Change:
    _in_step(now, case)
    return operations.paused(now, moment, "refusal", reason)


def _promote(now: Situation, moment: Moment) -> Change:
    assert now.rollout is not None
    return operations.promoted(now, moment, now.rollout.revision)


def _pause(now: Situation, moment: Moment) -> Change:
    assert now.rollout is not None
    state = now.rollout
    reason = f"step {state.step + 1} of {len(state.plan.steps)} lasts until it is resumed"
    return operations.paused(now, moment, "step", reason)


_MOVES: Mapping[Move, Operation] = {
    "step": operations.stepped,
    "promote": _promote,
    "pause": _pause,
    "ask": operations.asked,
}
