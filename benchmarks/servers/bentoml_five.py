"""The graph as five BentoML services, one a node; the first node's service is the entry."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import bentoml
import bentoml_start
import numpy as np
from bentoml.validators import DType
from components import Double, Floats, Mean, Offset, Scale, Square

QUIET = {"access": {"enabled": False}}
Array = Annotated[np.ndarray, DType("float32")]


@bentoml.service(logging=QUIET)
class DoubleService:
    @bentoml.api
    def run(self, x: Array) -> Array:
        return Double().predict(x)


@bentoml.service(logging=QUIET)
class SquareService:
    @bentoml.api
    def run(self, x: Array) -> Array:
        return Square().predict(x)


@bentoml.service(logging=QUIET)
class MeanService:
    @bentoml.api
    def run(self, first: Array, second: Array) -> Array:
        return Mean().combine([first, second])


@bentoml.service(logging=QUIET)
class OffsetService:
    @bentoml.api
    def run(self, x: Array) -> Array:
        return Offset().transform(x)


@bentoml.service(logging=QUIET)
class Five:
    double = bentoml.depends(DoubleService)
    square = bentoml.depends(SquareService)
    mean = bentoml.depends(MeanService)
    offset = bentoml.depends(OffsetService)

    @bentoml.api
    async def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        tensor = inputs[0]
        y = await self._evaluate(np.array(tensor["data"], np.float32).reshape(tensor["shape"]))
        output = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
        return {"model_name": "five", "outputs": [output]}

    async def _evaluate(self, x: Floats) -> Floats:
        scaled = Scale().transform(x)
        first, second = await asyncio.gather(
            self.double.to_async.run(scaled), self.square.to_async.run(scaled)
        )
        mean = await self.mean.to_async.run(first=first, second=second)
        return await self.offset.to_async.run(mean)


if __name__ == "__main__":
    bentoml_start.main("bentoml_five:Five")
