"""Answers of the API of OpenAI as tensors: whole ones, chunks of a stream, and vectors."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from anabranch.components.runtimes.completions import COUNTS, outputs
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.tensors.arrays import Array


def whole(answer: Any) -> dict[str, Array]:
    """Return the outputs of a chat completion or a completion. Raises BadAnswer."""
    choice = _choice(answer)
    if choice is None:
        raise BadAnswer("its answer has no choices")
    message = choice.get("message")
    said = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    return _taken(said, choice, answer)


def chunk(answer: Any) -> dict[str, Array]:
    """Return the outputs of one chunk of a stream; the last one has the usage. Raises BadAnswer."""
    choice = _choice(answer)
    if choice is None:
        return _taken({}, {}, answer)
    delta = choice.get("delta")
    said = delta if isinstance(delta, Mapping) else {"content": choice.get("text")}
    return _taken(said, choice, answer)


def embeddings(answer: Any, number: int) -> Array:
    """Return the vectors of so many texts, FP32 [number, dimensions]. Raises BadAnswer."""
    try:
        rows: list[Any] = [None] * number
        for one in answer["data"]:
            rows[one["index"]] = _vector(one["embedding"])
        found = np.array(rows, np.float32)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadAnswer(f"its embeddings are malformed: {error}") from None
    if found.ndim != 2:
        raise BadAnswer(f"it gave vectors of shape {list(found.shape)} for {number} texts")
    return found


def _vector(embedding: Any) -> Any:
    """Return a vector: a list of numbers, or the bytes of little-endian floats in base64."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    return embedding


def _choice(answer: Any) -> Mapping[str, Any] | None:
    if not isinstance(answer, Mapping):
        raise BadAnswer("its answer is no object")
    choices = answer.get("choices")
    if not choices:
        return None
    if not isinstance(choices, list) or not isinstance(choices[0], Mapping):
        raise BadAnswer("its choices are no list of objects")
    return choices[0]


def _taken(
    said: Mapping[str, Any], choice: Mapping[str, Any], answer: Mapping[str, Any]
) -> dict[str, Array]:
    usage = answer.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return outputs(
        _text(said.get("content")),
        _text(choice.get("finish_reason")),
        _calls(said.get("tool_calls")),
        {name: _count(usage.get(name)) for name in COUNTS},
    )


def _calls(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise BadAnswer(f"it gave {value!r:.80} for tool calls")
    return value or []


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadAnswer(f"it gave {value!r:.80} for a text")
    return value


def _count(value: Any) -> int:
    is_count = type(value) is int and 0 <= value < 2**62
    return value if is_count else 0
