"""Tensors as raw bytes: little-endian, row-major, nothing between elements.

This is the form of the binary tensor extension of HTTP and of ``raw_input_contents`` of gRPC. An
element has its datatype's own size: BOOL is one byte, 0 or 1, BF16 two. A BYTES element is its
length as four bytes, unsigned, and then so many bytes.

Ray runs on little-endian machines only, so the bytes are as NumPy holds them.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NoReturn, TypeAlias

import numpy as np

from anabranch.components.tensors.texts import decoded, filled
from anabranch.errors import InvalidRequest
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import Array
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.tensor_header import dtype_of, size_of

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes."""

_LENGTH = Struct("<I")
_MAX_LENGTH = 2**32 - 1


def decode_raw(header: Header, data: Buffer, limits: RequestLimits) -> Array:
    """Return raw bytes as an array of the datatype and shape that the header says.

    The array can be written to. It shares the memory of ``data`` where that can be written to and
    is aligned; else it is a copy. BYTES elements are ``str``, or all ``bytes`` where any of them is
    no UTF-8. Raises TooLarge for a shape over the limits, and InvalidRequest where the bytes are
    not what the header says.
    """
    dtype = dtype_of(header)
    size = size_of(header, limits)
    if header.datatype == "BYTES":
        return _decode_bytes(header, data, size)
    if len(data) != size * dtype.itemsize:
        _wrong_size(header, size * dtype.itemsize, len(data))
    if header.datatype == "BOOL":
        _check_bools(header, data)
    flat = np.frombuffer(data, dtype)
    shared = flat.flags.writeable and flat.flags.aligned
    return (flat if shared else flat.copy()).reshape(header.shape)


def _wrong_size(header: Header, expected: int, found: int) -> NoReturn:
    raise InvalidRequest(
        f"input {header.name!r} of {header.datatype}{header.shape} takes {expected} raw bytes, "
        f"there are {found}"
    )


def _check_bools(header: Header, data: Buffer) -> None:
    found = np.frombuffer(data, np.uint8)
    if found.max(initial=0) > 1:
        index = int(np.argmax(found > 1))
        raise InvalidRequest(
            f"input {header.name!r} is BOOL: byte {index} is {found[index]}, neither 0 nor 1"
        )


def single_bytes(data: Buffer, shape: list[int]) -> Array:
    """Return bytes as a BYTES tensor of one element, of a shape of nothing but 1."""
    return filled(decoded([bytes(data)]), tuple(shape))


def _decode_bytes(header: Header, data: Buffer, size: int) -> Array:
    whole = data if isinstance(data, bytes) else bytes(data)
    if len(whole) < size * _LENGTH.size:
        raise InvalidRequest(
            f"input {header.name!r} of BYTES{header.shape} takes at least {size * _LENGTH.size} "
            f"raw bytes, there are {len(whole)}"
        )
    return filled(decoded(_split(header, whole, size)), tuple(header.shape))


def _split(header: Header, data: bytes, size: int) -> list[bytes]:
    """Return the elements that stand one after the other, each behind its length."""
    elements: list[bytes] = []
    length_at, at = _LENGTH.unpack_from, 0
    last = len(data) - _LENGTH.size
    for index in range(size):
        if at > last:
            _cut_short(header, index)
        start = at + _LENGTH.size
        at = start + length_at(data, at)[0]
        elements.append(data[start:at])
    if at > len(data):
        _cut_short(header, size - 1)
    if at != len(data):
        raise InvalidRequest(
            f"input {header.name!r}: {len(data) - at} raw bytes are left after its {size} elements"
        )
    return elements


def _cut_short(header: Header, index: int) -> NoReturn:
    raise InvalidRequest(
        f"input {header.name!r} is BYTES: its raw bytes end within element {index} or before it"
    )


def encode_raw(array: Array, datatype: str) -> bytes:
    """Return an array as raw bytes.

    UnencodableOutput where a BYTES element is neither text nor bytes, or too long for its length.
    """
    return bytes(raw_buffer(array, datatype))


def raw_buffer(array: Array, datatype: str) -> Buffer:
    """Return the raw bytes of an array as ``encode_raw`` does, but as a view where one will do."""
    if datatype == "BYTES":
        return _join(array.ravel().tolist())
    native: Array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return native.reshape(-1).view(np.uint8).data


def _join(elements: list[Any]) -> bytearray:
    """Return the elements one after the other, each behind its length."""
    data, pack = bytearray(), _LENGTH.pack
    for index, element in enumerate(elements):
        one = as_bytes(index, element)
        data += pack(len(one))
        data += one
    return data


def as_bytes(index: int, element: object) -> bytes:
    """Return an element of BYTES as bytes; UnencodableOutput says why there are none."""
    if isinstance(element, str):
        try:
            element = element.encode()
        except UnicodeEncodeError:
            raise UnencodableOutput(f"element {index} is not text in UTF-8") from None
    if not isinstance(element, bytes):
        kind = type(element).__name__
        raise UnencodableOutput(f"element {index} is of type {kind}, neither text nor bytes")
    if len(element) > _MAX_LENGTH:
        raise UnencodableOutput(f"element {index} has {len(element)} bytes, over {_MAX_LENGTH}")
    return element
