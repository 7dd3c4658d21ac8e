"""What another process can read in a pulse."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as some

from anabranch.pulse import SIZE, Pulse, Reading, beats_in


class Caller:
    """Has a number."""


def shared(pulse: Pulse, graph: str = "g", revision: str = "3") -> bytearray:
    memory = bytearray(SIZE)
    pulse.share(memoryview(memory), graph, revision, 4.5)
    return memory


NAMES = some.text("abcdefghij0123456789-_", max_size=40)


@given(NAMES, NAMES, NAMES.filter(bool))
def test_the_last_call_is_told_by_names_given_before_or_after_it_is_shared(
    graph: str, revision: str, node: str
) -> None:
    pulse, first, second = Pulse(), Caller(), Caller()
    one = pulse.number(first, graph, revision, node)
    memory = shared(pulse)
    assert Reading.of(bytes(memory))[:5] == (0, 4.5, "g", "3", "")
    pulse.called[0] = one
    assert Reading.of(bytes(memory))[:5] == (0, 4.5, graph or "g", revision or "3", node)
    pulse.called[0] = pulse.number(second, "", "", "other")
    assert Reading.of(bytes(memory)).node == "other"


def test_beats_are_counted_but_not_while_something_is_loaded() -> None:
    pulse = Pulse()
    memory = shared(pulse)
    pulse.beat()
    pulse.beat()
    assert beats_in(memory[:8]) == 2
    with pulse.resting():
        assert beats_in(memory[:8]) == 0
        with pulse.resting():
            pulse.beat()
        assert beats_in(memory[:8]) == 0
    assert beats_in(memory[:8]) > 2
    pulse.rest()
    pulse.beat()
    assert beats_in(memory[:8]) == 0


def test_work_in_threads_beats_when_it_is_done_or_fails() -> None:
    pulse = Pulse()
    memory = shared(pulse)
    assert pulse.beaten(lambda: beats_in(memory[:8])) == 0
    assert beats_in(memory[:8]) == 1
    with pytest.raises(ZeroDivisionError):
        pulse.beaten(lambda: 1 // 0)
    assert beats_in(memory[:8]) == 2


def test_numbers_of_callers_that_have_gone_are_given_again() -> None:
    pulse = Pulse()
    callers = [Caller() for _ in range(1000)]
    numbers = [pulse.number(one, "g", "1", "n") for one in callers]
    named = [one for one in numbers if one]
    assert len(set(named)) == len(named) < 1000
    callers.clear()
    gc.collect()
    assert pulse.number(Caller(), "g", "1", "n") in named


def test_a_file_that_is_cut_is_no_pulse() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        Reading.of(bytes(12))


def test_the_memory_that_a_process_may_take_is_told_before_and_after_it_is_shared() -> None:
    pulse = Pulse()
    pulse.limit(2**33)
    memory = shared(pulse)
    assert Reading.of(bytes(memory)).memory == 2**33
    pulse.limit(5)
    assert Reading.of(bytes(memory)).memory == 5
