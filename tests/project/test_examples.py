"""The examples do what they say, evaluated in this process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from anabranch import Graph
from anabranch.graph.compile.loading import load_text

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/graph.yaml"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the digits example."""
    folder = tmp_path_factory.mktemp("examples") / "digits"
    shutil.copytree(EXAMPLES / "digits", folder, ignore=shutil.ignore_patterns("models"))
    return folder


@pytest.fixture(scope="module")
def digits(untrained: Path) -> Path:
    """Return the copy with its models trained."""
    for module in ("sklearn", "torch", "joblib"):
        pytest.importorskip(module)
    subprocess.run([sys.executable, untrained / "train.py"], check=True)
    return untrained


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the explained example with its forest trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("sklearn", "joblib", "alibi.explainers"):
            pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("examples") / "explained"
    shutil.copytree(EXAMPLES / "explained", folder, ignore=shutil.ignore_patterns("models"))
    subprocess.run([sys.executable, folder / "train.py"], check=True)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_light_graphs(name: str) -> None:
    plan = Graph.load(EXAMPLES / name / "graph.yaml").plan
    assert plan.name == name
    assert {part.name for part in plan.segments} == {"head", *plan.signature.explainers}
    assert plan.critical_path_hops == 0
    assert plan.warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_examples_survive_being_written_and_read_again(name: str, tmp_path: Path) -> None:
    graph = Graph.load(EXAMPLES / name / "graph.yaml")
    graph.save(tmp_path / "graph.yaml")
    again = Graph.load(tmp_path / "graph.yaml")
    assert again.spec == graph.spec
    assert again.plan == graph.plan


def test_quickstart_knows_ripe_from_unripe() -> None:
    graph = Graph.load(EXAMPLES / "quickstart" / "graph.yaml")
    answer = graph.run({"fruit": np.float32([[0.9, 0.2], [0.1, 0.9]])})["probabilities"]
    assert answer.argmax(axis=-1).tolist() == [1, 0]
    np.testing.assert_allclose(answer.sum(axis=-1), 1, rtol=1e-6)


def test_gold_always_gets_the_exact_model() -> None:
    graph = Graph.load(EXAMPLES / "routing" / "graph.yaml")
    for _ in range(50):
        answer = graph.run({"x": np.array([1.0])}, headers={"X-Tier": "gold"})
        assert answer["terms"].tolist() == [20]
        np.testing.assert_allclose(answer["value"], [np.e], rtol=1e-12)


@pytest.mark.parametrize("headers", [{}, {"X-Tier": "silver"}])
def test_the_others_mostly_get_the_cheap_model(headers: dict[str, str]) -> None:
    graph = Graph.load(EXAMPLES / "routing" / "graph.yaml")
    terms = [graph.run({"x": np.zeros(1)}, headers=headers)["terms"].item() for _ in range(300)]
    assert set(terms) == {4, 20}
    # Far more than six standard deviations from the 270 to be expected.
    assert 220 < terms.count(4) < 300


def test_two_graphs_use_one_model_with_limits_of_their_own() -> None:
    rows = np.float32([[1500, 12, 0], [100, 12, 3], [3000, 3, 0]])
    found = {}
    for name in ("pay", "refund"):
        with Graph.load(EXAMPLES / "shared" / f"{name}.yaml") as graph:
            found[name] = graph.run({"payment": rows})["accepted"].tolist()
    assert found == {"pay": [True, True, False], "refund": [False, True, False]}


def test_the_rush_makes_trips_longer() -> None:
    graph = Graph.load(EXAMPLES / "canary" / "graph.yaml")
    minutes = graph.run({"trip": np.float32([[10, 12], [10, 17.5]])})["minutes"]
    assert minutes.tolist() == [18, 24]


def test_a_new_revision_of_the_canary_is_rolled_out() -> None:
    spec = Graph.load(EXAMPLES / "canary" / "graph.yaml").spec.spec
    assert spec.rollout is not None
    assert spec.rollout.steps == [5, 25, 50]
    assert spec.traffic is not None


@pytest.mark.nightly
def test_the_ensemble_reads_digits(digits: Path) -> None:
    graph = Graph.load(digits / "graph.yaml")
    with np.load(digits / "models" / "held_out.npz") as held_out:
        answer = graph.run({"pixels": held_out["pixels"]})
        assert (answer["digit"] == held_out["digits"]).mean() > 0.95
    assert answer["probabilities"].shape == (len(answer["digit"]), 10)
    np.testing.assert_allclose(answer["probabilities"].sum(axis=-1), 1, rtol=1e-5)


def test_the_demo_compares_batching_and_processes(untrained: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(untrained)!r})
from pathlib import Path
from variants import VARIANTS
from anabranch import Graph
for one in VARIANTS:
    with one.written(Path({str(untrained)!r})) as path:
        plan = Graph.load(path).plan
        batched = [name for name, node in plan.nodes.items() if node.spec.batching]
        print(plan.name, len(plan.segments), plan.critical_path_hops, *batched)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "digits 1 0 forest", "digits-unbatched 1 0", "digits-apart 6 4 forest"
    ]  # fmt: skip


def test_resources_on_the_network_make_two_segments_and_one_hop(untrained: Path) -> None:
    text = (untrained / "graph.yaml").read_text()
    heavy = text.replace("runtime: torch\n", "runtime: torch\n      resources: {cpu: 1}\n")
    plan = load_text(heavy, "graph.yaml", untrained).plan
    assert [segment.nodes for segment in plan.segments[1:]] == [("net",)]
    assert plan.critical_path_hops == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.nightly
def test_the_forest_says_why(explained: Path) -> None:
    with np.load(explained / "models" / "held_out.npz") as held_out:
        cells, truth = held_out["x"][:20], held_out["y"][:20]
    with Graph.load(explained / "graph.yaml") as graph:
        probabilities = graph.run({"cells": cells})["probabilities"]
        assert (probabilities.argmax(axis=1) == truth).mean() > 0.8
        for row, one in enumerate(
            graph.explain({"cells": cells}, "shap", target=1)["explanations"]
        ):
            assert one["feature_names"][0] == "radius"
            told = sum(one["attributions"]) + one["base_value"]
            np.testing.assert_allclose(told, probabilities[row, 1], atol=1e-6)
        (rule,) = graph.explain({"cells": cells[:1]}, "rule", seed=1)["explanations"]
        assert rule["rule"] and rule["library"]["precision"] > 0.9
