"""Metrics of Ray, from snapshots; Ray's own classes need no Ray that runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from ray.util import metrics

from anabranch.serve.export.ray_metrics import RayMetrics
from anabranch.telemetry.definitions import (
    ARM_LATENCY,
    ARM_REQUESTS,
    METRICS,
    REQUESTS_IN_FLIGHT,
    SECONDS,
)
from anabranch.telemetry.registry import Registry

ARM = ("digits", "3")


class Recorder:
    """What is told to Ray: values by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.calls = 0

    def told(self, name: str, value: float, tags: Mapping[str, str], adds: bool) -> None:
        key = (name, *tags.values())
        self.values[key] = value + (self.values.get(key, 0) if adds else 0)
        self.calls += 1

    def get(self, name: str, *labels: str) -> float | None:
        return self.values.get((name, *labels))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()

    class Counter(metrics.Counter):
        def inc(self, value: float = 1.0, tags: Any = None) -> None:
            super().inc(value, tags)
            found.told(self.info["name"], value, tags, adds=True)

    class Gauge(metrics.Gauge):
        def set(self, value: float | None, tags: Any = None) -> None:
            super().set(value, tags)
            assert value is not None
            found.told(self.info["name"], value, tags, adds=False)

    monkeypatch.setattr(metrics, "Counter", Counter)
    monkeypatch.setattr(metrics, "Gauge", Gauge)
    return found


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_counters_grow_by_what_the_sums_have_grown(recorder: Recorder, registry: Registry) -> None:
    shown, cell = RayMetrics(), registry.number(ARM_REQUESTS, *ARM)
    for _ in range(3):
        cell.value += 2
        shown.show(registry.snapshot())
        shown.show(registry.snapshot(), again=True)
    assert recorder.get(ARM_REQUESTS.name, *ARM) == 6
    assert recorder.calls == 3


def test_sums_that_start_anew_never_count_backwards(recorder: Recorder, registry: Registry) -> None:
    shown, cell = RayMetrics(), registry.number(ARM_REQUESTS, *ARM)
    for value in (10, 2, 5):
        cell.value = value
        shown.show(registry.snapshot())
    assert recorder.get(ARM_REQUESTS.name, *ARM) == 15


def test_a_histogram_is_gauges(recorder: Recorder, registry: Registry) -> None:
    shown, cell = RayMetrics(), registry.distribution(ARM_LATENCY, *ARM)
    for seconds in (1e-6, 0.003, 0.003, 0.2, 70.0):
        cell.observe(seconds)
    shown.show(registry.snapshot())
    expected = {"0.0001": 1, "0.0025": 1, "0.005": 3, "0.1": 3, "0.25": 4, "60.0": 4, "+Inf": 5}
    for bound, count in expected.items():
        assert recorder.get(f"{ARM_LATENCY.name}_bucket", *ARM, bound) == count
    assert recorder.get(f"{ARM_LATENCY.name}_count", *ARM) == 5
    assert recorder.get(f"{ARM_LATENCY.name}_sum", *ARM) == pytest.approx(70.206001)


def test_empty_buckets_are_shown(recorder: Recorder, registry: Registry) -> None:
    registry.distribution(ARM_LATENCY, *ARM)
    RayMetrics().show(registry.snapshot())
    assert len(recorder.values) == len(SECONDS) + 2
    assert set(recorder.values.values()) == {0}


def test_only_what_has_changed_is_told(recorder: Recorder, registry: Registry) -> None:
    shown, cell = RayMetrics(), registry.distribution(ARM_LATENCY, *ARM)
    registry.number(REQUESTS_IN_FLIGHT, "digits")
    shown.show(registry.snapshot())
    recorder.calls = 0
    shown.show(registry.snapshot())
    assert recorder.calls == 0
    cell.observe(20.0)
    shown.show(registry.snapshot())
    assert recorder.calls == len([bound for bound in SECONDS if bound >= 30]) + 2


def test_gauges_are_told_again_lest_ray_drops_them(recorder: Recorder, registry: Registry) -> None:
    registry.number(REQUESTS_IN_FLIGHT, "digits").value = 3
    registry.distribution(ARM_LATENCY, *ARM)
    shown = RayMetrics()
    shown.show(registry.snapshot())
    recorder.calls = 0
    shown.show(registry.snapshot(), again=True)
    assert recorder.calls == 1 + len(SECONDS) + 2


def test_a_gauge_that_is_gone_is_no_number(recorder: Recorder, registry: Registry) -> None:
    registry.number(REQUESTS_IN_FLIGHT, "digits").value = 3
    shown = RayMetrics()
    shown.show(registry.snapshot())
    registry.forget(REQUESTS_IN_FLIGHT, "digits")
    shown.show(registry.snapshot())
    found = recorder.get(REQUESTS_IN_FLIGHT.name, "digits")
    assert found is not None and math.isnan(found)
    registry.number(REQUESTS_IN_FLIGHT, "digits").value = 3
    shown.show(registry.snapshot())
    assert recorder.get(REQUESTS_IN_FLIGHT.name, "digits") == 3


def test_ray_takes_every_metric(recorder: Recorder, registry: Registry) -> None:
    for metric in METRICS.values():
        if metric.kind == "histogram":
            registry.distribution(metric, *metric.labels).observe(1)
        else:
            registry.number(metric, *metric.labels).value = 1
    RayMetrics().show(registry.snapshot())
    for metric in METRICS.values():
        name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        assert recorder.get(name, *metric.labels) == 1
