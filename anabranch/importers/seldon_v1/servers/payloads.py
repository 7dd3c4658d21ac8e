"""Tensors of a graph: Seldon's payloads have no types, so the server and the samples decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anabranch.importers.seldon_v1.servers.prepackaged import speaks_v2
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit


@dataclass(frozen=True)
class PayloadTensors:
    """The only input and the only output of a graph, and why they are what they are."""

    name: str
    tensor: dict[str, Any]
    output: str
    text: str


_MLSERVER = ("SKLEARN_SERVER", "XGBOOST_SERVER")
"""Servers whose runtimes of MLServer call the input and the output ``predict``."""
_IMAGES = {"datatype": "FP32", "shape": [-1, -1, -1, -1]}
_TEXTS = {"datatype": "BYTES", "shape": [-1]}
_NUMBERS = "Seldon does not type tensors: `inputs` takes a matrix of numbers; write what it takes"


def payload(root: PredictiveUnit, protocol: str, explainer: str) -> PayloadTensors:
    """Return the tensors of a graph by the first unit that reads what clients send.

    The type of an explainer tells what its model takes, where it is for texts or images.
    Over v2 the names are those that clients of MLServer's runtimes use: ``predict`` of
    ``mlserver_sklearn`` and ``mlserver_xgboost``, ``args`` of ``mlserver_huggingface``.
    """
    server = root.implementation
    if server == "HUGGINGFACE_SERVER":
        said = "texts as `args`, as MLServer's Hugging Face runtime takes them"
        return PayloadTensors("args", _TEXTS, "output", said)
    name = "predict" if speaks_v2(protocol) and server in _MLSERVER else "data"
    if explainer == "AnchorText":
        return PayloadTensors(name, _TEXTS, "output", "texts, as the explainer's model takes them")
    if explainer == "AnchorImages":
        said = "images, as the explainer's model takes them; write what it takes"
        return PayloadTensors(name, _IMAGES, "output", said)
    if speaks_v2(protocol) and server in _MLSERVER:
        said = "a matrix of FP32 as `predict`, as MLServer's samples send it; write what it takes"
        return PayloadTensors("predict", _matrix("FP32"), "predict", said)
    datatype = "FP32" if speaks_v2(protocol) or protocol == "tensorflow" else "FP64"
    return PayloadTensors("data", _matrix(datatype), "output", _NUMBERS)


def _matrix(datatype: str) -> dict[str, Any]:
    return {"datatype": datatype, "shape": [-1, -1]}
