"""The answers of explainers: who is asked, what is answered, what is kept for who asks again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import hint, listing

MOST_ENTRIES = 1024
MOST_BYTES = 32 * 2**20
OWN = frozenset({"target", "seed", "truth"})
"""Request parameters that explainers read."""
_NEVER = frozenset({"timeout", "priority", "explain", "explainer"})
"""Request parameters that change nothing about an explanation."""
_NUMBERS = frozenset({"x-request-id", "traceparent", "tracestate"})
"""Headers by which requests are told apart; nothing goes by them."""


@dataclass(frozen=True, slots=True)
class ExplainerReply:
    """An explainer's answer. It crosses processes as it is."""

    method: str
    explanations: bytes
    """A list in JSON."""
    seconds: float
    model_calls: int = 0
    model_rows: int = 0
    cached: bool = False

    def document(self, explainer: str) -> dict[str, Any]:
        """The answer as orjson takes it."""
        return {
            "explainer": explainer,
            "method": self.method,
            "explanations": orjson.Fragment(self.explanations),
            "timing": {
                "seconds": self.seconds,
                "model_calls": self.model_calls,
                "model_rows": self.model_rows,
                "cached": self.cached,
            },
        }


class NoExplainer(InvalidRequest):
    """A request asks for an explanation of what has none, or not that one."""


def chosen(names: Collection[str], asked: Any, graph: str, parameter: str) -> str:
    """The explainer that a parameter asks for: by its name, or the only one for True or None."""
    if not names:
        raise NoExplainer(f"graph {graph} has no explainers")
    if asked is True or asked is None:
        if len(names) == 1:
            return next(iter(names))
        raise NoExplainer(
            f"graph {graph} has several explainers ({listing(names)}); name one of them in "
            f"parameter {parameter!r}"
        )
    if not isinstance(asked, str):
        raise InvalidRequest(
            f"parameter {parameter!r} must be the name of an explainer ({listing(names)}), got "
            f"{asked!r}"
        )
    if asked not in names:
        raise NoExplainer(f"graph {graph} has no explainer {asked[:64]!r}{hint(asked, names)}")
    return asked


class Answers:
    """The latest answers of one explainer, within bounds."""

    def __init__(self, entries: int = MOST_ENTRIES, size: int = MOST_BYTES) -> None:
        self._entries = entries
        self._size = size
        self._held = 0
        self._answers: OrderedDict[bytes, ExplainerReply] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes) -> ExplainerReply | None:
        """The answer of that key, which is then the latest; None if there is none."""
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def put(self, key: bytes, found: ExplainerReply) -> None:
        """Keep an answer; those that were not asked for longest make room."""
        if len(found.explanations) > self._size:
            return
        old = self._answers.pop(key, None)
        self._held += len(found.explanations) - (len(old.explanations) if old else 0)
        self._answers[key] = found
        while self._held > self._size or len(self._answers) > self._entries:
            _, dropped = self._answers.popitem(last=False)
            self._held -= len(dropped.explanations)


def key_of(
    inputs: Mapping[str, np.ndarray[Any, Any]], context: Context, reads_request: bool
) -> bytes:
    """Return a digest of 32 bytes, equal for two requests that have the same explanation.

    ``reads_request`` tells that the model, or the explainer, may go by more of a request than its
    tensors and the parameters that all explainers read.
    """
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        _add(digest, (name, array.dtype.str, repr(array.shape)))
        if array.dtype == object:
            _add(digest, map(repr, array.ravel().tolist()))
        else:
            digest.update(array.tobytes())
    parameters = context.parameters
    wanted = parameters.keys() - _NEVER if reads_request else parameters.keys() & OWN
    _add(digest, (f"{name}={parameters[name]!r}" for name in sorted(wanted)))
    if reads_request:
        headers = sorted(item for item in context.headers.items() if item[0] not in _NUMBERS)
        _add(digest, (f"{name}: {text}" for name, text in headers))
    return digest.digest()


def _add(digest: Any, texts: Iterable[str]) -> None:
    """Add texts so that no other ones make the same bytes."""
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    digest.update(b"\xff" * 8)
