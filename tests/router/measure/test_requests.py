"""What is counted of requests, by the codes of their replies."""

from __future__ import annotations

import pytest

from anabranch.router.measure.requests import Protocol, Requests
from anabranch.telemetry.definitions import ACCESS_REFUSED, REQUESTS
from anabranch.telemetry.registry import Registry


@pytest.mark.parametrize(
    ("protocol", "code", "reason"),
    [
        ("http", 401, "unauthenticated"),
        ("http", 403, "forbidden"),
        ("http", 429, "limited"),
        ("grpc", "UNAUTHENTICATED", "unauthenticated"),
        ("grpc", "PERMISSION_DENIED", "forbidden"),
        ("http", 200, ""),
        ("http", 503, ""),
        ("grpc", "OK", ""),
    ],
)
def test_refused_attempts_are_counted_by_their_reason(
    protocol: Protocol, code: int | str, reason: str
) -> None:
    registry = Registry()
    requests = Requests("demo", protocol, registry)
    for _ in range(2):
        requests.ended("infer", code, requests.began(), None)
    found = registry.snapshot()
    assert found[REQUESTS.name] == {("demo", "infer", protocol, str(code)): 2}
    refused = {(protocol, reason): 2} if reason else None
    assert found.get(ACCESS_REFUSED.name) == refused
