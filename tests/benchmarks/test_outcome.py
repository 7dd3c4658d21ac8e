from __future__ import annotations

import pytest

from benchmarks.outcome import MET, MISSED, NOT_MEASURED, Goal, outcome


@pytest.mark.parametrize(
    ("goals", "problems", "code"),
    [
        ([("fast", True)], [], MET),
        ([("fast", True), ("small", False)], [], MISSED),
        ([("fast", False)], ["a peer: it ended with 1"], NOT_MEASURED),
    ],
)
def test_a_row_without_a_figure_weighs_more_than_a_missed_goal(
    goals: list[Goal], problems: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(goals, problems) == code
    told = capsys.readouterr().out.splitlines()
    assert told == [
        *(f"{'met   ' if met else 'MISSED'} {text}" for text, met in goals),
        *(f"not measured: {problem}" for problem in problems),
    ]
