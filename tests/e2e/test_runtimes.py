"""Models of two libraries in two processes, and a graph whose model is that graph."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest
import xgboost

from tests.e2e.conftest import Given, spec, value
from tests.engines import BODY, Engine

pytestmark = pytest.mark.e2e

X = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
Y = X @ np.array([1.0, -2.0])
FAR = {"type": "predictor", "runtime": "open_inference", "inputs": {"x": "x"}}


@pytest.fixture(scope="module")
def boost() -> xgboost.XGBRegressor:
    return xgboost.XGBRegressor(n_estimators=5, nthread=1).fit(X, Y)


@pytest.fixture(scope="module")
def light() -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, num_threads=1).fit(X, Y)


@pytest.fixture(scope="module")
def files(
    boost: xgboost.XGBRegressor,
    light: lightgbm.LGBMRegressor,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("models")
    boost.save_model(folder / "boost.json")
    light.booster_.save_model(folder / "light.txt")
    return {path.name: path.read_text() for path in folder.iterdir()}


NODES = {
    "boost": {
        "type": "predictor",
        "runtime": "xgboost",
        "model": "boost.json",
        "inputs": {"x": "x"},
        "placement": {"isolate": True},
    },
    "light": {
        "type": "predictor",
        "runtime": "lightgbm",
        "model": "light.txt",
        "inputs": {"x": "x"},
    },
    "both": {"type": "combiner", "strategy": "mean", "inputs": ["boost", "light"]},
}


def test_trees_here_and_from_another_graph(
    engine: Engine,
    given: Given,
    files: dict[str, str],
    boost: xgboost.XGBRegressor,
    light: lightgbm.LGBMRegressor,
) -> None:
    trees = given.deployed(spec("trees", **NODES), files=files)
    (tensor,) = BODY["inputs"]
    x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    expected = (boost.predict(x) + light.predict(x)) / 2
    assert value(engine.infer(trees)) == pytest.approx(expected.tolist(), rel=1e-5)

    far = given.deployed(spec("far", far=FAR | {"args": {"url": engine.url, "model": trees}}))
    assert value(engine.infer(far)) == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_graph_that_does_not_fit_its_model_is_not_deployed(
    given: Given, files: dict[str, str]
) -> None:
    graph = spec("misfit", light=NODES["light"])
    graph["spec"]["inputs"]["x"]["shape"] = [-1, 3]
    done = given.deploy(graph, files=files)
    assert done.returncode != 0
    assert "input 'x' is FP32[-1, 3], but the model takes any datatype[-1, 2]" in done.stderr
