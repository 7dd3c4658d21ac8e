"""Functions in place of those of ``seldon_core/utils.py`` that components call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format

from anabranch.components.contracts.seldon.protos import message_type
from anabranch.components.contracts.seldon.standin_error import SeldonMicroserviceException
from anabranch.components.tensors.arrays import Array

_TRUE = frozenset({"1", "true", "t"})


def getenv(*names: str, default: Any = None) -> Any:
    """Return the value of the first variable that is set."""
    return next((os.environ[name] for name in names if name in os.environ), default)


def getenv_as_bool(*names: str, default: bool = False) -> bool:
    """Return whether the first variable that is set is ``1``, ``t`` or ``true``."""
    value = getenv(*names)
    return default if value is None else value.lower() in _TRUE


def json_to_seldon_message(message_json: Mapping[str, Any] | None) -> Any:
    """Return a SeldonMessage of a dict in the form of its JSON."""
    return _parsed("SeldonMessage", message_json)


def json_to_feedback(message_json: Mapping[str, Any] | None) -> Any:
    """Return a Feedback of a dict in the form of its JSON."""
    return _parsed("Feedback", message_json)


def seldon_message_to_json(message_proto: Any) -> dict[str, Any]:
    """Return a message as a dict in the form of its JSON."""
    found: dict[str, Any] = json_format.MessageToDict(message_proto)
    return found


def get_data_from_proto(request: Any) -> Any:
    """Return the payload of a SeldonMessage: an array, a text, bytes, or what JSON has."""
    kind = request.WhichOneof("data_oneof")
    if kind == "data":
        return grpc_datadef_to_array(request.data)
    if kind == "jsonData":
        return json_format.MessageToDict(request.jsonData)
    if kind is None:
        raise SeldonMicroserviceException("the SeldonMessage has no data")
    return getattr(request, kind)


def grpc_datadef_to_array(datadef: Any) -> Array:
    """Return the array of a DefaultData: FP64 of a tensor, what the values are of lists."""
    kind = datadef.WhichOneof("data_oneof")
    if kind == "tensor":
        return np.array(datadef.tensor.values).reshape(list(datadef.tensor.shape))
    if kind == "ndarray":
        return np.array(json_format.MessageToDict(datadef.ndarray))
    if kind == "tftensor":
        raise SeldonMicroserviceException("data.tftensor needs TensorFlow; send data.tensor")
    return np.array([])


def array_to_grpc_datadef(data_type: str, array: Any, names: Iterable[str] | None = None) -> Any:
    """Return the DefaultData of an array, as ``tensor`` or, for any other type, as ``ndarray``."""
    values = np.asarray(array)
    data: dict[str, Any] = {"names": list(names or ())}
    if data_type == "tensor":
        data["tensor"] = {"shape": list(values.shape), "values": values.ravel().tolist()}
    else:
        data["ndarray"] = values.tolist()
    return _parsed("DefaultData", data)


def _parsed(kind: str, document: Mapping[str, Any] | None) -> Any:
    try:
        return json_format.ParseDict(dict(document or {}), message_type(kind)())
    except json_format.ParseError as error:
        raise SeldonMicroserviceException(f"Invalid JSON: {error}") from None


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (
        getenv,
        getenv_as_bool,
        json_to_seldon_message,
        json_to_feedback,
        seldon_message_to_json,
        get_data_from_proto,
        grpc_datadef_to_array,
        array_to_grpc_datadef,
    )
}
"""What ``seldon_core.utils`` has here."""
