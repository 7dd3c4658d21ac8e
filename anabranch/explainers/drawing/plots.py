"""Draws the reply of ``/explain`` into a file by matplotlib, without a window."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.extras import require
from anabranch.explainers.drawing.panels import (
    Bars,
    DrawnPanel,
    Heat,
    Json,
    Line,
    Part,
    Said,
    headline,
    left_out,
    number,
    panels,
)

FORMATS = (".png", ".svg", ".pdf")
FOR, AGAINST, NOTHING = "#2f6fb5", "#c2542d", "#f5f4f1"
"""Colours of contributions for the target, against it, and of neither."""
_COLUMNS = 3
_MOST_CELLS = 24
_WIDTH, _HEIGHT = 4.6, 3.0
"""Of a cell with a map or a curve, in inches."""
_LINE = 0.24
"""Height of a bar, or a line of text."""
_FEWEST = 6
"""Bars that a cell has place for; fewer do not grow thicker."""
_LABEL, _TEXT = 28, 52
"""Longest label of a bar, and line of text, in characters."""
_GAP = 3
"""Between a bar and its number, in points."""
_DPI = 120


@dataclass(frozen=True)
class _Cell:
    title: str
    part: Part


def plot(answer: Json, path: Path) -> None:
    """Draw the reply of ``/explain`` into ``path``, whose suffix is one of FORMATS.

    Raise CannotLoad without matplotlib, and OSError where the file cannot be written.
    """
    matplotlib = require("matplotlib", "explain")
    figures = require("matplotlib.figure", "explain")
    settings = {"text.parse_math": False, "font.size": 9, "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that no font has become boxes
        figure = figures.Figure(layout="constrained", dpi=_DPI)
        draw(figure, answer)
        figure.savefig(path)


def draw(figure: Any, answer: Json) -> None:
    """Draw the reply of ``/explain`` on a figure of matplotlib; no text covers another one."""
    cells = [cell for panel in panels(answer) for cell in _cells(panel)]
    shown = cells[:_MOST_CELLS] or [_Cell("", Said("", ("nothing was explained",)))]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    height = max(_height(cell.part) for cell in shown)
    figure.set_size_inches(columns * _WIDTH, rows * height + 0.4)
    hidden = left_out(answer)
    more = f" ({len(answer['explanations']) - hidden} of {len(answer['explanations'])} rows)"
    figure.suptitle(headline(answer) + (more if hidden else ""))
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    drawn = list(zip(places, shown, strict=False))
    titles = [place.set_title(cell.title, loc="left", fontsize=8.5) for place, cell in drawn]
    for place, cell in drawn:
        _DRAWN_BY[type(cell.part)](place, cell.part)
    for place in places[len(shown) :]:
        place.set_axis_off()
    figure.draw_without_rendering()  # now texts have widths
    for place, cell in drawn:
        if isinstance(cell.part, Bars):
            _make_room(place, cell.part.values)
    figure.draw_without_rendering()  # and axes their final ones
    for (place, _), title in zip(drawn, titles, strict=True):
        title.set_x(_outer_edge(place))


def _outer_edge(place: Any) -> float:
    """Return where a cell begins, its labels included, in widths of its axes."""
    outer = place.get_tightbbox(for_layout_only=True)
    return float(min(0.0, (outer.x0 - place.bbox.x0) / place.bbox.width))


def _make_room(place: Any, values: Sequence[float]) -> None:
    """Widen the axis of bars so that the numbers beside them stay inside."""
    low, high = min(0.0, *values), max(0.0, *values)
    widths = [text.get_window_extent().width + 2 * _GAP for text in place.texts]
    pairs = list(zip(values, widths, strict=True))
    left = max((width for value, width in pairs if value < 0), default=0.0)
    right = max((width for value, width in pairs if value >= 0), default=0.0)
    space = max(place.bbox.width - left - right, 0.2 * place.bbox.width)
    unit = ((high - low) or 1.0) / space
    place.set_xlim(low - left * unit, high + right * unit)


def _cells(panel: DrawnPanel) -> Iterator[_Cell]:
    facts = [f"{name} {value}".replace(" ", "\u00a0") for name, value in panel.facts]
    above = [panel.title, textwrap.fill("  ".join(facts), _TEXT)]
    for part in panel.parts:
        heading = textwrap.fill(part.heading, _TEXT)
        yield _Cell("\n".join(filter(None, [*above, heading])), part)
        above = []


def _height(part: Part) -> float:
    match part:
        case Bars():
            return 1.4 + _LINE * max(_FEWEST, len(part.labels))
        case Said():
            return 0.9 + _LINE * (_wrapped(part).count("\n") + 1)
    return _HEIGHT


def _bars(place: Any, part: Bars) -> None:
    values = part.values[::-1]
    at = range(len(values))
    place.barh(at, values, color=[FOR if value >= 0 else AGAINST for value in values])
    place.set_yticks(at, [_cut(label) for label in part.labels[::-1]])
    place.axvline(0, color="0.4", linewidth=0.8)
    for y, value in zip(at, values, strict=True):
        side = "left" if value >= 0 else "right"
        place.annotate(
            number(value), (value, y), (_GAP if value >= 0 else -_GAP, 0),
            textcoords="offset points", va="center", ha=side, fontsize=7.5, color="0.25",
        )  # fmt: skip
    _sparse_ticks(place)
    place.set_ylim(len(values) - 0.4 - max(_FEWEST, len(values)), len(values) - 0.4)
    _plain_frame(place)


def _heat(place: Any, part: Heat) -> None:
    colors = require("matplotlib.colors", "explain")
    shades = colors.LinearSegmentedColormap.from_list("for_against", [AGAINST, NOTHING, FOR])
    most = float(np.abs(part.values).max(initial=0)) or 1.0
    image = place.imshow(part.values, cmap=shades, vmin=-most, vmax=most, interpolation="nearest")
    place.set_xticks([])
    place.set_yticks([])
    place.figure.colorbar(image, ax=place, shrink=0.8)


def _line(place: Any, part: Line) -> None:
    place.plot(part.grid, part.values, color=FOR, linewidth=1.8)
    place.grid(axis="y", color="0.9")
    _sparse_ticks(place)
    _plain_frame(place)


def _said(place: Any, part: Said) -> None:
    place.text(0, 1, _wrapped(part), va="top", transform=place.transAxes)
    place.set_axis_off()


def _wrapped(part: Said) -> str:
    return "\n".join(textwrap.fill(one, _TEXT, subsequent_indent="   ") for one in part.lines)


def _sparse_ticks(place: Any) -> None:
    """Draw few numbers on the horizontal axis, with their power of ten beside it."""
    place.locator_params(axis="x", nbins=4)
    place.ticklabel_format(axis="x", scilimits=(-2, 3))


def _plain_frame(place: Any) -> None:
    for side in ("top", "right"):
        place.spines[side].set_visible(False)


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"


_DRAWN_BY: dict[type, Callable[[Any, Any], None]] = {
    Bars: _bars,
    Heat: _heat,
    Line: _line,
    Said: _said,
}
