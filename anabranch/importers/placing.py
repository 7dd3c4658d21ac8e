"""Folders of imported graphs: of their own where several graphs come of one import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from anabranch.errors import Problem, SpecError
from anabranch.importers.report import GRAPH_FILE
from anabranch.importers.result import ImportedGraph


def placed(graphs: Sequence[ImportedGraph]) -> list[ImportedGraph]:
    """Return graphs that have a folder each: below their names, where two want the same.

    Raise SpecError for two graphs of one name and one folder.
    """
    if _twice(graphs):
        graphs = [_below(graph, graph.name) for graph in graphs]
    again = _twice(graphs)
    if again:
        said = "; ".join(f"{graph.source}: the graph {graph.name} comes twice" for graph in again)
        raise SpecError([Problem((), said)])
    return list(graphs)


def _twice(graphs: Sequence[ImportedGraph]) -> list[ImportedGraph]:
    counts = Counter(graph.folder for graph in graphs)
    return [graph for graph in graphs if counts[graph.folder] > 1]


def _below(graph: ImportedGraph, folder: str) -> ImportedGraph:
    """Return a graph in a folder further below, with the commands that name its file."""
    before = _file(graph.folder)
    inner = f"{folder}/{graph.folder}" if graph.folder else folder
    steps = [
        " ".join(_file(inner) if word == before else word for word in step.split(" "))
        for step in graph.steps
    ]
    return replace(graph, folder=inner, steps=steps)


def _file(folder: str) -> str:
    return f"{folder}/{GRAPH_FILE}" if folder else GRAPH_FILE
