"""Who acts: on whose behalf a change is made, and from where it was asked for."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["engine", "token", "key", "subject", "certificate", "anonymous"]
"""What shows who acts: the engine itself, its token, an API key, the subject of a JWT, the common
name of a client's certificate, or nothing."""


@dataclass(frozen=True)
class Actor:
    """Who acts; ``name`` is that of the key, the subject or the common name."""

    kind: Kind
    name: str = ""
    address: str = ""
    """Of the client, as the edge has seen it; empty where nobody asked."""
    request_id: str = ""
    """Of the request that asked; empty where nobody asked."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind


ENGINE = Actor("engine")
"""The engine itself: rollouts, schedules, the reconciler."""
ACTOR: ContextVar[Actor] = ContextVar("anabranch_actor", default=ENGINE)
"""Who acts in this context; the control API sets it for each request."""
