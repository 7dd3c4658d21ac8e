"""Roles, the actions that each allows, and the graphs for which somebody has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from anabranch.environment import listed

Action: TypeAlias = Literal[
    "describe", "view", "call", "feedback", "deploy", "operate", "administer"
]
"""``describe``: metadata, readiness, API pages of a graph; ``view``: its state, traffic, events,
logs; ``call``: inference and explanations; ``feedback``: rewards and true labels; ``deploy``: new
revisions and deletion; ``operate``: traffic, rollouts, loading; ``administer``: keys, rules, and
everything else."""
Role: TypeAlias = Literal["viewer", "invoker", "feedback", "deployer", "operator", "admin"]

ACTIONS: frozenset[Action] = frozenset(get_args(Action))
ALLOWED: Mapping[Role, frozenset[Action]] = {
    "viewer": frozenset({"describe", "view"}),
    "invoker": frozenset({"describe", "call"}),
    "feedback": frozenset({"describe", "feedback"}),
    "deployer": frozenset({"describe", "view", "call", "deploy"}),
    "operator": frozenset({"describe", "view", "call", "operate"}),
    "admin": ACTIONS,
}
"""The actions that a role allows."""
ROLES: tuple[Role, ...] = tuple(ALLOWED)


def roles_in(text: str) -> tuple[Role, ...]:
    """Return the roles that a text names, with commas between, or ``none``; else ValueError."""
    found = () if text == "none" else listed(text)
    return tuple(ROLES[ROLES.index(one)] for one in found)


EVERY = "*"
"""The pattern of all graphs, and of what belongs to no single one."""
PATTERN = r"^[-a-z0-9/*]{1,128}$"
"""Patterns of graphs: names, in which ``*`` stands for any number of characters."""


@dataclass(frozen=True)
class Grant:
    """A role for all graphs whose name fits a pattern."""

    role: Role
    graphs: str = EVERY

    def covers(self, graph: str) -> bool:
        """Return whether the role holds for a graph, or for all graphs of a pattern.

        ``""`` is what belongs to no single graph: only ``*`` covers it, and only ``*`` covers
        ``*``.
        """
        return covers(self.graphs, graph)


def covers(pattern: str, graph: str) -> bool:
    """Return whether a pattern covers a graph, or all graphs of a pattern, as ``Grant`` says."""
    return pattern == EVERY or (graph not in ("", EVERY) and _fits(graph, pattern))


def allowed(grants: Iterable[Grant], graph: str) -> frozenset[Action]:
    """Return what grants together allow for a graph, or with ``""`` for the engine as a whole.

    A role that does not exist, such as one in the store of an older engine, allows nothing.
    """
    actions: frozenset[Action] = frozenset()
    for grant in grants:
        if grant.covers(graph):
            actions |= ALLOWED.get(grant.role, frozenset())
    return actions


def roles_that_allow(action: Action) -> tuple[Role, ...]:
    """Return the roles that allow an action, as messages name them."""
    return tuple(role for role, actions in ALLOWED.items() if action in actions)


def _fits(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern, in time that grows with both lengths at most.

    Of a name that is a pattern itself, each ``*`` must be met by one of ``pattern``: then all that
    fits the name fits ``pattern``, too.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return name == pattern
    *inner, last = parts
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in inner:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
