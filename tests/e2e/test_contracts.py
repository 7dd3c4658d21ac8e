"""Components with Seldon's contract on an engine: in the head, in another process, and learning."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, spec
from tests.engines import Engine
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "taught"
CODE = '''
from seldon_core.metrics import create_counter
from seldon_core.user_model import SeldonComponent, SeldonResponse


class Chooser(SeldonComponent):
    """Goes to the branch with the best reward so far."""

    def __init__(self):
        self.best = [0.0, 0.0]

    def route(self, features, feature_names):
        return self.best.index(max(self.best))

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        self.best[routing] += reward


class Model:
    """Says how many rewards it has got."""

    def __init__(self, by):
        self.by, self.rewards = by, 0.0

    def predict(self, X, names, meta=None):
        return SeldonResponse(X * self.by, {"rewards": self.rewards}, [create_counter("asked", 1)])

    def class_names(self):
        return [f"times {self.by}"] * 2

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        self.rewards += float(features.sum()) * reward
'''
ROWS = {"data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0]]}}


def graph() -> dict[str, Any]:
    """Two models, one of them in a process of its own, behind a router of Seldon's contract."""
    seldon = {"contract": "seldon", "inputs": {"X": "x"}}
    model = {"type": "predictor", "component": "components.py:Model", **seldon}
    found = spec(
        NAME,
        near={**model, "args": {"by": 1}},
        far={**model, "args": {"by": 10}, "placement": {"isolate": True}},
        choose={"type": "router", "component": "components.py:Chooser", "routes": ["near", "far"],
                **seldon},
    )  # fmt: skip
    found["spec"] |= {
        "inputs": {"x": {"datatype": "FP64", "shape": [-1, 2]}},
        "outputs": {"y": "choose"},
        "protocols": ["seldon"],
    }
    return found


def test_rewards_reach_components_wherever_they_run(given: Given, engine: Engine) -> None:
    given.deployed(graph(), CODE)
    url = f"http://127.0.0.1:{engine.ports.http}/seldon/default/{NAME}/api/v1.0"

    def ask() -> dict[str, Any]:
        reply = httpx.post(f"{url}/predictions", json=ROWS, timeout=60)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def tell(response: dict[str, Any], reward: float) -> None:
        feedback = {"request": ROWS, "response": response, "reward": reward}
        reply = httpx.post(f"{url}/feedback", json=feedback, timeout=60)
        assert reply.json()["meta"]["tags"]["counted"] is True, reply.text

    first = ask()
    assert first["data"] == {"names": ["times 1", "times 1"], "ndarray": [[1.0, 2.0]]}
    assert first["meta"]["routing"] == {"choose": 0}
    assert first["meta"]["metrics"] == [{"key": "asked", "type": "COUNTER", "value": 1.0}]
    tell(first, -1.0)
    until(lambda: ask()["meta"]["routing"] == {"choose": 1})
    far = ask()
    assert far["data"] == {"names": ["times 10", "times 10"], "ndarray": [[10.0, 20.0]]}
    assert far["meta"]["tags"]["rewards"] == 0
    tell(far, 0.5)
    until(lambda: ask()["meta"]["tags"]["rewards"] == 1.5)
