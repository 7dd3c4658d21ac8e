"""Imports of manifests that are given as data, and what runs of them answer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from anabranch.importers.result import GRAPH_FILE, ImportedGraph
from anabranch.importers.writing import check_files, files_of


def imported(*manifests: Mapping[str, Any]) -> list[ImportedGraph]:
    """Import manifests; check that the graphs compile."""
    text = "\n---\n".join(json.dumps(one) for one in manifests)
    graphs = import_source(Path("-"), text.encode())
    check_files(files_of(graphs))
    return graphs


def mistakes(*manifests: Mapping[str, Any]) -> list[str]:
    """Return the mistakes of manifests as ``path: message``, without positions."""
    try:
        imported(*manifests)
    except SpecError as error:
        return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in error.problems]
    return []


def inference_graph(nodes: Any, name: str = "g", **spec: Any) -> dict[str, Any]:
    """Return the manifest of an InferenceGraph."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {"nodes": nodes, **spec},
    }


def node(kind: str, *steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node of an InferenceGraph."""
    return {"routerType": kind, "steps": list(steps)}


def notes_of(graph: ImportedGraph) -> dict[str, tuple[str, str]]:
    """Return the notes on a graph: how much was taken over, and the text, by field."""
    return {".".join(map(str, one.path)): (str(one.taken), one.text) for one in graph.notes}


@contextmanager
def running(graphs: Sequence[ImportedGraph]) -> Iterator[Graph]:
    """Load the only graph of an import from its files."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files_of(graphs).items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (only,) = Path(folder).rglob(GRAPH_FILE)
        with Graph.load(only) as graph:
            yield graph
