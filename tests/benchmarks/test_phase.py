from __future__ import annotations

import pytest

from benchmarks.open_loop import Answer, OpenLoop
from benchmarks.phase import WARM_UP_S, Phase
from benchmarks.running import NotMeasured


def turn(*seconds: float, status: int = 200, broken: int = 0) -> OpenLoop:
    """A turn that began with a request that took long."""
    answers = [Answer(WARM_UP_S, one, status, False) for one in seconds]
    return OpenLoop("", b"", 1, answers=[Answer(0, 9, 200, False), *answers], broken=broken)


def test_figures_are_medians_over_turns_without_their_warm_up() -> None:
    phase = Phase()
    for one in (turn(0.001, 0.002, 0.003), turn(5, 5, 5), turn(0.002, 0.003, 0.004)):
        phase.add(one)
    assert phase.p50 == pytest.approx(3)
    assert phase.p99 == pytest.approx(4)
    assert phase.failed == 0


def test_failures_of_all_turns_are_added() -> None:
    phase = Phase()
    phase.add(turn(0.001, 0.002, status=503))
    phase.add(turn(0.001, broken=3))
    assert phase.failed == 5


@pytest.mark.parametrize("loop", [turn(), OpenLoop("", b"", 1)])
def test_a_turn_without_an_answer_is_not_measured(loop: OpenLoop) -> None:
    with pytest.raises(NotMeasured, match="no request was answered"):
        Phase().add(loop)
