"""Counts what is done about nodes that fail, as a metric of Ray."""

from __future__ import annotations

import os

from ray.util import metrics

from anabranch.graph.policy import Notice

NAME = "anabranch_node_recoveries_total"
LABELS = ("graph", "revision", "node", "action")


def counted() -> Notice:
    """A notice that counts in this process, which serves one revision of one graph."""
    counter = metrics.Counter(
        NAME, "Failed attempts of a node, by what was done: retry, use, value, skip.", LABELS
    )
    here = {
        "graph": os.environ.get("ANABRANCH_GRAPH", ""),
        "revision": os.environ.get("ANABRANCH_REVISION", ""),
    }

    def notice(node: str, action: str) -> None:
        counter.inc(1, {**here, "node": node, "action": action})

    return notice
