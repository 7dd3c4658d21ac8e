"""Says where text stops being YAML, with the line, and what its indentation has to do with it."""

from __future__ import annotations

import yaml

from anabranch.errors import Position, Problem
from anabranch.specs.excerpts import clean

_HINTS = {
    "\t": "a tab cannot indent; use spaces",
    "@": "a value that starts with @ needs quotes",
    "`": "a value that starts with ` needs quotes",
    "%": "a value that starts with % needs quotes",
}
_SHOWN = 72
"""Most characters of a line that are shown."""
_LOOKED_BACK = 1 << 16
"""Most characters above a line that are looked at."""
_GOES_ON = (":", "-", "?", ",", "[", "{", "|", ">")
"""Ends of lines that something below may be indented under."""


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """Return the parser's message as a problem, at the place where the mistake is.

    Where the indentation of that line fits no line above it, the message says so instead.
    """
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem((), f"not valid YAML: {clean(_said(error), 200)}", None, file)
    start, number, column = mark.index - mark.column, mark.line + 1, mark.column + 1
    line = text[start : start + _LOOKED_BACK].partition("\n")[0]
    above = text[max(0, start - _LOOKED_BACK) : start].splitlines()
    hint = _HINTS.get(text[mark.index : mark.index + 1])
    if hint is None and (hint := _wrong_indentation(above, line, number)):
        column = _indent(line) + 1
    said = f"not valid YAML: {hint or clean(_said(error), 200)}"
    shown = _excerpt([*above[-1:], line], Position(number, column))
    return Problem((), said, Position(number, column), file, shown)


def _said(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem, error.context]
    if error.context and error.context_mark:
        parts.append(f"that starts on line {error.context_mark.line + 1}")
    return " ".join(part for part in parts if part)


def _excerpt(lines: list[str], position: Position) -> str:
    """Return lines, the last of which is that of ``position``, with a caret under its column."""
    start = max(0, position.column - _SHOWN + 8)
    shown = [
        f"{number:>5} | {_printable(line[start : start + _SHOWN])}".rstrip()
        for number, line in enumerate(lines, position.line - len(lines) + 1)
    ]
    return "\n".join([*shown, f"      | {' ' * (position.column - 1 - start)}^"])


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)


def _wrong_indentation(above: list[str], line: str, number: int) -> str | None:
    """Return what is wrong with the indentation of a line, the number of which is given."""
    filled = [
        (number - back, text) for back, text in enumerate(reversed(above), 1) if _is_filled(text)
    ]
    if not filled or not line.strip():
        return None
    own, fitting = _indent(line), _open_indents([text for _, text in filled])
    if own in fitting:
        return None
    if own < fitting[0]:
        less, more = [one for one in fitting if one < own], [one for one in fitting if one > own]
        by = " or ".join(map(str, [*less[:1], more[-1]]))
        return f"indented by {own}, which fits no line above; indent it by {by}"
    before, text = filled[0]
    if _goes_on(text):
        return None
    most = f"indent it by {fitting[0]} or less"
    return f"indented by {own}, deeper than line {before}, which has its value already; {most}"


def _is_filled(line: str) -> bool:
    return line.strip() != "" and not line.lstrip().startswith("#")


def _goes_on(line: str) -> bool:
    words = line.partition(" #")[0].split()
    return words[-1].endswith(_GOES_ON) or words[-1].startswith(("&", "!"))


def _open_indents(upwards: list[str]) -> list[int]:
    """Return the indentations that a line may have to follow those above it, falling.

    ``upwards`` are the lines above, the nearest first.
    """
    found: list[int] = []
    for line in upwards:
        inner, indent = len(line) - len(line.lstrip("- ")), _indent(line)
        is_map = line[indent:].startswith("- ") and ":" in line
        for one in [inner, indent] if is_map else [indent]:
            if not found or one < found[-1]:
                found.append(one)
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
