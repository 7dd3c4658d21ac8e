"""Puts a run's table into ``docs/benchmarks.md``, between two marks."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

from benchmarks import machine
from benchmarks.report import Report, to_markdown
from benchmarks.rounds import Pace

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def publish(found: Report, pace: Pace) -> None:
    """Replace what is between the marks."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    middle = f"\n{_caption(pace)}\n\n{to_markdown(found)}\n"
    DOCUMENT.write_text(f"{before}{BEGIN}\n{middle}\n{END}{after}")


def _caption(pace: Pace) -> str:
    about = machine.describe()
    return (
        f"{date.today():%Y-%m-%d}, {about['processors']} processors ({about['processor']}), Python"
        f" {platform.python_version()}, load by {pace.tool}, medians of {pace.rounds} rounds of"
        f" {pace.seconds} s."
    )
