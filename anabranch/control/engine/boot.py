"""Brings the control plane up on a Ray that already runs Serve."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray import serve

from anabranch.control.controller import start_controller
from anabranch.control.engine.tokens import ensure_token
from anabranch.control.nodes.cluster import RayCluster
from anabranch.control.nodes.faces import applications, edge
from anabranch.control.nodes.ingress import named
from anabranch.control.nodes.shared import LOOPBACK
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError
from anabranch.router.backend import GraphState
from anabranch.serve.attachment import serve_name
from anabranch.serve.replicas.edge import READY_S

_SETTLE_S, _ACTOR_TIMEOUT = 60.0, 60.0


def boot(settings: Settings) -> dict[str, GraphState]:
    """Start the controller, the gateway and gRPC's front; wait until the store's graphs are back.

    Waits a minute at most and returns how each graph is doing; those that are
    not ready are still being worked on. Raises EngineError if one of them does not come up.
    Harmless where all run.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    ensure_token(settings.token_file)
    controller: Any = start_controller(settings)
    settled = controller.settle.remote(_SETTLE_S)
    _start_faces(settings)
    try:
        states: dict[str, GraphState] = ray.get(settled, timeout=_SETTLE_S + _ACTOR_TIMEOUT)
    except ray.exceptions.RayError as error:
        raise EngineError(f"the controller does not start: {_cause(error)}") from None
    return states


def _start_faces(settings: Settings) -> None:
    """Start what answers for no single graph on this machine, which is the head's."""
    head = next(one for one in RayCluster().look().nodes if one.is_here and one.is_head)
    apps = applications(settings, head, loopback=os.environ.get(LOOPBACK) == "1")
    targets = [
        serve.RunTarget(build(), serve_name(named(kind, head)), route_prefix=None)
        for kind, build in apps.items()
    ]
    try:
        in_front = edge(settings, head)
        if in_front is not None:
            ray.get(in_front.ready.remote(), timeout=READY_S)
        serve.run_many(targets)
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise EngineError(f"the gateway does not start: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause).strip().splitlines()[-1]
