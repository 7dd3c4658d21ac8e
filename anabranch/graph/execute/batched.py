"""The step of a node with ``batching``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.components.contract import Bound, Context
from anabranch.graph.batch.batcher import Batcher
from anabranch.graph.batch.batching import limits_of
from anabranch.graph.batch.rows import check_rows, rows_of
from anabranch.graph.calls.counts import NodeCounts
from anabranch.graph.calls.lanes import Lane, Lanes
from anabranch.graph.calls.pace import CallPace
from anabranch.graph.calls.values import Convert, arrays_of
from anabranch.graph.execute.invoke import Parameter
from anabranch.graph.execute.policy import RecoveryPolicy
from anabranch.graph.execute.run import Frame, Run
from anabranch.graph.execute.steps import Invoke, NodeStep
from anabranch.specs.models import NodeBase

DIRECT = 0.0001
"""A call up to this many seconds is not worth gathering for."""


class BatchLane(Lane):
    """Calls a component with batches: in threads, or on the loop while they are fast there.

    Where calls for single requests take no longer than ``DIRECT``, it goes ``inline``: each request
    is run on the loop by itself, as without batching. On the loop the component is always free, so
    nothing would gather there anyway. Where requests are to be ``held``, it never does.
    """

    queues = False

    def __init__(self, bound: Bound, lanes: Lanes, held: bool) -> None:
        super().__init__(bound, lanes)
        self.pace = CallPace(0.0 if held else min(self._fast, DIRECT))
        self._batches = CallPace(self._fast)

    @property
    def _is_here(self) -> bool:
        return self.pace.inline or self._batches.inline

    def _learn(self, seconds: float) -> None:
        super()._learn(seconds)
        if not self._batches.inline:
            self._batches.in_thread(seconds)

    def note(self, seconds: float, now: float) -> None:
        """Note a call on the loop: of one request, or of a batch that may become one."""
        if self.pace.inline:
            super().note(seconds, now)
        else:
            self._batches.on_loop(seconds, now)
            super()._learn(seconds)


def lane_of(bound: Bound, lanes: Lanes, spec: NodeBase) -> Lane:
    """How the component of a node is called."""
    if spec.batching is None:
        return Lane(bound, lanes)
    return BatchLane(bound, lanes, held=limits_of(spec).max_delay > 0)


class BatchedStep(NodeStep):
    """Runs a component in this process, with the requests of others."""

    def __init__(
        self,
        bound: Bound,
        spec: NodeBase,
        parameters: Sequence[Parameter],
        slot: int,
        needs: Sequence[int],
        finish: Convert,
        lane: Lane,
        policy: RecoveryPolicy | None,
        about: Mapping[str, str],
        counts: NodeCounts | None = None,
    ) -> None:
        self._parameters = tuple(parameters)
        invoke = self._alone(bound)
        super().__init__(slot, needs, invoke, finish, lane, policy, about, counts)
        self._batcher = Batcher(bound, lane, limits_of(spec), self._counts)

    def _alone(self, bound: Bound) -> Invoke:
        """How one request is run on the loop: by the rules that hold in a batch, too."""
        node, call, values_of = bound.node, bound.call, self._values

        def invoke(frame: Frame, context: Context) -> Any:
            values = values_of(frame)
            found = arrays_of(node, call(**values))
            check_rows(node, found, rows_of(node, values))
            return found

        return invoke

    def _values(self, frame: Frame) -> dict[str, Any]:
        return {key: convert(frame[slot]) for key, slot, convert in self._parameters}

    async def _attempt(self, run: Run) -> Any:
        values, context = self._values(run.frame), run.context
        if context.trace is None:
            return self._finish(await self._batcher.submit(values, context))
        with self._recording(context.trace) as recording:
            return self._finish(await self._batcher.submit(values, context, recording))
