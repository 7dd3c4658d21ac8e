"""The unmodified ``openai`` package against a graph's router over real HTTP."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError, TooManyRequests, Unavailable
from anabranch.router.http.graph_app import GraphApp
from tests.router.conftest import Step
from tests.router.http.doors.openai.graphs import (
    COUNTED,
    MESSAGES,
    PROMPT,
    TEXT,
    VECTORS,
    Types,
    complete,
    echo,
    embed,
    language_arms,
    spell,
    text,
)

openai = pytest.importorskip("openai")

Ask = Callable[..., openai.OpenAI]
USER: Any = [{"role": "user", "content": "one two three"}]
BASES = ["/v1", "/openai/demo/v1"]


@pytest.fixture
def client(serve: Callable[[Any], str]) -> Iterator[Ask]:
    """Serve a step as a graph; gives a client of it."""
    made: list[openai.OpenAI] = []

    def ask(step: Step = echo, base: str = "/v1", **graph: Any) -> openai.OpenAI:
        url = serve(GraphApp(language_arms(step, **{"outputs": COUNTED, **graph})))
        made.append(openai.OpenAI(base_url=url + base, api_key="none", max_retries=0))
        return made[-1]

    yield ask
    for one in made:
        one.close()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("step", [echo, spell])
def test_chat(client: Ask, base: str, step: Step) -> None:
    found = client(step, base).chat.completions.create(model="demo", messages=USER)
    assert found.object == "chat.completion" and found.id.startswith("chatcmpl-")
    assert found.model == "demo" and found.system_fingerprint == "r3"
    (choice,) = found.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == "one two three"
    assert choice.message.tool_calls is None
    streamed = step is spell
    assert choice.finish_reason == ("length" if streamed else "stop")
    counts = (7, 13, 20) if streamed else (5, 3, 8)
    usage = found.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == counts


@pytest.mark.parametrize("step", [echo, spell])
def test_chat_as_a_stream(client: Ask, step: Step) -> None:
    chunks = list(
        client(step).chat.completions.create(
            model="demo", messages=USER, stream=True, stream_options={"include_usage": True}
        )
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    *said, usage = chunks
    assert usage.choices == [] and usage.usage.total_tokens == (20 if step is spell else 8)
    first, *middle, last = [chunk.choices[0] for chunk in said]
    assert first.delta.role == "assistant" and first.finish_reason is None
    assert "".join(one.delta.content for one in middle) == "one two three"
    assert len(middle) == (13 if step is spell else 1)
    assert last.delta.content is None and last.finish_reason in ("stop", "length")


def test_usage_is_told_where_the_graph_tells_it(client: Ask) -> None:
    async def plain(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"said": text("yes")}

    asked = client(plain, outputs={"said": ("BYTES", (1,))}).chat.completions
    found = asked.create(model="demo", messages=USER)
    assert found.choices[0].message.content == "yes" and found.usage is None
    chunks = asked.create(
        model="demo", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_sequences_end_the_text_and_the_evaluation(client: Ask, stream: bool) -> None:
    made = []

    async def count(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        assert json.loads(context.parameters["stop"]) == ["3,4", "9"]
        for number in range(1000):
            made.append(number)
            yield {"text": text(f"{number},")}

    asked = client(count, outputs=TEXT).chat.completions
    found: Any = asked.create(model="demo", messages=USER, stop=["3,4", "9"], stream=stream)
    if stream:
        choices = [chunk.choices[0] for chunk in found]
        content = "".join(one.delta.content or "" for one in choices)
        reason = choices[-1].finish_reason
    else:
        content, reason = found.choices[0].message.content, found.choices[0].finish_reason
    assert (content, reason) == ("0,1,2,", "stop")
    assert len(made) <= 6


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_several_choices_are_as_many_evaluations(client: Ask, stream: bool, streams: bool) -> None:
    async def seed(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        assert "n" not in context.parameters
        return {"text": text(f"seed {context.parameters['seed']}"), **COUNTS}

    async def seeds(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        for piece in ("seed ", str(context.parameters["seed"])):
            yield {"text": text(piece), **COUNTS}

    asked = client(seeds if streams else seed).chat.completions
    found: Any = asked.create(
        model="demo", messages=USER, n=3, seed=40, stream=stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    )  # fmt: skip
    if stream:
        texts, usage = ["", "", ""], None
        for chunk in found:
            usage = chunk.usage or usage
            for one in chunk.choices:
                texts[one.index] += one.delta.content or ""
    else:
        texts = [one.message.content for one in sorted(found.choices, key=lambda one: one.index)]
        usage = found.usage
    assert texts == ["seed 40", "seed 41", "seed 42"]
    assert (usage.prompt_tokens, usage.completion_tokens) == (4, 6)


COUNTS = {
    "finish_reason": text("stop"),
    "prompt_tokens": np.array([4]),
    "completion_tokens": np.array([2]),
}


def test_a_graph_with_an_input_n_gives_all_choices_itself(client: Ask) -> None:
    async def several(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        count = int(inputs["n"].item())
        return {"text": np.array([f"choice {at}" for at in range(count)], object)}

    inputs: Types = {**MESSAGES, "n": ("INT64", (1,))}
    asked = client(several, inputs=inputs, outputs={"text": ("BYTES", (-1,))}).chat.completions
    found = asked.create(model="demo", messages=USER, n=3)
    assert [one.message.content for one in found.choices] == ["choice 0", "choice 1", "choice 2"]
    found = asked.create(model="demo", messages=USER)
    assert [one.message.content for one in found.choices] == ["choice 0"]


def test_fields_become_parameters_and_further_inputs(client: Ask) -> None:
    seen: dict[str, Any] = {}

    async def look(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        seen.update(context.parameters)
        seen["top"] = inputs["top"].tolist()
        return {"text": text("")}

    inputs: Types = {**MESSAGES, "top": ("FP32", (-1,))}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    client(look, inputs=inputs, outputs=TEXT).chat.completions.create(
        model="demo", messages=USER, temperature=0, top_p=0.5, max_completion_tokens=9, seed=3,
        user="ann", logit_bias={"5": -100}, tools=[tool], tool_choice="auto",
        response_format={"type": "json_object"}, presence_penalty=None, logprobs=True,
        extra_body={"top": [1, 2], "min_p": 0.1, "flag": True, "own": {"a": [1]}},
    )  # fmt: skip
    assert {name: json.loads(seen.pop(name)) for name in ("tools", "logit_bias", "own")} == {
        "tools": [tool], "logit_bias": {"5": -100}, "own": {"a": [1]},
    }  # fmt: skip
    assert json.loads(seen.pop("response_format")) == {"type": "json_object"}
    assert seen == {
        "temperature": 0.0, "top_p": 0.5, "max_tokens": 9, "seed": 3, "user": "ann",
        "tool_choice": "auto", "logprobs": True, "top": [1.0, 2.0], "min_p": 0.1, "flag": True,
    }  # fmt: skip


CALL = {"type": "function", "id": "call_1", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_tool_calls_come_whole(client: Ask) -> None:
    async def call(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        own = {"function": {"name": "sub", "arguments": {"b": 2}}}
        return {"text": text(""), "tool_calls": text(json.dumps([CALL, own]))}

    outputs: Types = {**TEXT, "tool_calls": ("BYTES", (1,))}
    asked = client(call, outputs=outputs).chat.completions
    (choice,) = asked.create(model="demo", messages=USER).choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    one, other = choice.message.tool_calls
    assert one.id == "call_1" and one.function.arguments == '{"a": 1}'
    assert other.id.startswith("call_") and other.type == "function"
    assert (other.function.name, other.function.arguments) == ("sub", '{"b":2}')


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_come_in_deltas(client: Ask, stream: bool) -> None:
    deltas = [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"x"'}}],
        [{"function": {"arguments": ": 1}"}}],
        [{"id": "b", "function": {"name": "g", "arguments": "{}"}}],
    ]

    async def call(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        for delta in deltas:
            yield {"text": text(""), "tool_calls": text(json.dumps(delta))}

    outputs: Types = {**TEXT, "tool_calls": ("BYTES", (1,))}
    asked = client(call, outputs=outputs).chat.completions
    if stream:
        with asked.stream(model="demo", messages=USER) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = asked.create(model="demo", messages=USER).choices[0]
    calls = [
        (one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls
    ]
    assert calls == [("a", "f", '{"x": 1}'), ("b", "g", "{}")]
    assert choice.finish_reason == "tool_calls"


def test_parts_of_messages_pass_through(client: Ask) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "call_1"},
    ]

    async def look(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        assert json.loads(inputs["messages"].item()) == messages
        return {"text": text("ok")}

    asked = client(look, outputs=TEXT).chat.completions
    found = asked.create(model="demo", messages=messages)
    assert found.choices[0].message.content == "ok"


@pytest.mark.parametrize("name", ["prompt", "question"])
def test_completions(client: Ask, name: str) -> None:
    asked = client(complete, inputs={name: ("BYTES", (1,))}, outputs=TEXT).completions
    found = asked.create(model="demo", prompt="Hi")
    assert found.object == "text_completion" and found.id.startswith("cmpl-")
    assert [(one.index, one.text, one.finish_reason) for one in found.choices] == [
        (0, "Hi!", "stop")
    ]
    found = asked.create(model="demo", prompt=["a", "b"], n=2)
    assert [(one.index, one.text) for one in found.choices] == [
        (0, "a!"), (1, "a!"), (2, "b!"), (3, "b!"),
    ]  # fmt: skip
    chunks = list(asked.create(model="demo", prompt="Hi", stream=True))
    assert [chunk.choices[0].text for chunk in chunks] == ["Hi!", ""]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_for_a_graph_that_takes_them(client: Ask, prompt: Any) -> None:
    inputs: Types = {"prompt": ("INT64", (1, -1))}

    async def look(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        return {"text": text(str(inputs["prompt"].tolist()))}

    found = client(look, inputs=inputs, outputs=TEXT).completions.create(
        model="demo", prompt=prompt
    )
    expected = [[1, 2, 3]] if prompt == [1, 2, 3] else prompt
    assert [one.text for one in found.choices] == [str([one]) for one in expected]


@pytest.mark.parametrize("shape", [(-1,), (1,), (-1, 1), (1, 1)])
@pytest.mark.parametrize("form", ["float", "base64", None])
def test_embeddings(client: Ask, shape: tuple[int, ...], form: Any) -> None:
    asked = client(embed, inputs={"input": ("BYTES", shape)}, outputs=VECTORS).embeddings
    more = {} if form is None else {"encoding_format": form}
    found = asked.create(model="demo", input=["a", "bb c", "ddd"], **more)
    rows = [one.embedding for one in found.data]
    if form == "base64":
        rows = [np.frombuffer(b64decode(row), "<f4").tolist() for row in rows]
    assert rows == [[1, 3, 4, 0], [4, 3, 4, 0], [3, 3, 4, 0]]
    assert [one.index for one in found.data] == [0, 1, 2]
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (4, 4)


def test_shorter_embeddings(client: Ask) -> None:
    asked = client(embed, inputs={"input": ("BYTES", (-1,))}, outputs=VECTORS).embeddings
    row = asked.create(model="demo", input="abc", dimensions=2).data[0].embedding
    assert row == pytest.approx([3 / 18**0.5, 3 / 18**0.5])
    with pytest.raises(openai.BadRequestError, match="have 4 dimensions, not 5") as found:
        asked.create(model="demo", input="abc", dimensions=5)
    assert found.value.param == "dimensions"


@pytest.mark.parametrize("base", BASES)
def test_models(client: Ask, base: str) -> None:
    asked = client(base=base).models
    found = asked.retrieve("demo")
    assert (found.id, found.object, found.owned_by) == ("demo", "model", "anabranch")


def test_the_models_of_a_graph_are_itself(client: Ask) -> None:
    assert [one.id for one in client(base="/openai/demo/v1").models.list()] == ["demo"]


def test_another_model_is_not_there(client: Ask) -> None:
    for base in BASES:
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt' here") as found:
            client(base=base).chat.completions.create(model="gpt", messages=USER)
        assert (found.value.code, found.value.param) == ("model_not_found", "model")


def test_a_graph_without_the_protocol_is_not_there(client: Ask) -> None:
    with pytest.raises(openai.NotFoundError, match=r"protocols: \[openai\]"):
        client(protocols=()).chat.completions.create(model="demo", messages=USER)


def test_a_graph_that_is_no_chat_model(client: Ask) -> None:
    asked = client(complete, inputs=PROMPT, outputs=TEXT)
    with pytest.raises(openai.NotFoundError, match="is no chat model") as found:
        asked.chat.completions.create(model="demo", messages=USER)
    assert found.value.code is None


def test_a_graph_that_is_no_model_of_embeddings(client: Ask) -> None:
    with pytest.raises(openai.NotFoundError, match="gives no embeddings: it has no output"):
        client(complete, inputs=PROMPT, outputs=TEXT).embeddings.create(model="demo", input="a")


def test_a_graph_that_gives_no_text(client: Ask) -> None:
    asked = client(complete, inputs=PROMPT, outputs={"scores": ("FP32", (1,))})
    with pytest.raises(openai.NotFoundError, match="gives no text: it has no output of BYTES"):
        asked.completions.create(model="demo", prompt="a")


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"messages": []}, "messages", "length >= 1"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages", "Invalid enum value 'boss'"),
        ({"messages": "Hi"}, "messages", "Expected `array`"),
        ({"temperature": 3}, "temperature", "<= 2"),
        ({"n": 0}, "n", ">= 1"),
        ({"n": 129}, "n", "<= 128"),
        ({"stop": [""]}, "stop", "length >= 1"),
        ({"stop": ["a"] * 17}, "stop", "length <= 16"),
        ({"tools": {}}, "tools", "Expected `array`"),
        ({"stream": "yes"}, "stream", "Expected `bool"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "not both"),
        ({"seed": 2**63}, "seed", "64-bit"),
    ],
)
def test_bad_fields_are_named(client: Ask, fields: Any, param: str, said: str) -> None:
    body = {"messages": USER, **fields}
    stream = {"extra_body": {"stream": body.pop("stream")}} if "stream" in body else {}
    with pytest.raises(openai.BadRequestError) as found:
        client().chat.completions.create(model="demo", **body, **stream)
    assert said in str(found.value)
    assert (found.value.param, found.value.type) == (param, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "type_"),
    [
        (NodeError("llm", "no more words"), openai.InternalServerError, "server_error"),
        (Unavailable("the model is asleep", 7), openai.InternalServerError, "server_error"),
        (TooManyRequests("too much", 5), openai.RateLimitError, "requests"),
    ],
)
def test_errors_of_the_graph(
    client: Ask, error: Exception, kind: type[openai.APIStatusError], type_: str, stream: bool
) -> None:
    async def fail(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        raise error

    with pytest.raises(kind, match=str(error)) as found:
        client(fail).chat.completions.create(model="demo", messages=USER, stream=stream)
    assert found.value.type == type_
    if isinstance(error, TooManyRequests):
        assert found.value.code == "rate_limit_exceeded"
    if not isinstance(error, NodeError):
        assert found.value.response.headers["retry-after"] == str(error.retry_after)


def test_an_error_amid_a_stream(client: Ask) -> None:
    async def fail(
        inputs: Mapping[str, Any], context: Context
    ) -> AsyncGenerator[dict[str, Any], None]:
        yield {"text": text("so")}
        raise NodeError("llm", "no more words")

    stream = client(fail, outputs=TEXT).chat.completions.create(
        model="demo", messages=USER, stream=True
    )
    said = []
    with pytest.raises(openai.APIError, match="no more words"):
        for chunk in stream:
            said.append(chunk.choices[0].delta.content)  # noqa: PERF401  # it fails amid
    assert said == ["", "so"]
