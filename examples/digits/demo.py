"""Train, serve and check the digits graph: what ``make demo`` runs.

Starts an engine of its own on free ports, deploys the graph, sends every held-out image over HTTP
with 16 requests in flight, compares the answers with ``graph.run()`` in this process, and takes
everything down again, also on failure and on Ctrl-C. Exits 1 if anything is not as it should be.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import train

import anabranch

HERE = Path(__file__).parent
SPEC = HERE / "graph.yaml"
IN_FLIGHT = 16
TOLERANCE = 1e-6
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What came back for one image, and after how many seconds."""

    digit: int
    probabilities: npt.NDArray[np.float64]
    seconds: float


def main() -> int:
    """Run the demo; 0 if every answer was right by ``graph.run()``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say("Training a random forest and a network on scikit-learn's digits")
    train.main()
    with np.load(HERE / "models" / "held_out.npz") as held_out:
        images, digits = held_out["pixels"], held_out["digits"]
    with tempfile.TemporaryDirectory(prefix="anabranch-demo-") as home, engine(home) as url:
        say("Deploying examples/digits")
        anabranch_command(home, "deploy", str(SPEC))
        say("The plan")
        anabranch_command(home, "plan", str(SPEC))
        say(f"Sending {len(images)} held-out images over HTTP, {IN_FLIGHT} in flight")
        answers = asyncio.run(ask_all(url, images))
    return report(answers, digits, largest_difference(answers, images))


def say(text: str) -> None:
    """Announce a step."""
    print(f"\n==> {text}", flush=True)


def anabranch_command(home: str, *arguments: str, capture: bool = False) -> str:
    """Run the command line as a user would, for the engine of ``home``."""
    command = [str(Path(sys.executable).with_name("anabranch")), *arguments]
    environment = {**os.environ, "ANABRANCH_HOME": home}
    done = subprocess.run(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        check=True,
    )
    return done.stdout or ""


@contextmanager
def engine(home: str) -> Iterator[str]:
    """Start an engine on free ports and stop it at the end, however that comes; gives its URL."""
    http, grpc, dashboard = free_ports(3)
    say("Starting an engine")
    try:
        started = anabranch_command(
            home,
            *("up", "-o", "json", "--http-port", http, "--grpc-port", grpc),
            *("--dashboard-port", dashboard),
            capture=True,
        )
        yield json.loads(started)["http"]
    finally:
        say("Stopping the engine")
        anabranch_command(home, "down")


def free_ports(count: int) -> list[str]:
    """Ports that are free on loopback now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in sockets]


async def ask_all(url: str, images: Images) -> list[Answer]:
    """Send one request for each image, in order of ``images``."""
    slots = asyncio.Semaphore(IN_FLIGHT)
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        return await asyncio.gather(*(ask(client, slots, image) for image in images))


async def ask(client: httpx.AsyncClient, slots: asyncio.Semaphore, image: Images) -> Answer:
    """Send one image of 64 pixels over the Open Inference Protocol."""
    pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": image.tolist()}
    async with slots:
        start = time.perf_counter()
        reply = await client.post("/v2/models/digits/infer", json={"inputs": [pixels]})
        seconds = time.perf_counter() - start
    outputs: dict[str, Any] = {
        one["name"]: one["data"] for one in reply.raise_for_status().json()["outputs"]
    }
    return Answer(outputs["digit"][0], np.array(outputs["probabilities"]), seconds)


def largest_difference(answers: Sequence[Answer], images: Images) -> float:
    """How far any answer is from what ``graph.run()`` gives in this process."""
    graph = anabranch.Graph.load(SPEC)
    worst = 0.0
    for answer, image in zip(answers, images, strict=True):
        local = graph.run({"pixels": image[None]})
        gap = np.abs(local["probabilities"][0] - answer.probabilities).max()
        worst = max(worst, float(gap), abs(int(local["digit"][0]) - answer.digit))
    return worst


def report(answers: Sequence[Answer], digits: npt.NDArray[np.int64], difference: float) -> int:
    """Print what was measured; 1 if an answer differs from ``graph.run()``."""
    right = sum(answer.digit == digit for answer, digit in zip(answers, digits, strict=True))
    p50, p99 = np.percentile([answer.seconds * 1000 for answer in answers], [50, 99])
    equal = difference <= TOLERANCE
    say("Results")
    print(f"accuracy    {right / len(answers):.1%} of {len(answers)} images")
    print(f"latency     p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"graph.run() {'agrees' if equal else 'DIFFERS'}: largest difference {difference:.1e}")
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} exited {error.returncode}")
    except KeyboardInterrupt:
        sys.exit(130)
