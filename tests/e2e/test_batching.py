"""Requests of many clients gather, in the router's process and in others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import Given, error, spec, value
from tests.engines import Engine, done

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.e2e

CLIENTS = 64
BAD = -1.0
CODE = f"""
import os
import time

import numpy as np


class Guard:
    def predict(self, x):
        time.sleep(0.05)
        if (x == {BAD}).any():
            raise ValueError("a bad row")
        return np.stack([x[:, 0], np.full(len(x), len(x), np.float32)], axis=1)


class Gated(Guard):
    def __init__(self, gate: str) -> None:
        self.gate = gate

    def predict(self, x):
        while not os.path.exists(self.gate):
            time.sleep(0.01)
        return super().predict(x)
"""


def node(**fields: Any) -> dict[str, Any]:
    """A predictor over the graph's input."""
    return {"type": "predictor", "inputs": {"x": "x"}, **fields}


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(256, 4)).eval()


@pytest.fixture(scope="module")
def graph(given_once: Given, network: Any) -> str:
    """``y`` is a network in the router's process; ``guard`` and ``narrow`` have their own."""
    net = node(runtime="torch", model="net.pt2", batching={"max_size": CLIENTS, "max_queue": 1000})
    own: dict[str, Any] = {"placement": {"isolate": True}}
    wide = {"max_size": CLIENTS, "max_queue": 1000}
    guard = node(component="components.py:Guard", batching=wide, **own)
    narrow = node(
        component="components.py:Gated", args={"gate": str(given_once.folder / "gate")},
        batching={"max_size": 2, "max_queue": 2}, **own,
    )  # fmt: skip
    built = spec("batching", guard=guard, narrow=narrow, net=net)
    built["spec"]["outputs"] |= {"guard": "guard", "narrow": "narrow"}
    path = given_once.bundle(built, CODE)
    _export(network, path.parent / "net.pt2")
    done(given_once.deploy_file("batching", path))
    return "batching"


def _export(network: Any, path: Path) -> None:
    shapes = ({0: torch.export.Dim("rows", min=1, max=4096)},)
    example = (torch.zeros(2, 2),)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=shapes), path)


def ask_all(
    engine: Engine,
    rows: Sequence[np.ndarray],
    output: str,
    answered: Callable[[int], None] = lambda count: None,
    **parameters: Any,
) -> list[httpx.Response]:
    """Send every request at once, each from a client of its own; tells how many are answered."""
    counted = itertools.count(1)

    async def one(client: httpx.AsyncClient, x: np.ndarray) -> httpx.Response:
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.tolist()}
        body = {"inputs": [tensor], "outputs": [{"name": output}], "parameters": parameters}
        reply = await client.post(f"{engine.graph_url('batching')}/infer", json=body)
        answered(next(counted))
        return reply

    async def run() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:
            return await asyncio.gather(*(one(client, x) for x in rows))

    return asyncio.run(run())


def ones(count: int) -> list[np.ndarray]:
    return [np.full((1, 2), number + 1, np.float32) for number in range(count)]


def test_every_answer_is_the_one_that_the_request_gets_alone(
    engine: Engine, graph: str, network: Any
) -> None:
    random = np.random.default_rng(0)
    rows = [
        random.standard_normal((number % 3 + 1, 2)).astype(np.float32)
        for number in range(3 * CLIENTS)
    ]
    for x, reply in zip(rows, ask_all(engine, rows, "y"), strict=True):
        with torch.inference_mode():
            expected = network(torch.from_numpy(x)).numpy()
        found = np.array(value(reply), np.float32).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_one_poisonous_request_among_many_fails_alone(engine: Engine, graph: str) -> None:
    rows = ones(CLIENTS)
    rows[17][:] = BAD
    replies = ask_all(engine, rows, "guard")
    bad = replies.pop(17)
    assert "node 'guard' failed: ValueError: a bad row" in error(bad, 500)
    answers = [value(reply, "guard") for reply in replies]
    assert [first for first, _ in answers] == [n + 1 for n in range(CLIENTS) if n != 17]
    # Each says how many rows it was called with.
    assert max(size for _, size in answers) > 1


def test_what_does_not_fit_in_the_queue_is_told_when_to_come_back(
    engine: Engine, graph: str, given_once: Given
) -> None:
    """The component returns when half of them have been refused, and not before."""

    def open_gate(count: int) -> None:
        if count == CLIENTS // 2:
            (given_once.folder / "gate").touch()

    replies = ask_all(engine, ones(CLIENTS), "narrow", open_gate)
    refused = [reply for reply in replies if reply.status_code != 200]
    assert len(refused) >= CLIENTS // 2
    for reply in refused:
        assert "node 'narrow' has its queue full" in error(reply, 503)
        assert int(reply.headers["retry-after"]) >= 1
    answered = [reply for reply in replies if reply.status_code == 200]
    assert answered
    assert all(value(reply, "narrow")[1] <= 2 for reply in answered)


def test_a_priority_that_is_none_is_the_callers_fault(engine: Engine, graph: str) -> None:
    (good,) = ask_all(engine, ones(1), "guard", priority=1)
    assert value(good, "guard") == [1, 1]
    (bad,) = ask_all(engine, ones(1), "guard", priority="high")
    assert "priority" in error(bad, 400)
