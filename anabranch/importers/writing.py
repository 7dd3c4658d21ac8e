"""The files of an import, and whether its graphs compile."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from anabranch.errors import Problem, SpecError
from anabranch.graph.compile.loading import open_graph
from anabranch.importers.report import report
from anabranch.importers.result import GRAPH_FILE, ImportedGraph, graph_file
from anabranch.specs.dump import to_yaml
from anabranch.specs.excerpts import safe_path
from anabranch.specs.models import InferenceGraph

REPORT_FILE = "IMPORT.md"


def files_of(graphs: Sequence[ImportedGraph]) -> dict[str, str]:
    """Return the files of an import by their path below its folder, ``IMPORT.md`` among them.

    Raise SpecError for a graph that the language has no place for.
    """
    found: dict[str, str] = {}
    for graph in graphs:
        prefix = f"{graph.folder}/" if graph.folder else ""
        written = to_yaml(_validated(graph, graph_file(graph.folder)))
        for path, text in {GRAPH_FILE: written, **graph.files}.items():
            if prefix + path in found:
                raise ValueError(f"{prefix + path} is written twice")
            found[prefix + path] = text
    return {**found, REPORT_FILE: report(graphs)}


def _validated(graph: ImportedGraph, path: str) -> InferenceGraph:
    """Return a graph as a model; SpecError for what the language has no place for."""
    try:
        return InferenceGraph.model_validate(graph.spec)
    except ValidationError as error:
        raise SpecError(
            Problem(safe_path(one["loc"]), one["msg"], file=f"imported {path}")
            for one in error.errors()
        ) from None


def check_files(files: Mapping[str, str]) -> None:
    """Raise SpecError where a graph among the files of an import does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        problems: list[Problem] = []
        for path in files:
            if Path(path).name == GRAPH_FILE:
                try:
                    open_graph(Path(folder) / path)
                except SpecError as error:
                    problems += [replace(one, file=f"imported {path}") for one in error.problems]
        if problems:
            raise SpecError(problems)
