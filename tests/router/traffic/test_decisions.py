from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import Choice
from anabranch.errors import InvalidRequest
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.router.inference.contract import OutputTensor
from anabranch.router.signing import Signatures
from anabranch.router.traffic.decisions import (
    MAX_FEATURES,
    MAX_ID,
    Decision,
    Made,
    decided,
    from_routing,
    routing,
    unpacked,
)
from tests.router.conftest import KEYS, SIGNATURES
from tests.strategies import json_values

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)
finite = st.floats(allow_nan=False, allow_infinity=False)
features = st.lists(finite, min_size=1, max_size=9).map(tuple)
paths = st.dictionaries(names, names, max_size=4)
decisions = st.builds(
    Decision,
    id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_ID),
    revision=st.integers(1, 2**31 - 1),
    path=paths,
    features=st.dictionaries(names, features, max_size=3),
)
GOOD = Decision("7f", 4, {"chooser": "forest"})


# In and out


@given(decisions)
def test_a_reply_tells_all_that_was_decided(decision: Decision) -> None:
    text = routing(decision, SIGNATURES)
    assert from_routing(text, SIGNATURES) == decision
    told = json.loads(text)
    # Whoever keeps it as JSON may order and space it otherwise.
    for again in (json.dumps(told, indent=1), json.dumps(told, sort_keys=True)):
        assert from_routing(again, SIGNATURES) == decision
    assert (told["id"], told["revision"], told["path"]) == (
        decision.id, decision.revision, decision.path,
    )  # fmt: skip
    assert ("features" in told) is bool(decision.features)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None},
        {"id": 7},
        {"id": "x" * (MAX_ID + 1)},
        {"revision": 0},
        {"revision": -1},
        {"revision": 2**31},
        {"revision": True},
        {"revision": "4"},
        {"revision": 4.5},
        {"path": []},
        {"path": {"chooser": 1}},
        {"path": {"chooser": "x" * 64}},
        {"path": {"x" * 64: "forest"}},
        {"path": None},
        {"features": {"chooser": ["1"]}},
        {"features": {"chooser": [True]}},
        {"features": {"chooser": [None]}},
        {"features": {"chooser": 1.0}},
        {"features": {"chooser": [math.nan]}},
        {"features": {"chooser": [math.inf]}},
        {"features": {"chooser": [10**400]}},
        {"features": {"chooser": [0.0] * (MAX_FEATURES + 1)}},
        {"answer": [1]},
        {"iat": "1"},
        {"kid": None},
        {"signature": "x" * 65},
    ],
)
def test_what_no_reply_tells_is_refused(changed: dict[str, Any]) -> None:
    told = json.loads(routing(GOOD, SIGNATURES))
    with pytest.raises(InvalidRequest, match="not the routing of a reply"):
        from_routing(json.dumps(told | changed), SIGNATURES)


# Signed


@given(decisions, decisions)
def test_no_part_of_one_reply_can_be_put_into_another(one: Decision, other: Decision) -> None:
    told, foreign = (json.loads(routing(each, SIGNATURES)) for each in (one, other))
    for name in ("id", "revision", "path", "features"):
        changed = told | {name: foreign.get(name, {})}
        if told.get(name, {}) == changed[name]:
            continue
        with pytest.raises(InvalidRequest, match="the signature of the routing is wrong"):
            from_routing(json.dumps(changed), SIGNATURES)


@given(decisions, st.data())
def test_a_changed_text_is_refused(decision: Decision, data: st.DataObject) -> None:
    text = routing(decision, SIGNATURES)
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.characters(exclude_categories=["Cs"]) | st.just(""))
    changed = text[:place] + put + text[place + 1 :]
    try:
        found = from_routing(changed, SIGNATURES)
    except InvalidRequest:
        return
    assert found == decision
    assert json.loads(changed) == json.loads(text)


@given(decisions, st.data())
def test_a_text_that_was_cut_is_refused(decision: Decision, data: st.DataObject) -> None:
    text = routing(decision, SIGNATURES)
    with pytest.raises(InvalidRequest):
        from_routing(text[: data.draw(st.integers(0, len(text) - 1))], SIGNATURES)


@pytest.mark.parametrize("left_out", [{"signature"}, {"signature", "iat", "kid"}])
def test_what_is_not_signed_is_refused(left_out: set[str]) -> None:
    told = json.loads(routing(GOOD, SIGNATURES))
    text = json.dumps({name: told[name] for name in told.keys() - left_out})
    with pytest.raises(InvalidRequest, match="the routing is not signed; give the whole text"):
        from_routing(text, SIGNATURES)


def test_of_another_graph_it_is_refused() -> None:
    text = routing(GOOD, Signatures("other", KEYS))
    with pytest.raises(InvalidRequest, match="of another graph than 'demo'"):
        from_routing(text, SIGNATURES)


@given(st.text() | json_values.map(json.dumps))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        from_routing(text, SIGNATURES)
    except InvalidRequest as error:
        assert len(str(error)) < 300


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, '{"path":' * 10**4, "\ud800", "null"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        from_routing(text, SIGNATURES)


# Made of a path


def test_features_come_from_choices() -> None:
    path = {"a": "x", "b": Choice("y"), "c": Choice("z", (1.0, 2.5))}
    found = decided("7f", 4, path)
    assert found == Decision("7f", 4, {"a": "x", "b": "y", "c": "z"}, {"c": (1.0, 2.5)})
    assert {type(route) for route in found.path.values()} == {str}


@pytest.mark.parametrize(
    "told",
    [
        (math.nan,), (1.0, math.inf), (0.0,) * (MAX_FEATURES + 1), ("one",), None, 7, (10**400,),
        (np.zeros(2),), (),
    ],
)  # fmt: skip
def test_features_that_no_reply_can_carry_are_left_out(told: Any) -> None:
    found = decided("7f", 4, {"a": Choice("x", told)})
    assert found == Decision("7f", 4, {"a": "x"})
    assert from_routing(routing(found, SIGNATURES), SIGNATURES) == found


def test_numbers_of_any_kind_are_features() -> None:
    told: Any = np.array([1, 2], np.float32)
    assert decided("7f", 4, {"a": Choice("x", told)}).features == {"a": (1.0, 2.0)}


def test_nothing_is_learned_from_a_stand_in() -> None:
    found = decided("7f", 4, {"a": STAND_IN, "b": "y"})
    assert found.path == {"a": STAND_IN, "b": "y"}
    assert found.picks == {"b": "y"}


# Remembered


def outputs(*labels: int) -> list[OutputTensor]:
    return [OutputTensor("y", "INT64", np.array(labels))]


def made(*ids: str, limit: int = 3) -> Made:
    found = Made(limit)
    for number, id in enumerate(ids):
        found.add(Decision(id, 1, {}), outputs(number))
    return found


def told(found: Made, most: int = 99) -> list[str]:
    return [id for id, _ in found.news(most)]


def test_the_answer_comes_along() -> None:
    found = made("a", "b")
    known = found.find("b")
    assert known is not None
    assert known.answer == (1,)
    assert [unpacked(packed).answer for _, packed in found.news(9)] == [(0,), (1,)]


@given(decisions)
def test_packed_it_is_the_same(decision: Decision) -> None:
    found = Made()
    found.add(decision, [])
    assert [unpacked(packed) for _, packed in found.news(1)] == [decision]


def test_the_oldest_are_forgotten() -> None:
    found = made("a", "b", "c", "d")
    assert found.find("a") is None
    assert told(found) == ["b", "c", "d"]


def test_of_one_id_the_last_counts() -> None:
    found = made("a", "b", "a", "c", "d")
    known = found.find("a")
    assert known is not None
    assert known.answer == (2,)
    assert found.find("b") is None
    assert told(made("a", "a")) == ["a"]


def test_news_are_told_once_oldest_first() -> None:
    found = made("a", "b", "c")
    assert found.has_news
    assert told(found, 2) == ["a", "b"]
    found.add(Decision("d", 1, {}), [])
    assert told(found) == ["c", "d"]
    assert (told(found), found.has_news) == ([], False)


def test_what_was_not_heard_is_told_again_before_the_rest() -> None:
    found = made("a", "b", "c")
    heard = told(found, 2)
    found.retell(heard)
    assert told(found) == ["a", "b", "c"]
    found.retell()
    assert told(found) == ["a", "b", "c"]


def test_news_are_bounded_too() -> None:
    found = made("a", "b", "c")
    lost = told(found)
    for id in ("d", "e"):
        found.add(Decision(id, 1, {}), [])
    found.retell(lost)
    assert told(found) == ["c", "d", "e"]
