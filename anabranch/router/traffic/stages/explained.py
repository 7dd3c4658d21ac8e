"""Explains a request beside its prediction, where it asks for that."""

from __future__ import annotations

from collections.abc import Awaitable

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.limits import ConcurrencyLimit
from anabranch.router.traffic.explaining import EXPLAIN, Explainers, beside
from anabranch.router.traffic.stages.contract import Evaluation, Responses


class Explained:
    """Has requests explained by ``explainers``, holding places of a limit of their own.

    ``others`` are the explainers of the stable revision; None for an arm that is the stable one.
    """

    def __init__(
        self,
        inner: Evaluation,
        explainers: Explainers,
        others: Explainers | None,
        limit: ConcurrencyLimit,
    ) -> None:
        self.inner = inner
        self._explainers = explainers
        self._others = others
        self._limit = limit

    def infer(self, request: InferenceRequest) -> Awaitable[InferenceResponse]:
        """Evaluate a request, and explain it meanwhile if it asks for that."""
        if EXPLAIN not in request.parameters:
            return self.inner.infer(request)
        return self._explained(request)

    async def _explained(self, request: InferenceRequest) -> InferenceResponse:
        with beside(self._explainers, self._others, request, self._limit) as told:
            response = await self.inner.infer(request)
            response.parameters |= await told()
        return response

    def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, which gets no explanation."""
        return self.inner.stream(request)
