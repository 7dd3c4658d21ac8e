"""A Ray of one's own with Serve on it, for hand-written contenders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from script import HOST, Arguments, arguments, free_port, sleep_until_stopped, stoppable

from anabranch.control.engine import flags, ports
from anabranch.control.engine.loopback import keep_loopback
from anabranch.control.engine.tokens import ensure_token
from anabranch.serve.edge.binary import haproxy_binary, haproxy_problem
from anabranch.serve.workers.environment import MARK

OBJECT_STORE = 512 * 2**20


def main(application: Callable[[], Any], *, tuned: bool) -> None:
    """Serve ``application()`` until stopped; ``tuned`` with the flags that anabranch sets."""
    told = arguments()
    with stoppable(), _ray(told, tuned):
        from ray import serve

        serve.start(http_options={"host": HOST, "port": told.port})
        serve.run(application(), route_prefix="/")
        sleep_until_stopped()


def tuned_deployment(name: str, cls: type) -> Any:
    """``cls`` as a deployment that is as light as anabranch's own."""
    from ray import serve

    return serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=100_000,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )(cls)


@contextmanager
def _ray(told: Arguments, tuned: bool) -> Iterator[None]:
    """Ray with its files in the folder, as open to the world and as busy as anabranch's own."""
    block = ports.claim(str(told.folder))
    _set_environment(block, told.folder, tuned)
    import ray

    keep_loopback()
    ray.init(
        _temp_dir=str(told.folder / "ray"),
        _node_ip_address=HOST,
        include_dashboard=True,
        dashboard_host=HOST,
        dashboard_port=free_port(),
        object_store_memory=OBJECT_STORE,
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
        block.guard.close()


def _set_environment(block: ports.PortBlock, folder: Path, tuned: bool) -> None:
    """Serve reads its flags when it is imported, here and in every process that starts later."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    ray_token = folder / "ray-token"
    ensure_token(ray_token)
    os.environ |= flags.base_environment(os.environ[MARK], block, True, ray_token)
    if tuned:
        os.environ |= _tuned(folder)


def _tuned(folder: Path) -> dict[str, str]:
    """Serve's flags for speed, and its own HAProxy in front with all its files in the folder."""
    found = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    binary = haproxy_binary()
    if binary is None or haproxy_problem(binary) is not None:
        return found | {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}
    return found | {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": binary,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
    }
