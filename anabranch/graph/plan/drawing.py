"""Draws boxes and arrows as SVG, in columns from left to right, for notebooks.

Boxes stand one column behind the last box that leads to them. Within a column they are ordered by
the middle of those that they are linked to, which keeps arrows short and crossings few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape

_CHARACTER = 7.2
_BOX_HEIGHT, _ROW, _GAP, _MARGIN = 44.0, 60.0, 70.0, 12.0
_LEAST_WIDTH = 64.0
_MOST_TEXT = 28
"""Longest text in a box, in characters."""
_SWEEPS = 4


@dataclass(frozen=True)
class DrawnBox:
    """A box: its text, a smaller one below it, its colour; a round one stands for a tensor."""

    title: str
    detail: str
    colour: str
    is_round: bool = False


@dataclass(frozen=True)
class DrawnArrow:
    """An arrow from one box to another; a dotted one is no flow of every request."""

    source: str
    target: str
    label: str = ""
    is_dotted: bool = False


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + _BOX_HEIGHT / 2


def svg(boxes: Mapping[str, DrawnBox], arrows: Sequence[DrawnArrow], title: str) -> str:
    """Return an ``<svg>`` element with boxes by name, and arrows that make no circle."""
    columns = _ordered(_columns(boxes, arrows), arrows)
    places = _places(columns, boxes)
    width = max((place.x + place.width for place in places.values()), default=0.0) + _MARGIN
    height = max((place.y + _BOX_HEIGHT for place in places.values()), default=0.0) + _MARGIN
    parts = [_arrow(arrow, places) for arrow in arrows]
    parts += [_box(box, places[name]) for name, box in boxes.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="sans-serif" font-size="12" color="#57606a">'
        f"<title>{escape(title)}</title>{_MARKER}{''.join(parts)}</svg>"
    )


_MARKER = (
    '<defs><marker id="anabranch-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
)


def _columns(boxes: Mapping[str, DrawnBox], arrows: Sequence[DrawnArrow]) -> list[list[str]]:
    """Return the names of the boxes by column."""
    before: dict[str, list[str]] = {name: [] for name in boxes}
    for arrow in arrows:
        before[arrow.target].append(arrow.source)
    column: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        column[name] = max((column[one] + 1 for one in before[name]), default=0)
    found: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in boxes:
        found[column[name]].append(name)
    return found


def _ordered(columns: list[list[str]], arrows: Sequence[DrawnArrow]) -> list[list[str]]:
    """Return the columns with each box near the middle of those that it is linked to."""
    linked: dict[str, list[str]] = {name: [] for column in columns for name in column}
    for arrow in arrows:
        linked[arrow.source].append(arrow.target)
        linked[arrow.target].append(arrow.source)
    for _ in range(_SWEEPS):
        row = {name: at for column in columns for at, name in enumerate(column)}

        def middle(name: str, row: Mapping[str, int] = row) -> float:
            near = [row[one] for one in linked[name]]
            return sum(near) / len(near) if near else float(row[name])

        columns = [sorted(column, key=middle) for column in columns]
    return columns


def _places(columns: list[list[str]], boxes: Mapping[str, DrawnBox]) -> dict[str, _Place]:
    places = {}
    x = _MARGIN
    tallest = max(map(len, columns), default=0)
    for column in columns:
        width = max(_width(boxes[name]) for name in column)
        top = _MARGIN + (tallest - len(column)) * _ROW / 2
        for at, name in enumerate(column):
            places[name] = _Place(x, top + at * _ROW, width)
        x += width + _GAP
    return places


def _width(box: DrawnBox) -> float:
    longest = max(len(_cut(box.title)), len(_cut(box.detail)))
    return max(_LEAST_WIDTH, longest * _CHARACTER + 20)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def _box(box: DrawnBox, place: _Place) -> str:
    centre = place.x + place.width / 2
    corner = _BOX_HEIGHT / 2 if box.is_round else 5
    return (
        f'<rect x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" '
        f'height="{_BOX_HEIGHT:.0f}" rx="{corner:.0f}" fill="{escape(box.colour)}" '
        f'stroke="currentColor"/>'
        f'<g text-anchor="middle" fill="#1f2328"><title>{escape(f"{box.title}: {box.detail}")}'
        f'</title><text x="{centre:.1f}" y="{place.y + 18:.1f}" font-weight="bold">'
        f"{escape(_cut(box.title))}</text>"
        f'<text x="{centre:.1f}" y="{place.y + 34:.1f}" font-size="11">'
        f"{escape(_cut(box.detail))}</text></g>"
    )


def _arrow(arrow: DrawnArrow, places: Mapping[str, _Place]) -> str:
    start, end = places[arrow.source], places[arrow.target]
    x, to = start.x + start.width, end.x
    bend = max((to - x) / 2, 20.0)
    dashes = ' stroke-dasharray="4 3"' if arrow.is_dotted else ""
    path = (
        f'<path d="M{x:.1f} {start.middle:.1f}C{x + bend:.1f} {start.middle:.1f} '
        f'{to - bend:.1f} {end.middle:.1f} {to:.1f} {end.middle:.1f}" fill="none" '
        f'stroke="currentColor"{dashes} marker-end="url(#anabranch-arrow)"/>'
    )
    if not arrow.label:
        return path
    at, height = (x + to) / 2, (start.middle + end.middle) / 2 - 4
    return (
        f'{path}<text x="{at:.1f}" y="{height:.1f}" text-anchor="middle" font-size="10" '
        f'fill="currentColor">{escape(_cut(arrow.label))}</text>'
    )
