"""Rewards that components with Seldon's contract get, as its wrapper hands them over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import NodeFeedback
from anabranch.errors import LoadError

SOURCE = """
from seldon_core.user_model import SeldonComponent, SeldonNotImplementedError

LOG = []


class Bandit(SeldonComponent):
    def route(self, X, names):
        return 0

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        LOG.append((features, feature_names, reward, truth, routing))


class Short:
    def route(self, X, names):
        return 0

    def send_feedback(self, features, names, reward):
        LOG.append((features, names, reward))


class Raw:
    def route(self, X, names):
        return 0

    def send_feedback_raw(self, feedback):
        LOG.append(feedback)


class RawLeftOut(Bandit):
    def send_feedback_raw(self, feedback):
        raise SeldonNotImplementedError("raw")


class None_(SeldonComponent):
    def route(self, X, names):
        return 0


class Awaits:
    def route(self, X, names):
        return 0

    async def send_feedback(self, features, names, reward, truth, routing=None): ...
"""
ROWS = np.array([[1.0, 2.0]])


@pytest.fixture
def give(bundle: Any, node: Any) -> Any:
    """Give a reward to a router node of a class, and return what it was called with."""
    root: Path = bundle({"m.py": SOURCE})

    def gives(cls: str, given: NodeFeedback) -> list[Any]:
        spec = node(
            type="router", component=f"m.py:{cls}", contract="seldon", routes=["a", "b"],
            broadcast="all", skip="same",
        )  # fmt: skip
        bound = bind("r", spec, root)
        assert bound.feedback is not None
        bound.feedback(given)
        module: Any = sys.modules[type(bound.instance.component).__module__]
        return module.LOG  # type: ignore[no-any-return]

    gives.root = root  # type: ignore[attr-defined]
    return gives


def plain(call: tuple[Any, ...]) -> list[Any]:
    return [one.tolist() if isinstance(one, np.ndarray) else one for one in call]


@pytest.mark.parametrize("cls", ["Bandit", "RawLeftOut"])
@pytest.mark.parametrize(
    ("path", "routing"),
    [({"r": "a"}, 0), ({"r": "b"}, 1), ({"r": "all"}, -1), ({"r": "same"}, -2), ({}, None)],
)
def test_the_branch_of_the_request_comes_with_it(
    give: Any, cls: str, path: dict[str, str], routing: int | None
) -> None:
    given = NodeFeedback("7", 0.5, [1, 0], path, {"data": ROWS}, {"data": ["a", "b"]})
    (call,) = give(cls, given)
    assert plain(call) == [[[1.0, 2.0]], ["a", "b"], 0.5, [1, 0], routing]


def test_what_the_feedback_lacks_is_empty(give: Any) -> None:
    (call,) = give("Bandit", NodeFeedback("7", 1.0))
    assert plain(call) == [[], [], 1.0, [], None]


def test_several_inputs_are_a_dict(give: Any) -> None:
    given = NodeFeedback("7", 1.0, inputs={"x": ROWS, "text": np.array("hello", object)})
    (call,) = give("Short", given)
    assert (call[0]["x"].tolist(), call[0]["text"], call[1:]) == (ROWS.tolist(), "hello", ([], 1.0))


def test_a_raw_method_gets_a_message(give: Any) -> None:
    given = NodeFeedback("7", 0.5, ["cat"], {"r": "b"}, {"data": ROWS}, {"data": ["a", "b"]})
    (message,) = give("Raw", given)
    assert message == {
        "request": {"meta": {"puid": "7"}, "data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0]]}},
        "response": {"meta": {"puid": "7", "routing": {"r": 1}}},
        "reward": 0.5,
        "truth": {"meta": {}, "data": {"names": [], "ndarray": ["cat"]}},
    }


def test_without_the_method_no_reward_is_taken(give: Any, node: Any) -> None:
    spec = node(type="router", component="m.py:None_", contract="seldon", routes=["a"])
    assert bind("r", spec, give.root).feedback is None


def test_it_must_be_synchronous(give: Any, node: Any) -> None:
    spec = node(type="router", component="m.py:Awaits", contract="seldon", routes=["a"])
    with pytest.raises(LoadError, match=r"Awaits.send_feedback\(\) must return its result"):
        bind("r", spec, give.root)
