"""Ports for servers that tests start by number."""

from __future__ import annotations

import random

from anabranch.control.engine import ports

OUTSIDE = range(61_000, 65_500)
"""Ports that Linux hands to no outgoing connection, and that no engine's block holds."""


def free_ports(count: int) -> list[int]:
    """Ports that are free on every interface now, all different."""
    drawn = iter(random.SystemRandom().sample(OUTSIDE, len(OUTSIDE)))
    free = (port for port in drawn if ports.is_free("0.0.0.0", port))
    return [next(free) for _ in range(count)]
