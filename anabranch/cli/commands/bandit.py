"""``bandit``: the state of a graph's learning routers."""

from __future__ import annotations

from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.options import add


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add(app, bandit, "bandit shop --reset")


def bandit(
    graph: options.GraphName,
    router: Annotated[
        str | None,
        typer.Option("--router", metavar="NAME", help="Learning router; all if left out."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Delete the state, and begin with the priors.")
    ] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show or reset the state of a graph's learning routers: rewards and shares of routes."""
    from anabranch.cli.reports.bandit import bandits_text, only

    with options.client(home) as client:
        found = client.reset_bandits(graph, router) if reset else client.bandits(graph)
    shown = only(found, router)
    options.show(shown, output, bandits_text)
