"""Methods that explain the model as a whole over a sample, whatever rows a request has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import Context
from anabranch.errors import Mistake
from anabranch.explainers.alibi.library import quiet
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import target
from anabranch.explainers.tabular import Tabular, needs_data, no_model
from anabranch.specs.models import Explainer

MOST = 4_000_000
"""Most numbers in the rows of one call of the model."""


class Whole(Tabular):
    """A method whose result is computed once, when it is loaded.

    Args:
        features: Names of the explained features; all features if left out.
    """

    def __init__(
        self, node: Explainer, root: Path, *, features: list[str] | None = None, **common: Any
    ) -> None:
        super().__init__(node, root, **common)
        self._features = features

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a missing sample, and a saved explainer, which the method does not have."""
        yield from needs_data(node)
        yield from no_model(node)

    def load(self) -> None:
        """Read the sample and compute the result."""
        super().load()
        self.sample = self.read()
        self._chosen = self.indices(self._features or self.names)
        with self.progress.work(f"{self.node.method} over {len(self.sample.x)} rows"):
            self.find()

    def find(self) -> None:
        """Compute the result and keep it."""
        raise NotImplementedError

    @property
    def chosen(self) -> list[int]:
        """The indices of the explained features."""
        return self._chosen

    @property
    def chosen_names(self) -> tuple[str, ...]:
        """The names of the explained features."""
        return tuple(self.names[index] for index in self._chosen)


class Curves(Whole):
    """A method that has something to say of each target of the model.

    Unless a request names one, it is the class that has the highest score over all of the sample.
    """

    data: Mapping[str, Any]
    """Alibi's."""

    def find(self) -> None:
        """Compute the result by Alibi."""
        self._mean = self.scores(self.sample.x).mean(axis=0)
        with quiet():
            self.data = self.compute().data
        self._plain = plain(dict(self.data))

    def compute(self) -> Any:
        """Return Alibi's explanation."""
        raise NotImplementedError

    def of_target(self, chosen: int) -> dict[str, Any]:
        """Return the fields of an explanation for a target."""
        raise NotImplementedError

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return one explanation of the model as a whole."""
        chosen = target(self._mean, target_of(context))
        name = chosen if len(self._mean) > 1 else self.function.output
        fields = self.of_target(chosen)
        return [self.explanation(context, target=name, library=self._plain, **fields)]


def together(predictor: Any, grid: Array, features: Array, x: Array) -> tuple[Array, Array]:
    """Return partial dependence and individual expectations as Alibi does, in few calls.

    Alibi calls the model for each point of the grid (``PartialDependence._compute_pd``). ``x`` is
    [rows, features], ``grid`` [points, chosen features]; the results are [targets, points] and
    [targets, rows, points].
    """
    most = max(1, MOST // x.size)
    parts = [
        _answers(predictor, grid[start : start + most], features, x)
        for start in range(0, len(grid), most)
    ]
    answers = np.concatenate(parts)
    means = np.array([np.mean(one, axis=0) for one in answers])
    return means.T, answers.T


def _answers(predictor: Any, grid: Array, features: Array, x: Array) -> Array:
    rows = np.tile(x, (len(grid), 1))
    rows[:, features] = np.repeat(grid, len(x), axis=0)
    answers: Array = np.asarray(predictor(rows))
    return answers.reshape(len(grid), len(x), -1)
