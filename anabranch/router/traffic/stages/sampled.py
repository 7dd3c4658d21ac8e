"""Has a share of an arm's requests explained, off the request path."""

from __future__ import annotations

from anabranch.components.weights import Draw
from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.traffic.explaining import Explainers
from anabranch.router.traffic.mirror import HEADER
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


class Sampled:
    """Sends copies to the explainers that are drawn, once their request is answered."""

    def __init__(
        self, inner: Answering, explainers: Explainers, samples: Samples, draw: Draw
    ) -> None:
        self.inner = inner
        self._explainers = explainers
        self._samples = samples
        self._draw = draw

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Answer a request; one that is a mirror's copy is no sample."""
        names = self._samples.drawn(self._explainers, self._draw)
        if not names or HEADER in request.headers:
            return await self.inner.infer(request, encode)
        with self._samples.kept(request) as copy:
            found = await self.inner.infer(request, encode)
        self._samples.send(self._explainers, names, copy)
        return found

    def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request; those that stream are no samples."""
        return self.inner.stream(request)
