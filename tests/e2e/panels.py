"""The queries of the dashboards' panels, as Grafana sends them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from anabranch.telemetry.dashboards import Source, dashboard_files

SOURCES: tuple[Source, ...] = ("gateway", "ray")
ELSEWHERE = frozenset(
    (
        "Bundles sent to machines",  # the head's own machine reads them from its disk
        "Replicas by machine",  # not counted on an engine of one machine
    )
)
"""Panels of what only an engine of several machines has: `test_cluster_observing.py` sees it."""


def filled(text: str, graph: str) -> str:
    """A query as Grafana sends it: revision 2 is the candidate."""
    values = {
        "__rate_interval": "30s",
        "__range": "10m",
        "graph": graph,
        "revision": ".+",
        "candidate": "2",
        "stable": "1",
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], text)


def dashboards(source: Source) -> dict[str, Any]:
    """All dashboards over an export, by path."""
    texts = dashboard_files(source).items()
    return {path: json.loads(text) for path, text in texts if path.endswith(".json")}


def queries(source: Source) -> Iterator[tuple[str, str]]:
    """Yield each query of each panel with the panel's title; Grafana's variables are in it."""
    for dashboard in dashboards(source).values():
        rows = dashboard["panels"]
        for panel in [*rows, *(panel for row in rows for panel in row.get("panels", ()))]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"]
