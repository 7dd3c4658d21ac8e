"""Replicas, resources, variables, timeouts, logs, traces and explainers of deployments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.importers.result import ImportedGraph, Taken
from tests.importers.imported import imported, mistakes, notes, opened
from tests.importers.seldon_v1.manifests import deployment, node, predictor, sources

M = node("m", "MODEL")
TWO = node("a", "MODEL", node("b", "MODEL"))


def pods(*specs: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Return componentSpecs: each a container's name, its fields, and those of the pod."""
    found = []
    for spec in specs:
        fields = dict(spec)
        names = fields.pop("names")
        inner = fields.pop("container", {})
        containers = [{"name": name, "image": f"example/{name}:1", **inner} for name in names]
        found.append({"spec": {"containers": containers, **fields.pop("pod", {})}, **fields})
    return found


def made(graph: Any, *specs: dict[str, Any], **more: Any) -> ImportedGraph:
    """Import one predictor with pods."""
    deployed = more.pop("deployment", {})
    whole = deployment(**deployed)
    whole["spec"]["predictors"] = [
        {"name": "p", "graph": graph, "componentSpecs": pods(*specs), **more}
    ]
    (graph_,) = imported(whole)
    return graph_


def scalings(graph: ImportedGraph) -> tuple[Any, dict[str, Any]]:
    spec = graph.spec["spec"]
    nodes = {name: one["scaling"] for name, one in spec["nodes"].items() if "scaling" in one}
    return spec.get("scaling"), nodes


@pytest.mark.parametrize(
    ("pod", "own", "spec", "expected"),
    [
        (None, None, None, None),
        (None, None, 2, {"replicas": 2}),
        (None, 3, 2, {"replicas": 3}),
        (4, 3, 2, {"replicas": 4}),
        (None, 0, None, {"min": 0, "max": 1}),
    ],
)
def test_the_nearest_replicas_count(pod: Any, own: Any, spec: Any, expected: Any) -> None:
    """``seldondeployment_controller.go``: that of the pod, the predictor's, the deployment's."""
    given = {} if pod is None else {"replicas": pod}
    more = {} if own is None else {"replicas": own}
    deployed = {} if spec is None else {"replicas": spec}
    graph = made(M, {"names": ["m"], **given}, deployment=deployed, **more)
    assert scalings(graph) == (expected, {})


def test_pods_beside_the_first_are_segments() -> None:
    graph = made(
        node("a", "MODEL", node("b", "MODEL", node("c", "MODEL"))),
        {"names": ["a"]},
        {"names": ["b", "c"], "replicas": 3},
        replicas=2,
    )
    assert scalings(graph) == ({"replicas": 2}, {"b": {"replicas": 3}})
    assert graph.spec["spec"]["nodes"]["c"]["placement"] == {"with": "b"}


def test_nodes_of_other_pods_stay_in_the_head_where_nothing_says_their_number() -> None:
    assert scalings(made(TWO, {"names": ["a"]}, {"names": ["b"]})) == (None, {})


def test_an_engine_in_a_pod_of_its_own_has_its_own_replicas() -> None:
    graph = made(
        M,
        {"names": ["m"]},
        annotations={"seldon.io/engine-separate-pod": "true"},
        svcOrchSpec={"replicas": 4},
        replicas=2,
    )
    assert scalings(graph) == ({"replicas": 4}, {"m": {"replicas": 2}})


def test_an_autoscaler_is_a_range() -> None:
    graph = made(M, {"names": ["m"], "hpaSpec": {"minReplicas": 2, "maxReplicas": 5}}, replicas=3)
    assert scalings(graph) == ({"min": 2, "max": 5}, {})


def test_keda_comes_before_an_autoscaler() -> None:
    keda = {"maxReplicaCount": 7, "cooldownPeriod": 30, "triggers": [{"type": "cpu"}]}
    graph = made(M, {"names": ["m"], "kedaSpec": keda, "hpaSpec": {"maxReplicas": 5}})
    assert scalings(graph) == ({"min": 0, "max": 7, "downscale_delay": "30s"}, {})
    assert "KEDA comes before it" in notes(graph, Taken.LEFT_OUT).values()


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({"hpaSpec": {"minReplicas": 1}}, "hpaSpec.maxReplicas: is required"),
        ({"hpaSpec": {"minReplicas": 3, "maxReplicas": 2}}, "must be at least 3"),
        ({"kedaSpec": {"minReplicaCount": 1}}, "kedaSpec.triggers: is required"),
        ({"replicas": -1}, "must be at least 0"),
        ({"replicas": 2000}, "over the limit of 1000"),
    ],
)
def test_mistakes_of_replicas(pod: dict[str, Any], said: str) -> None:
    whole = deployment()
    whole["spec"]["predictors"] = [
        {"name": "p", "graph": M, "componentSpecs": pods({"names": ["m"], **pod})}
    ]
    assert any(said in one for one in mistakes(whole))


def test_resources_give_a_node_a_segment_with_the_pod_s_replicas() -> None:
    resources = {
        "requests": {"cpu": "250m", "memory": "1.5Gi"},
        "limits": {"cpu": "1", "memory": "1.5Gi", "nvidia.com/gpu": 1},
    }
    graph = made(M, {"names": ["m"], "container": {"resources": resources}}, replicas=2)
    made_node = graph.spec["spec"]["nodes"]["m"]
    assert made_node["resources"] == {"cpu": 0.25, "memory": "1536MiB", "gpu": 1}
    assert made_node["scaling"] == {"replicas": 2}
    left = notes(graph, Taken.LEFT_OUT)
    limit = "spec.predictors.0.componentSpecs.0.spec.containers.0.resources.limits.cpu"
    assert "sets no further limit" in left[limit]


@pytest.mark.parametrize(
    "asked", [{"cpu": 5000}, {"nvidia.com/gpu": 65}, {"memory": "1025Pi"}], ids=str
)
def test_resources_beyond_what_a_node_may_ask_for(asked: dict[str, Any]) -> None:
    whole = deployment()
    container = {"resources": {"requests": asked}}
    whole["spec"]["predictors"] = [
        {"name": "p", "graph": M, "componentSpecs": pods({"names": ["m"], "container": container})}
    ]
    assert any("is over the limit of" in one for one in mistakes(whole))


def test_variables_and_secrets() -> None:
    env = [
        {"name": "MODE", "value": "fast"},
        {"name": "EMPTY"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}},
        {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PYTHONPATH", "value": "/x"},
    ]
    graph = made(M, {"names": ["m"], "container": {"env": env}})
    made_node = graph.spec["spec"]["nodes"]["m"]
    assert made_node["env"] == {"MODE": "fast", "EMPTY": ""}
    assert made_node["secrets"] == {"KEY": {"kubernetes": {"name": "keys", "key": "api"}}}
    base = "spec.predictors.0.componentSpecs.0.spec.containers.0.env"
    assert f"{base}.3" in notes(graph, Taken.TO_DO)
    assert {f"{base}.4", f"{base}.5"} <= set(notes(graph, Taken.LEFT_OUT))


def test_containers_of_other_values_are_processes_apart(tmp_path: Path) -> None:
    whole = deployment(TWO)
    first, second = whole["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    first["env"] = [{"name": "MODE", "value": "1"}]
    second["env"] = [{"name": "MODE", "value": "2"}]
    (graph,) = imported(whole)
    nodes = graph.spec["spec"]["nodes"]
    assert [nodes[name]["placement"] for name in "ab"] == [{"isolate": True}] * 2
    with opened([graph], tmp_path, sources(TWO)) as asked:
        assert asked.run({"data": np.array([[1.0]])})["output"].tolist() == [[8.0]]


def test_a_container_of_no_node_is_told() -> None:
    graph = made(M, {"names": ["m", "sidecar"]})
    path = "spec.predictors.0.componentSpecs.0.spec.containers.1"
    assert "run it beside the engine" in notes(graph, Taken.LEFT_OUT)[path]


@pytest.mark.parametrize(
    ("annotations", "transport", "timeout"),
    [
        ({"seldon.io/rest-timeout": "100"}, None, "100ms"),
        ({"seldon.io/rest-timeout": "100", "seldon.io/grpc-timeout": "200"}, None, "100ms"),
        ({"seldon.io/rest-timeout": "100", "seldon.io/grpc-timeout": "200"}, "grpc", "200ms"),
        ({"seldon.io/grpc-timeout": "200"}, None, "200ms"),
        ({"seldon.io/rest-read-timeout": "300"}, None, "300ms"),
    ],
)
def test_timeouts_are_of_each_call(
    annotations: dict[str, str], transport: str | None, timeout: str
) -> None:
    given = {} if transport is None else {"transport": transport}
    (graph,) = imported(deployment(TWO, annotations=annotations, **given))
    nodes = graph.spec["spec"]["nodes"]
    assert {one["timeout"] for one in nodes.values()} == {timeout}
    assert "timeout" not in graph.spec["spec"]


def test_long_timeouts_make_the_request_s_longer() -> None:
    (graph,) = imported(deployment(TWO, annotations={"seldon.io/rest-timeout": "40000"}))
    assert graph.spec["spec"]["timeout"] == "80000ms"


def test_the_root_s_logger_is_the_request_log() -> None:
    tree = {**TWO, "logger": {"mode": "all", "url": "http://log.example/x"}}
    (graph,) = imported(deployment(tree))
    assert graph.spec["spec"]["telemetry"] == {"requests": {"to": "http://log.example/x"}}
    to_do = notes(graph, Taken.TO_DO)["spec.predictors.0.graph.logger.url"]
    assert "ANABRANCH_REQUEST_LOGS=http://log.example/x" in to_do


def test_another_node_s_logger_is_left_out() -> None:
    tree = node("a", "MODEL", {**node("b", "MODEL"), "logger": {"mode": "request"}})
    (graph,) = imported(deployment(tree))
    assert "telemetry" not in graph.spec["spec"]
    assert "spec.predictors.0.graph.children.0.logger" in notes(graph, Taken.LEFT_OUT)


def test_a_logger_without_url_is_a_file_of_the_engine() -> None:
    (graph,) = imported(deployment({**M, "logger": {"mode": "response"}}))
    assert graph.spec["spec"]["telemetry"] == {"requests": {"to": "file"}}


def test_variables_of_the_orchestrator() -> None:
    env = [
        {"name": "TRACING", "value": "1"},
        {"name": "JAEGER_AGENT_HOST", "value": "jaeger"},
        {"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"},
        {"name": "SELDON_LOG_LEVEL", "value": "DEBUG"},
    ]
    graph = made(M, {"names": ["m"]}, svcOrchSpec={"env": env})
    assert graph.spec["spec"]["telemetry"] == {"trace": "100%"}
    base = "spec.predictors.0.svcOrchSpec.env"
    assert {f"{base}.0", f"{base}.2"} <= set(notes(graph, Taken.REWORDED))
    assert {f"{base}.1", f"{base}.3"} <= set(notes(graph, Taken.LEFT_OUT))


def test_an_explainer_of_the_only_model() -> None:
    unit = node("m", implementation="SKLEARN_SERVER", modelUri="gs://b/m")
    explainer = {
        "type": "AnchorTabular",
        "modelUri": "gs://b/explainer",
        "config": {"threshold": "0.9", "seed": "1", "beam_size": "wide"},
        "replicas": 2,
    }
    whole = deployment()
    whole["spec"]["predictors"] = [predictor(unit, explainer=explainer)]
    (graph,) = imported(whole)
    assert graph.spec["spec"]["nodes"]["explainer"] == {
        "type": "explainer",
        "method": "anchor_tabular",
        "explains": "m",
        "model": "gs://b/explainer",
        "sha256": "0" * 64,
        "args": {"threshold": 0.9},
        "scaling": {"replicas": 2},
    }
    left = notes(graph, Taken.LEFT_OUT)
    assert left["spec.predictors.0.explainer.config.seed"].startswith("`seed` is no argument")
    assert "beam_size" in left["spec.predictors.0.explainer.config.beam_size"]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("AnchorText", True),
        ("AnchorImages", True),
        ("ALE", True),
        ("KernelShap", True),
        ("TreeShap", False),
        ("Counterfactuals", False),
        ("Contrastive", False),
        ("IntegratedGradients", False),
    ],
)
def test_each_type_of_explainer(kind: str, taken: bool) -> None:
    whole = deployment()
    whole["spec"]["predictors"] = [
        predictor(M, explainer={"type": kind, "initParameters": '{"unknown": 1}'})
    ]
    (graph,) = imported(whole)
    assert ("explainer" in graph.spec["spec"]["nodes"]) == taken


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("AnchorText", {"datatype": "BYTES", "shape": [-1]}),
        ("AnchorImages", {"datatype": "FP32", "shape": [-1, -1, -1, -1]}),
        ("AnchorTabular", {"datatype": "FP64", "shape": [-1, -1]}),
    ],
)
def test_an_explainer_tells_what_the_model_takes(kind: str, tensor: dict[str, Any]) -> None:
    whole = deployment()
    whole["spec"]["predictors"] = [predictor(M, explainer={"type": kind})]
    (graph,) = imported(whole)
    assert graph.spec["spec"]["inputs"] == {"data": tensor}


def test_labels_and_annotations_of_the_user() -> None:
    whole = deployment(M, annotations={"project_name": "Iris"})
    whole["metadata"] |= {
        "labels": {"app": "seldon", "x" * 70: "long"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    whole["spec"]["predictors"][0]["labels"] = {"version": "v1"}
    (graph,) = imported(whole)
    assert graph.spec["metadata"]["labels"] == {
        "app": "seldon",
        "project_name": "Iris",
        "version": "v1",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [("1-model", "g-1-model"), ("My.Model", "my-model"), ("x" * 80, f"{'x' * 54}-")],
)
def test_names_that_no_graph_has_are_changed_and_told(name: str, expected: str) -> None:
    whole = deployment(M)
    whole["metadata"]["name"] = name
    (graph,) = imported(whole)
    assert graph.name.startswith(expected)
    assert "metadata.name" in notes(graph, Taken.TO_DO)


@pytest.mark.parametrize("name", ["router", "head", "data", "1st", "a.b"])
def test_names_that_no_node_has_are_changed_and_told(name: str, tmp_path: Path) -> None:
    tree = node(name, "MODEL")
    (graph,) = imported(deployment(tree))
    assert len(graph.spec["spec"]["nodes"]) == 1
    assert graph.files["components.py"].count("class ") == 1
