"""Markdown for the reference: tables, code, and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
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
    """Return the signature of a function as its source has it, without ``self`` or ``cls``."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    given = node.args
    if given.args and given.args[0].arg in ("self", "cls"):
        del given.args[0]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    wait = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{wait}{name}({ast.unparse(given)}){returns}"
    if len(line) <= _WIDTH:
        return line
    parts = [f"    {part}," for part in _parts(given)]
    return "\n".join([f"{wait}{name}(", *parts, f"){returns}"])


_WIDTH = 88
"""Longest line of a signature, in columns."""


def _parts(given: ast.arguments) -> Iterable[str]:
    """Yield the parameters one by one."""
    late = len(given.args) - len(given.defaults)
    defaults = [None] * late + list(given.defaults)
    yield from map(_part, given.args, defaults)
    if given.vararg is not None:
        yield f"*{ast.unparse(given.vararg)}"
    elif given.kwonlyargs:
        yield "*"
    yield from map(_part, given.kwonlyargs, given.kw_defaults)
    if given.kwarg is not None:
        yield f"**{ast.unparse(given.kwarg)}"


def _part(given: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(given)
    if default is None:
        return text
    return (
        f"{text} = {ast.unparse(default)}" if given.annotation else f"{text}={ast.unparse(default)}"
    )
