"""``anabranch explain`` against a deployed network: what it prints, draws and writes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Given
from tests.engines import Engine, done

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
    captum = pytest.importorskip("captum.attr")
    torch = pytest.importorskip("torch")
pytest.importorskip("sklearn.datasets")

from tests.explainers import digits  # it needs torch

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]

SAMPLE = 30
GRAPH: dict[str, Any] = {
    "apiVersion": "anabranch/v1",
    "kind": "InferenceGraph",
    "metadata": {"name": "pictures"},
    "spec": {
        "inputs": {"picture": {"datatype": "FP32", "shape": [-1, 1, 8, 8]}},
        "nodes": {
            "net": {
                "type": "predictor", "runtime": "torch", "model": "net.pt2",
                "args": {"device": "cpu"}, "inputs": {"x": "picture"},
            },
            "lift": {"type": "explainer", "explains": "net", "method": "deep_lift"},
            "cam": {
                "type": "explainer", "explains": "net", "method": "layer_gradcam",
                "args": {"layer": "act"},
            },
            "like": {
                "type": "explainer", "explains": "net", "method": "similarity",
                "data": "sample.npz",
            },
        },
        "outputs": {"n": "net"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def graph(given_once: Given) -> str:
    folder = given_once.bundle(GRAPH, "").parent
    x, y = digits.pictures()
    digits.export(digits.network(), folder / "net.pt2", torch.tensor(x[:2]))
    np.savez(folder / "sample.npz", x=x[:SAMPLE], y=y[:SAMPLE])
    done(given_once.deploy_file("pictures", folder / "graph.yaml"))
    return "pictures"


@pytest.fixture
def explain(engine: Engine, graph: str, tmp_path: Path) -> Any:
    np.save(tmp_path / "x.npy", digits.pictures()[0][50:52])

    def run(explainer: str, *options: str) -> str:
        words = ("explain", graph, "-i", f"picture=@{tmp_path / 'x.npy'}", "-e", explainer)
        return done(engine.command(*words, *options)).stdout

    return run


@pytest.mark.parametrize(
    ("explainer", "method"),
    [
        ("lift", lambda net: captum.DeepLift(net)),
        ("cam", lambda net: captum.LayerGradCam(net, net.act)),
    ],
)
def test_hooks_on_a_program_say_what_the_library_says(
    explain: Any, explainer: str, method: Any
) -> None:
    answer = json.loads(explain(explainer, "--target", "3", "-o", "json"))
    net, x = digits.network(), torch.tensor(digits.pictures()[0][50:52])
    expected = method(net).attribute(x, target=3).detach()
    found = [one["attributions"] for one in answer["explanations"]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_similar_samples_as_a_table_a_picture_and_a_page(explain: Any, tmp_path: Path) -> None:
    text = explain("like", "--plot", str(tmp_path / "a.png"), "--html", str(tmp_path / "a.html"))
    x, y = digits.pictures()
    direct = library.GradientSimilarity(
        digits.network(), torch.nn.functional.cross_entropy, backend="pytorch"
    ).fit(x[:SAMPLE], y[:SAMPLE])
    nearest = direct.explain(x[50:52]).data["ordered_indices"][:, 0]
    for index in nearest:
        assert f"\nrow {index} " in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert f"row {nearest[0]}<" in (tmp_path / "a.html").read_text()
