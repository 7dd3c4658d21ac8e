"""A hand-written Serve deployment that asks a second one for one node, through a handle."""

from __future__ import annotations

from typing import Any

import private_ray
from components import Double, Floats, Mean, Offset, Scale, Square
from handmade import App


class Remote:
    """The node that stands alone."""

    def __init__(self) -> None:
        self._node = Double()

    async def predict(self, x: Floats) -> Floats:
        return self._node.predict(x)


class Ingress:
    """Everything else."""

    def __init__(self, double: Any) -> None:
        self._scale, self._square, self._mean, self._offset = Scale(), Square(), Mean(), Offset()
        self._double = double

    def __serve_build_asgi_app__(self) -> App:
        """Serve's hook for an application that is made in the replica."""
        return App(self._evaluate)

    async def _evaluate(self, x: Floats) -> Floats:
        scaled = self._scale.transform(x)
        double = self._double.predict.remote(scaled)
        square = self._square.predict(scaled)
        return self._offset.transform(self._mean.combine([await double, square]))


def application() -> object:
    from ray import serve

    remote = private_ray.tuned_deployment("double", Remote).bind()
    return private_ray.tuned_deployment("five", serve.ingress()(Ingress)).bind(remote)


if __name__ == "__main__":
    private_ray.main(application, tuned=True)
