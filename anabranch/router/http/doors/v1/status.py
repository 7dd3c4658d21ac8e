"""The state and the types of a graph, as the V1 protocol tells them.

The state is one document for both kinds of clients: KServe's read ``name`` and ``ready``
(``python/kserve/kserve/protocol/rest/v1_endpoints.py``), TensorFlow's ``model_version_status``
(``apis/get_model_status.proto``). The types are as in ``apis/get_model_metadata.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anabranch.router.http.doors.v1.requests import SIGNATURE
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata

_DTYPES = {
    "BOOL": "DT_BOOL", "BYTES": "DT_STRING",
    "FP16": "DT_HALF", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BF16": "DT_BFLOAT16",
    **{f"{kind}{bits}": f"DT_{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""TensorFlow's data types by datatype."""


def state_document(name: str, obstacles: Mapping[str, str]) -> dict[str, Any]:
    """Return the state of a graph that is ready; ``obstacles`` are by version, empty for none."""
    return {
        "name": name,
        "ready": True,
        "model_version_status": [_version(version, why) for version, why in obstacles.items()],
    }


def _version(version: str, obstacle: str) -> dict[str, Any]:
    code = "UNAVAILABLE" if obstacle else "OK"
    return {
        "version": version,
        "state": "LOADING" if obstacle else "AVAILABLE",
        "status": {"error_code": code, "error_message": obstacle},
    }


def metadata_document(metadata: ModelMetadata, version: str) -> dict[str, Any]:
    """Return the types of a revision's inputs and outputs, as a TensorFlow model's signature."""
    signature = {
        "inputs": _types(metadata.inputs),
        "outputs": _types(metadata.outputs),
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": metadata.name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _types(tensors: Iterable[TensorMetadata]) -> dict[str, Any]:
    return {
        tensor.name: {
            "dtype": _DTYPES[tensor.datatype],
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in tensor.shape],
                "unknown_rank": False,
            },
            "name": f"{tensor.name}:0",
        }
        for tensor in tensors
    }
