"""Tensors as nested lists of JSON, as protocols without datatypes have them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson

from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.tensors.arrays import Array

JSON_HEADERS = {"content-type": "application/json"}


def nested(array: Array, name: str) -> Any:
    """Return a tensor as nested lists; ValueError for numbers that JSON does not have.

    Texts are texts, and bytes that are no UTF-8 ``{"b64": …}``, as TensorFlow Serving takes them.
    """
    if array.dtype.kind in "OUS":
        return _texts(array.tolist())
    if array.dtype.kind not in "iub" and not np.isfinite(array).all():
        raise ValueError(f"input {name!r} holds NaN or infinity, which JSON cannot carry")
    narrow = array.dtype.kind == "V" or array.dtype == np.float16
    return (array.astype(np.float32) if narrow else array).tolist()


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return str(value)


def answered(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; BadAnswer where it is none."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        raise BadAnswer("its answer is no JSON") from None
    if not isinstance(answer, dict):
        raise BadAnswer("its answer is no JSON object")
    return answer
