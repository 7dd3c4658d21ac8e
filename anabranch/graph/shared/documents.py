"""Documents of shared models beside a spec, where graphs are run without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anabranch.errors import InvalidRequest, SpecError
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.plan.plan import Signature
from anabranch.specs.excerpts import hint
from anabranch.specs.loader import read
from anabranch.specs.shared.document import is_model
from anabranch.specs.shared.reference import SharedReference
from anabranch.specs.unvalidated import as_map

_SUFFIXES = frozenset({".yaml", ".yml"})


def open_model(name: str, root: Path) -> Loaded:
    """Compile the document of a shared model in the folder ``root``.

    Raise InvalidRequest where none has that name, and SpecError with all mistakes in the document.
    """
    found = _documents(root)
    if name not in found:
        there = hint(name, sorted(found)) if found else "; there are none"
        raise InvalidRequest(
            f"shared model {name!r} has no document (kind: Model) in {root}{there}: without an "
            "engine, a graph needs it beside its spec"
        )
    return open_graph(found[name])


class DocumentedModels:
    """The shared models with documents in a folder, as graphs are compiled: a ``KnownModels``.

    Nothing is known of others, of a fixed revision, and where the document has mistakes, which are
    told of the document itself.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def signature(self, model: SharedReference) -> Signature | None:
        """Return the signature of a model by its document."""
        document = None if model.revision is not None else _documents(self._root).get(model.name)
        try:
            return None if document is None else open_graph(document).plan.signature
        except SpecError:
            return None


def _documents(root: Path) -> Mapping[str, Path]:
    """Return the documents in a folder by the names of their models."""
    files = sorted(file for file in root.iterdir() if file.suffix in _SUFFIXES)
    named = ((_name(file), file) for file in files)
    return {name: file for name, file in named if name is not None}


def _name(file: Path) -> str | None:
    """Return the name of the model that a file documents; None where it is of something else."""
    try:
        data = read(file).data
    except SpecError:
        return None
    name = as_map(as_map(data).get("metadata")).get("name")
    return name if is_model(data) and isinstance(name, str) else None
