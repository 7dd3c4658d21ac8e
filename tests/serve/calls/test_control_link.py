"""The controller's link: the token, and waking graphs through Serve's queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from anabranch.errors import Unavailable
from anabranch.serve.calls import control_link
from anabranch.serve.calls.control_link import ControllerLink, token_digest

LINK = ControllerLink("gateway", token_digest("the-token"))


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


@pytest.mark.parametrize("value", ["Bearer the-token", "bearer the-token", "BEARER  the-token "])
def test_the_token_opens(value: str) -> None:
    assert LINK.refusal({"authorization": value}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "the-token"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer the-toke"},
        {"authorization": "Basic the-token"},
        {"authorization": f"Bearer {token_digest('the-token')}"},
        {"authorization": "Bearer the-token\u00fc\udc80"},
        {"x-token": "the-token"},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    reply = LINK.refusal(headers)
    assert reply is not None and reply.status == 401
    assert (b"www-authenticate", b"Bearer") in reply.headers
    assert b"the-token" not in reply.body


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
