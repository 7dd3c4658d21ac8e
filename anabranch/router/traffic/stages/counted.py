"""Stages that count the requests that a table sends to an arm, and the values of its outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from anabranch.errors import InvalidRequest, RequestError
from anabranch.graph.calls.generators import each, within
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
    answer = inner.infer

    def failed(request: InferenceRequest, error: Exception, started: float) -> None:
        if _is_to_blame(stable, request, error):
            tally.fail(type(error).__name__, time.perf_counter() - started)

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        started = time.perf_counter()
        try:
            found = await answer(request, encode)
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

    def stream(request: InferenceRequest) -> Responses:
        counting = _CountedStream(request, tally, failed)
        return within(counting, each(partial(inner.stream, request), counting.see))

    return Answering(infer, stream)


class _CountedStream:
    """Counts one stream, which ends with this context."""

    def __init__(
        self,
        request: InferenceRequest,
        tally: Tally,
        failed: Callable[[InferenceRequest, Exception, float], None],
    ) -> None:
        self._request = request
        self._tally = tally
        self._failed = failed
        self._tokens = AnswerTokens()
        self._started = 0.0
        self._seconds: float | None = None
        self._is_kept = False

    def see(self, response: InferenceResponse) -> InferenceResponse:
        """Look at a response, and return it."""
        self._seconds, self._is_kept = response.seconds, response.is_kept
        self._tokens.see(response)
        return response

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            self._failed(self._request, error, self._started)
        elif error is None or (isinstance(error, GeneratorExit) and self._request.is_answered):
            self._answered()

    def _answered(self) -> None:
        if self._is_kept:
            return
        seconds = self._seconds
        self._tally.record(time.perf_counter() - self._started if seconds is None else seconds)
        self._tokens.streamed(self._tally.tokens)


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

    def look(response: InferenceResponse) -> InferenceResponse:
        for output in response.outputs:
            observe(tally.outputs, output.name, output.array)
        return response

    async def infer(
        request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        found = await inner.infer(request, encode)
        look(found[0])
        return found

    def stream(request: InferenceRequest) -> Responses:
        return each(partial(inner.stream, request), look)

    return Answering(infer, stream)
