"""Counts the requests that the table sends to an arm."""

from __future__ import annotations

import time
from contextlib import aclosing

from anabranch.errors import InvalidRequest, RequestError
from anabranch.graph.explain.answers import NoExplainer
from anabranch.router.core import InferenceCore, InferenceRequest, InferenceResponse
from anabranch.router.measure.tally import Tally
from anabranch.router.traffic.stages.contract import Answer, Answering, Encode, Responses


class Counted:
    """Counts answers and the arm's errors in its tally.

    ``stable`` is the core of the stable revision; None for an arm that is the stable one.
    """

    def __init__(self, inner: Answering, tally: Tally, stable: InferenceCore | None) -> None:
        self.inner = inner
        self._tally = tally
        self._stable = stable

    async def infer(
        self, request: InferenceRequest, encode: Encode[Answer]
    ) -> tuple[InferenceResponse, Answer]:
        """Answer a request, and count it with the time of its evaluation."""
        started = time.perf_counter()
        try:
            found = await self.inner.infer(request, encode)
        except Exception as error:
            self._failed(request, error, started)
            raise
        self._tally.record(found[0].seconds)
        return found

    async def stream(self, request: InferenceRequest) -> Responses:
        """Answer a request, and count it after the last response."""
        started = time.perf_counter()
        seconds = None
        try:
            async with aclosing(self.inner.stream(request)) as responses:
                async for response in responses:
                    seconds = response.seconds
                    yield response
        except Exception as error:
            self._failed(request, error, started)
            raise
        self._tally.record(time.perf_counter() - started if seconds is None else seconds)

    def _failed(self, request: InferenceRequest, error: Exception, started: float) -> None:
        if self._is_to_blame(request, error):
            self._tally.fail(type(error).__name__, time.perf_counter() - started)

    def _is_to_blame(self, request: InferenceRequest, error: Exception) -> bool:
        """Whether an error is the arm's and not the caller's.

        A request that the stable revision would have taken is no mistake of the caller.
        """
        if not isinstance(error, RequestError):
            return True
        if isinstance(error, NoExplainer) or not isinstance(error, InvalidRequest):
            return False
        return self._stable is not None and self._stable.takes(request)
