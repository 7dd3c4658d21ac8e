"""What is written at once, and what is left."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.serve.streams.at_once import rest, write_at_once
from anabranch.serve.streams.frames import Buffer

chunks = st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(bytearray), max_size=6)


@given(chunks, st.integers(0, 300))
def test_the_rest_is_all_that_was_not_written(given_: list[Buffer], start: int) -> None:
    assert rest(given_, start) == b"".join(given_)[start:]


@given(st.binary(min_size=1, max_size=40))
def test_the_rest_has_memory_of_its_own(data: bytes) -> None:
    chunk = bytearray(data)
    left = rest([memoryview(chunk)], 0)
    chunk[:] = bytes(len(chunk))
    assert left == data


@pytest.mark.parametrize(("number", "size"), [(1, 1), (1, 2**22), (3, 2**20), (200, 2**12)])
def test_nothing_is_lost_or_written_twice(number: int, size: int) -> None:
    ours, theirs = socket.socketpair()
    given_: list[Buffer] = [bytes([index % 251]) * size for index in range(number)]
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        found, left = bytearray(), write_at_once(ours.fileno(), given_)
        while len(found) < number * size:
            try:
                found += theirs.recv(2**20)
            except BlockingIOError:
                left = write_at_once(ours.fileno(), [left])
        assert found == b"".join(given_)
        assert not left


def test_a_connection_that_is_broken_takes_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert write_at_once(ours.fileno(), [b"a", b"b"]) == b"ab"
