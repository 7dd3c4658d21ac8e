"""What an explainer's replica shows of its explanations: metrics of Ray, and a log of samples."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import orjson
from ray.util import metrics

from anabranch.errors import AnabranchError, DeadlineExceeded, RequestError, Unavailable
from anabranch.graph.explained import Found

LABELS = ("graph", "revision", "node")
TOTAL = "anabranch_explanations_total"
SECONDS = "anabranch_explanation_seconds_total"
ATTRIBUTION = "anabranch_attribution_total"
ROWS = "anabranch_attribution_rows_total"
MAX_FEATURES = 64
"""Features of an explainer that have a label of their own."""
OTHER = "other"
"""The label of all others."""
MAX_LINE = 4000
"""Longest line of the log, in bytes."""

logger = logging.getLogger("anabranch.explanations")


class Shown:
    """The explanations of one explainer in this process."""

    def __init__(self, node: str) -> None:
        self._tags = {
            "graph": os.environ.get("ANABRANCH_GRAPH", ""),
            "revision": os.environ.get("ANABRANCH_REVISION", ""),
            "node": node,
        }
        self._total = metrics.Counter(
            TOTAL,
            "Explanations that were asked for, by outcome: explained, cached, refused, full, late, "
            "failed.",
            (*LABELS, "outcome"),
        )
        self._seconds = metrics.Counter(
            SECONDS, "Time that explanations took, in seconds; those from the cache count.", LABELS
        )
        self._attribution = metrics.Counter(
            ATTRIBUTION,
            "Sum of what each feature added to the target in samples of the traffic, without sign.",
            (*LABELS, "feature"),
        )
        self._rows = metrics.Counter(ROWS, "Rows of these samples.", LABELS)
        self._features: dict[str, str] = {}
        logger.setLevel(logging.INFO)
        if not logger.handlers:
            logger.addHandler(logging.StreamHandler())

    def failed(self, error: AnabranchError) -> None:
        """Count an explanation that did not come about."""
        self._total.inc(1, {**self._tags, "outcome": _outcome(error)})

    def explained(self, found: Found) -> None:
        """Count an explanation."""
        outcome = "cached" if found.cached else "explained"
        self._total.inc(1, {**self._tags, "outcome": outcome})
        if found.seconds > 0:
            self._seconds.inc(found.seconds, self._tags)

    def sampled(self, found: Found, request_id: str) -> None:
        """Show a sample of the traffic: its attributions, and one line of JSON in the log."""
        explanations = orjson.loads(found.explanations)
        rows = 0
        for one in explanations:
            sizes = attributions(one)
            rows += bool(sizes)
            for feature, size in sizes.items():
                label = self._label(feature)
                if size > 0:
                    self._attribution.inc(size, {**self._tags, "feature": label})
        if rows:
            self._rows.inc(rows, self._tags)
        logger.info(line({**self._tags, "id": request_id, "seconds": found.seconds}, explanations))

    def _label(self, feature: str) -> str:
        if feature not in self._features and len(self._features) < MAX_FEATURES:
            self._features[feature] = feature
        return self._features.get(feature, OTHER)


def attributions(explanation: Any) -> Mapping[str, float]:
    """How much each feature adds to the target, without sign; empty where that is not known."""
    if not isinstance(explanation, dict):
        return {}
    names, sizes = explanation.get("feature_names"), explanation.get("attributions")
    if not isinstance(names, list) or not isinstance(sizes, list) or len(names) != len(sizes):
        return {}
    pairs = zip(names, sizes, strict=True)
    return {str(name): abs(size) for name, size in pairs if isinstance(size, int | float)}


def line(about: Mapping[str, Any], explanations: list[Any]) -> str:
    """A sample as one line of JSON; what the library said is left out, and what is too long."""
    told = [
        {name: value for name, value in one.items() if name != "library"}
        if isinstance(one, dict)
        else one
        for one in explanations
    ]
    text = orjson.dumps({**about, "explanations": told})
    if len(text) > MAX_LINE:
        text = orjson.dumps({**about, "explanations": f"{len(told)}, {len(text)} bytes"})
    return text.decode()


def _outcome(error: AnabranchError) -> str:
    if isinstance(error, RequestError):
        return "refused"
    if isinstance(error, Unavailable):
        return "full"
    return "late" if isinstance(error, DeadlineExceeded) else "failed"
