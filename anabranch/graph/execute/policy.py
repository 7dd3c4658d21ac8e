"""Retry policy of a node: attempts, the time for each, and the stand-in for a failed value.

A node that this process calls in another one is judged here too, by the caller: only it can send an
attempt to another replica, or go on when there is none.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.components.contract import Context
from anabranch.errors import AnabranchError, DeadlineExceeded, NodeError, Unavailable
from anabranch.graph.calls.stepping import in_task
from anabranch.graph.calls.values import Convert, Skipped
from anabranch.graph.execute.budget import RetryBudget, pause
from anabranch.specs.units import Duration

if TYPE_CHECKING:
    from anabranch.graph.execute.run import Run, Schedule

FAILURES = (NodeError, Unavailable, DeadlineExceeded)
"""Errors that a policy handles; a RequestError is the caller's fault, and would come again."""
LOG_PERIOD = 1.0
"""Shortest time between two lines in the log about one node, in seconds."""

Attempt = Callable[[], Coroutine[Any, Any, Any]]
Notice = Callable[[str, str], None]
"""Is told of a node and what was done about its failure: retry, use, value, skip."""
logger = logging.getLogger("anabranch.graph")


class NodeStandIn(Protocol):
    """A stand-in for the value of a node that has failed."""

    @property
    def what(self) -> str:
        """The word of the language for it."""

    async def take(self, run: Run, error: AnabranchError) -> Any:
        """The value to go on with."""


@dataclass(frozen=True)
class FallbackStandIn:
    """Another source, which is evaluated only now."""

    slot: int
    schedule: Schedule
    access: Convert
    what = "use"

    async def take(self, run: Run, error: AnabranchError) -> Any:
        """Evaluate the source."""
        run.begin(self.schedule())
        return self.access(await run.value(self.slot))


@dataclass(frozen=True)
class ConstantStandIn:
    """A value that the frame of a request completes."""

    value: Callable[[list[Any]], Any]
    what = "value"

    async def take(self, run: Run, error: AnabranchError) -> Any:
        """The constant, for this request."""
        return self.value(run.frame)


@dataclass(frozen=True)
class SkipStandIn:
    """Nothing: combiners with a quorum go on without the node."""

    what = "skip"

    async def take(self, run: Run, error: AnabranchError) -> Any:
        """Why the node is left out."""
        return Skipped(str(error))


@dataclass(frozen=True)
class NamedStandIn:
    """A stand-in for the only value of a call to another segment."""

    vertex: str
    stand_in: NodeStandIn

    @property
    def what(self) -> str:
        """The word for what it holds."""
        return self.stand_in.what

    async def take(self, run: Run, error: AnabranchError) -> Any:
        """The value under its name, as the call would have given it."""
        return {self.vertex: await self.stand_in.take(run, error)}


class RecoveryPolicy:
    """The retry policy of one node. Its budget is shared by all requests."""

    def __init__(
        self,
        node: str,
        notice: Notice,
        retries: int = 0,
        timeout: Duration | None = None,
        stand_in: NodeStandIn | None = None,
    ) -> None:
        self.node = node
        self._notice = notice
        self._retries = retries
        self._timeout = timeout
        self._stand_in = stand_in
        self._budget = RetryBudget()
        self._logged = float("-inf")

    async def apply(self, attempt: Attempt, run: Run) -> Any:
        """Return the value of the first attempt that succeeds, or else of the stand-in."""
        self.began()
        try:
            value = await self._timed(attempt)
        except FAILURES as error:
            return await self.recover(error, attempt, run)
        return value

    def began(self) -> None:
        """Note the first attempt of a request."""
        self._budget.request()

    async def recover(self, error: AnabranchError, attempt: Attempt, run: Run) -> Any:
        """Go on after the first attempt has failed."""
        for retry in range(self._retries):
            delay = self._delay(retry, run.context)
            if delay is None:
                break
            self._tell("retry", error)
            await asyncio.sleep(delay)
            try:
                return await self._timed(attempt)
            except FAILURES as again:
                error = again
        if self._stand_in is None:
            raise error
        self._tell(self._stand_in.what, error)
        run.context.has_stand_in = True
        return await self._stand_in.take(run, error)

    def _delay(self, retry: int, context: Context) -> float | None:
        """Seconds to wait before a retry; None if there is to be none."""
        delay = pause(retry, random.random(), context.remaining())
        return delay if delay is not None and self._budget.take() else None

    async def _timed(self, attempt: Attempt) -> Any:
        if self._timeout is None:
            return await attempt()
        await in_task()
        try:
            async with asyncio.timeout(self._timeout.seconds):
                return await attempt()
        except TimeoutError as error:
            text = f"node {self.node!r} gave no answer within its timeout of {self._timeout}"
            raise DeadlineExceeded(text) from error

    def _tell(self, what: str, error: AnabranchError) -> None:
        """Count what is done, and log it, though not for every request of a storm."""
        self._notice(self.node, what)
        now = time.monotonic()
        if now - self._logged >= LOG_PERIOD:
            self._logged = now
            logger.warning("%s for node %r: %s", what, self.node, str(error)[:500])


def unnoticed(node: str, what: str) -> None:
    """The notice that nobody takes."""
