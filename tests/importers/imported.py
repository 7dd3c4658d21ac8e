"""Imports manifests as the command does, and asks the graphs in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from anabranch.importers.result import ImportedGraph, Taken
from anabranch.importers.writing import check_files, files_of


def imported(*documents: Mapping[str, Any] | str) -> list[ImportedGraph]:
    """Return the graphs of manifests, each checked to compile."""
    texts = [one if isinstance(one, str) else yaml.safe_dump(one) for one in documents]
    graphs = import_source(Path("-"), "\n---\n".join(texts).encode())
    check_files(files_of(graphs))
    return graphs


def mistakes(*documents: Mapping[str, Any] | str) -> list[str]:
    """Return the mistakes for which an import is refused, each with its position."""
    try:
        imported(*documents)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


def written(graphs: list[ImportedGraph], folder: Path) -> Path:
    """Write the files of an import; return the folder."""
    for path, text in files_of(graphs).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def opened(graphs: list[ImportedGraph], folder: Path, components: str = "") -> Graph:
    """Write an import, with the components filled in, and open its first graph."""
    written(graphs, folder)
    place = folder / graphs[0].folder
    if components:
        there = place / "components.py"
        there.write_text(there.read_text() + "\n\n" + components)
    return Graph.load(place / "graph.yaml")


def notes(graph: ImportedGraph, taken: Taken) -> dict[str, str]:
    """Return the notes of one kind by their fields."""
    return {".".join(map(str, one.path)): one.text for one in graph.notes if one.taken is taken}


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value below a manifest."""
    found = [path] if path else []
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            found += places(value, (*path, key))
    return found
