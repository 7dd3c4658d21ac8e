"""Identities: who asks, as far as that was shown, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from anabranch.access.actor import Actor, Kind
from anabranch.access.roles import Action, Grant, Role, allowed, roles_that_allow
from anabranch.errors import Forbidden, RequestError, Unauthenticated

CONTROL: tuple[Action, ...] = ("view", "deploy", "operate", "administer")
"""Actions of the control API."""
HOW = "Authorization: Bearer <key>"
"""How a request shows a key."""


@dataclass(frozen=True)
class Identity:
    """Somebody who asks, and the roles that they have."""

    kind: Kind
    name: str = ""
    grants: tuple[Grant, ...] = ()

    def may(self, action: Action, graph: str = "") -> bool:
        """Return whether an action on a graph is allowed, or on the engine as a whole."""
        return action in allowed(self.grants, graph)

    def has(self, role: Role, graph: str) -> bool:
        """Return whether they have a role for a graph; whoever is its admin has all."""
        return any(grant.role in (role, "admin") and grant.covers(graph) for grant in self.grants)

    def may_somewhere(self, action: Action) -> bool:
        """Return whether an action is allowed on any graph that there might be."""
        roles = set(roles_that_allow(action))
        return any(grant.role in roles for grant in self.grants)

    @property
    def uses_control(self) -> bool:
        """Whether anything of the control API might be allowed."""
        return any(self.may_somewhere(action) for action in CONTROL)

    def refusal(self, action: Action, graph: str = "") -> RequestError:
        """Return the error for an action that is not allowed."""
        about = f"graph {graph!r}" if graph else "this engine"
        roles = " or ".join(roles_that_allow(action))
        if self.kind == "anonymous":
            return Unauthenticated(
                f"to {action} on {about} takes a key with the role {roles}: {HOW}"
            )
        return Forbidden(f"{self} may not {action} on {about}: that takes the role {roles}")

    def __str__(self) -> str:
        if self.kind == "anonymous":
            return "a caller without a key"
        return f"{self.kind} {self.name!r}" if self.name else f"the engine's {self.kind}"


@dataclass(frozen=True)
class Asker:
    """Who sent a request, and from where."""

    identity: Identity
    address: str = ""
    """Of the client, as the edge has seen it."""
    request_id: str = ""

    @property
    def actor(self) -> Actor:
        """The actor, as events name it."""
        who = self.identity
        return Actor(who.kind, who.name, self.address, self.request_id)


def anonymous(*roles: Role) -> Identity:
    """Return somebody who shows nothing, with these roles for all graphs."""
    return Identity("anonymous", "", tuple(Grant(role) for role in roles))


TOKEN = Identity("token", "", (Grant("admin"),))
"""Whoever has the engine's token."""
