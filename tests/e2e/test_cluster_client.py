"""From a machine without Ray, commands do everything with an engine on another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.machines import Machine, Network

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
GRAPH = str(Path.cwd() / "examples/quickstart/graph.yaml")
WITHOUT_RAY = {"PYTHONPATH": f"/tmp/none:{Path.cwd()}"}
FRUIT = '{"fruit": [[0.9, 0.2]]}'


@dataclass
class Laptop:
    """A machine on which Ray cannot be imported; ``there`` are the options that name the engine."""

    machine: Machine
    there: list[str]

    def text(self, *words: str) -> str:
        """What a command prints on stdout."""
        done = self.machine.run("anabranch", *self.there, *words, env=WITHOUT_RAY)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "-o", "json"))


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with Network() as network:
        head, other = network.machine("head"), network.machine("laptop")
        files = Authority(head.path("/tmp")).issue("engine", addresses=[head.address])
        own = [f"/tmp/{file.name}" for file in (files.cert, files.key)]
        listening = ["--host", head.address, "--tls-cert", own[0], "--tls-key", own[1]]
        up = head.run("anabranch", "up", *listening)
        assert up.returncode == 0, up.stderr
        token = head.path("/tmp/home/.anabranch/token").read_text()
        other.path("/tmp/key").write_text(token)
        other.path("/tmp/key").chmod(0o600)
        other.path("/tmp/ca.pem").write_bytes(head.path("/tmp/authority.pem").read_bytes())
        other.path("/tmp/none").mkdir()
        other.path("/tmp/none/ray.py").write_text("raise ImportError('no Ray on this machine')")
        url = f"https://{head.address}:8000"
        yield Laptop(other, ["--url", url, "--token-file", "/tmp/key", "--ca", "/tmp/ca.pem"])


def test_ray_cannot_be_imported_there(laptop: Laptop) -> None:
    done = laptop.machine.run("python", "-c", "import ray", env=WITHOUT_RAY)
    assert "no Ray on this machine" in done.stderr


def test_a_laptop_deploys_asks_and_moves_traffic(laptop: Laptop) -> None:
    first = laptop.json("deploy", GRAPH)
    assert (first["revision"], first["state"]) == (1, "live")
    answer = laptop.json("infer", "quickstart", "-d", FRUIT)
    assert answer["outputs"][0]["data"] == pytest.approx([0.0295385, 0.9704615], abs=1e-6)
    second = laptop.json("deploy", GRAPH, "--force", "--canary", "50")
    assert second["revision"] == 2
    moved = laptop.json("traffic", "quickstart", "r1=25", "r2=75")
    assert moved["weights"] == {"1": 25, "2": 75}
    asked = laptop.json("infer", "quickstart", "-d", FRUIT, "--repeat", "20")
    assert asked["failed"] == 0
    laptop.text("promote", "quickstart")
    assert laptop.json("status", "quickstart")["live"] == 2
    assert [one["revision"] for one in laptop.json("history", "quickstart")["revisions"]] == [2, 1]
    laptop.text("logs", "quickstart", "--tail", "5")
    kinds = [json.loads(line)["kind"] for line in laptop.text("events", "-o", "json").splitlines()]
    assert kinds.count("promoted") == 2
    laptop.text("delete", "quickstart", "--yes")


def test_what_is_about_the_engine_s_machine_is_refused_there(laptop: Laptop) -> None:
    done = laptop.machine.run("anabranch", *laptop.there, "down")
    assert done.returncode == 2
    assert "own machine only" in done.stderr.replace("\n", " ")
