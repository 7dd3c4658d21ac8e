"""Exit codes of the benchmarks, and the lines that say which goals are met."""

from __future__ import annotations

from collections.abc import Sequence

MET, NOT_MEASURED, MISSED = 0, 1, 3
"""Python exits 1 as well after an exception, by which something is not measured; argparse 2."""
Goal = tuple[str, bool]


def outcome(goals: Sequence[Goal], problems: Sequence[str] = ()) -> int:
    """Print the goals and the reasons why rows were not measured; return the exit code."""
    for text, met in goals:
        print("met   " if met else "MISSED", text)
    for problem in problems:
        print("not measured:", problem)
    if problems:
        return NOT_MEASURED
    return MET if all(met for _, met in goals) else MISSED
