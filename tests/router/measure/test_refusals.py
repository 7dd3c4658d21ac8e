"""Refused attempts are counted by the error that refuses them."""

from __future__ import annotations

import pytest

from anabranch.errors import (
    AnabranchError,
    Forbidden,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from anabranch.router.measure.refusals import count_refusal, reason_of, refusals_counted
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import REGISTRY, Registry


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unauthenticated("no"), "unauthenticated"),
        (Forbidden("no"), "forbidden"),
        (TooManyRequests("no", 1), "limited"),
        (NotFound("no"), None),
        (Unavailable("no"), None),
        (RuntimeError("no"), None),
    ],
)
def test_an_error_has_one_reason_or_none(error: Exception, reason: str | None) -> None:
    assert reason_of(error) == reason


def test_a_count_is_of_a_door_and_a_reason() -> None:
    registry = Registry()
    count_refusal("http", "limited", registry)
    count_refusal("http", "limited", registry)
    count_refusal("grpc", "forbidden", registry)
    assert registry.snapshot()[ACCESS_REFUSED.name] == {
        ("http", "limited"): 2,
        ("grpc", "forbidden"): 1,
    }


def test_the_error_of_a_block_is_counted_and_goes_on() -> None:
    cell = REGISTRY.number(ACCESS_REFUSED, "control", "forbidden")
    before = cell.value
    for error in (Forbidden("no"), NotFound("no")):
        with pytest.raises(AnabranchError), refusals_counted("control"):
            raise error
    with refusals_counted("control"):
        pass
    assert cell.value == before + 1
