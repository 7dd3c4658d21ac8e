"""Calls to segments that stay in the process: to try a segmented plan without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from anabranch.components.contract import Bound, Context, NodeFeedback
from anabranch.graph.execute.executor import HeadExecutor, SegmentExecutor
from anabranch.graph.plan.plan import Plan


class LoopbackCall:
    """A ``SegmentCall`` that evaluates the segment here, after giving up the loop once."""

    def __init__(self, executor: SegmentExecutor) -> None:
        self._executor = executor

    async def __call__(
        self, values: Mapping[str, Any], wants: tuple[str, ...], context: Context
    ) -> Mapping[str, Any]:
        """Evaluate ``wants`` of the segment."""
        await _answer_of_another()
        return await self._executor.run(values, wants, context)

    async def feedback(self, given: NodeFeedback) -> bool:
        """Hand a reward to the components of the segment."""
        return await self._executor.feedback.give(given)

    async def streaming(self) -> Mapping[str, bool]:
        """The nodes of the segment that stream, and whether their results can be joined."""
        return self._executor.streaming

    def stream(
        self, values: Mapping[str, Any], want: str, context: Context
    ) -> AsyncGenerator[Any, None]:
        """The values of a node of the segment that streams."""
        return self._executor.stream(values, want, context)


def loopback(plan: Plan, bound: Mapping[str, Bound]) -> HeadExecutor:
    """A head whose segments all run in this process, each behind a call of its own.

    ``bound`` holds the components of all nodes but explainers.
    """
    calls = {
        segment.name: LoopbackCall(
            SegmentExecutor(plan, segment, {name: bound[name] for name in segment.nodes})
        )
        for segment in plan.segments[1:]
        if all(name in bound for name in segment.nodes)
    }
    head = {name: bound[name] for name in plan.head.nodes}
    return HeadExecutor(plan, head, calls)


async def _answer_of_another() -> None:
    """Wait as for an answer of another process: for a future, whose end comes from the loop."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    end = loop.call_soon(answer.set_result, None)
    try:
        await answer
    finally:
        end.cancel()
