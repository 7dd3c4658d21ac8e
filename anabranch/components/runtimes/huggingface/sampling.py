"""Request parameters of generated text, named as in OpenAI's API, as options of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from anabranch.components.runtimes.huggingface.tasks import MAX_NEW
from anabranch.errors import InvalidRequest

MAX_STOPS = 16
"""Most stop sequences of a request."""
_LENGTHS = (MAX_NEW, "max_completion_tokens", "max_tokens")
_UNSUPPORTED = ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "n")
_NEUTRAL = {"presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "n": 1}


@dataclass(frozen=True)
class GenerationWishes:
    """The wishes of one request for its text."""

    most: int | None = None
    """Most tokens; as many as the node's options say where it is None."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of ``generate`` that go before the node's."""
    stops: tuple[str, ...] = ()
    """Sequences at which the text ends; they are left out."""
    seed: int | None = None


def sampling_of(parameters: Mapping[str, Any]) -> GenerationWishes:
    """Return the wishes in the parameters of a request; InvalidRequest names one that is wrong."""
    for name in _UNSUPPORTED:
        if name in parameters and parameters[name] != _NEUTRAL.get(name):
            raise InvalidRequest(f"the runtime 'huggingface' does not know the parameter {name!r}")
    lengths = [_whole(name, parameters[name], 1) for name in _LENGTHS if name in parameters]
    seed = parameters.get("seed")
    return GenerationWishes(
        min(lengths, default=None),
        _options(parameters),
        _stops(parameters.get("stop")),
        None if seed is None else _whole("seed", seed, 0) % 2**63,
    )


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "temperature" in parameters:
        temperature = _number("temperature", parameters["temperature"], 0, 2)
        # At 0 the likeliest token is taken: transformers has no such temperature.
        found |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            found = {"do_sample": True, "temperature": temperature}
    if "top_p" in parameters and found.get("do_sample", True):
        found |= {"do_sample": True, "top_p": _number("top_p", parameters["top_p"], 0, 1)}
    return found


def _stops(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    found = given
    if isinstance(given, str):
        found = [given]
        if given.lstrip().startswith("["):
            try:
                found = orjson.loads(given)
            except orjson.JSONDecodeError:
                found = [given]
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise InvalidRequest("the parameter 'stop' must be a text, or a list of texts in JSON")
    if len(found) > MAX_STOPS:
        raise InvalidRequest(f"the parameter 'stop' has {len(found)} texts; at most {MAX_STOPS}")
    return tuple(found)


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidRequest(f"the parameter {name} must be a whole number of at least {least}")
    return value


def _number(name: str, value: Any, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidRequest(f"the parameter {name} must be a number from {least} to {most}")
    return float(value)
