"""A shared model in a process that uses it: one for all nodes and graphs of the process.

The process follows the model's routing table as a router of the model does. So weights, sticky
keys, rules and mirrors hold for the calls of graphs, and what is counted of them goes to the
model's totals, by which its rollouts judge.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from anabranch.components.contract import NodeFeedback
from anabranch.errors import NotFound, Unavailable
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.metrics import Metrics
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.chosen_arm import ChosenArm
from anabranch.router.traffic.feedback import PATIENCE_S, Feedback
from anabranch.router.traffic.polling import RouterSync
from anabranch.serve.shared.heads import ModelHead, ModelHeads
from anabranch.serve.shared.source import ModelSource

START_S = 20.0
"""Longest time until the model's first routing table is there, in seconds."""
_LIMITS = replace(RequestLimits(), max_output=2**40, max_ongoing=100_000)
"""The graphs' own limits hold for what comes in and goes out."""


class SharedModel:
    """The arms of one shared model, as the table in force says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._heads = ModelHeads(name)
        self._source = ModelSource(name, os.urandom(8).hex(), self._heads)
        self._arms = Arms(name, self._heads, _LIMITS)
        self._sync = RouterSync(self._arms, self._source, Metrics(name))
        self._rewards = Feedback(self._arms, self._source)

    async def start(self) -> None:
        """Return once the model's routing table is in force; Unavailable without one.

        The model is closed where that fails, or is given up.
        """
        try:
            async with asyncio.timeout(START_S), self._closed_on_failure():
                await self._sync.start()
        except TimeoutError:
            raise Unavailable(f"there is no shared model {self.name!r} that runs") from None

    @asynccontextmanager
    async def _closed_on_failure(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Follow the table no longer, and tell what was counted."""
        await self._sync.close()
        await self._source.leave()

    def choose(self, request: InferenceRequest, revision: int | None) -> ChosenArm:
        """Return the arm for a request; Unavailable where a revision that is named is not up."""
        try:
            return self._arms.choose(request, revision)
        except NotFound as error:
            raise Unavailable(str(error)) from None

    async def feedback(self, given: NodeFeedback, revision: int | None) -> None:
        """Hand a reward to the revision that is named, or else to the one that has answered.

        NotFound where that is not remembered, and Unavailable where the revision is not up, or
        nobody can say now which one it was.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                number = await self._answering(given.id) if revision is None else revision
        except TimeoutError:
            raise Unavailable(f"nobody can say now what shared model {self.name!r} did") from None
        await self.head(number).feedback(given)

    async def _answering(self, id: str) -> int:
        """Return the revision that has answered a request; decisions are made between several."""
        routing = self._arms.routing
        decision = await (self._rewards.known(id) if routing.decides else self._rewards.find(id))
        return routing.stable.core.revision if decision is None else decision.revision

    def head(self, revision: int | None) -> ModelHead:
        """The head of a revision, of the stable one unless it is named; Unavailable likewise."""
        number = self._arms.routing.stable.core.revision if revision is None else revision
        found = self._heads.live.get(number)
        if found is None:
            raise Unavailable(f"shared model {self.name!r} has no revision {number} that runs")
        return found


class OpenModels:
    """The shared models that this process uses, each opened once. For one event loop.

    A model that does not run, which takes a while to tell, holds up no other.
    """

    def __init__(self, make: Callable[[str], SharedModel] | None = None) -> None:
        self._make = make or SharedModel
        self._models: dict[str, SharedModel] = {}
        self._users: Counter[str] = Counter()
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, name: str) -> SharedModel:
        """Return a shared model that has a table; Unavailable without one."""
        async with self._changing[name]:
            if name not in self._models:
                model = self._make(name)
                await model.start()
                self._models[name] = model
            self._users[name] += 1
            return self._models[name]

    async def close(self, name: str) -> None:
        """Let go of a shared model; the last user closes it."""
        async with self._changing[name]:
            self._users[name] -= 1
            if not self._users[name]:
                await self._models.pop(name).close()


MODELS = OpenModels()
"""Those of this process."""
