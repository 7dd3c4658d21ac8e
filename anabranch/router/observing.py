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
    def _code(self, answer: Answer | None, error: BaseException | None) -> int | str:
        """Return the code of an answer, or of the error in its place, as metrics name it."""

    @abstractmethod
    def _note(self, recording: SpanRecording, code: int | str, error: BaseException | None) -> None:
        """Note in a span how its request was answered."""

    @abstractmethod
    def _endpoint(self, request: Request) -> str:
        """Return the endpoint of a request, as metrics name it."""

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
            code = self._code(answer, error)
            trace = None
            if recording is not None:
                trace = recording.trace
                self._note(recording, code, error)
                recording.end()
            self._requests.ended(self._endpoint(request), code, started, trace)
            error = None  # or its traceback would hold this frame, which holds it
