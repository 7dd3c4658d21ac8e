"""Actors for tests, and a context in which one of them acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anabranch.access.actor import ACTOR, Actor
from anabranch.access.identity import Identity
from anabranch.access.roles import Grant

ANN = Actor("key", "ann", "192.0.2.7", "req-1")
ANN_ASKS = Identity("key", "ann", (Grant("deployer"),))
"""Ann as she asks by the control API."""
BOB = Actor("subject", "bob", "192.0.2.8", "req-2")


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    token = ACTOR.set(actor)
    try:
        yield
    finally:
        ACTOR.reset(token)
