"""OpenAI's API at the gateway: the unmodified client, graphs by their names, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch.router.gateway.named_in_body import _again
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import Message
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import ProtocolName
from tests.router.conftest import Step, StepHead, make_table
from tests.router.control import FakeControl
from tests.router.gateway.scripted import LIMITS, gateway, ok, routed, run, state
from tests.router.http.doors.openai.graphs import COUNTED, MESSAGES, echo, signature, spell

openai = pytest.importorskip("openai")

USER: Any = [{"role": "user", "content": "one two"}]
BODY = {"model": "demo", "messages": USER}
CHAT = "/v1/chat/completions"


def app(graph: str, step: Step, protocols: tuple[ProtocolName, ...] = ("openai",)) -> GraphApp:
    arms = Arms(graph, lambda revision: StepHead(step), RequestLimits())
    table = make_table(revisions={3: signature(MESSAGES, COUNTED, protocols=protocols)})
    arms.apply(replace(table, graph=graph))
    return GraphApp(arms)


@asynccontextmanager
async def served(graphs: Mapping[str, GraphApp], folder: Path) -> AsyncIterator[tuple[str, Any]]:
    """Routers of graphs at Unix sockets behind a gateway; yields its address and the control."""
    control, servers, addresses = FakeControl(), [], {}
    for at, (graph, one) in enumerate(graphs.items()):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / f"{at}.sock"))
        server = LeanServer(one)
        await server.listen(listener)
        servers.append(server)
        addresses[graph] = (f"unix@{folder / f'{at}.sock'}",)
    control.states = {
        graph: {**state(), "protocols": ("openai",), "created": 5.0} for graph in graphs
    }
    try:
        async with gateway(control) as client:
            await control.know(**addresses)
            yield str(client.http.base_url), control
    finally:
        for server in servers:
            await server.close(1.0)


def asked(url: str, **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **more)


def test_the_model_of_a_body_is_the_graph(tmp_path: Path) -> None:
    async def main() -> None:
        graphs = {"demo": app("demo", echo), "team/llm": app("team/llm", spell)}
        async with served(graphs, tmp_path) as (url, _), asked(url) as client:
            for model, counted in (("demo", 6), ("team/llm", 14)):
                found = await client.chat.completions.create(model=model, messages=USER)
                assert found.model == model and found.usage is not None
                assert found.choices[0].message.content == "one two"
                assert found.usage.total_tokens == counted
                stream = await client.chat.completions.create(
                    model=model, messages=USER, stream=True
                )
                texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
                assert "".join(texts) == "one two"

    run(main())


@pytest.mark.parametrize("graph", ["demo", "team/llm"])
def test_a_graph_has_a_base_of_its_own(tmp_path: Path, graph: str) -> None:
    async def main() -> None:
        async with (
            served({graph: app(graph, echo)}, tmp_path) as (url, _),
            asked(f"{url}/openai/{graph}") as client,
        ):
            found = await client.chat.completions.create(model=graph, messages=USER)
            assert found.choices[0].message.content == "one two"
            assert [one.id async for one in client.models.list()] == [graph]
            assert (await client.models.retrieve(graph)).id == graph

    run(main())


def test_models_are_the_graphs_with_the_protocol(tmp_path: Path) -> None:
    async def main() -> None:
        graphs = {"demo": app("demo", echo), "other": app("other", echo, ())}
        async with served(graphs, tmp_path) as (url, control), asked(url) as client:
            control.states["other"]["protocols"] = ("v1",)
            control.states["away"] = {**state(), "live": False, "protocols": ("openai", "v1")}
            found = [(one.id, one.created) async for one in client.models.list()]
            assert found == [("demo", 5)]
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{url}/v1/models")).json()["models"] == ["other"]
            assert (await client.models.retrieve("demo")).owned_by == "anabranch"
            with pytest.raises(openai.NotFoundError, match=r"protocols: \[openai\]"):
                await client.chat.completions.create(model="other", messages=USER)

    run(main())


def test_a_graph_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with served({"demo": app("demo", echo)}, tmp_path) as (url, _), asked(url) as client:
            with pytest.raises(openai.NotFoundError, match="there is no graph 'deno'") as found:
                await client.chat.completions.create(model="deno", messages=USER)
            assert (found.value.code, found.value.param) == ("model_not_found", "model")
            with pytest.raises(openai.NotFoundError) as found:
                await client.models.retrieve("deno")
            with pytest.raises(openai.NotFoundError, match="there is no path '/v1/responses'"):
                await client.responses.create(model="demo", input="Hi")

    run(main())


def test_a_key_that_is_not_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with served({"demo": app("demo", echo)}, tmp_path) as (url, control):
            control.__class__ = type("Closed", (FakeControl,), {"anonymous": ()})
            async with asked(url) as client:
                with pytest.raises(openai.AuthenticationError) as found:
                    await client.chat.completions.create(model="demo", messages=USER)
                assert found.value.code == "invalid_api_key"
                with pytest.raises(openai.AuthenticationError):
                    await client.models.list()

    run(main())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "'model'"),
        (b'{"model": 3}', "Expected `str`"),
        (b'{"model": null}', "'model'"),
        (b"[" * 5000, "Expected `object`"),
    ],
)
def test_bodies_that_name_no_graph(body: bytes, said: str) -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, routers):
            found = await client.post(body, CHAT)
            assert found.status_code == 400
            assert said in found.json()["error"]["message"]
            assert routers[0].asked == []

    run(main())


def test_a_body_is_passed_on_as_it_was_sent() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, routers):
            sent = gzip.compress(json.dumps(BODY).encode())
            found = await client.post(sent, CHAT, headers={"content-encoding": "gzip"})
            assert found.content == sent
            (one,) = routers[0].asked
            assert (one.method, one.target) == ("POST", CHAT)
            assert one.values("content-encoding") == ["gzip"]

    run(main())


def test_a_large_body_is_passed_on_and_a_larger_one_is_not() -> None:
    async def main() -> None:
        async with routed(ok, limits=LIMITS) as (_, client, routers):
            sent = json.dumps({**BODY, "user": "x" * 150_000}).encode()
            assert (await client.post(sent, CHAT)).content == sent
            found = await client.post(sent + b" " * 100_000, CHAT)
            assert found.status_code == 413
            assert found.json()["error"]["type"] == "invalid_request_error"
            assert len(routers[0].asked) == 1

    run(main())


def test_other_methods_are_refused() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, routers):
            found = await client.get(CHAT)
            assert found.status_code == 405 and found.headers["allow"] == "POST"
            assert found.json()["error"]["type"] == "invalid_request_error"
            assert routers[0].asked == []

    run(main())


def test_a_client_that_hangs_up_ends_the_evaluation(tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(inputs: Any, context: Any) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async def main() -> None:
        graphs = {"demo": app("demo", wait)}
        async with served(graphs, tmp_path) as (url, _), asked(url) as client, asyncio.timeout(30):
            call = client.chat.completions.create(model="demo", messages=USER)
            asking = asyncio.ensure_future(call)
            await begun.wait()
            asking.cancel()
            await ended.wait()

    run(main())


@pytest.mark.parametrize("size", [0, 1, 2**18, 2**18 + 1, 3 * 2**18])
def test_a_body_that_was_read_comes_again_in_pieces(size: int) -> None:
    body = memoryview(bytes(range(256)) * (size // 256 + 1))[:size]
    gone: Message = {"type": "http.disconnect"}

    async def rest() -> Message:
        return gone

    async def main() -> None:
        receive = _again(body, rest)
        found: list[Message] = []
        while (message := await receive()) is not gone:
            found.append(message)
        assert [one["more_body"] for one in found] == [True] * (len(found) - 1) + [False]
        assert all(len(one["body"]) <= 2**18 for one in found)
        assert b"".join(one["body"] for one in found) == body

    asyncio.run(main())


def test_a_large_body_reaches_its_graph(tmp_path: Path) -> None:
    said = " ".join(["word"] * 2**18)

    async def main() -> None:
        async with served({"demo": app("demo", echo)}, tmp_path) as (url, _), asked(url) as client:
            messages: Any = [{"role": "user", "content": said}]
            found = await client.chat.completions.create(model="demo", messages=messages)
            assert found.choices[0].message.content == said

    asyncio.run(main())
