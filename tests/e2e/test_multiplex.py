"""Two hundred models in two replicas, over HTTP."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tests.e2e.conftest import Given, error, value
from tests.engines import HTTP, Engine, done
from tests.waiting import until

pytestmark = pytest.mark.e2e

MODELS = 200
MOST = 60
NODE = {
    "type": "predictor",
    "runtime": "sklearn",
    "model": "models/{model}.joblib",
    "multiplex": {"max_loaded": MOST},
    "scaling": {"replicas": 2},
    "inputs": {"x": "x"},
}
GRAPH = {
    "apiVersion": "anabranch/v1",
    "kind": "InferenceGraph",
    "metadata": {"name": "many"},
    "spec": {
        "inputs": {"x": {"datatype": "FP64", "shape": [-1, 2]}},
        "nodes": {"models": NODE},
        "outputs": {"y": "models"},
    },
}
ROWS = [[1.0, 2.0], [-3.0, 0.5]]


def model(number: int) -> LinearRegression:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(20, 2))
    return LinearRegression().fit(x, x @ rng.normal(size=2) + number)


@pytest.fixture(scope="module")
def answers(given_once: Given) -> list[list[float]]:
    """Deploy the models; what each answers."""
    path = given_once.bundle(GRAPH)
    (path.parent / "models").mkdir()
    models = [model(number) for number in range(MODELS)]
    for number, one in enumerate(models):
        joblib.dump(one, path.parent / "models" / f"m{number}.joblib")
    done(given_once.deploy_file("many", path))
    return [one.predict(np.array(ROWS)).tolist() for one in models]


def body(name: Any) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 2], "data": ROWS}
    return {"inputs": [tensor], "parameters": {"model": name}}


async def ask_all(url: str, numbers: list[int]) -> list[httpx.Response]:
    """Ask for models, sixteen at a time."""
    places = asyncio.Semaphore(16)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

        async def ask(number: int) -> httpx.Response:
            async with places:
                return await client.post(url, json=body(f"m{number}"))

        return await asyncio.gather(*(ask(number) for number in numbers))


@pytest.mark.nightly
def test_two_hundred_models_answer_in_bounded_memory(
    engine: Engine, answers: list[list[float]]
) -> None:
    numbers = [number for number in range(MODELS) for _ in range(3)]
    random.Random(7).shuffle(numbers)
    replies = asyncio.run(ask_all(f"{engine.graph_url('many')}/infer", numbers))
    for number, reply in zip(numbers, replies, strict=True):
        np.testing.assert_allclose(value(reply), answers[number], rtol=1e-9)
    counted = until_counted(engine, len(numbers))
    assert counted["misses"] >= MODELS
    assert counted["load_seconds"] > 0
    assert 0 < counted["loaded"] <= 2 * MOST
    assert counted["evictions"] >= MODELS - 2 * MOST


def test_a_few_models_stay_where_they_are(engine: Engine, answers: list[list[float]]) -> None:
    before = until_counted(engine, 0)
    numbers = list(range(20)) * 15
    for reply in asyncio.run(ask_all(f"{engine.graph_url('many')}/infer", numbers)):
        value(reply)
    after = until_counted(engine, before["hits"] + before["misses"] + len(numbers))
    loads = after["misses"] - before["misses"]
    # Each is loaded once, or twice where Serve had not heard in time that it was there.
    assert loads <= 2 * 20, loads


def test_an_unknown_model_is_404_and_none_is_400(
    engine: Engine, answers: list[list[float]]
) -> None:
    url = f"{engine.graph_url('many')}/infer"
    assert "there is no model 'm777'" in error(HTTP.post(url, json=body("m777")), 404)
    assert "no name of a model" in error(HTTP.post(url, json=body("../m1")), 400)
    unnamed = {"inputs": body("")["inputs"]}
    assert "'model' is missing" in error(HTTP.post(url, json=unnamed), 400)


def until_counted(engine: Engine, requests: float) -> dict[str, float]:
    """The node's metrics at the gateway, once they are of so many requests."""
    found: dict[str, float] = {}

    def has_come() -> bool:
        found.update(exported(engine))
        return found["hits"] + found["misses"] >= requests and bool(found["loaded"] or not requests)

    until(has_come)
    return found


def exported(engine: Engine) -> dict[str, float]:
    """Sums over the replicas, by the last part of the metric's name."""
    found = {"hits": 0.0, "misses": 0.0, "loaded": 0.0}
    for line in HTTP.get(f"{engine.url}/metrics").text.splitlines():
        if line.startswith("anabranch_multiplex_") and 'graph="many"' in line:
            name = line.partition("{")[0].removeprefix("anabranch_multiplex_")
            key = name.removesuffix("_total")
            found[key] = found.get(key, 0.0) + float(line.rsplit(" ", 1)[1])
    return found
