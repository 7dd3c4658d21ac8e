"""What an import makes: graphs, the files beside them, and notes on every field of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from anabranch.errors import FieldPath, Position
from anabranch.importers.manifests import Manifest
from anabranch.specs.excerpts import safe_path

GRAPH_FILE = "graph.yaml"


def graph_file(folder: str) -> str:
    """Return the path of the graph in a folder; ``folder`` is empty for that of the import."""
    return f"{folder}/{GRAPH_FILE}" if folder else GRAPH_FILE


class Taken(StrEnum):
    """How much of a field of the source an import has taken over."""

    SAME = "same"
    """Taken over under the same or a like name."""
    REWORDED = "reworded"
    """Means the same by other words of the language."""
    LEFT_OUT = "left out"
    """Not taken over; the note says why. ``import --check`` fails for it."""
    TO_DO = "to do"
    """Something that the user must still do. ``import --check`` fails for it."""


@dataclass(frozen=True)
class FieldNote:
    """One line of ``IMPORT.md``: a field of the source, and its place in the graph."""

    taken: Taken
    path: FieldPath
    """The field in the source; safe to print."""
    text: str
    file: str = ""
    position: Position | None = None


@dataclass
class Notes:
    """Notes on one manifest, in the order in which they are added."""

    manifest: Manifest
    found: list[FieldNote] = field(default_factory=list)

    def same(self, path: FieldPath, text: str) -> None:
        """Note a field that was taken over."""
        self.add(Taken.SAME, path, text)

    def reworded(self, path: FieldPath, text: str) -> None:
        """Note a field that has other words in the graph."""
        self.add(Taken.REWORDED, path, text)

    def left_out(self, path: FieldPath, reason: str) -> None:
        """Note a field that was left out, with the reason."""
        self.add(Taken.LEFT_OUT, path, reason)

    def to_do(self, path: FieldPath, text: str) -> None:
        """Note what the user must still do."""
        self.add(Taken.TO_DO, path, text)

    def add(self, taken: Taken, path: FieldPath, text: str) -> None:
        """Note a field, unless there is this note already."""
        where = self.manifest.position(path)
        shown = safe_path((*self.manifest.path, *path))
        note = FieldNote(taken, shown, text, self.manifest.document.file, where)
        if note not in self.found:
            self.found.append(note)


def document(
    name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the whole document of a graph."""
    metadata = {"name": name} | ({"labels": labels} if labels else {})
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": metadata,
        "spec": spec,
    }


@dataclass(frozen=True)
class ImportedGraph:
    """One graph that an import makes, or one further revision of a graph.

    ``folder`` is its place below the folder of the import: empty for the only graph of a source,
    else unique among the results. ``files`` are texts by path below that folder, such as
    ``components.py``; ``graph.yaml`` is made of ``spec``.
    """

    spec: Mapping[str, Any]
    """The whole document as plain data: ``apiVersion``, ``kind``, ``metadata``, ``spec``."""
    source: str
    """Kind and name of the source, such as ``SeldonDeployment iris``."""
    folder: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[FieldNote] = ()
    steps: Sequence[str] = ()
    """Commands that bring the result into service, in order: ``anabranch deploy graph.yaml``."""

    @property
    def name(self) -> str:
        """Name of the graph."""
        return str(self.spec["metadata"]["name"])
