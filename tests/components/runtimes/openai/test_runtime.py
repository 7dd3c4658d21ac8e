"""The runtime ``openai`` against a real server of that API, which then misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LoadError,
    NodeError,
    SpecError,
    Unavailable,
)
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from tests.components.runtimes.openai.server import (
    KEY,
    LanguageServer,
    answers,
    hangs,
    streams,
)
from tests.router.conftest import serving

HELLO = [{"role": "system", "content": "repeat"}, {"role": "user", "content": "a b c"}]
TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {}}}])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, LanguageServer]]:
    server = LanguageServer()
    with serving(server) as url:
        yield f"{url}/v1", server


@pytest.fixture
def server(served: tuple[str, LanguageServer], monkeypatch: pytest.MonkeyPatch) -> LanguageServer:
    monkeypatch.setenv("SOURCE", KEY)
    server = served[1]
    server.fault, server.key = None, KEY
    server.asked.clear()
    server.headers.clear()
    server.begun.clear()
    server.closed.clear()
    return server


@pytest.fixture
def make(served: tuple[str, LanguageServer], server: LanguageServer) -> Any:
    def built(task: str = "chat", **args: Any) -> Graph:
        shape = [-1] if task == "embeddings" else [1]
        graph = Graph("g").input("given", "BYTES", shape)
        fields = {"url": served[0], "model": "echo", "task": task, "key": "API_KEY"} | args
        graph.predictor("llm", runtime="openai", args=fields, inputs={"x": "given"},
                        secrets={"API_KEY": {"env": "SOURCE"}})  # fmt: skip
        if task == "embeddings":
            return graph.output("vectors", "llm")
        for name in ("text", "finish_reason", "tool_calls", "prompt_tokens", "completion_tokens"):
            graph.output(name, f"llm.{name}")
        return graph

    return built


def used(graph: Graph, work: Any) -> Any:
    async def main() -> Any:
        bound = await load_nodes(graph.plan, graph.plan.nodes, Path())
        executor = HeadExecutor(graph.plan, bound)
        try:
            async with asyncio.timeout(30):
                return await work(executor)
        finally:
            executor.close()
            await unload_nodes(bound, Path())

    return asyncio.run(main())


def texts(*given: object) -> dict[str, Any]:
    return {"given": np.array([one if isinstance(one, str) else json.dumps(one) for one in given],
                              object)}  # fmt: skip


def plain(found: Any) -> dict[str, Any]:
    return {name: array[0] for name, array in found.items()}


def asked(graph: Graph, *given: object, **parameters: Any) -> Any:
    return used(graph, lambda executor: executor.run(texts(*given), Context(parameters=parameters)))


def streamed(graph: Graph, *given: object, **parameters: Any) -> list[dict[str, Any]]:
    async def work(executor: HeadExecutor) -> Any:
        results = executor.stream(texts(*given), Context(parameters=parameters))
        return [plain(one) async for one in results]

    return used(graph, work)


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_gives_its_text_reason_and_counts(make: Any, stream: bool) -> None:
    assert plain(asked(make(stream=stream), HELLO)) == {
        "text": "a b c ", "finish_reason": "stop", "tool_calls": "",
        "prompt_tokens": 7, "completion_tokens": 3,
    }  # fmt: skip


def test_a_chat_streams_its_pieces(make: Any) -> None:
    found = streamed(make(), HELLO)
    assert [one["text"] for one in found] == ["", "a ", "b ", "c ", "", ""]
    assert [one["finish_reason"] for one in found][-2:] == ["stop", ""]
    assert [one["completion_tokens"] for one in found] == [0, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("stream", [True, False])
def test_tool_calls_come_whole(make: Any, stream: bool, server: LanguageServer) -> None:
    found = plain(asked(make(stream=stream), HELLO, tools=TOOLS, tool_choice="auto"))
    assert found["finish_reason"] == "tool_calls" and found["text"] == ""
    function = {"name": "weather", "arguments": '{"city": "Bärn"}'}
    assert json.loads(found["tool_calls"]) == [
        {"id": "call_1", "type": "function", "function": function}
    ]
    assert server.asked[-1]["tools"] == json.loads(TOOLS)
    assert server.asked[-1]["tool_choice"] == "auto"


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_is_completed(make: Any, stream: bool) -> None:
    found = plain(asked(make("completions", stream=stream), "one two three", max_tokens=2))
    assert (found["text"], found["completion_tokens"]) == ("one two ", 2)


def test_texts_become_vectors_in_their_order(make: Any) -> None:
    found = asked(make("embeddings"), "aa", "b", "cac")
    assert found["vectors"].dtype == np.float32
    assert found["vectors"].tolist() == [[2, 2], [1, 0], [3, 1]]


def test_vectors_may_come_as_base64(make: Any) -> None:
    found = asked(make("embeddings", options={"encoding_format": "base64"}), "aa", "b")
    assert found["vectors"].tolist() == [[2, 2], [1, 0]]


def test_only_fields_of_the_api_go_to_the_server(make: Any, server: LanguageServer) -> None:
    options = {"temperature": 0.5, "seed": 1}
    asked(make(options=options), HELLO, temperature=0.25, stop='["x"]', timeout=9, priority=1)
    (body,) = server.asked
    assert body == {
        "model": "echo", "messages": HELLO, "temperature": 0.25, "seed": 1, "stop": ["x"],
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("given", "parameters", "words"),
    [
        (["no json"], {}, "messages must be a list in JSON"),
        ([{"role": "user"}], {}, "a list of objects in JSON"),
        ([[1, 2]], {}, "a list of objects in JSON"),
        ([HELLO], {"stop": "[1"}, "parameter 'stop' is no JSON"),
        ([HELLO], {"temperature": 3}, "400: temperature must be at most 2"),
    ],
)
def test_a_mistake_of_the_caller_is_told(
    make: Any, given: list[Any], parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        asked(make(), *given, **parameters)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (answers(429, {"error": {"message": "slow down"}}, (b"retry-after", b"7")), Unavailable,
         "overloaded: slow down"),
        (answers(503, {"error": "away"}), Unavailable, "overloaded: away"),
        (answers(500, {"error": {"message": "oh\nno"}}), NodeError, "answered 500: oh no"),
        (answers(404, {"error": {"message": "gone"}}), NodeError, "answered 404: gone"),
        (answers(302, {}, (b"location", b"/elsewhere")), NodeError, "answered 302"),
    ],
)  # fmt: skip
def test_a_server_that_fails_fails_the_node(
    make: Any, server: LanguageServer, stream: bool, fault: Any, kind: Any, words: str
) -> None:
    server.fault = fault
    with pytest.raises(kind, match=words) as caught:
        asked(make(stream=stream), HELLO)
    if kind is Unavailable and "slow" in words:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ((b"{", b"[DONE]"), "no JSON"),
        ((b"[1]", b"[DONE]"), "no object"),
        ((b'{"choices": [1]}', b"[DONE]"), "no list of objects"),
        ((b'{"choices": [{"delta": {"content": 5}}]}', b"[DONE]"), "5 for a text"),
        ((b'{"error": {"message": "worn out"}}',), "failed: worn out"),
        ((b'{"choices": []}',), r"before \[DONE\]"),
        ((), r"before \[DONE\]"),
    ],
)
def test_a_stream_that_breaks_the_protocol_fails_the_node(
    make: Any, server: LanguageServer, events: tuple[bytes, ...], words: str
) -> None:
    server.fault = streams(*events)
    with pytest.raises(NodeError, match=words):
        asked(make(), HELLO)


@pytest.mark.parametrize(
    "answer",
    [[], {}, {"choices": 3}, {"choices": [{"message": {"content": 1}}]}, "text", None],
)
def test_a_whole_answer_that_breaks_the_protocol_fails_the_node(
    make: Any, server: LanguageServer, answer: Any
) -> None:
    server.fault = answers(200, answer)
    with pytest.raises(NodeError, match="node 'llm' failed: BadAnswer"):
        asked(make(stream=False), HELLO)


@pytest.mark.parametrize(
    "data",
    [None, [], [{"index": 5, "embedding": [1]}], [{"index": 0, "embedding": "%"}],
     [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]],
)  # fmt: skip
def test_vectors_that_are_none_fail_the_node(make: Any, server: LanguageServer, data: Any) -> None:
    server.fault = answers(200, {"data": data})
    with pytest.raises(NodeError, match="node 'llm' failed: BadAnswer"):
        asked(make("embeddings"), "a", "b")


def test_a_stream_that_nobody_takes_is_ended_at_the_server(
    make: Any, server: LanguageServer
) -> None:
    server.fault = hangs

    async def work(executor: HeadExecutor) -> None:
        results = executor.stream(texts(HELLO), Context())
        assert plain(await anext(results))["text"] == "a "
        await results.aclose()

    used(make(), work)
    assert server.closed.wait(20)


def test_a_server_that_hangs_is_given_up_at_the_deadline(make: Any, server: LanguageServer) -> None:
    server.fault = hangs

    async def work(executor: HeadExecutor) -> None:
        soon = asyncio.get_running_loop().time() + 1
        with pytest.raises(DeadlineExceeded, match="gave no answer within"):
            await executor.run(texts(HELLO), Context(deadline=soon))

    used(make(), work)
    assert server.closed.wait(20)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"model": "ech"}, "no model 'ech'.*did you mean 'echo'"),
        ({"url": "http://127.0.0.1:9/v1"}, "cannot be reached"),
    ],
)
def test_what_is_not_there_is_told_at_the_start(make: Any, args: Any, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        asked(make(**args), HELLO)


def test_a_wrong_or_missing_key_is_told_at_the_start(
    make: Any, server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    with pytest.raises(LoadError, match="401: Incorrect API key provided") as caught:
        asked(make(), HELLO)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("SOURCE", " ")
    with pytest.raises(LoadError, match="API_KEY"):
        asked(make(), HELLO)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"key": "OTHER"}, "none of the node's secrets.*API_KEY"),
        ({"url": "ftp://x"}, "not of the form"),
        ({"url": "http://u:p@x"}, "not of the form"),
        ({"options": {"messages": []}}, "sets this field itself"),
        ({"options": {"stream": False}}, "sets this field itself"),
        ({"task": "talk"}, "chat"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(make: Any, args: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        print(make(**args).plan)
