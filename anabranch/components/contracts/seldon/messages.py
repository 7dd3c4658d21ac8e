"""Seldon's messages as ``*_raw`` methods take and return them: dicts in the form of its JSON.

The form is that of ``SeldonMessage`` in ``proto/prediction.proto``. A message of protobuf that a
method returns is read, too.
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from anabranch.components.contracts.seldon.payloads import Payload


class ReadMessage(NamedTuple):
    """The parts of a message that a component has returned."""

    payload: Payload
    names: list[str] | None
    """Names of columns; None where the message has no ``data.names``."""
    tags: Mapping[str, Any]
    metrics: Sequence[Any]


def message(
    payload: Payload, names: Sequence[str], meta: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the message that holds a payload; arrays are its ``data.ndarray``."""
    found: dict[str, Any] = {"meta": dict(meta or {})}
    if isinstance(payload, str):
        return found | {"strData": payload}
    if isinstance(payload, bytes):
        return found | {"binData": base64.b64encode(payload).decode()}
    if isinstance(payload, np.ndarray):
        return found | {"data": {"names": list(names), "ndarray": payload.tolist()}}
    return found | {"jsonData": payload}


def read(method: str, returned: Any) -> ReadMessage:
    """Return the parts of what a ``*_raw`` method returned; raise TypeError for no message."""
    found = _as_dict(returned)
    if not isinstance(found, Mapping):
        kind = type(returned).__name__
        raise TypeError(f"{method}() returned a {kind}; expected a message as a dict")
    meta, data = _map(found, "meta"), _map(found, "data")
    names = data.get("names")
    return ReadMessage(
        _payload(method, found, data),
        [str(one) for one in names] if isinstance(names, list | tuple) else None,
        _map(meta, "tags"),
        metrics if isinstance(metrics := meta.get("metrics"), list) else [],
    )


def _as_dict(returned: Any) -> Any:
    """Return a message of protobuf as a dict; anything else as it is."""
    protobuf = sys.modules.get("google.protobuf.message")
    if protobuf is None or not isinstance(returned, protobuf.Message):
        return returned
    from google.protobuf import json_format

    return json_format.MessageToDict(returned)


def _map(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, Mapping) else {}


def _payload(method: str, found: Mapping[str, Any], data: Mapping[str, Any]) -> Payload:
    if "ndarray" in data:
        return data["ndarray"]
    if "tensor" in data:
        return _tensor(method, _map(data, "tensor"))
    if "binData" in found:
        return _decoded(method, found["binData"])
    for key in ("strData", "jsonData"):
        if key in found:
            return found[key]
    raise TypeError(
        f"{method}() returned a message without data.ndarray, data.tensor, strData, binData or "
        f"jsonData (it has: {', '.join(map(str, found)) or 'nothing'})"
    )


def _tensor(method: str, tensor: Mapping[str, Any]) -> Payload:
    try:
        return np.asarray(tensor["values"], np.float64).reshape([int(n) for n in tensor["shape"]])
    except (KeyError, TypeError, ValueError) as error:
        raise TypeError(
            f"{method}() returned a data.tensor whose values do not fit its shape: {error}"
        ) from None


def _decoded(method: str, content: Any) -> bytes:
    if isinstance(content, bytes):
        content = content.decode("latin-1")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise TypeError(f"{method}() returned a binData that is no base64: {error}") from None
