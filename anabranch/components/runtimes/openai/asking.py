"""Bodies of requests to the API of OpenAI: tensors and request parameters as its fields.

After the OpenAPI document of the API (github.com/openai/openai-openapi): CreateChatCompletion,
CreateCompletion, CreateEmbedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from anabranch.components.runtimes.completions import json_parameter, objects_in
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.errors import InvalidRequest

TaskName: TypeAlias = Literal["chat", "completions", "embeddings"]

_SAMPLING = (
    *("temperature", "top_p", "max_tokens", "stop", "seed", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "user"),
)


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of the API: its path, the field of the input, and the fields it takes beside."""

    path: str
    field: str
    fields: frozenset[str]
    """Request parameters that go to the server; others are not for it."""


ENDPOINTS: Mapping[TaskName, Endpoint] = {
    "chat": Endpoint(
        "/chat/completions",
        "messages",
        frozenset(
            (
                *_SAMPLING,
                *("max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls"),
                *("response_format", "reasoning_effort", "verbosity", "logprobs", "top_logprobs"),
            )
        ),
    ),
    "completions": Endpoint(
        "/completions", "prompt", frozenset((*_SAMPLING, "suffix", "echo", "best_of", "logprobs"))
    ),
    "embeddings": Endpoint("/embeddings", "input", frozenset(("dimensions", "user"))),
}
_IN_JSON = frozenset(("stop", "logit_bias", "tools", "tool_choice", "response_format"))
"""Fields that may be lists or maps; parameters hold these as JSON text."""


def body_of(
    task: TaskName,
    model: str,
    array: Array,
    options: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of a request: ``options`` of the node, and what the request asks for.

    Raise InvalidRequest for an input that the endpoint cannot take.
    """
    endpoint = ENDPOINTS[task]
    asked = {name: parameters[name] for name in endpoint.fields & parameters.keys()}
    read = {name: _read(name, value) for name, value in asked.items()}
    return {**options, **read, "model": model, endpoint.field: _input(task, array)}


def _input(task: TaskName, array: Array) -> Any:
    if array.dtype.kind not in "OSU" or not array.size:
        raise InvalidRequest(f"the input of {task} must be BYTES with at least one element")
    texts = [str(text) for text in as_text(array).ravel().tolist()]
    if task == "embeddings":
        return texts
    if len(texts) != 1:
        raise InvalidRequest(f"{task} takes one element a request, got {len(texts)}")
    return objects_in("messages", texts[0]) if task == "chat" else texts[0]


def _read(name: str, value: Any) -> Any:
    is_json = name in _IN_JSON and isinstance(value, str) and value.lstrip()[:1] in ("[", "{")
    return json_parameter(name, value) if is_json else value
