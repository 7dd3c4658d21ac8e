"""Pass: classes and models that nodes and monitors need are in the folder of the spec, and fit.

Nothing of a user's is run: what the source of a component leaves open is taken for right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from anabranch.components.artefacts.paths import check_in_bundle
from anabranch.components.contract import CannotLoad
from anabranch.components.fitting import component_problems
from anabranch.components.source.outline import outline, why_open
from anabranch.errors import AnabranchError, ArtefactError, Mistake, Problem
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.compile.monitors import monitor_path, parameter_of
from anabranch.monitors import user_monitors
from anabranch.specs.models import NodeBase, Predictor
from anabranch.specs.shared.reference import shared_reference


def check_bundled(draft: Draft, root: Path) -> Draft:
    """Refuse components and models that are not in the folder ``root``, or do not fit their node.

    Nodes that will not run may lack theirs, unless the spec has mistakes anyway.
    """
    nodes = draft.source.nodes if draft.problems else {n: p.spec for n, p in draft.nodes.items()}
    found = [
        (node_path(name, *path), message)
        for name, node in nodes.items()
        for path, message in (*component_problems(node, root), *_artefacts(node, root))
    ]
    found += [
        (monitor_path(name, *path), message)
        for name, monitor in draft.monitors.items()
        if monitor.spec.component is not None
        for path, message in user_monitors.component_problems(
            monitor.spec, [parameter_of(source) for source in monitor.watches], root
        )
    ]
    return draft.with_problems(found)


def note_unchecked(draft: Draft, root: Path) -> Draft:
    """Note in ``unchecked`` which components and shared models cannot be looked at here."""
    nodes = {name: node.spec for name, node in draft.nodes.items()}
    unchecked = [Problem(path, reason) for path, reason in _unchecked(draft, nodes, root)]
    return replace(draft, unchecked=(*draft.unchecked, *unchecked))


def _unchecked(draft: Draft, nodes: Mapping[str, NodeBase], root: Path) -> Iterator[Mistake]:
    """Yield the fields whose component or shared model cannot be looked at here, and why."""
    components = [(node_path(name, "component"), node.component) for name, node in nodes.items()]
    components += [
        (monitor_path(name, "component"), monitor.spec.component)
        for name, monitor in draft.monitors.items()
    ]
    for path, component in components:
        with suppress(CannotLoad):  # a mistake, which is told as such
            if component is not None and outline(component, root) is None:
                yield path, why_open(component, root)
    for name, node in nodes.items():
        reference = shared_reference(node)
        with suppress(AnabranchError):  # likewise
            if reference and draft.models and draft.models.signature(reference) is None:
                lacks = "its revisions" if reference.revision else "it: no valid document is here"
                yield node_path(name, "model"), f"only an engine knows {lacks}"


def named_files(draft: Draft) -> Iterator[Mistake]:
    """Yield the files and folders of the bundle that nodes and monitors name, each with its field.

    Only fields that hold nothing but paths: arguments of components are texts of any meaning.
    """
    for name, node in draft.source.nodes.items():
        if (file := _file_of(node.component)) is not None:
            yield node_path(name, "component"), file
        for field, place in _places(node):
            yield node_path(name, field), place
    for name, monitor in draft.source.monitors.items():
        if (file := _file_of(monitor.component)) is not None:
            yield monitor_path(name, "component"), file
        if monitor.reference is not None and monitor.reference.data is not None:
            yield monitor_path(name, "reference", "data"), monitor.reference.data


def _file_of(component: str | None) -> str | None:
    place, _, _ = (component or "").rpartition(":")
    return place if place.endswith(".py") else None


def _places(node: NodeBase) -> Iterator[tuple[str, str]]:
    """Yield the fields of a built-in that hold a path or URI; of many models there is none yet, and
    a shared model has its own.
    """
    if node.component is not None or (isinstance(node, Predictor) and node.multiplex is not None):
        return
    if shared_reference(node) is not None:
        return
    for field in ("model", "data"):
        place: str | None = getattr(node, field, None)
        if place is not None:
            yield field, place


def _artefacts(node: NodeBase, root: Path) -> Iterator[Mistake]:
    for field, place in _places(node):
        digest = getattr(node, "sha256", None) if field == "model" else None
        try:
            check_in_bundle(field, place, digest, root)
        except ArtefactError as error:
            yield (field,), str(error)
