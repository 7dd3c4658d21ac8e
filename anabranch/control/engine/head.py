"""The head process of an engine: ``python -m anabranch.control.engine.head start --head …``.

Runs Ray's own command line, without the Ray Client server: it would be one more open port and
one more process to start, and nothing uses it. Workers are started by our launcher, and Ray's
dashboard agent by our script.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anabranch.control.engine.loopback import keep_loopback
from anabranch.control.engine.supervision.supervisor import options
from anabranch.serve.workers import agent, launcher

RAYLET_S = 90.0
"""Time in seconds that a raylet has to register, which it does once its agents have started; Ray
itself gives up after 30 s, in which a busy machine does not import all that they need."""
_PAUSE_S = 0.1
_PYTHON = "_build_python_executable_command_memory_profileable"
"""Ray's function that returns how Python is started for one of Ray's processes."""
_AGENT_PORT = "--dashboard-agent-listen-port"


def main() -> None:
    """Run ``ray`` with the arguments of this process."""
    if launcher.ZYGOTE in os.environ:
        launcher.start_zygote(str(os.getpid()), launcher.FIRST_JOB)
        _start_workers_by_launcher()
    from ray._private import node
    from ray.scripts import scripts

    from anabranch.control.engine.supervision.node import MendingNode

    keep_loopback()
    wait_for_raylet()
    _start_agent_by_our_script()
    _tell_raylet_of_its_agent(sys.argv[1:])
    # Ray starts the server wherever its dependencies are installed; there is no flag against it.
    vars(scripts)["get_ray_client_dependency_error"] = lambda: ImportError("not wanted")
    vars(node)["Node"] = MendingNode
    ray_command: Callable[[], None] = scripts.main
    ray_command()


def wait_for_raylet() -> None:
    """Have Ray's start wait for the machine's raylet as long as ``RAYLET_S`` says."""
    from ray._private import services

    find: Callable[..., Any] = vars(services)["get_node"]

    def found(gcs_address: str, node_id: str) -> Any:
        ends = time.monotonic() + RAYLET_S
        while True:
            try:
                return find(gcs_address, node_id)
            except RuntimeError:
                if time.monotonic() > ends:
                    raise
            time.sleep(_PAUSE_S)

    vars(services)["get_node"] = found


def _start_workers_by_launcher() -> None:
    """Ray joins this name to a folder, and a path that starts at the root stays what it is."""
    from ray._private import ray_constants
    from ray._private.workers import __path__ as workers

    script = Path(next(iter(workers))) / ray_constants.SETUP_WORKER_FILENAME
    os.environ[launcher.ORDINARY] = str(script)
    vars(ray_constants)["SETUP_WORKER_FILENAME"] = launcher.__file__


def _start_agent_by_our_script() -> None:
    """Put our script before Ray's own in the command of the agent, which Ray's daemon runs."""
    from ray._private import ray_constants, services

    python: Callable[..., list[str]] = vars(services)[_PYTHON]

    def command(component: str, *arguments: Any, **options: Any) -> list[str]:
        words = python(component, *arguments, **options)
        is_agent = component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT
        return [*words, agent.__file__] if is_agent else words

    vars(services)[_PYTHON] = command


def _tell_raylet_of_its_agent(arguments: Sequence[str]) -> None:
    """Give the raylet the port of its dashboard agent, which Ray tells the agent alone.

    Without it the raylet waits for a file that the agent writes, for 15 s and no longer. To start
    the agent takes longer on a busy machine.
    """
    from ray._private import ray_constants, services

    port = options(arguments)[_AGENT_PORT]
    start: Callable[..., Any] = services.start_ray_process

    def started(command: Sequence[str], kind: str, *more: Any, **others: Any) -> Any:
        is_raylet = kind == ray_constants.PROCESS_TYPE_RAYLET
        told = [f"--dashboard_agent_listen_port={port}"] if is_raylet else []
        return start([*command, *told], kind, *more, **others)

    vars(services)["start_ray_process"] = started


if __name__ == "__main__":
    main()
