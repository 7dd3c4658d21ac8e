"""Nodes under construction, and the code beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.importers.graph_names import node_name

COMPONENTS = "components.py"
INSTANCES = "PredictionsToInstances"
ANSWERED = "Answered"
MAX_NODES = 500
"""Most nodes of a graph: nodes that several steps lead to are written once for each."""

_HEAD = '"""Components of the graph, written by ``anabranch import`` for a graph of KServe."""\n'
_CODE = {
    ANSWERED: '''

class Answered:
    """Gives a document the status 200, as KServe does where a condition ends a Sequence."""

    def transform(self, document: np.ndarray) -> dict[str, np.ndarray]:
        return {"output": document, "status": np.array([200], np.int32)}
''',
    INSTANCES: '''

class PredictionsToInstances:
    """Makes ``{"instances": …}`` of ``{"predictions": …}``, as mapPredictionsToInstances does.

    Any other document is given as it is.
    """

    def transform(self, document: np.ndarray) -> np.ndarray:
        try:
            found = json.loads(document.item(0))
        except ValueError:
            return document
        predictions = found.get("predictions") if isinstance(found, dict) else None
        if not isinstance(predictions, list) or not predictions:
            return document
        return np.array([json.dumps({"instances": predictions})], object)
''',
}
_IMPORTS = {ANSWERED: "import numpy as np\n", INSTANCES: "import json\n\nimport numpy as np\n"}


class TooManyNodes(Exception):
    """A graph becomes more nodes than MAX_NODES."""


class GraphNodes:
    """The nodes of one graph; no two have a name, and none has that of an input."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self._inputs = inputs
        self._classes: set[str] = set()

    def add(self, name: str, node: dict[str, Any]) -> str:
        """Add a node; return its name, which is like the one that is wanted."""
        if len(self.nodes) >= MAX_NODES:
            raise TooManyNodes
        found = node_name(name, {*self.nodes, *self._inputs})
        self.nodes[found] = node
        return found

    def add_component(self, name: str, cls: str, document: str, **fields: Any) -> str:
        """Add a transformer of one of the classes that are written beside the graph."""
        self._classes.add(cls)
        component = {"type": "transformer", "component": f"{COMPONENTS}:{cls}"}
        return self.add(name, {**component, "inputs": {"document": document}, **fields})

    @property
    def files(self) -> dict[str, str]:
        """The code that the nodes need, by the name of its file."""
        if not self._classes:
            return {}
        imports = _IMPORTS[max(self._classes)]
        code = "".join(_CODE[name] for name in sorted(self._classes))
        return {COMPONENTS: f"{_HEAD}\n{imports}{code}"}
