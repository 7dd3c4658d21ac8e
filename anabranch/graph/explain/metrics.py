"""Metrics of an explainer, and a log of its samples."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any

import orjson

from anabranch.errors import AnabranchError, DeadlineExceeded, RequestError, Unavailable
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.telemetry.definitions import (
    ATTRIBUTION,
    ATTRIBUTION_ROWS,
    EXPLANATION_SECONDS,
    EXPLANATIONS,
)
from anabranch.telemetry.registry import REGISTRY, FeatureLabels, Registry

MAX_LINE = 4000
"""Longest line of the log, in bytes."""

logger = logging.getLogger("anabranch.explanations")


class ExplanationMetrics:
    """The explanations of one explainer in this process."""

    def __init__(self, graph: str, revision: str, node: str, registry: Registry = REGISTRY) -> None:
        self._labels = (graph, revision, node)
        self._registry = registry
        self._features = FeatureLabels()

    async def counted(
        self, explanation: Awaitable[ExplainerReply], sampled: str | None = None
    ) -> ExplainerReply:
        """Await an explanation and count it.

        That of a ``sampled`` request of the traffic, of this id, is shown in metrics and the log.
        """
        try:
            found = await explanation
        except AnabranchError as error:
            self.failed(error)
            raise
        self.explained(found)
        if sampled is not None:
            self.sampled(found, sampled)
        return found

    def failed(self, error: AnabranchError) -> None:
        """Count an explanation that did not come about."""
        self._registry.number(EXPLANATIONS, *self._labels, _outcome(error)).value += 1

    def explained(self, found: ExplainerReply) -> None:
        """Count an explanation."""
        outcome = "cached" if found.cached else "explained"
        self._registry.number(EXPLANATIONS, *self._labels, outcome).value += 1
        self._registry.number(EXPLANATION_SECONDS, *self._labels).value += found.seconds

    def sampled(self, found: ExplainerReply, request_id: str) -> None:
        """Show a sample of the traffic: its attributions, and one line of JSON in the log."""
        explanations = orjson.loads(found.explanations)
        rows = 0
        for one in explanations:
            sizes = attributions(one)
            rows += bool(sizes)
            for feature, size in sizes.items():
                label = self._features.of(feature)
                self._registry.number(ATTRIBUTION, *self._labels, label).value += size
        self._registry.number(ATTRIBUTION_ROWS, *self._labels).value += rows
        about = dict(zip(ATTRIBUTION_ROWS.labels, self._labels, strict=True))
        logger.info(line({**about, "id": request_id, "seconds": found.seconds}, explanations))


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
