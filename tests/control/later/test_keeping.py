"""Bounds of what is kept hold, and cost little however much that is."""

from __future__ import annotations

import pytest

from anabranch.control.later import keeping
from anabranch.control.later.keeping import KeptRequests
from tests.clock import Clock


class Table:
    """Requests that take a second to count."""

    def __init__(self, clock: Clock) -> None:
        self.kept = (0, 0)
        self.counts = 0
        self._clock = clock

    def __call__(self) -> tuple[int, int]:
        self.counts += 1
        self._clock.now += 1.0
        return self.kept


def test_a_long_count_is_not_made_for_each_request() -> None:
    clock = Clock()
    table = Table(clock)
    kept = KeptRequests(table, clock)
    assert [kept.add(10, 1000.0) for _ in range(5)] == [(n, 10 * n) for n in range(5)]
    assert table.counts == 1
    table.kept = (5, 70)
    clock.now += 100.0
    assert kept.add(10, 1000.0) == (5, 70)


def test_nothing_is_refused_by_an_old_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_WAITING", 2)
    clock = Clock()
    table = Table(clock)
    kept = KeptRequests(table, clock)
    assert kept.add(10, 20.0) == (0, 0)
    assert kept.add(5, 20.0) == (1, 10)
    table.kept = (0, 3)
    assert kept.add(15, 20.0) == (0, 3)
    table.kept = (1, 18)
    assert kept.add(15, 20.0) == (1, 18), "and what has no room is not counted"
    assert table.counts == 3
