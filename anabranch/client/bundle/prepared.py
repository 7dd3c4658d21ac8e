"""Checks a graph, and packs it with the files beside it, ready to be sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anabranch.client.bundle.checks import bundle_passes, named_paths, open_complete
from anabranch.client.bundle.packing import Bundle, max_bytes, pack
from anabranch.client.bundle.report import bundle_warnings
from anabranch.client.bundle.signing import signed
from anabranch.graph.builder import GraphBuilder
from anabranch.graph.compile.loading import Loaded

BUILT = "graph.built.yaml"
"""Name in the bundle of the spec of a graph that was built in Python."""


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle of a graph that has no mistakes; ``folder`` is where its files were."""

    graph: str
    bundle: Bundle
    warnings: Sequence[str]
    folder: Path

    def signed(self, key: str | os.PathLike[str] | None) -> PreparedBundle:
        """Return the bundle signed by the private key in a file, or as it is without one.

        Raise InvalidRequest where there is no such key.
        """
        return self if key is None else replace(self, bundle=signed(self.bundle, Path(key)))


def prepare(graph: GraphBuilder | str | os.PathLike[str], home: Path) -> PreparedBundle:
    """Check and pack a graph: one built in Python with its root, or a spec's file with its folder.

    ``home`` is that of the engine, which no bundle holds. Raise SpecError with all mistakes,
    TooLarge, or InvalidRequest where the folder is the home of an engine.
    """
    if isinstance(graph, GraphBuilder):
        return _built(graph, home)
    return prepare_file(Path(graph), home)


def prepare_file(file: Path, home: Path) -> PreparedBundle:
    """Check and pack the spec in a file, with its folder; raise as ``prepare`` does."""
    loaded = open_complete(file, home)
    return _prepared(loaded, file.name, pack(file, max_bytes(), home))


def _built(graph: GraphBuilder, home: Path) -> PreparedBundle:
    loaded = graph.compiled(bundle_passes(graph.root, home))
    bundle = pack(graph.root / BUILT, max_bytes(), home, graph.to_yaml())
    return _prepared(loaded, BUILT, bundle)


def _prepared(loaded: Loaded, spec: str, bundle: Bundle) -> PreparedBundle:
    warnings = tuple(bundle_warnings(bundle, [spec, *named_paths(loaded)]))
    return PreparedBundle(loaded.graph.name, bundle, warnings, loaded.root)
