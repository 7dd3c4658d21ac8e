"""The same component by hand on Ray Serve, with Serve's own defaults but for what lets it sleep."""

from __future__ import annotations

import json
import os
from typing import Any

import private_ray


class Sleepy:
    """Loads the component, and answers a list of numbers by another."""

    def __init__(self, component: str, notes: str) -> None:
        import sleepy

        self._component = getattr(sleepy, component)(notes)
        self._component.load()

    async def __call__(self, request: Any) -> Any:
        import numpy as np

        tensor = json.loads(await request.body())["inputs"][0]["data"]
        return self._component.transform(np.array([tensor], dtype=np.float32)).tolist()


def application() -> object:
    from ray import serve

    auto = {
        "min_replicas": 0, "initial_replicas": 1, "max_replicas": 1, "downscale_delay_s": 1
    }  # fmt: skip
    deployment: Any = serve.deployment(Sleepy, name="sleepy", autoscaling_config=auto)
    return deployment.bind(os.environ["SLEEPY"], os.environ["SLEEPY_NOTES"])


if __name__ == "__main__":
    private_ray.main(application, tuned=False)
