"""Four times as many requests as a batched node can take: ``python -m benchmarks.overload``.

The model waits as long for a batch as for a row, as a GPU does up to some size, so that this
measures the queue and not the processor. What is compared with:

- *capacity*: answers a second with twice as many clients as a batch has rows, so that a full batch
  always waits;
- *unloaded*: the latency of as many clients as a batch has rows. It is printed beside the bare time
  of one request that has a full batch of rows.
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

from benchmarks.client import percentile
from benchmarks.engine import Engine, engine
from benchmarks.load import Load, load
from benchmarks.open_loop import Answer, OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import outcome

SIZE = 32
MODEL_S = 0.2
TIMES = 4
WARM_UP_S = 1.0
COMPONENT = f"""
import time


class Model:
    def predict(self, x):
        time.sleep({MODEL_S})
        return -x
"""


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        url = _deploy(one, Path(name))
        bare = load(url, 1, 3, "python", _body(SIZE))
        unloaded = load(url, SIZE, 4, "python", _body(1))
        full = load(url, 2 * SIZE, 5, "python", _body(1))
        loop = OpenLoop(url, _body(1), TIMES * full.rate)
        memory = asyncio.run(_overload(one, loop, options.seconds))
    print(f"one request with {SIZE} rows: p50 {bare.p50:.0f} ms, p99 {bare.p99:.0f} ms")
    return _report(unloaded, full, loop, memory, options.seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--seconds", type=int, default=15, help="of overload (default: 15)")
    return parse(parser, seconds=3)


def _deploy(one: Engine, root: Path) -> str:
    (root / "components.py").write_text(COMPONENT)
    node = {"type": "predictor", "component": "components.py:Model", "inputs": {"x": "x"}}
    spec = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
        "nodes": {"model": {**node, "batching": {"max_size": SIZE}}},
        "outputs": {"y": "model"},
    }
    return one.deploy(root, "overload", spec)


def _body(rows: int) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": [1.0] * rows * 4}
    return json.dumps({"inputs": [tensor]}).encode()


async def _overload(one: Engine, loop: OpenLoop, seconds: float) -> list[int]:
    """Run the load; the resident memory of the router meanwhile, in bytes, twice a second."""
    (replica,) = one.replicas("overload")
    memory: list[int] = []

    async def watch() -> None:
        while True:
            memory.append(replica.memory_info().rss)
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    await loop.run(seconds + WARM_UP_S)
    watching.cancel()
    return memory


def _report(
    unloaded: Load, full: Load, loop: OpenLoop, memory: Sequence[int], seconds: float
) -> int:
    start = min(answer.at for answer in loop.answers) + WARM_UP_S
    answers = [answer for answer in loop.answers if answer.at >= start]
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    polite = sum(answer.status == 503 and answer.says_when for answer in refused)
    rate, early = len(accepted) / seconds, memory[len(memory) // 3]
    print(
        f"capacity {full.rate:.0f}/s, unloaded p99 {unloaded.p99:.0f} ms, "
        f"overload of {len(answers) / seconds:.0f}/s: {len(accepted)} accepted, "
        f"{len(refused)} refused, p50 {_ms(refused, 0.5):.1f} ms; {loop.broken} without an answer"
    )
    goals = [
        (
            f"refused with 503 and Retry-After: {polite} of {len(refused)}",
            polite == len(refused) > 0 and not loop.broken,
        ),
        (f"refused within, p99: {_ms(refused, 0.99):.1f} ms (goal: 100)", _ms(refused, 0.99) < 100),
        (
            f"accepted p99: {_ms(accepted, 0.99):.0f} ms, {_ms(accepted, 0.99) / unloaded.p99:.2f} "
            "x the unloaded one (goal: 2)",
            _ms(accepted, 0.99) <= 2 * unloaded.p99,
        ),
        (f"goodput: {rate / full.rate:.0%} of capacity (goal: 90 %)", rate >= 0.9 * full.rate),
        (
            f"memory: {early / 2**20:.0f} MiB after a third, {memory[-1] / 2**20:.0f} at the end "
            "(goal: 5 % more)",
            memory[-1] <= 1.05 * early,
        ),
    ]
    return outcome(goals)


def _ms(answers: Sequence[Answer], share: float) -> float:
    return percentile(sorted(answer.seconds for answer in answers), share) * 1e3


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - started:.0f} s")
    sys.exit(code)
