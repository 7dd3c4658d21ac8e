"""Who runs of a deployment, without Serve; and replicas that answer at sockets of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anabranch.router.addresses import Reach
from anabranch.serve.calls.membership import Members
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.replicas.answering import AnsweringReplica
from anabranch.serve.streams.limits import CallLimits
from anabranch.serve.streams.server import CallServer
from tests.serve.streams.ends import SECRET, Methods, serving


class ListedMembers:
    """A ``Membership`` that says what a test has it say."""

    def __init__(self, *addresses: str) -> None:
        self._members: dict[str, frozenset[str]] = {one: frozenset() for one in addresses}
        self._apply: Callable[[Members], None] = lambda members: None
        self.waiting = 0
        self.asked = 0
        self.cancelled = 0
        self.closed = False
        self.unhealthy: bool | None = False
        """What Serve says of the deployment."""
        self.looks = 0
        """How often Serve was asked for that."""
        self.answers: asyncio.Queue[str | Exception] = asyncio.Queue()
        """What ``wait`` returns or raises, in turn."""

    def follow(self, apply: Callable[[Members], None]) -> None:
        self._apply = apply
        apply(dict(self._members))

    async def wait(self) -> str:
        self.waiting += 1
        self.asked += 1
        try:
            answer = await self.answers.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def is_unhealthy(self) -> bool | None:
        self.looks += 1
        return self.unhealthy

    def close(self) -> None:
        self.closed = True

    def tell(self, members: Members) -> None:
        """Have a new list known."""
        self._apply(members)


class Running(Methods):
    """A replica with methods that can be watched."""

    def __init__(self, name: str, limits: CallLimits | None = None) -> None:
        super().__init__()
        self.name = name
        self.calls = 0
        self.address = ""
        self.listening: CallServer = self.server(
            limits, name=self._name, hang=self._hang, infer=self._infer
        )

    async def _name(self) -> str:
        self.calls += 1
        return self.name

    async def _infer(self, *args: Any) -> Any:
        return await self.wait()

    async def _hang(self) -> None:
        self.calls += 1
        await asyncio.Event().wait()

    def kill(self) -> None:
        """Break all connections, and make no new ones, as a process that dies does."""
        for server in self.listening._listening:
            server.close()
        for session in tuple(self.listening._sessions):
            session.abort()


@asynccontextmanager
async def replicas(*names: str, limits: CallLimits | None = None) -> AsyncIterator[list[Running]]:
    """Replicas that answer."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            one = Running(name, limits)
            one.address = await stack.enter_async_context(serving(one.listening))
            found.append(one)
        yield found


@asynccontextmanager
async def calling(membership: ListedMembers) -> AsyncIterator[ReplicaCalls]:
    """Calls of the replicas that are listed."""
    calls = ReplicaCalls("forest", membership, SECRET)
    try:
        yield calls
    finally:
        calls.close()


@asynccontextmanager
async def called(name: str, replica: AnsweringReplica) -> AsyncIterator[ReplicaCalls]:
    """Calls of a replica that has started; it is to go afterwards."""
    (reach,) = (await replica.record_replica_metadata()).values()
    calls = ReplicaCalls(name, ListedMembers(Reach(*reach).seen_from("")), call_secret())
    try:
        yield calls
    finally:
        calls.close()
        assert replica._server is not None
        await replica._server.close(0)


def listed(*running: Running, **models: Any) -> Members:
    """A list of replicas, of which some have loaded models, by their names."""
    return {one.address: frozenset(models.get(one.name, ())) for one in running}
