"""Brings the control plane up on a Ray that already runs Serve."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import ray
from ray import serve

from anabranch.control.controller import start_controller
from anabranch.control.flags import LOOPBACK
from anabranch.control.front import FRONT_APP, front_app
from anabranch.control.gateway import GATEWAY_APP, gateway_app
from anabranch.control.settings import Settings
from anabranch.errors import EngineError
from anabranch.router.gateway import GraphState
from anabranch.router.limits import Limits

_ACTOR_TIMEOUT = 60.0


def boot(settings: Settings, settle_timeout: float = 60.0) -> dict[str, GraphState]:
    """Start the controller, the gateway and gRPC's front; wait until the store's graphs are back.

    Waits at most ``settle_timeout`` seconds and returns how each graph is doing; those that are
    not ready are still being worked on. Raises EngineError if one of them does not come up.
    Harmless where all run.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    token = ensure_token(settings.token_file)
    controller: Any = start_controller(settings)
    settled = controller.settle.remote(settle_timeout)
    _start_faces(settings, token)
    try:
        states: dict[str, GraphState] = ray.get(settled, timeout=settle_timeout + _ACTOR_TIMEOUT)
    except ray.exceptions.RayError as error:
        raise EngineError(f"the controller does not start: {_cause(error)}") from None
    return states


def ensure_token(path: Path) -> str:
    """The token in the file at ``path``, made where it is missing; only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        token = path.read_text().strip()
        if not token:
            raise EngineError(
                f"the token file {path} is empty; remove it to get a new one"
            ) from None
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as stream:
        stream.write(token + "\n")
    return token


def _start_faces(settings: Settings, token: str) -> None:
    """Start what answers for no single graph, over HTTP and over gRPC."""
    limits = Limits(max_body=settings.max_body)
    gateway = gateway_app(
        token, limits, settings.max_bundle, loopback=os.environ.get(LOOPBACK) == "1"
    )
    front = front_app(token, settings.http_host, settings.grpc_port, limits)
    targets = [
        serve.RunTarget(gateway, GATEWAY_APP, "/"),
        serve.RunTarget(front, FRONT_APP, None),
    ]
    try:
        serve.run_many(targets)
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise EngineError(f"the gateway does not start: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause).strip().splitlines()[-1]
