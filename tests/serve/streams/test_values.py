"""Values that cross a connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anabranch.router.inference.contract import Evaluated
from anabranch.serve.streams import frames
from anabranch.serve.streams.frames import FrameReader, MalformedFrame
from anabranch.serve.streams.messages import content, message
from anabranch.serve.streams.records import RECORDS
from anabranch.serve.streams.values import DICT, FIRST_RECORD, CannotCross
from tests.examples import examples
from tests.serve.streams.ends import same

SURROGATES = st.text(st.characters(categories=["Cs", "L"]), max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text()
    | SURROGATES
    | st.binary()
)
dtypes = (
    hnp.scalar_dtypes()
    | st.sampled_from([np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)])
    | hnp.unicode_string_dtypes(max_len=5)
    | hnp.byte_string_dtypes(max_len=5)
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def raw_arrays(draw: st.DrawFn) -> Any:
    """Arrays of any dtype without objects, contiguous or not."""
    dtype, shape = draw(dtypes), draw(shapes)
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind == "U":
        flat = draw(hnp.arrays(dtype, int(np.prod(shape))))
    elif dtype.kind == "b":
        flat = draw(hnp.arrays(bool, int(np.prod(shape))))
    else:
        flat = np.frombuffer(bytearray(draw(st.binary(min_size=size, max_size=size))), dtype)
    array = flat.reshape(shape)
    if draw(st.booleans()):
        array = array.T
    if array.ndim and draw(st.booleans()):
        array = array[::-2]
    if draw(st.booleans()):
        array.flags.writeable = False
    return array


@st.composite
def object_arrays(draw: st.DrawFn) -> Any:
    """Arrays of texts and bytes, or of any plain data."""
    shape = draw(shapes)
    elements = draw(st.sampled_from([st.text(), st.binary(), st.text() | st.binary(), scalars]))
    array = np.empty(int(np.prod(shape)), object)
    for index in range(len(array)):
        array[index] = draw(elements)
    return array.reshape(shape).T


arrays = raw_arrays() | object_arrays()
hashables = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=3)
values = st.recursive(
    scalars | arrays | raw_arrays().filter(lambda one: one.size).map(lambda one: one.flat[0]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=3)
        | st.sets(hashables, max_size=3)
        | st.frozensets(hashables, max_size=3)
    ),
    max_leaves=12,
)


def crossed(value: Any) -> Any:
    found: list[Any] = []

    def take(kind: int, call: int, header: memoryview, rest: memoryview) -> None:
        found.append(content(header, rest)[1])

    data = b"".join(message(frames.ANSWER, 7, 0, value, 2**30))
    reader = FrameReader(take, 2**30)
    while data:
        room = reader.room()
        size = min(len(room), len(data))
        room[:size], data = data[:size], data[size:]
        reader.wrote(size)
    (only,) = found
    return only


@given(values)
def test_every_value_arrives_as_it_was(value: Any) -> None:
    assert same(crossed(value), value)


@pytest.mark.parametrize("size", [frames.SMALL - 1, frames.SMALL, frames.SCRATCH, 2**20])
def test_long_bytes_and_texts_arrive(size: int) -> None:
    value = [{"b": b"x" * size, "s": "é" * size, "n": None}, b"", b"y" * size]
    assert same(crossed(value), value)


@given(arrays)
def test_arrays_that_arrive_can_be_written_to_and_are_aligned(array: Any) -> None:
    found = crossed({"x": array})["x"]
    assert found.flags.writeable and found.flags.aligned and found.flags.c_contiguous


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 3 * 2**20])
def test_large_arrays_are_aligned_to_lines_of_the_cache(size: int) -> None:
    given_ = {name: np.full(size, number, np.uint8) for number, name in enumerate("abc")}
    found = crossed(given_)
    assert same(found, given_)
    assert all(one.ctypes.data % frames.ALIGNMENT == 0 for one in found.values())


def test_arrays_of_one_message_share_no_memory() -> None:
    found = crossed([np.zeros(3), np.zeros(3), np.array([b"a", "b"], object)])
    found[0][:] = 1
    assert found[1].tolist() == [0, 0, 0]


def test_a_large_array_is_sent_from_where_it_is() -> None:
    array = np.zeros(2**20, np.float32)
    chunks = message(frames.ANSWER, 1, 0, {"y": array, "z": array[:2]}, 2**30)
    shared = [one for one in chunks if np.shares_memory(np.frombuffer(one, np.uint8), array)]
    assert [len(one) for one in shared] == [array.nbytes]
    assert len(chunks) == 3


def test_a_small_array_may_change_once_it_was_sent() -> None:
    array = np.zeros(4)
    chunks = message(frames.ANSWER, 1, 0, array, 2**30)
    before = b"".join(chunks)
    array[:] = 1
    assert b"".join(chunks) == before


class Own:
    """No class that crosses."""


class OwnText(str):
    """No text, for pickle would have kept its class."""


class OwnArray(np.ndarray[Any, Any]):
    """No plain array."""


def nested() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Own(), []),
        ({"forest": Own()}, ["forest"]),
        ({"forest": {"y": [OwnText("x")]}}, ["forest", "y"]),
        ({"é": {1: Own()}}, ["é", "1"]),
        ({"a": np.zeros(2, [("x", "f4"), ("y", "i4")])}, ["a"]),
        ({"a": np.array([1, Own()], object)}, ["a"]),
        ({"a": np.zeros(2).view(OwnArray)}, ["a"]),
        (object, []),
        (nested(), []),
    ],
)
def test_no_other_object_crosses(value: Any, path: list[str]) -> None:
    with pytest.raises(CannotCross) as raised:
        message(frames.ANSWER, 1, 0, value, 2**30)
    assert raised.value.path == path


DEEP = 100_000
"""More levels than Python's recursion may have."""
LEVELS: dict[str, Callable[[Any], Any]] = {
    "list": lambda one: [one],
    "tuple": lambda one: (one,),
    "frozenset": lambda one: frozenset((one,)),
    "dict": lambda one: {"a": one},
    "pairs": lambda one: {1: one},
    "record": lambda one: Evaluated({"a": one}, 0.0, {}),
}


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_no_value_crosses_that_is_nested_too_deep(level: Callable[[Any], Any]) -> None:
    value = None
    for _ in range(DEEP):
        value = level(value)
    with pytest.raises(CannotCross, match="nested too deep"):
        message(frames.ANSWER, 1, 0, value, 2**30)


@pytest.mark.parametrize("tag", range(FIRST_RECORD + len(RECORDS)))
def test_a_message_that_is_nested_too_deep_is_malformed(tag: int) -> None:
    pair, text_key = b"\x92", b"\x81\xa1a"
    level = pair + bytes([tag]) + (text_key if tag == DICT else b"")
    with pytest.raises(MalformedFrame):
        content(memoryview(pair + b"\x00" + level * DEEP + b"\xc0"), memoryview(b""))


@settings(max_examples=examples(300))
@given(values, st.data())
def test_changed_bytes_are_another_value_or_malformed(value: Any, data: st.DataObject) -> None:
    whole = bytearray(b"".join(message(frames.ANSWER, 1, 0, value, 2**30)))
    _, header, _, _ = frames.PREFIX.unpack_from(whole)
    body = whole[frames.PREFIX.size :]
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    rest = memoryview(bytearray(body[frames.aligned(header) :]))
    with suppress(MalformedFrame):
        content(memoryview(bytes(body[:header])), rest)
