"""Polls the controller for what a router's strategies have learned.

While it is away they decide by what they heard last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from anabranch.graph.plan.learners import LearningRouter
from anabranch.router.following import Follower

logger = logging.getLogger("anabranch.router")


@dataclass(frozen=True)
class Lessons:
    """The states of a graph's learning routers. ``version`` changes with them and is never 0."""

    version: int
    states: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """State as JSON, by router and the key of its state."""


class Learning:
    """Keeps the routers of this process that learn up to date, see ``Follower`` for ``poll``."""

    def __init__(
        self,
        learners: Mapping[str, LearningRouter],
        poll: Callable[[int], Awaitable[Lessons | None]],
    ) -> None:
        self._learners = learners
        self._heard: dict[str, str | None] = dict.fromkeys(learners)
        self._lessons = Follower("lessons", poll, self._take)

    async def start(self) -> None:
        """Return once what was learned is known, or the controller is away.

        Goes on in the background; does nothing where nothing learns.
        """
        if not self._learners:
            return
        self._lessons.start()
        await self._lessons.first()

    async def close(self) -> None:
        """Stop."""
        await self._lessons.close()

    async def _take(self, lessons: Lessons) -> None:
        """Hand over what is new in lessons."""
        for name, learner in self._learners.items():
            text = lessons.states.get((name, learner.key))
            if text != self._heard[name]:
                self._heard[name] = text
                # In a thread: it is work, and requests are answered meanwhile.
                await asyncio.to_thread(_teach, name, learner, text)


def _teach(name: str, learner: LearningRouter, text: str | None) -> None:
    """Hand a state over. One that cannot be read, as of a later version, changes nothing."""
    try:
        learner.bandit.learn(None if text is None else learner.read(text))
    except ValueError as error:
        logger.error("router %r goes on without what was learned: %s", name, error)
