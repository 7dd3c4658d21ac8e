"""The access table: the small immutable value by which every process decides who may do what.

The controller makes it from the store; routers hold the latest one that they got by long poll, and
keep it if the controller dies. It holds digests of keys, never keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from anabranch.access.identity import Identity
from anabranch.access.issuers import Issuer
from anabranch.access.limits import LimitRule, LimitsByCaller, limits_of
from anabranch.access.roles import Grant

Bound: TypeAlias = Literal["key", "certificate", "subject", "group"]
"""Kinds of names that rules give roles to: of API keys, common names of certificates, subjects and
groups of JWTs."""
Who: TypeAlias = tuple[Bound, str]
Roles: TypeAlias = Mapping[Who, tuple[Grant, ...]]


@dataclass(frozen=True)
class KnownKey:
    """Whose a key is, and until when it counts, as a Unix time."""

    identity: Identity
    expires_at: float | None = None


@dataclass(frozen=True)
class AccessTable:
    """Who may do what. ``version`` changes with it, and is 0 for one that nobody has made."""

    version: int = 0
    keys: Mapping[str, KnownKey] = field(default_factory=dict)
    """API keys and the engine's token, by their digests."""
    anonymous: tuple[Grant, ...] = ()
    """Roles of callers who show nothing."""
    ruled: Roles = field(default_factory=dict)
    """Roles that rules give, by kind and name; those of ``keys`` have theirs already."""
    issuers: tuple[Issuer, ...] = ()
    """Whose JWTs count."""
    limits: tuple[LimitRule, ...] = ()
    """Limits of callers; of those that fit a caller and a graph the first counts."""

    def limits_at(self, graph: str) -> LimitsByCaller | None:
        """Return the limits of callers at one graph; None where there are none."""
        return limits_of(self.limits, graph)


CLOSED = AccessTable()
"""Nobody may do anything: before the first table has come."""
OPEN = AccessTable(anonymous=(Grant("admin"),))
"""Everybody may do everything: where somebody else decides, or nobody has to."""
