"""Explainers and what they explain, for the tests of explanations."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from anabranch.components.contract import Context
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.model import ExplainedModel

STARTED = threading.Event()
RELEASE = threading.Event()


class Times:
    """Multiplies in place, as components may."""

    def __init__(self, by: float = 2.0) -> None:
        self.by = by
        self.sizes: list[int] = []

    def transform(self, x: np.ndarray) -> np.ndarray:
        self.sizes.append(len(x))
        x *= self.by
        return x


class Pair:
    """Two outputs of one input."""

    def transform(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"plus": x, "minus": -x}


class Add:
    """Adds two inputs."""

    def transform(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b


class Fail:
    """Never answers."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        raise RuntimeError("no luck")


class Why:
    """Returns what it got and what the model makes of it, which it asks twice."""

    model: ExplainedModel

    def attach(self, model: ExplainedModel) -> None:
        self.model = model

    def load(self) -> None:
        """Ask the model before the first request, as methods do that are fitted."""
        ones = {
            name: np.ones((2, *(max(size, 1) for size in spec.shape[1:])), np.float64)
            for name, spec in self.model.inputs.items()
            if spec is not None
        }
        self.fitted = self.model(ones) if len(ones) == len(self.model.inputs) else None

    def explain(self, **inputs: Any) -> dict[str, Any]:
        first, second = self.model(inputs), self.model(inputs)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
        return {"got": inputs, "made": first}


class AsyncWhy(Why):
    """The same as a coroutine."""

    async def explain(self, **inputs: Any) -> dict[str, Any]:
        return super().explain(**inputs)


class Late(Why):
    """Asks the model in requests alone."""

    def load(self) -> None:
        pass


class Picky(Why):
    """Takes no model."""

    def attach(self, model: ExplainedModel) -> None:
        raise ValueError("not this one")


class Rows(Why):
    """One explanation of the common shape for each row."""

    def explain(self, x: np.ndarray, context: Context) -> list[Explanation]:
        seed = context.parameters.get("seed", 0)
        return [
            Explanation(
                method="rows", seed=seed, attributions=row.tolist(), feature_names=("a", "b")
            )
            for row in x
        ]


class Waits(Why):
    """Waits for the test, in Python."""

    def explain(self, x: np.ndarray) -> str:
        STARTED.set()
        while not RELEASE.is_set():
            time.sleep(0.001)
        return "done"


class Sometimes(Waits):
    """Waits for requests of negative numbers only."""

    def explain(self, x: np.ndarray) -> str:
        return super().explain(x) if x.min() < 0 else "done"


class Raises(Why):
    """Knows nothing."""

    def explain(self, x: np.ndarray) -> str:
        raise RuntimeError("no idea")


class Odd(Why):
    """Returns what JSON cannot carry."""

    def explain(self, x: np.ndarray) -> object:
        return threading.Lock()
