from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.router.metrics import BOUNDS, DEFINITIONS, LABELS, QUANTILES, WINDOW, Metrics
from anabranch.router.table import RoutingTable
from anabranch.router.tally import Histogram, Judged, MirrorTally, Report, Tally

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Recorder:
    """Ray's metrics, as far as they are used: values by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self.kinds: dict[str, str] = {}
        self.calls = 0

    def counter(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Any:
        return _Recorded(self, "counter", name, tag_keys)

    def gauge(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Any:
        return _Recorded(self, "gauge", name, tag_keys)

    def get(self, name: str, *labels: str) -> float | None:
        return self.values.get((f"anabranch_{name}", "digits", *labels))


class _Recorded:
    def __init__(self, recorder: Recorder, kind: str, name: str, keys: tuple[str, ...]) -> None:
        assert name not in recorder.kinds
        recorder.kinds[name] = kind
        self.recorder, self.name, self.keys = recorder, name, keys

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        key = self._key(tags)
        self.recorder.values[key] = self.recorder.values.get(key, 0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.recorder.values[self._key(tags)] = value

    def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
        assert tuple(tags) == self.keys
        assert all(type(value) is str for value in tags.values())
        self.recorder.calls += 1
        return (self.name, *tags.values())


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr("ray.util.metrics.Counter", recorder.counter)
    monkeypatch.setattr("ray.util.metrics.Gauge", recorder.gauge)
    return recorder


@pytest.fixture
def metrics(recorder: Recorder) -> Metrics:
    return Metrics("digits")


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


def test_sums_that_start_anew_never_count_backwards(metrics: Metrics, recorder: Recorder) -> None:
    for requests in (10, 2, 5):
        metrics.flush(Report({3: Tally(requests=requests)}))
    assert recorder.get("arm_requests_total", "3") == 15


def test_a_mirror_that_comes_back_begins_anew(metrics: Metrics, recorder: Recorder) -> None:
    before = MirrorTally(latency=times(*[9.0] * 10), primary=times(*[1.0] * 10))
    after = MirrorTally(latency=times(0.2), primary=times(0.1))
    for _ in range(2 * WINDOW):
        metrics.flush(Report(mirrors={5: before}))
    metrics.flush(Report())
    metrics.flush(Report(mirrors={5: after}))
    found = recorder.get("mirror_latency_difference_seconds", "5", "0.5")
    assert found == pytest.approx(0.1, rel=0.1)


def test_nothing_counted_writes_no_counter(metrics: Metrics, recorder: Recorder) -> None:
    metrics.flush(Report())
    assert recorder.calls == 0
    metrics.flush(Report({3: Tally()}))
    assert {recorder.kinds[name] for name, *_ in recorder.values} == {"gauge"}


def test_latency_comes_in_cumulative_buckets(metrics: Metrics, recorder: Recorder) -> None:
    tally = Tally(latency=times(1e-6, 0.003, 0.003, 0.2, 70.0))
    metrics.flush(Report({3: tally}))
    expected = {"0.0001": 1, "0.0025": 1, "0.005": 3, "0.1": 3, "0.25": 4, "60.0": 4, "+Inf": 5}
    for bound, count in expected.items():
        assert recorder.get("arm_latency_seconds_bucket", "3", bound) == count
    tally.record(1.5)
    metrics.flush(Report({3: tally}))
    assert recorder.get("arm_latency_seconds_bucket", "3", "1.0") == 4
    assert recorder.get("arm_latency_seconds_bucket", "3", "2.5") == 5
    assert recorder.get("arm_latency_seconds_bucket", "3", "+Inf") == 6


def test_buckets_are_right_but_for_the_width_of_a_bin(metrics: Metrics, recorder: Recorder) -> None:
    data = np.random.default_rng(3).lognormal(-5, 2, 2000)
    metrics.flush(Report({3: Tally(latency=times(*data))}))
    for bound in BOUNDS:
        label = "+Inf" if bound == math.inf else str(bound)
        found = recorder.get("arm_latency_seconds_bucket", "3", label)
        assert found is not None
        assert (data <= bound * 0.98).sum() <= found <= (data <= bound * 1.02).sum()


def test_buckets_are_written_also_where_they_are_empty(
    metrics: Metrics, recorder: Recorder
) -> None:
    metrics.flush(Report({3: Tally()}))
    written = [key for key in recorder.values if "bucket" in key[0]]
    assert len(written) == len(BOUNDS)
    assert set(recorder.values.values()) == {0}


@pytest.mark.parametrize("requests", [10, 100_000])
def test_a_flush_costs_the_same_whatever_the_number_of_requests(
    metrics: Metrics, recorder: Recorder, requests: int
) -> None:
    tally = Tally(requests, latency=Histogram({-100: requests}))
    metrics.flush(Report({3: tally}))
    assert recorder.calls == 1 + len(BOUNDS)


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
    calls = recorder.calls
    metrics.weights(table(r4=1))
    assert recorder.calls == calls + 1


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
        found = recorder.get("mirror_latency_difference_seconds", "5", str(share))
        assert found is not None
        assert math.isnan(found)


def test_old_copies_drop_out_of_the_difference(metrics: Metrics, recorder: Recorder) -> None:
    def difference() -> float:
        metrics.flush(report)
        found = recorder.get("mirror_latency_difference_seconds", "5", "0.99")
        assert found is not None
        return found

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
    assert math.isnan(difference())


# Definitions


def test_the_metrics_are_what_ray_takes() -> None:
    # Ray's own classes; they need no Ray that runs.
    metrics = Metrics("digits")
    metrics.weights(table(r3=1))
    metrics.flush(Report({3: Tally(requests=1)}, {4: MirrorTally(selected=1)}))


def test_counters_and_no_others_are_called_total(recorder: Recorder, metrics: Metrics) -> None:
    assert len(recorder.kinds) == len(DEFINITIONS)
    for name, kind in recorder.kinds.items():
        assert re.fullmatch(r"anabranch_(arm|route|mirror)_[a-z_]+", name)
        assert name.endswith("_total") is (kind == "counter")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def lines() -> list[str]:
    head = [row("metric", "kind", "labels", "what it is"), "|---|---|---|---|"]
    return head + [
        row(
            f"`ray_{one.name}`",
            one.kind,
            ", ".join(f"`{label}`" for label in (*LABELS, *one.labels)),
            one.help,
        )
        for one in DEFINITIONS
    ]


def test_the_page_lists_what_is_defined() -> None:
    expected = "\n".join(lines())
    assert expected in PAGE.read_text(), f"docs/metrics.md should hold:\n\n{expected}"
