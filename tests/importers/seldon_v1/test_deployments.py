"""What Seldon's webhook refuses, and what it accepts by oversight, is refused with its position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.importers.imported import mistakes
from tests.importers.seldon_v1.manifests import Node, deployment, node, predictor

M = node("m", "MODEL")


def two(first: Mapping[str, Any], second: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    made = deployment(**spec)
    made["spec"]["predictors"] = [predictor(M, **first), predictor(M, **second)]
    return made


def with_parameters(one: Node, *parameters: Mapping[str, Any]) -> Node:
    return {**one, "parameters": list(parameters)}


def endpoint(kind: str) -> dict[str, Any]:
    return {"endpoint": {"type": kind}}


RATIO = {"name": "ratioA", "type": "FLOAT", "value": "0.5"}
AB = node("r", None, node("a"), node("b"), implementation="RANDOM_ABTEST")
SKLEARN = {"implementation": "SKLEARN_SERVER"}
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    # the webhook's own
    "no predictors": (deployment(), "spec.predictors", "at least one predictor"),
    "a predictor's name twice": (
        two({"name": "a", "traffic": 50}, {"name": "a", "traffic": 50}),
        "spec.predictors.1.name",
        "another predictor is called 'a'",
    ),
    "no container": (
        {**deployment(), "spec": {"predictors": [{"name": "p", "graph": M}]}},
        "spec.predictors.0.graph.name",
        "no container is called 'm'; componentSpecs need one",
    ),
    "UNKNOWN_TYPE without methods": (
        deployment(node("m", "UNKNOWN_TYPE")),
        "spec.predictors.0.graph",
        "no request calls it",
    ),
    "a server without a model": (
        deployment(node("m", **SKLEARN)),
        "spec.predictors.0.graph",
        "needs `modelUri`",
    ),
    "an unknown server": (
        deployment(node("m", implementation="SKLEARN_SEVER", modelUri="gs://b/m")),
        "spec.predictors.0.graph.implementation",
        "'SKLEARN_SEVER' is no server that Seldon brings",
    ),
    "a logger without mode": (
        deployment(node("m", "MODEL", logger={"url": "http://l"})),
        "spec.predictors.0.graph.logger.mode",
        "is required (all, request, response)",
    ),
    "traffic that does not sum to 100": (
        two({"name": "a", "traffic": 50}, {"name": "b", "traffic": 40}),
        "spec.predictors",
        "must sum to 100, not 90",
    ),
    "one predictor with a part": (
        {**deployment(), "spec": {"predictors": [predictor(M, traffic=50)]}},
        "spec.predictors.0.traffic",
        "the only predictor has all traffic",
    ),
    "a shadow alone": (
        {**deployment(), "spec": {"predictors": [predictor(M, shadow=True)]}},
        "spec.predictors.0.shadow",
        "cannot be the only predictor",
    ),
    "a service name twice": (
        two(
            {"name": "a", "traffic": 50, "annotations": {"seldon.io/svc-name": "s"}},
            {"name": "b", "traffic": 50, "annotations": {"seldon.io/svc-name": "s"}},
        ),
        "spec.predictors.1.annotations.seldon.io/svc-name",
        "another predictor has the service name 's'",
    ),
    "an unknown protocol": (
        deployment(M, protocol="sedlon"),
        "spec.protocol",
        "did you mean `seldon`?",
    ),
    "an unknown transport": (deployment(M, transport="http"), "spec.transport", "grpc, rest"),
    "Kafka without topics": (
        deployment(M, serverType="kafka"),
        "spec.predictors.0.svcOrchSpec",
        "needs KAFKA_BROKER, KAFKA_INPUT_TOPIC, KAFKA_OUTPUT_TOPIC",
    ),
    "no engine for two nodes": (
        {
            **deployment(),
            "spec": {
                "predictors": [
                    predictor(node("a", "MODEL", M), annotations={"seldon.io/no-engine": "true"})
                ]
            },
        },
        "spec.predictors.0.annotations.seldon.io/no-engine",
        "only a graph of one node",
    ),
    "endpoints of two types": (
        deployment(node("a", "MODEL", node("b", "MODEL", **endpoint("GRPC")), **endpoint("REST"))),
        "spec.predictors",
        "endpoints have 2 types (GRPC, REST)",
    ),
    "a transport beside endpoints": (
        deployment(node("a", "MODEL", **endpoint("GRPC")), transport="rest"),
        "spec.transport",
        "endpoints have the type GRPC",
    ),
    # oversights
    "a misspelled type": (
        deployment(node("m", "MODLE")),
        "spec.predictors.0.graph.type",
        "did you mean `MODEL`?",
    ),
    "a misspelled method": (
        deployment(node("m", methods=["TRANFORM_INPUT"])),
        "spec.predictors.0.graph.methods.0",
        "'TRANFORM_INPUT' is no method",
    ),
    "a node that nothing calls": (
        deployment(node("m", methods=["SEND_FEEDBACK"])),
        "spec.predictors.0.graph.methods",
        "no request calls it",
    ),
    "a node's name twice": (
        deployment(node("m", "MODEL", node("m", "MODEL"))),
        "spec.predictors.0.graph.children.0.name",
        "is the name of another node",
    ),
    "a combiner without children": (
        deployment(node("c", "COMBINER")),
        "spec.predictors.0.graph",
        "a combiner without children",
    ),
    "a router without children": (
        deployment(node("c", "ROUTER")),
        "spec.predictors.0.graph",
        "a router without children",
    ),
    "an A/B test of three": (
        deployment(with_parameters({**AB, "children": [node(x) for x in "abc"]}, RATIO)),
        "spec.predictors.0.graph.children",
        "exactly 2 children, not 3",
    ),
    "an A/B test without ratio": (
        deployment(AB),
        "spec.predictors.0.graph",
        "needs the parameter `ratioA`",
    ),
    "a ratio over 1": (
        deployment(with_parameters(AB, {**RATIO, "value": "1.5"})),
        "spec.predictors.0.graph.parameters.0.value",
        "1.5 is no share from 0 to 1",
    ),
    "a built-in of another type": (
        deployment({**AB, "type": "MODEL", "parameters": [RATIO]}),
        "spec.predictors.0.graph.type",
        "RANDOM_ABTEST is a ROUTER, not a MODEL",
    ),
    "negative traffic": (
        two({"name": "a", "traffic": 150}, {"name": "b", "traffic": -50}),
        "spec.predictors.0.traffic",
        "must be from 0 to 100, not 150",
    ),
    # values of the wrong kind, which the CRD refuses
    "a text for a number": (
        {**deployment(), "spec": {"predictors": [predictor(M, replicas="2")]}},
        "spec.predictors.0.replicas",
        "must be a whole number, not the text '2'",
    ),
    "a number for a parameter": (
        deployment(with_parameters(AB, {**RATIO, "value": 0.5})),
        "spec.predictors.0.graph.parameters.0.value",
        "must be a text, not the number 0.5",
    ),
    "a parameter of no type": (
        deployment(with_parameters(M, {"name": "n", "value": "1", "type": "INTEGER"})),
        "spec.predictors.0.graph.parameters.0.type",
        "did you mean 'INT'?",
    ),
    "a parameter that is not its type": (
        deployment(with_parameters(M, {"name": "n", "value": "1.5", "type": "INT"})),
        "spec.predictors.0.graph.parameters.0.value",
        "the text '1.5' is no INT",
    ),
    "a parameter that the server does not take": (
        deployment(
            with_parameters(
                node("m", modelUri="gs://b/m", **SKLEARN),
                {"name": "metod", "value": "predict", "type": "STRING"},
            )
        ),
        "spec.predictors.0.graph.parameters.0.name",
        "did you mean 'method'?",
    ),
    "a blank place of a model": (
        deployment(node("m", modelUri=" \n", **SKLEARN)),
        "spec.predictors.0.graph.modelUri",
        "is blank",
    ),
    "a place of a model that is none": (
        deployment(node("m", modelUri="hf://", **SKLEARN)),
        "spec.predictors.0.graph.modelUri",
        "write hf://owner/repository/path",
    ),
    "an address of no server": (
        deployment(node("m", endpoint={"service_host": "/", "httpPort": 80})),
        "spec.predictors.0.graph.endpoint",
        "'http:///:80' is no address of a server",
    ),
    "an unknown version": (
        {**deployment(M), "apiVersion": "machinelearning.seldon.io/v2"},
        "apiVersion",
        "'v2' is no version of SeldonDeployment",
    ),
    "a graph that is a list": (
        {**deployment(), "spec": {"predictors": [{"name": "p", "graph": [M]}]}},
        "spec.predictors.0.graph",
        "must be a map, not a list",
    ),
    "a timeout of no number": (
        deployment(M, annotations={"seldon.io/rest-timeout": "1s"}),
        "spec.annotations.seldon.io/rest-timeout",
        "whole number of milliseconds",
    ),
    "resources of no quantity": (
        {
            **deployment(),
            "spec": {
                "predictors": [
                    {
                        "name": "p",
                        "graph": M,
                        "componentSpecs": [
                            {
                                "spec": {
                                    "containers": [
                                        {
                                            "name": "m",
                                            "image": "i",
                                            "resources": {"requests": {"cpu": "1x"}},
                                        }
                                    ]
                                }
                            }
                        ],
                    }
                ]
            },
        },
        "spec.predictors.0.componentSpecs.0.spec.containers.0.resources.requests.cpu",
        "no unit of Kubernetes",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_has_its_position(name: str) -> None:
    document, path, said = MISTAKES[name]
    found = mistakes(document)
    matching = [one for one in found if f" {path}: " in one or f" {path}." in one]
    assert any(said in one for one in matching), found
    assert all(one.startswith("<stdin>:") for one in found)


def test_all_mistakes_are_told_at_once() -> None:
    tree = node("c", "COMBINER", node("a", "MODLE"), node("a", "MODEL"))
    found = mistakes(deployment(tree, protocol="x"), deployment(node("r", "ROUTER")))
    assert len(found) == 5


def test_a_position_is_that_in_the_file() -> None:
    text = yaml.safe_dump(deployment(node("m", "MODLE")), sort_keys=False)
    line = next(i for i, one in enumerate(text.splitlines(), 1) if "MODLE" in one)
    assert mistakes(text)[0].startswith(f"<stdin>:{line}:")


WHOLE: dict[str, Any] = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "m", "namespace": "ml", "labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "name": "old",
        "protocol": "seldon",
        "transport": "rest",
        "replicas": 2,
        "annotations": {"seldon.io/rest-timeout": "100"},
        "predictors": [
            {
                "name": "p",
                "traffic": 100,
                "replicas": 3,
                "labels": {"version": "1"},
                "explainer": {"type": "AnchorTabular", "config": {"threshold": "0.9"}},
                "svcOrchSpec": {"env": [{"name": "TRACING", "value": "1"}], "replicas": 1},
                "graph": {
                    "name": "r",
                    "type": "ROUTER",
                    "methods": ["SEND_FEEDBACK"],
                    "endpoint": {"type": "REST", "service_host": "localhost", "service_port": 9000},
                    "logger": {"mode": "all", "url": "http://log"},
                    "parameters": [{"name": "n", "type": "INT", "value": "1"}],
                    "children": [
                        {
                            "name": "s",
                            "implementation": "SKLEARN_SERVER",
                            "modelUri": "gs://b/m",
                            "envSecretRefName": "secret",
                        },
                        {"name": "m", "type": "MODEL"},
                    ],
                },
                "componentSpecs": [
                    {
                        "replicas": 2,
                        "hpaSpec": {"minReplicas": 1, "maxReplicas": 4, "metrics": []},
                        "kedaSpec": {"minReplicaCount": 1, "triggers": [{"type": "cpu"}]},
                        "pdbSpec": {"minAvailable": 1},
                        "spec": {
                            "volumes": [{"name": "v"}],
                            "containers": [
                                {
                                    "name": "r",
                                    "image": "example/r:1",
                                    "env": [
                                        {"name": "A", "value": "1"},
                                        {
                                            "name": "B",
                                            "valueFrom": {
                                                "secretKeyRef": {"name": "s", "key": "k"}
                                            },
                                        },
                                    ],
                                    "resources": {
                                        "requests": {"cpu": "1", "memory": "1Gi"},
                                        "limits": {"cpu": "2", "nvidia.com/gpu": 1},
                                    },
                                },
                                {"name": "m", "image": "example/m:1", "ports": []},
                            ],
                        },
                    }
                ],
            }
        ],
    },
}
