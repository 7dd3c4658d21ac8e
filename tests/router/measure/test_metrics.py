from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from anabranch.router.measure.metrics import QUANTILES, WINDOW, Metrics
from anabranch.router.measure.tally import Histogram, Judged, MirrorTally, Report, Tally
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.samples import counted_samples
from anabranch.telemetry.definitions import SECONDS
from anabranch.telemetry.registry import Registry


class Recorder:
    """A registry, and what it holds of one graph."""

    def __init__(self) -> None:
        self.registry = Registry()

    def get(self, name: str, *labels: str) -> Any:
        return self.registry.snapshot().get(f"anabranch_{name}", {}).get(("digits", *labels))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def metrics(recorder: Recorder) -> Metrics:
    return Metrics("digits", recorder.registry)


def table(**weights: float) -> RoutingTable:
    numbers = {int(name[1:]): weight for name, weight in weights.items()}
    return RoutingTable("digits", generation=1, stable=min(numbers), weights=numbers)


def times(*seconds: float) -> Histogram:
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    return histogram


# Arms


def test_counters_grow_by_what_the_sums_have_grown(metrics: Metrics, recorder: Recorder) -> None:
    report = Report({3: Tally(), 4: Tally()})
    for _ in range(3):
        report.arms[3].record(0.1)
        report.arms[3].fail("NodeError", 0.1)
        report.arms[4].fail("Unavailable", 0.1)
        metrics.flush(report)
        metrics.flush(report)
    assert recorder.get("arm_requests_total", "3") == 6
    assert recorder.get("arm_requests_total", "4") == 3
    assert recorder.get("arm_errors_total", "3", "NodeError") == 3
    assert recorder.get("arm_errors_total", "4", "Unavailable") == 3
    assert recorder.get("arm_errors_total", "3", "Unavailable") is None


def test_rewards_show_once_there_are_any(metrics: Metrics, recorder: Recorder) -> None:
    tally = Tally()
    metrics.flush(Report({3: tally}))
    assert recorder.get("arm_reward_sum", "3") is None
    tally.reward(-2.0, Judged(1, 2), {"chooser": "net"})
    tally.reward(0.5, None, {})
    tally.repeated += 1
    metrics.flush(Report({3: tally}))
    assert recorder.get("arm_rewards_total", "3") == 2
    assert recorder.get("arm_reward_sum", "3") == -1.5
    assert recorder.get("arm_rewards_repeated_total", "3") == 1
    assert recorder.get("arm_judged_total", "3") == 2
    assert recorder.get("arm_right_total", "3") == 1
    assert recorder.get("route_rewards_total", "3", "chooser", "net") == 1
    assert recorder.get("route_reward_sum", "3", "chooser", "net") == -2.0


def test_tokens_show_once_there_are_any(metrics: Metrics, recorder: Recorder) -> None:
    tally = Tally()
    metrics.flush(Report({3: tally}))
    assert recorder.get("arm_tokens_total", "3", "prompt") is None
    tally.tokens.add(7, 20, 0.5)
    tally.tokens.first.add(0.1)
    tally.tokens.further.add(0.02)
    metrics.flush(Report({3: tally}))
    assert recorder.get("arm_tokens_total", "3", "prompt") == 7
    assert recorder.get("arm_tokens_total", "3", "completion") == 20
    assert recorder.get("arm_generation_seconds_total", "3") == 0.5
    first = recorder.get("arm_first_token_seconds", "3")
    further = recorder.get("arm_further_token_seconds", "3")
    assert (first.total, further.total) == pytest.approx((0.1, 0.02), rel=0.02)


def test_a_mirror_that_comes_back_begins_anew(metrics: Metrics, recorder: Recorder) -> None:
    before = MirrorTally(latency=times(*[9.0] * 10), primary=times(*[1.0] * 10))
    after = MirrorTally(latency=times(0.2), primary=times(0.1))
    for _ in range(2 * WINDOW):
        metrics.flush(Report(mirrors={5: before}))
    metrics.flush(Report())
    metrics.flush(Report(mirrors={5: after}))
    found = recorder.get("mirror_latency_difference_seconds", "5", "0.5")
    assert found == pytest.approx(0.1, rel=0.1)


def test_nothing_counted_shows_nothing(metrics: Metrics, recorder: Recorder) -> None:
    metrics.flush(Report())
    assert recorder.registry.snapshot() == {}


def below(recorder: Recorder) -> dict[float, int]:
    """How many durations lie below each bound."""
    return dict(
        zip(SECONDS, accumulate(recorder.get("arm_latency_seconds", "3").counts), strict=True)
    )


def test_latency_comes_in_buckets(metrics: Metrics, recorder: Recorder) -> None:
    tally = Tally(latency=times(1e-6, 0.003, 0.003, 0.2, 70.0))
    metrics.flush(Report({3: tally}))
    expected = {0.0001: 1, 0.0025: 1, 0.005: 3, 0.1: 3, 0.25: 4, 60.0: 4, SECONDS[-1]: 5}
    assert expected.items() <= below(recorder).items()
    tally.record(1.5)
    metrics.flush(Report({3: tally}))
    assert {1.0: 4, 2.5: 5, SECONDS[-1]: 6}.items() <= below(recorder).items()


def test_buckets_are_right_but_for_the_width_of_a_bin(metrics: Metrics, recorder: Recorder) -> None:
    data = np.random.default_rng(3).lognormal(-5, 2, 2000)
    metrics.flush(Report({3: Tally(latency=times(*data))}))
    for bound, found in below(recorder).items():
        assert (data <= bound * 0.98).sum() <= found <= (data <= bound * 1.02).sum()
    observed = recorder.get("arm_latency_seconds", "3")
    assert observed.total == pytest.approx(data.sum(), rel=0.02)


def test_an_arm_that_was_not_asked_yet_shows_empty_buckets(
    metrics: Metrics, recorder: Recorder
) -> None:
    metrics.flush(Report({3: Tally()}))
    assert set(below(recorder).values()) == {0}


# Weights


def test_weights_are_shares(metrics: Metrics, recorder: Recorder) -> None:
    metrics.weights(table(r3=90, r4=9, r5=1))
    assert recorder.get("arm_weight", "3") == pytest.approx(0.9)
    assert recorder.get("arm_weight", "4") == pytest.approx(0.09)
    metrics.weights(table(r3=1, r4=0))
    assert recorder.get("arm_weight", "3") == 1
    assert recorder.get("arm_weight", "4") == 0


def test_an_arm_that_is_gone_has_no_share(metrics: Metrics, recorder: Recorder) -> None:
    metrics.weights(table(r3=1, r4=1))
    metrics.weights(table(r4=1))
    assert recorder.get("arm_weight", "3") == 0


# Mirrors


def test_every_sum_of_a_mirror_is_there(metrics: Metrics, recorder: Recorder) -> None:
    tally = MirrorTally(
        selected=9, sent=8, dropped=1, compared=6, agreed=5, close=4, errors=2, pending=3
    )
    tally.kinds = {"NodeError": 2}
    for _ in range(2):
        metrics.flush(Report(mirrors={5: tally}))
    for name in ("selected", "sent", "dropped", "compared", "agreed", "close"):
        assert recorder.get(f"mirror_{name}_total", "5") == getattr(tally, name)
    assert recorder.get("mirror_errors_total", "5", "NodeError") == 2
    assert recorder.get("mirror_pending", "5") == 3
    tally.pending = 0
    metrics.flush(Report(mirrors={5: tally}))
    assert recorder.get("mirror_pending", "5") == 0


def test_the_latency_difference_is_that_of_the_quantiles(
    metrics: Metrics, recorder: Recorder
) -> None:
    tally = MirrorTally(latency=times(0.3, 0.3, 2.0), primary=times(0.1, 0.1, 5.0))
    metrics.flush(Report(mirrors={5: tally}))
    assert recorder.get("mirror_latency_difference_seconds", "5", "0.5") == pytest.approx(0.2, 0.05)
    tally.primary.add(5.0)
    tally.primary.add(5.0)
    metrics.flush(Report(mirrors={5: tally}))
    assert recorder.get("mirror_latency_difference_seconds", "5", "0.5") == pytest.approx(
        -4.7, 0.05
    )


def test_without_copies_there_is_no_difference(metrics: Metrics, recorder: Recorder) -> None:
    metrics.flush(Report(mirrors={5: MirrorTally(latency=times(1.0))}))
    for share in QUANTILES:
        assert recorder.get("mirror_latency_difference_seconds", "5", str(share)) is None


def test_old_copies_drop_out_of_the_difference(metrics: Metrics, recorder: Recorder) -> None:
    def difference() -> Any:
        metrics.flush(report)
        return recorder.get("mirror_latency_difference_seconds", "5", "0.99")

    report = Report(mirrors={5: MirrorTally(latency=times(9.0), primary=times(1.0))})
    for _ in range(WINDOW):
        assert difference() == pytest.approx(8, 0.05)
    # Of two durations the 99th percentile is the first.
    report.mirrors[5].latency.add(20.0)
    report.mirrors[5].primary.add(1.0)
    for _ in range(WINDOW):
        assert difference() == pytest.approx(8, 0.05)
    for _ in range(WINDOW):
        assert difference() == pytest.approx(19, 0.05)
    assert difference() is None


# Samples


def test_samples_are_counted_by_outcome(recorder: Recorder) -> None:
    notice = counted_samples("digits", recorder.registry)
    notice("3", "why", "explained")
    notice("3", "why", "explained")
    notice("3", "why", "dropped")
    assert recorder.get("explainer_samples_total", "3", "why", "explained") == 2
    assert recorder.get("explainer_samples_total", "3", "why", "dropped") == 1
