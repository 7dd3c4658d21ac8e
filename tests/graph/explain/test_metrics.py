"""What a replica shows of its explanations: attributions as sums, samples as lines of JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

import orjson
import pytest

from anabranch.errors import (
    AnabranchError,
    DeadlineExceeded,
    InvalidRequest,
    NodeError,
    Unavailable,
)
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.graph.explain.metrics import (
    MAX_LINE,
    ExplanationMetrics,
    line,
)
from anabranch.telemetry.definitions import (
    ATTRIBUTION,
    ATTRIBUTION_ROWS,
    EXPLANATION_SECONDS,
    EXPLANATIONS,
    MetricDefinition,
)
from anabranch.telemetry.registry import MAX_FEATURES, OTHER, Registry


@pytest.fixture
def registry() -> Registry:
    return Registry()


def sums(registry: Registry, metric: MetricDefinition) -> dict[tuple[str, ...], Any]:
    """The values of a metric by its labels after graph, revision and node."""
    cells = registry.snapshot().get(metric.name, {})
    assert {labels[2] for labels in cells} <= {"why"}
    return {labels[3:]: value for labels, value in cells.items()}


def found(*explanations: Any, **more: Any) -> ExplainerReply:
    return ExplainerReply(
        "shap", orjson.dumps(list(explanations)), more.pop("seconds", 0.5), **more
    )


def test_explanations_are_counted_by_outcome(registry: Registry) -> None:
    shown = ExplanationMetrics("", "", "why", registry)
    shown.explained(found())
    shown.explained(found(cached=True, seconds=0.25))
    errors: list[AnabranchError] = [
        Unavailable("full"), DeadlineExceeded("late"), NodeError("why", "no"), InvalidRequest("x"),
    ]  # fmt: skip
    for error in errors:
        shown.failed(error)
    names = ("explained", "cached", "full", "late", "failed", "refused")
    assert sums(registry, EXPLANATIONS) == {(name,): 1 for name in names}
    assert sums(registry, EXPLANATION_SECONDS) == {(): 0.75}


def test_samples_add_up_attributions_without_sign(registry: Registry) -> None:
    shown = ExplanationMetrics("", "", "why", registry)
    one = {"feature_names": ["age", "income"], "attributions": [0.5, -0.25]}
    other = {"feature_names": ["age", "income"], "attributions": [-1, 0]}
    shown.sampled(found(one, other), "a")
    shown.sampled(found({"rule": ["age > 3"]}, "text"), "b")
    assert sums(registry, ATTRIBUTION) == {("age",): 1.5, ("income",): 0.25}
    assert sums(registry, ATTRIBUTION_ROWS) == {(): 2}


def test_features_that_have_a_label_are_bounded(registry: Registry) -> None:
    names = [f"f{index}" for index in range(MAX_FEATURES + 9)]
    ExplanationMetrics("", "", "why", registry).sampled(
        found({"feature_names": names, "attributions": [1] * len(names)}), "a"
    )
    labels = sums(registry, ATTRIBUTION)
    assert len(labels) == MAX_FEATURES + 1 and labels[(OTHER,)] == 9


def test_a_sample_is_one_line_of_json(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="anabranch.explanations"):
        ExplanationMetrics("", "", "why", registry).sampled(
            found({"rule": ["a > 1"], "library": {"raw": "much"}}), "q"
        )
    told = json.loads(caplog.records[-1].getMessage())
    assert (told["node"], told["id"], told["seconds"]) == ("why", "q", 0.5)
    assert told["explanations"] == [{"rule": ["a > 1"]}]


def test_a_line_is_bounded() -> None:
    text = line({"id": "q"}, [{"attributions": [0.5] * 9999}])
    assert len(text) <= MAX_LINE and "1, " in json.loads(text)["explanations"]
