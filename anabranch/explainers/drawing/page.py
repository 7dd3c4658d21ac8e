"""Writes the reply of ``/explain`` as one page of HTML, without scripts and other files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import numpy as np

from anabranch.explainers.drawing.panels import (
    Bars,
    DrawnPanel,
    Heat,
    Json,
    Line,
    Said,
    headline,
    left_out,
    number,
    panels,
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1b; --soft: #63625d; --page: #fbfaf8; --card: #fff;
  --edge: #e3e1dc; --for: #2f6fb5; --against: #c2542d; }
@media (prefers-color-scheme: dark) { :root { --ink: #ecebe7; --soft: #a5a39c; --page: #161614;
  --card: #20201d; --edge: #383732; --for: #6ba4e4; --against: #e58a63; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: .5rem 0 .25rem; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
h3 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 1rem 0 .4rem; }
p { margin: 0 0 .75rem; color: var(--soft); }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill,
  minmax(min(100%, 24rem), 1fr)); }
section { background: var(--card); border: 1px solid var(--edge); border-radius: 8px;
  padding: 1rem; min-width: 0; }
dl { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; }
dl div { display: flex; gap: .4rem; }
dt { color: var(--soft); } dd { margin: 0; }
dd, .value, td, text { font-variant-numeric: tabular-nums; }
.bars { display: grid; grid-template-columns: minmax(4rem, 34%) 1fr 4.5rem; gap: .3rem .6rem;
  align-items: center; font-size: .85rem; margin: 0; padding: 0; list-style: none; }
.bars li { display: contents; }
.track { position: relative; height: .9rem; }
.track i { position: absolute; top: 0; bottom: 0; min-width: 1px; border-radius: 2px;
  background: var(--for); }
.track i.minus { background: var(--against); }
.track b { position: absolute; top: -.2rem; bottom: -.2rem; width: 1px; background: var(--edge); }
.value { text-align: right; }
svg { display: block; width: 100%; height: auto; max-width: 26rem; }
svg text { fill: var(--soft); font-size: 11px; }
.plus { fill: var(--for); } .minus { fill: var(--against); } .zero { fill: var(--edge); }
.curve { fill: none; stroke: var(--for); stroke-width: 2; stroke-linejoin: round; }
.axis { stroke: var(--edge); }
ol.said { margin: 0; padding-left: 1.2rem; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
<main>
{sections}
</main>
</body>
</html>
"""
_WIDE, _HIGH, _MARGIN = 360, 180, 34
"""Of a curve's picture, and what its labels take below and beside it."""
_PIXEL = 10


def to_html(answer: Json) -> str:
    """Return the reply of ``/explain`` as a page with its panels."""
    return _PAGE.format(
        title=escape(headline(answer)),
        style=_STYLE,
        subtitle=escape(" · ".join(_subtitle(answer))),
        sections="\n".join(map(_section, panels(answer))) or "<p>nothing was explained</p>",
    )


def _subtitle(answer: Json) -> Iterator[str]:
    if "explainer" in answer:
        yield f"explainer {answer['explainer']}"
    if "model_version" in answer:
        yield f"version {answer['model_version']}"
    timing = answer.get("timing", {})
    if "seconds" in timing:
        yield f"{number(float(timing['seconds']))} s"
    if timing.get("cached"):
        yield "from the cache"
    if left_out(answer):
        yield f"{left_out(answer)} more rows are not shown"


def _section(panel: DrawnPanel) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in panel.facts
    )
    parts = "".join(
        (f"<h3>{escape(part.heading)}</h3>" if part.heading else "") + _WRITTEN_BY[type(part)](part)
        for part in panel.parts
    )
    title = f"<h2>{escape(panel.title)}</h2>" if panel.title else ""
    return f"<section>{title}<dl>{facts}</dl>{parts}</section>"


def _bars(part: Bars) -> str:
    low, high = min(0.0, *part.values, 0.0), max(0.0, *part.values, 0.0)
    scale = 100 / ((high - low) or 1.0)
    zero = -low * scale
    pairs = zip(part.labels, part.values, strict=True)
    return f'<ul class="bars">{"".join(_bar(*one, zero, scale) for one in pairs)}</ul>'


def _bar(label: str, value: float, zero: float, scale: float) -> str:
    width = abs(value) * scale
    left = zero if value >= 0 else zero - width
    kind = ' class="minus"' if value < 0 else ""
    return (
        f"<li><span>{escape(label)}</span>"
        f'<span class="track"><b style="left:{zero:.2f}%"></b>'
        f'<i{kind} style="left:{left:.2f}%;width:{width:.2f}%"></i></span>'
        f'<span class="value">{number(value)}</span></li>'
    )


def _heat(part: Heat) -> str:
    height, width = part.values.shape
    most = float(np.abs(part.values).max(initial=0)) or 1.0
    pixels = "".join(
        f'<rect x="{x * _PIXEL}" y="{y * _PIXEL}" width="{_PIXEL}" height="{_PIXEL}" '
        f'class="{"plus" if value > 0 else "minus"}" fill-opacity="{abs(value) / most:.2f}"/>'
        for (y, x), value in np.ndenumerate(part.values)
        if abs(value) / most >= 0.005
    )
    w, h = width * _PIXEL, height * _PIXEL
    return (
        f'<svg viewBox="0 0 {w} {h}" role="img" aria-label="map of {height} by {width}, '
        f'strongest {number(most)}"><rect width="{w}" height="{h}" class="zero" '
        f'fill-opacity="0.35"/>{pixels}</svg>'
        f"<p>blue speaks for the target, orange against it; the strongest is {number(most)}</p>"
    )


def _line(part: Line) -> str:
    grid, values = np.asarray(part.grid), np.nan_to_num(np.asarray(part.values, np.float64))
    if not len(grid):
        return "<p>no points</p>"
    x = _MARGIN + _scaled(grid) * (_WIDE - _MARGIN - 4)
    y = (1 - _scaled(values)) * (_HIGH - _MARGIN) + 8
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    bottom = _HIGH - _MARGIN + 12
    labels = (
        (_MARGIN, bottom + 14, "start", grid[0]),
        (_WIDE - 4, bottom + 14, "end", grid[-1]),
        (_MARGIN - 4, 14, "end", values.max()),
        (_MARGIN - 4, bottom - 4, "end", values.min()),
    )
    texts = "".join(
        f'<text x="{a}" y="{b}" text-anchor="{side}">{value:.3g}</text>'
        for a, b, side, value in labels
    )
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="curve">'
        f'<line class="axis" x1="{_MARGIN}" y1="{bottom}" x2="{_WIDE}" y2="{bottom}"/>'
        f'<polyline class="curve" points="{points}"/>{texts}</svg>'
    )


def _scaled(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = values.min(), values.max()
    found: np.ndarray[Any, Any] = (values - low) / ((high - low) or 1.0)
    return found


def _said(part: Said) -> str:
    return f'<ol class="said">{"".join(f"<li>{escape(line)}</li>" for line in part.lines)}</ol>'


_WRITTEN_BY: dict[type, Callable[[Any], str]] = {
    Bars: _bars,
    Heat: _heat,
    Line: _line,
    Said: _said,
}
