"""How long the process of a job goes on where it gets no further."""

from __future__ import annotations

from anabranch.control.jobs.worker import PATIENCE_S, JobPatience
from tests.clock import Clock


def test_a_trouble_after_long_work_does_not_end_a_job() -> None:
    clock = Clock()
    patience = JobPatience(clock)
    patience.is_at(0)
    clock.now += 10 * PATIENCE_S
    assert not patience.is_over_after_trouble()
    clock.now += PATIENCE_S / 2
    assert not patience.is_over_after_trouble()


def test_beginning_again_is_no_progress_and_rows_are() -> None:
    clock = Clock()
    patience = JobPatience(clock)
    patience.is_at(5)
    assert not patience.is_over_after_trouble()
    patience.is_at(6)
    clock.now += 2 * PATIENCE_S
    assert not patience.is_over_after_trouble()
    patience.is_at(6)
    clock.now += 2 * PATIENCE_S
    assert patience.is_over_after_trouble()
