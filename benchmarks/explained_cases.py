"""What ``benchmarks.explaining`` explains: models of bundled data, and each method by hand.

``prepare`` trains in a few seconds and writes the models and samples that a graph needs; ``CASES``
are the methods, each as a node and as the call of its library on the same model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import alibi.explainers as library
    import captum.attr as captum
    import spacy

from anabranch.components.tensors.arrays import Array

FEATURES, BACKGROUND = 8, 100
WORDS = {"good": 1, "great": 1, "lovely": 1, "bad": 0, "awful": 0, "boring": 0}
COMPONENTS = """
from pathlib import Path

import joblib
import torch


class Net:
    def __init__(self):
        # Ours, and written a moment ago.
        path = Path(__file__).with_name("net.pt")
        self.module = torch.load(path, weights_only=False)

    def predict(self, x: torch.Tensor):
        with torch.inference_mode():
            return self.module(x)


class Mood:
    def __init__(self):
        self.model = joblib.load(Path(__file__).with_name("mood.joblib"))

    def predict(self, text):
        return self.model.predict_proba(
            [one.decode() if isinstance(one, bytes) else one for one in text.tolist()]
        )
"""
Predictor = Callable[[Any], Any]
ByHand = Callable[[Any, int], object]
"""Explains one row, or the model as a whole, with a seed."""


@dataclass(frozen=True)
class Made:
    """Models and their data."""

    forest: Any
    cells: Array
    benign: Array
    net: Any
    pictures: Array
    digits: Array
    mood: Any
    texts: Array


@dataclass
class Counted:
    """A model that counts how often it is asked, and for how many rows."""

    predictor: Predictor
    calls: int = 0
    rows: int = 0

    def __call__(self, rows: Any) -> Any:
        self.calls += 1
        self.rows += len(rows)
        return self.predictor(rows)


class Passes:
    """Counts how often rows pass through a network, and how many; removed by ``remove``."""

    def __init__(self, network: Any) -> None:
        self.calls = self.rows = 0
        self.remove = network.register_forward_pre_hook(self._count).remove

    def _count(self, network: Any, given: tuple[Any, ...]) -> None:
        self.calls += 1
        self.rows += len(given[0])


@dataclass(frozen=True)
class Case:
    """A method: as a node that explains another, and as a call of its library."""

    method: str
    explains: str
    by_hand: Callable[[Made, Predictor], ByHand]
    node: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    """Whether it speaks of the model as a whole, which takes the sample each time it is loaded."""


@cache
def made() -> Made:
    """Train all models."""
    cancer, digits = load_breast_cancer(), load_digits()
    cells = cancer.data[:, :FEATURES].astype(np.float32)
    forest = RandomForestClassifier(100, max_depth=5, random_state=0).fit(cells, cancer.target)
    pictures = (digits.images[:, None] / 16).astype(np.float32)
    texts = np.array([f"a {word} film by {n} people I know" for n in range(9) for word in WORDS])
    labels = [WORDS[text.split()[1]] for text in texts]
    mood = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, labels)
    net = _network(pictures, digits.target)
    return Made(forest, cells, cancer.target, net, pictures, digits.target, mood, texts)


def _network(pictures: Array, digits: Array) -> Any:
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    for name, layer in (
        ("conv", torch.nn.Conv2d(1, 64, 3, padding=1)), ("act", torch.nn.ReLU()),
        ("more", torch.nn.Conv2d(64, 64, 3, padding=1)), ("again", torch.nn.ReLU()),
        ("flat", torch.nn.Flatten()), ("fc", torch.nn.Linear(4096, 10)),
    ):  # fmt: skip
        net.add_module(name, layer)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = torch.tensor(pictures), torch.tensor(digits)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    net.zero_grad()
    return net.eval()


def prepare(root: Path) -> None:
    """Write the models and samples into a bundle."""
    one = made()
    (root / "components.py").write_text(COMPONENTS)
    joblib.dump(one.forest, root / "forest.joblib")
    joblib.dump(one.mood, root / "mood.joblib")
    np.savez(root / "cells.npz", x=one.cells[:BACKGROUND], y=one.benign[:BACKGROUND])
    np.savez(root / "digits.npz", x=one.pictures[:BACKGROUND], y=one.digits[:BACKGROUND])
    torch.save(one.net, root / "net.pt")


def name_of(case: Case) -> str:
    """The explainer's name in a graph."""
    return case.method.replace("_", "-")


def spec(cases: list[Case], **explainer: Any) -> dict[str, Any]:
    """A graph of the models and an explainer for each case."""
    cells, picture = {"x": "cells"}, {"x": "picture"}
    nodes: dict[str, Any] = {
        "forest": {
            "type": "predictor", "runtime": "sklearn", "model": "forest.joblib",
            "method": "predict_proba", "inputs": cells,
        },
        "net": {"type": "predictor", "component": "components.py:Net", "inputs": picture},
        "mood": {
            "type": "predictor", "component": "components.py:Mood", "inputs": {"text": "text"},
        },
    }  # fmt: skip
    for case in cases:
        nodes[name_of(case)] = {
            "type": "explainer", "explains": case.explains, "method": case.method,
            **case.node, **explainer,
        }  # fmt: skip
    return {
        "inputs": {
            "cells": {"datatype": "FP32", "shape": [-1, FEATURES]},
            "picture": {"datatype": "FP32", "shape": [-1, 1, 8, 8]},
            "text": {"datatype": "BYTES", "shape": [-1]},
        },
        "nodes": nodes,
        "outputs": {"f": "forest", "n": "net", "m": "mood"},
    }


def inputs(number: int) -> dict[str, Any]:
    """One row of everything; another for each number."""
    one = made()
    return {
        "cells": one.cells[200 + number : 201 + number],
        "picture": one.pictures[number : number + 1],
        "text": one.texts[number : number + 1].astype(object),
    }


def predictors() -> dict[str, Counted]:
    """The models as functions of rows, by node."""
    one = made()

    def of_net(rows: Array) -> Array:
        with torch.inference_mode():
            found: Array = one.net(torch.tensor(rows)).numpy()
        return found

    return {
        "forest": Counted(one.forest.predict_proba),
        "net": Counted(of_net),
        "mood": Counted(one.mood.predict_proba),
    }


def row_of(case: Case, number: int) -> Any:
    """What the library explains of ``inputs``."""
    name = {"forest": "cells", "net": "picture", "mood": "text"}[case.explains]
    return inputs(number)[name]


def _kernel_shap(one: Made, predict: Predictor) -> ByHand:
    found = library.KernelShap(predict, seed=0)
    found.fit(one.cells[:BACKGROUND].astype(np.float64))
    return lambda row, seed: _seeded(
        seed, lambda: found.explain(row.astype(np.float64), silent=True)
    )


def _tree_shap(one: Made, predict: Predictor) -> ByHand:
    found = library.TreeShap(one.forest, model_output="raw").fit()
    return lambda row, seed: found.explain(row.astype(np.float64))


def _anchor_tabular(one: Made, predict: Predictor) -> ByHand:
    names = [f"x{number}" for number in range(FEATURES)]
    found = library.AnchorTabular(predict, names, seed=0)
    found.fit(one.cells[:BACKGROUND].astype(np.float64))
    return lambda row, seed: _seeded(seed, lambda: found.explain(row[0].astype(np.float64)))


def _anchor_text(one: Made, predict: Predictor) -> ByHand:
    found = library.AnchorText(predict, sampling_strategy="unknown", nlp=spacy.blank("en"), seed=0)
    return lambda row, seed: _seeded(seed, lambda: found.explain(row[0]))


def _anchor_image(one: Made, predict: Predictor) -> ByHand:
    found = library.AnchorImage(
        lambda images: predict(np.moveaxis(images, -1, 1).astype(np.float32)),
        (8, 8, 1), segmentation_fn="slic",
        segmentation_kwargs={"n_segments": 8, "compactness": 1, "start_label": 0}, seed=0,
    )  # fmt: skip
    return lambda row, seed: _seeded(seed, lambda: found.explain(row[0].transpose(1, 2, 0)))


def _seeded(seed: int, work: Callable[[], object]) -> object:
    np.random.seed(seed)
    return work()


def _whole(make: Callable[[Predictor], Any], **options: Any) -> Callable[..., ByHand]:
    def by_hand(one: Made, predict: Predictor) -> ByHand:
        sample = one.cells[:BACKGROUND].astype(np.float64)
        return lambda row, seed: make(predict).explain(sample, **options)

    return by_hand


def _importance(one: Made, predict: Predictor) -> ByHand:
    def by_hand(row: Any, seed: int) -> object:
        found = library.PermutationImportance(
            lambda x: np.argmax(predict(x), axis=1), score_fns="accuracy"
        )
        return _seeded(
            seed,
            lambda: found.explain(
                one.cells[:BACKGROUND].astype(np.float64), one.benign[:BACKGROUND], n_repeats=5
            ),
        )

    return by_hand


def _attribution(make: Callable[[Any], Any], **options: Any) -> Callable[..., ByHand]:
    """A method of Captum for the predicted class, which has to be asked for first."""

    def by_hand(one: Made, predict: Predictor) -> ByHand:
        method = make(one.net)

        def explain(row: Any, seed: int) -> object:
            target = int(np.argmax(predict(row)))
            tensor = torch.tensor(row).requires_grad_()
            return method.attribute(tensor, target=target, **options)

        return explain

    return by_hand


def _similarity(one: Made, predict: Predictor) -> ByHand:
    found = library.GradientSimilarity(
        one.net, torch.nn.functional.cross_entropy, backend="pytorch", precompute_grads=True
    )
    found.fit(one.pictures[:BACKGROUND], one.digits[:BACKGROUND])
    return lambda row, seed: found.explain(row)


CELLS, DIGITS = {"data": "cells.npz"}, {"data": "digits.npz"}
SEARCH = {"precision_samples": 0}
"""Alibi's search alone, without the fresh rows that confirm a rule's precision."""
IMAGE = {
    "channels": "first", "segmentation_kwargs": {"n_segments": 8, "compactness": 1}, **SEARCH,
}  # fmt: skip
WINDOW = {"sliding_window_shapes": [1, 2, 2]}
CASES = [
    Case("tree_shap", "forest", _tree_shap),
    Case("kernel_shap", "forest", _kernel_shap, CELLS),
    Case("anchor_tabular", "forest", _anchor_tabular, {**CELLS, "args": SEARCH}),
    Case("anchor_text", "mood", _anchor_text, {"args": SEARCH}),
    Case("anchor_image", "net", _anchor_image, {"args": IMAGE}),
    Case("ale", "forest", _whole(library.ALE), CELLS, whole=True),
    Case(
        "partial_dependence", "forest", _whole(library.PartialDependence, grid_resolution=20),
        {**CELLS, "args": {"grid_resolution": 20}}, whole=True,
    ),
    Case(
        "partial_dependence_variance", "forest",
        _whole(library.PartialDependenceVariance, grid_resolution=20),
        {**CELLS, "args": {"grid_resolution": 20}}, whole=True,
    ),
    Case(
        "permutation_importance", "forest", _importance,
        {**CELLS, "args": {"metrics": ["accuracy"], "n_repeats": 5}}, whole=True,
    ),
    Case("integrated_gradients", "net", _attribution(captum.IntegratedGradients)),
    Case("saliency", "net", _attribution(captum.Saliency)),
    Case("deep_lift", "net", _attribution(captum.DeepLift)),
    Case(
        "occlusion", "net",
        _attribution(captum.Occlusion, sliding_window_shapes=(1, 2, 2), strides=(1, 1, 1)),
        {"args": WINDOW},
    ),
    Case(
        "layer_gradcam", "net",
        _attribution(lambda net: captum.LayerGradCam(net, net.more)), {"args": {"layer": "more"}},
    ),
    Case("similarity", "net", _similarity, DIGITS),
]  # fmt: skip
