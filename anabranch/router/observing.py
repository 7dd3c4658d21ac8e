"""Counts and traces the requests of a graph, over either protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from anabranch.router.measure.requests import Requests
from anabranch.telemetry.tracing import SpanRecording

Request = TypeVar("Request")
Answer = TypeVar("Answer")


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

    async def observed(self, request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do the work of a request: counted, and recorded where the request is sampled."""
        started = self._requests.began()
        recording = self._begin(request)
        answer = error = None
        try:
            answer = await work
            return answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            endpoint, code = self._answered(request, recording, answer, error)
            if recording is not None:
                recording.end()
            trace = None if recording is None else recording.trace
            self._requests.ended(endpoint, code, started, trace)
            error = None  # or its traceback would hold this frame, which holds it
