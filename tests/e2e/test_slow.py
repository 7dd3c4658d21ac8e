"""A slow synchronous component keeps to itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, Engine
from tests.waiting import until

pytestmark = pytest.mark.e2e

SLOW, FAST = 20, 200
CODE = """
import os
import time


class Slow:
    \"\"\"Says that it was called, and returns once it may.\"\"\"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def transform(self, x):
        open(os.path.join(self.folder, "called"), "a").close()
        while not os.path.exists(os.path.join(self.folder, "gate")):
            time.sleep(0.005)
        return x


class Fast:
    def transform(self, x):
        return x
"""


def graph(folder: str) -> dict[str, Any]:
    """One router, two ways: a request says which."""
    found = spec("two-speeds", slow=node("Slow", args={"folder": folder}), fast=node("Fast"))
    found["spec"]["nodes"]["pick"] = {
        "type": "router",
        "strategy": "rules",
        "rules": [{"when": "request.headers['x-way'] == 'slow'", "to": "slow"}],
        "otherwise": "fast",
    }
    found["spec"]["outputs"]["y"] = "pick"
    return found


def test_others_in_the_same_router_do_not_wait_for_it(engine: Engine, given: Given) -> None:
    """They are all answered while it is held, and it ends only after that.

    The first of its calls must not hold the others either: nothing is known of it yet.
    """
    name = given.deployed(graph(str(given.folder)), CODE)
    called, gate = given.folder / "called", given.folder / "gate"

    def ask_slowly(_: int) -> list[float]:
        return value(engine.infer(name, headers={"x-way": "slow"}))

    with ThreadPoolExecutor(SLOW) as slow_clients, httpx.Client(timeout=20) as client:
        pending = [slow_clients.submit(ask_slowly, index) for index in range(SLOW)]
        try:
            until(called.exists)
            for _ in range(FAST):
                assert value(client.post(f"{engine.graph_url(name)}/infer", json=BODY)) == [1, 2]
                assert client.get(f"{engine.graph_url(name)}/ready").status_code == 200
            assert not any(one.done() for one in pending)
        finally:
            gate.touch()
        assert [one.result() for one in pending] == [[1, 2]] * SLOW
