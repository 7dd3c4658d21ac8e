"""An independent model of Seldon Core's executor, from ``executor/predictor/predictor_process.go``.

It knows nothing of the importer: it walks a predictor's ``graph`` as it stands in the manifest, and
calls components, which are Python objects with the methods of Seldon's wrapper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Message = Any
"""An array of two dimensions."""


class Executor:
    """Runs a predictor's graph; ``draw`` gives the random numbers of RANDOM_ABTEST."""

    def __init__(self, components: Mapping[str, Any], draw: Callable[[], float] = float) -> None:
        self._components, self._draw = components, draw
        self.calls: list[str] = []

    def predict(self, node: Mapping[str, Any], message: Message) -> Message:
        """``PredictorProcess.Predict``: transformInput, predictChildren, transformOutput."""
        message = self._transform_input(node, message)
        message = self._predict_children(node, message)
        return self._transform_output(node, message)

    def _kind(self, node: Mapping[str, Any]) -> str | None:
        """``addDefaultsToGraph`` of ``defaults.go``."""
        implementation = node.get("implementation")
        if node.get("type") is None and node.get("methods") is None and implementation is None:
            return "MODEL"
        if implementation not in (None, "UNKNOWN_IMPLEMENTATION", *BUILTINS):
            return "MODEL"
        kind: str | None = node.get("type")
        return kind

    def _has(self, node: Mapping[str, Any], kind: str, method: str) -> bool:
        if node.get("implementation") in BUILTINS:
            return False
        return self._kind(node) == kind or method in (node.get("methods") or ())

    def _call(self, node: Mapping[str, Any], method: str, *given: Any) -> Any:
        self.calls.append(f"{node['name']}.{method}")
        return getattr(self._components[node["name"]], method)(*given)

    def _transform_input(self, node: Mapping[str, Any], message: Message) -> Message:
        if node.get("implementation") == "SIMPLE_MODEL":
            return np.array([[0.1, 0.9, 0.5]])
        transforms = self._has(node, "TRANSFORMER", "TRANSFORM_INPUT")
        predicts = self._has(node, "MODEL", "")
        if transforms:
            return self._call(node, "transform_input", message, [])
        return self._call(node, "predict", message, []) if predicts else message

    def _transform_output(self, node: Mapping[str, Any], message: Message) -> Message:
        if self._has(node, "OUTPUT_TRANSFORMER", "TRANSFORM_OUTPUT"):
            return self._call(node, "transform_output", message, [])
        return message

    def _route(self, node: Mapping[str, Any], message: Message) -> int:
        match node.get("implementation"):
            case "SIMPLE_ROUTER":
                return 0
            case "RANDOM_ABTEST":
                (ratio,) = [float(one["value"]) for one in node["parameters"]]
                return 0 if self._draw() <= ratio else 1
        if self._has(node, "ROUTER", "ROUTE"):
            return int(self._call(node, "route", message, []))
        return -1

    def _predict_children(self, node: Mapping[str, Any], message: Message) -> Message:
        children = node.get("children") or []
        if not children:
            return message
        route = self._route(node, message)
        if route == -2:
            return message
        chosen = children if route == -1 else [children[route]]
        return self._aggregate(node, [self.predict(child, message) for child in chosen])

    def _aggregate(self, node: Mapping[str, Any], messages: list[Message]) -> Message:
        if node.get("implementation") == "AVERAGE_COMBINER":
            return sum(messages) / len(messages)
        if self._has(node, "COMBINER", "AGGREGATE"):
            return self._call(node, "aggregate", messages, [[] for _ in messages])
        return messages[0]


BUILTINS = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
