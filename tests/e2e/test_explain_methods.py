"""What the methods say over HTTP is what their libraries say when they are called directly.

One graph of four models: a forest and boosted trees on breast cancer, a network on digits, and a
classifier of short texts.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import Given
from tests.engines import Engine, done

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    library = pytest.importorskip("alibi.explainers")
    captum = pytest.importorskip("captum.attr")
    spacy = pytest.importorskip("spacy")
    torch = pytest.importorskip("torch")
ensemble = pytest.importorskip("sklearn.ensemble")
datasets = pytest.importorskip("sklearn.datasets")
text_features = pytest.importorskip("sklearn.feature_extraction.text")
linear_model = pytest.importorskip("sklearn.linear_model")
pipeline = pytest.importorskip("sklearn.pipeline")
joblib = pytest.importorskip("joblib")

from tests.explainers import digits  # noqa: E402  # it needs torch

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]

FEATURES = 8
SEED = 5
CODE = """
from pathlib import Path

import joblib


class Mood:
    def __init__(self):
        self.model = joblib.load(Path(__file__).with_name("mood.joblib"))

    def predict(self, text):
        texts = [one.decode() if isinstance(one, bytes) else one for one in text.tolist()]
        return self.model.predict_proba(texts)
"""
GOOD, BAD = ("good", "great", "lovely"), ("bad", "awful", "boring")
TEXTS = [f"a {word} film by someone I know" for word in GOOD + BAD] * 3


def models() -> SimpleNamespace:
    data = datasets.load_breast_cancer()
    x, y = data.data[:, :FEATURES].astype(np.float32), data.target
    forest = ensemble.RandomForestClassifier(20, max_depth=5, random_state=0).fit(x, y)
    boosted = ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y)
    mood = pipeline.make_pipeline(
        text_features.CountVectorizer(), linear_model.LogisticRegression()
    ).fit(TEXTS, [int(any(word in one for word in GOOD)) for one in TEXTS])
    return SimpleNamespace(x=x, forest=forest, boosted=boosted, mood=mood)


def predictor(runtime: str, model: str, source: str, **fields: Any) -> dict[str, Any]:
    inputs = {"x": source}
    return {"type": "predictor", "runtime": runtime, "model": model, "inputs": inputs, **fields}


def explainer(explains: str, method: str, **fields: Any) -> dict[str, Any]:
    return {"type": "explainer", "explains": explains, "method": method, **fields}


GRAPH = {
    "apiVersion": "anabranch/v1",
    "kind": "InferenceGraph",
    "metadata": {"name": "methods"},
    "spec": {
        "inputs": {
            "cells": {"datatype": "FP32", "shape": [-1, FEATURES]},
            "picture": {"datatype": "FP32", "shape": [-1, 1, 8, 8]},
            "text": {"datatype": "BYTES", "shape": [-1]},
        },
        "nodes": {
            "forest": predictor(
                "sklearn", "forest.joblib", "cells", method="predict_proba",
                scaling={"replicas": 1},
            ),
            "boosted": predictor("sklearn", "boosted.joblib", "cells", method="predict_proba"),
            "net": predictor("torch", "net.pt", "picture", args={"device": "cpu"}),
            "mood": {
                "type": "predictor", "component": "components.py:Mood", "inputs": {"text": "text"},
            },
            "forest-trees": explainer("forest", "tree_shap"),
            "forest-shap": explainer(
                "forest", "kernel_shap", data="sample.npy", args={"nsamples": 64}
            ),
            "boosted-trees": explainer("boosted", "tree_shap"),
            "gradients": explainer("net", "integrated_gradients"),
            "anchors": explainer("mood", "anchor_text", args={"threshold": 0.9}),
        },
        "outputs": {"f": "forest", "b": "boosted", "n": "net", "m": "mood"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def made(given_once: Given) -> SimpleNamespace:
    """The graph, live, and its models in this process."""
    found = models()
    folder = given_once.bundle(GRAPH, CODE).parent
    for name in ("forest", "boosted", "mood"):
        joblib.dump(getattr(found, name), folder / f"{name}.joblib")
    digits.script(digits.network(), folder / "net.pt")
    np.save(folder / "sample.npy", found.x[:100])
    deploy(given_once, folder / "graph.yaml")
    found.pictures = digits.pictures()[0]
    return found


def deploy(given: Given, spec: Path) -> None:
    done(given.deploy_file("methods", spec))


TEXT = "a good film"


def explained(engine: Engine, made: SimpleNamespace, name: str) -> dict[str, Any]:
    """What an explainer says of one row of everything."""
    tensors = {"cells": made.x[200:201], "picture": made.pictures[7:8]}
    inputs = [
        {"name": key, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
        for key, array in tensors.items()
    ]
    inputs.append({"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]})
    body = {"inputs": inputs, "parameters": {"explainer": name, "seed": SEED}}
    reply = httpx.post(f"{engine.graph_url('methods')}/explain", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    (one,) = json.loads(reply.text)["explanations"]
    assert one["seed"] == SEED
    found: dict[str, Any] = one
    return found


@pytest.mark.parametrize("name", ["forest", "boosted"])
def test_tree_shap(engine: Engine, made: SimpleNamespace, name: str) -> None:
    found = explained(engine, made, f"{name}-trees")
    model, row = getattr(made, name), made.x[200:201]
    values = library.TreeShap(model).fit().explain(row).data["shap_values"]
    (target,) = model.predict(row)
    expected = values[target] if len(values) == 2 else values[0] * (1 if target else -1)
    np.testing.assert_allclose(found["attributions"], expected[0], atol=1e-6)
    assert found["target"] == target


def test_kernel_shap(engine: Engine, made: SimpleNamespace) -> None:
    """The forest has a deployment of its own, so all of it is asked there."""
    found = explained(engine, made, "forest-shap")
    row = made.x[200:201].astype(np.float64)
    direct = library.KernelShap(made.forest.predict_proba, seed=SEED)
    direct.fit(made.x[:100].astype(np.float64))
    expected = direct.explain(row, silent=True, nsamples=64).data
    target = made.forest.predict(row)[0]
    np.testing.assert_allclose(found["attributions"], expected["shap_values"][target][0], atol=1e-6)
    assert found["base_value"] == pytest.approx(expected["expected_value"][target], abs=1e-6)


def test_integrated_gradients(engine: Engine, made: SimpleNamespace) -> None:
    found = explained(engine, made, "gradients")
    picture = torch.tensor(made.pictures[7:8])
    target = int(digits.network()(picture).argmax())
    expected = captum.IntegratedGradients(digits.network()).attribute(picture, target=target)
    np.testing.assert_allclose(found["attributions"], expected[0].detach().numpy(), atol=1e-6)
    assert found["target"] == target


def test_anchors_of_text(engine: Engine, made: SimpleNamespace) -> None:
    found = explained(engine, made, "anchors")
    direct = library.AnchorText(
        made.mood.predict_proba, sampling_strategy="unknown", nlp=spacy.blank("en"), seed=SEED
    )
    expected = direct.explain(TEXT, threshold=0.9).data
    assert found["rule"] == expected["anchor"] == ["good"]
    assert found["precision"] == pytest.approx(float(np.ravel(expected["precision"])[0]), abs=1e-6)
    assert found["coverage"] == pytest.approx(expected["coverage"], abs=1e-6)
