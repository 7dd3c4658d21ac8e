"""What a stage is: it does its part for a request, and has the stage within do the rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from anabranch.router.core import InferenceRequest, InferenceResponse

Answer = TypeVar("Answer")
Encode = Callable[[InferenceResponse], Answer]
"""A protocol's encoder."""
Responses: TypeAlias = AsyncGenerator[InferenceResponse, None]


class Evaluation(Protocol):
    """A stage in which a request is evaluated; the innermost one is an ``InferenceCore``."""

    def infer(self, request: InferenceRequest) -> Awaitable[InferenceResponse]:
        """Evaluate a request."""
        ...

    def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, response after response."""
        ...


class Answering(Protocol):
    """A stage in which a request is answered: evaluated, and encoded for its protocol."""

    def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> Awaitable[tuple[InferenceResponse, Answer]]:
        """Answer a request."""
        ...

    def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request, response after response, which the caller encodes."""
        ...
