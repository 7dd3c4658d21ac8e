"""One table of everything measured, with ratios and goals: for the terminal, for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from benchmarks.contenders import HANDLE, ISOLATED, MIRROR, OURS, OWN_PORT, SERVE, SINGLE, UVICORN
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
MOST_TAIL = 3
"""Goal for the p99 at one connection, in multiples of the p50."""
MOST_HOP, MOST_HOP_MS = 0.2, 0.3
"""Goals for what a hop adds: as a share of what a handle call adds, and in ms."""
AGAINST: tuple[tuple[str, str, str, dict[int, float]], ...] = (
    ("on a port of its own, against bare uvicorn", OWN_PORT, UVICORN, {1: 1.5, 32: 1.0}),
    ("anabranch serve, against the engine", SERVE, OURS, {1: 1.0, 32: 1.0}),
    ("one node isolated, against one segment", ISOLATED, OURS, {32: 0.5}),
    ("a healthy mirror of 100 %, against none", MIRROR, OURS, {32: 0.9}),
)
"""What is compared with what besides: a title, both names, and the goals by connections."""

Row = tuple[str, ...]
ByName = Mapping[str, Measured]


@dataclass(frozen=True)
class Report:
    """Rows in three groups: the process alone, over HTTP, and what follows from the latter."""

    groups: tuple[list[Row], ...]
    problems: list[str]


def report(figures: Sequence[Figure], measured: Sequence[Measured]) -> Report:
    """Put what was measured into rows."""
    by_name = {one.contender.name: one for one in measured}
    rows = [_row(one, by_name) for one in measured]
    problems = [f"{one.contender.title}: {one.problem}" for one in measured if one.problem]
    derived = [*_against(by_name), *_tail(by_name), *_hops(by_name)]
    return Report(([_figure(one) for one in figures], rows, derived), problems)


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
    goal = measured.contender.goal
    return _judged(ratios(ours, measured), dict(zip((1, 32), goal, strict=True)) if goal else {})


def _judged(found: Mapping[int, float], goals: Mapping[int, float]) -> tuple[str, str, str]:
    """Ratios, the least that they should be, and whether they are."""
    text = ", ".join(f"{ratio:.2f} ×" for ratio in found.values())
    if not found or not goals:
        return text, "", ""
    wanted = ", ".join(f"{goal:g}" for goal in dict.fromkeys(goals.values()))
    return text, f"≥ {wanted} ×", _verdict(all(found[n] >= goal for n, goal in goals.items()))


def _against(by_name: ByName) -> list[Row]:
    rows: list[Row] = []
    for title, ours, other, goals in AGAINST:
        one, two = by_name.get(ours), by_name.get(other)
        found = ratios(one, two) if one and two else {}
        if found:
            few = {n: ratio for n, ratio in found.items() if n in goals}
            rows.append((title, *_NOTHING, *_judged(few, goals)))
    return rows


def _tail(by_name: ByName) -> list[Row]:
    ours = by_name.get(OURS)
    one = ours.median(1) if ours else None
    if one is None:
        return []
    ratio = one.p99 / one.p50
    judged = (f"{ratio:.1f} × the p50", f"≤ {MOST_TAIL} ×", _verdict(ratio <= MOST_TAIL))
    return [("p99 at 1 connection, one segment", *_NOTHING, *judged)]


def _hops(by_name: ByName) -> list[Row]:
    ours = added_ms(by_name.get(OURS), by_name.get(ISOLATED))
    handle = added_ms(by_name.get(SINGLE), by_name.get(HANDLE))
    rows: list[Row] = []
    if ours is not None:
        judged = ("", "", "")
        if handle:
            good = ours <= MOST_HOP * handle and ours <= MOST_HOP_MS
            goal = f"≤ {MOST_HOP:g} ×, ≤ {MOST_HOP_MS:g} ms"
            judged = (f"{ours / handle:.2f} × its time", goal, _verdict(good))
        rows.append(("a hop adds, anabranch", f"{ours:+.2f}", *_NOTHING[1:], *judged))
    if handle is not None:
        title = "a hop adds, hand-written handle call"
        rows.append((title, f"{handle:+.2f}", *_NOTHING[1:], "", "", ""))
    return rows


def _verdict(met: bool) -> str:
    return "yes" if met else "no"
