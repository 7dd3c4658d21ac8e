"""What this process serves, as its metrics are labelled: one revision of one graph."""

from __future__ import annotations

import os
from typing import NamedTuple


class Here(NamedTuple):
    """Values of the labels ``graph`` and ``revision``; empty outside the engine."""

    graph: str
    revision: str


def here() -> Here:
    """What the engine has told this process."""
    return Here(os.environ.get("ANABRANCH_GRAPH", ""), os.environ.get("ANABRANCH_REVISION", ""))
