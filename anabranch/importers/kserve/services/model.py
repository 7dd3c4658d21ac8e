"""What an InferenceService says of a model, and the node and the tensors that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anabranch.importers.fields import Fields

V1, V2, OPENAI = "v1", "v2", "openai"
"""Protocols of a predictor that have a counterpart."""


@dataclass(frozen=True)
class ServedModel:
    """A model of a service, from the field of its framework or from ``model``."""

    service: str
    namespace: str
    format: str
    fields: Fields
    protocol: str
    part: Fields
    """The predictor that the model belongs to."""
    is_custom: bool = False
    """Whether it is the image of a container, and no format that KServe knows."""

    @property
    def url(self) -> str:
        """The address of the predictor in the cluster (``PredictorServiceName``, pkg/constants)."""
        return f"http://{self.service}-predictor.{self.namespace}.svc.cluster.local"


@dataclass(frozen=True)
class Tensors:
    """Inputs of a graph, the outputs of its last node by the graph's names, and its protocols.

    An output without a source of its own, such as ``labels``, is the only one of the node.
    """

    inputs: dict[str, Any]
    outputs: dict[str, str]
    protocols: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The parameter of the model's node that takes the input."""
        return "messages" if "messages" in self.inputs else "x"

    def sources(self, node: str) -> dict[str, str]:
        """Return the sources of the outputs, given the name of the model's node."""
        return {name: f"{node}.{one}" if one else node for name, one in self.outputs.items()}


@dataclass
class ModelNode:
    """The node of a model, and the tensors of a graph that has no other node."""

    node: dict[str, Any]
    tensors: Tensors
    is_remote: bool = False
    """Whether the node calls the server of the service, which goes on."""


def node_of(runtime: str, **fields: Any) -> dict[str, Any]:
    """Return a predictor of a runtime; its input is set where the nodes are joined."""
    return {"type": "predictor", "runtime": runtime, **fields}


def matrix(protocol: str) -> Tensors:
    """Return the tensors of a model of numbers, by the protocol of its clients.

    The names over V2 are those of KServe's samples and of ``get_predict_response``
    (python/kserve/kserve/utils/utils.py); V1 has none.
    """
    if protocol == V2:
        return Tensors({"input-0": {"datatype": "FP32", "shape": [-1, -1]}}, {"output-0": ""})
    return Tensors(
        {"instances": {"datatype": "FP64", "shape": [-1, -1]}}, {"predictions": ""}, (V1,)
    )


def texts(protocol: str, outputs: dict[str, str]) -> Tensors:
    """Return the tensors of a model of texts."""
    name = "input-0" if protocol == V2 else "instances"
    doors = (V1,) if protocol == V1 else ()
    return Tensors({name: {"datatype": "BYTES", "shape": [-1]}}, outputs, doors)
