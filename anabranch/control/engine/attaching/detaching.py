"""Removes an engine from a Ray that somebody else has started: ``python -m`` with this module, the
address of that Ray and the engine's id.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.serve.context import _get_global_client
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from anabranch.control.engine import processes
from anabranch.control.engine.runtime import remove_runtime
from anabranch.control.nodes.ingress import AGENT
from anabranch.control.reconcile.serving import alive_nodes
from anabranch.errors import AnabranchError, EngineError
from anabranch.serve import bound_actors
from anabranch.serve.attached.entry import Places
from anabranch.serve.attachment import PREFIX
from anabranch.serve.calls.controller import ACTOR, NAMESPACE
from anabranch.serve.replicas.edge import EDGE_ACTOR
from anabranch.serve.sockets import accepts

_CONNECT_S, _MACHINE_S = 5.0, 60.0


def main(arguments: Sequence[str]) -> None:
    """Remove the engine of an id from the Ray at an address; exit 1 with the reason if not."""
    address, engine = arguments
    try:
        if accepts(address, _CONNECT_S):
            remove(address, engine)
    except AnabranchError as error:
        sys.exit(f"error: {error}")


def remove(address: str, engine: str) -> None:
    """Remove the engine's actors and applications, then its place on each machine.

    The controller goes first, since it starts anew what is missing; then edges, so that no client
    is sent to a router that ends.
    """
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"the engine cannot be removed from the Ray at {address}, which this machine cannot"
            f" use now: {reason}; if Ray has ended here alone, `ray start --address {address}`"
            " starts it again"
        ) from None
    places = Places.at(address)
    if engine not in places.all():
        return  # another engine may be there
    bound_actors.stop(ACTOR, last="alive")
    for name in bound_actors.actors():
        if name.startswith((EDGE_ACTOR, AGENT)):
            bound_actors.stop(name, last="close")
    _delete_applications()
    folder = places.get(engine).folder
    _clear_machines(engine, folder)
    places.remove(engine)


def _delete_applications() -> None:
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    own = [name for name in client.get_serve_details()["applications"] if name.startswith(PREFIX)]
    try:
        client.delete_apps(own)
    except TimeoutError as error:
        raise EngineError(f"Ray Serve does not end the engine's applications: {error}") from None


def _clear_machines(engine: str, folder: str) -> None:
    """Have each machine remove the engine's place; what does not answer is left alone."""
    work: Any = ray.remote(num_cpus=0, max_retries=0)(clear)
    tasks = [
        work.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            engine, folder
        )
        for node in alive_nodes()
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=_MACHINE_S)


def clear(engine: str, folder: str) -> None:
    """Remove what an engine has on this machine: processes that are left, and its folder."""
    processes.kill(engine, Path(folder))
    remove_runtime(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
