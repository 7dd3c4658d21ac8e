"""Checks a graph and packs it with the files beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from anabranch.client.bundle.checks import bundle_passes, named_paths, open_complete
from anabranch.client.bundle.packing import Bundle, max_bytes, pack
from anabranch.client.bundle.report import bundle_warnings
from anabranch.errors import InvalidRequest
from anabranch.graph.builder import GraphBuilder
from anabranch.graph.compile.loading import Loaded

BUILT = "graph.built.yaml"
"""Name in the bundle of the spec of a graph that was built in Python."""


@dataclass(frozen=True)
class PackedGraph:
    """A graph without mistakes, and its bundle; ``spec`` is the spec's path there."""

    loaded: Loaded
    spec: str
    bundle: Bundle

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is surprising in the bundle."""
        named = [self.spec, *named_paths(self.loaded)]
        return tuple(bundle_warnings(self.bundle, named))


def pack_graph(graph: GraphBuilder | str | os.PathLike[str], home: Path) -> PackedGraph:
    """Check and pack a graph: one built in Python with its root, or a spec's file with its folder.

    ``home`` is that of the engine, which no bundle holds. Raise SpecError with all mistakes,
    TooLarge, or InvalidRequest where the folder is the home of an engine, or the graph was opened
    from the document of a shared model.
    """
    if isinstance(graph, GraphBuilder):
        if graph.is_model:
            raise InvalidRequest(
                "this graph stands for a shared model: deploy the model's document"
            )
        loaded = graph.compiled(bundle_passes(graph.root, home))
        bundle = pack(graph.root / BUILT, max_bytes(), home, graph.to_yaml())
        return PackedGraph(loaded, BUILT, bundle)
    file = Path(graph)
    loaded = open_complete(file, home)
    return PackedGraph(loaded, file.name, pack(file, max_bytes(), home))
