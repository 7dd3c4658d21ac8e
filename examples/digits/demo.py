"""Train, serve and check the digits graph: what ``make demo`` runs.

Starts an engine of its own on free ports, deploys the graph and the variants of ``variants.py``,
sends every held-out image to each over HTTP with 16 requests in flight, compares the answers with
``graph.run()`` in this process, and takes everything down again, also on failure and on Ctrl-C.
Exits 1 if anything is not as it should be.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import train
from variants import VARIANTS, Variant

import anabranch
from anabranch.graph.plan.plan import Plan

HERE = Path(__file__).parent
SPEC = HERE / "graph.yaml"
IN_FLIGHT = 16
ROUNDS = 2
TOLERANCE = 1e-6
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """The digit and the probabilities ``[10]`` of one image, and the latency in seconds."""

    digit: int
    probabilities: npt.NDArray[np.float64]
    seconds: float


@dataclass
class Run:
    """A deployed variant with its answers, round by round, and the seconds of all rounds."""

    variant: Variant
    plan: Plan
    url: str
    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0

    def turn(self, images: Images) -> None:
        """Send all images once."""
        start = time.perf_counter()
        self.answers += asyncio.run(ask_all(self.url, images))
        self.seconds += time.perf_counter() - start

    def row(self) -> str:
        """The line of the table of results."""
        p50, p99 = np.percentile([answer.seconds * 1000 for answer in self.answers], [50, 99])
        rate = len(self.answers) / self.seconds
        segments, hops = len(self.plan.segments), self.plan.critical_path_hops
        return f"{self.variant.title:28}{segments:10}{hops:6}{p50:9.1f}{p99:9.1f}{rate:12.0f}"


def main() -> int:
    """Run the demo; 0 if every answer was right by ``graph.run()``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say("Training a random forest and a network on scikit-learn's digits")
    train.main()
    with np.load(HERE / "models" / "held_out.npz") as held_out:
        images, digits = held_out["pixels"], held_out["digits"]
    with tempfile.TemporaryDirectory(prefix="anabranch-demo-") as home, engine(home) as url:
        runs = [deploy(home, url, variant) for variant in VARIANTS]
        say(f"Sending {len(images)} held-out images over HTTP, {IN_FLIGHT} in flight, by turns")
        for one in runs:
            asyncio.run(ask_all(one.url, images[: 2 * IN_FLIGHT]))  # warm, and not counted
        for one in ROUNDS * runs:
            one.turn(images)
    return report(runs, digits, largest_difference(runs, images))


def deploy(home: str, url: str, variant: Variant) -> Run:
    """Deploy a variant and show its plan."""
    say(f"Deploying {variant.title}")
    with variant.written(HERE) as spec:
        anabranch_command(home, "deploy", str(spec))
        anabranch_command(home, "plan", str(spec))
        plan = anabranch.Graph.load(spec).plan
    return Run(variant, plan, f"{url}/v2/models/{variant.name}/infer")


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
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        return await asyncio.gather(*(ask(client, url, slots, image) for image in images))


async def ask(
    client: httpx.AsyncClient, url: str, slots: asyncio.Semaphore, image: Images
) -> Answer:
    """Send one image of 64 pixels over the Open Inference Protocol."""
    pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": image.tolist()}
    async with slots:
        start = time.perf_counter()
        reply = await client.post(url, json={"inputs": [pixels]})
        seconds = time.perf_counter() - start
    outputs: dict[str, Any] = {
        one["name"]: one["data"] for one in reply.raise_for_status().json()["outputs"]
    }
    return Answer(outputs["digit"][0], np.array(outputs["probabilities"]), seconds)


def largest_difference(runs: Sequence[Run], images: Images) -> float:
    """How far any answer is from what ``graph.run()`` gives in this process."""
    graph = anabranch.Graph.load(SPEC)
    worst = 0.0
    for number, image in enumerate(images):
        local = graph.run({"pixels": image[None]})
        for answer in (answer for one in runs for answer in one.answers[number :: len(images)]):
            gap = np.abs(local["probabilities"][0] - answer.probabilities).max()
            worst = max(worst, float(gap), abs(int(local["digit"][0]) - answer.digit))
    return worst


def report(runs: Sequence[Run], digits: npt.NDArray[np.int64], difference: float) -> int:
    """Print what was measured; 1 if an answer differs from ``graph.run()``."""
    answers = runs[0].answers[: len(digits)]
    right = sum(answer.digit == digit for answer, digit in zip(answers, digits, strict=True))
    equal = difference <= TOLERANCE
    say("Results")
    print(f"{'':28}{'segments':>10}{'hops':>6}{'p50 ms':>9}{'p99 ms':>9}{'requests/s':>12}")
    for one in runs:
        print(one.row())
    print(f"\naccuracy    {right / len(answers):.1%} of {len(answers)} images")
    print(f"graph.run() {'agrees' if equal else 'DIFFERS'}: largest difference {difference:.1e}")
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} exited {error.returncode}")
    except KeyboardInterrupt:
        sys.exit(130)
