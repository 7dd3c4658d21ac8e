"""Rewards on their way to the components of a graph, off the path of requests.

Whoever tells a reward does not wait for it. Beyond ``MAX_UNDER_WAY`` rewards, and after
``LONGEST_S`` seconds, a component misses some; the reward was counted all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from anabranch.components.contract import NodeFeedback
from anabranch.errors import AnabranchError

logger = logging.getLogger("anabranch.router")

MAX_UNDER_WAY = 256
"""Most rewards of a graph that are on their way from one router."""
LONGEST_S = 60.0
"""Longest time for one reward, in seconds."""


class Teaching:
    """The rewards on their way from one router to components of its graph."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0

    def send(
        self, feedback: Callable[[NodeFeedback], Awaitable[bool]], given: NodeFeedback
    ) -> None:
        """Begin to hand over a reward, unless too many are under way."""
        if len(self._tasks) >= MAX_UNDER_WAY:
            self._dropped += 1
            if self._dropped == 1 or self._dropped % 1000 == 0:
                logger.warning(
                    "components have missed %d rewards: %d are under way to them, the most there "
                    "may be", self._dropped, MAX_UNDER_WAY,
                )  # fmt: skip
            return
        task = asyncio.create_task(_hand_over(feedback, given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _hand_over(
    feedback: Callable[[NodeFeedback], Awaitable[bool]], given: NodeFeedback
) -> None:
    try:
        async with asyncio.timeout(LONGEST_S):
            await feedback(given)
    except (AnabranchError, TimeoutError) as error:
        logger.warning("components do not get the reward for %s: %r", given.id, error)
