"""A Ray of one's own with Serve on it, for hand-written contenders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from script import HOST, Arguments, arguments, free_port, sleep_until_stopped, stoppable

from anabranch.control.engine import flags, haproxy, ports
from anabranch.control.engine.loopback import keep_loopback
from anabranch.control.engine.tokens import ensure_token

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
    os.environ |= flags.base_environment(os.environ[flags.MARK], block, True, ray_token)
    if tuned:
        os.environ |= flags.serve_environment(block) | _proxy(block, folder)


def _proxy(block: ports.PortBlock, folder: Path) -> dict[str, str]:
    binary = flags.haproxy_binary()
    if binary is None or flags.haproxy_problem(binary, folder) is not None:
        return flags.plain_proxy_environment()
    launcher = haproxy.write_launcher(folder, binary, block)
    return flags.haproxy_environment(folder, launcher, block)
