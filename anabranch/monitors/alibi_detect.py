"""Drift detectors of alibi-detect, by which further tests come in.

Those that judge by p-values of single features are here; the correction for features and windows is
the one that all methods share. What gets its p-values by permutations, such as MMD, cannot: a
thousand permutations give none below 1/1000, where the tenth window needs 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.monitors.base import Comparing, Finding, unlike
from anabranch.monitors.statistics import LEAST_LOG_P
from anabranch.monitors.table import Array, Table

_NOTE = "its licence is the Business Source License 1.1"


@register("monitor", "alibi_detect")
class AlibiDetect(Comparing):
    """A detector: ``cvm`` is the test of Cramér and von Mises, for numbers; ``fet`` Fisher's exact
    test, for features of 0 and 1.

    The test of Cramér and von Mises is one of ranks, for numbers of which no two are equal. Equal
    numbers get their ranks by chance, the same for the same windows, which keeps its rate of
    false alarms; with the mean of their ranks it would take each window for drift.

    Args:
        detector: ``cvm`` for numbers, ``fet`` for features of 0 and 1.
    """

    def __init__(self, *, detector: Literal["cvm", "fet"] = "cvm", **common: Any) -> None:
        super().__init__(**common)
        self._name = detector

    def fit(self, reference: Table) -> None:
        """Make the detector; raise CannotLoad where alibi-detect is missing."""
        self._reference = reference
        library = require("alibi_detect.cd", "drift", _NOTE)
        rows = reference.numbers(f"alibi_detect {self._name}")
        self._rows, self._library = rows, library
        self._chance = np.random.default_rng(0)
        _MAKERS[self._name](library, rows)

    def look(self, window: Table, number: int) -> Finding:
        """Return the finding from the detector's p-values."""
        unlike(self._reference, window)
        rows = window.numbers(f"alibi_detect {self._name}")
        reference = self._rows
        if self._name == "cvm":
            reference, rows = _ranked(reference, rows, self._chance)
        data = _MAKERS[self._name](self._library, reference).predict(rows)["data"]
        with np.errstate(divide="ignore"):
            log_p = np.maximum(np.log(np.asarray(data["p_val"], np.float64)), LEAST_LOG_P)
        return self.found(window.names, np.ravel(data["distance"]), np.ravel(log_p), number)


def _ranked(reference: Array, rows: Array, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return both samples [rows, features] as ranks in each feature, equal numbers by chance."""
    both = np.concatenate([reference, rows])
    order = np.lexsort((chance.random(both.shape), both), axis=0)
    ranks = np.empty(both.shape)
    np.put_along_axis(ranks, order, np.arange(len(both), dtype=float)[:, None], axis=0)
    return ranks[: len(reference)], ranks[len(reference) :]


_MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "cvm": lambda library, rows: library.CVMDrift(rows, correction="fdr"),
    "fet": lambda library, rows: library.FETDrift(rows, alternative="two-sided", correction="fdr"),
}
