"""Environment variables that an engine sets for all its Ray processes, on each of its machines.

Ray Serve reads its flags when it is imported, so they must be there before any process starts.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import anabranch
from anabranch.client.connection.login import TOKEN
from anabranch.control.engine.ports import PortBlock
from anabranch.control.nodes.shared import GCS_STORAGE, LOOPBACK
from anabranch.router.between_nodes import NODE_TLS
from anabranch.serve.sockets import EDGE, FOLDER
from anabranch.serve.workers.environment import MARK
from anabranch.serve.workers.launcher import HOOK, MODULES, ZYGOTE

LONGEST_FOLDER = 25
"""Longest runtime folder for which Ray's sockets fit into the 107 bytes of a socket's path."""
_LOOPBACK_HOOK = "anabranch.control.engine.loopback.keep_loopback"
_MODULES = (
    "anabranch.control.engine.loopback",
    "anabranch.control.controller",  # with the handle of an actor comes its class
)
FOREIGN = (
    NODE_TLS,
    TOKEN,  # a key of whoever starts the engine, which components would see
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",  # Ray reads it before the file of this engine
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_TMPDIR",
)
"""Variables of another Ray or engine, which an engine does not take over."""

_SEVERAL_MACHINES = {
    # A machine that does not answer is lost after 33 to 40 s, else after 65 s. A network that is
    # away for 20 s loses none.
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "5",
    # Until a worker calls Ray: it may install requirements first.
    "RAY_worker_register_timeout_seconds": "900",
}
"""What is otherwise on engines that other machines may join. Whoever sets it is heard."""


def base_environment(
    engine_id: str, block: PortBlock, loopback: bool, ray_token: Path
) -> dict[str, str]:
    """The caller's environment, with the variables that make Ray private, quiet and quick to stop.

    Every server of Ray asks for the token in the file ``ray_token``: whoever reaches one of them
    could run code as the engine otherwise.
    """
    env = {} if loopback else dict(_SEVERAL_MACHINES)
    env |= {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return env | {
        MARK: engine_id,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(ray_token),
        LOOPBACK: "1" if loopback else "0",
        # Off, 127.0.0.1 stays what it is in the dashboard's processes too, which call no hook.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if loopback else "1",
        "PYTHONPATH": python_path(env),
        HOOK: _LOOPBACK_HOOK,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray's workers step back for all other processes of the machine. Here they are the service.
        "RAY_worker_niceness": "0",
        "DASHBOARD_METRIC_PORT": str(block.fixed["dashboard_metrics"]),
        # A raylet without its agents ends after that. They are slow to start on a busy machine.
        "RAY_agent_register_timeout_ms": "120000",
        # What every process does for Ray's own statistics, though nothing happens in it.
        "RAY_event_stats": "0",
        "RAY_task_events_report_interval_ms": "10000",
        # Unpacked bundles that no process uses any more; Ray keeps ten times as much.
        "RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB": "1",
    }


def serve_environment() -> dict[str, str]:
    """Flags of Serve, of which the engine uses the replicas and no proxy."""
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The flag before would switch it on; it gives replicas ports that nothing asks.
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        # Without it Serve turns what components print into records of its own log, at a level
        # that replicas leave out.
        "RAY_SERVE_LOG_TO_STDERR": "1",
        # Every replica adds up Serve's own metrics so often, also where nobody asks it.
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
        # Ray's agent keeps each histogram of each replica there ever was: few labels and buckets.
        "RAY_SERVE_CONTROLLER_METRICS_INCLUDE_HIGH_CARDINALITY_TAGS": "0",
        "RAY_SERVE_COMPACT_LONG_POLL_METRIC_TAGS": "1",
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "10,100,1000,10000",
        "RAY_SERVE_REPLICA_STARTUP_SHUTDOWN_LATENCY_BUCKETS_MS": "100,1000,10000",
    }


def gcs_environment(runtime: Path) -> dict[str, str]:
    """Where Ray's GCS keeps its tables, so that another one can take its place.

    All others wait for it as long as their supervisor does, and go on serving.
    """
    return {
        "RAY_gcs_storage": "rocksdb",
        GCS_STORAGE: str(runtime / "gcs"),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
    }


def zygote_environment(runtime: Path) -> dict[str, str]:
    """Where replicas are forked from; elsewhere forking is not safe for all libraries."""
    if sys.platform != "linux":
        return {}
    return {
        ZYGOTE: str(runtime / "zygote.sock"),
        MODULES: ",".join(_MODULES),
        # Workers that wait for a job cannot be forks, and are slower to start than these.
        "RAY_prestart_worker_first_driver": "0",
    }


def edge_environment(sockets: Path, binary: str | None) -> dict[str, str]:
    """The HAProxy of the edge, or None, and the folder of the sockets behind it."""
    return {EDGE: binary or "", FOLDER: str(sockets)}


def python_path(env: Mapping[str, str]) -> str:
    """PYTHONPATH under which the engine's processes import this very package."""
    root = str(Path(anabranch.__file__).parents[1])
    known = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    if root == sysconfig.get_path("purelib") or root in known:
        return os.pathsep.join(known)
    return os.pathsep.join([*known, root])
