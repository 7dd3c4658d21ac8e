"""Drift detectors of alibi-detect, by which further tests come in.

Those that judge by p-values of single features are here; the correction for features and windows is
the one that all methods share. What gets its p-values by permutations, such as MMD, cannot: a
thousand permutations give none below 1/1000, where the tenth window needs 1e-4.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.monitors.base import Comparing, Finding, unlike
from anabranch.monitors.statistics import LEAST_LOG_P
from anabranch.monitors.table import Table

_NOTE = "its licence is the Business Source License 1.1"


@register("monitor", "alibi_detect")
class AlibiDetect(Comparing):
    """A detector: ``cvm`` is the test of Cramér and von Mises, for numbers; ``fet`` Fisher's exact
    test, for features of 0 and 1.
    """

    def __init__(self, *, detector: Literal["cvm", "fet"] = "cvm", **common: Any) -> None:
        super().__init__(**common)
        self._name = detector

    def fit(self, reference: Table) -> None:
        """Make the detector; raise CannotLoad where alibi-detect is missing."""
        self._reference = reference
        library = require("alibi_detect.cd", "drift", _NOTE)
        rows = reference.numbers(f"alibi_detect {self._name}")
        self._detector = _MAKERS[self._name](library, rows)

    def look(self, window: Table, number: int) -> Finding:
        """Return the finding from the detector's p-values."""
        unlike(self._reference, window)
        rows = window.numbers(f"alibi_detect {self._name}")
        data = self._detector.predict(rows)["data"]
        with np.errstate(divide="ignore"):
            log_p = np.maximum(np.log(np.asarray(data["p_val"], np.float64)), LEAST_LOG_P)
        return self.found(window.names, np.ravel(data["distance"]), np.ravel(log_p), number)


def _cvm(library: Any, rows: Any) -> Any:
    return library.CVMDrift(rows, correction="fdr")


def _fet(library: Any, rows: Any) -> Any:
    return library.FETDrift(rows, alternative="two-sided", correction="fdr")


_MAKERS = {"cvm": _cvm, "fet": _fet}
