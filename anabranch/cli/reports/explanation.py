"""The report of ``anabranch explain``, from the reply of ``/explain``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from anabranch.cli.terminal import table
from anabranch.explainers.drawing.panels import (
    Bars,
    DrawnPanel,
    Heat,
    Line,
    Part,
    Said,
    headline,
    left_out,
    number,
    panels,
)

_BAR = 24
"""Characters of the longest bar."""
_STRONGEST = 10
"""Most elements of a map that are listed."""
_STEPS = "▁▂▃▄▅▆▇█"
_POINTS = 40


def explanations_text(answer: Mapping[str, Any]) -> str:
    """Return the explanations of an answer for people, at most as many as there are panels."""
    sections = [_headline(answer), *map(_panel, panels(answer))]
    if left_out(answer):
        sections.append(f"… and {left_out(answer)} more rows")
    return "\n\n".join(sections)


def _headline(answer: Mapping[str, Any]) -> str:
    timing = answer.get("timing", {})
    seconds = timing.get("seconds")
    took = "" if seconds is None else f", {number(float(seconds))} s"
    cached = ", from the cache" if timing.get("cached") else ""
    by = f" by {answer['explainer']}" if "explainer" in answer else ""
    return f"{headline(answer)}{by}{took}{cached}"


def _panel(panel: DrawnPanel) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in panel.facts)
    above = f"{panel.title}: {facts}" if panel.title else facts
    return "\n".join(filter(None, [above, *_parts(panel.parts)]))


def _parts(parts: Sequence[Part]) -> Iterator[str]:
    curves = [part for part in parts if isinstance(part, Line)]
    yield from (_PRINTED_BY[type(part)](part) for part in parts if not isinstance(part, Line))
    if curves:
        rows = [
            (one.heading, _spark(one.values), *map(number, (one.grid[0], one.grid[-1])),
             *map(number, (min(one.values), max(one.values))))
            for one in curves
            if one.grid
        ]  # fmt: skip
        yield table(("FEATURE", "CURVE", "FROM", "TO", "LOWEST", "HIGHEST"), rows)


def _bars(part: Bars) -> str:
    most = max(map(abs, part.values), default=0.0)
    rows = [
        (label, number(value), _bar(value, most))
        for label, value in zip(part.labels, part.values, strict=True)
    ]
    return table((part.named.upper(), part.heading.upper(), ""), rows)


def _bar(value: float, most: float) -> str:
    """Return a bar; a light bar for a contribution against the target, without blanks in front."""
    length = round(_BAR * abs(value) / most) if most else 0
    return ("█" if value > 0 else "░") * length


def _heat(part: Heat) -> str:
    height, width = part.values.shape
    order = np.argsort(-np.abs(part.values), axis=None)[:_STRONGEST]
    places = [np.unravel_index(at, part.values.shape) for at in order]
    found = Bars(
        part.heading,
        f"place in {height} by {width}",
        tuple(f"[{y}, {x}]" for y, x in places),
        tuple(float(part.values[place]) for place in places),
    )
    return _bars(found)


def _said(part: Said) -> str:
    heading = [f"{part.heading}:"] if part.heading else []
    return "\n".join([*heading, *(f"  {line}" for line in part.lines)])


def _spark(values: Sequence[float]) -> str:
    chosen = np.asarray(values)[
        np.linspace(0, len(values) - 1, min(len(values), _POINTS)).round().astype(int)
    ]
    low, high = chosen.min(), chosen.max()
    levels = (chosen - low) / ((high - low) or 1.0) * (len(_STEPS) - 1)
    return "".join(_STEPS[round(float(level))] for level in levels)


_PRINTED_BY: dict[type, Callable[[Any], str]] = {Bars: _bars, Heat: _heat, Said: _said}
