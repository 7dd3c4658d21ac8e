"""Pass: refuse models that are larger than the memory of the process that would load them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anabranch.components.artefacts.bundled import bundled
from anabranch.components.artefacts.uris import is_archive, is_uri, redacted, split
from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import inside
from anabranch.errors import ArtefactError, Mistake
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.plan.plan import Segment
from anabranch.specs.excerpts import listing
from anabranch.specs.models import NodeBase, Predictor
from anabranch.specs.units import Size


def check_model_sizes(draft: Draft, root: Path) -> Draft:
    """Refuse segments whose model files are larger together than their ``resources.memory``.

    Counts single files, in the folder ``root`` of the spec or brought along by a portable bundle:
    how much of a folder or an archive is loaded is not known. Models on GPUs pass through memory
    in parts, so nodes with ``gpu`` are left out.
    """
    return draft.with_problems(
        found for segment in draft.segments for found in _oversized(draft, segment, root)
    )


def _oversized(draft: Draft, segment: Segment, root: Path) -> Iterator[Mistake]:
    memory = None if segment.resources is None else segment.resources.memory
    if memory is None:
        return
    specs = {name: draft.nodes[name].spec for name in segment.nodes}
    sizes = {name: size for name, spec in specs.items() if (size := _size(spec, root)) is not None}
    total = sum(sizes.values())
    if total <= memory:
        return
    owner = next(name for name, one in specs.items() if one.resources and one.resources.memory)
    models = listing(redacted(str(getattr(specs[name], "model", None))) for name in sizes)
    whose = f"{owner!r}" if len(specs) == 1 else f"the process of {listing(specs)}"
    yield (
        node_path(owner, "resources", "memory"),
        f"{models} {'has' if len(sizes) == 1 else 'have'} {_in_mib(total)}, more than the {memory} "
        f"that {whose} may take: a model takes at least its file's size, and more when it is used",
    )


def _in_mib(size: int) -> str:
    return f"{size / 2**20:.1f}MiB" if size >= 2**20 else str(Size(size))


def _size(node: NodeBase, root: Path) -> int | None:
    """Return the bytes of a node's model file; None where there is none, or it is not known."""
    if not isinstance(node, Predictor) or node.model is None or node.multiplex is not None:
        return None
    if node.resources is not None and node.resources.gpu:
        return None
    try:
        return _brought(node.model, root) if is_uri(node.model) else _bundled(node.model, root)
    except (ArtefactError, CannotLoad, OSError):  # other checks say what is wrong with it
        return None


def _bundled(model: str, root: Path) -> int | None:
    path = inside(model, root, folders=True)
    return None if path.is_dir() or is_archive(path.name) else path.stat().st_size


def _brought(uri: str, root: Path) -> int | None:
    found = bundled(uri, root)
    if found is None or found.folder or found.is_packed or split(uri)[1]:
        return None
    return found.size
