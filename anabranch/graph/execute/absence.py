"""Steps of conditional nodes, which are skipped where a value that they need is absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.components.contract import Context
from anabranch.graph.calls.values import Convert, Skipped, identity
from anabranch.graph.execute.cached import CachedStep
from anabranch.graph.execute.run import Frame, Run
from anabranch.graph.execute.steps import NodeStep
from anabranch.graph.plan.absence import needed_triggers
from anabranch.graph.plan.plan import PlannedNode, Ref
from anabranch.graph.plan.quorums import quorum_of

_Place = tuple[int, Convert]
"""The slot of a source, and how to get the source's value out of it."""


@dataclass(frozen=True)
class TriggerGate:
    """Decides whether a node is skipped, by the values that are absent."""

    node: str
    inputs: Sequence[_Place]
    quorum: int
    """Fewest inputs that must be there."""
    triggers: Sequence[_Place]
    needed: int
    """Fewest triggers that must be there."""

    @classmethod
    def of(cls, node: PlannedNode, place: Callable[[Ref], _Place]) -> TriggerGate:
        """Return the gate of a node, given the place of each source."""
        return cls(
            node.name,
            [place(ref) for ref in node.inputs.values()],
            quorum_of(node) or len(node.inputs),
            [_whole(place, ref) for ref in node.triggers],
            needed_triggers(node),
        )

    @property
    def slots(self) -> tuple[int, ...]:
        """Slots that it looks at."""
        return tuple(slot for slot, _ in (*self.inputs, *self.triggers))

    def absence(self, frame: Frame) -> Skipped | None:
        """Return why the node is skipped; None where it runs.

        Inputs that failed are for the node itself to judge: too few of them are an error.
        """
        lost = _skipped(frame, self.inputs)
        if any(one.has_failed for one in lost) or len(self.inputs) - len(lost) >= self.quorum:
            lost = []
        if not lost:
            closed = _skipped(frame, self.triggers)
            lost = closed if len(self.triggers) - len(closed) < self.needed else []
        return Skipped(f"node {self.node!r} is skipped: {lost[0].reason}", False) if lost else None


def _whole(place: Callable[[Ref], _Place], ref: Ref) -> _Place:
    """Return the place of a trigger; that of a whole node is there with any of its outputs."""
    slot, access = place(ref)
    return (slot, access) if ref.output is not None or ref.node is None else (slot, identity)


def _skipped(frame: Frame, places: Sequence[_Place]) -> list[Skipped]:
    values = [access(frame[slot]) for slot, access in places]
    return [value for value in values if isinstance(value, Skipped)]


class GatedStep:
    """The step of a conditional node."""

    def __init__(self, gate: TriggerGate, step: NodeStep | CachedStep) -> None:
        self.slot = step.slot
        self.leaves = step.leaves
        self._gate = gate
        self.needs = gate.slots
        self._step = step

    @property
    def is_quick(self) -> bool:
        """Whether the node's step is."""
        return self._step.is_quick

    def done(self, frame: Frame) -> bool:
        """Return whether the node has run, is running or is skipped."""
        return self._step.done(frame)

    def inline(self, frame: Frame, context: Context) -> None:
        """Run the component here and now, or skip it."""
        absence = self._gate.absence(frame)
        if absence is None:
            self._step.inline(frame, context)
        else:
            frame[self.slot] = absence

    def begin(self, run: Run) -> None:
        """Begin the node's step, or skip it, as soon as that can be told."""
        if run.pending(self.needs):
            run.frame[self.slot] = run.spawn(self._later(run))
            return
        absence = self._gate.absence(run.frame)
        if absence is None:
            self._step.begin(run)
        else:
            run.frame[self.slot] = absence

    async def _later(self, run: Run) -> Any:
        await run.settle(self.needs)
        absence = self._gate.absence(run.frame)
        return await self._step.later(run) if absence is None else absence
