"""Hands rewards to the components of a process, one call of a component at a time.

Rewards are no requests: what a component raises for one is logged, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from anabranch.components.contract import Bound, NodeFeedback
from anabranch.errors import AnabranchError
from anabranch.graph.calls.guard import awaited
from anabranch.graph.calls.lanes import Lane
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.reached import reached
from anabranch.telemetry.logs import NODE

logger = logging.getLogger("anabranch.component")


class SegmentFeedback(Protocol):
    """A segment in another process, which rewards are passed on to."""

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand over a reward; return whether any component there takes some."""


def takers(bound: Mapping[str, Bound]) -> frozenset[str]:
    """Return the nodes whose components take rewards."""
    return frozenset(name for name, each in bound.items() if each.feedback is not None)


class FeedbackTakers:
    """The components of one process that take rewards, and the segments that it calls.

    ``lanes`` has the lane of each node, for a component is in one call at a time.
    """

    def __init__(
        self,
        plan: Plan,
        bound: Mapping[str, Bound],
        calls: Mapping[str, Any],
        lanes: Mapping[str, Lane],
    ) -> None:
        self._plan = plan
        self._bound = {name: bound[name] for name in takers(bound)}
        self._calls: Mapping[str, SegmentFeedback] = calls
        self._lanes = lanes
        away = [node.spec for name, node in plan.nodes.items() if name not in bound]
        self.is_any = bool(self._bound) or any(spec.contract == "seldon" for spec in away)
        """Whether rewards matter here: of components in other processes the spec must tell."""

    async def give(self, given: NodeFeedback) -> bool:
        """Hand a reward to the nodes that its request may have run, the last ones first.

        Return whether any component takes rewards: callers give no more where none does.
        """
        nodes = [name for name in reached(self._plan, given.path) if name in self._bound]
        found = [await self._pass_on(name, call, given) for name, call in self._calls.items()]
        for name in nodes:
            await self._give(name, given)
        return bool(self._bound) or any(found)

    async def _give(self, name: str, given: NodeFeedback) -> None:
        feedback, lane = self._bound[name].feedback, self._lanes[name]
        assert feedback is not None, "see `takers`"
        NODE.set(name)
        try:
            if inspect.iscoroutinefunction(feedback):
                await awaited(lane, partial(feedback, given))
            elif lane.is_async:
                await awaited(lane, partial(asyncio.to_thread, feedback, given))
            else:
                await lane.call(partial(feedback, given))
        except AnabranchError as error:
            logger.warning("node %r did not take a reward: %s", name, error)

    async def _pass_on(self, name: str, call: SegmentFeedback, given: NodeFeedback) -> bool:
        """Return whether any component there takes rewards; where that is not told, it may be."""
        try:
            return await call.feedback(given)
        except AnabranchError as error:
            logger.warning("segment %r did not take a reward: %s", name, error)
            return True
