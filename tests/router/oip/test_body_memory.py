"""Memory of bodies, small and large."""

from __future__ import annotations

import pytest

from anabranch.router.oip import body_memory
from anabranch.router.oip.body_memory import BodyMemory

MOST = 40


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


def test_a_body_becomes_no_larger_than_was_said() -> None:
    body = BodyMemory(MOST)
    body.add(b"x" * MOST)
    with pytest.raises(ValueError, match="memoryview assignment"):
        body.add(b"x")
