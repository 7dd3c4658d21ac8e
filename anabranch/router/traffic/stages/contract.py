"""Contract of the stages of an arm."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from anabranch.router.inference.contract import InferenceRequest, InferenceResponse

Answer = TypeVar("Answer")
Encode = Callable[[InferenceResponse], Answer | Coroutine[Any, Any, Answer]]
"""A protocol's encoder, which may take its time for a large response."""
Responses: TypeAlias = AsyncGenerator[InferenceResponse, None]
Stream: TypeAlias = Callable[[InferenceRequest], Responses]
"""Evaluates a request, response after response; the caller encodes them."""


class AnswerOnce(Protocol):
    """Evaluates a request, and encodes the response for its protocol."""

    def __call__(
        self, request: InferenceRequest, encode: Encode[Answer], /
    ) -> Coroutine[Any, Any, tuple[InferenceResponse, Answer]]:
        """Return the response, and what ``encode`` makes of it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A stage in which a request is evaluated; the innermost one is a core's."""

    infer: Callable[[InferenceRequest], Awaitable[InferenceResponse]]
    stream: Stream


@dataclass(frozen=True, slots=True)
class Answering:
    """A stage in which a request is answered: evaluated, and encoded."""

    infer: AnswerOnce
    stream: Stream
