"""A server of OpenAI's API, asked by OpenAI's client itself and through a graph: equal answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from anabranch import Graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from tests.components.runtimes.openai.server import KEY, LanguageServer, answers
from tests.router.conftest import KEYS, serving, uvloop_running

openai = pytest.importorskip("openai")

HELLO: Any = [{"role": "user", "content": "one two three four"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
]
TASKS = {"chat": "messages", "completions": "prompt", "embeddings": "input"}
ASKED = {
    "plain": {},
    "few tokens": {"max_tokens": 2},
    "tools": {"tools": TOOLS, "tool_choice": "auto"},
    "parameters": {"temperature": 0.5, "top_p": 0.9, "seed": 4, "logit_bias": {"3": 1}},
}


class Served(NamedTuple):
    """The server, a client that asks it, and for each task one that asks the graph before it."""

    server: LanguageServer
    direct: openai.OpenAI
    through: dict[str, openai.OpenAI]


def graph(task: str, url: str) -> Graph:
    source = TASKS[task]
    made = Graph(task, protocols=["openai"]).input(source, "BYTES", [1])
    made.predictor(
        "llm", runtime="openai", inputs={source: source},
        args={"url": url, "model": "echo", "task": task, "key": "API_KEY"},
        secrets={"API_KEY": {"env": "UPSTREAM_KEY"}},
    )  # fmt: skip
    if task == "embeddings":
        return made.output("vectors", "llm")
    for name in ("text", "finish_reason", "tool_calls", "prompt_tokens", "completion_tokens"):
        made.output(name, f"llm.{name}")
    return made


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = LanguageServer()
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(server) as url,
        uvloop_running() as run,
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as direct,
    ):
        patch.setenv("UPSTREAM_KEY", KEY)
        ends, through = [], {}
        for task in TASKS:
            base, end = run(_routed(graph(task, f"{url}/v1")))
            ends.append(end)
            through[task] = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        yield Served(server, direct, through)
        for client in through.values():
            client.close()
        for end in ends:
            run(end())


async def _routed(made: Graph) -> Any:
    """A router of a graph; its address, and what ends it."""
    plan = made.plan
    bound = await load_nodes(plan, plan.nodes, Path())
    head = LocalHead(HeadExecutor(plan, bound))
    arms = Arms(plan.name, lambda revision: head, RequestLimits())
    arms.apply(RoutingTable(plan.name, 1, 1, {1: 100.0}, revisions={1: plan.signature}, keys=KEYS))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = LeanServer(GraphApp(arms))
    await server.listen(listener)

    async def end() -> None:
        await server.close(1)
        await unload_nodes(bound, Path())
        head.close()

    return url, end


def told(answer: Any) -> Any:
    """What an answer says, without what is its server's own."""
    (choice,) = answer.choices
    calls = [] if not choice.message.tool_calls else choice.message.tool_calls
    return (
        choice.message.role,
        choice.message.content,
        [(one.id, one.function.name, one.function.arguments) for one in calls],
        choice.finish_reason,
        answer.usage.total_tokens,
    )


def streamed(stream: Any) -> Any:
    """What a stream says, put together."""
    content, calls, reason, usage = "", {}, None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for one in chunk.choices:
            content += one.delta.content or ""
            reason = one.finish_reason or reason
            for part in one.delta.tool_calls or ():
                known = calls.setdefault(part.index, ["", "", ""])
                known[0] += part.id or ""
                known[1] += part.function.name or ""
                known[2] += part.function.arguments or ""
    return content, calls, reason, usage.total_tokens


@pytest.mark.parametrize("fields", ASKED.values(), ids=ASKED)
def test_chats_are_the_same(served: Served, fields: Any) -> None:
    direct, through = (
        told(client.chat.completions.create(model=model, messages=HELLO, **fields))
        for client, model in ((served.direct, "echo"), (served.through["chat"], "chat"))
    )
    assert through == direct


@pytest.mark.parametrize("fields", ASKED.values(), ids=ASKED)
def test_streams_of_chats_are_the_same(served: Served, fields: Any) -> None:
    more: Any = {"stream": True, "stream_options": {"include_usage": True}, **fields}
    direct, through = (
        streamed(client.chat.completions.create(model=model, messages=HELLO, **more))
        for client, model in ((served.direct, "echo"), (served.through["chat"], "chat"))
    )
    assert through == direct


def test_fields_reach_the_server_as_they_were(served: Served) -> None:
    served.server.asked.clear()
    fields: Any = {**ASKED["tools"], **ASKED["parameters"], "stop": ["END"], "user": "ann"}
    served.direct.chat.completions.create(model="echo", messages=HELLO, **fields)
    served.through["chat"].chat.completions.create(model="chat", messages=HELLO, **fields)
    direct, through = served.server.asked
    assert {name: through.get(name) for name in direct} == direct


@pytest.mark.parametrize("stream", [False, True])
def test_completions_are_the_same(served: Served, stream: bool) -> None:
    def text(client: openai.OpenAI, model: str) -> str:
        found: Any = client.completions.create(model=model, prompt="one two", stream=stream)
        parts = found if stream else [found]
        return "".join(one.text for part in parts for one in part.choices)

    assert text(served.through["completions"], "completions") == text(served.direct, "echo")


@pytest.mark.parametrize("given", ["banana", ["a", "bb", "banana"]])
def test_embeddings_are_the_same(served: Served, given: Any) -> None:
    def rows(client: openai.OpenAI, model: str) -> list[Any]:
        found = client.embeddings.create(model=model, input=given)
        return sorted((one.index, one.embedding) for one in found.data)

    assert rows(served.through["embeddings"], "embeddings") == rows(served.direct, "echo")


def test_a_server_that_is_busy_is_told_as_such(served: Served) -> None:
    busy = {"error": {"message": "slow down", "type": "requests", "param": None, "code": None}}
    served.server.fault = answers(429, busy, (b"retry-after", b"7"))
    try:
        with pytest.raises(openai.APIStatusError, match="slow down") as found:
            served.through["chat"].chat.completions.create(model="chat", messages=HELLO)
    finally:
        served.server.fault = None
    assert found.value.status_code in (429, 503)
    assert found.value.response.headers["retry-after"] == "7"
