"""The five nodes that every contender evaluates: the same maths everywhere, plain NumPy.

Arrays are FP32 ``[n, 4]``, in and out.
"""

from __future__ import annotations

import asyncio
import os

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Scale:
    """The first node."""

    def transform(self, x: Floats) -> Floats:
        return x / 16


class Double:
    """One branch; the node that stands alone in ``isolated.yaml``."""

    def predict(self, x: Floats) -> Floats:
        return x * 2


class Square:
    """The other branch."""

    def predict(self, x: Floats) -> Floats:
        return x * x


class Mean:
    """Joins the branches. anabranch has this built in; the other contenders use this class."""

    def combine(self, inputs: list[Floats]) -> Floats:
        first, second = inputs
        return (first + second) / 2


class Offset:
    """The last node."""

    def transform(self, x: Floats) -> Floats:
        return x + 1


class Mischief:
    """What a bad revision does: ``slow``, ``hung``, ``huge`` or ``crashing``."""

    max_concurrency = 1000

    def __init__(self, mode: str) -> None:
        self.mode = mode

    async def transform(self, x: Floats) -> Floats:
        if self.mode in ("slow", "hung"):
            await asyncio.sleep(1 if self.mode == "slow" else 3600)
        if self.mode == "crashing":
            os._exit(1)
        return np.zeros((200_000, 4), np.float32) if self.mode == "huge" else x


_scale, _double, _square, _mean, _offset = Scale(), Double(), Square(), Mean(), Offset()


def evaluate(x: Floats) -> Floats:
    """The whole graph, as a person would write it by hand."""
    scaled = _scale.transform(x)
    mean = _mean.combine([_double.predict(scaled), _square.predict(scaled)])
    return _offset.transform(mean)
