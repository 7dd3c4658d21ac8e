"""Calls of the replicas of one deployment, over a connection to each of them.

A call goes to the less loaded of two, by what replicas say in their answers and what is under way
here. Where a replica has not begun a call, another one gets it. Where there is none, because the
deployment sleeps or starts for the first time, the call waits for one in Serve's queue; where it is
down, the call fails at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from anabranch.errors import Unavailable
from anabranch.serve.calls.breaker import Breakers
from anabranch.serve.calls.membership import Members, Membership
from anabranch.serve.calls.outage import OutageDetector
from anabranch.serve.calls.replica_link import FIRST_PAUSE, LONGEST_RETURN, ReplicaLink
from anabranch.serve.sockets import UNIX
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.link import Link
from anabranch.serve.streams.lost import CallLost


def never() -> bool:
    """Return False: the end of a call that is cancelled says nothing of its replica."""
    return False


class _Judged:
    """Tells the breaker of a replica how a call within ends; notes a refusal, and goes on."""

    __slots__ = ("_address", "_breakers", "_is_late", "_refusals")

    def __init__(
        self,
        breakers: Breakers,
        address: str,
        is_late: Callable[[], bool],
        refusals: dict[str, CallLost],
    ) -> None:
        self._breakers = breakers
        self._address = address
        self._is_late = is_late
        self._refusals = refusals

    def __enter__(self) -> None:
        self._breakers.began(self._address, time.monotonic())

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        ok = True if error is None else self._verdict(error)
        self._breakers.ended(self._address, ok, time.monotonic())
        if isinstance(error, CallLost) and ok is None:
            self._refusals[self._address] = error
            return True
        return False

    def _verdict(self, error: BaseException) -> bool | None:
        """Return whether a replica is well that gave an error; None where that says nothing."""
        if isinstance(error, CallLost):
            return False if error.may_have_run else None
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            return False if self._is_late() else None
        return True


class ReplicaCalls:
    """Calls of the replicas that a ``Membership`` names, all from one event loop.

    Errors call the deployment by ``name``.
    """

    def __init__(self, name: str, membership: Membership, secret: bytes) -> None:
        self.name = name
        self._membership = membership
        self._secret = secret
        self._links: dict[str, ReplicaLink] = {}
        self._breakers = Breakers()
        self._outage = OutageDetector(name, self._links, membership.is_unhealthy, self._changed)
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        membership.follow(self._apply)

    async def call(
        self, method: str, *args: Any, model: str = "", is_late: Callable[[], bool] = never
    ) -> Any:
        """Return what a replica answers; cancelling this cancels it there.

        ``model`` is the multiplexed model that is asked, if any. ``is_late`` tells, when the call
        is cancelled, whether that is so because the replica took too long. Raises what
        ``Link.call`` raises, and Unavailable where the deployment is down or too many wait for it.
        """
        refusals: dict[str, CallLost] = {}
        while True:
            chosen = self._choice(model, refusals)
            address, link = chosen or await self._chosen(model, refusals)
            with _Judged(self._breakers, address, is_late, refusals):
                return await link.call(method, *args)

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Give what a replica yields; closing this closes it there. Raises as ``call`` does."""
        refusals: dict[str, CallLost] = {}
        while True:
            address, link = await self._chosen("", refusals)
            with _Judged(self._breakers, address, never, refusals):
                async with aclosing(link.stream(method, *args)) as pieces:
                    async for piece in pieces:
                        yield piece
                return

    @property
    def is_down(self) -> bool:
        """Whether a call would fail at once, since no replica is healthy."""
        return not self._live() and self._outage.is_down

    def close(self) -> None:
        """Make no further calls; those under way go on."""
        self._membership.close()
        self._outage.close()
        for one in self._links.values():
            one.leave()

    def _apply(self, members: Members) -> None:
        """Take over the list of running replicas."""
        for address in self._links.keys() - members.keys():
            gone = self._links.pop(address)
            self._outage.dropped(gone)
            gone.leave()
        for address, models in members.items():
            one = self._link(address)
            one.models, one.is_listed = models, True
        self._breakers.keep(members)
        self._changed()

    def _link(self, address: str) -> ReplicaLink:
        """Return the connection to a replica, to which one is made."""
        found = self._links.get(address)
        if found is None:
            made = partial(connect, address, self.name, self._secret)
            found = self._links[address] = ReplicaLink(made, self._changed)
        found.connect()
        return found

    def _changed(self) -> None:
        """Have those look again who wait for a replica."""
        if any(one.live for one in self._links.values()):
            self._outage.connected()
        news, self._news = self._news, self._news.get_loop().create_future()
        news.set_result(None)

    async def _chosen(self, model: str, refusals: Mapping[str, CallLost]) -> tuple[str, Link]:
        """Return a replica for a call, as soon as there is one; raise if all have refused it."""
        while True:
            found = self._choice(model, refusals)
            if found is not None:
                return found
            await self._wait()

    def _choice(self, model: str, refusals: Mapping[str, CallLost]) -> tuple[str, Link] | None:
        """Return a replica for a call, None where there is none; raise if all have refused it."""
        live = self._live()
        found = [address for address in live if address not in refusals]
        if found:
            address = self._least_loaded(self._preferred(found, model), live)
            return address, live[address]
        if live:
            # Nothing was begun, so nothing was interrupted.
            raise Unavailable(str(refusals[next(iter(live))]))
        return None

    def _live(self) -> dict[str, Link]:
        """The replicas that can be called now; those that are lost are looked for again."""
        live = {}
        for address, one in self._links.items():
            link = one.live
            if link is None:
                one.connect()
            else:
                live[address] = link
        return live

    def _preferred(self, addresses: list[str], model: str) -> list[str]:
        """Of some replicas those that a call should go to."""
        if len(addresses) == 1:
            return addresses
        if not self._breakers.are_closed:
            addresses = self._breakers.admitted(addresses, time.monotonic())
        return self._with_model(addresses, model) if model else addresses

    def _with_model(self, addresses: list[str], model: str) -> list[str]:
        """Of some replicas those that have a model, or else those with the fewest models."""
        models = {address: self._links[address].models for address in addresses}
        fewest = min(map(len, models.values()))
        return [one for one in addresses if model in models[one]] or [
            one for one in addresses if len(models[one]) == fewest
        ]

    def _least_loaded(self, addresses: list[str], live: Mapping[str, Link]) -> str:
        """Of two replicas that are drawn, the one with fewer calls under way.

        One of the two is on this machine, if any is, and is asked if it is not busier.
        """
        if len(addresses) == 1:
            return addresses[0]
        first, second = random.sample(addresses, 2)
        one = random.choice([each for each in addresses if each.startswith(UNIX)] or [first])
        other = second if first == one else first
        return one if live[one].load <= live[other].load else other

    async def _wait(self) -> None:
        """Wait until a replica can be called, or it is time to look again."""
        self._outage.check()
        if any(one.is_connecting for one in self._links.values()):
            await asyncio.wait([self._news], timeout=LONGEST_RETURN)
            return
        with self._outage.wait():
            await self._queue()

    async def _queue(self) -> None:
        """Wait likewise, where Serve's autoscaler counts it."""
        asked = asyncio.ensure_future(self._membership.wait())
        try:
            while not asked.done() and not self._live():
                waiting: list[asyncio.Future[Any]] = [asked, self._news]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                self._outage.check()
            if asked.done():
                await self._found(asked.result())
        finally:
            asked.cancel()

    async def _found(self, address: str) -> None:
        """Connect to a replica that Serve has found."""
        one = self._link(address)
        if one.live is None and not one.is_connecting:
            # It is going, or has died, and Serve does not know it yet.
            await asyncio.sleep(FIRST_PAUSE)
