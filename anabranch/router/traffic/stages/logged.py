"""Logs the requests to an arm that are drawn for its log."""

from __future__ import annotations

from anabranch.router.core import InferenceRequest, InferenceResponse
from anabranch.router.request_log.recording import ArmLog
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


class Logged:
    """Logs answers and errors; a request that was cancelled is not logged."""

    def __init__(self, inner: Answering, log: ArmLog) -> None:
        self.inner = inner
        self._log = log

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Answer a request, and log it if it is drawn."""
        entry = self._log.begin(request)
        if entry is None:
            return await self.inner.infer(request, encode)
        try:
            found = await self.inner.infer(request, encode)
        except Exception as error:
            self._log.failed(entry, error)
            raise
        self._log.answered(entry, found[0])
        return found

    def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request, and log it after the last response if it is drawn."""
        entry = self._log.begin(request)
        responses = self.inner.stream(request)
        return responses if entry is None else self._log.followed(entry, responses)
