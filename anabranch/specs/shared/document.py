"""Documents of ``kind: Model``: a model that is deployed once, and that graphs share.

A document stands for a graph of one node, which has a process of its own; so a shared model has
revisions, traffic and rollouts as graphs do, and answers requests under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from anabranch.errors import FieldPath, Position, Problem
from anabranch.specs.loader import Document
from anabranch.specs.models import (
    SHA256,
    Argument,
    Batching,
    Caching,
    ContractName,
    GraphPlacement,
    InputSpec,
    Metadata,
    Model,
    Multiplex,
    OptionalOutputs,
    ParameterName,
    ProtocolName,
    Resources,
    Rollout,
    Scaling,
    Secret,
    Telemetry,
    TensorName,
    TensorSpec,
    Traffic,
    Variable,
    VariableValue,
    Warmup,
    Watched,
)
from anabranch.specs.units import Duration

KIND = "Model"
NODE = "model"
"""Name of the only node of the graph that a document stands for."""
OUTPUT = "output"
"""Name of the only output, where the document declares none."""


class SharedPlacement(GraphPlacement):
    """The machines of a shared model's replicas."""

    spread: Literal["node"] | None = None
    """Whether two replicas may share a machine: with `node`, each has one of its own."""


class SharedModelSpec(Model):
    """The shared model itself."""

    inputs: dict[ParameterName, InputSpec] = Field(min_length=1)
    """Tensors that the model takes, by name."""
    outputs: Annotated[dict[TensorName, TensorSpec], Field(min_length=1)] | None = None
    """Datatypes and shapes of the outputs, by name; one output `output` if left out."""
    optional_outputs: OptionalOutputs | None = None
    """Outputs that the model may leave out of a result."""
    runtime: str | None = None
    """A built-in model runtime, as for predictor nodes."""
    component: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Your class with ``predict``, as for predictor nodes; instead of ``runtime``."""
    contract: ContractName | None = None
    """Contract that the component was written for; anabranch's own if left out."""
    model: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The model's file or folder: a path relative to the document, or a URI."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """SHA-256 digest of the model's file; required by URI for formats that can run code."""
    watch: Watched = False
    """Whether a new revision is made when the model moves, as for predictor nodes."""
    method: str | None = None
    """Method of the model to call, such as predict_proba."""
    args: dict[str, Argument] = Field(default_factory=dict)
    """Keyword arguments of the component's constructor, or of the runtime."""
    multiplex: Multiplex | None = None
    """Many models in this one; ``model`` then holds `{model}` in place of the model's name."""
    env: dict[Variable, VariableValue] = Field(default_factory=dict)
    """Environment variables of the model's processes; no secrets, for the document is stored."""
    secrets: dict[Variable, Secret] = Field(default_factory=dict)
    """Environment variables whose values are read where the model runs, and kept nowhere else."""
    resources: Resources | None = None
    """Resources of each replica."""
    scaling: Scaling | None = None
    """Number of replicas; one if left out."""
    placement: SharedPlacement | None = None
    """Machines of the replicas; any if left out."""
    batching: Batching | None = None
    """Gathers the rows of several requests, of whichever graphs, into one call."""
    timeout: Duration | None = None
    """Longest time of one attempt."""
    idempotent: bool = False
    """Whether a second call of the model does no harm; only such models may have ``retries``."""
    deterministic: bool = False
    """Whether equal inputs and request parameters always give equal outputs; only then may there be
    a ``cache``."""
    cache: Caching | None = None
    """Answers that the model's replicas keep, whichever graph has asked; none if left out."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """Further attempts after a failed one, for models that are ``idempotent``."""
    warmup: Warmup | None = None
    """Requests that a replica evaluates before its first request by the model's name."""
    traffic: Traffic | None = None
    """How requests, those of graphs too, are split between revisions."""
    rollout: Rollout | None = None
    """How a new revision takes over; at once if left out."""
    telemetry: Telemetry | None = None
    """Traces and the request log of requests by the model's name."""
    protocols: Annotated[list[ProtocolName], Field(min_length=1, max_length=8)] | None = None
    """Protocols over which the model answers beside the Open Inference Protocol, as for graphs."""


class SharedModelDocument(Model):
    """A document of a shared model."""

    apiVersion: Literal["anabranch/v1"]
    """Version of the language."""
    kind: Literal["Model"]
    """Kind of the document."""
    metadata: Metadata
    spec: SharedModelSpec


_OF_GRAPH = ("warmup", "traffic", "rollout", "telemetry", "protocols")
"""Fields that graphs have too, with the same meaning."""


_NOTHING = Document(None)


@dataclass(frozen=True)
class ExpandedDocument(Document):
    """The graph that a document of a shared model stands for; problems point at what is written."""

    written: Document = _NOTHING

    def position(self, path: FieldPath) -> Position:
        """Where the key or item is written that ``path`` of the graph stems from."""
        return self.written.position(_written(path))

    def problem(self, path: FieldPath, message: str) -> Problem:
        """A Problem of the written document."""
        return self.written.problem(_written(path), message)


def is_model(data: Any) -> bool:
    """Return whether data are meant to be the document of a shared model."""
    return isinstance(data, Mapping) and data.get("kind") == KIND


def expanded(document: Document) -> ExpandedDocument:
    """Return the graph that a document stands for, whose fields may still have mistakes."""
    data = document.data
    assert isinstance(data, dict)
    spec = data.get("spec")
    graph: Any = {**data, "kind": "InferenceGraph"}
    graph["spec"] = _graph(spec) if isinstance(spec, dict) else spec
    return ExpandedDocument(graph, document.file, document.problems, written=document)


def _graph(spec: Mapping[str, Any]) -> dict[str, Any]:
    of_graph = {name: spec[name] for name in _OF_GRAPH if name in spec}
    inputs, outputs = spec.get("inputs"), spec.get("outputs")
    node = {name: value for name, value in spec.items() if name not in _OF_GRAPH}
    names = list(inputs) if isinstance(inputs, Mapping) else []
    placement = spec.get("placement")
    return {
        **of_graph,
        "inputs": inputs,
        "nodes": {
            NODE: {
                **node,
                "type": "predictor",
                "inputs": {name: name for name in names},
                "placement": {
                    **(placement if isinstance(placement, Mapping) else {}),
                    "isolate": True,
                },
            }
        },
        "outputs": {name: f"{NODE}.{name}" for name in outputs}
        if isinstance(outputs, Mapping)
        else {OUTPUT: NODE},
    }


def _written(path: FieldPath) -> FieldPath:
    """Return the path in a written document of a field of the graph."""
    if path[:3] == ("spec", "nodes", NODE):
        return ("spec", *path[3:])
    return path[:1] if path[:2] == ("spec", "nodes") else path
