"""Mistakes in InferenceServices and the kinds beside them, and notes on their fields."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.importers.report import unmet
from anabranch.importers.result import Taken
from tests.importers.kserve.manifests import imported, mistakes, notes_of
from tests.importers.kserve.services.test_formats import by_format, service

SKLEARN = by_format("sklearn", "gs://b/m")
CANARY = {"trafficPercent": 10, "predictor": {"name": "b", **SKLEARN}}


@pytest.mark.parametrize(
    ("manifest", "path", "message"),
    [
        (service({}), "spec.predictor", "needs exactly one of sklearn"),
        ({**service(SKLEARN), "spec": {}}, "spec.predictor", "needs a predictor"),
        (
            service({**SKLEARN, "xgboost": {"storageUri": "gs://b"}}),
            "spec.predictor",
            "not xgboost, model",
        ),
        (
            service({**SKLEARN, "containers": [{"name": "kserve-container", "image": "a"}]}),
            "spec.predictor",
            "not model, containers",
        ),
        (service(SKLEARN, "Iris"), "metadata.name", "no name of an InferenceService"),
        (
            service({"model": {"storageUri": "gs://b"}}),
            "spec.predictor.model.modelFormat",
            "required",
        ),
        (
            service({"sklearn": {"name": "x", "storageUri": "gs://b"}}),
            "spec.predictor.sklearn.name",
            "not allowed",
        ),
        (
            service(by_format("sklearn", "gs://b", protocolVersion="v3")),
            "spec.predictor.model.protocolVersion",
            "choose from grpc-v1",
        ),
        (service({**SKLEARN, "minReplicas": -1}), "spec.predictor.minReplicas", "at least 0"),
        (
            service({**SKLEARN, "minReplicas": 4, "maxReplicas": 2}),
            "spec.predictor.minReplicas",
            "above maxReplicas",
        ),
        (service({**SKLEARN, "scaleMetric": "qps"}), "spec.predictor.scaleMetric", "`rps`"),
        (
            service({**SKLEARN, "containerConcurrency": -1}),
            "spec.predictor.containerConcurrency",
            "at least 0",
        ),
        (
            service({**SKLEARN, "canaryTrafficPercent": 101}),
            "spec.predictor.canaryTrafficPercent",
            "from 0 to 100",
        ),
        (service({**SKLEARN, "logger": {"mode": "some"}}), "spec.predictor.logger.mode", "unknown"),
        (service({**SKLEARN, "timeout": "1s"}), "spec.predictor.timeout", "whole number"),
        (
            service({**SKLEARN, "batcher": {"maxBatchSize": -2}}),
            "spec.predictor.batcher.maxBatchSize",
            "from 0 to",
        ),
        (service(SKLEARN, transformer={}), "spec.transformer.containers", "needs containers"),
        (
            service(SKLEARN, explainer={"minReplicas": 1}),
            "spec.explainer",
            "needs one of art and containers",
        ),
        (
            service(SKLEARN, canary=[{"trafficPercent": 5, "predictor": SKLEARN}]),
            "spec.canary.0.predictor.name",
            "is required",
        ),
        (service(SKLEARN, canary=[CANARY, CANARY]), "spec.canary.1.predictor.name", "another"),
        (
            service(SKLEARN, canary=[{**CANARY, "trafficPercent": 101}]),
            "spec.canary.0.trafficPercent",
            "from 0 to 100",
        ),
        (
            service(
                SKLEARN,
                canary=[
                    {**CANARY, "trafficPercent": 60},
                    {"trafficPercent": 60, "predictor": {"name": "c", **SKLEARN}},
                ],
            ),
            "spec.canary",
            "at most 100 together, not 120",
        ),
        (
            service(by_format("lightgbm", "http://[::1/m")),
            "spec.predictor.model.storageUri",
            "means the model 'http://[::1/m/model.bst': square brackets",
        ),
        (
            service(by_format("lightgbm", "s3://b/" + "a" * 3000)),
            "spec.predictor.model.storageUri",
            "is over the limit of 2048 characters",
        ),
        (
            service({**SKLEARN, "storageUris": [{"uri": "gs://c"}]}),
            "spec.predictor.storageUris",
            "exclude each other",
        ),
        (
            service(by_format("sklearn", "gs://b", resources={"limits": {"cpu": "two"}})),
            "spec.predictor.model.resources.limits.cpu",
            "no quantity",
        ),
    ],
)
def test_mistakes(manifest: Any, path: str, message: str) -> None:
    found = mistakes(manifest)
    assert any(one.startswith(f"{path}: ") and message in one for one in found), found


def test_a_format_that_may_be_misspelled_has_a_suggestion() -> None:
    (graph,) = imported(service(by_format("sklern", "gs://b")))
    (_, told) = notes_of(graph)["spec.predictor.model.modelFormat.name"]
    assert "no format that KServe brings a server for (did you mean 'sklearn'?" in told


def test_a_server_alone_is_no_graph() -> None:
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "r"},
        "spec": {"containers": [{"args": ["--model_name={{.Name}}"]}]},
    }
    (found,) = mistakes(runtime)
    assert "ServingRuntime describes a server of models" in found
    served = service(by_format("sklearn", "gs://b", runtime="r"))
    runtime["spec"] = {"protocolVersions": ["grpc-v2", "v2"]}
    (graph,) = imported(runtime, served)
    assert list(graph.spec["spec"]["inputs"]) == ["input-0"]
    assert "ServingRuntime of this import" in notes_of(graph)["spec.predictor.model.runtime"][1]


@pytest.mark.parametrize(
    ("uri", "model", "taken"),
    [
        ("gs://b/iris", "gs://b/iris/model.joblib", "same"),
        ("s3://b/iris/", "s3://b/iris/model.joblib", "same"),
        ("gs://b/forest.pkl", "gs://b/forest.pkl", "same"),
        ("hf://a/b", "hf://a/b/model.joblib", "same"),
        ("https://h/m.tar.gz?t=1", "https://h/m.tar.gz?t=1#model.joblib", "same"),
        ("https://h/model.joblib", "https://h/model.joblib", "same"),
        ("https://acc.blob.core.windows.net/c/m", "az://c/m/model.joblib", "to do"),
        ("pvc://claim/iris", "file:///mnt/pvc/claim/iris/model.joblib", "to do"),
        ("oci://registry/image:1", "file:///mnt/oci/registry/image:1/model.joblib", "to do"),
        ("hdfs://h/iris", "file:///mnt/hdfs/h/iris/model.joblib", "to do"),
        ("model-registry://iris/v1", "file:///mnt/models/iris/v1/model.joblib", "to do"),
        ("/mnt/models", "file:///mnt/models/model.joblib", "same"),
        ("file:///mnt/models", "file:///mnt/models/model.joblib", "same"),
    ],
)
def test_places_of_models(uri: str, model: str, taken: str) -> None:
    (graph,) = imported(service(by_format("sklearn", uri)))
    node = graph.spec["spec"]["nodes"]["predictor"]
    assert node["model"] == model
    assert node["sha256"] == "0" * 64
    key = "spec.predictor.model.storageUri"
    found = [str(one.taken) for one in graph.notes if ".".join(map(str, one.path)) == key]
    assert taken in found
    assert "to do" in found  # the digest


def test_several_places() -> None:
    uris = [{"uri": "gs://a", "mountPath": "/mnt/models"}, {"uri": "gs://b"}]
    model = {"model": {"modelFormat": {"name": "lightgbm"}}, "storageUris": uris}
    (graph,) = imported(service(model))
    assert graph.spec["spec"]["nodes"]["predictor"]["model"] == "gs://a/model.bst"
    assert notes_of(graph)["spec.predictor.storageUris.1"][0] == "left out"


def test_a_storage_spec() -> None:
    storage = {"key": "k", "path": "a/b", "parameters": {"type": "s3", "bucket": "c"}}
    model = {"modelFormat": {"name": "lightgbm"}, "storage": storage}
    (graph,) = imported(service({"model": model}))
    assert graph.spec["spec"]["nodes"]["predictor"]["model"] == "s3://c/a/b/model.bst"
    assert notes_of(graph)["spec.predictor.model.storage.key"][0] == "to do"


FULL = service(
    {
        "minReplicas": 1,
        "maxReplicas": 3,
        "scaleTarget": 5,
        "scaleMetric": "concurrency",
        "timeout": 100,
        "containerConcurrency": 4,
        "canaryTrafficPercent": 10,
        "batcher": {"maxBatchSize": 16, "maxLatency": 50, "timeout": 9},
        "logger": {"mode": "all", "url": "http://sink/in", "metadataHeaders": ["a"]},
        "serviceAccountName": "sa",
        "nodeSelector": {"disk": "ssd", "bad key": "x"},
        "tolerations": [{"key": "a"}],
        "volumes": [{"name": "v"}],
        "labels": {"a": "b"},
        "deploymentStrategy": {"type": "Recreate"},
        "containers": [{"name": "side", "image": "car"}],
        "misspelt": True,
        "model": {
            "modelFormat": {"name": "sklearn", "version": "1"},
            "protocolVersion": "v1",
            "runtimeVersion": "0.10",
            "storageUri": "s3://b/m",
            "args": ["--workers=2"],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1", "a/b": "1"},
            },
        },
    },
    transformer={
        "minReplicas": 2,
        "logger": {"mode": "request"},
        "containers": [{"name": "t", "image": "i", "ports": [{"containerPort": 1}]}],
    },
    explainer={
        "minReplicas": 1,
        "alibi": {
            "type": "AnchorTabular",
            "storageUri": "gs://e/x",
            "config": {"threshold": "0.9"},
        },
    },
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[tuple[Any, ...]] = []
    for key, one in inner:
        below = (*path, key)
        nested = isinstance(one, dict | list) and bool(one)
        found += leaves(one, below) if nested else [below]
    return found


def test_every_field_has_a_note() -> None:
    (graph,) = imported(FULL)
    notes = notes_of(graph)
    for leaf in leaves({"spec": FULL["spec"]}):
        parts = list(map(str, leaf))
        # A note on the whole predictor is none on each of its fields.
        starts = [".".join(parts[:length]) for length in range(3, len(parts) + 1)]
        assert any(start in notes for start in starts), leaf
    taken, text = notes["spec.predictor.misspelt"]
    assert taken == "left out"
    assert text.startswith("no field of this name is known")
    spec = graph.spec["spec"]
    node = spec["nodes"]["predictor"]
    assert node["resources"] == {"cpu": 0.5, "memory": "1GiB", "gpu": 1}
    assert node["scaling"] == {"min": 1, "max": 3, "target_ongoing": 5}
    assert node["batching"] == {"max_size": 16, "max_delay": "50ms"}
    assert node["env"] == {"A": "1"}
    assert node["secrets"] == {"B": {"kubernetes": {"name": "s", "key": "k"}}}
    assert node["placement"] == {"labels": {"disk": "ssd"}}
    assert spec["timeout"] == "100s"
    assert spec["nodes"]["explainer"]["args"] == {"threshold": 0.9}
    assert spec["telemetry"]["requests"]["to"] in ("file", "http://sink/in")
    assert spec["protocols"] == ["v1"]
    assert graph.steps == ["anabranch deploy graph.yaml --canary 10"]
    assert {one.taken for one in graph.notes} == set(Taken)
    assert len(unmet([graph])) == sum(
        one.taken in (Taken.LEFT_OUT, Taken.TO_DO) for one in graph.notes
    )


def test_the_first_version_of_the_language() -> None:
    manifest = {
        "apiVersion": "serving.kubeflow.org/v1alpha2",
        "kind": "InferenceService",
        "metadata": {"name": "old"},
        "spec": {
            "default": {"predictor": {"sklearn": {"storageUri": "gs://b/1"}}},
            "canary": {"predictor": {"sklearn": {"storageUri": "gs://b/2"}}},
            "canaryTrafficPercent": 10,
        },
    }
    graphs = imported(manifest)
    models = [one.spec["spec"]["nodes"]["predictor"]["model"] for one in graphs]
    assert models == ["gs://b/1/model.joblib", "gs://b/2/model.joblib"]
    assert graphs[1].steps == ["anabranch deploy canary/graph.yaml --canary 10"]


@pytest.mark.parametrize(
    ("args", "node", "doors"),
    [
        (
            ["--model_id=google/bert", "--task=sequence_classification"],
            {"model": "hf://google/bert", "args": {"task": "text-classification"}},
            ["v1"],
        ),
        (
            ["--model_name=m", "--model_id", "a/llama", "--backend=vllm"],
            {"model": "hf://a/llama", "args": {"task": "chat"}},
            ["openai"],
        ),
        (["--model_id=a/t5", "--task=text2text_generation"], None, ["v1"]),
    ],
)
def test_hugging_face(args: list[str], node: Any, doors: list[str]) -> None:
    model = {"modelFormat": {"name": "huggingface"}, "args": args}
    (graph,) = imported(service({"model": model}))
    found = graph.spec["spec"]["nodes"]["predictor"]
    if node is None:
        assert found["runtime"] == "v1"
    else:
        assert {key: found[key] for key in node} == node
    assert graph.spec["spec"]["protocols"] == doors
