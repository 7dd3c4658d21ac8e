"""Tensors as MLServer's requests hold them, and tensors from its responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from anabranch.components.contract import Context
from anabranch.components.tensors.arrays import Array, to_array
from anabranch.components.tensors.datatypes import DTYPES, to_datatype
from anabranch.components.tensors.given import flat
from anabranch.components.tensors.texts import decoded, filled
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import listing, shown


def request_of(
    types: Any, inputs: Mapping[str, Array], outputs: Iterable[str], context: Context | None
) -> Any:
    """Return an ``InferenceRequest`` of the module ``types``, as MLServer's REST server makes it.

    The elements of a tensor are one flat list, with its shape beside it. Raise ValueError for BF16,
    which MLServer does not have.
    """
    asked = [types.RequestOutput(name=name) for name in outputs]
    return types.InferenceRequest(
        id=(context.id if context is not None else "") or None,
        parameters=None if context is None else _parameters(types, context),
        inputs=[_input(types, name, tensor) for name, tensor in inputs.items()],
        outputs=asked or None,
    )


def _parameters(types: Any, context: Context) -> Any:
    """Return the request's parameters, and its headers as MLServer's ``insert_headers`` has them.

    A parameter ``headers`` of the client is no header. Raise InvalidRequest for a parameter that
    has a meaning for MLServer and another type.
    """
    fields = {**context.parameters, "headers": dict(context.headers)}
    try:
        return types.Parameters.model_validate(fields)
    except ValueError as error:
        text = " ".join(str(error).split())
        raise InvalidRequest(f"the parameters are not those of MLServer: {text[:300]}") from None


def _input(types: Any, name: str, tensor: Array) -> Any:
    datatype = to_datatype(tensor.dtype)
    if datatype == "BF16":
        raise ValueError(f"input {name!r} is BF16, a datatype that MLServer does not have")
    return types.RequestInput(
        name=name, datatype=datatype, shape=list(tensor.shape), data=tensor.ravel().tolist()
    )


def outputs_of(response: Any) -> dict[str, Array]:
    """Return the tensors of an ``InferenceResponse``, by name.

    Raise TypeError for anything else, and ValueError for an output whose data do not fit its shape.
    """
    outputs = getattr(response, "outputs", None)
    if not isinstance(outputs, list):
        raise TypeError(f"predict() returned {shown(response)}; expected an InferenceResponse")
    found = {str(one.name): _tensor(one) for one in outputs}
    if len(found) < len(outputs):
        raise ValueError(f"predict() returned two outputs of one name, of {listing(found)}")
    return found


def _tensor(output: Any) -> Array:
    datatype = str(getattr(output.datatype, "value", output.datatype))
    data, shape = getattr(output.data, "root", output.data), list(output.shape)
    if datatype == "BYTES":
        return _texts(output, data, shape)
    if datatype not in DTYPES:
        raise ValueError(f"output {output.name!r} has the unknown datatype {shown(datatype)}")
    try:
        return _numbers(data, DTYPES[datatype]).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"output {output.name!r} is no {datatype} of {shape}: {error}") from None


def _numbers(data: Any, dtype: np.dtype[Any]) -> Array:
    """Return numbers as an array; null is NaN, and ValueError is raised for what no integer is."""
    if dtype.kind not in "iu":
        return np.asarray(data, dtype)
    given = np.asarray(data)
    found = given.astype(dtype)
    if not np.array_equal(found, given):
        raise ValueError("an element is out of its range")
    return found


def _texts(output: Any, data: Any, shape: list[int]) -> Array:
    elements = flat(list(data) if not isinstance(data, str | bytes) else [data])
    if len(elements) == prod(shape):
        if all(isinstance(one, bytes) for one in elements):
            elements = list(decoded(elements))
        return to_array(filled(elements, tuple(shape)))
    if len(elements) == 1 and isinstance(elements[0], bytes):
        return _packed(elements[0], shape)
    raise ValueError(f"output {output.name!r} has {len(elements)} texts for the shape {shape}")


def _packed(content: bytes, shape: list[int]) -> Array:
    """Return an array of ``bytes`` that ``NumpyCodec`` has written as one, without its widths."""
    count = prod(shape)
    if not count or len(content) % count:
        raise ValueError(f"{len(content)} bytes are no {count} texts of the same width")
    return to_array(np.frombuffer(content, f"S{len(content) // count}").reshape(shape))
