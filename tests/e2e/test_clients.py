"""Foreign clients, unmodified, each in an environment of its own, with two graphs live at once.

Their libraries cannot share a process with each other, nor with the engine's own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Given
from tests.engines import Engine
from tests.environments import environment

pytestmark = pytest.mark.e2e

CLIENTS = {
    "triton_client": "tritonclient[http,grpc]>=2.60",
    "kserve_client": "kserve>=0.17",
    "openapi_client": "open-inference-openapi>=2.0",
}
CODE = """
class Double:
    def transform(self, x):
        return x * 2

class Words:
    def transform(self, text, count):
        return {"same": text, "next": count + 1}
"""
FLOATS = {"datatype": "FP32", "shape": [-1, 2]}
TEXTS = {"datatype": "BYTES", "shape": [-1]}
COUNTS = {"datatype": "INT64", "shape": [-1]}


def graph(name: str, inputs: dict, outputs: dict, component: str) -> dict:  # type: ignore[type-arg]
    node = {
        "type": "transformer",
        "component": f"components.py:{component}",
        "inputs": {key: key for key in inputs},
        "outputs": outputs,
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {
            "inputs": inputs,
            "nodes": {"all": node},
            "outputs": {key: f"all.{key}" for key in outputs},
            "protocols": ["v1"],
        },
    }


@pytest.fixture(scope="module")
def both(given_once: Given) -> None:
    doubler = graph("doubler", {"x": FLOATS}, {"y": FLOATS}, "Double")
    given_once.deployed(doubler, CODE)
    taken, given = (
        {"text": TEXTS | {"content": "raw"}, "count": COUNTS},
        {"same": TEXTS, "next": COUNTS},
    )
    given_once.deployed(graph("words", taken, given, "Words"), CODE)


@pytest.mark.parametrize(
    "client",
    [
        "triton_client",
        "openapi_client",
        pytest.param("kserve_client", marks=pytest.mark.nightly),  # has many dependencies
    ],
)
def test_a_foreign_client_reaches_both_graphs(
    client: str, engine: Engine, both: None, tmp_path: Path
) -> None:
    python = environment(tmp_path / "environment", CLIENTS[client])
    script = Path(__file__).parent / "clients" / f"{client}.py"
    http, grpc = (f"127.0.0.1:{getattr(engine.ports, kind)}" for kind in ("http", "grpc"))
    command = [str(python), str(script), http, grpc]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "all is well", done.stderr[-3000:]
