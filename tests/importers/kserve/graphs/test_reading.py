"""Mistakes in InferenceGraphs, and notes on their fields."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.importers.kserve.manifests import (
    imported,
    inference_graph,
    mistakes,
    node,
    notes_of,
    running,
)

A = {"serviceUrl": "http://a/"}
ROOT = "spec.nodes.root"


@pytest.mark.parametrize(
    ("nodes", "path", "message"),
    [
        ({}, "spec.nodes", "needs nodes"),
        ({"start": node("Sequence", A)}, "spec.nodes", "needs a node 'root'"),
        ({"root": {"steps": [A]}}, f"{ROOT}.routerType", "Ensemble, Sequence, Splitter, Switch"),
        ({"root": node("Sequnce", A)}, f"{ROOT}.routerType", "did you mean `Sequence`"),
        ({"root": node("Sequence")}, f"{ROOT}.steps", "needs steps"),
        ({"root": node("Sequence", {})}, f"{ROOT}.steps.0", "needs a target"),
        (
            {"root": node("Sequence", {**A, "serviceName": "b"})},
            f"{ROOT}.steps.0",
            "one target, not serviceName and serviceUrl",
        ),
        ({"root": node("Sequence", {"serviceUrl": "a"})}, f"{ROOT}.steps.0.serviceUrl", "http(s)"),
        (
            {"root": node("Sequence", {**A, "name": "x"}, {**A, "name": "x"})},
            f"{ROOT}.steps.0.name",
            "'x' names several steps",
        ),
        (
            {"root": node("Ensemble", A, {**A, "name": "0"})},
            f"{ROOT}.steps.0",
            "0, is the name of another step",
        ),
        ({"root": node("Splitter", A)}, f"{ROOT}.steps.0.weight", "needs a weight"),
        (
            {"root": node("Splitter", {**A, "weight": 60}, {**A, "weight": 60})},
            f"{ROOT}.steps",
            "must sum to 100, not 120",
        ),
        (
            {"root": node("Splitter", {**A, "weight": -20}, {**A, "weight": 120})},
            f"{ROOT}.steps.0.weight",
            "may not be negative",
        ),
        (
            {"root": node("Splitter", {**A, "weight": "a"})},
            f"{ROOT}.steps.0.weight",
            "whole number",
        ),
        (
            {"root": node("Sequence", {"nodeName": "nxt"}), "next": node("Sequence", A)},
            f"{ROOT}.steps.0.nodeName",
            "no node 'nxt' (did you mean 'next'",
        ),
        (
            {"root": node("Sequence", {"serviceName": "a/b"})},
            f"{ROOT}.steps.0.serviceName",
            "'a/b' is no name of an InferenceService",
        ),
        (
            {"root": node("Sequence", {"nodeName": "root"})},
            f"{ROOT}.steps.0.nodeName",
            "a cycle, root → root",
        ),
        (
            {
                "root": node("Sequence", {"nodeName": "b"}),
                "b": node("Switch", {"nodeName": "root", "condition": "x"}),
            },
            f"{ROOT}.steps.0.nodeName",
            "a cycle, b → root → b",
        ),
        (
            {"root": node("Sequence", {**A, "condition": "x"})},
            f"{ROOT}.steps.0.condition",
            "no response before the first step",
        ),
        (
            {"root": node("Switch", {**A, "condition": "@dig:a.@dig:b"})},
            f"{ROOT}.steps.0.condition",
            "may have one `@dig`",
        ),
        (
            {"root": node("Sequence", {**A, "dependency": "x"})},
            f"{ROOT}.steps.0.dependency",
            "Hard",
        ),
        ({"root": {**node("Sequence"), "steps": {}}}, f"{ROOT}.steps", "must be a list"),
    ],
)
def test_mistakes(nodes: Any, path: str, message: str) -> None:
    found = mistakes(inference_graph(nodes))
    assert any(one.startswith(f"{path}: ") and message in one for one in found), found


def test_all_mistakes_are_told_at_once() -> None:
    nodes = {
        "root": node("Switch", {"nodeName": "a", "condition": "@dig:a.@dig:b"}),
        "b": node("Splitter", A),
    }
    assert len(mistakes(inference_graph(nodes, name="G"))) == 5


def test_a_graph_that_grows_too_large_is_refused() -> None:
    nodes = {f"n{index}": two(f"n{index + 1}") for index in range(12)}
    nodes = {"root": two("n0"), **nodes, "n12": node("Ensemble", A)}
    (found,) = mistakes(inference_graph(nodes))
    assert "becomes more than 500 nodes" in found


def two(name: str) -> Any:
    return node("Ensemble", {"nodeName": name}, {"nodeName": name})


NOTED = {
    **inference_graph(
        {
            "root": node(
                "Sequence",
                {"serviceName": "here", "name": "first", "data": "$response"},
                {"serviceName": "away", "data": "$response.predictions", "weight": 3},
                {"nodeName": "s", "mapPredictionsToInstances": True, "dependency": "Soft"},
            ),
            "s": node(
                "Switch",
                {"serviceUrl": "http://x.{$domain}/", "condition": "a", "dependency": "Hard"},
                {"serviceUrl": "http://y/"},
            ),
            "alone": node("Splitter", {**A, "weight": 100, "condition": "x"}),
        },
        timeout=30,
        routerTimeouts={"serviceClient": 5, "serverIdle": 9},
        minReplicas=2,
        maxReplicas=4,
        scaleTarget=8,
        scaleMetric="concurrency",
        resources={"limits": {"cpu": "1"}},
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "a"}],
        serviceAccountName="sa",
        unknown=1,
    ),
    "status": {"url": "http://z"},
}
NOTED["metadata"] = {
    "name": "noted",
    "namespace": "team",
    "labels": {"a": "b"},
    "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    "uid": "1",
}
SERVICE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "here", "namespace": "team"},
    "spec": {"predictor": {"triton": {"storageUri": "gs://bucket/models"}}},
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[str]:
    """Return the paths of all fields of an object that hold no other fields."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        found
        for key, one in inner
        for found in (
            leaves(one, (*path, key)) if isinstance(one, dict | list) and one
            else [".".join(map(str, (*path, key)))]
        )
    ]  # fmt: skip


def test_every_field_has_a_note() -> None:
    (graph,) = [one for one in imported(NOTED, SERVICE) if one.name == "team/noted"]
    notes = notes_of(graph)
    for leaf in leaves({key: value for key, value in NOTED.items() if key[0] not in "ak"}):
        parts = leaf.split(".")
        assert any(".".join(parts[:length]) in notes for length in range(1, len(parts) + 1)), leaf
    steps = "spec.nodes.root.steps"
    assert notes[f"{steps}.0.serviceName"][0] == "reworded"
    assert notes[f"{steps}.1.serviceName"][0] == "to do"
    assert notes[f"{steps}.1.data"][0] == "left out"
    assert notes["spec.nodes.s.steps.1.condition"][0] == "left out"
    assert notes["spec.nodes.alone"][0] == "left out"
    assert notes["spec.unknown"][0] == "left out"
    spec = graph.spec["spec"]
    assert spec["timeout"] == "30s"
    assert spec["scaling"] == {"min": 2, "max": 4, "target_ongoing": 8}
    assert spec["placement"] == {"labels": {"disk": "ssd"}}
    assert graph.spec["metadata"] == {"name": "team/noted", "labels": {"a": "b"}}
    urls = [one["args"]["url"] for one in spec["nodes"].values() if one.get("runtime") == "rest"]
    assert "http://here.team.svc.cluster.local/v2/models/here/infer" in urls
    assert "http://away.team.svc.cluster.local/v1/models/away:predict" in urls
    assert all(
        one["timeout"] == "5s" for one in spec["nodes"].values() if one.get("runtime") == "rest"
    )


def test_names_of_nodes_that_are_no_names_here() -> None:
    nodes = {
        "root": node("Sequence", {"nodeName": "request"}, {"nodeName": "1.b c"}),
        "request": node("Ensemble", {**A, "name": "a b"}, {**A, "name": "context"}),
        "1.b c": node("Splitter", {**A, "weight": 100, "name": "ü"}),
    }
    (graph,) = imported(inference_graph(nodes))
    made = graph.spec["spec"]["nodes"]
    (combiner,) = [one for one in made.values() if one["type"] == "combiner"]
    assert sorted(combiner["args"]["keys"].values()) == ["a b", "context"]
    with running([graph]):
        pass


def test_the_same_manifest_twice_is_the_same_graph() -> None:
    (one,), (two_,) = imported(NOTED), imported(copy.deepcopy(NOTED))
    assert one.spec == two_.spec
