"""Imported InferenceServices with models against what KServe's model servers compute.

The servers are written anew here, from ``python/{sklearn,xgb,lgb}server`` of kserve/kserve: what
they load from the folder of a ``storageUri``, and what ``predict`` calls.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from tests.importers.kserve.manifests import imported, running
from tests.json_services import JsonServices, json_services
from tests.small_models import Data, data_of, write_model

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture(scope="module")
def data() -> Data:
    return data_of((-1, 4))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, data: Data) -> Path:
    """Folders as in an object store: one for each model."""
    folder = tmp_path_factory.mktemp("models")
    for runtime, file in FILES.items():
        write_model(runtime, folder / runtime / file, data)
    (folder / "pickled").mkdir()
    joblib = pytest.importorskip("joblib")
    joblib.dump(joblib.load(folder / "sklearn/model.joblib"), folder / "pickled/forest.pkl")
    return folder


FILES = {
    "sklearn": "model.joblib",
    "xgboost": "model.ubj",
    "lightgbm": "model.bst",
    "onnx": "model.onnx",
    "mlflow": ".",
}


def sklearn_server(folder: Path, x: Any, proba: bool = False) -> Any:
    import joblib

    (file,) = [one for one in folder.iterdir() if one.suffix in (".joblib", ".pkl", ".pickle")]
    model = joblib.load(file)
    return model.predict_proba(x) if proba else model.predict(x)


def xgboost_server(folder: Path, x: Any) -> Any:
    import xgboost

    (file,) = [one for one in folder.iterdir() if one.suffix in (".bst", ".json", ".ubj")]
    booster = xgboost.Booster(params={"nthread": 1}, model_file=bytearray(file.read_bytes()))
    return booster.predict(xgboost.DMatrix(x, nthread=1))


def lightgbm_server(folder: Path, x: Any) -> Any:
    import lightgbm

    (file,) = [one for one in folder.iterdir() if one.suffix == ".bst"]
    return lightgbm.Booster(params={"nthread": 1}, model_file=str(file)).predict(x)


def onnx_server(folder: Path, x: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    (given,) = session.get_inputs()
    return session.run(None, {given.name: x.astype(np.float32)})[0]


def mlflow_server(folder: Path, x: Any) -> Any:
    import mlflow.pyfunc

    return np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(x))


def service(predictor: Any, name: str = "iris", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor, **spec},
    }


def by_format(name: str, uri: str, **fields: Any) -> dict[str, Any]:
    return {"model": {"modelFormat": {"name": name}, "storageUri": uri, **fields}}


PROBA = {"env": [{"name": "PREDICT_PROBA", "value": "true"}]}
Server = Callable[[Path, Any], Any]
CASES: dict[str, tuple[Callable[[str], Any], str, Server]] = {
    "a framework of its own field": (
        lambda uri: {"sklearn": {"storageUri": uri}}, "sklearn", sklearn_server,
    ),
    "a model format": (lambda uri: by_format("sklearn", uri), "sklearn", sklearn_server),
    "the file of a model": (
        lambda uri: by_format("sklearn", f"{uri}/forest.pkl"), "pickled", sklearn_server,
    ),
    "probabilities": (
        lambda uri: by_format("sklearn", uri, **PROBA), "sklearn",
        lambda folder, x: sklearn_server(folder, x, proba=True),
    ),
    "v2": (
        lambda uri: by_format("sklearn", uri, protocolVersion="v2"), "sklearn", sklearn_server,
    ),
    "mlserver": (
        lambda uri: by_format("sklearn", uri, runtime="kserve-mlserver"), "sklearn",
        sklearn_server,
    ),
    "xgboost": (lambda uri: {"xgboost": {"storageUri": uri}}, "xgboost", xgboost_server),
    "xgboost by its file": (
        lambda uri: by_format("xgboost", f"{uri}/model.ubj", protocolVersion="v2"), "xgboost",
        xgboost_server,
    ),
    "lightgbm": (lambda uri: {"lightgbm": {"storageUri": uri}}, "lightgbm", lightgbm_server),
    "a batcher": (
        lambda uri: {**by_format("sklearn", uri), "batcher": {"maxBatchSize": 8, "maxLatency": 2}},
        "sklearn", sklearn_server,
    ),
    "a time, and replicas": (
        lambda uri: {**by_format("sklearn", uri), "timeout": 90, "minReplicas": 0,
                     "containerConcurrency": 1},
        "sklearn", sklearn_server,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_models(models: Path, data: Data, name: str) -> None:
    predictor, folder, server = CASES[name]
    manifest = service(predictor(f"file://{models / folder}"))
    with running(imported(manifest)) as graph:
        found = asked(graph, data.x[:5])
    expected = server(models / folder, data.x[:5])
    assert json.loads(json.dumps(found.tolist())) == pytest.approx(np.asarray(expected), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "server"),
    [("onnx", onnx_server), pytest.param("mlflow", mlflow_server, marks=pytest.mark.slow)],
)
def test_models_whose_tensors_the_user_writes(
    models: Path, data: Data, name: str, server: Server
) -> None:
    (graph,) = imported(service(by_format(name, f"file://{models / name}")))
    spec = json.loads(json.dumps(graph.spec))
    spec["spec"]["inputs"]["instances"]["datatype"] = "FP32"
    with running([replace(graph, spec=spec)]) as loaded:
        found = asked(loaded, data.x[:5])
    np.testing.assert_allclose(found, server(models / name, data.x[:5]), atol=1e-5)


def asked(graph: Graph, x: Any) -> Any:
    """Return the answer to rows, of the datatype that the graph declares."""
    ((name, declared),) = graph.plan.inputs.items()
    rows = x.astype(np.float32 if declared.datatype == "FP32" else np.float64)
    (found,) = graph.run({name: rows}).values()
    return found


@contextmanager
def kserve(protocol: str) -> Iterator[JsonServices]:
    """A server that doubles numbers over V1 or V2, as a custom image may."""
    with json_services() as services:
        services.add(
            "/v1/models/m:predict",
            lambda body: (
                200,
                {
                    "predictions": [
                        [2 * one for one in row] for row in json.loads(body)["instances"]
                    ]
                },
            ),
        )
        services.add("/v2/models/m/infer", lambda body: (200, doubled(json.loads(body))))
        services.get("/v1/models/m", (200, {"name": "m", "ready": True}))
        services.get("/v2/models/m/ready", (200, {}))
        services.get("/v2/models/m", (200, {"name": "m", "inputs": [], "outputs": []}))
        services.get("/v2", (200, {"extensions": []}))
        yield services


def doubled(request: Any) -> Any:
    (given,) = request["inputs"]
    flat = np.ravel(given["data"]).tolist()
    output = {"name": "y", "shape": given["shape"], "datatype": "FP32"}
    return {"model_name": "m", "outputs": [{**output, "data": [2 * one for one in flat]}]}


IMAGE = {"name": "kserve-container", "image": "me/model:1"}
REMOTE: dict[str, tuple[dict[str, Any], str]] = {
    "a container": ({"containers": [IMAGE]}, "v1"),
    "a container over v2": (
        {"containers": [{**IMAGE, "env": [{"name": "PROTOCOL", "value": "v2"}]}]},
        "v2",
    ),
    "tensorflow": ({"tensorflow": {"storageUri": "gs://b/flowers"}}, "v1"),
    "triton": ({"triton": {"storageUri": "gs://b/models"}}, "v2"),
    "pmml": (by_format("pmml", "gs://b/pmml"), "v1"),
    "paddle over v2": (by_format("paddle", "gs://b/p", protocolVersion="v2"), "v2"),
    "pytorch": ({"pytorch": {"storageUri": "gs://b/mar"}}, "v1"),
    "an unknown format": (by_format("mine", "gs://b/x"), "v1"),
}


@pytest.mark.parametrize("name", REMOTE)
def test_servers_that_go_on_are_called(name: str) -> None:
    predictor, protocol = REMOTE[name]
    (graph,) = imported(service(predictor, "m"))
    node = graph.spec["spec"]["nodes"]["predictor"]
    assert node["args"]["url"] == "http://m-predictor.default.svc.cluster.local"
    assert graph.spec["spec"].get("protocols", []) == (["v1"] if protocol == "v1" else [])
    with kserve(protocol) as services:
        node["args"]["url"] = services.url
        with running([graph]) as loaded:
            found = asked(loaded, np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert found.tolist() == [[2, 4], [6, 8]]


def test_a_transformer_surrounds_the_model(models: Path, data: Data) -> None:
    """``preprocess`` and ``postprocess`` of KServe's Model, pasted into the classes."""
    manifest = service(
        by_format("sklearn", f"file://{models / 'sklearn'}"),
        transformer={"containers": [{"name": "t", "image": 'me/t:1"\\', "command": ["x"]}]},
    )
    (graph,) = imported(manifest)
    code = graph.files["components.py"]
    assert code.count('raise NotImplementedError("the code of the image me/t:1 is missing")') == 2
    before, after = code.split("class IrisPostprocess")
    pasted = before.replace(
        'raise NotImplementedError("the code of the image me/t:1 is missing")',
        "import numpy as np\n        texts = inputs['x'].tolist()\n        "
        "return np.array([[float(n) for n in text.split()] for text in texts])",
    ) + "class IrisPostprocess" + after.replace(
        'raise NotImplementedError("the code of the image me/t:1 is missing")',
        "import numpy as np\n        "
        "return np.array([f'class {one}' for one in outputs['y']], object)",
    )  # fmt: skip
    rows = [" ".join(map(str, row)) for row in data.x[:3].tolist()]
    with running([replace(graph, files={"components.py": pasted})]) as loaded:
        found = loaded.run({"instances": rows})["predictions"]
    expected = sklearn_server(models / "sklearn", data.x[:3])
    assert found.tolist() == [f"class {one}" for one in expected]


def test_a_trained_model_is_a_graph_of_its_own(models: Path, data: Data) -> None:
    model = {"framework": "sklearn", "storageUri": f"file://{models / 'sklearn'}", "memory": "1Gi"}
    trained = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {"name": "one-of-many"},
        "spec": {"inferenceService": "many", "model": model},
    }
    parent = service({"sklearn": {"protocolVersion": "v2"}}, "many")
    graphs = imported(parent, trained)
    assert [one.name for one in graphs] == ["one-of-many"]
    with running(graphs) as graph:
        found = asked(graph, data.x[:5])
    assert found.tolist() == sklearn_server(models / "sklearn", data.x[:5]).tolist()


def test_canaries_are_revisions(models: Path, data: Data) -> None:
    uri = f"file://{models / 'sklearn'}"
    canaries = [
        {"trafficPercent": 20, "predictor": {"name": "b", **by_format("sklearn", uri, **PROBA)}},
        {"trafficPercent": 0, "predictor": {"name": "c", **by_format("sklearn", uri)}},
    ]
    graphs = imported(service(by_format("sklearn", uri), canary=canaries))
    assert [(one.name, one.folder) for one in graphs] == [
        ("iris", ""),
        ("iris", "b"),
        ("iris", "c"),
    ]
    assert [step for one in graphs for step in one.steps] == [
        "anabranch deploy graph.yaml",
        "anabranch deploy b/graph.yaml --canary 0",
        "anabranch deploy c/graph.yaml --canary 0",
        "anabranch traffic iris r1=80 r2=20 r3=0",
    ]
    with warnings.catch_warnings(), running([graphs[1]]) as graph:
        assert asked(graph, data.x[:2]).shape == (2, 3)
