"""Base of the three anchor methods: a rule under which the predicted class stays the same.

Ribeiro, Singh and Guestrin: Anchors: High-Precision Model-Agnostic Explanations, AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest
from anabranch.explainers.alibi.library import library, quiet, saved
from anabranch.explainers.alibi.search import searching
from anabranch.explainers.base import ExplainerMethod
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.global_seed import seeded
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import labels, plain_label
from anabranch.specs.models import Explainer

_MOST = 1_000_000
_Number: TypeAlias = Annotated[int, Field(ge=1, le=_MOST)]
Chance: TypeAlias = Annotated[float, Field(gt=0, le=1)]
_DROPPED = frozenset({"examples", "instance", "instances"})
"""Parts of ``raw`` that are left out: drawn rows, and the row itself, which the client has."""


class Anchors(ExplainerMethod):
    """A search for the rule of each row, which starts from the seed, independent of other rows.

    ``cls`` is Alibi's class, ``make`` constructs it, and ``_search`` are arguments of its
    ``explain``. ``precision`` is that of ``_precision_samples`` fresh rows.

    Args:
        threshold: Precision that a rule must reach, 0 to 1.
        delta: Chance, 0 to 1, that a reported precision is wrong.
        tau: Margin within which the precision of a candidate is known.
        batch_size: Rows that are drawn for a candidate at a time.
        coverage_samples: Rows on which the coverage of a rule is measured.
        beam_size: Candidates that are kept in each round of the search.
        max_anchor_size: Most conditions of a rule; any number if left out.
        min_samples_start: Rows that are drawn for each candidate at first.
        precision_samples: Fresh rows on which the precision of a rule is measured; 0 reports that
            of the search.
        resample: Whether rows are drawn for each candidate by itself, which takes more calls.
    """

    cls = ""
    explainer: Any
    """Alibi's, from ``load`` on."""
    _held: Mapping[str, Array] | None = None

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        threshold: Chance = 0.95,
        delta: Chance = 0.1,
        tau: Chance = 0.15,
        batch_size: _Number = 100,
        coverage_samples: _Number = 10_000,
        beam_size: _Number = 1,
        max_anchor_size: AtLeastOne | None = None,
        min_samples_start: _Number = 100,
        precision_samples: Annotated[int, Field(ge=0, le=_MOST)] = 2000,
        resample: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._precision_samples, self._resample = precision_samples, resample
        self._search: dict[str, Any] = {
            "threshold": threshold,
            "delta": delta,
            "tau": tau,
            "batch_size": batch_size,
            "coverage_samples": coverage_samples,
            "beam_size": beam_size,
            "max_anchor_size": max_anchor_size,
            "min_samples_start": min_samples_start,
        }

    @staticmethod
    def executes_code(model: str) -> bool:
        """Return True: a saved explainer is pickled, so loading it runs code."""
        return True

    def load(self) -> None:
        """Load the fitted explainer, or make one."""
        super().load()
        self.prepare()
        if self.node.model is not None:
            self.explainer = saved(self.node, self.root, self.cls, self.predicted)
        else:
            with quiet(), unwrapped():
                self.explainer = self.make()

    def prepare(self) -> None:
        """Determine the forms of rows that the model takes."""

    def make(self) -> Any:
        """Return Alibi's explainer, ready to explain."""
        raise NotImplementedError

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the rows of a request."""
        return self.function.rows(inputs)

    def to_library(self, row: Array) -> Any:
        """Return a row in the form that Alibi takes."""
        return row

    def from_library(self, rows: Any) -> Array:
        """Return rows in the form that the model takes."""
        return np.asarray(rows)

    def predicted(self, rows: Any) -> Array:
        """Return the predicted class of each row, for Alibi."""
        if self.function.others and self._held is None:
            # Alibi tries a row when it is made, but what goes along with it no one knows yet.
            return np.zeros(len(rows), np.int64)
        return labels(self.function(self.from_library(rows), self._held))

    def found(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rule with its precision and coverage, from Alibi's data."""
        return {"rule": tuple(map(str, data["anchor"]))}

    def raw(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return Alibi's raw values without those that are left out."""
        return {name: part for name, part in raw.items() if name not in _DROPPED}

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return a rule for each row."""
        rows = self.rows(inputs)
        return [
            self._explained(context, row, self.function.held(inputs, index))
            for index, row in enumerate(rows)
        ]

    def _explained(self, context: Context, row: Array, held: Mapping[str, Array]) -> Explanation:
        self._held = held
        instance = self.to_library(row)
        with seeded(self.seed(context)), quiet(), searching(resample=self._resample) as searches:
            found = self.explainer.explain(instance, **self._search)
            precision = self._precision(searches[-1], found.data)
        data = dict(found.data)
        return self.explanation(
            context,
            target=_explained_class(data["raw"]["prediction"], target_of(context)),
            precision=precision,
            coverage=float(np.ravel(data["coverage"])[0]),
            library=plain({**data, "raw": self.raw(data["raw"])}),
            **self.found(data),
        )

    def _precision(self, search: Any, data: Mapping[str, Any]) -> float:
        """Return the precision on fresh rows, or Alibi's own where there are to be none."""
        if not self._precision_samples:
            return float(np.ravel(data["precision"])[0])
        measured: float = search.precision(self._precision_samples, self._search["batch_size"])
        return measured


def _explained_class(prediction: Any, wanted: int | None) -> int | str:
    label = plain_label(np.ravel(prediction)[0])
    if wanted is not None and wanted != label:
        raise InvalidRequest(
            f"parameter 'target' is {wanted}, but anchors explain the predicted class, {label}"
        )
    return label


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the model's error, which Alibi hides behind an error of its own."""
    exceptions = library("alibi.exceptions")
    try:
        yield
    except exceptions.PredictorCallError as error:
        raise (error.__cause__ or error) from None
