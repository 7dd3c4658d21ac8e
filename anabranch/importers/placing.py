"""Folders of imported graphs: of their own where several graphs come of one import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anabranch.errors import Problem, SpecError
from anabranch.importers.result import ImportedGraph, graph_file


def placed(graphs: Sequence[ImportedGraph]) -> list[ImportedGraph]:
    """Return graphs that have a folder each: below their names, where two want the same.

    Raise SpecError for two graphs of one name and one folder.
    """
    if _again(graphs):
        graphs = [_below(graph, graph.name) for graph in graphs]
    again = _again(graphs)
    if again:
        raise SpecError(map(_repeated, again))
    return list(graphs)


def _again(graphs: Sequence[ImportedGraph]) -> list[ImportedGraph]:
    """Return the graphs whose folder an earlier one has."""
    first = {graph.folder: graph for graph in reversed(graphs)}
    return [graph for graph in graphs if first[graph.folder] is not graph]


def _repeated(graph: ImportedGraph) -> Problem:
    """Return the mistake of a graph that another has the name of, at its place in the source."""
    said = f"{graph.source}: another manifest gives the graph {graph.name}; import one of the two"
    place = next((note for note in graph.notes if note.position is not None), None)
    if place is None:
        return Problem((), said)
    return Problem((), said, place.position, place.file)


def _below(graph: ImportedGraph, folder: str) -> ImportedGraph:
    """Return a graph in a folder further below, with the commands that name its file."""
    before = graph_file(graph.folder)
    inner = f"{folder}/{graph.folder}" if graph.folder else folder
    steps = [
        " ".join(graph_file(inner) if word == before else word for word in step.split(" "))
        for step in graph.steps
    ]
    return replace(graph, folder=inner, steps=steps)
