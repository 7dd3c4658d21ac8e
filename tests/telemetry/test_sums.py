"""Sums of any kind, added and subtracted; a router's are in tests/router/measure/test_tally.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from anabranch.telemetry.sums import Sums


@dataclass(slots=True)
class Sold(Sums):
    pieces: int = 0
    income: float = 0.0
    by_colour: dict[str, int] = field(default_factory=dict)
    by_shop: dict[str, Sold] = field(default_factory=dict)


def test_fields_tables_and_sums_in_tables_add_up() -> None:
    one = Sold(2, -1.5, {"red": 2}, {"here": Sold(2)})
    other = Sold(3, 2.0, {"red": 1, "blue": 2}, {"there": Sold(3)})
    both = Sold(5, 0.5, {"red": 3, "blue": 2}, {"here": Sold(2), "there": Sold(3)})
    assert one.plus(other) == other.plus(one) == both
    assert both.minus(one) == other


def test_a_difference_is_never_negative_but_for_floats_and_its_tables_hold_no_zeros() -> None:
    before = Sold(7, 1.0, {"red": 7}, {"here": Sold(7)})
    assert Sold(2, 0.5, {"red": 2}, {"here": Sold(2)}).minus(before) == Sold(0, -0.5)


def test_what_no_longer_is_there_has_not_grown() -> None:
    assert Sold().minus(Sold(by_colour={"red": 1}, by_shop={"here": Sold(1)})) == Sold()
