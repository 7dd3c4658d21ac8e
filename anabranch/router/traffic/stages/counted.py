"""Stages that count the requests that a table sends to an arm, and the values of its outputs."""

from __future__ import annotations

import time
from contextlib import aclosing

from anabranch.errors import InvalidRequest, RequestError
from anabranch.graph.explain.answers import NoExplainer
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.inference.core import InferenceCore
from anabranch.router.measure.sketch import observe
from anabranch.router.measure.tally import Tally
from anabranch.router.measure.tokens import AnswerTokens
from anabranch.router.oip.helper_process import HelperEnded
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


def counted(
    inner: Answering, tally: Tally, stable: InferenceCore | None, tells_tokens: bool = False
) -> Answering:
    """Count answers and the arm's errors; what was cancelled is neither.

    An answer from the cache of the graph says nothing about the arm, so it is left out.
    ``stable`` is the core of the stable revision; None for an arm that is the stable one.
    ``tells_tokens``: outputs of the arm tell the tokens of its answers.
    """
    within = inner.infer

    def failed(request: InferenceRequest, error: Exception, started: float) -> None:
        if _is_to_blame(stable, request, error):
            tally.fail(type(error).__name__, time.perf_counter() - started)

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        started = time.perf_counter()
        try:
            found = await within(request, encode)
        except Exception as error:
            failed(request, error, started)
            raise
        response = found[0]
        if response.annotations is not None and response.is_kept:
            return found
        tally.record(response.seconds)
        if tells_tokens:
            tokens = AnswerTokens()
            tokens.see(response)
            tokens.whole(tally.tokens)
        return found

    async def stream(request: InferenceRequest) -> Responses:
        started = time.perf_counter()
        seconds, is_kept = None, False
        tokens = AnswerTokens()

        def answered() -> None:
            if is_kept:
                return
            tally.record(time.perf_counter() - started if seconds is None else seconds)
            tokens.streamed(tally.tokens)

        try:
            async with aclosing(inner.stream(request)) as responses:
                async for response in responses:
                    seconds, is_kept = response.seconds, response.is_kept
                    tokens.see(response)
                    yield response
        except Exception as error:
            failed(request, error, started)
            raise
        except GeneratorExit:
            if request.is_answered:
                answered()
            raise
        answered()

    return Answering(infer, stream)


def _is_to_blame(stable: InferenceCore | None, request: InferenceRequest, error: Exception) -> bool:
    """Return whether an error is the arm's and not the caller's, nor the machine's.

    A request that the stable revision would have taken is no mistake of the caller.
    """
    if not isinstance(error, RequestError):
        return not isinstance(error, HelperEnded)
    if isinstance(error, NoExplainer) or not isinstance(error, InvalidRequest):
        return False
    return stable is not None and stable.takes(request)


def sketched(inner: Answering, tally: Tally) -> Answering:
    """Count the values of outputs."""

    def look(response: InferenceResponse) -> None:
        for output in response.outputs:
            observe(tally.outputs, output.name, output.array)

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        found = await inner.infer(request, encode)
        look(found[0])
        return found

    async def stream(request: InferenceRequest) -> Responses:
        async with aclosing(inner.stream(request)) as responses:
            async for response in responses:
                look(response)
                yield response

    return Answering(infer, stream)
