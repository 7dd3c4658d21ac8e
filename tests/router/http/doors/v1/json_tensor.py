"""TensorFlow Serving's JSON and tensors, written from ``util/json_tensor.cc``: an oracle for tests.

Tensors are pairs of a shape and a flat list; strings are ``str``, binary ones ``bytes``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

Tensor = tuple[list[int], list[Any]]


class InvalidArgument(Exception):
    pass


def is_base64_object(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def shape_of(value: Any) -> list[int]:
    """GetDenseTensorShape."""
    if not isinstance(value, list):
        return []
    return [len(value), *(shape_of(value[0]) if value else [])]


def fill(value: Any, shape: list[int], level: int, dtype: str, flat: list[Any]) -> None:
    """FillTensorProto."""
    if not isinstance(value, list):
        if level != len(shape):
            raise InvalidArgument("found at incorrect level")
        flat.append(element(value, dtype))
        return
    if level >= len(shape):
        raise InvalidArgument("list at unexpected level")
    if len(value) != shape[level]:
        raise InvalidArgument("list at unexpected size")
    for one in value:
        fill(one, shape, level + 1, dtype, flat)


def element(value: Any, dtype: str) -> Any:
    """AddValueToTensor."""
    if isinstance(value, dict):
        if dtype != "BYTES" or not is_base64_object(value):
            raise InvalidArgument("is not of expected type")
        return base64.b64decode(value["b64"])
    kinds = {"BYTES": str, "BOOL": bool, "INT32": int, "FP32": (int, float)}
    if not isinstance(value, kinds[dtype]) or (isinstance(value, bool) and dtype != "BOOL"):
        raise InvalidArgument("is not of expected type")
    return float(value) if dtype == "FP32" else value


def dense(value: Any, dtype: str) -> Tensor:
    shape = shape_of(value)
    flat: list[Any] = []
    fill(value, shape, 0, dtype, flat)
    return shape, flat


def request(body: Any, inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """FillPredictRequestFromJson: tensors by input, whose types are given."""
    if ("instances" in body) == ("inputs" in body):
        raise InvalidArgument("expecting only one of inputs or instances")
    if "instances" in body:
        return from_instances(body["instances"], inputs)
    return from_inputs(body["inputs"], inputs)


def from_instances(instances: Any, inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """FillTensorMapFromInstancesList."""
    if not isinstance(instances, list) or not instances:
        raise InvalidArgument("expecting a list with values")
    of_objects = isinstance(instances[0], dict) and not is_base64_object(instances[0])
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise InvalidArgument("instances is a plain list")
    found: dict[str, list[Tensor]] = {name: [] for name in inputs}
    for one in instances:
        if (isinstance(one, dict) and not is_base64_object(one)) != of_objects:
            raise InvalidArgument("objects and values are mixed")
        named = one if of_objects else {next(iter(inputs)): one}
        if named.keys() != inputs.keys():
            raise InvalidArgument("keys must be equal to the inputs")
        for name, value in named.items():
            found[name].append(dense(value, inputs[name]))
    tensors = {}
    for name, items in found.items():
        shape = items[0][0]
        if any(other != shape for other, _ in items):
            raise InvalidArgument("expecting another shape")
        tensors[name] = [len(items), *shape], [one for _, flat in items for one in flat]
    return tensors


def from_inputs(given: Any, inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """FillTensorMapFromInputsMap."""
    if not isinstance(given, dict) or is_base64_object(given):
        if len(inputs) > 1:
            raise InvalidArgument("inputs is a plain value")
        ((name, dtype),) = inputs.items()
        return {name: dense(given, dtype)}
    if not inputs.keys() <= given.keys():
        raise InvalidArgument("missing named input")
    return {name: dense(given[name], dtype) for name, dtype in inputs.items()}


def response(tensors: Mapping[str, Tensor], by_row: bool) -> dict[str, Any]:
    """MakeJsonFromTensors."""
    if not by_row:
        values = {name: nested(name, *tensor) for name, tensor in tensors.items()}
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    sizes = {tuple(shape[:1]) for shape, _ in tensors.values()}
    if () in sizes or len(sizes) > 1:
        raise InvalidArgument("inconsistent batch size")
    columns = {name: nested(name, *tensor) for name, tensor in tensors.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    ((size,),) = sizes
    return {
        "predictions": [
            {name: column[row] for name, column in columns.items()} for row in range(size)
        ]
    }


def nested(name: str, shape: list[int], flat: list[Any]) -> Any:
    """AddTensorValues; tensors whose names end in ``_bytes`` are binary."""
    if name.endswith("_bytes"):
        flat = [{"b64": base64.b64encode(raw(one)).decode()} for one in flat]
    values = iter(flat)

    def added(sizes: list[int]) -> Any:
        return [added(sizes[1:]) for _ in range(sizes[0])] if sizes else next(values)

    return added(shape)


def raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
