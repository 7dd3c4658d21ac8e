"""The panels of a picture, one for each explanation, bounded in number and size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Json = Mapping[str, Any]

MOST_PANELS = 12
MOST_BARS = 20
MOST_CURVES = 12
MOST_PIXELS = 128
"""Longest side of a map; a larger map is shown by the means of blocks."""
_LONGEST_TEXT = 2000
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Bars:
    """Numbers by name, the largest first where there are too many."""

    heading: str
    """Meaning of the numbers."""
    named: str
    """Meaning of the names."""
    labels: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Heat:
    """A map of numbers, [height, width]."""

    heading: str
    values: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Line:
    """Values over a grid of numbers."""

    heading: str
    grid: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Said:
    """Lines of text."""

    heading: str
    lines: tuple[str, ...]


Part: TypeAlias = Bars | Heat | Line | Said


@dataclass(frozen=True)
class DrawnPanel:
    """One explanation."""

    title: str
    """Name of the row; empty for a single row."""
    facts: tuple[tuple[str, str], ...]
    """Further facts, such as ("precision", "0.97")."""
    parts: tuple[Part, ...]


def headline(answer: Json) -> str:
    """Return the headline: the explained model and the method."""
    return f"{answer.get('model_name', 'model')}: {answer.get('method', 'explanation')}"


def panels(answer: Json) -> list[DrawnPanel]:
    """Return a panel for each explanation, at most MOST_PANELS; ``left_out`` counts the rest."""
    found = answer.get("explanations", [])
    several = len(found) > 1
    return [
        DrawnPanel(
            title=f"row {index}" if several else "",
            facts=tuple(_facts(one)),
            parts=tuple(_parts(one)),
        )
        for index, one in enumerate(found[:MOST_PANELS])
    ]


def left_out(answer: Json) -> int:
    """Return the number of explanations without a panel."""
    return max(0, len(answer.get("explanations", [])) - MOST_PANELS)


def number(value: float) -> str:
    """Return a number as text, rounded for people."""
    return f"{value:.4g}"


def _facts(one: Json) -> Iterator[tuple[str, str]]:
    for name in ("target", "prediction", "base_value", "precision", "coverage", "seed"):
        value = one.get(name)
        if isinstance(value, float):
            yield name.replace("_", " "), number(value)
        elif value is not None:
            yield name.replace("_", " "), str(value)


def _parts(one: Json) -> Iterator[Part]:
    """Return what an explanation holds; the library's own words only where it holds nothing."""
    found = [*_rule(one), *_attributions(one), *_curves(one), *_examples(one)]
    yield from found
    if not found and one.get("library") is not None:
        text = json.dumps(one["library"], ensure_ascii=False)
        yield Said("", (text[:_LONGEST_TEXT] + ("…" if len(text) > _LONGEST_TEXT else ""),))


def _rule(one: Json) -> Iterator[Part]:
    if "rule" in one:
        yield Said("the answer stays while", tuple(one["rule"]) or ("anything: no condition",))


def _attributions(one: Json) -> Iterator[Part]:
    if "attributions" not in one:
        return
    values = np.nan_to_num(np.asarray(one["attributions"], np.float64))
    if values.ndim in (2, 3):
        yield Heat("attribution", _shrunk(_flat(values)))
        return
    labels = one.get("feature_names") or [_place(at) for at in np.ndindex(values.shape)]
    yield _largest("attribution", "feature", labels, values.ravel().tolist())


def _place(at: tuple[int, ...]) -> str:
    return f"x{at[0]}" if len(at) == 1 else str(list(at)) if at else "value"


def _flat(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a map without its channels, which are added up: the first axis, or the last."""
    if values.ndim == 2:
        return values
    first, _, last = values.shape
    ends = last in _CHANNELS and (first not in _CHANNELS or last < first)
    summed: np.ndarray[Any, Any] = values.sum(axis=2 if ends else 0)
    return summed


def _shrunk(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    for axis in (0, 1):
        step = -(-values.shape[axis] // MOST_PIXELS)
        if step > 1:
            edges = np.arange(0, values.shape[axis], step)
            sizes = np.diff([*edges, values.shape[axis]])
            sums = np.add.reduceat(values, edges, axis=axis)
            values = sums / (sizes[:, None] if axis == 0 else sizes)
    return values


def _curves(one: Json) -> Iterator[Part]:
    for curve in one.get("curves", [])[:MOST_CURVES]:
        grid, values = curve["grid"], curve["values"]
        if all(isinstance(at, int | float) for at in grid):
            yield Line(curve["feature"], tuple(map(float, grid)), tuple(values))
        else:
            yield Bars(curve["feature"], "category", tuple(map(str, grid)), tuple(values))


def _examples(one: Json) -> Iterator[Part]:
    if "examples" in one:
        labels = [f"row {example['index']}" for example in one["examples"]]
        scores = [example["score"] for example in one["examples"]]
        yield _largest("similarity", "sample", labels, scores)


def _largest(heading: str, named: str, labels: Iterable[object], values: Sequence[float]) -> Bars:
    """Return the largest bars by their size, and the sum of all others as one."""
    pairs = list(zip(map(str, labels), values, strict=True))
    if len(pairs) > MOST_BARS:
        pairs.sort(key=lambda pair: -abs(pair[1]))
        rest = pairs[MOST_BARS - 1 :]
        total = sum(value for _, value in rest)
        pairs = [*pairs[: MOST_BARS - 1], (f"{len(rest)} others", total)]
    return Bars(
        heading, named, tuple(name for name, _ in pairs), tuple(value for _, value in pairs)
    )
