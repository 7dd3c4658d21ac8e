"""Remembers what was decided about a request, and tells of it in the reply."""

from __future__ import annotations

from contextlib import aclosing

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.traffic.decisions import ROUTING, Made, decided, routing
from anabranch.router.traffic.stages.contract import Evaluation, Responses


class Decided:
    """For an arm beside others, or with routers of its own; 1 to 2 us a request."""

    def __init__(self, inner: Evaluation, revision: int, made: Made) -> None:
        self.inner = inner
        self._revision = revision
        self._made = made

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Evaluate a request, and tell its decision."""
        response = await self.inner.infer(request)
        self._tell(request, response)
        return response

    async def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, and tell its decision in the first response."""
        untold = True
        async with aclosing(self.inner.stream(request)) as responses:
            async for response in responses:
                if untold:
                    self._tell(request, response)
                    untold = False
                yield response

    def _tell(self, request: InferenceRequest, response: InferenceResponse) -> None:
        decision = decided(request.known_as, self._revision, response.path)
        response.parameters[ROUTING] = routing(decision)
        self._made.add(decision, response.outputs)
