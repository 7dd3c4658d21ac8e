from __future__ import annotations

import time

from anabranch.control.clock import SteadyClock


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.wall, self.up = 1_800_000_000.0, 500.0

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.up)


def test_setting_the_clock_changes_no_duration() -> None:
    machine = Machine()
    clock = machine.clock()
    began = clock()
    assert began == machine.wall
    for jump in (-7200.0, 7200.0, 86400.0):
        machine.wall += jump
        machine.passes(10.0)
    assert clock() - began == 30.0
    assert machine.clock()() == machine.wall


def test_it_is_the_time_of_the_system() -> None:
    before, found, after = time.time(), SteadyClock()(), time.time()
    assert before - 1 < found < after + 1
