"""Request parameters, named as in OpenAI's API, as the sampling parameters of vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.components.runtimes.completions import json_parameter
from anabranch.errors import InvalidRequest

_LENGTHS = ("max_completion_tokens", "max_tokens")
_SAME = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty")
"""Parameters that vLLM has by the same name and checks itself."""
_OUTPUTS = 1
"""Answers to a request: one who wants several asks several times."""


def sampling_fields(parameters: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return the fields of ``vllm.SamplingParams`` that a request asks for.

    ``most`` is the largest number of tokens that the node gives. InvalidRequest for a parameter
    that is no JSON, and for more than one answer.
    """
    if parameters.get("n", _OUTPUTS) != _OUTPUTS:
        raise InvalidRequest("the runtime 'vllm' gives one answer to a request; ask again for more")
    found = {name: parameters[name] for name in _SAME if name in parameters}
    lengths = [parameters[name] for name in _LENGTHS if parameters.get(name) is not None]
    if not all(type(length) is int and length > 0 for length in lengths):
        raise InvalidRequest("max_tokens must be a whole number of at least 1")
    found["max_tokens"] = min([*lengths, most])
    if (stop := parameters.get("stop")) is not None:
        found["stop"] = json_parameter("stop", stop) if str(stop).lstrip().startswith("[") else stop
    if (bias := parameters.get("logit_bias")) is not None:
        found["logit_bias"] = _bias(json_parameter("logit_bias", bias))
    return found


def structure(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of ``StructuredOutputsParams`` for ``response_format``; None for text.

    InvalidRequest for a format that is none of OpenAI's.
    """
    given = parameters.get("response_format")
    if given is None:
        return None
    form = json_parameter("response_format", given)
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"json_object": True}
    if kind == "json_schema":
        schema = form.get("json_schema")
        if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping):
            return {"json": schema["schema"]}
        raise InvalidRequest("response_format of type json_schema needs json_schema.schema")
    raise InvalidRequest(
        f"response_format has the type {kind!r:.80}; use text, json_object or json_schema"
    )


def _bias(given: Any) -> dict[int, float]:
    try:
        return {int(token): float(value) for token, value in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidRequest("logit_bias must be an object of token: number in JSON") from None
