from __future__ import annotations

import pytest

from anabranch.errors import Unavailable
from anabranch.router.limits import ConcurrencyLimit


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
