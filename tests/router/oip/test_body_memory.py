"""Memory of bodies, small and large."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anabranch.router.oip import body_memory
from anabranch.router.oip.body_memory import BodyMemory

MOST = 40
BOUNDED = """
import resource, pathlib, numpy
from anabranch.router.oip.body_memory import BodyMemory

pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    numpy.empty(2**30, numpy.uint8)
except MemoryError:
    body, pieces = BodyMemory(2**30), [bytes((number,)) * (number * 10**5) for number in range(20)]
    for piece in pieces:
        body.add(piece)
    assert bytes(body.whole) == b"".join(pieces)
else:
    raise AssertionError("there is no bound")
"""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_memory, "HUGE", 10)


@pytest.mark.parametrize("sizes", [(), (0,), (10,), (4, 6), (4, 7), (11,), (10, 1, 0, 29)])
def test_pieces_come_out_as_they_went_in(sizes: tuple[int, ...]) -> None:
    pieces = [bytes((65 + number,)) * size for number, size in enumerate(sizes)]
    body = BodyMemory(MOST)
    for piece in pieces:
        body.add(piece)
    whole = b"".join(pieces)
    assert (body.size, bytes(body.whole)) == (len(whole), whole)
    assert not memoryview(body.whole).readonly


def test_a_body_grows_where_its_most_is_not_to_be_had() -> None:
    """In a process whose address space is bounded, as strict overcommit bounds that of all."""
    done = subprocess.run([sys.executable, "-c", BOUNDED], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_body_tells_when_it_has_to_take_memory() -> None:
    body = BodyMemory(MOST)
    assert (body.has_room(10), body.has_room(11)) == (True, False)
    body.add(b"x" * 8)
    body.grow()
    assert (body.has_room(12), body.has_room(13)) == (True, False)
    assert bytes(body.whole) == b"x" * 8


def test_a_body_becomes_no_larger_than_was_said() -> None:
    body = BodyMemory(MOST)
    body.add(b"x" * MOST)
    with pytest.raises(ValueError, match="memoryview assignment"):
        body.add(b"x")
