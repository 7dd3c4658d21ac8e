"""How many replicas are wanted: the decision, and through Serve's own autoscaler."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID, ReplicaMetricReport, TimeStampedValue
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deployment_info import DeploymentInfo

from anabranch.serve.scaling.policy import ONGOING, REQUESTS, wanted
from anabranch.serve.scaling.scaling import scaling_options
from anabranch.specs.models import Scaling

pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field")
DEPLOYMENT = DeploymentID(name="router", app_name="digits")
REPLICA = ReplicaID(unique_id="a", deployment_id=DEPLOYMENT)
NOON = {"cron": "* * * * *", "for": "1h", "min": 3}


@pytest.mark.parametrize(
    ("ongoing", "target", "lowest", "asked", "running", "started", "expected"),
    [
        (0, 2, 0, False, 1, 1, 0),
        (0, 2, 0, True, 1, 1, 1),  # nothing in progress when it was sampled, and yet not idle
        (8, 2, 0, True, 1, 1, 4),
        (8, 2, 0, True, 3, 3, 4),
        (1, 2, 0, True, 4, 4, 1),
        (0, 2, 3, False, 1, 1, 3),
        (8, 2, 3, True, 1, 1, 4),
        (0, 2, 0, False, 0, 1, 1),  # on its way
        (0, 2, 0, False, 0, 0, 0),  # asleep
        (0, 2, 2, False, 0, 0, 2),
    ],
)
def test_the_decision(
    ongoing: float, target: float, lowest: int, asked: bool, running: int, started: int,
    expected: float,
) -> None:  # fmt: skip
    assert wanted(ongoing, target, lowest, asked, running, started) == expected


class Autoscaler:
    """Serve's autoscaler of one deployment, whose clock is that of the reports."""

    def __init__(self, **scaling: Any) -> None:
        config = scaling_options(Scaling.model_validate(scaling, strict=False))
        found: Any = DeploymentConfig(autoscaling_config=config["autoscaling_config"])
        # As Serve's controller gets it: through its message, the policy pickled.
        sent = DeploymentConfig.from_proto_bytes(found.to_proto_bytes())
        self.target = 0
        self._state = DeploymentAutoscalingState(DEPLOYMENT)
        info = DeploymentInfo(sent, None, 0, "job")  # type: ignore[arg-type]
        self.target = self._state.register(info, 0)

    def run(self, *replicas: ReplicaID) -> None:
        self._state.update_running_replica_ids(list(replicas))

    def report(self, now: float, ongoing: float, requests: float) -> None:
        values = {ONGOING: ongoing, REQUESTS: requests}
        metrics: Any = {name: [TimeStampedValue(now, value)] for name, value in values.items()}
        self._state.record_request_metrics_for_replica(
            ReplicaMetricReport(replica_id=REPLICA, timestamp=now, metrics=metrics)
        )

    def decide(self) -> int:
        self.target = self._state.get_decision_num_replicas(self.target)
        return self.target


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time on the autoscaler's clock, as the only item."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def test_serve_starts_one_and_lets_it_sleep_once_nobody_asks(clock: list[float]) -> None:
    one = Autoscaler(min=0, max=4, downscale_delay="5s")
    assert one.decide() == 1
    one.run(REPLICA)
    for second in range(20):  # a request a second, never in progress when it is sampled
        clock[0] += 1
        one.report(clock[0], 0, second)
        assert one.decide() == 1
    for _ in range(5):
        clock[0] += 1
        one.report(clock[0], 0, 19)
        assert one.decide() == 1
    clock[0] += 1
    assert one.decide() == 0


def test_requests_that_do_not_pass_serve_count(clock: list[float]) -> None:
    one = Autoscaler(max=4, target_ongoing=2, upscale_delay="0s")
    one.run(REPLICA)
    one.report(clock[0], 7, 7)
    clock[0] += 0.1
    assert one.decide() == 4


def test_the_schedule_wakes_it_and_holds_it(clock: list[float]) -> None:
    one = Autoscaler(min=0, max=4, downscale_delay="1s", schedule=[NOON])
    one.target = 0
    assert one.decide() == 3
    one.run(REPLICA)
    clock[0] += 60
    assert one.decide() == 3


def test_the_schedule_is_bounded_by_the_most(clock: list[float]) -> None:
    assert Autoscaler(min=1, max=2, schedule=[NOON | {"min": 2}]).decide() == 2
