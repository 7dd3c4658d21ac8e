"""Templates of graphs to begin with: which there are, and a folder made of one.

A template is a folder with ``graph.yaml``, ``request.json`` and Python files, whose names end in
``.txt`` more, since they are no modules of this package. The graph's name is that of the template.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from anabranch.errors import Conflict, StorageError
from anabranch.specs.excerpts import clean
from anabranch.specs.scalars import resolve

TEMPLATES = Path(__file__).parent / "templates"
_SPEC = "graph.yaml"


class Template(StrEnum):
    """The kind of graph."""

    TABULAR = "tabular"
    IMAGE = "image"
    TEXT = "text"
    AB = "ab"


EXTRAS = {
    Template.TABULAR: "sklearn",
    Template.IMAGE: "torch,sklearn",
    Template.TEXT: "sklearn",
    Template.AB: "",
}
"""Extras of the package that training and serving need."""


def make(folder: Path, template: Template) -> tuple[str, list[Path]]:
    """Write the files of a template into a folder; return the graph's name, and the files.

    The graph is named after the folder, where that is a name for a graph. Conflict where one of
    the files is there already; nothing is written then. StorageError where one cannot be written.
    """
    try:
        return _made(folder, template)
    except OSError as error:
        place = clean(str(error.filename or folder))
        raise StorageError(f"{place} cannot be written: {error.strerror}") from None


def _made(folder: Path, template: Template) -> tuple[str, list[Path]]:
    sources = sorted((TEMPLATES / template).iterdir())
    files = {folder / path.name.removesuffix(".txt"): path.read_text() for path in sources}
    there = [path.name for path in files if path.exists()]
    if there:
        raise Conflict(f"{folder} has {', '.join(there)} already; name another folder")
    name, spec = _name(folder, template), folder / _SPEC
    plain = name if resolve(name) == name else f'"{name}"'  # such as true, which is no text
    files[spec] = files[spec].replace(f"{{name: {template}}}", f"{{name: {plain}}}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return name, list(files)


def _name(folder: Path, template: Template) -> str:
    from anabranch.names import GRAPH_NAME

    name = folder.resolve().name
    return name if re.fullmatch(GRAPH_NAME, name) else str(template)
