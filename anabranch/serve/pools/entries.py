"""The graphs that a pool is to carry, and how each is doing: what controller and pool tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from anabranch.names import slashless, with_slash
from anabranch.router.limits import RequestLimits

POOL_PREFIX = "anabranch.pool."
"""Begins the names of the Serve applications of pools; has dots, so that it begins no graph's."""
Status: TypeAlias = Literal["deploying", "running", "failed"]


def pool_app(pool: str) -> str:
    """Name of the Serve application of a pool."""
    return f"{POOL_PREFIX}{slashless(pool)}"


def pool_of(app: str) -> str:
    """Return the pool whose application has this name."""
    return with_slash(app.removeprefix(POOL_PREFIX))


@dataclass(frozen=True)
class TenantEntry:
    """What a pool needs to carry a graph. Equal entries are the same wish."""

    graph: str
    revision: int
    attempt: int
    """Grows with each wish for the graph, so that one that failed is tried again."""
    bundle: str
    """Path of the bundle, a zip file, on the engine's machine."""
    spec: str
    """Path of the spec in the bundle."""
    limits: RequestLimits = field(default_factory=RequestLimits)


@dataclass(frozen=True)
class PoolTable:
    """All graphs that a pool is to carry, by name."""

    version: int
    tenants: Mapping[str, TenantEntry]


@dataclass(frozen=True)
class TenantState:
    """How a graph is doing in its pool, by the entry that the pool was asked for last."""

    entry: TenantEntry
    status: Status
    reason: str = ""
    """Why it failed."""
