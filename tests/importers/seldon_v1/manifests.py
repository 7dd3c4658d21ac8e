"""Manifests of ``SeldonDeployment`` for tests, and components that count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Node = dict[str, Any]


def deployment(graph: Node | None = None, **spec: Any) -> dict[str, Any]:
    """Return a deployment of one predictor with a container for each node that needs one."""
    predictors = [] if graph is None else [predictor(graph)]
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "model"},
        "spec": {"predictors": predictors, **spec},
    }


def predictor(graph: Node, name: str = "default", **more: Any) -> dict[str, Any]:
    """Return a predictor with a container for each node that needs one."""
    containers = [container(node) for node in walk(graph) if not node.get("implementation")]
    pods = {"componentSpecs": [{"spec": {"containers": containers}}]} if containers else {}
    return {"name": name, "graph": graph, **pods, **more}


def container(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container of a node; its image has the node's name."""
    return {"name": node["name"], "image": f"example/{node['name']}:1"}


def node(name: str, kind: str | None = None, *children: Node, **more: Any) -> Node:
    """Return a node of a predictor's graph."""
    typed = {} if kind is None else {"type": kind}
    below = {"children": list(children)} if children else {}
    return {"name": name, **typed, **more, **below}


def walk(graph: Node) -> Iterator[Node]:
    """Yield all nodes of a graph."""
    yield graph
    for child in graph.get("children", ()):
        yield from walk(child)


def sources(graph: Node) -> str:
    """Return the components of a graph: each method counts in a way of its own."""
    classes = ["import numpy as np\n"]
    for number, one in enumerate(walk(graph)):
        if one.get("implementation"):
            continue
        name = "".join(part.capitalize() for part in one["name"].split("-"))
        count = len(one.get("children", ()))
        classes.append(
            f"class {name}:\n"
            "    def predict(self, X, names, meta=None):\n"
            f"        return X * 2 + {number + 1}\n\n"
            "    def transform_input(self, X, names, meta=None):\n"
            f"        return X * 3 + {number + 2}\n\n"
            "    def transform_output(self, X, names, meta=None):\n"
            f"        return X * 5 + {number + 3}\n\n"
            "    def route(self, X, names):\n"
            f"        return int(np.asarray(X)[0][0] % {count + 2}) - 2\n\n"
            "    def aggregate(self, features_list, feature_names_list):\n"
            "        return sum((k + 2) * X for k, X in enumerate(features_list))\n"
        )
    return "\n\n".join(classes)


def components(graph: Node) -> dict[str, Any]:
    """Return an instance of each of the components, by the name of its node."""
    scope: dict[str, Any] = {}
    exec(compile(sources(graph), "components.py", "exec"), scope)
    return {
        one["name"]: scope["".join(part.capitalize() for part in one["name"].split("-"))]()
        for one in walk(graph)
        if not one.get("implementation")
    }
