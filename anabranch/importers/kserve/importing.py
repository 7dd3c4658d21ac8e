"""From manifests of KServe to graphs: all of them together, for they refer to each other."""

from __future__ import annotations

from collections.abc import Sequence

from anabranch.errors import Problem, SpecError
from anabranch.importers.fields import Source
from anabranch.importers.kserve.addresses import addresses
from anabranch.importers.kserve.graphs.importing import import_graph
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import ImportedGraph

GROUP = "serving.kserve.io"


def import_kserve(manifests: Sequence[Manifest]) -> list[ImportedGraph]:
    """Return the graphs of manifests of KServe; raise SpecError with all mistakes in them."""
    problems: list[Problem] = []
    found: list[ImportedGraph] = []
    known = addresses(manifests)
    for manifest in manifests:
        if manifest.kind == "InferenceGraph":
            source = Source.of(manifest)
            graph = import_graph(source, known)
            problems += source.problems
            found += [graph] if graph is not None else []
    if problems:
        raise SpecError(problems)
    return found
