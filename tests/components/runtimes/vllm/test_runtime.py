"""The runtime ``vllm`` around an engine that repeats the prompt."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.contract import Bound, Context
from anabranch.components.runtimes.vllm import runtime
from anabranch.components.runtimes.vllm.sampling import sampling_fields
from anabranch.errors import InvalidRequest, LoadError
from tests.components.runtimes.vllm.engine import ENGINES, AsyncLLMEngine, modules

torch = pytest.importorskip("torch")


class Tokenizer:
    """Words as tokens; chats one after the other."""

    chat_template = "of its own"

    def apply_chat_template(self, messages: Any, tools: Any, **options: Any) -> str:
        assert options == {"add_generation_prompt": True, "tokenize": False}
        return " ".join(str(message["content"]) for message in messages)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[str]]:
        assert not add_special_tokens
        return {"input_ids": text.split()}


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(runtime, "_tokenizer", lambda path: Tokenizer())
    ENGINES.clear()
    yield
    ENGINES.clear()


@pytest.fixture
def make(node: Any, tmp_path: Path) -> Any:
    (tmp_path / "llm").mkdir()

    def made(task: str = "chat", resources: Any = None, **args: Any) -> Bound:
        fields = {"type": "predictor", "runtime": "vllm", "model": "llm", "resources": resources}
        return bind("n", node(**fields, args={"task": task, **args}), tmp_path)

    return made


def texts(*given: str) -> Any:
    return np.array(given, object)


HELLO = json.dumps([{"role": "user", "content": "a b c"}])


async def loaded(bound: Bound, work: Any) -> Any:
    await bound.load()
    try:
        return await work(ENGINES[-1])
    finally:
        await bound.unload()
        assert ENGINES[-1].is_shut_down


async def pieces(bound: Bound, text: str, **parameters: Any) -> list[Any]:
    stream = bound.call(x=texts(text), context=Context(parameters=parameters))
    return [one async for one in stream]


@pytest.mark.parametrize(("task", "text"), [("chat", HELLO), ("completions", "a b c")])
def test_text_comes_in_pieces_and_whole(vllm: None, make: Any, task: str, text: str) -> None:
    bound = make(task)
    found = asyncio.run(loaded(bound, lambda engine: pieces(bound, text)))
    assert [one["text"][0] for one in found] == ["a ", "b ", "c "]
    whole = {name: array[0] for name, array in bound.join(found).items()}
    assert whole == {
        "text": "a b c ", "finish_reason": "stop", "tool_calls": "",
        "prompt_tokens": 3, "completion_tokens": 3,
    }  # fmt: skip


def test_parameters_reach_the_engine(vllm: None, make: Any) -> None:
    bound = make(max_tokens=2)
    form = json.dumps({"type": "json_object"})

    async def work(engine: AsyncLLMEngine) -> Any:
        found = await pieces(bound, HELLO, temperature=0, stop="x", response_format=form)
        return found[-1], engine.asked[-1][1]

    last, params = asyncio.run(loaded(bound, work))
    assert (last["finish_reason"][0], last["completion_tokens"][0]) == ("length", 2)
    assert (params.temperature, params.stop, params.max_tokens) == (0, "x", 2)
    assert params.structured_outputs.json_object is True
    assert params.output_kind.name == "DELTA"
    assert "structured_outputs" not in sampling_fields({}, 1)


def test_a_stream_that_nobody_takes_is_aborted(vllm: None, make: Any) -> None:
    bound = make()

    async def work(engine: AsyncLLMEngine) -> Any:
        stream = bound.call(x=texts(HELLO), context=Context())
        await anext(stream)
        await stream.aclose()
        return engine.aborted, engine.asked[-1][2]

    aborted, request_id = asyncio.run(loaded(bound, work))
    assert aborted == [request_id]


def test_texts_become_vectors(vllm: None, make: Any) -> None:
    bound = make("embeddings")

    async def work(engine: AsyncLLMEngine) -> Any:
        assert engine.args.runner == "pooling"
        return await bound.call(x=texts("abc", "d"))

    assert asyncio.run(loaded(bound, work)).tolist() == [[3, 1], [1, 1]]


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        (json.dumps([{"role": "user", "content": "a " * 17}]), {}, "longer than 16"),
        (HELLO, {"temperature": -1}, "refuses the request's parameters: temperature"),
        ("no json", {}, "messages must be a list in JSON"),
    ],
)
def test_a_mistake_of_the_caller_is_told(
    vllm: None, make: Any, text: str, parameters: dict[str, Any], words: str
) -> None:
    bound = make()
    with pytest.raises(InvalidRequest, match=words):
        asyncio.run(loaded(bound, lambda engine: pieces(bound, text, **parameters)))


def test_a_dead_engine_is_unwell(vllm: None, make: Any) -> None:
    bound = make()

    async def work(engine: AsyncLLMEngine) -> None:
        await bound.check_health()
        engine.dead = True
        with pytest.raises(RuntimeError, match="engine is dead"):
            await bound.check_health()

    asyncio.run(loaded(bound, work))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_model_len": 0}, "vLLM refuses llm: llm: max_model_len must be positive"),
        ({"no_such": 1}, "vLLM refuses llm: .*no_such"),
    ],
)
def test_an_engine_that_cannot_start_says_why(
    vllm: None, make: Any, options: Any, words: str
) -> None:
    bound = make(options=options)
    with pytest.raises(Exception, match=words) as caught:
        asyncio.run(bound.load())
    assert "/" not in str(caught.value).partition("refuses")[2]


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_the_package_the_node_says_which_extra_brings_it(make: Any) -> None:
    with pytest.raises(LoadError, match=r"pip install 'anabranch\[vllm\]' \(it needs Linux"):
        make()


def test_gpu_memory_is_the_share_that_the_engine_takes(
    vllm: None, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)

    async def work(engine: AsyncLLMEngine) -> float:
        return engine.args.gpu_memory_utilization

    resources = {"gpu": 1.0, "gpu_memory": "20GiB"}
    assert asyncio.run(loaded(make(resources=resources), work)) == 0.25
    with pytest.raises(LoadError, match=r"gpu_memory is 81GiB, but the GPU has 80\.0 GiB"):
        make(resources={"gpu": 1.0, "gpu_memory": "81GiB"})


def test_without_a_gpu_the_node_says_so(
    vllm: None, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LoadError, match="needs a GPU, and this process sees none"):
        make()


def test_a_spec_that_cannot_work_is_refused(node: Any) -> None:
    options = {"model": "x", "trust_remote_code": True, "gpu_memory_utilization": 0.5}
    fields = {"runtime": "vllm", "inputs": {"a": "x", "b": "x"}, "method": "predict"}
    fields["resources"] = {"gpu": 1.0, "gpu_memory": "1GiB"}
    found = registry.problems(node(type="predictor", args={"options": options}, **fields))
    assert [path for path, _ in found] == [
        ("model",), ("method",), ("inputs",), ("args", "options", "model"),
        ("args", "options", "trust_remote_code"), ("args", "options", "gpu_memory_utilization"),
    ]  # fmt: skip
    found = registry.problems(node(type="predictor", args={"max_tokens": 0}, **fields))
    assert ("args", "max_tokens") in [path for path, _ in found]
