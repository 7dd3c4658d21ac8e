"""Numbers of the console, from real snapshots of a registry."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.console.rates import RateWindow, is_fault, numbers, quantiles
from anabranch.telemetry.definitions import (
    EXPLANATIONS,
    HOP_DURATION,
    NODE_DURATION,
    NODE_ERRORS,
    QUEUE_DURATION,
    REPLICAS,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
    ROUTE_REQUESTS,
    SECONDS,
)
from anabranch.telemetry.registry import Registry
from tests.clock import Clock


def test_requests_are_counted_over_the_time_between_two_snapshots() -> None:
    registry = Registry()
    good = registry.number(REQUESTS, "digits", "infer", "http", "200")
    good.value = 1000
    before = registry.snapshot()
    good.value += 90
    registry.number(REQUESTS, "digits", "infer", "http", "503").value += 8
    registry.number(REQUESTS, "digits", "infer", "grpc", "INTERNAL").value += 2
    registry.number(REQUESTS, "digits", "infer", "http", "400").value += 100
    registry.number(REQUESTS, "digits", "other", "http", "200").value += 1000
    registry.distribution(REQUEST_DURATION, "digits", "other", "http").observe(9.0)
    registry.number(REQUESTS_IN_FLIGHT, "digits").value = 3
    for seconds in (0.002, 0.002, 0.002, 0.2):
        registry.distribution(REQUEST_DURATION, "digits", "infer", "http").observe(seconds)
    found = numbers(before, registry.snapshot(), 10.0, ())["digits"]["requests"]
    assert found["per_second"] == 20.0
    assert found["failed_per_second"] == 1.0
    assert found["error_rate"] == 0.05
    assert found["in_flight"] == 3
    assert 0.001 < found["p50"] <= 0.0025
    assert 0.1 < found["p99"] <= 0.25


def test_nodes_routes_hops_and_replicas_are_by_revision() -> None:
    registry = Registry()
    before = registry.snapshot()
    registry.distribution(NODE_DURATION, "g", "2", "forest").observe(0.003)
    registry.distribution(QUEUE_DURATION, "g", "2", "forest").observe(0.04)
    registry.number(NODE_ERRORS, "g", "2", "forest", "NodeError").value = 4
    registry.number(NODE_ERRORS, "g", "2", "forest", "DeadlineExceeded").value = 2
    registry.number(NODE_ERRORS, "g", "3", "always-fails", "NodeError").value = 2
    for outcome, count in (("explained", 5), ("cached", 3), ("late", 2)):
        registry.number(EXPLANATIONS, "g", "2", "why", outcome).value = count
    registry.number(ROUTE_REQUESTS, "g", "2", "pick", "forest").value = 6
    registry.distribution(HOP_DURATION, "g", "2", "gpu").observe(0.03)
    registry.number(REPLICAS, "g", "2", "gpu", "running").value = 2
    registry.number(REPLICAS, "g", "2", "gpu", "starting").value = 0
    registry.number(REPLICAS, "other", "1", "head", "running").value = 1
    found = numbers(before, registry.snapshot(), 2.0, {"g"})
    assert set(found["other"]) == {"requests"}
    forest = found["g"]["nodes"]["2"]["forest"]
    assert (forest["per_second"], forest["failed_per_second"]) == (0.5, 3.0)
    assert 0.0025 < forest["p50"] <= 0.005 and 0.025 < forest["queue_p99"] <= 0.05
    assert found["g"]["nodes"]["3"]["always-fails"] == {
        "per_second": 0.0, "failed_per_second": 1.0
    }  # fmt: skip
    assert found["g"]["nodes"]["2"]["why"] == {"per_second": 5.0, "failed_per_second": 1.0}
    assert found["g"]["routes"] == {"2": {"pick": {"forest": 3.0}}}
    assert found["g"]["hops"]["2"]["gpu"]["per_second"] == 0.5
    assert found["g"]["replicas"] == {"2": {"gpu": {"running": 2}}}


def test_a_controller_that_began_anew_makes_no_number_negative() -> None:
    old, new = Registry(), Registry()
    for registry, count in ((old, 500), (new, 5)):
        registry.number(REQUESTS, "g", "infer", "http", "200").value = count
        for _ in range(count):
            registry.distribution(REQUEST_DURATION, "g", "infer", "http").observe(0.3)
    found = numbers(old.snapshot(), new.snapshot(), 5.0, ())["g"]["requests"]
    assert found["per_second"] == 1.0
    assert 0.25 < found["p50"] <= 0.5


def test_nothing_is_known_at_first_and_of_what_did_not_happen() -> None:
    registry = Registry()
    registry.number(REQUESTS, "g", "infer", "http", "200").value = 7
    snapshot = registry.snapshot()
    found = numbers(snapshot, snapshot, 0.0, ())["g"]["requests"]
    assert set(found.values()) == {None}
    found = numbers(snapshot, snapshot, 1.0, ())["g"]["requests"]
    assert (found["per_second"], found["error_rate"], found["p50"]) == (0.0, None, None)


def test_the_window_slides() -> None:
    registry, clock = Registry(), Clock()
    window = RateWindow(clock)
    cell = registry.number(REQUESTS, "g", "infer", "http", "200")
    rates = []
    for second in range(40):
        found = window.take(registry.snapshot(), ())["g"]["requests"]
        rates.append(found["per_second"])
        clock.now += 1.0
        cell.value += 10 if second < 20 else 0
    assert rates[0] is None
    assert rates[1:21] == [10.0] * 20
    assert rates[25] == 5.0
    assert rates[31:] == [0.0] * 9
    window.forget()
    assert window.take(registry.snapshot(), ())["g"]["requests"]["per_second"] is None


@pytest.mark.parametrize(
    "code", ["500", "503", "504", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"]
)
def test_faults_of_the_server(code: str) -> None:
    assert is_fault(code)


@pytest.mark.parametrize("code", ["200", "400", "404", "413", "499", "OK", "INVALID_ARGUMENT"])
def test_no_faults_of_the_server(code: str) -> None:
    assert not is_fault(code)


@given(st.lists(st.integers(0, 50), min_size=len(SECONDS), max_size=len(SECONDS)))
def test_quantiles_lie_in_a_bucket_that_has_values_and_in_order(counts: list[int]) -> None:
    found = quantiles(REQUEST_DURATION, counts)
    if not any(counts):
        assert found == {"p50": None, "p95": None, "p99": None}
        return
    assert found["p50"] <= found["p95"] <= found["p99"]
    filled = [
        (low, high)
        for low, high, count in zip((0.0, *SECONDS), SECONDS, counts, strict=False)
        if count
    ]
    for value in found.values():
        assert any(
            low <= value * 1.001 and (value <= high * 1.001 or math.isinf(high))
            for low, high in filled
        )
