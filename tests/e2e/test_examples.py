"""The examples over real HTTP give what ``graph.run()`` gives, however their nodes are placed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from anabranch import Graph
from tests.e2e.conftest import value
from tests.engines import Engine

pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained copy of the example."""
    import subprocess

    folder = tmp_path_factory.mktemp("examples") / "digits"
    shutil.copytree(EXAMPLES / "digits", folder, ignore=shutil.ignore_patterns("models"))
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def deployed(engine: Engine) -> Iterator[list[str]]:
    names: list[str] = []
    yield names
    with engine.control() as control:
        for name in names:
            control.delete(name)
    engine.leaving.update(names)


def deploy(engine: Engine, path: Path, deployed: list[str]) -> str:
    name = str(yaml.safe_load(path.read_text())["metadata"]["name"])
    engine.until_left()
    deployed.append(name)
    done = engine.command("deploy", str(path))
    assert done.returncode == 0, done.stderr
    return name


def plan(engine: Engine, path: Path) -> dict[str, object]:
    done = engine.command("plan", str(path), "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("apart", [False, True])
def test_digits_in_one_process_and_with_the_network_in_another(
    engine: Engine, digits: Path, deployed: list[str], apart: bool
) -> None:
    path = digits / "graph.yaml"
    with np.load(digits / "models" / "held_out.npz") as held_out:
        pixels = held_out["pixels"][:32]
    with Graph.load(path) as graph:
        expected = graph.run({"pixels": pixels})
    tensor = {
        "name": "pixels",
        "datatype": "FP32",
        "shape": list(pixels.shape),
        "data": pixels.ravel().tolist(),
    }

    def answers_agree() -> None:
        reply = engine.infer("digits", {"inputs": [tensor]})
        found = np.array(value(reply, "probabilities")).reshape(-1, 10)
        np.testing.assert_allclose(found, expected["probabilities"], atol=1e-6)
        assert value(reply, "digit") == expected["digit"].tolist()

    found = plan(engine, path)
    assert [part["name"] for part in found["segments"]] == ["head"]
    assert found["critical_path_hops"] == 0
    deploy(engine, path, deployed)
    answers_agree()
    if not apart:
        return

    spec = yaml.safe_load(path.read_text())
    spec["spec"]["nodes"]["net"]["resources"] = {"cpu": 1}
    path.write_text(yaml.safe_dump(spec))
    found = plan(engine, path)
    assert [part["name"] for part in found["segments"]] == ["head", "net"]
    assert found["segments"][1]["resources"] == {"cpu": 1.0}
    assert found["critical_path_hops"] == 1
    done = engine.command("deploy", str(path))
    assert done.returncode == 0, done.stderr
    answers_agree()


def test_routing_by_header_and_by_weight(engine: Engine, deployed: list[str]) -> None:
    name = deploy(engine, EXAMPLES / "routing" / "graph.yaml", deployed)
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}]}
    gold = engine.infer(name, body, headers={"x-tier": "gold"})
    assert value(gold, "terms") == [20]
    assert value(gold, "value")[0] == pytest.approx(np.e, abs=1e-12)
    with httpx.Client(timeout=60) as client:
        url = f"{engine.graph_url(name)}/infer"
        terms = [value(client.post(url, json=body), "terms")[0] for _ in range(400)]
    # One in ten, by independent draws: the odds of leaving this range are below one in a million.
    assert set(terms) == {4, 20}
    assert 12 <= terms.count(20) <= 75


def test_testers_see_the_canary_and_everybody_else_does_not(
    engine: Engine, tmp_path: Path, deployed: list[str]
) -> None:
    folder = tmp_path / "canary"
    shutil.copytree(EXAMPLES / "canary", folder)
    path = folder / "graph.yaml"
    name = deploy(engine, path, deployed)
    path.write_text(path.read_text().replace("rush: 1.4", "rush: 2.0"))
    done = engine.command("deploy", str(path), "--canary", "0")
    assert done.returncode == 0, done.stderr
    trip = {"name": "trip", "datatype": "FP32", "shape": [1, 2], "data": [10.0, 8.0]}
    body = {"inputs": [trip]}
    for _ in range(20):
        tester = engine.infer(name, body, headers={"x-tester": "yes"})
        assert value(tester, "minutes") == [33]
        assert value(engine.infer(name, body), "minutes") == [24]


def test_a_new_revision_of_the_canary_is_rolled_out(
    engine: Engine, tmp_path: Path, deployed: list[str]
) -> None:
    folder = tmp_path / "canary"
    shutil.copytree(EXAMPLES / "canary", folder)
    name = deploy(engine, folder / "graph.yaml", deployed)
    first = engine.graph(name)["live"]
    done = engine.command("deploy", str(folder / "graph.yaml"), "--force")
    assert "in a rollout, step 1 of 3: 5 % of the traffic" in done.stdout, done.stderr
    done = engine.command("rollout", name, "status")
    assert "judged by error_rate <= 0.01, latency_p95 <= 50ms" in done.stdout, done.stderr
    assert engine.command("rollout", name, "promote", "--full").returncode == 0
    assert engine.graph(name)["live"] == first + 1


def test_the_quickstart(engine: Engine, deployed: list[str]) -> None:
    path = EXAMPLES / "quickstart" / "graph.yaml"
    name = deploy(engine, path, deployed)
    done = engine.command("infer", name, "--input", "fruit=[[0.8, 0.3]]", "-o", "json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["outputs"]
    with Graph.load(path) as graph:
        expected = graph.run({"fruit": np.array([[0.8, 0.3]], np.float32)})["probabilities"]
    np.testing.assert_allclose(found["data"], expected[0], atol=1e-6)
