"""Serve's list of running replicas, by its own long poll and without its controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve._private.common import (
    DeploymentID,
    DeploymentStatus,
    DeploymentStatusInfo,
    DeploymentStatusTrigger,
    DeploymentTargetInfo,
    ReplicaID,
    RunningReplicaInfo,
)
from ray.serve._private.constants import RECORD_REPLICA_METADATA_METHOD
from ray.serve._private.long_poll import LongPollNamespace, UpdatedObject
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from anabranch.errors import Unavailable
from anabranch.router.addresses import Reach
from anabranch.serve.calls import membership
from anabranch.serve.calls.membership import REACH, Members, ServeMembership, members
from anabranch.serve.replicas.answering import AnsweringReplica
from tests.waiting import eventually

DEPLOYMENT = DeploymentID(name="forest", app_name="digits.r1")
KEY = (LongPollNamespace.DEPLOYMENT_TARGETS, DEPLOYMENT)


def replica(name: str, metadata: Mapping[str, Any], *models: str) -> RunningReplicaInfo:
    return RunningReplicaInfo(
        replica_id=ReplicaID(unique_id=name, deployment_id=DEPLOYMENT),
        node_id="n",
        node_ip="10.0.0.1",
        availability_zone=None,
        actor_name=name,
        max_ongoing_requests=5,
        multiplexed_model_ids=list(models),
        replica_metadata=dict(metadata),
    )


def targets(*replicas: RunningReplicaInfo) -> DeploymentTargetInfo:
    return DeploymentTargetInfo(is_available=True, running_replicas=list(replicas))


def test_serve_asks_replicas_for_their_address_by_name() -> None:
    assert callable(getattr(AnsweringReplica, RECORD_REPLICA_METADATA_METHOD))


def test_a_list_has_addresses_and_models() -> None:
    found = members(
        targets(
            replica("a", {REACH: Reach("n1", "unix@/s/a", "10.0.0.1:80")}, "oslo", "rome"),
            replica("b", {REACH: Reach("n2", "unix@/s/b", "10.0.0.2:80"), "other": 1}),
            replica("no address", {}),
        ),
        "n1",
    )
    assert found == {"unix@/s/a": {"oslo", "rome"}, "10.0.0.2:80": frozenset()}


class Ref:
    """An answer that is not there yet."""

    def __init__(self) -> None:
        self.tell: Callable[[Any], None] = lambda updates: None

    def _on_completed(self, tell: Callable[[Any], None]) -> None:
        self.tell = tell


class DeploymentStatuses:
    """What Serve's controller says when it is asked for the status of a deployment."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.asked: list[Any] = []

    def remote(self, *where: str) -> Response:
        self.asked.append(where)
        return Response(self.answer)


class Controller:
    """Serve's controller, as a follower asks it."""

    def __init__(self) -> None:
        self.polls: list[Ref] = []
        self.listen_for_change = self
        self.get_deployment_status = DeploymentStatuses()

    def remote(self, snapshots: Mapping[Any, int]) -> Ref:
        assert set(snapshots) == {KEY}
        self.polls.append(Ref())
        return self.polls[-1]

    def tell(self, number: int, info: DeploymentTargetInfo) -> None:
        self.polls[-1].tell({KEY: UpdatedObject(info, number, 0.0)})


class Response:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.cancelled = False

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A Serve handle whose replicas say one thing."""

    deployment_id = DEPLOYMENT

    def __init__(self, answer: Any) -> None:
        self.response = Response(answer)
        self.record_replica_metadata = self
        self.shut = False

    def remote(self) -> Response:
        return self.response

    async def shutdown_async(self) -> None:
        self.shut = True


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    found = Controller()

    class Client:
        _controller = found

    monkeypatch.setattr(membership, "_get_global_client", Client)
    return found


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Handle:
    found = Handle(getattr(request, "param", None))
    monkeypatch.setattr(membership.serve, "get_deployment_handle", lambda *args, **options: found)
    return found


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def test_each_new_list_is_told_until_it_closes(controller: Controller, handle: Handle) -> None:
    told: list[Members] = []

    async def main() -> None:
        following = ServeMembership("forest", "forest", "digits.r1")
        following.follow(told.append)
        await eventually(lambda: len(controller.polls) == 1)
        controller.tell(1, targets(replica("a", {REACH: Reach(near="unix@/s/a")})))
        await eventually(lambda: len(controller.polls) == 2)
        controller.tell(2, targets())
        await eventually(lambda: len(controller.polls) == 3)
        controller.tell(3, targets(replica("b", {REACH: Reach(near="unix@/s/b")})))
        following.close()
        await eventually(lambda: handle.shut)
        assert told == [{"unix@/s/a": frozenset()}, {}]

    run(main())


@pytest.mark.parametrize("handle", [{REACH: Reach(near="unix@/s/a")}], indirect=True)
def test_who_waits_gets_the_address_of_a_replica(handle: Handle) -> None:
    async def main() -> None:
        assert await ServeMembership("forest", "forest", "digits.r1").wait() == "unix@/s/a"

    run(main())


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (BackPressureError(num_queued_requests=4, max_queued_requests=4), "has its queue full"),
        (DeploymentUnavailableError(DEPLOYMENT), "cannot answer now"),
        (ActorDiedError(), "cannot answer now"),
    ],
    indirect=["handle"],
)
def test_why_there_will_be_none(handle: Handle, reason: str) -> None:
    async def main() -> None:
        with pytest.raises(Unavailable, match=f"segment 'r2.head' {reason}"):
            await ServeMembership("r2.head", "head", "digits.r2.head").wait()

    run(main())


def test_who_waits_no_longer_is_in_no_queue(handle: Handle) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(ServeMembership("forest", "forest", "digits.r1").wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert handle.response.cancelled

    run(main())


HEALTH = {
    DeploymentStatus.UNHEALTHY: True,
    DeploymentStatus.DEPLOY_FAILED: True,
    DeploymentStatus.HEALTHY: False,
    DeploymentStatus.UPSCALING: False,
    DeploymentStatus.DOWNSCALING: False,
    DeploymentStatus.UPDATING: None,
}


def told(status: DeploymentStatus) -> bytes:
    """The answer of Serve's controller."""
    info = DeploymentStatusInfo("forest", status, DeploymentStatusTrigger.UNSPECIFIED)
    return bytes(info.to_proto().SerializeToString())


@pytest.mark.parametrize(
    ("answer", "is_unhealthy"),
    [(ActorDiedError(), None), *((told(one), HEALTH[one]) for one in DeploymentStatus)],
)
def test_how_serve_says_that_a_deployment_is(
    controller: Controller, handle: Handle, answer: Any, is_unhealthy: bool | None
) -> None:
    controller.get_deployment_status.answer = answer

    async def main() -> None:
        following = ServeMembership("forest", "forest", "digits.r1")
        assert await following.is_unhealthy() is is_unhealthy
        assert controller.get_deployment_status.asked == [("forest", "digits.r1")]

    run(main())
