"""Frames, read out of a stream of bytes that may be cut anywhere."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.serve.streams.frames import (
    PREFIX,
    SCRATCH,
    SMALL,
    Buffer,
    FrameReader,
    MalformedFrame,
    Parts,
    aligned,
    frame,
    room,
)
from tests.serve.streams.ends import read, split

sizes = st.integers(0, 200) | st.sampled_from([SMALL, SCRATCH - 24, SCRATCH, SCRATCH + 1, 200_000])
drawn = st.tuples(
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=100),
    st.lists(sizes, max_size=3),
)


def written(kind: int, call: int, header: bytes, parts: list[int]) -> bytes:
    given_ = Parts()
    for number, size in enumerate(parts, 1):
        given_.add(bytes([number]) * size)
    return b"".join(frame(kind, call, header, given_))


def expected(sizes: list[int]) -> bytes:
    """The bytes of the arrays of a frame."""
    found = b""
    for number, size in enumerate(sizes, 1):
        if size:
            found += b"\0" * (aligned(len(found)) - len(found)) + bytes([number]) * size
    return found


@given(st.lists(drawn, max_size=6), st.lists(st.integers(0, 2**20), max_size=12))
def test_any_cut_of_the_stream_gives_the_same_frames(
    frames: list[tuple[int, int, bytes, list[int]]], cuts: list[int]
) -> None:
    stream = b"".join(written(*one) for one in frames)
    found = read(split(stream, cuts))
    assert found == [(kind, call, header, expected(s)) for kind, call, header, s in frames]


def test_byte_by_byte() -> None:
    one = written(4, 9, b"header", [3, 100])
    assert read([bytes([byte]) for byte in one * 3]) == [(4, 9, b"header", expected([3, 100]))] * 3


@pytest.mark.parametrize("size", [2**20 + 1, 2**40, 2**63, 2**64 - 1])
def test_no_memory_is_taken_for_a_frame_over_the_limit(size: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFrame, match="over the limit of 1048576"):
            read([PREFIX.pack(size, 0, 4, 1)], most=2**20)
        assert tracemalloc.get_traced_memory()[1] < 2**19
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("size", "header"), [(0, 1), (63, 2), (3, 2), (100, 65), (10, 2**32 - 1)])
def test_a_header_must_fit_its_body(size: int, header: int) -> None:
    with pytest.raises(MalformedFrame, match="of header"):
        read([PREFIX.pack(size, header, 4, 1)])


@given(st.binary(max_size=300))
def test_noise_is_malformed_or_incomplete(noise: bytes) -> None:
    with suppress(MalformedFrame):
        read([noise], most=1024)


def test_a_large_frame_is_read_into_one_buffer_without_a_copy() -> None:
    found: list[memoryview] = []
    reader = FrameReader(lambda kind, call, header, rest: found.append(rest), 2**30)
    data, size = written(4, 1, b"h", [2**24]), 2**24
    tracemalloc.start()
    try:
        at = 0
        while at < len(data):
            space = reader.room()
            count = min(len(space), len(data) - at, 300_000)
            space[:count] = data[at : at + count]
            at += count
            reader.wrote(count)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bytes(found[0]) == b"\1" * size
    assert size <= most < size + 2**20


def test_memory_for_bodies_is_aligned() -> None:
    for size in (1, 63, 64, 100_000):
        found = np.frombuffer(room(size), np.uint8)
        assert len(found) == size
        assert found.ctypes.data % 64 == 0
        assert found.flags.writeable


def test_large_parts_are_not_copied_and_small_ones_are_joined() -> None:
    parts = Parts()
    given_: list[Buffer] = [b"x", bytes(SMALL), b"y", b"z", bytearray(SMALL * 2)]
    for one in given_:
        parts.add(one)
    chunks = frame(4, 1, b"header", parts)
    assert len(chunks) == 4
    assert chunks[1] is given_[1] and chunks[3] is given_[4]
