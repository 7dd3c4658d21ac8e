"""Addresses that show one unknown key after the other."""

from __future__ import annotations

import pytest

from anabranch.access.failures import BURST, EVERY_S, MAX_ADDRESSES, Failures
from anabranch.errors import TooManyRequests
from tests.clock import Clock


def failing(failures: Failures, address: str, times: int) -> None:
    for _ in range(times):
        failures.add(address)


def test_after_some_failures_an_address_must_wait() -> None:
    clock = Clock()
    failures = Failures(clock)
    failing(failures, "a", BURST)
    with pytest.raises(TooManyRequests, match="came from a; wait 3s") as caught:
        failures.add("a")
    assert caught.value.retry_after == EVERY_S
    failures.add("b")
    clock.now += EVERY_S
    failures.add("a")
    with pytest.raises(TooManyRequests):
        failures.add("a")


def test_failures_while_waiting_make_the_wait_no_longer() -> None:
    clock = Clock()
    failures = Failures(clock)
    failing(failures, "a", BURST)
    for _ in range(100):
        with pytest.raises(TooManyRequests, match="wait 3s"):
            failures.add("a")


def test_what_was_long_ago_is_forgotten() -> None:
    clock = Clock()
    failures = Failures(clock)
    failing(failures, "a", BURST)
    clock.now += BURST * EVERY_S
    failing(failures, "a", BURST)


def test_addresses_are_bounded() -> None:
    failures = Failures(Clock())
    failing(failures, "first", BURST)
    for number in range(MAX_ADDRESSES):
        failures.add(str(number))
    failures.add("first")  # it was forgotten
