"""Values as they cross: plain data as msgpack, and all else as lists that say what they are.

``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes``, and dicts of these with keys of text
stand for themselves. Every other value is a list of its tag and its content; so a list is one, too,
and a dict that has one of them inside. What arrives is equal to what was sent, and of the same
types. Objects of other classes do not cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self, TypeAlias, cast

import msgspec
import numpy as np

from anabranch.errors import AnabranchError
from anabranch.router.http.headers import RequestHeaders
from anabranch.serve.streams.arrays import (
    describe,
    describe_texts,
    restore,
    restore_texts,
)
from anabranch.serve.streams.frames import SMALL, Parts
from anabranch.serve.streams.records import RECORDS, make_error, take_error

LIST, TUPLE, SET, FROZEN_SET, PAIRS, ARRAY, TEXTS, OBJECTS, SCALAR, INTEGER, SURROGATES, LONG = (
    range(12)
)
ERROR_TAG, DICT = 12, 13
FIRST_RECORD = 16
"""Tag of the first of ``RECORDS``; the others follow."""
_PLAIN = frozenset((type(None), bool, float))
_encode = msgspec.msgpack.Encoder().encode
_TOLD_APART = frozenset((list, msgspec.Raw))
"""What values become that do not stand for themselves, or may not."""
_Packer: TypeAlias = Callable[[Any, Parts], Any]
_LEAST, _MOST = -(2**63), 2**64 - 1
"""The integers that msgpack has."""


class CannotCross(Exception):
    """An object is of a class that does not cross; ``path`` are the keys that lead to it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []
        super().__init__(reason)

    def within(self, key: Any) -> Self:
        """Return the error as it is of a dict that has the object somewhere behind a key."""
        self.path.insert(0, str(key))
        return self


def pack(value: Any, parts: Parts) -> Any:
    """Return a value as msgspec can encode it; the bytes of its arrays go to ``parts``."""
    return _PACKERS.get(type(value), _pack_rare)(value, parts)


def _pack_each(items: Iterable[Any], parts: Parts) -> list[Any]:
    packers = _PACKERS
    return [
        item if type(item) in _PLAIN else packers.get(type(item), _pack_rare)(item, parts)
        for item in items
    ]


def _itself(value: Any, parts: Parts) -> Any:
    return value


def _pack_int(value: Any, parts: Parts) -> Any:
    # An ``Any``: where Python has no more recursion, compiled comparisons of large ``int`` abort.
    if _LEAST <= value <= _MOST:
        return value
    return [INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)]


def _pack_str(value: str, parts: Parts) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return [SURROGATES, value.encode("utf-8", "surrogatepass")]
    return value


def _pack_bytes(value: bytes, parts: Parts) -> Any:
    return value if len(value) < SMALL else [LONG, parts.add(value), len(value)]


def _pack_dict(value: dict[Any, Any], parts: Parts) -> Any:
    """Return a dict with keys of text as one; else its keys and values as a list."""
    packed = {}
    key: Any = None
    is_plain = True
    try:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                break
            kind = type(item)
            if item.isascii() if kind is str else kind in _PLAIN:
                packed[key] = item
                continue
            packed[key] = found = pack(item, parts)
            if type(found) in _TOLD_APART:
                is_plain = False
        else:
            return packed if is_plain else [DICT, packed]
    except CannotCross as error:
        raise error.within(key) from None
    return _pack_pairs(value, parts)


def _pack_headers(value: RequestHeaders, parts: Parts) -> msgspec.Raw:
    """Return headers as they cross, encoded once: many requests of a connection share them."""
    if value.encoded is None:
        value.encoded = _encode(_pack_dict(dict(value.items()), parts))
    return msgspec.Raw(value.encoded)


def _pack_pairs(value: dict[Any, Any], parts: Parts) -> list[Any]:
    packed: list[Any] = [PAIRS]
    for key, item in value.items():
        packed.append(pack(key, parts))
        try:
            packed.append(pack(item, parts))
        except CannotCross as error:
            raise error.within(key) from None
    return packed


def _pack_items(tag: int, value: Iterable[Any], parts: Parts) -> list[Any]:
    return [tag, *_pack_each(value, parts)]


def _pack_array(value: Any, parts: Parts) -> list[Any]:
    described = describe(value, parts)
    if described is not None:
        return [ARRAY, *described]
    if value.dtype.kind != "O":
        raise CannotCross(f"an array of dtype {value.dtype} cannot cross processes")
    texts = describe_texts(value, parts)
    if texts is not None:
        return [TEXTS, *texts]
    return [OBJECTS, list(value.shape), *_pack_each(value.ravel().tolist(), parts)]


def _pack_rare(value: Any, parts: Parts) -> Any:
    if isinstance(value, np.generic):
        return [SCALAR, _pack_array(np.asarray(value), parts)]
    if isinstance(value, AnabranchError):
        return _pack_error(value, parts)
    raise CannotCross(f"a {type(value).__name__} cannot cross processes")


def _pack_error(error: AnabranchError, parts: Parts) -> list[Any]:
    try:
        names, args = take_error(error)
        return [ERROR_TAG, names, _pack_each(args, parts)]
    except Exception:  # whatever a class of a component makes of being taken apart
        return [ERROR_TAG, [], [_pack_str(str(error), parts)]]


def _pack_record(
    tag: int, take: Callable[[Any], Iterable[Any]], value: Any, parts: Parts
) -> list[Any]:
    return [tag, *_pack_each(take(value), parts)]


# Python counts the recursion of calls of functions and partials, of compiled ones too; of lambdas
# and inner functions that are compiled it does not, so there are none in these tables.
_PACKERS: dict[type, _Packer] = {
    type(None): _itself,
    bool: _itself,
    float: _itself,
    int: _pack_int,
    str: _pack_str,
    bytes: _pack_bytes,
    dict: _pack_dict,
    RequestHeaders: _pack_headers,
    list: partial(_pack_items, LIST),
    tuple: partial(_pack_items, TUPLE),
    set: partial(_pack_items, SET),
    frozenset: partial(_pack_items, FROZEN_SET),
    np.ndarray: _pack_array,
    **{one.cls: partial(_pack_record, FIRST_RECORD + n, one.take) for n, one in enumerate(RECORDS)},
}


def unpack(packed: Any, rest: memoryview) -> Any:
    """Return the value again; its arrays are views of ``rest``.

    Raises any Exception where there is no such value.
    """
    return _UNPACKERS[packed[0]](packed, rest) if type(packed) is list else packed


def _items(packed: list[Any], rest: memoryview, start: int = 1) -> list[Any]:
    unpackers = _UNPACKERS
    return [
        unpackers[item[0]](item, rest) if type(item) is list else item for item in packed[start:]
    ]


def _of_items(make: Callable[[list[Any]], Any], packed: list[Any], rest: memoryview) -> Any:
    return make(_items(packed, rest))


def _dict(packed: list[Any], rest: memoryview) -> dict[str, Any]:
    _, items = packed
    unpackers = _UNPACKERS
    for key, item in items.items():
        if type(item) is list:
            items[key] = unpackers[item[0]](item, rest)
    return cast(dict[str, Any], items)


def _pairs(packed: list[Any], rest: memoryview) -> dict[Any, Any]:
    items = _items(packed, rest)
    return dict(zip(items[::2], items[1::2], strict=True))


def _objects(packed: list[Any], rest: memoryview) -> Any:
    flat = np.empty(len(packed) - 2, object)
    for index, item in enumerate(_items(packed, rest, 2)):
        flat[index] = item
    return flat.reshape(packed[1])


def _scalar(packed: list[Any], rest: memoryview) -> Any:
    return unpack(packed[1], rest)[()]


def _integer(packed: list[Any], rest: memoryview) -> int:
    return int.from_bytes(packed[1], "little", signed=True)


def _surrogates(packed: list[Any], rest: memoryview) -> str:
    return cast(str, packed[1].decode("utf-8", "surrogatepass"))


def _long(packed: list[Any], rest: memoryview) -> bytes:
    _, place, size = packed
    found = bytes(rest[place : place + size])
    if len(found) != size:
        raise ValueError(f"{size} bytes at {place} are not there")
    return found


def _error(packed: list[Any], rest: memoryview) -> AnabranchError:
    _, names, args = packed
    return make_error(names, [unpack(arg, rest) for arg in args])


def _record(make: Callable[..., Any], packed: list[Any], rest: memoryview) -> Any:
    return make(*_items(packed, rest))


_UNPACKERS: dict[int, Callable[[list[Any], memoryview], Any]] = {
    LIST: _items,
    TUPLE: partial(_of_items, tuple),
    SET: partial(_of_items, set),
    FROZEN_SET: partial(_of_items, frozenset),
    PAIRS: _pairs,
    DICT: _dict,
    ARRAY: restore,
    TEXTS: restore_texts,
    OBJECTS: _objects,
    SCALAR: _scalar,
    INTEGER: _integer,
    SURROGATES: _surrogates,
    LONG: _long,
    ERROR_TAG: _error,
    **{FIRST_RECORD + n: partial(_record, one.make) for n, one in enumerate(RECORDS)},
}
