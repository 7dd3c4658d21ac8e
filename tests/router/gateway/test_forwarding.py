"""The gateway before routers that die, are not there, are replaced, and sleep."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from anabranch.errors import Unavailable
from anabranch.router import following
from anabranch.router.gateway import forwarding, http_router
from anabranch.router.gateway.forwarding import RETRIES
from tests.router.control import FakeControl
from tests.router.gateway.scripted import (
    INFER,
    LIMITS,
    MIB,
    Asked,
    HeldBytes,
    Peer,
    ScriptedRouter,
    come,
    dies,
    gateway,
    gone,
    head,
    message,
    ok,
    routed,
    run,
    state,
    unused,
    waiting,
)
from tests.waiting import eventually


def test_a_request_that_may_have_been_done_is_not_sent_again() -> None:
    async def main() -> None:
        async with routed(dies, dies) as (_, client, routers):
            told = message(await client.post(), 503)
            assert told == "the router ended before it answered; try again"
            assert sum(len(one.asked) for one in routers) == 1

    run(main())


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_request_that_does_no_harm_is_sent_again_to_another_router(method: str) -> None:
    async def main() -> None:
        async with routed(dies, ok) as (control, client, routers):
            control.idempotent = frozenset(["demo"] if method == "POST" else [])
            await control.know(demo=tuple(one.address for one in routers))
            for _ in range(4):
                reply = await client.http.request(method, INFER, content=b"{}")
                assert reply.status_code == 200
            assert [asked.body for asked in routers[1].asked] == [b"{}"] * 4
            assert routers[0].asked

    run(main())


def test_it_is_not_sent_again_for_ever() -> None:
    async def main() -> None:
        async with routed(dies) as (_, client, routers):
            message(await client.get(), 503)
            assert len(routers[0].asked) == RETRIES + 1

    run(main())


def test_a_body_that_is_not_at_hand_any_more_is_not_sent_again() -> None:
    async def main() -> None:
        async with routed(dies, dies) as (control, client, routers):
            control.idempotent = frozenset(["demo"])
            await control.know(demo=tuple(one.address for one in routers))
            message(await client.post(b"x" * 3 * MIB), 503)
            assert sum(len(one.asked) for one in routers) == 1

    run(main())


def test_requests_go_to_the_router_with_least_to_do_and_else_in_turn() -> None:
    held = HeldBytes()

    async def main() -> None:
        async with routed(held, ok, ok) as (control, client, routers):
            await control.know(demo=(routers[0].address,))
            waiting = asyncio.create_task(client.post())
            await come(held.come)
            await control.know(demo=tuple(one.address for one in routers))
            for _ in range(8):
                await client.post()
            assert [len(one.asked) for one in routers] == [1, 4, 4]
            held.go.set()
            assert (await waiting).text == "held"

    run(main())


def test_a_router_that_cannot_be_reached_is_passed_over() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, routers):
            await control.know(demo=(gone(), unused(), routers[0].address))
            for _ in range(10):
                assert (await client.post(b"once")).text == "once"
            assert len(routers[0].asked) == 10

    run(main())


def test_where_none_can_be_reached_a_request_waits_for_other_addresses() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, routers):
            await control.know(demo=(gone(), unused()))
            asking = asyncio.create_task(client.post())
            await eventually(lambda: waiting(client) == 1)
            control.put(demo=(routers[0].address,))
            assert (await asking).status_code == 200
            assert control.woken == []

    run(main())


def test_a_router_that_listens_later_is_found_at_the_same_address() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, routers):
            path = Path(routers[0].address.removeprefix("unix@")).with_name("late.sock")
            await control.know(demo=(f"unix@{path}",))
            asking = asyncio.create_task(client.post())
            await eventually(lambda: waiting(client) == 1)
            async with ScriptedRouter(ok, path):
                assert (await asking).status_code == 200

    run(main())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "WAIT_S", 0.2)
    monkeypatch.setattr(http_router, "REFUSED_S", 0.05)

    async def silent(graph: str) -> None:
        pass

    async def main() -> None:
        async with routed(ok) as (control, client, routers):
            control.on_wake = silent
            for addresses in ((gone(), unused()), ()):
                await control.know(demo=addresses)
                told = message(await client.post(), 503)
                assert told == "no router of graph 'demo' can be reached; try again later"
            assert routers[0].asked == []
            await eventually(lambda: waiting(client) == 0)

    run(main())


def test_a_graph_that_sleeps_is_woken_by_a_request_and_not_by_a_question() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, routers):
            await control.know(demo=())
            for path in ("/v2/models/demo/ready", "/v2/models/demo/versions/3/ready/"):
                reply = await client.get(path)
                assert (reply.status_code, reply.json()) == (200, {"name": "demo", "ready": True})
                assert (await client.http.head(path)).status_code == 200
            control.states = {"demo": state(False, "it starts")}
            told = message(await client.get("/v2/models/demo/ready"), 503)
            assert told == "graph 'demo' cannot answer now: it starts"
            control.states = {}
            assert "there is no graph" in message(await client.get("/v2/models/demo/ready"), 404)
            assert control.woken == []

            assert "cannot be woken" in message(await client.post(), 503)

            async def wake(graph: str) -> None:
                control.put(demo=(routers[0].address,))

            control.on_wake = wake
            assert (await client.post(b"x")).text == "x"
            assert control.woken == ["demo", "demo"]
            assert (await client.get("/v2/models/demo/ready")).status_code == 200
            assert routers[0].asked[-1].target == "/v2/models/demo/ready"

    run(main())


def test_the_state_of_a_graph_that_sleeps_by_the_protocols_that_it_speaks() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, _):
            await control.know(demo=())
            path = "/v1/models/demo"
            available = {"error_code": "OK", "error_message": ""}
            told = {
                "v1": {
                    "name": "demo",
                    "ready": True,
                    "model_version_status": [
                        {"version": "1", "state": "AVAILABLE", "status": available}
                    ],
                },
                "openai": {
                    "id": "demo", "object": "model", "created": 0, "owned_by": "anabranch"
                },
            }  # fmt: skip
            for spoken in (["v1"], ["openai"], ["v1", "openai"]):
                control.states = {"demo": state(True) | {"protocols": tuple(spoken)}}
                reply = await client.get(path)
                assert reply.json() == {k: v for one in spoken for k, v in told[one].items()}
            control.states = {"demo": state(False, "it starts")}
            assert "cannot answer now" in message(await client.get(path), 503)
            assert control.woken == []
            control.states = {"demo": state(True)}
            assert "cannot be woken" in message(await client.get(path), 503)
            assert control.woken == ["demo"]

    run(main())


def test_so_many_wait_for_a_graph_and_no_more() -> None:
    async def main() -> None:
        go = asyncio.Event()
        async with routed(ok, limits=LIMITS) as (control, client, routers):

            async def wake(graph: str) -> None:
                await go.wait()
                control.put(demo=(routers[0].address,))

            control.on_wake = wake
            await control.know(demo=())
            asking = [asyncio.create_task(client.post()) for _ in range(2)]
            await eventually(lambda: waiting(client) == 2)
            told = message(await client.post(), 503)
            assert told.startswith(
                "2 requests are in progress, the most that may wait for a router"
            )
            go.set()
            assert [reply.status_code for reply in await asyncio.gather(*asking)] == [200, 200]

    run(main())


def test_a_client_that_leaves_waits_no_more() -> None:
    async def main() -> None:
        ended = asyncio.Semaphore(0)
        async with routed(ok) as (control, client, routers):

            async def wake(graph: str) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.release()

            control.on_wake = wake
            await control.know(demo=())
            peer = await client.connect()
            peer.write(head("GET"))
            await eventually(lambda: waiting(client) == 1)
            peer.die()
            await come(ended)
            await eventually(lambda: waiting(client) == 0)
            assert routers[0].asked == []

    run(main())


def test_a_wake_that_fails_does_not_matter_where_a_router_has_come() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, routers):

            async def wake(graph: str) -> None:
                await control.know(demo=(routers[0].address,))
                raise Unavailable("not this way")

            control.on_wake = wake
            await control.know(demo=())
            assert (await client.post()).status_code == 200

    run(main())


def test_a_router_that_is_replaced_is_waited_for() -> None:
    async def main() -> None:
        async with routed(ok, ok) as (control, client, routers):
            woken = asyncio.Event()

            async def wake(graph: str) -> None:
                woken.set()

            control.on_wake = wake
            await control.know(demo=(routers[0].address,))
            await client.post()
            await routers[0].die()
            asking = asyncio.create_task(client.post())
            await eventually(lambda: waiting(client) == 1)
            await control.know(demo=())
            async with asyncio.timeout(60):
                await woken.wait()
            await control.know(demo=(routers[1].address,))
            assert (await asking).status_code == 200

    run(main())


def test_a_graph_that_is_deleted_is_not_waited_for() -> None:
    async def main() -> None:
        async with routed(ok) as (control, client, _routers):
            await control.know(demo=(gone(),))
            asking = asyncio.create_task(client.post())
            await eventually(lambda: waiting(client) == 1)
            control.states = {}
            await control.know()
            assert "there is no graph 'demo'" in message(await asking, 404)

    run(main())


def test_a_gateway_that_has_just_started_waits_for_the_first_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "FIRST_S", 30.0)

    async def main() -> None:
        control = FakeControl(told=False)
        async with ScriptedRouter(ok) as one, gateway(control) as client:
            asking = asyncio.create_task(client.post(b"x"))
            await asyncio.sleep(0)
            await control.know(demo=(one.address,))
            assert (await asking).text == "x"

    run(main())


def test_without_any_addresses_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_S", 0.01)

    async def main() -> None:
        control = FakeControl(told=False)
        control.states = {"demo": state()}
        async with gateway(control) as client:
            assert "it has no router yet" in message(await client.post(), 503)
            control.states = Unavailable("the controller is restarting", 3)
            reply = await client.post()
            assert message(reply, 503) == "the controller is restarting"
            assert reply.headers["retry-after"] == "3"

    run(main())


def test_a_router_that_is_not_listed_any_more_answers_what_it_has() -> None:
    held = HeldBytes()
    closed = asyncio.Semaphore(0)

    async def script(asked: Asked, peer: Peer) -> None:
        await held(asked, peer)
        await peer.until_closed()
        closed.release()

    async def main() -> None:
        async with routed(script, ok) as (control, client, routers):
            await control.know(demo=(routers[0].address,))
            asking = asyncio.create_task(client.post())
            await come(held.come)
            await control.know(demo=(routers[1].address,))
            assert (await client.post(b"new")).text == "new"
            assert closed.locked()
            held.go.set()
            assert (await asking).text == "held"
            await come(closed)

    run(main())
