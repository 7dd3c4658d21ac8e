from __future__ import annotations

import pytest

from anabranch.errors import Unavailable
from anabranch.router.limits import ByAddress, BytesUnderWay, ConcurrencyLimit, HeldBytes


def test_a_gate_lets_so_many_through_at_a_time() -> None:
    gate = ConcurrencyLimit(2)
    with gate, gate:
        with pytest.raises(Unavailable, match="2 requests are in progress") as caught, gate:
            pass
        assert caught.value.retry_after >= 1
    with gate, gate:
        pass


def test_a_failure_inside_frees_its_place() -> None:
    gate = ConcurrencyLimit(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate:
            raise ZeroDivisionError


def test_each_address_has_a_limit_for_as_long_as_it_is_used() -> None:
    whole = BytesUnderWay(100, "all")
    shares = ByAddress(lambda: BytesUnderWay(50, "one address", whole))
    with HeldBytes(shares.of("a")) as first, HeldBytes(shares.of("b")) as second:
        first.add(40)
        with pytest.raises(Unavailable, match="50 bytes of one address"):
            HeldBytes(shares.of("a")).add(11)
        second.add(50)
        assert whole.held == 90
        assert len(shares._known) == 2
    del first, second
    assert (whole.held, len(shares._known)) == (0, 0)
