"""From the language to what Serve takes."""

from __future__ import annotations

from typing import Any

import pytest
from ray import serve

from anabranch.serve.scaling.scaling import (
    MAX_QUEUE,
    fewest,
    fewest_let_in,
    is_autoscaled,
    scaling_options,
)
from anabranch.specs.models import Scaling


def scaling(**fields: Any) -> Scaling:
    return Scaling.model_validate(fields)


@pytest.mark.parametrize(
    ("given", "lowest", "auto"),
    [
        (None, 1, False),
        (scaling(replicas=3), 3, False),
        (scaling(max_queue=5), 1, False),
        (scaling(max=4), 1, True),
        (scaling(min=0, max=4), 0, True),
        (scaling(min=2, max=4), 2, True),
    ],
)
def test_the_fewest(given: Scaling | None, lowest: int, auto: bool) -> None:
    assert (fewest(given), is_autoscaled(given)) == (lowest, auto)


def test_a_fixed_number_is_not_autoscaled_and_nothing_bounds_what_waits() -> None:
    found = scaling_options(scaling(replicas=3), running=9)
    assert found["num_replicas"] == 3
    assert not {"autoscaling_config", "max_queued_requests"} & found.keys()
    assert scaling_options(None)["num_replicas"] == 1
    assert scaling_options(scaling(max_queue=0))["max_queued_requests"] == 0


def test_autoscaling_takes_every_field() -> None:
    peak = {"cron": "0 8 * * *", "for": "1h", "min": 2, "timezone": "Europe/Berlin"}
    found = scaling_options(
        scaling(
            min=1, max=5, target_ongoing=7.5, upscale_delay="3s", downscale_delay="2m",
            max_queue=12, schedule=[peak],
        )
    )  # fmt: skip
    config = found["autoscaling_config"]
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (1, 1, 5)
    assert config.target_ongoing_requests == 7.5
    assert (config.upscale_delay_s, config.downscale_delay_s) == (3, 120)
    assert config.policy.policy_kwargs == {"schedule": [peak]}
    assert found["max_queued_requests"] == 12
    assert found["backpressure_config"].retry_after_s == 1


def test_defaults() -> None:
    found = scaling_options(scaling(max=5))
    config = found["autoscaling_config"]
    assert config.target_ongoing_requests == 2
    assert (config.upscale_delay_s, config.downscale_delay_s) == (2, 60)
    assert found["max_queued_requests"] == MAX_QUEUE


@pytest.mark.parametrize(("running", "expected"), [(0, 1), (3, 3), (9, 5)])
def test_a_new_version_starts_with_as_many_as_there_are(running: int, expected: int) -> None:
    found = scaling_options(scaling(min=0, max=5), running)["autoscaling_config"]
    assert found.initial_replicas == expected


def test_what_may_sleep_reports_often_enough_to_wake_soon() -> None:
    sleepy = scaling_options(scaling(min=0, max=5))["autoscaling_config"]
    steady = scaling_options(scaling(min=1, max=5))["autoscaling_config"]
    assert sleepy.metrics_interval_s < steady.metrics_interval_s < steady.look_back_period_s


@pytest.mark.parametrize("given", [None, scaling(replicas=2), scaling(min=0, max=2)])
def test_serve_takes_the_options(given: Scaling | None) -> None:
    decorate: Any = serve.deployment(name="a", **scaling_options(given))
    assert decorate(type("A", (), {})).name == "a"


@pytest.mark.parametrize(
    ("given", "let_in"),
    [
        ([], 2),
        ([None, scaling(replicas=8)], 2),
        ([scaling(max=3)], 12),
        ([scaling(max=3), scaling(min=0, max=5, target_ongoing=1.5), None], 15),
    ],
)
def test_overload_leaves_autoscaling_enough_requests_to_see(
    given: list[Scaling | None], let_in: int
) -> None:
    assert fewest_let_in(given) == let_in
