"""One check of every change of a graph: that users of shared models find what they expect.

A graph that uses a model fits every revision of it to which its calls may come: the model's arms,
or the one that it holds. Whatever would break that is refused, whichever operation it is: a deploy,
new weights, a promotion, a rollback, a step of a rollout, the move of a watched model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from anabranch.control.lifecycle.operations import COMING, UP, Situation
from anabranch.control.models.shared_models import ModelUser, SharedModels, hidden_users
from anabranch.control.release.releases import Received, Releases
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.names import namespace_of
from anabranch.specs.excerpts import listing
from anabranch.specs.shared.reference import SharedReference

_KINDS = {False: "an inference graph", True: "a shared model"}
_TAKEN_AWAY = {"deleting": "deleted", "unloaded": "unloaded"}
_MAX_SAID = 400
"""Most characters of what a refusal says of a user."""


class ModelUsed(Conflict):
    """A change that users of the shared model ``model`` do not allow.

    ``users`` has what is said of each; the text names those in the model's own namespace, and
    counts all others.
    """

    def __init__(self, model: str, what: str, users: Mapping[ModelUser, str], advice: str) -> None:
        self._what, self._users, self._advice = what, users, advice
        super().__init__(self._text(lambda name: namespace_of(name) == namespace_of(model)))

    def shown_to(self, may_view: Callable[[str], bool]) -> Conflict:
        """Return the same for somebody: the text names the users that they may view."""
        return Conflict(self._text(may_view))

    def _text(self, may_view: Callable[[str], bool]) -> str:
        seen = [said for user, said in self._users.items() if may_view(user.graph)]
        hidden = hidden_users(self._users, may_view)
        counted = f"{hidden} that you may not view" if hidden else ""
        users = ", ".join(filter(None, (listing(seen, _MAX_SAID), counted)))
        return f"{self._what} {users}; {self._advice}"


class _Checked(NamedTuple):
    """A revision that is to run."""

    spec: str
    plan: Plan


class ModelChecks:
    """Checks changes of graphs, each of which is made while this is ``held``.

    Safe to use from several threads.
    """

    def __init__(self, store: Store, releases: Releases, models: SharedModels) -> None:
        self._store = store
        self._releases = releases
        self._models = models
        self.held: AbstractContextManager[object] = threading.Lock()
        """Lets nobody else change the use of models, or what may be used; taken after all other
        locks.
        """

    def check(self, before: Situation, after: Situation, received: Received | None = None) -> None:
        """Raise where users of a model would not find what they expect.

        ``received`` is the bundle of the newest revision, where it is not in the store yet.

        Raises ModelUsed where a model that is used would be deleted or unloaded, or have an arm
        that its users do not fit; Conflict where a graph would use an arm that it does not fit, or
        become a model; and what ``SharedModels.signature`` raises where there is no such model.
        """
        if after.state != before.state and after.state in _TAKEN_AWAY:
            self._check_unused(before.graph, _TAKEN_AWAY[after.state])
        for number in _gaining(before, after):
            is_new = received is not None and number == max(after.members)
            found = _Checked(received.spec, received.plan) if received and is_new else None
            self._check_revision(before, number, found or self._stored(after.graph, number))

    def _stored(self, graph: str, number: int) -> _Checked | None:
        """Return a revision in the store; None if this version cannot compile it."""
        revision = self._store.revision(graph, number)
        try:
            return _Checked(revision.spec, self._releases.plan(revision))
        except SpecError:
            return None

    def _check_revision(self, before: Situation, number: int, found: _Checked | None) -> None:
        if found is not None and found.plan.is_model:
            self._check_users(before.graph, number, found.plan.signature)
        if found is not None and number not in before.members:
            self._check_kind(before, found.plan)
            self._check_models(before.graph, found)

    def _check_unused(self, model: str, action: str) -> None:
        users = self._models.users(model)
        if users:
            raise ModelUsed(
                model,
                f"shared model {model!r} cannot be {action}: it is used by",
                {user: str(user) for user in users},
                "delete these graphs, or deploy them without it",
            )

    def _check_kind(self, now: Situation, plan: Plan) -> None:
        known = self._models.kind(now)
        if known is not None and known != plan.is_model:
            raise Conflict(
                f"{now.graph!r} is {_KINDS[known]} already, and cannot become "
                f"{_KINDS[plan.is_model]}; choose another name, or delete it first"
            )

    def _check_users(self, model: str, number: int, signature: Signature) -> None:
        """Raise ModelUsed where graphs do not fit a revision to which their calls would come."""
        known = _Changed(self._models, model, signature)
        using = (one for one in self._models.users(model) if one.reference.revision is None)
        problems = ((user, _problem(self._spec(user), known)) for user in using)
        unfit = {user: f"{user}: {problem}" for user, problem in problems if problem}
        if unfit:
            raise ModelUsed(
                model,
                f"revision {number} of shared model {model!r} does not fit graphs that use it:",
                unfit,
                "deploy it under another name, or have these graphs hold the revision that they "
                f"use (shared://{model}@N)",
            )

    def _check_models(self, graph: str, found: _Checked) -> None:
        """Raise where a graph would use models that are not there, or arms that it does not fit."""
        for reference in sorted(found.plan.models):
            self._models.signature(reference)
            for number, signature in self._models.arms(reference).items():
                known = _Changed(self._models, reference.name, signature)
                if problem := _problem(found.spec, known):
                    raise Conflict(_misfit(graph, reference, number, problem))

    def _spec(self, user: ModelUser) -> str:
        return self._store.revision(user.graph, user.revision).spec


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


def _gaining(before: Situation, after: Situation) -> Iterator[int]:
    """The revisions that come to be up or on their way, or that become arms."""
    for number, member in sorted(after.members.items()):
        is_arm = number in after.weights and number not in before.weights
        if member.state in UP | COMING and (is_arm or number not in before.members):
            yield number


def _problem(spec: str, models: _Changed) -> str:
    """Return the first mistake in a spec, if these are the models; empty if there is none."""
    try:
        load_text(spec, models=models)
    except SpecError as error:
        first, *_ = error.problems
        return f"{'.'.join(map(str, first.path))}: {first.message}"
    return ""


def _misfit(graph: str, reference: SharedReference, number: int, problem: str) -> str:
    return (
        f"graph {graph!r} does not fit revision {number} of shared model {reference.name!r}, to "
        f"which its calls may come: {problem}; deploy a graph that fits it, hold another revision "
        f"({reference}@N), or end the part of revision {number} in the model's traffic first"
    )
