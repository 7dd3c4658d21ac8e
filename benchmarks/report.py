"""One table of everything measured, with ratios and goals: for the terminal, for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from benchmarks.contenders import HANDLE, ISOLATED, OURS, SINGLE
from benchmarks.in_process import Figure
from benchmarks.load import Load
from benchmarks.rounds import Measured

HEADINGS = (
    "measured",
    "1 connection:\np50 ms",
    "\np99 ms",
    "\nrequests/s",
    "32 connections:\np50 ms",
    "\np99 ms",
    "\nrequests/s",
    "\nfailed",
    "anabranch",
    "goal",
    "met",
)
_NOTHING = ("",) * 7

Row = tuple[str, ...]
ByName = Mapping[str, Measured]


@dataclass(frozen=True)
class Report:
    """Rows in three groups: the process alone, over HTTP, and what a hop adds."""

    groups: tuple[list[Row], ...]
    problems: list[str]


def report(figures: Sequence[Figure], measured: Sequence[Measured]) -> Report:
    """Put what was measured into rows."""
    by_name = {one.contender.name: one for one in measured}
    rows = [_row(one, by_name) for one in measured]
    problems = [f"{one.contender.title}: {one.problem}" for one in measured if one.problem]
    return Report(([_figure(one) for one in figures], rows, _hops(by_name)), problems)


def to_table(found: Report) -> Table:
    """The report for a terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for group in found.groups:
        for row in group:
            table.add_row(*row)
        table.add_section()
    return table


def to_markdown(found: Report) -> str:
    """The report as a Markdown table."""
    headings = [heading.replace("\n", " ").strip() for heading in HEADINGS]
    headings[2:4] = [f"1: {heading}" for heading in headings[2:4]]
    headings[5:7] = [f"32: {heading}" for heading in headings[5:7]]
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)]]
    lines += [list(row) for group in found.groups for row in group]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratios(ours: Measured, other: Measured) -> dict[int, float]:
    """How many times the other's requests a second ours are, by number of connections."""
    pairs = {n: (ours.median(n), other.median(n)) for n in ours.loads}
    return {n: a.rate / b.rate for n, (a, b) in pairs.items() if a and b}


def added_ms(fused: Measured | None, hop: Measured | None) -> float | None:
    """What a hop adds to the p50 at one connection, in ms; None where either was not measured."""
    before = fused.median(1) if fused else None
    after = hop.median(1) if hop else None
    return after.p50 - before.p50 if before and after else None


def _figure(figure: Figure) -> Row:
    value, goal = f"{figure.value:.3g} {figure.unit}", f"≤ {figure.goal:g}"
    return (figure.title, *_NOTHING, value, goal, _verdict(figure.met))


def _row(measured: Measured, by_name: ByName) -> Row:
    one, many = measured.median(1), measured.median(32)
    if one is None or many is None:
        return (measured.contender.title, *_NOTHING, "not measured", "", "")
    failed = str(one.failed + many.failed)
    cells = (measured.contender.title, *_load(one), *_load(many), failed)
    return (*cells, *_comparison(measured, by_name))


def _load(load: Load) -> tuple[str, str, str]:
    return f"{load.p50:.2f}", f"{load.p99:.2f}", f"{load.rate:,.0f}"


def _comparison(measured: Measured, by_name: ByName) -> tuple[str, str, str]:
    name = measured.contender.name
    ours = by_name.get(ISOLATED if name == HANDLE else OURS)
    if ours is None or name in (OURS, ISOLATED):
        return "", "", ""
    found = ratios(ours, measured)
    text = ", ".join(f"{ratio:.2f} ×" for ratio in found.values())
    goal = measured.contender.goal
    if goal is None or not found:
        return text, "", ""
    return text, f"≥ {goal:g} ×", _verdict(min(found.values()) >= goal)


def _hops(by_name: ByName) -> list[Row]:
    pairs = {
        "a hop adds, anabranch": (OURS, ISOLATED),
        "a hop adds, hand-written handle call": (SINGLE, HANDLE),
    }
    added = {
        title: added_ms(by_name.get(fused), by_name.get(hop))
        for title, (fused, hop) in pairs.items()
    }
    return [
        (title, f"{value:+.2f}", *_NOTHING[1:], "", "", "")
        for title, value in added.items()
        if value is not None
    ]


def _verdict(met: bool) -> str:
    return "yes" if met else "no"
