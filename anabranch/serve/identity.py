"""The revision and graph that this process serves, and their counts."""

from __future__ import annotations

import os
from typing import NamedTuple

from anabranch.graph.calls.counts import Counts


class Identity(NamedTuple):
    """Values of the labels ``graph`` and ``revision``; empty outside the engine."""

    graph: str
    revision: str


def here() -> Identity:
    """What the engine has told this process."""
    return Identity(os.environ.get("ANABRANCH_GRAPH", ""), os.environ.get("ANABRANCH_REVISION", ""))


def counts_here() -> Counts:
    """What this process counts of the nodes that it serves."""
    return Counts(*here())
