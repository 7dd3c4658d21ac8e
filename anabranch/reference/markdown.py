"""Markdown for the reference: tables, code, and docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a ``|`` or a line's end within a cell does not end the cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return a text as code within a sentence; nothing for an empty text."""
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def block(text: str, language: str = "text") -> str:
    """Return a fenced block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def prose(docstring: str | None) -> str:
    """Return a docstring as Markdown, without its sections such as ``Args:``.

    Double backticks become single ones, and a paragraph that ends in ``::`` opens a block of code.
    """
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    kept = [one for one in paragraphs if not _SECTION.match(one)]
    return "\n\n".join(map(_paragraph, kept))


_SECTION = re.compile(r"(Args|Raises|Returns):\n")


def _paragraph(text: str) -> str:
    if text.startswith("    "):
        return block(textwrap.dedent(text))
    return text.removesuffix(":").replace("``", "`") if text.endswith("::") else plain(text)


def plain(text: str) -> str:
    """Return a text of a docstring with Markdown's single backticks."""
    return text.replace("``", "`")


def section(docstring: str | None, name: str) -> dict[str, str]:
    """Return the entries of a section of a docstring such as ``Args:``, each ``name: text``."""
    found: dict[str, list[str]] = {}
    for paragraph in inspect.cleandoc(docstring or "").split("\n\n"):
        title, _, body = paragraph.partition("\n")
        if title != f"{name}:":
            continue
        for line in textwrap.dedent(body).splitlines():
            if not line.startswith(" "):
                entry, _, line = line.partition(":")
                found[entry] = []
            found[entry].append(line.strip())
    return {entry: plain(" ".join(lines)) for entry, lines in found.items()}


def call(function: Any, name: str) -> str:
    """Return the signature of a function, without ``self`` or ``cls``."""
    found = inspect.signature(function)
    parts = list(_parts([one for one in found.parameters.values() if one.name not in _BOUND]))
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    head = f"async {name}" if is_async else name
    typed = found.return_annotation is not inspect.Signature.empty
    returns = f" -> {found.return_annotation}" if typed else ""
    line = f"{head}({', '.join(parts)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{head}(", *(f"    {part}," for part in parts), f"){returns}"])


_BOUND = ("self", "cls")
_WIDTH = 88
"""Longest line of a signature, in columns."""


def _parts(parameters: Sequence[Parameter]) -> Iterable[str]:
    """Yield the parameters one by one, and what parts their kinds."""
    before: int = Parameter.POSITIONAL_OR_KEYWORD
    for one in parameters:
        if one.kind == Parameter.KEYWORD_ONLY and before < Parameter.VAR_POSITIONAL:
            yield "*"
        before = one.kind
        yield _part(one)


_STARS: Mapping[int, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}


def _part(one: Parameter) -> str:
    stars = _STARS.get(one.kind, "")
    is_typed = one.annotation is not Parameter.empty
    text = f"{stars}{one.name}: {one.annotation}" if is_typed else f"{stars}{one.name}"
    if one.default is Parameter.empty:
        return text
    return f"{text} = {one.default!r}" if is_typed else f"{text}={one.default!r}"
