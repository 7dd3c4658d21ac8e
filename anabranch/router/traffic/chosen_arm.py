"""The arm that was chosen for a call, which may be evaluated there more than once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.inference.core import InferenceCore
from anabranch.router.traffic.explaining import EXPLAIN
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


@dataclass(frozen=True, slots=True)
class ChosenArm:
    """The core of a revision, the stages on the way there, and what counts tokens of the caller."""

    core: InferenceCore
    way: Answering
    meter: Callable[[], None] | None = None

    async def only_streams(self) -> bool:
        """Return whether the revision streams, and ``infer`` refuses it."""
        return await self.core.only_streams()

    def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> Coroutine[Any, Any, tuple[InferenceResponse, Answer]]:
        """Answer a request with one response, and what ``encode`` makes of it."""
        return self.way.infer(request, encode)

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Answer a request response after response; InvalidRequest if it is to be explained."""
        if EXPLAIN in request.parameters:
            raise InvalidRequest(
                f"parameter {EXPLAIN!r} is for infer, whose reply comes whole; ask infer or explain"
            )
        responses = self.way.stream(request)
        return responses if self.meter is None else _metered(responses, self.meter)


async def _metered(responses: Responses, meter: Callable[[], None]) -> Responses:
    """Have each response counted as one token of the caller."""
    async with aclosing(responses):
        async for response in responses:
            meter()
            yield response
