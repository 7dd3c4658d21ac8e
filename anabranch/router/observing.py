"""Counts and traces the requests of a graph, over either protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, TypeAlias, TypeVar

from anabranch.router.measure.requests import Requests
from anabranch.telemetry.tracing import SpanRecording

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Begun: TypeAlias = tuple[float, SpanRecording | None]
"""When a request began, as ``Requests.began`` says, and its span where it is sampled."""


class RequestObserver(ABC, Generic[Request, Answer]):
    """Observes requests from their first line to their reply."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    @abstractmethod
    def _begin(self, request: Request) -> SpanRecording | None:
        """Begin the span of a request, and tell it; None for one that is not sampled."""

    @abstractmethod
    def _answered(
        self,
        request: Request,
        recording: SpanRecording | None,
        answer: Answer | None,
        error: BaseException | None,
    ) -> tuple[str, int | str]:
        """Note the answer in the span, or the error in its place; the labels endpoint and code."""

    def begin(self, request: Request) -> Begun:
        """Count a request in, and begin its span; give the result to ``end``."""
        started = self._requests.began()
        return started, self._begin(request)

    def end(
        self,
        request: Request,
        begun: Begun,
        answer: Answer | None,
        error: BaseException | None,
    ) -> None:
        """Count a request out and end its span, with its answer or else the error."""
        started, recording = begun
        endpoint, code = self._answered(request, recording, answer, error)
        trace = None
        if recording is not None:
            recording.end()
            trace = recording.trace
        self._requests.ended(endpoint, code, started, trace)

    async def observed(self, request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do the work of a request between ``begin`` and ``end``."""
        begun = self.begin(request)
        answer = error = None
        try:
            answer = await work
            return answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.end(request, begun, answer, error)
            error = None  # or its traceback would hold this frame, which holds it
