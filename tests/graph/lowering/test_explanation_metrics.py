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
from anabranch.graph.explained import Found
from anabranch.graph.lowering import explanation_metrics
from anabranch.graph.lowering.explanation_metrics import (
    ATTRIBUTION,
    MAX_FEATURES,
    MAX_LINE,
    OTHER,
    ROWS,
    SECONDS,
    TOTAL,
    Shown,
    line,
)


class Recorder:
    """Takes the place of Ray's metrics, and adds up what is counted."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], float] = {}

    def Counter(self, name: str, text: str, labels: tuple[str, ...]) -> Any:
        recorder = self

        class Counter:
            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0 and set(tags) == set(labels)
                own = tuple(tags[label] for label in labels[3:])
                key = (name, *own)
                recorder.sums[key] = recorder.sums.get(key, 0) + value

        return Counter()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(explanation_metrics, "metrics", found)
    return found


def found(*explanations: Any, **more: Any) -> Found:
    return Found("shap", orjson.dumps(list(explanations)), more.pop("seconds", 0.5), **more)


def test_explanations_are_counted_by_outcome(recorder: Recorder) -> None:
    shown = Shown("why")
    shown.explained(found())
    shown.explained(found(cached=True, seconds=0.25))
    errors: list[AnabranchError] = [
        Unavailable("full"), DeadlineExceeded("late"), NodeError("why", "no"), InvalidRequest("x"),
    ]  # fmt: skip
    for error in errors:
        shown.failed(error)
    outcomes = {key[1]: count for key, count in recorder.sums.items() if key[0] == TOTAL}
    names = ("explained", "cached", "full", "late", "failed", "refused")
    assert outcomes == dict.fromkeys(names, 1)
    assert recorder.sums[(SECONDS,)] == 0.75


def test_samples_add_up_attributions_without_sign(recorder: Recorder) -> None:
    shown = Shown("why")
    one = {"feature_names": ["age", "income"], "attributions": [0.5, -0.25]}
    other = {"feature_names": ["age", "income"], "attributions": [-1, 0]}
    shown.sampled(found(one, other), "a")
    shown.sampled(found({"rule": ["age > 3"]}, "text"), "b")
    assert recorder.sums == {(ATTRIBUTION, "age"): 1.5, (ATTRIBUTION, "income"): 0.25, (ROWS,): 2}


def test_features_that_have_a_label_are_bounded(recorder: Recorder) -> None:
    names = [f"f{index}" for index in range(MAX_FEATURES + 9)]
    Shown("why").sampled(found({"feature_names": names, "attributions": [1] * len(names)}), "a")
    labels = {key[1]: value for key, value in recorder.sums.items() if key[0] == ATTRIBUTION}
    assert len(labels) == MAX_FEATURES + 1 and labels[OTHER] == 9


@pytest.mark.usefixtures("recorder")
def test_a_sample_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="anabranch.explanations"):
        Shown("why").sampled(found({"rule": ["a > 1"], "library": {"raw": "much"}}), "q")
    told = json.loads(caplog.records[-1].getMessage())
    assert (told["node"], told["id"], told["seconds"]) == ("why", "q", 0.5)
    assert told["explanations"] == [{"rule": ["a > 1"]}]


def test_a_line_is_bounded() -> None:
    text = line({"id": "q"}, [{"attributions": [0.5] * 9999}])
    assert len(text) <= MAX_LINE and "1, " in json.loads(text)["explanations"]
