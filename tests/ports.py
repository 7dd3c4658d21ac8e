"""Ports for servers that tests start by number."""

from __future__ import annotations

import random
from itertools import cycle, islice

from anabranch.control.engine import ports

OUTSIDE = range(61_000, 65_500)
"""Ports that Linux hands to no outgoing connection, and that no engine's block holds."""


_drawn = cycle(random.SystemRandom().sample(OUTSIDE, len(OUTSIDE)))


def free_ports(count: int) -> list[int]:
    """Ports that are free on every interface now, all different.

    Each is given once: a server may be started at one long after it was drawn.
    """
    return list(islice((port for port in _drawn if ports.is_free("0.0.0.0", port)), count))
