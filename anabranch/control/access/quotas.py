"""Quotas of namespaces: a graph may not come to take more than its namespace has left.

They are checked where a deploy, a rollback or a load is received. Nothing that runs is stopped by
a quota: one that is lowered below the use refuses what would take still more.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from anabranch.control.access.policy import NamespaceQuota, Policy
from anabranch.control.access.use import RESOURCES, Use, sum_of, use_in
from anabranch.control.lifecycle.operations import Change, Moment, Operation, Situation
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Store
from anabranch.errors import Conflict, SpecError
from anabranch.graph.plan.plan import Plan
from anabranch.names import namespace_of
from anabranch.specs.excerpts import listing
from anabranch.specs.units import Size

_NOTHING = nullcontext()


class Quotas:
    """The quotas in a policy, and what takes part of them. Safe to use from several threads."""

    def __init__(self, store: Store, releases: Releases, policy: Callable[[], Policy]) -> None:
        self._store = store
        self._releases = releases
        self._policy = policy
        self._changing = threading.Lock()

    @contextmanager
    def held(self, more: AbstractContextManager[None] = _NOTHING) -> Iterator[None]:
        """Hold the quotas until a change that is checked is in the store, and ``more`` within."""
        with self._changing, more:
            yield

    def checked(self, operation: Operation) -> Operation:
        """Return an operation that raises Conflict where it would go beyond a quota."""

        def within_quota(now: Situation, moment: Moment) -> Change:
            change = operation(now, moment)
            self.check(now, change.situation)
            return change

        return within_quota

    def check(self, before: Situation, after: Situation, plan: Plan | None = None) -> None:
        """Raise Conflict where a graph comes to take more than its namespace has left.

        ``plan`` is that of the newest revision, where it is not in the store yet.
        """
        namespace = namespace_of(after.graph)
        limits = self._limits().get(namespace)
        if limits is None:
            return
        fresh = {} if plan is None else {max(after.members): plan}
        old, new = self._use(before), self._use(after, fresh)
        uses = {**self._uses()[namespace], after.graph: old}
        total = sum_of(*{**uses, after.graph: new}.values())
        for name, limit in limits.items():
            more = new[name] - old[name]
            if more > 0 and total[name] > limit:
                raise Conflict(_refusal(namespace, name, limit, after.graph, more, uses))

    def view(self) -> list[dict[str, Any]]:
        """Return ``{"namespace", "use", "limits"}`` of every namespace with a graph or a quota."""
        uses, limits = self._uses(), self._limits()
        return [
            {
                "namespace": namespace,
                "use": sum_of(*uses.get(namespace, {}).values()),
                "limits": limits.get(namespace, {}),
            }
            for namespace in sorted(uses.keys() | limits.keys())
        ]

    def _limits(self) -> Mapping[str, Use]:
        return {name: _amounts(quota) for name, quota in self._policy().namespaces.items()}

    def _uses(self) -> Mapping[str, dict[str, Use]]:
        """Return what each graph takes, by namespace and graph."""
        found: dict[str, dict[str, Use]] = defaultdict(dict)
        for stored in self._store.situations():
            graph = stored.situation.graph
            found[namespace_of(graph)][graph] = self._use(stored.situation)
        return found

    def _use(self, now: Situation, fresh: Mapping[int, Plan] | None = None) -> Use:
        known = fresh or {}
        return sum_of(use_in(now, lambda number: known.get(number) or self._plan(now, number)))

    def _plan(self, now: Situation, number: int) -> Plan | None:
        with suppress(SpecError):  # of a version of the language that is read no more
            return self._releases.plan(self._store.revision(now.graph, number))
        return None


def _amounts(quota: NamespaceQuota) -> Use:
    amounts = {name: getattr(quota, name) for name in RESOURCES}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _refusal(
    namespace: str, name: str, limit: float, graph: str, more: float, uses: Mapping[str, Use]
) -> str:
    taken = sum_of(*uses.values())[name]
    most = sorted(uses, key=lambda one: (-uses[one][name], one))
    users = listing(f"{one} {_amount(name, uses[one][name])}" for one in most if uses[one][name])
    return (
        f"namespace {namespace!r} may have {_amount(name, limit)} {name}: graph {graph!r} asks for "
        f"{_amount(name, more)} more, and {_amount(name, taken)} are taken ({users or 'none'}); "
        "delete or unload a graph, wait until warm revisions have ended, ask for less, or have the "
        "quota raised"
    )


def _amount(name: str, amount: float) -> str:
    return str(Size(round(amount))) if name == "memory" else f"{amount:g}"
