"""Completion of graph names in the shell."""

from __future__ import annotations

from anabranch.errors import AnabranchError


def graph_names(incomplete: str) -> list[str]:
    """Return the engine's graphs that start with ``incomplete``; none without an engine."""
    from anabranch.client.client import ControlClient
    from anabranch.client.engine_state import resolve_home

    try:
        with ControlClient.of_home(resolve_home()) as client:
            names = [str(graph["graph"]) for graph in client.graphs()]
    except AnabranchError:
        return []
    return [name for name in names if name.startswith(incomplete)]
