"""Sends copies of an arm's requests to mirrors."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.router.core import InferenceCore, InferenceRequest, InferenceResponse
from anabranch.router.traffic.mirror import HEADER, Mirrors
from anabranch.router.traffic.split import Split
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses
from anabranch.specs.models import Compare


class Mirrored:
    """Sends copies to the mirrors that the split draws, once their request is answered."""

    def __init__(
        self,
        inner: Answering,
        revision: int,
        split: Split,
        cores: Mapping[int, InferenceCore],
        mirrors: Mirrors,
        rule: Compare,
    ) -> None:
        self.inner = inner
        self._revision = revision
        self._split = split
        self._cores = cores
        self._mirrors = mirrors
        self._rule = rule

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Answer a request; one that is a copy itself is not copied again."""
        drawn = () if HEADER in request.headers else self._split.mirrors(self._revision)
        if not drawn:
            return await self.inner.infer(request, encode)
        with self._mirrors.kept(request) as copy:
            found = await self.inner.infer(request, encode)
        chosen = {number: self._cores[number] for number in drawn}
        self._mirrors.send(chosen, copy, found[0], self._rule)
        return found

    def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request; what a mirror would be compared with is there only at the end."""
        return self.inner.stream(request)
