"""Encodes a response for the protocol of its request."""

from __future__ import annotations

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.traffic.stages.contract import Answer, Encode, Evaluation, Responses


class Encoded:
    """Encodes as a part of the answer.

    So an arm whose outputs the protocol cannot carry is charged with it.
    """

    def __init__(self, inner: Evaluation) -> None:
        self.inner = inner

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Evaluate a request, and encode the response."""
        response = await self.inner.infer(request)
        return response, encode(response)

    def stream(self, request: InferenceRequest) -> Responses:
        """Evaluate a request, whose responses the caller encodes."""
        return self.inner.stream(request)
