"""The shared models of an engine, and the graphs that use them.

A model is used by every revision of a graph that refers to it, and is up or on its way.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from anabranch.access.identity import Identity
from anabranch.control.lifecycle.operations import GONE, Situation
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Store
from anabranch.control.traffic.tables import Catalogue, Outline, first
from anabranch.errors import Conflict, InvalidRequest, NotFound, SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.shared.reference import SharedReference

KINDS = {False: "an inference graph", True: "a shared model"}


@dataclass(frozen=True, order=True)
class ModelUser:
    """A revision of a graph, and the reference by which it uses a shared model."""

    graph: str
    revision: int
    reference: SharedReference

    def __str__(self) -> str:
        pin = "" if self.reference.revision is None else f", which holds {self.reference}"
        return f"{self.graph} (revision {self.revision}{pin})"


class SharedModels:
    """Who uses which model. Safe to use from several threads."""

    def __init__(self, store: Store, catalogue: Catalogue, releases: Releases) -> None:
        self._store = store
        self._catalogue = catalogue
        self._releases = releases
        self._changing = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody change the use of models, or what may be used; taken after all other locks."""
        with self._changing:
            yield

    def names(self) -> list[str]:
        """Return the names of all shared models."""
        return [now.graph for now in self._present() if self._is_model(now)]

    def is_model(self, now: Situation) -> bool:
        """Return whether what has this situation is a shared model."""
        return now.state not in GONE and self._is_model(now)

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
        if not self._is_model(now):
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

    @contextmanager
    def deploying(self, graph: str, plan: Plan, identity: Identity) -> Iterator[None]:
        """Hold the models that a graph uses until its revision, a former one maybe, is to run.

        Raises what ``signature`` raises, and Conflict where a graph would become a model, or a
        model come to differ from what its users expect: it names those that the identity may view.
        """
        with self._changing:
            for model in sorted(plan.models):
                self.signature(model)
            self._check_kind(graph, plan)
            if plan.is_model:
                self._check_users(graph, plan.signature, identity)
            yield

    @contextmanager
    def unused(self, graph: str, action: str, identity: Identity) -> Iterator[None]:
        """Hold off users while something is taken away; Conflict where there are some.

        It names those that who asks may view, and counts the others.
        """
        with self._changing:
            users = [user for user in self.users(graph) if user.graph != graph]
            if users:
                told = listing(_told({user: str(user) for user in users}, identity))
                raise Conflict(
                    f"shared model {graph!r} cannot be {action}: it is used by {told}; delete "
                    "these graphs, or deploy them without it"
                )
            yield

    def _check_kind(self, graph: str, plan: Plan) -> None:
        now = next((one for one in self._present() if one.graph == graph), None)
        known = None if now is None else self._newest(now)
        if known is not None and known.is_model != plan.is_model:
            raise Conflict(
                f"{graph!r} is {KINDS[known.is_model]} already, and cannot become "
                f"{KINDS[plan.is_model]}; choose another name, or delete it first"
            )

    def _check_users(self, model: str, signature: Signature, identity: Identity) -> None:
        """Raise Conflict where graphs do not fit a new revision that they would come to use."""
        known = _Changed(self, model, signature)
        unfit = {
            user: f"{user}: {problem}"
            for user in self.users(model)
            if user.reference.revision is None and (problem := self._problem(user, known))
        }
        if unfit:
            raise Conflict(
                f"graphs that use shared model {model!r} do not fit the new revision: "
                f"{'; '.join(_told(unfit, identity))}; deploy it under another name, or have these "
                "graphs name the revision that they use (shared://name@revision)"
            )

    def _problem(self, user: ModelUser, known: _Changed) -> str:
        """Return what is wrong with a user's spec, if these are the models; empty if nothing."""
        try:
            load_text(self._store.revision(user.graph, user.revision).spec, models=known)
        except SpecError as error:
            first, *_ = error.problems
            return f"{'.'.join(map(str, first.path))}: {first.message}"
        return ""

    def _users(self) -> Iterator[ModelUser]:
        for now in self._present():
            for number in sorted(now.members):
                outline = self._catalogue.of(now.graph)(number)
                for reference in () if outline is None else outline.models:
                    yield ModelUser(now.graph, number, reference)

    def _present(self) -> Iterable[Situation]:
        found = (stored.situation for stored in self._store.situations())
        return (now for now in found if now.state not in GONE)

    def _is_model(self, now: Situation) -> bool:
        newest = self._newest(now)
        return newest is not None and newest.is_model

    def _newest(self, now: Situation) -> Outline | None:
        """The newest revision that is up or on its way."""
        number = max(now.members, default=None)
        return None if number is None else self._catalogue.of(now.graph)(number)


def _told(users: Mapping[ModelUser, str], identity: Identity) -> list[str]:
    """Return the texts about users, with a number in place of those that the asker may not view."""
    told = [text for user, text in users.items() if identity.may("view", user.graph)]
    hidden = len(users) - len(told)
    return [*told, f"{hidden} in graphs that you may not view"] if hidden else told


class _Changed:
    """The models of an engine, of which one has another signature."""

    def __init__(self, models: SharedModels, name: str, signature: Signature) -> None:
        self._models = models
        self._name = name
        self._signature = signature

    def signature(self, model: SharedReference) -> Signature:
        """Return the signature of a model, or what it is to become."""
        if model.name == self._name and model.revision is None:
            return self._signature
        return self._models.signature(model)


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
