"""The controller's link: who asks, and waking graphs through Serve's queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from anabranch.access.actor import Actor
from anabranch.access.guard import Credentials
from anabranch.access.identity import TOKEN, Asker, Identity
from anabranch.access.issuers import Issuer
from anabranch.access.keys import digest_of
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
from anabranch.errors import Unauthenticated, Unavailable
from anabranch.router import following
from anabranch.serve.calls import control_link
from anabranch.serve.calls.control_link import ControllerLink
from tests.access.oidc import AUDIENCE, claims, signer
from tests.access.test_jwt import HERE, ISSUER

ASKER = Asker(TOKEN)


class Handle:
    """A Serve handle whose calls end when they are let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.shut = asyncio.Event()
        self.awake = asyncio.Event()
        self.wake = self

    def remote(self) -> asyncio.Task[Any]:
        self.calls += 1
        return asyncio.ensure_future(self.awake.wait())

    async def shutdown_async(self) -> None:
        self.shut.set()


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    made: list[Handle] = []

    def handle(deployment: str, app: str) -> Handle:
        assert (deployment, app) == ("router", "demo")
        made.append(Handle())
        return made[-1]

    monkeypatch.setattr(control_link.serve, "get_deployment_handle", handle)
    return made


def test_nobody_is_known_before_the_first_table_and_by_the_newest_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "FIRST_S", 0.01)
    tables: asyncio.Queue[AccessTable] = asyncio.Queue()

    async def call(self: Any, method: str, *arguments: object, timeout: float | None) -> Any:
        assert method == "access" and arguments[:2] == ("", "gateway")
        if arguments[2]:
            tables.task_done()
        return await tables.get()

    monkeypatch.setattr(control_link.ControllerActor, "call", call)
    shown = Credentials(b"Bearer the-key")

    async def main() -> None:
        link = ControllerLink("gateway")
        link.follow()
        with pytest.raises(Unavailable, match="restarting"):
            await link.asker(shown, "", "q")
        known = KnownKey(Identity("key", "ci", (Grant("viewer"),)))
        tables.put_nowait(AccessTable(1, {digest_of("the-key"): known}))
        monkeypatch.setattr(following, "FIRST_S", 20.0)
        asker = await link.asker(shown, "10.0.0.1", "q")
        assert asker.actor == Actor("key", "ci", "10.0.0.1", "q")
        assert (await link.asker(Credentials(), "", "")).identity.kind == "anonymous"
        tables.put_nowait(AccessTable(2))
        await tables.join()  # the next poll says that it was taken
        with pytest.raises(Unauthenticated, match="not known"):
            await link.asker(shown, "", "q")
        await link.close()

    asyncio.run(main())


def test_the_controller_is_asked_for_keys_of_issuers_that_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = AccessTable(1, issuers=(Issuer(HERE, (AUDIENCE,)),))
    tables: asyncio.Queue[AccessTable] = asyncio.Queue()
    tables.put_nowait(empty)

    async def call(self: Any, method: str, *arguments: object, timeout: float | None = None) -> Any:
        if method == "access":
            if arguments[2] == 2:
                taken.set()
            return await tables.get()
        assert (method, arguments) == ("renew_keys", (HERE, "one"))
        tables.put_nowait(AccessTable(2, issuers=(replace(ISSUER, name=HERE),)))
        return await taken.wait()

    taken = asyncio.Event()
    monkeypatch.setattr(control_link.ControllerActor, "call", call)
    now = int(time.time())
    token = signer().token(claims(HERE, nbf=now - 60, exp=now + 600))

    async def main() -> None:
        link = ControllerLink("gateway")
        link.follow()
        asker = await link.asker(Credentials(f"Bearer {token}".encode()), "10.0.0.1", "q")
        assert asker.actor == Actor("subject", "ada", "10.0.0.1", "q")
        await link.close()

    asyncio.run(main())


class LongCall:
    """The controller, which answers long calls when ``done`` is set, and others while it lives."""

    def __init__(self) -> None:
        self.done, self.asked = asyncio.Event(), asyncio.Event()
        self.lives = True

    async def call(self, method: str, *arguments: object, timeout: float | None = None) -> Any:
        async with asyncio.timeout(timeout):
            if method == "handle":
                await self.done.wait()
                return 200, (), b"{}"
            self.asked.set()
            if not self.lives:
                await asyncio.Event().wait()
            return {}


def test_a_long_call_is_waited_for_as_long_as_the_controller_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_link, "_ANSWER_S", 0.01)

    async def main() -> None:
        one = LongCall()
        monkeypatch.setattr(control_link, "ControllerActor", lambda: one)
        link = ControllerLink("gateway")
        asking = asyncio.ensure_future(link.handle("GET", "/graphs", "", b"", ASKER))
        await one.asked.wait()
        assert not asking.done()
        one.done.set()
        assert await asking == (200, (), b"{}")

        one.done.clear()
        one.lives = False
        for call in (link.handle("GET", "/graphs", "", b"", ASKER), link.graphs(), link.metrics()):
            with pytest.raises(Unavailable, match="controller is restarting"):
                await call

    asyncio.run(main())


def test_all_who_wait_for_a_graph_wait_in_one_queue(handles: list[Handle]) -> None:
    async def main() -> None:
        control = ControllerLink("front")
        waiting = [asyncio.ensure_future(control.wake("demo")) for _ in range(5)]
        await asyncio.sleep(0)
        (handle,) = handles
        assert handle.calls == 5
        handle.awake.set()
        await asyncio.gather(*waiting)
        await handle.shut.wait()
        again = asyncio.ensure_future(control.wake("demo"))
        await asyncio.sleep(0)
        handles[1].awake.set()
        await again
        await handles[1].shut.wait()

    asyncio.run(main())


def test_a_graph_that_does_not_wake_is_not_waited_for_without_end(
    handles: list[Handle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_link, "_WAKE_S", 0.02)

    async def main() -> None:
        control = ControllerLink("front")
        with pytest.raises(Unavailable, match=r"graph .demo. did not wake within 0\.02s"):
            await control.wake("demo")
        await handles[0].shut.wait()

    asyncio.run(main())


def test_a_graph_whose_router_is_no_deployment_needs_no_waking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(deployment: str, app: str) -> None:
        raise KeyError(f"{deployment} of {app} does not exist")  # as Serve does

    monkeypatch.setattr(control_link.serve, "get_deployment_handle", missing)

    async def main() -> None:
        control = ControllerLink("front")
        for _ in range(2):
            await control.wake("demo")

    asyncio.run(main())
