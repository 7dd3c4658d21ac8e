"""Writes ``IMPORT.md``: every field of the source, and its place in the graphs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from anabranch.importers.result import FieldNote, ImportedGraph, Taken, graph_file

_HEADINGS = {
    Taken.TO_DO: "Still to do",
    Taken.LEFT_OUT: "Left out",
    Taken.REWORDED: "The same by other words",
    Taken.SAME: "Taken over",
}
"""Sections of a graph, those that need a person first."""


def report(graphs: Sequence[ImportedGraph]) -> str:
    """Return the text of ``IMPORT.md`` for the results of an import."""
    lines = ["# Import", ""]
    for graph in graphs:
        lines += _section(graph)
    return "\n".join(lines)


def unmet(graphs: Iterable[ImportedGraph]) -> list[str]:
    """Return a line for each note on what was left out or is still to do."""
    return [
        f"{_place(note)}: {_text(note)} ({note.taken})"
        for graph in graphs
        for note in sorted(graph.notes, key=_line)
        if note.taken in (Taken.LEFT_OUT, Taken.TO_DO)
    ]


def _section(graph: ImportedGraph) -> Iterator[str]:
    file = graph_file(graph.folder)
    yield f"## {graph.source}"
    yield ""
    yield f"Graph `{graph.name}` in [{file}]({file})."
    yield ""
    others = {note.file for note in graph.notes} - {graph.notes[0].file if graph.notes else ""}
    for taken, heading in _HEADINGS.items():
        notes = sorted((note for note in graph.notes if note.taken is taken), key=_line)
        if notes:
            yield f"### {heading}"
            yield ""
            yield from (f"- {_field(note, others)}{note.text}" for note in notes)
            yield ""
    if graph.steps:
        yield "### Into service"
        yield ""
        yield "```console"
        yield from (f"$ {step}" for step in graph.steps)
        yield "```"
        yield ""


def _line(note: FieldNote) -> tuple[str, int, int]:
    """Return the place of a note, by which notes are in the order of the source."""
    where = note.position
    return (note.file, where.line, where.column) if where else (note.file, 0, 0)


def _field(note: FieldNote, others: Container[str]) -> str:
    """Return the field of a note and its line, and its file, if that is among ``others``."""
    path = ".".join(map(str, note.path))
    line = f"line {note.position.line}" if note.position else ""
    short = "/".join(PurePosixPath(note.file).parts[-2:])
    file = f"`{short}`" if note.file in others else ""
    place = ", ".join(part for part in (file, line) if part)
    return f"`{path}`{f' ({place})' if place else ''}: " if path else ""


def _place(note: FieldNote) -> str:
    where = f"{note.position.line}:{note.position.column}" if note.position else ""
    return ":".join(part for part in (note.file, where) if part)


def _text(note: FieldNote) -> str:
    path = ".".join(map(str, note.path))
    return f"{path}: {note.text}" if path else note.text
