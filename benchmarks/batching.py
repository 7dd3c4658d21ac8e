"""What batching brings and costs: ``python -m benchmarks.batching``.

The same PyTorch network on the CPU is deployed twice, without and with ``batching``, and is asked
over HTTP by 64 clients and by one, in turns. Every answer of a batch is compared with the one that
the network gives to that row alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.engine import Engine, engine
from benchmarks.load import Load, load

CLIENTS = 64
WIDTH = 64
HIDDEN = 2048
DEPTH = 3
GOAL_GAIN = 3.0
GOAL_COST_MS = 0.2
GOAL_ERROR = 1e-6
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batched": {"batching": {"max_size": CLIENTS}},
}


def main() -> int:
    """Measure and print; 1 if a goal is missed."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        root = Path(name)
        _export(root / "net.pt2")
        urls = {name: _deploy(one, root, name) for name in CONFIGURATIONS}
        worst = asyncio.run(_worst_error(urls))
        many = _loads(urls, CLIENTS, options.seconds, options.rounds)
        single = _loads(urls, 1, options.seconds, options.rounds)
    return _report(many, single, worst)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="of each (default: 3)")
    return parser.parse_args()


def _export(path: Path) -> None:
    """Write a network whose weights are read once for a batch, and once for each row without."""
    import torch

    torch.manual_seed(0)
    sizes = [WIDTH, *[HIDDEN] * DEPTH, 8]
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.Tanh()]
    rows = torch.export.Dim("rows", min=1, max=4096)
    program = torch.export.export(
        torch.nn.Sequential(*layers).eval(), (torch.zeros(2, WIDTH),), dynamic_shapes=({0: rows},)
    )
    torch.export.save(program, path)


def _deploy(one: Engine, root: Path, name: str) -> str:
    node = {"type": "predictor", "runtime": "torch", "model": "net.pt2", "inputs": {"input": "x"}}
    spec = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, WIDTH]}},
        "nodes": {"net": {**node, **CONFIGURATIONS[name]}},
        "outputs": {"y": "net"},
    }
    return one.deploy(root, name, spec)


def _body(row: Sequence[float]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": list(row)}
    return json.dumps({"inputs": [tensor]}).encode()


def _loads(
    urls: dict[str, str], connections: int, seconds: int, rounds: int
) -> dict[str, list[Load]]:
    """Load each in turn, so that what else the machine does hits all alike."""
    found: dict[str, list[Load]] = {name: [] for name in urls}
    body = _body([0.5] * WIDTH)
    for _ in range(rounds):
        for name, url in urls.items():
            found[name].append(load(url, connections, seconds, "python", body))
    return found


async def _worst_error(urls: dict[str, str]) -> float:
    """The largest relative difference between what a row gets in a batch and what it gets alone."""
    rows = np.random.default_rng(0).standard_normal((CLIENTS, WIDTH)).astype(np.float32)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        alone = [await _answer(client, urls["plain"], row) for row in rows]
        together = await asyncio.gather(*(_answer(client, urls["batched"], row) for row in rows))
    return float(np.max(np.abs(np.array(alone) - np.array(together))))


async def _answer(client: httpx.AsyncClient, url: str, row: np.ndarray) -> list[float]:
    reply = await client.post(url, content=_body(row.tolist()))
    reply.raise_for_status()
    data: list[float] = reply.json()["outputs"][0]["data"]
    return data


def _report(many: dict[str, list[Load]], single: dict[str, list[Load]], worst: float) -> int:
    for title, loads in ((f"{CLIENTS} clients", many), ("1 client", single)):
        for name, found in loads.items():
            print(
                f"{title:>10} {name:>8}: {_median([one.rate for one in found]):7.0f} requests/s, "
                f"p50 {_median([one.p50 for one in found]):8.2f} ms, "
                f"p99 {_median([one.p99 for one in found]):8.2f} ms, "
                f"{sum(one.failed for one in found)} failed"
            )
    rates = {name: _median([one.rate for one in found]) for name, found in many.items()}
    times = {name: _median([one.p50 for one in found]) for name, found in single.items()}
    gain, cost = rates["batched"] / rates["plain"], times["batched"] - times["plain"]
    goals = [
        (f"throughput at {CLIENTS} clients: {gain:.1f} x (goal: {GOAL_GAIN:g})", gain >= GOAL_GAIN),
        (f"added for one client: {cost:.2f} ms (goal: {GOAL_COST_MS:g})", cost <= GOAL_COST_MS),
        (f"largest difference: {worst:.1e} (goal: {GOAL_ERROR:g})", worst <= GOAL_ERROR),
    ]
    for text, met in goals:
        print("met   " if met else "MISSED", text)
    return 0 if all(met for _, met in goals) else 1


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    sys.exit(main())
