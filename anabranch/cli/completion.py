"""Completion of graphs, revisions and nodes in the shell; of nothing without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from anabranch.errors import AnabranchError

if TYPE_CHECKING:
    from anabranch.client.client import ControlClient

_MOST = 100
"""Most revisions that are offered."""


def graph_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the engine's graphs that start with ``incomplete``."""
    return _told(ctx, incomplete, lambda client: (str(one["graph"]) for one in client.graphs()))


def revisions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the revisions of the graph on the command line, newest first, such as ``r3``."""

    def numbers(client: ControlClient) -> Iterable[str]:
        return (f"r{one['revision']}" for one in client.history(_graph(ctx), _MOST)["revisions"])

    return _told(ctx, incomplete, numbers)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the nodes of the graph on the command line."""

    def names(client: ControlClient) -> Iterable[str]:
        return (node for one in client.graph(_graph(ctx), 1)["segments"] for node in one["nodes"])

    return _told(ctx, incomplete, names)


def _graph(ctx: typer.Context) -> str:
    return str(ctx.params.get("graph") or "")


def _told(
    ctx: typer.Context, incomplete: str, ask: Callable[[ControlClient], Iterable[str]]
) -> list[str]:
    from anabranch.client.client import ControlClient
    from anabranch.client.connection.engine_state import resolve_home

    try:
        with ControlClient.of_home(resolve_home(ctx.params.get("home"))) as client:
            return [name for name in ask(client) if name.startswith(incomplete)]
    except AnabranchError:
        return []
