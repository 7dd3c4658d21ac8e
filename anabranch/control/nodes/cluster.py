"""The cluster that an engine runs on, asked of Ray's GCS by a process of the engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import _raylet
from ray._common.usage.usage_constants import KUBERAY_ENV
from ray._private import ray_constants
from ray.core.generated import autoscaler_pb2

from anabranch.control.nodes.node import ClusterLook, Demand, Node, State
from anabranch.errors import Conflict, Unavailable
from anabranch.serve.attachment import home_node, is_attached

T = TypeVar("T")

_RAYLET: Any = _raylet
_MESSAGES: Any = autoscaler_pb2
_TIMEOUT_S = 5.0
_REPORT = ray_constants.DEBUG_AUTOSCALING_STATUS.encode()
"""Key of the first autoscaler's last report, JSON."""
_NO_TYPE = "node_"
_DEAD = 1
"""GcsNodeInfo.DEAD of gcs.proto."""
_NOT_IN = 2
"""LABEL_OPERATOR_NOT_IN of common.proto."""
_ENDS: Mapping[str, State] = {
    "EXPECTED_TERMINATION": "left",
    "AUTOSCALER_DRAIN_IDLE": "drained",
    "AUTOSCALER_DRAIN_PREEMPTED": "drained",
}
"""Reasons of NodeDeathInfo of gcs.proto; by all others a machine is lost."""


def log_folder() -> Path:
    """The folder in which Ray keeps the logs of this machine's processes.

    Unavailable in a process that is not connected to Ray.
    """
    node: Any = ray._private.worker._global_node
    if node is None:
        raise Unavailable("this process is not connected to Ray")
    return Path(node.get_logs_dir_path())


class RayCluster:
    """Asks the GCS of the Ray that this process is a part of.

    Methods block for seconds, and raise Unavailable where it does not answer. With ``may_grow``
    machines may be added by somebody whom Ray does not know.
    """

    def __init__(self, may_grow: bool = False) -> None:
        self._client: Any = None
        self._may_grow = may_grow

    def address(self) -> str:
        """Where other machines reach the GCS: host:port."""
        if not ray.is_initialized():  # what is asked next would start a Ray
            raise Unavailable("this process is not connected to Ray")
        return str(ray.get_runtime_context().gcs_address)

    def look(self) -> ClusterLook:
        """All machines, and what waits for resources."""
        known = self._ask(lambda gcs: gcs.get_all_node_info(timeout=_TIMEOUT_S))
        reply = _MESSAGES.GetClusterResourceStateReply()
        reply.ParseFromString(self._ask(lambda gcs: gcs.get_cluster_resource_state()))
        state = reply.cluster_resource_state
        draining = self._ask(lambda gcs: gcs.get_draining_nodes(timeout=_TIMEOUT_S))
        nodes = _nodes(known.values(), state, draining)
        is_autoscaled = self._is_autoscaled(state)
        may_grow = self._may_grow or is_autoscaled
        return ClusterLook(tuple(nodes), tuple(_demands(state)), may_grow, is_autoscaled)

    def _is_autoscaled(self, state: Any) -> bool:
        """Whether Ray's autoscaler may start machines; a Ray of the engine's own has none.

        It runs on clusters without machines to add too, and then calls the type of each machine
        "node_" and its id (``format_readonly_node_type`` of ray/autoscaler/_private/util.py). The
        first autoscaler tells types in its report, the second one in the state of machines: there
        KubeRay tells the groups of its pods, whether there is an autoscaler or not.
        """
        if not is_attached():
            return False
        told = self._ask(lambda gcs: gcs.internal_kv_get(_REPORT, None, timeout=_TIMEOUT_S))
        report = json.loads(told or b"{}").get("autoscaler_report") or {}
        types = {*(report.get("active_nodes") or ()), *(report.get("idle_nodes") or ())}
        if KUBERAY_ENV not in os.environ:
            types |= {one.ray_node_type_name for one in state.node_states} - {""}
        return any(not name.startswith(_NO_TYPE) for name in types)

    def drain(self, node: str, why: str) -> None:
        """Have replicas moved from the machine of an id, which ends then. Conflict if refused.

        Of Ray's two reasons this is the one that a machine with work to do cannot refuse.
        """
        reason = _MESSAGES.DRAIN_NODE_REASON_PREEMPTION
        accepted, problem = self._ask(
            lambda gcs: gcs.drain_node(node, reason, why, 0, timeout=_TIMEOUT_S)
        )
        if not accepted:
            raise Conflict(f"the machine cannot be drained: {problem}")

    def _ask(self, question: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                self._client = _RAYLET.GcsClient(address=self.address())
            return question(self._client)
        except ray.exceptions.RayError as error:
            raise Unavailable(f"Ray's GCS does not answer: {error}") from None


def _nodes(known: Any, state: Any, draining: Mapping[str, int]) -> Iterator[Node]:
    """Yield the machines; ``draining`` are Unix times in ms by id, 0 where there is no deadline."""
    states = {one.node_id: one for one in state.node_states}
    home = home_node()
    for info in known:
        found = states.get(info.node_id)
        yield Node(
            id=info.node_id.hex(),
            name=info.node_name,
            address=info.node_manager_address,
            is_head=info.node_id.hex() == home if home else info.is_head_node,
            state=_state(info, found),
            since=info.start_time_ms / 1000,
            until=info.end_time_ms / 1000 if info.state == _DEAD else None,
            total=dict(info.resources_total),
            available={} if found is None else dict(found.available_resources),
            labels=dict(info.labels),
            deadline=draining.get(info.node_id.hex(), 0) / 1000 or None,
        )


def _state(info: Any, found: Any) -> State:
    if info.state == _DEAD:
        return _ENDS.get(info.death_info.Reason.Name(info.death_info.reason), "lost")
    return (
        "draining"
        if found is not None and found.status == _MESSAGES.NodeStatus.DRAINING
        else "alive"
    )


def _demands(state: Any) -> Iterator[Demand]:
    for one in state.pending_resource_requests:
        yield _demand(one.request, one.count)
    for group in state.pending_gang_resource_requests:
        for request in group.requests:
            yield _demand(request, 1)


def _demand(request: Any, count: int) -> Demand:
    return Demand(dict(request.resources_bundle), count, _labels(request))


def _labels(request: Any) -> dict[str, str]:
    """The labels that a machine must have, as selectors of Ray: ``a``, ``in(a,b)``, ``!a``."""
    return {
        one.label_key: _selector(one)
        for selector in request.label_selectors
        for one in selector.label_constraints
    }


def _selector(constraint: Any) -> str:
    values = ",".join(constraint.label_values)
    prefix = "!" if constraint.operator == _NOT_IN else ""
    return f"{prefix}in({values})" if len(constraint.label_values) > 1 else f"{prefix}{values}"
