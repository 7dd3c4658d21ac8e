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
    """Return the graph and the revision that the engine gave this process."""
    return Identity(os.environ.get("ANABRANCH_GRAPH", ""), os.environ.get("ANABRANCH_REVISION", ""))


def counts_here() -> Counts:
    """Return the counts of the nodes that this process serves."""
    return Counts(*here())
