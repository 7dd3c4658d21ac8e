"""Prepackaged servers, images that are known, and servers that go on, imported and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.artefacts.digests import path_digest
from anabranch.importers.result import ImportedGraph, Taken
from tests.components.runtimes.remote.servers import answering
from tests.importers.imported import imported, mistakes, notes, opened
from tests.importers.seldon_v1.manifests import Node, deployment, node, predictor

ROWS = np.array([[0.0, 0.5], [2.0, 1.0], [4.0, 4.5]])


def server(name: str, implementation: str, *parameters: tuple[str, str, str], **more: Any) -> Node:
    given = [{"name": n, "type": kind, "value": value} for n, kind, value in parameters]
    return node(name, implementation=implementation, parameters=given, **more)


def one(graph: Node, **spec: Any) -> dict[str, Any]:
    """Return the only node of an imported deployment."""
    (made,) = imported(deployment(graph, **spec))
    (only,) = made.spec["spec"]["nodes"].values()
    return dict(only)


@pytest.fixture
def forest(tmp_path: Path) -> Any:
    """A folder with a fitted classifier, as Seldon's server wants it, and the classifier."""
    linear = pytest.importorskip("sklearn.linear_model")
    joblib = pytest.importorskip("joblib")
    folder = tmp_path / "iris"
    folder.mkdir()
    model = linear.LogisticRegression().fit(ROWS, [0, 1, 1])
    joblib.dump(model, folder / "model.joblib")
    return folder, model


@pytest.mark.parametrize(
    "method", ["predict_proba", "decision_function", "predict", "anything", None]
)
def test_a_scikit_learn_server_answers_as_seldon_s(
    method: str | None, forest: Any, tmp_path: Path
) -> None:
    """``servers/sklearnserver``: predict_proba unless told otherwise, predict for other texts."""
    folder, model = forest
    parameters = [] if method is None else [("method", "STRING", method)]
    unit = server("iris", "SKLEARN_SERVER", *parameters, modelUri=f"file://{folder}")
    graphs = imported(deployment(unit))
    assert graphs[0].spec["spec"]["nodes"]["iris"]["sha256"] == path_digest(folder / "model.joblib")
    known = ("predict_proba", "decision_function")
    expected = getattr(model, method if method in known else "predict")
    expected = model.predict_proba if method is None else expected
    with opened(graphs, tmp_path / "out") as graph:
        np.testing.assert_allclose(graph.run({"data": ROWS})["output"], expected(ROWS))
    assert notes(graphs[0], Taken.TO_DO) == {}


def test_a_scikit_learn_server_over_v2_predicts(forest: Any, tmp_path: Path) -> None:
    folder, model = forest
    unit = server("iris", "SKLEARN_SERVER", modelUri=f"file://{folder}")
    with opened(imported(deployment(unit, protocol="v2")), tmp_path / "out") as graph:
        found = graph.run({"predict": ROWS.astype(np.float32)})
    assert found["predict"].tolist() == model.predict(ROWS).tolist()


@pytest.mark.parametrize(
    ("uri", "model"),
    [
        ("gs://bucket/iris", "gs://bucket/iris/model.joblib"),
        ("gs:bucket/iris/", "gs://bucket/iris/model.joblib"),
        ("s3://bucket/iris", "s3://bucket/iris/model.joblib"),
        ("https://host/iris", "https://host/iris/model.joblib"),
        ("pvc://claim/iris", "file:///mnt/pvc/claim/iris/model.joblib"),
        ("minio:bucket/iris", "s3://bucket/iris/model.joblib"),
        ("/mnt/models", "file:///mnt/models/model.joblib"),
    ],
)
def test_a_model_s_uri_has_the_file_that_the_server_loads(uri: str, model: str) -> None:
    (graph,) = imported(deployment(server("m", "SKLEARN_SERVER", modelUri=uri)))
    made = graph.spec["spec"]["nodes"]["m"]
    assert (made["model"], made["sha256"]) == (model, "0" * 64)
    assert "sha256" in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.modelUri"] or (
        "volume" in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.modelUri"]
        or "rclone" in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.modelUri"]
    )


@pytest.mark.parametrize(
    ("uri", "variable"),
    [("gs://b/m", "GOOGLE_APPLICATION_CREDENTIALS"), ("s3://b/m", "AWS_ACCESS_KEY_ID")],
)
def test_credentials_are_to_do(uri: str, variable: str) -> None:
    unit = server("m", "SKLEARN_SERVER", modelUri=uri, envSecretRefName="s")
    (graph,) = imported(deployment(unit))
    assert variable in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.envSecretRefName"]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (
            server("m", "XGBOOST_SERVER", modelUri="gs://b/m"),
            {"runtime": "xgboost", "model": "gs://b/m/model.ubj"},
        ),
        (
            server("m", "MLFLOW_SERVER", ("xtype", "STRING", "dataframe"), modelUri="gs://b/m"),
            {"runtime": "mlflow", "model": "gs://b/m", "sha256": "0" * 64},
        ),
    ],
)
def test_models_that_our_runtimes_load(unit: Node, expected: dict[str, Any]) -> None:
    assert one(unit) == {"type": "predictor", "inputs": {"x": "data"}, **expected}


def test_hugging_face_s_tasks_that_we_serve() -> None:
    unit = server(
        "m",
        "HUGGINGFACE_SERVER",
        ("task", "STRING", "sentiment-analysis"),
        ("pretrained_model", "STRING", "org/model"),
    )
    assert one(unit, protocol="v2") == {
        "type": "predictor",
        "runtime": "huggingface",
        "model": "hf://org/model",
        "args": {"task": "text-classification"},
        "inputs": {"x": "args"},
    }


@pytest.mark.parametrize(
    ("unit", "url"),
    [
        (server("m", "HUGGINGFACE_SERVER", ("task", "STRING", "question-answering")), 8080),
        (server("m", "TRITON_SERVER", modelUri="gs://b/m"), 8000),
        (server("m", "TEMPO_SERVER", modelUri="gs://b/m"), 8080),
    ],
)
def test_servers_that_go_on_are_asked_over_v2(unit: Node, url: int) -> None:
    (graph,) = imported(deployment(unit, protocol="v2"))
    assert graph.spec["spec"]["nodes"]["m"]["runtime"] == "open_inference"
    assert graph.spec["spec"]["nodes"]["m"]["args"] == {
        "url": f"http://localhost:{url}",
        "model": "m",
    }
    assert "write its address" in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.name"]


def filled(graphs: list[ImportedGraph], place: str, url: str) -> list[ImportedGraph]:
    """Write the address of a server into the graphs, as the note asks for."""
    for graph in graphs:
        for made in graph.spec["spec"]["nodes"].values():
            if made.get("args", {}).get("url") == place:
                made["args"]["url"] = url
    return graphs


def test_tensorflow_serving_is_asked_over_v1(tmp_path: Path) -> None:
    unit = server(
        "half",
        "TENSORFLOW_SERVER",
        ("signature_name", "STRING", "serving"),
        ("model_name", "STRING", "half_plus_two"),
        modelUri="gs://b/m",
    )

    def half_plus_two(path: str, body: Any) -> Any:
        return {"predictions": [[x / 2 + 2 for x in row] for row in body["instances"]]}

    graphs = imported(deployment(unit, protocol="tensorflow"))
    assert graphs[0].spec["spec"]["protocols"] == ["v1"]
    with (
        answering(half_plus_two) as seen,
        opened(filled(graphs, "http://localhost:8501", seen.url), tmp_path) as graph,
    ):
        found = graph.run({"data": np.array([[1.0, 2.0]], np.float32)})["output"]
    assert found.tolist() == [[2.5, 3.0]]
    assert seen.asked[0][0] == "/v1/models/half_plus_two:predict"
    assert seen.asked[0][1]["signature_name"] == "serving"


def test_a_microservice_with_an_address_is_asked_where_it_is(tmp_path: Path) -> None:
    def doubled(path: str, body: Any) -> Any:
        factor = {"/predict": 2, "/transform-input": 3, "/transform-output": 5}[path]
        rows = body["data"]["ndarray"]
        return {"data": {"ndarray": [[factor * x for x in row] for row in rows]}}

    with answering(doubled) as seen:
        port = int(seen.url.rpartition(":")[2])
        there = {"endpoint": {"service_host": "127.0.0.2", "service_port": port, "type": "REST"}}
        tree = node(
            "t",
            "TRANSFORMER",
            node("o", "OUTPUT_TRANSFORMER", node("m", "MODEL", **there), **there),
            **there,
        )
        graphs = imported(deployment(tree))
        graphs = filled(graphs, f"http://127.0.0.2:{port}", seen.url)
        with opened(graphs, tmp_path) as graph:
            assert graph.run({"data": np.array([[1.0, 2.0]])})["output"].tolist() == [[30, 60]]
    assert [path for path, _ in seen.asked] == ["/transform-input", "/predict", "/transform-output"]
    assert notes(graphs[0], Taken.TO_DO) == {}


def test_the_pod_s_own_address_is_no_address() -> None:
    there = {"service_host": "localhost", "service_port": 9000, "httpPort": 9000}
    made = one(node("m", "MODEL", endpoint=there))
    assert made["component"] == "components.py:M"


@pytest.mark.parametrize(
    "host",
    [
        "model-default-m.ml.svc.cluster.local",
        "seldon-0123456789abcdef0123456789abcdef.ml.svc.cluster.local",
    ],
)
def test_a_service_that_seldon_has_made_is_no_address(host: str) -> None:
    """A manifest that comes out of a cluster has what the webhook has written into it."""
    there = {"service_host": host, "service_port": 9000, "httpPort": 9000, "grpcPort": 9500}
    document = deployment(node("m", "MODEL", endpoint=there))
    document["metadata"] |= {
        "namespace": "ml",
        "uid": "1-2",
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": "2023-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl"}],
    }
    (graph,) = imported({**document, "status": {"state": "Available"}})
    assert graph.spec["spec"]["nodes"]["m"]["component"] == "components.py:M"


def test_the_image_that_seldon_writes_for_a_server_is_the_server_s() -> None:
    unit = server("m", "SKLEARN_SERVER", modelUri="gs://b/m")
    own = {"name": "p", "graph": unit}
    containers = [{"name": "m", "image": "seldonio/sklearnserver:1.17.1"}]
    own["componentSpecs"] = [{"spec": {"containers": containers}}]
    (graph,) = imported({**deployment(), "spec": {"predictors": [own]}})
    assert set(notes(graph, Taken.TO_DO)) == {"spec.predictors.0.graph.modelUri"}


@pytest.mark.parametrize("protocol", ["v2", "kfserving"])
def test_a_container_over_v2_is_a_server_of_the_open_inference_protocol(protocol: str) -> None:
    (graph,) = imported(deployment(node("m", "MODEL"), protocol=protocol))
    assert graph.spec["spec"]["nodes"]["m"]["args"] == {
        "url": "http://localhost:9000",
        "model": "m",
    }
    assert "protocols" not in graph.spec["spec"]


@pytest.mark.parametrize(
    ("image", "parameters", "expected"),
    [
        (
            "seldonio/mab_epsilon_greedy:1.1",
            [("n_branches", "INT", "3"), ("epsilon", "FLOAT", "0.1"), ("seed", "INT", "7")],
            {"strategy": "epsilon_greedy", "args": {"epsilon": 0.15, "seed": 7}},
        ),
        (
            "seldonio/mab_thompson_sampling:1.6.0-dev",
            [("n_branches", "INT", "3"), ("verbose", "BOOL", "1")],
            {"strategy": "thompson"},
        ),
    ],
)
def test_seldon_s_bandits_are_built_in(
    image: str, parameters: list[tuple[str, str, str]], expected: dict[str, Any]
) -> None:
    """Seldon explores among the other branches, ours among all: 0.1 of 2 is 0.15 of 3."""
    given = [{"name": n, "type": kind, "value": value} for n, kind, value in parameters]
    tree = node("r", "ROUTER", *[node(x, "MODEL") for x in "abc"], parameters=given)
    document = deployment(tree)
    containers = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    containers[0]["image"] = image
    (graph,) = imported(document)
    router = graph.spec["spec"]["nodes"]["r"]
    assert router == {"type": "router", "routes": ["a", "b", "c"], **expected}


def test_a_bandit_of_another_number_of_branches_is_refused() -> None:
    given = [{"name": "n_branches", "type": "INT", "value": "2"}]
    document = deployment(node("r", "ROUTER", node("a", "MODEL"), parameters=given))
    containers = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    containers[0]["image"] = "seldonio/mab_epsilon_greedy:1.1"
    assert "n_branches is 2, but the router has 1 children" in mistakes(document)[0]


def test_one_image_is_one_class_with_its_parameters() -> None:
    given = [
        {"name": "ratio", "type": "DOUBLE", "value": "0.5"},
        {"name": "deep", "type": "BOOL", "value": "true"},
        {"name": "layers", "type": "INT", "value": "3"},
        {"name": "label", "type": "STRING", "value": "x"},
    ]
    tree = node("a", "MODEL", node("b", "TRANSFORMER"), parameters=given)
    made = predictor(tree)
    for container in made["componentSpecs"][0]["spec"]["containers"]:
        container["image"] = "registry.example:5000/team/my-model@sha256:abc"
    (graph,) = imported({**deployment(), "spec": {"predictors": [made]}})
    nodes = graph.spec["spec"]["nodes"]
    assert nodes["a"]["args"] == {"ratio": 0.5, "deep": True, "layers": 3, "label": "x"}
    assert nodes["a"]["component"] == nodes["b"]["component"] == "components.py:MyModel"
    source = graph.files["components.py"]
    assert source.count("class ") == 1
    assert "def __init__(self, ratio=None, deep=None, layers=None, label=None):" in source
    assert "def predict(self, X, names, meta=None):" in source
    assert "def transform_input(self, X, names, meta=None):" in source


@pytest.mark.parametrize("name", ["class", "not-a-name", "self"])
def test_parameters_that_are_no_names_of_python(name: str) -> None:
    given = [{"name": name, "type": "STRING", "value": "x"}]
    (graph,) = imported(deployment(node("m", "MODEL", parameters=given)))
    assert "def __init__(self, **parameters):" in graph.files["components.py"]


def test_a_server_of_the_user_s_own_gets_the_place_of_its_model() -> None:
    unit = node("m", implementation="TORCH_SERVER", modelUri="gs://b/m")
    own = {"name": "p", "graph": unit}
    own["componentSpecs"] = [{"spec": {"containers": [{"name": "m", "image": "example/torch:1"}]}}]
    (graph,) = imported({**deployment(), "spec": {"predictors": [own]}})
    made = graph.spec["spec"]["nodes"]["m"]
    assert made["args"] == {"model_uri": "gs://b/m"}
    assert made["component"] == "components.py:Torch"
    assert "args.model_uri" in notes(graph, Taken.TO_DO)["spec.predictors.0.graph.modelUri"]


def test_an_image_of_hostile_text_cannot_leave_its_quotes() -> None:
    document = deployment(node("m", "MODEL"))
    containers = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    containers[0]["image"] = 'x"""\nimport os\n\\'
    (graph,) = imported(document)
    compile(graph.files["components.py"], "components.py", "exec")
    assert "\nimport os" not in graph.files["components.py"]
