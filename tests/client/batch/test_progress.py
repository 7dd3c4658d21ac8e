"""Rate and estimate of a job."""

from __future__ import annotations

from anabranch.cli.reports.batch import duration_text, progress_text, result_text
from anabranch.client.batch.progress import JobProgress
from tests.clock import Clock


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock(0.0)
    progress = JobProgress(100_000, 20_000, 3, clock=clock)
    assert progress_text(progress) == "20,000 of 100,000 rows (20%), 3 failed"
    for _ in range(100):
        clock.now += 1
        progress.count(100, 0, {})
    for _ in range(50):
        clock.now += 1
        progress.count(500, 1, {})
    assert progress.done == 20_000 + 10_000 + 25_000
    assert 480 < progress.rate < 520
    expected = "55,000 of 100,000 rows (55%), 500 rows/s, 1m 30s left, 53 failed"
    assert progress_text(progress) == expected
    assert progress.document()["remaining_s"] == 90.0


def test_results_tell_what_was_done_before() -> None:
    clock = Clock(0.0)
    progress = JobProgress(100, 40, 1, clock=clock)
    clock.now = 2.0
    progress.count(60, 0, {})
    progress.revisions.update({3: 50, 4: 9})
    assert result_text(progress, "out.csv", "out.csv.errors.jsonl").splitlines() == [
        "99 rows in out.csv (2.0 s, 30 rows/s)",
        "40 rows were done before this start",
        "answered: 50 by r3, 9 by r4",
        "failed rows: 1, with their errors in out.csv.errors.jsonl",
    ]


def test_durations_have_two_units() -> None:
    assert [duration_text(one) for one in (7.4, 61, 3700)] == ["7s", "1m 01s", "1h 01m"]
