"""Brings Serve and the control plane up on a fresh Ray.

Run as ``python -m anabranch.control.engine.driver``.

Runs once per ``anabranch up``, beside the head process so that imports overlap, and leaves when
the gateway answers, and the graphs that are ready. Everything it needs comes by environment and
arguments.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from typing import TypeAlias

from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import read_token
from anabranch.client.connection.trust import PinnedContext
from anabranch.client.live import wait_live
from anabranch.control.engine.loopback import keep_loopback
from anabranch.control.settings.settings import Settings
from anabranch.control.settings.tls import in_force
from anabranch.errors import AnabranchError, EngineError
from anabranch.serve.sockets import accepts

NAMESPACE = "anabranch"
_PAUSE_S, _CONNECT_S = 0.05, 1.0


Start: TypeAlias = Callable[[str, Settings, float], None]
"""Starts an engine on the Ray at an address until a time of the monotonic clock."""


def run(start: Start) -> None:
    """Start the engine on the Ray whose address is an argument; exit 1 with the reason if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--timeout", type=float, required=True)
    options = parser.parse_args()
    try:
        start(options.address, Settings.from_env(), time.monotonic() + options.timeout)
    except AnabranchError as error:
        sys.exit(f"error: {error}")


def boot_engine(address: str, settings: Settings, deadline: float) -> None:
    """Connect to Ray at ``address``, start Serve, boot the control plane, wait for who answers."""
    from ray import serve

    keep_loopback()
    connect(address, deadline)
    serve.start(proxy_location="Disabled")
    bring_up(settings, deadline)


def bring_up(settings: Settings, deadline: float) -> None:
    """Boot the control plane on a Ray that runs Serve, and wait for who answers."""
    import ray

    from anabranch.control.engine.boot import boot

    states = boot(settings)
    wait_live(settings.url, deadline - time.monotonic())
    verify = settings.tls is not None and PinnedContext(in_force(settings.home).trusted)
    with ControlClient(settings.url, read_token(settings.home), verify=verify) as control:
        control.until_reached(*(name for name, state in states.items() if state["ready"]))
    ray.shutdown()


def connect(address: str, deadline: float) -> None:
    """Connect as soon as Ray can take a driver; its last complaint once time is up."""
    while not accepts(address, _CONNECT_S):
        if time.monotonic() > deadline:
            raise EngineError(f"Ray does not answer at {address}")
        time.sleep(_PAUSE_S)
    while True:
        try:
            _join(address)
            return
        except (ConnectionError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise EngineError(f"cannot connect to Ray at {address}: {error}") from error
            time.sleep(_PAUSE_S)


def _join(address: str) -> None:
    import ray

    level = logging.WARNING
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=level)


if __name__ == "__main__":
    run(boot_engine)
