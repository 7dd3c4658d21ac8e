"""The shared models of an engine, and the graphs that use them.

A model is used by every revision of a graph that refers to it, and is up or on its way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from anabranch.access.identity import Identity
from anabranch.control.lifecycle.operations import GONE, Situation
from anabranch.control.store.store import Store
from anabranch.control.traffic.tables import Catalogue, first
from anabranch.errors import InvalidRequest, NotFound
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.specs.excerpts import hint
from anabranch.specs.shared.reference import SharedReference


@dataclass(frozen=True, order=True)
class ModelUser:
    """A revision of a graph, and the reference by which it uses a shared model."""

    graph: str
    revision: int
    reference: SharedReference

    def __str__(self) -> str:
        pin = "" if self.reference.revision is None else f", which holds {self.reference}"
        return f"{self.graph} (revision {self.revision}{pin})"


def hidden_users(users: Iterable[ModelUser], may_view: Callable[[str], bool]) -> int:
    """Return how many graphs of these users somebody may not view."""
    return len({one.graph for one in users if not may_view(one.graph)})


class SharedModels:
    """Who uses which model. Safe to use from several threads."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def names(self) -> list[str]:
        """Return the names of all shared models."""
        return [now.graph for now in self._present() if self.kind(now)]

    def is_model(self, now: Situation) -> bool:
        """Return whether what has this situation is a shared model."""
        return now.state not in GONE and bool(self.kind(now))

    def kind(self, now: Situation) -> bool | None:
        """Return whether the revisions of this situation are a model's; None if there are none."""
        number = max(now.members, default=None)
        outline = None if number is None else self._catalogue.of(now.graph)(number)
        return None if outline is None else outline.is_model

    def signature(self, model: SharedReference) -> Signature:
        """Return the signature by which graphs use a model.

        It is that of the stable revision, unless the reference names one. NotFound where the model
        or the revision does not run, InvalidRequest for the name of a graph.
        """
        now = next((one for one in self._present() if one.graph == model.name), None)
        if now is None:
            names = self.names()
            there = hint(model.name, names) if names else "; none is deployed"
            raise NotFound(f"there is no shared model {model.name!r}{there}")
        if not self.kind(now):
            raise InvalidRequest(
                f"{model.name!r} is an inference graph, not a shared model (kind: Model)"
            )
        if now.state == "unloaded":
            raise NotFound(
                f"shared model {model.name!r} is unloaded; load it by POST "
                f"/control/v1/graphs/{model.name}/load"
            )
        number = _number(now, model)
        outline = None if number is None else self._catalogue.of(model.name)(number)
        if outline is None:
            raise NotFound(f"shared model {model.name!r} has no revision that runs")
        return outline.signature

    def arms(self, model: SharedReference) -> Mapping[int, Signature]:
        """Return the revisions to which calls by a reference come by weight, with signatures."""
        if model.revision is not None:
            return {}
        find = self._catalogue.of(model.name)
        arms = self._store.situation(model.name).situation.weights
        return {number: one.signature for number in sorted(arms) if (one := find(number))}

    def users(self, model: str) -> list[ModelUser]:
        """Return who uses a model, in the order of their names."""
        return sorted(one for one in self._users() if one.reference.name == model)

    def used_by(self, now: Situation) -> frozenset[SharedReference]:
        """Return the models that a graph uses, by any revision that is up or on its way."""
        find = self._catalogue.of(now.graph)
        found = (find(number) for number in now.members)
        return frozenset[SharedReference]().union(*(one.models for one in found if one is not None))

    def pinned(self) -> Mapping[str, frozenset[int]]:
        """Return the revisions of models that graphs name, and that must stay up."""
        found: dict[str, set[int]] = defaultdict(set)
        for user in self._users():
            if user.reference.revision is not None:
                found[user.reference.name].add(user.reference.revision)
        return {model: frozenset(numbers) for model, numbers in found.items()}

    def check_caller(self, plan: Plan, identity: Identity) -> None:
        """Raise Forbidden or Unauthenticated where who deploys a plan may not call its models."""
        for model in sorted(plan.models):
            if not identity.may("call", model.name):
                raise identity.refusal("call", model.name)

    def _users(self) -> Iterator[ModelUser]:
        for now in self._present():
            for number in sorted(now.members):
                outline = self._catalogue.of(now.graph)(number)
                for reference in () if outline is None else outline.models:
                    yield ModelUser(now.graph, number, reference)

    def _present(self) -> Iterable[Situation]:
        found = (stored.situation for stored in self._store.situations())
        return (now for now in found if now.state not in GONE)


def _number(now: Situation, model: SharedReference) -> int | None:
    """Return the revision that a reference means; NotFound for one that is not up."""
    if model.revision is None:
        return first(now) if now.stable is None else now.stable
    if model.revision not in now.up:
        there = ", ".join(map(str, sorted(now.up))) or "none"
        raise NotFound(
            f"shared model {now.graph!r} has no revision {model.revision} that is up (there are: "
            f"{there}); name one of these, or none"
        )
    return model.revision
