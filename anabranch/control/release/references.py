"""References to models that may move, as they stand at a deploy.

Those are MLflow's aliases and stages, such as ``models:/m@champion``, and files by URI that a node
watches. A revision keeps what each of them meant, and its replicas load just that, also after a
restart, after a rollback, and when the reference has moved on.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from anabranch.components.artefacts.paths import check_code, check_trust
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.uris import is_movable, redacted, split
from anabranch.components.registry import may_run_code, needs_trust
from anabranch.errors import ArtefactError, InvalidRequest, Unavailable
from anabranch.specs.models import InferenceGraph, NodeBase

_FIELDS = ("model", "data")


def check(graph: InferenceGraph, settings: ArtefactSettings, brought: Container[str] = ()) -> None:
    """InvalidRequest for a model that could run code, where the engine's operator takes none.

    None at all, or none from that tracking server, but for URIs that the bundle has ``brought``.
    """
    for name, node in graph.spec.nodes.items():
        model = str(getattr(node, "model", ""))
        try:
            if may_run_code(node):
                check_code(model, settings)
            if needs_trust(node) and split(model)[0] not in brought:
                check_trust(model, settings)
        except ArtefactError as error:
            raise InvalidRequest(f"node {name!r}: {error}") from None


def pins(
    graph: InferenceGraph, settings: ArtefactSettings, brought: Container[str] = ()
) -> dict[str, str]:
    """Return the pin of what every movable reference of a graph means now.

    For example ``{"models:/m@champion": "models:/m/3"}``, see ``artefacts.pins``; without those
    that the bundle has ``brought`` along. Raises InvalidRequest where the place of a model does
    not know a reference, Unavailable where it does not answer.
    """
    found: dict[str, str] = {}
    for node, reference in _movable(graph):
        if reference not in found and reference not in brought:
            found[reference] = _resolved(node, reference, settings)
    return found


def watched_reference(node: NodeBase) -> str | None:
    """Return the reference that a node watches; None where it watches none."""
    return split(getattr(node, "model", ""))[0] if getattr(node, "watch", False) else None


def _movable(graph: InferenceGraph) -> Iterator[tuple[str, str]]:
    """Each node's name with a movable reference in it; those with a part to fill in cannot be."""
    for name, node in graph.spec.nodes.items():
        watched = watched_reference(node)
        if watched is not None:
            yield name, watched
        for field in _FIELDS:
            reference = split(getattr(node, field, None) or "")[0]
            if is_movable(reference) and getattr(node, "multiplex", None) is None:
                yield name, reference


def _resolved(node: str, reference: str, settings: ArtefactSettings) -> str:
    # Here, for they take an HTTP client that most deploys never need.
    from anabranch.components.artefacts.pins import pin_now
    from anabranch.components.artefacts.sources import TransferInterrupted

    try:
        return pin_now(reference, settings)
    except ArtefactError as error:
        raise InvalidRequest(f"node {node!r}: model {redacted(reference)!r}: {error}") from None
    except TransferInterrupted as error:
        raise Unavailable(f"node {node!r}: model {redacted(reference)!r}: {error}") from None
