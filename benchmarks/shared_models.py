"""Graphs that share a model against graphs with copies: ``python -m benchmarks.shared_models``.

An engine with four graphs over one model of some MiB, each with a copy of it, and then over the
same model deployed once. Figures are the memory of all of their processes, the requests a second
when all four are asked at once, and the latency of one client of one graph, by which it shows what
a call of a shared model adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engine import Engine, engine
from benchmarks.load import load, tool
from benchmarks.options import parse
from benchmarks.outcome import outcome

GRAPHS = 4
CONNECTIONS = 8
"""Of each graph."""
MIB = 2**20
MODEL = "shared-model"
GOAL_MEMORY, GOAL_CALL_MS = 0.6, 1.0
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}]}
).encode()
CODE = """
import numpy as np


class Weighty:
    def __init__(self, mib):
        self.weights = np.ones((mib * 2**16, 4), np.float32)

    def predict(self, x):
        return {"score": (x @ self.weights[:64].T).sum(axis=1)}
"""
SCORE = {"score": {"datatype": "FP32", "shape": [-1]}}
X = {"x": {"datatype": "FP32", "shape": [-1, 4]}}


class Measured(NamedTuple):
    """Four graphs: bytes of their processes, requests a second, and milliseconds of one client."""

    bytes: int
    rate: float
    p50: float


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_models", description=__doc__)
    parser.add_argument("--mib", type=int, default=256, help="of the model (default: 256)")
    parser.add_argument("--seconds", type=int, default=15, help="of each load (default: 15)")
    options = parse(parser, mib=16, seconds=2)
    own = {"component": "components.py:Weighty", "args": {"mib": options.mib}, "outputs": SCORE}
    with engine() as one, tempfile.TemporaryDirectory(prefix="ab-") as name:
        root = Path(name)
        (root / "components.py").write_text(CODE)
        copies = _measured(one, root, "copy", own, options.seconds)
        one.deploy(root, MODEL, {**own, "inputs": X}, kind="Model")
        using = {"model": f"shared://{MODEL}"}
        shared = _measured(one, root, "user", using, options.seconds, MODEL)
    for title, found in {"a copy in each": copies, "one shared model": shared}.items():
        mib = found.bytes / MIB
        print(f"{title:20}{mib:10,.0f} MiB{found.rate:10,.0f} requests/s{found.p50:8.2f} ms")
    memory, call = shared.bytes / copies.bytes, shared.p50 - copies.p50
    return outcome(
        [
            (f"{memory:.2f} <= {GOAL_MEMORY} x the memory of copies", memory <= GOAL_MEMORY),
            (f"a call adds {call:.2f} <= {GOAL_CALL_MS:g} ms", call <= GOAL_CALL_MS),
        ]
    )


def _measured(
    one: Engine, root: Path, kind: str, model: dict[str, Any], seconds: int, *others: str
) -> Measured:
    """Deploy four graphs, ask them, and take them down."""
    node = {"type": "predictor", "inputs": {"x": "x"}, **model}
    spec = {"inputs": X, "nodes": {"score": node}, "outputs": {"y": "score.score"}}
    names = [f"{kind}-{number}" for number in range(GRAPHS)]
    urls = [one.deploy(root, name, spec) for name in names]
    alone = load(urls[0], 1, seconds, tool(), BODY)
    with ThreadPoolExecutor(GRAPHS) as pool:
        loads = pool.map(lambda url: load(url, CONNECTIONS, seconds, tool(), BODY), urls)
        rate = sum(found.rate for found in loads)
    running = [process for name in (*names, *others) for process in one.replicas(f"{name}:")]
    running += [process for name in others for process in one.replicas(f"{name}.")]
    taken = sum(process.memory_full_info().pss for process in running)
    for name in names:
        one.command("delete", name, "--yes")
    return Measured(taken, rate, alone.p50)


if __name__ == "__main__":
    sys.exit(main())
