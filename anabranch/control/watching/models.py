"""The models that revisions watch, as their specs say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anabranch.control.release.references import watched_reference
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Store
from anabranch.errors import SpecError
from anabranch.specs.models import InferenceGraph, ModelWatch, NodeBase

EVERY_S = 30.0
"""Time between two looks at a model unless its spec says otherwise, in seconds."""


@dataclass(frozen=True)
class WatchedReference:
    """The nodes that watch a reference, and the time between two looks in seconds."""

    nodes: tuple[str, ...]
    every: float


@dataclass(frozen=True)
class WatchingRevision:
    """A revision as far as watches go; none of it ever changes."""

    graph: str
    number: int
    digest: str
    pins: Mapping[str, str]
    models: Mapping[str, WatchedReference]
    """By reference; without what a portable bundle has brought along, which never moves."""


@dataclass(frozen=True)
class WatchingGraph:
    """A graph that watches models."""

    base: WatchingRevision
    """The revision that it goes on from."""
    stable: WatchingRevision | None
    seen: Mapping[str, str]


def watched_references(graph: InferenceGraph) -> dict[str, WatchedReference]:
    """Return what a graph watches, by reference; of several nodes the shortest time counts."""
    found: dict[str, WatchedReference] = {}
    for name, node in graph.spec.nodes.items():
        reference = watched_reference(node)
        if reference is not None:
            other = found.get(reference, WatchedReference((), _every(node)))
            found[reference] = WatchedReference(
                (*other.nodes, name), min(other.every, _every(node))
            )
    return found


def _every(node: NodeBase) -> float:
    watch = getattr(node, "watch", False)
    return watch.every.seconds if isinstance(watch, ModelWatch) and watch.every else EVERY_S


class WatchingRevisions:
    """Reads revisions from the store, each once."""

    def __init__(self, store: Store, releases: Releases) -> None:
        self._store = store
        self._releases = releases
        self._known: dict[tuple[str, int], WatchingRevision] = {}

    def of(self, graph: str, number: int) -> WatchingRevision:
        """Return a revision; NotFound if it is not on record. Blocks where it is new."""
        key = (graph, number)
        if key not in self._known:
            self._known[key] = self._read(graph, number)
        return self._known[key]

    def keep(self, graphs: Collection[str]) -> None:
        """Forget the revisions of all other graphs."""
        for key in [key for key in self._known if key[0] not in graphs]:
            self._known.pop(key, None)

    def _read(self, graph: str, number: int) -> WatchingRevision:
        revision = self._store.revision(graph, number)
        try:
            watched = watched_references(self._releases.loaded(revision).graph)
            models = {name: one for name, one in watched.items() if name in revision.pins}
        except SpecError:  # of a version of the language that is read no more
            models = {}
        return WatchingRevision(graph, number, revision.digest, revision.pins, models)
