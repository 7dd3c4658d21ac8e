"""Writes the generated parts of the pages below a folder of docs; the other text is by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from anabranch.reference import builtins, commands, errors, language, metrics, python, settings

BEGIN = "<!-- begin: written by `make reference` -->"
END = "<!-- end -->"

PAGES: Mapping[str, Callable[[Path], str]] = {
    "metrics.md": lambda docs: metrics.tables(),
    "reference/language.md": language.sections,
    **{
        f"reference/{page}.md": partial(builtins.sections, kind)
        for kind, page in builtins.PAGES.items()
    },
    "reference/commands.md": lambda docs: commands.sections(),
    "reference/python.md": lambda docs: python.sections(),
    "reference/settings.md": lambda docs: settings.tables(),
    "reference/errors.md": lambda docs: errors.tables(),
}
"""The generated part of each page, from the folder of all docs."""


def written(page: str, generated: str) -> str:
    """Return a page with other text between its two marks; raise ValueError without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has not both marks: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def write(docs: Path) -> None:
    """Write the generated part of every page."""
    for name, generate in PAGES.items():
        page = docs / name
        page.write_text(written(page.read_text(), generate(docs)))
