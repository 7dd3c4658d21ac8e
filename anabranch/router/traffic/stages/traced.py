"""Records the evaluation by an arm as a span."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import aclosing

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.tracing import below
from anabranch.router.traffic.stages.contract import Evaluation, Responses


class Traced:
    """Records the evaluations of requests that are traced; others pass by."""

    def __init__(self, inner: Evaluation, revision: int) -> None:
        self.inner = inner
        self._revision = revision
        self._name = f"arm r{revision}"

    def infer(self, request: InferenceRequest) -> Awaitable[InferenceResponse]:
        """Evaluate a request, in a span if it is traced."""
        return self.inner.infer(request) if request.trace is None else self._recorded(request)

    async def _recorded(self, request: InferenceRequest) -> InferenceResponse:
        with below(request, self._name, revision=self._revision):
            return await self.inner.infer(request)

    def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, in a span until the last response if it is traced."""
        return self.inner.stream(request) if request.trace is None else self._followed(request)

    async def _followed(self, request: InferenceRequest) -> Responses:
        with below(request, self._name, revision=self._revision):
            async with aclosing(self.inner.stream(request)) as responses:
                async for response in responses:
                    yield response
