"""Notes the distribution of an arm's outputs, where a rollout judges it."""

from __future__ import annotations

from contextlib import aclosing

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.measure.sketch import observe
from anabranch.router.measure.tally import Tally
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


class Sketched:
    """Counts the values of outputs in the arm's tally."""

    def __init__(self, inner: Answering, tally: Tally) -> None:
        self.inner = inner
        self._tally = tally

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Answer a request, and look at its outputs."""
        found = await self.inner.infer(request, encode)
        self._look(found[0])
        return found

    async def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request, and look at the outputs of each response."""
        async with aclosing(self.inner.stream(request)) as responses:
            async for response in responses:
                self._look(response)
                yield response

    def _look(self, response: InferenceResponse) -> None:
        for output in response.outputs:
            observe(self._tally.outputs, output.name, output.array)
