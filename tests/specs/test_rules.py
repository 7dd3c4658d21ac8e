"""Rules over several fields of one node, and of the document."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.specs.rules import broken_rules

BASE = {"type": "transformer", "method": "softmax", "inputs": {"x": "x"}}
OWN = {"type": "router", "component": "c.py:C"}


def of_node(node: dict[str, Any], name: str = "a") -> list[str]:
    found = broken_rules({"spec": {"inputs": {"x": {}}, "nodes": {name: node}}})
    return [f"{'.'.join(map(str, path[3:]))}: {message}" for path, message in found]


def of_spec(**spec: Any) -> list[str]:
    found = broken_rules({"spec": spec})
    return [f"{'.'.join(map(str, path[1:]))}: {message}" for path, message in found]


@pytest.mark.parametrize(
    ("node", "problems"),
    [
        (BASE, []),
        (BASE | {"component": "c.py:C"},
         ["method: a node has either `component` or `method`; remove one"]),
        ({"type": "predictor"},
         [": needs either `component`, your class, or a built-in `runtime` such as sklearn"]),
        ({"type": "predictor", "runtme": "sklearn"}, []),
        ({"type": "predictor", "componnet": "c.py:C"}, []),
        ({"type": "predictor", "runtime": "sklearn", "method": "predict", "model": "m"}, []),
        ({"type": "predictor", "component": "c.py:C", "model": "m", "method": "f", "sha256": "0"},
         [f"{field}: has no meaning for a `component`; pass it in `args`"
          for field in ("model", "method", "sha256")]),
        ({"type": "predictor", "runtime": "onnx", "sha256": "0"},
         ["sha256: needs `model`, the file that it is the digest of"]),
        ({"type": "explainer", "component": "c.py:C", "method": "m"},
         ["method: a node has either `component` or `method`; remove one"]),
        (OWN | {"routes": ["b", "c"]}, []),
        (OWN | {"routes": ["b", "c", "b"]}, ["routes.2: is already in the list"]),
        (OWN | {"routes": {"b": 1}},
         ["routes: only strategy weighted has weights; write a list of nodes"]),
        (OWN, [": a `component` needs `routes`, a list of the nodes to pick from"]),
        (OWN | {"routes": ["b"], "rules": [], "otherwise": "b"},
         [f"{field}: only strategy rules reads this, not your `component`; remove it"
          for field in ("rules", "otherwise")]),
        (OWN | {"routes": ["b"], "sticky": {"header": "x"}},
         ["sticky: only strategy weighted reads this, not your `component`; remove it"]),
        ({"type": "router", "strategy": "weighted", "routes": ["b"], "sticky": {"input": "x"}}, []),
        ({"type": "router", "strategy": "weighted", "routes": ["b"], "sticky": {}},
         ["sticky: needs one of `header`, `cookie`, `parameter` and `input`"]),
        ({"type": "router", "strategy": "weighted", "routes": ["b"],
          "sticky": {"header": "x", "input": "x"}},
         ["sticky: takes one field, not `header` and `input`"]),
        ({"type": "router", "strategy": "rules", "rules": [], "routes": ["b"]},
         ["routes: strategy rules takes its nodes from `rules` and `otherwise`"]),
        (BASE | {"env": {"MODE": "fast"}, "secrets": {"TOKEN": {"file": "/run/token"}}}, []),
        (BASE | {"env": {"A": "1"}, "secrets": {"A": {"env": "B"}}},
         ["secrets.A: stands in `env` too; remove one of the two"]),
        (BASE | {"secrets": {"A": {}, "B": {"env": "C", "file": "/d"}}},
         [f"secrets.{name}: needs exactly one of `env`, `file` and `kubernetes`"
          for name in ("A", "B")]),
        (BASE | {"secrets": {"A": {"flie": "/d"}}}, []),
        (BASE | {"env": {"ANABRANCH_HOME": "/tmp", "PYTHONPATH": "."},
                 "secrets": {"RAY_AUTH_MODE": {"env": "A"}}},
         ["env.ANABRANCH_HOME: variables with ANABRANCH_ are the engine's own",
          "env.PYTHONPATH: variables with PYTHON are read when the process starts, before the "
          "node is there",
          "secrets.RAY_AUTH_MODE: variables with RAY_ are Ray's own"]),
        (BASE | {"scaling": {"replicas": 2}}, []),
        (BASE | {"scaling": {"max": 2, "min": 0}}, []),
        (BASE | {"scaling": {"replicas": 2, "min": 1, "max": 3}},
         ["scaling.replicas: a fixed number excludes autoscaling; remove it or `min` and `max`"]),
        (BASE | {"scaling": {"min": 1}}, ["scaling: autoscaling needs `max`, the most replicas"]),
        (BASE | {"scaling": {"min": 5, "max": 1}}, ["scaling.min: min 5 is more than max 1"]),
        (BASE | {"batching": {"max_size": 4}}, []),
        ({"type": "combiner", "strategy": "mean", "inputs": ["a"], "batching": {"max_size": 4}},
         ["batching: is for `transformer` and `predictor` nodes, which work by rows; remove it"]),
        (BASE | {"scaling": {}}, ["scaling: is empty; remove it"]),
        (BASE | {"resources": {}}, ["resources: is empty; remove it"]),
        (BASE | {"placement": {}}, ["placement: is empty; remove it"]),
        (BASE | {"outputs": {}}, ["outputs: is empty; remove it"]),
        (BASE | {"timeout": "0ms"}, ["timeout: must be more than 0"]),
        (BASE | {"resources": None, "component": None}, []),
        (BASE | {"resources": {"gpu": 0.5, "gpu_memory": "10GiB"}}, []),
        *((BASE | {"resources": {"gpu_memory": "10GiB", **more}},
           ["resources.gpu_memory: is the most that the node takes of the GPUs that `gpu` "
            "reserves: add `gpu`, such as `gpu: 0.5` for half of one"])
          for more in ({}, {"gpu": 0}, {"accelerator": "H100"})),
        (BASE | {"idempotent": True, "retries": 2}, []),
        (BASE | {"idempotnet": True, "retries": 2}, []),
        (BASE | {"idempotent": "yes", "retries": 2}, []),
        (BASE | {"retries": 0}, []),
        *(
            (BASE | {"retries": 2} | more,
             ["retries: needs `idempotent: true` (calling the node twice must be safe); add it, or "
              "remove `retries`"])
            for more in ({}, {"idempotent": False}, {"idempotent": None})
        ),
    ],
)  # fmt: skip
def test_rules_of_one_node(node: dict[str, Any], problems: list[str]) -> None:
    assert of_node(node) == problems


def test_names() -> None:
    assert of_node(BASE, "x") == [": has the name of an input; a source could mean either"]
    assert "this name is taken" in of_node(BASE, "head")[0]
    assert "this name is taken" in of_node(BASE, "router")[0]


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ({"timeout": "0s"}, ["timeout: must be more than 0"]),
        ({"traffic": {"sticky": {"header": "x"}}}, []),
        ({"traffic": {"sticky": {}}},
         ["traffic.sticky: needs one of `header`, `cookie` and `parameter`"]),
        ({"traffic": {"sticky": {"header": "x", "cookie": "y", "parameter": "z"}}},
         ["traffic.sticky: takes one field, not `header`, `cookie` and `parameter`"]),
        ({"scaling": {"replicas": 2}}, []),
        ({"scaling": {}}, ["scaling: is empty; remove it"]),
        ({"scaling": {"replicas": 2, "max": 3}},
         ["scaling.replicas: a fixed number excludes autoscaling; remove it or `max`"]),
        ({"scaling": {"min": 3, "max": 2}}, ["scaling.min: min 3 is more than max 2"]),
        ({"inputs": {"x": {"datatype": "BYTES", "content": "raw"}}}, []),
        ({"inputs": {"x": {"datatype": "INT8", "content": "raw"}}},
         ["inputs.x.content: has no meaning for INT8; only BYTES are text or raw"]),
        ({"inputs": {"x": {"datatype": ["INT8"], "content": "raw"}}}, []),
        ({"inputs": {"x": {"datatype": "UINT8", "content": "image", "shape": [-1, 8, 3]}}}, []),
        ({"inputs": {"x": {"datatype": "UINT8", "content": "image", "shape": ["n", 8, 8, 1]}}}, []),
        ({"inputs": {"x": {"datatype": "UINT8", "content": "image", "shape": 3}}}, []),
        ({"inputs": {"x": {"datatype": "UINT8", "content": "image", "shape": [8, 8]}}},
         ["inputs.x.shape: an image has the shape [height, width, channels], or one with rows in "
          "front, and 1, 3 or 4 channels"]),
        ({"inputs": {"x": {"datatype": "UINT8", "content": "image", "shape": [8, 8, -1]}}},
         ["inputs.x.shape: an image has the shape [height, width, channels], or one with rows in "
          "front, and 1, 3 or 4 channels"]),
        ({"inputs": {"x": {"datatype": "FP32", "content": "image", "shape": [8, 8, 3]}}},
         ["inputs.x.content: an image is UINT8, not FP32; BYTES hold files as raw bytes"]),
        ({"rollout": {"steps": [5, 1]}},
         ["rollout.steps.1: must be more than the step before it, 5"]),
        ({"rollout": {"analysis": {"metrics": [{"metric": "promql", "min": 1}]}}},
         ["rollout.analysis.metrics.0: the metric promql needs `query`"]),
    ],
)  # fmt: skip
def test_rules_of_the_document(spec: dict[str, Any], problems: list[str]) -> None:
    assert of_spec(**spec) == problems


@pytest.mark.parametrize("data", [None, 3, [], {"spec": 3}, {"spec": {"nodes": [1], "inputs": 2}}])
def test_what_has_another_shape_breaks_no_rule(data: Any) -> None:
    assert list(broken_rules(data)) == []
