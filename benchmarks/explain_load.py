"""Predictions beside an explainer that never rests: ``python -m benchmarks.explain_load``.

Requests leave 200 times a second, by turns without and with an explainer whose queue is full: each
explanation asks the model for ten seconds without a pause, until it is given up at the end of the
turn, and as many more wait as may. Figures are medians over turns, each of which has a percentile
of its own: so a burst of something else on the machine spoils one turn and not the figure. Two
graphs are measured: one whose model is in the router, so that the explainer has a copy, and one
whose model has a deployment of its own, which the explainer calls.

The load, the engine and the explainer share the machine. Last, the explainer's process is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.client import percentile
from benchmarks.engine import Engine, engine
from benchmarks.open_loop import Answer, OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import outcome
from benchmarks.phase import WARM_UP_S, Phase

RATE = 200
"""Predictions a second."""
ASKED = 20
"""Explanations that are asked for, a second."""
EXPLAIN_S = 10
BACK_S = 15
SLOWER_MS, SLOWER = 5.0, 0.1
"""How much later the 99th percentile may come: the larger of milliseconds and a share."""
COMPONENTS = f"""
import time

import numpy as np


class Model:
    def __init__(self):
        draws = np.random.default_rng(0)
        self.layers = [draws.normal(size=(30, 256)), draws.normal(size=(256, 2))]

    def predict(self, x):
        return np.tanh(x @ self.layers[0]) @ self.layers[1]


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        ends = time.monotonic() + {EXPLAIN_S}
        rows = np.repeat(x, 2048, axis=0)
        while time.monotonic() < ends:
            self.model({{"x": rows}})
        return "nothing"
"""


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    goals: list[tuple[str, bool]] = []
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        (Path(name) / "components.py").write_text(COMPONENTS)
        for graph, more in (("copied", {}), ("called", {"scaling": {"replicas": 1}})):
            url = one.deploy(Path(name), graph, _spec(more))
            goals += asyncio.run(_measured(graph, url, options))
            goals.append(asyncio.run(_killed(one, graph, url)))
    return outcome(goals)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain_load")
    parser.add_argument("--seconds", type=float, default=4, help="of each turn (default: 4)")
    parser.add_argument("--turns", type=int, default=5, help="of each kind (default: 5)")
    return parse(parser, seconds=1, turns=1)


def _spec(more: dict[str, Any]) -> dict[str, Any]:
    model = {"type": "predictor", "component": "components.py:Model", "inputs": {"x": "x"}, **more}
    why = {
        "type": "explainer", "component": "components.py:Why", "explains": "model",
        "timeout": f"{EXPLAIN_S}s", "scaling": {"replicas": 1, "max_queue": 4},
    }  # fmt: skip
    return {
        "inputs": {"x": {"datatype": "FP64", "shape": [-1, 30]}},
        "nodes": {"model": model, "why": why},
        "outputs": {"y": "model"},
    }


def _body(**parameters: int) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 30], "data": [0.5] * 30}
    return json.dumps({"inputs": [tensor], "parameters": parameters}).encode()


def _explanations(url: str, seconds: float, rate: float) -> OpenLoop:
    """Asks for explanations, each of which is given up after ``seconds``."""
    return OpenLoop(f"{url.removesuffix('infer')}explain", _body(timeout=int(seconds * 1e6)), rate)


async def _turn(url: str, seconds: float, into: Phase, explained: bool) -> list[Answer]:
    """One turn; what was answered to who asked for explanations."""
    predictions = OpenLoop(url, _body(), RATE)
    if not explained:
        await predictions.run(seconds + WARM_UP_S)
        into.add(predictions)
        return []
    explanations = _explanations(url, seconds, ASKED)
    await asyncio.gather(
        predictions.run(seconds + WARM_UP_S), explanations.run(seconds + WARM_UP_S)
    )
    into.add(predictions)
    return explanations.answers


async def _measured(name: str, url: str, options: argparse.Namespace) -> list[tuple[str, bool]]:
    alone, beside = Phase(), Phase()
    asked: list[Answer] = []
    for _ in range(options.turns):
        await _turn(url, options.seconds, alone, explained=False)
        asked += await _turn(url, options.seconds, beside, explained=True)
        await asyncio.sleep(1)
    refused = [answer for answer in asked if answer.status == 503]
    print(
        f"{name}: alone p50 {alone.p50:.2f} ms, p99 {alone.p99:.2f} ms; beside explanations "
        f"p50 {beside.p50:.2f} ms, p99 {beside.p99:.2f} ms; of {len(asked)} explanations "
        f"{len(refused)} were refused, p99 {_p99(refused):.1f} ms"
    )
    limit = alone.p99 + max(SLOWER_MS, SLOWER * alone.p99)
    return [
        (f"{name}: p99 {beside.p99:.2f} ms (goal: {limit:.2f})", beside.p99 <= limit),
        (f"{name}: {beside.failed} predictions failed (goal: 0)", beside.failed == 0),
        (f"{name}: the queue was full: {len(refused)} refused", len(refused) > 0),
    ]


def _p99(answers: Sequence[Answer]) -> float:
    return percentile(sorted(answer.seconds for answer in answers), 0.99) * 1e3 if answers else 0.0


async def _killed(one: Engine, name: str, url: str) -> tuple[str, bool]:
    """Kill the explainer below predictions; when it explains again, and what they felt of it."""
    phase = Phase()
    load = asyncio.create_task(_turn(url, BACK_S, phase, explained=False))
    await asyncio.sleep(WARM_UP_S)
    (replica,) = one.replicas(f"{name}.r1:why")
    replica.kill()
    started, took = time.monotonic(), float("inf")
    while time.monotonic() - started < BACK_S:
        await asyncio.sleep(0.1)
        found = one.replicas(f"{name}.r1:why")
        if found and found[0].pid != replica.pid and await _takes(url):
            took = time.monotonic() - started
            break
    await load
    text = (
        f"{name}: killed, back after {took:.1f} s (goal: {BACK_S}), meanwhile p99 "
        f"{phase.p99:.2f} ms and {phase.failed} predictions failed (goal: 0)"
    )
    return text, took <= BACK_S and phase.failed == 0


async def _takes(url: str) -> bool:
    """Whether the explainer works on a request: then it is given up, and late."""
    once = _explanations(url, 0.3, 40)
    await once.run(0.1)
    return any(answer.status == 504 for answer in once.answers)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - began:.0f} s")
    sys.exit(code)
