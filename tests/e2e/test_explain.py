"""Explanations from outside: over HTTP and gRPC, beside predictions, and never in their way."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import BODY, Engine, Given, error, node, spec, value

pytestmark = pytest.mark.e2e

CODE = '''
import os
import time

import numpy as np


class Times:
    def __init__(self, by):
        self.by = by

    def transform(self, x):
        return x * self.by


class Why:
    """Says what the model makes of each row, and of each row plus one."""

    def attach(self, model):
        self.model = model

    def explain(self, x, context):
        time.sleep(context.parameters.get("sleep", 0))
        if context.parameters.get("die"):
            os._exit(1)
        if context.parameters.get("fail"):
            raise RuntimeError("no idea")
        both = self.model({"x": np.concatenate([x, x + 1])})["output"]
        return {"of": both[: len(x)].tolist(), "plus": both[len(x) :].tolist(), "pid": os.getpid()}


class Hangs(Why):
    def explain(self, x):
        while True:
            pass
'''
WHY = {"type": "explainer", "component": "components.py:Why", "explains": "times"}


def explained(name: str, **more: Any) -> dict[str, Any]:
    """A graph that doubles and then multiplies by ten, whose latter node is explained."""
    return spec(
        name,
        twice=node("Times", args={"by": 2}),
        why={**WHY, **more.pop("why", {})},
        **more.pop("others", {}),
        times=node("Times", "twice", args={"by": 10}, **more),
    )


def ask(engine: Engine, name: str, path: str = "", **parameters: Any) -> httpx.Response:
    """Ask for an explanation."""
    body = {**BODY, "parameters": parameters}
    return httpx.post(f"{engine.graph_url(name)}{path}/explain", json=body, timeout=60)


def found(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("place", [{}, {"scaling": {"replicas": 2}}], ids=["copied", "called"])
def test_a_component_explains_over_http(
    engine: Engine, given: Given, place: dict[str, Any]
) -> None:
    name = given.deployed(explained(f"explained-{len(place)}", **place), CODE)
    answer = found(ask(engine, name, path="/versions/1"))
    assert answer["explainer"] == "why" and answer["model_version"] == "1"
    (one,) = answer["explanations"]
    assert one["method"] == "components.py:Why" and one["seed"] == 0
    assert one["library"]["of"] == [[20, 40]] and one["library"]["plus"] == [[30, 50]]
    assert answer["timing"]["model_calls"] == 1 and answer["timing"]["model_rows"] == 2
    assert value(engine.infer(name)) == [20, 40]
