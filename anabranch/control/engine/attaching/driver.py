"""Brings an engine up on a Ray that somebody else has started: ``python -m`` with this module.

Runs once for each start, as ``engine.driver`` does on a Ray of the engine's own.
"""

from __future__ import annotations

import os

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine.attaching.environment import place
from anabranch.control.engine.driver import bring_up, connect, run
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError
from anabranch.serve.attached.entry import Places
from anabranch.serve.attachment import HOME_NODE


def attach(address: str, settings: Settings, deadline: float) -> None:
    """Connect to the Ray at ``address``, and boot the control plane on it."""
    import ray
    from ray import serve
    from ray.serve.context import _get_global_client

    state = read_state(settings.home)
    if state is None:
        raise EngineError(f"no engine is being started in {settings.home}")
    connect(address, deadline)
    os.environ[HOME_NODE] = ray.get_runtime_context().get_node_id()
    Places.at(address).put(state.id, place(os.environ, state, settings.home))
    if _get_global_client(raise_if_no_controller_running=False) is None:
        serve.start(proxy_location="Disabled")
    bring_up(settings, deadline)


if __name__ == "__main__":
    run(attach)
