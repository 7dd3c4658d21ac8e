"""The stage that logs an arm's requests."""

from __future__ import annotations

from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.request_log.recording import ArmLog
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


def logged(inner: Answering, log: ArmLog) -> Answering:
    """Log answers and errors of the requests that are drawn; those cancelled are left out."""

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        entry = log.begin(request)
        if entry is None:
            return await inner.infer(request, encode)
        try:
            found = await inner.infer(request, encode)
        except Exception as error:
            log.failed(entry, error)
            raise
        log.answered(entry, found[0])
        return found

    def stream(request: InferenceRequest) -> Responses:
        entry = log.begin(request)
        responses = inner.stream(request)
        return responses if entry is None else log.followed(entry, request, responses)

    return Answering(infer, stream)
