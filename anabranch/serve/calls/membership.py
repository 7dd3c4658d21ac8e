"""The running replicas of a deployment, and the addresses at which they answer calls.

Serve takes them from ``record_replica_metadata`` of each replica, once, when that is ready, and
gives them to all who follow the deployment. A replica that is to go is taken off the list before it
hears of it; one that died, once Serve has noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from ray import serve
from ray.exceptions import RayError
from ray.serve._private.common import (
    DeploymentStatus,
    DeploymentStatusInfo,
    DeploymentTargetInfo,
)
from ray.serve._private.long_poll import LongPollClient, LongPollNamespace
from ray.serve.context import _get_global_client
from ray.serve.generated import serve_pb2

from anabranch.router.addresses import Reach
from anabranch.serve.attachment import serve_name
from anabranch.serve.calls.handle import ask
from anabranch.serve.node import node_id

REACH = "reach"
"""Key of a replica's ``Reach`` in its metadata, where it is a plain tuple."""

STATUS_S = 5.0
"""Seconds within which Serve's controller says how a deployment is."""

Members: TypeAlias = Mapping[str, frozenset[str]]
"""Addresses of the running replicas, as this node sees them, each with its loaded models, where
these are multiplexed."""


_UNHEALTHY: Mapping[DeploymentStatus, bool] = {
    DeploymentStatus.UNHEALTHY: True,
    DeploymentStatus.DEPLOY_FAILED: True,
    DeploymentStatus.HEALTHY: False,
    DeploymentStatus.UPSCALING: False,
    DeploymentStatus.DOWNSCALING: False,
}


class Membership(Protocol):
    """Who runs of a deployment: the seam between calls and Serve."""

    def follow(self, apply: Callable[[Members], None]) -> None:
        """Have ``apply`` called with each new list from now on, on the running event loop."""

    async def wait(self) -> str:
        """Return the address of a running replica, once there is one.

        Raises Unavailable where too many wait, or where there will be none.
        """

    async def is_unhealthy(self) -> bool | None:
        """Return whether no replica can be kept running; None where that is not known.

        False where one runs, or where there is none on purpose.
        """

    def close(self) -> None:
        """Stop following."""


class ServeMembership:
    """The members of a deployment of an application, as Serve tells them.

    It must be made on the event loop that makes the calls; the deployment need not be there yet.
    Whoever waits does so in the queue of a Serve handle, which scales a deployment up from zero,
    and is as long as ``max_queue`` says. Errors call the deployment by ``name``.
    """

    def __init__(self, name: str, deployment: str, application: str) -> None:
        self._name = name
        self._node = node_id()
        self._handle: Any = serve.get_deployment_handle(
            deployment, serve_name(application), _check_exists=False, _record_telemetry=False
        )
        self._metadata = self._handle.record_replica_metadata
        self._polling: LongPollClient | None = None
        self._closing: asyncio.Task[None] | None = None

    def follow(self, apply: Callable[[Members], None]) -> None:
        """Have ``apply`` called with each new list from now on, on the running event loop."""
        key: Any = (LongPollNamespace.DEPLOYMENT_TARGETS, self._handle.deployment_id)
        client: Any = _get_global_client()
        polling = LongPollClient(
            client._controller,
            {key: lambda info: apply(members(info, self._node)) if polling.is_running else None},
            asyncio.get_running_loop(),
            str(key),
        )
        self._polling = polling

    async def wait(self) -> str:
        """Return the address of a running replica, once there is one.

        Raises Unavailable where too many wait, or where the application is gone.
        """
        found: Mapping[str, tuple[str, ...]] = await ask(self._name, self._metadata)
        return Reach(*found[REACH]).seen_from(self._node)

    async def is_unhealthy(self) -> bool | None:
        """Return whether Serve cannot keep a replica running; None where that is not known."""
        where = self._handle.deployment_id
        client: Any = _get_global_client()
        asked = client._controller.get_deployment_status.remote(where.name, where.app_name)
        try:
            told = await asyncio.wait_for(asked, STATUS_S)
        except (RayError, TimeoutError):
            return None
        return None if told is None else _UNHEALTHY.get(_status(told))

    def close(self) -> None:
        """Stop following, and what Serve does for a handle several times a second."""
        if self._polling is not None:
            self._polling.stop()
        self._closing = asyncio.ensure_future(self._handle.shutdown_async())


def members(info: DeploymentTargetInfo, node: str) -> Members:
    """Return the members of a list of Serve's, with their addresses for a node."""
    return {
        Reach(*one.replica_metadata[REACH]).seen_from(node): frozenset(one.multiplexed_model_ids)
        for one in info.running_replicas
        if REACH in one.replica_metadata
    }


def _status(told: bytes) -> DeploymentStatus:
    protocol: Any = serve_pb2
    message = protocol.DeploymentStatusInfo.FromString(told)
    found: Any = DeploymentStatusInfo.from_proto(message)
    return DeploymentStatus(found.status)
