"""Brings the control plane up on a Ray that already runs Serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from ray import serve

from anabranch.control.controller import start_controller
from anabranch.control.engine.tokens import ensure_token
from anabranch.control.nodes.shared import EDGE, LOOPBACK
from anabranch.control.settings.settings import Settings
from anabranch.control.settings.tls import in_force
from anabranch.errors import EngineError
from anabranch.router.backend import GraphState
from anabranch.router.limits import RequestLimits
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.replicas.edge import SecuredEdge, start_edge
from anabranch.serve.replicas.front import FRONT_APP, front_app
from anabranch.serve.replicas.gateway import GATEWAY_APP, gateway_app

_ACTOR_TIMEOUT = 60.0


def boot(settings: Settings, settle_timeout: float = 60.0) -> dict[str, GraphState]:
    """Start the controller, the gateway and gRPC's front; wait until the store's graphs are back.

    Waits at most ``settle_timeout`` seconds and returns how each graph is doing; those that are
    not ready are still being worked on. Raises EngineError if one of them does not come up.
    Harmless where all run.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    ensure_token(settings.token_file)
    controller: Any = start_controller(settings)
    settled = controller.settle.remote(settle_timeout)
    _start_faces(settings)
    try:
        states: dict[str, GraphState] = ray.get(settled, timeout=settle_timeout + _ACTOR_TIMEOUT)
    except ray.exceptions.RayError as error:
        raise EngineError(f"the controller does not start: {_cause(error)}") from None
    return states


def _start_faces(settings: Settings) -> None:
    """Start what answers for no single graph, over HTTP and over gRPC, and the edge before it."""
    limits = RequestLimits.for_body(settings.max_body)
    binary = os.environ.get(EDGE)
    address = EdgeAddress(settings.http_host, settings.http_port, settings.grpc_port)
    http, grpc = (address.host, address.http), (address.host, address.grpc)
    # Where even callers on this machine need keys, so do those who read.
    loopback = os.environ.get(LOOPBACK) == "1" and bool(settings.anonymous)
    gateway = gateway_app(limits, settings.max_bundle, loopback, None if binary else http)
    front = front_app(limits, None if binary else grpc)
    targets = [
        serve.RunTarget(gateway, GATEWAY_APP, route_prefix=None),
        serve.RunTarget(front, FRONT_APP, route_prefix=None),
    ]
    try:
        if binary:
            tls = settings.tls
            secured = None if tls is None else SecuredEdge(tls, in_force(settings.home, tls))
            start_edge(Path(binary), address, settings.connections, secured)
        serve.run_many(targets)
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise EngineError(f"the gateway does not start: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause).strip().splitlines()[-1]
