"""The graph wired by hand as Serve's documentation does: a deployment a node, default settings.

The first node's deployment is the ingress; responses are passed on without waiting for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import private_ray
from components import Double, Floats, Mean, Offset, Scale, Square
from starlette.requests import Request


class Branch:
    """One of the two branches."""

    def __init__(self, node: Double | Square) -> None:
        self._node = node

    def __call__(self, x: Floats) -> Floats:
        return self._node.predict(x)


class Join:
    """The combiner."""

    def __init__(self) -> None:
        self._node = Mean()

    def __call__(self, first: Floats, second: Floats) -> Floats:
        return self._node.combine([first, second])


class Last:
    """The last node."""

    def __init__(self) -> None:
        self._node = Offset()

    def __call__(self, x: Floats) -> Floats:
        return self._node.transform(x)


class Ingress:
    """The first node, which also knows how the others hang together."""

    def __init__(self, double: Any, square: Any, mean: Any, offset: Any) -> None:
        self._node = Scale()
        self._double, self._square, self._mean, self._offset = double, square, mean, offset

    async def __call__(self, request: Request) -> dict[str, Any]:
        tensor = (await request.json())["inputs"][0]
        x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        scaled = self._node.transform(x)
        mean = self._mean.remote(self._double.remote(scaled), self._square.remote(scaled))
        y = await self._offset.remote(mean)
        output = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
        return {"model_name": "five", "outputs": [output]}


def application() -> object:
    from ray import serve

    def deployment(name: str, cls: type) -> Any:
        # Ray only counts processors: without this, five deployments would need five.
        return serve.deployment(name=name, ray_actor_options={"num_cpus": 0})(cls)

    return deployment("scale", Ingress).bind(
        deployment("double", Branch).bind(Double()),
        deployment("square", Branch).bind(Square()),
        deployment("mean", Join).bind(),
        deployment("offset", Last).bind(),
    )


if __name__ == "__main__":
    private_ray.main(application, tuned=False)
