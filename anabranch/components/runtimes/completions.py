"""The outputs of language models that answer: text, reason of the end, tool calls, tokens.

They have the names that the door of OpenAI's API looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import Types
from anabranch.errors import InvalidRequest
from anabranch.specs.models import TensorSpec

TEXT, FINISH_REASON, TOOL_CALLS = "text", "finish_reason", "tool_calls"
PROMPT_TOKENS, COMPLETION_TOKENS = "prompt_tokens", "completion_tokens"
TEXTS = (TEXT, FINISH_REASON, TOOL_CALLS)
COUNTS = (PROMPT_TOKENS, COMPLETION_TOKENS)
_MAX_CALLS = 1024
"""Most tool calls of an answer."""


def outputs(
    text: str = "",
    finish_reason: str = "",
    tool_calls: Sequence[Any] = (),
    counts: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """Return the outputs of an answer, or of a piece of one: tensors of one element.

    ``finish_reason`` is empty before the end, ``tool_calls`` is JSON or empty, and counts that are
    not known are 0.
    """
    calls = orjson.dumps(list(tool_calls)).decode() if tool_calls else ""
    texts = dict(zip(TEXTS, (text, finish_reason, calls), strict=True))
    return {
        **{name: np.array([value], object) for name, value in texts.items()},
        **{name: np.array([(counts or {}).get(name, 0)], np.int64) for name in COUNTS},
    }


def output_types() -> Types:
    """Return the types of the outputs."""
    texts = TensorSpec(datatype="BYTES", shape=(1,))
    counts = TensorSpec(datatype="INT64", shape=(1,))
    return {**dict.fromkeys(TEXTS, texts), **dict.fromkeys(COUNTS, counts)}


def vector_types(inputs: Types) -> Types:
    """Return the type of the output of a task that gives a vector for each text of its input."""
    rows = next((one.shape[0] for one in inputs.values() if one and one.shape), -1)
    return {DEFAULT_OUTPUT: TensorSpec(datatype="FP32", shape=(rows, -1))}


def joined(pieces: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the outputs of a whole answer, given those of all its pieces.

    ValueError for tool calls with indices out of range.
    """
    texts = {name: [str(one[name][0]) for one in pieces] for name in TEXTS}
    counts = {name: max((int(one[name][0]) for one in pieces), default=0) for name in COUNTS}
    ends = [reason for reason in texts[FINISH_REASON] if reason]
    deltas = [call for text in texts[TOOL_CALLS] if text for call in orjson.loads(text)]
    return outputs("".join(texts[TEXT]), ends[-1] if ends else "", _merged(deltas), counts)


def _merged(deltas: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the tool calls whose parts are ``deltas``: texts of the same index are joined."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        index = delta.get("index", len(calls)) if isinstance(delta, Mapping) else None
        if not isinstance(index, int) or not 0 <= index < _MAX_CALLS:
            raise ValueError(f"a part of a tool call has the index {index!r:.40}")
        _add(calls.setdefault(index, {}), delta)
    return [calls[index] for index in sorted(calls)]


def _add(call: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        if name == "index" or value is None:
            continue
        before = call.get(name)
        if isinstance(value, Mapping):
            _add(call.setdefault(name, {}) if isinstance(before, dict | None) else {}, value)
        elif name == "arguments" and isinstance(before, str) and isinstance(value, str):
            call[name] = before + value
        else:
            call[name] = value


def json_parameter(name: str, given: Any) -> Any:
    """Return the value of a request parameter that is JSON text; one that is no text as it is."""
    if not isinstance(given, str):
        return given
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"parameter {name!r} is no JSON: {error}") from None


def objects_in(name: str, text: Any) -> list[Any]:
    """Return a list of objects in JSON, or as it is; InvalidRequest for anything else."""
    try:
        found = orjson.loads(text) if isinstance(text, str) else text
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{name} must be a list in JSON: {error}") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidRequest(f"{name} must be a list of objects in JSON")
    return found
