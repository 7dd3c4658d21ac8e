"""The binary tensor extension of HTTP: tensors as raw bytes behind the JSON.

A body is JSON, as many bytes as the header ``Inference-Header-Content-Length`` says, and then the
raw bytes of all tensors that are marked so, in the order of the JSON and with nothing between. With
a length of 0 there is no JSON: the whole body is the only input, a *raw binary request*.

Source: Triton's ``docs/protocol/extension_binary_data.md``, which KServe took over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NoReturn

from anabranch.errors import InvalidRequest
from anabranch.router.inference.contract import Array, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.raw_tensors import Buffer, decode_raw, single_bytes
from anabranch.router.oip.tensor_header import dtype_of
from anabranch.specs.excerpts import listing

HEADER = "Inference-Header-Content-Length"


class Tail:
    """The bytes behind the JSON, taken tensor by tensor."""

    __slots__ = ("_data", "_taken")

    def __init__(self, data: Buffer = b"") -> None:
        self._data = memoryview(data)
        self._taken = 0

    def take(self, name: str, size: int) -> memoryview:
        """Return the next ``size`` bytes; InvalidRequest where there are not so many."""
        end = self._taken + size
        if end > len(self._data):
            raise InvalidRequest(
                f"input {name!r} has a binary_data_size of {size} bytes, but only "
                f"{len(self._data) - self._taken} are left behind the JSON; header {HEADER} gives "
                "the length of the JSON"
            )
        found = self._data[self._taken : end]
        self._taken = end
        return found

    def finish(self) -> None:
        """Raise InvalidRequest where bytes are left that no tensor has taken."""
        if self._taken != len(self._data):
            raise InvalidRequest(
                f"{len(self._data)} bytes are behind the JSON, but the sum of every "
                f"binary_data_size is {self._taken}"
            )


def split(body: Buffer, length: int) -> tuple[memoryview, Tail]:
    """Return the JSON and what is behind it; InvalidRequest for a length over the body's."""
    if length > len(body):
        raise InvalidRequest(
            f"header {HEADER} says {length} bytes of JSON, the body has {len(body)}"
        )
    whole = memoryview(body)
    return whole[:length], Tail(whole[length:])


def only_input(
    body: Buffer, inputs: Sequence[TensorMetadata], limits: RequestLimits
) -> dict[str, Array]:
    """Return the input that a raw binary request is.

    Its shape is the declared one, a single dimension of any size as long as the body makes it. A
    body for BYTES is one element, without its length. Raises InvalidRequest for a graph that
    cannot be asked so, and as ``decode_raw`` does.
    """
    if len(inputs) != 1:
        names = listing(repr(tensor.name) for tensor in inputs)
        _cannot(f"this graph has the inputs {names}, so a body must say which is which")
    (tensor,) = inputs
    if tensor.shape.count(-1) > 1:
        _cannot(
            f"input {tensor.name!r} has the shape {list(tensor.shape)}, with several free sizes"
        )
    if tensor.datatype == "BYTES":
        return {tensor.name: _only_element(tensor, body)}
    shape = _filled(tensor, len(body))
    return {tensor.name: decode_raw(Header(tensor.name, tensor.datatype, shape), body, limits)}


def _cannot(reason: str) -> NoReturn:
    raise InvalidRequest(
        f"header {HEADER} is 0, so the body is the only input, but {reason}; send JSON first"
    )


def _only_element(tensor: TensorMetadata, body: Buffer) -> Array:
    shape = [1 if size == -1 else size for size in tensor.shape]
    if prod(shape) != 1:
        _cannot(f"input {tensor.name!r} is BYTES{list(tensor.shape)}, not one element")
    return single_bytes(body, shape)


def _filled(tensor: TensorMetadata, size: int) -> list[int]:
    """Return the shape that so many bytes fill, as far as they do."""
    header = Header(tensor.name, tensor.datatype, list(tensor.shape))
    row = prod(one for one in tensor.shape if one != -1) * dtype_of(header).itemsize
    return [(size // row if row else 0) if one == -1 else one for one in tensor.shape]
