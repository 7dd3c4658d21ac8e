"""Counts requests over HTTP by the endpoint that their path names."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.router.http.request import HttpRequest
from anabranch.router.measure.requests import GONE, Requests


class HttpCounts:
    """Counts the requests of one graph over HTTP; ``endpoint`` names that of a path."""

    def __init__(self, requests: Requests, endpoint: Callable[[str], str]) -> None:
        self._requests = requests
        self._endpoint = endpoint
        self.began = requests.began

    def ended(self, request: HttpRequest, status: int, started: float) -> None:
        """Count a request out; status 0 stands for a client that has gone."""
        endpoint = self._endpoint(request.path)
        self._requests.ended(endpoint, status or GONE, started, request.trace)
