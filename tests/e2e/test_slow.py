"""A slow synchronous component keeps to itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, Engine

pytestmark = pytest.mark.e2e

SLOW_S = 0.2
CODE = f"""
import time


class Slow:
    def transform(self, x):
        time.sleep({SLOW_S})
        return x


class Fast:
    def transform(self, x):
        return x
"""


def graph() -> dict[str, Any]:
    """One router, two ways: a request says which."""
    found = spec("two-speeds", slow=node("Slow"), fast=node("Fast"))
    found["spec"]["nodes"]["pick"] = {
        "type": "router",
        "strategy": "rules",
        "rules": [{"when": "request.headers['x-way'] == 'slow'", "to": "slow"}],
        "otherwise": "fast",
    }
    found["spec"]["outputs"]["y"] = "pick"
    return found


def test_others_in_the_same_router_do_not_wait_for_it(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(graph(), CODE)
    slow_way = {"headers": {"x-way": "slow"}}

    def ask_slowly(_: int) -> float:
        started = time.monotonic()
        assert value(engine.infer(name, **slow_way)) == [1, 2]
        return time.monotonic() - started

    with ThreadPoolExecutor(2) as slow_clients, httpx.Client() as client:
        # The first of its calls must not hold the others either: nothing is known of it yet.
        pending = [slow_clients.submit(ask_slowly, index) for index in range(20)]
        fast, health = [], []
        while not all(one.done() for one in pending):
            for times, send in (
                (fast, lambda: client.post(f"{engine.graph_url(name)}/infer", json=BODY)),
                (health, lambda: client.get(f"{engine.graph_url(name)}/ready")),
            ):
                started = time.monotonic()
                assert send().status_code == 200
                times.append(time.monotonic() - started)
        slow = [one.result() for one in pending]
    assert min(slow) >= SLOW_S
    # Each slow call holds its thread for 200 ms. Were it on the loop, one in two of the others
    # would wait for it; none may.
    for times in (fast, health):
        assert len(times) > 20
        assert sorted(times)[int(len(times) * 0.99)] < SLOW_S / 2
        assert median(times) < SLOW_S / 10
