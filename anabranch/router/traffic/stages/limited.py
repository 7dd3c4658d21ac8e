"""Bounds how many requests are at other revisions than the stable one."""

from __future__ import annotations

from contextlib import aclosing

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.traffic.stages.contract import Evaluation, Responses


class Limited:
    """Evaluates within a limit, which many arms may share."""

    def __init__(self, inner: Evaluation, limit: ConcurrencyLimit) -> None:
        self.inner = inner
        self._limit = limit

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Evaluate a request, holding a place of the limit."""
        with self._limit:
            return await self.inner.infer(request)

    async def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, holding a place of the limit until the last response."""
        with self._limit:
            async with aclosing(self.inner.stream(request)) as responses:
                async for response in responses:
                    yield response
