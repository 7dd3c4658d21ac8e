"""What a deploy is for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.api.release.intents import read_intent
from anabranch.control.lifecycle.operations import Intent
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Rollout

BLOCK = Rollout.model_validate(
    {
        "steps": [5, 25],
        "hold": "2m",
        "analysis": {"interval": "10s", "metrics": [{"metric": "error_rate", "max": 0.01}]},
    }
)


def read(data: Any, block: Rollout | None = None) -> Intent:
    return read_intent(json.dumps(data), block)


def test_without_an_intent_the_block_decides() -> None:
    assert read_intent(None, None) == Intent("replace")
    assert read_intent(None, BLOCK) == Intent("rollout", rollout=BLOCK)


@pytest.mark.parametrize("block", [None, BLOCK])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"kind": "replace"}, Intent("replace")),
        ({"kind": "canary"}, Intent("canary", 100)),
        ({"kind": "canary", "percent": 0}, Intent("canary", 0)),
        ({"kind": "canary", "percent": 0.05}, Intent("canary", 0.05)),
        ({"kind": "mirror", "percent": 100}, Intent("mirror", 100)),
        ({"kind": "mirror", "percent": None, "rollout": None}, Intent("mirror", 100)),
    ],
)
def test_what_is_said_counts_whatever_the_block_says(
    data: Any, expected: Intent, block: Rollout | None
) -> None:
    assert read(data, block) == expected


def test_a_rollout_is_the_block_s() -> None:
    assert read({"kind": "rollout"}, BLOCK).rollout == BLOCK


def test_fields_of_a_rollout_stand_in_for_the_block_s() -> None:
    plan = read({"kind": "rollout", "rollout": {"steps": [1, 2, 3]}}, BLOCK).rollout
    assert plan is not None
    assert (plan.steps, plan.hold, plan.analysis) == ([1, 2, 3], BLOCK.hold, BLOCK.analysis)
    plan = read({"kind": "rollout", "rollout": {"hold": "1s", "analysis": None}}, BLOCK).rollout
    assert plan is not None
    assert plan.steps == BLOCK.steps
    assert plan.analysis is None
    assert str(plan.hold) == "1s"


def test_a_rollout_without_a_block_needs_steps() -> None:
    assert read({"kind": "rollout", "rollout": {"steps": [50]}}).rollout == Rollout(steps=[50])
    for rollout in ({}, None):
        with pytest.raises(InvalidRequest, match="needs steps"):
            read({"kind": "rollout", "rollout": rollout})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the intent is not JSON"),
        ("[]", "the intent must be a JSON object"),
        ("{}", "kind: is required"),
        ('{"kind": "canry"}', "did you mean `canary`?"),
        ('{"kind": "canary", "percent": 100.1}', "percent: must be at most 100"),
        ('{"kind": "canary", "percent": -1}', "percent: must be at least 0"),
        ('{"kind": "canary", "percent": "10"}', "percent: must be a number"),
        ('{"kind": "canary", "percent": true}', "percent: must be a number"),
        ('{"kind": "canary", "percent": NaN}', "NaN"),
        ('{"kind": "canary", "percent": 1e999}', "percent"),
        ('{"kind": "canary", "kind": "mirror"}', "'kind' is given twice"),
        ('{"kind": "canary", "persent": 5}', "did you mean `percent`?"),
        ('{"kind": "replace", "percent": 5}', "not of a replace"),
        ('{"kind": "rollout", "percent": 5}', "not of a rollout"),
        ('{"kind": "mirror", "rollout": {"steps": [5]}}', "rollout: says nothing to a mirror"),
        ('{"kind": "rollout", "rollout": []}', "rollout: expects fields"),
        ('{"kind": "rollout", "rollout": {"steps": []}}', "rollout.steps: must not be empty"),
        ('{"kind": "rollout", "rollout": {"steps": [9, 5]}}', "rollout.steps.1: must be more"),
        ('{"kind": "rollout", "rollout": {"steps": [5], "hold": 2}}', "rollout.hold: "),
        ('{"kind": "rollout", "rollout": {"steps": [5], "stops": 2}}', "rollout.stops: unknown"),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_intent(text, None)
    assert words in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    analysis = {"interval": "0s", "metrics": [{"metric": "promql", "max": 1}]}
    with pytest.raises(InvalidRequest) as caught:
        read({"kind": "rollout", "rollout": {"steps": [5, 5], "analysis": analysis}})
    for words in ("steps.1", "analysis.interval", "metrics.0: the metric promql needs `query`"):
        assert words in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "percent", "rollout", "steps", "hold", "analysis", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON | st.fixed_dictionaries({"kind": st.sampled_from(["canary", "rollout"])}, optional={"percent": JSON, "rollout": JSON}))  # fmt: skip  # noqa: E501
def test_whatever_is_sent_is_an_intent_or_an_invalid_request(data: Any) -> None:
    for block in (None, BLOCK):
        try:
            found = read_intent(json.dumps(data), block)
        except InvalidRequest:
            continue
        assert 0 <= found.percent <= 100
        assert (found.rollout is None) == (found.kind != "rollout")
        assert Intent.from_json(json.loads(json.dumps(found.to_json()))) == found
