"""``bandit`` and ``experiment``: what rewards say of the routes of a graph's router nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.terminal import confirm


def bandit(
    graph: options.GraphName,
    router: Annotated[
        str | None,
        typer.Option("--router", metavar="NAME", help="Learning router; all if left out."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Delete the state, and begin with the priors.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Reset without asking.")] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show or reset the state of a graph's learning routers: rewards and shares of routes."""
    from anabranch.cli.reports.bandit import bandits_text
    from anabranch.cli.reports.experiment import only

    if reset and not yes:
        routers = f"router {router!r}" if router else "all routers"
        confirm(f"delete what {routers} of {graph} learned? It cannot be restored.")
    with options.client(home) as client:
        found = client.reset_bandits(graph, router) if reset else client.bandits(graph)
    options.show(only(found, "bandits", router), output, bandits_text)


def experiment(
    graph: options.GraphName,
    router: Annotated[
        str | None, typer.Argument(metavar="ROUTER", help="Router node; all if left out.")
    ] = None,
    error: Annotated[
        float,
        typer.Option(
            "--error", metavar="SHARE", help="Largest probability of a false finding, at all looks."
        ),
    ] = 0.05,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show requests, failures, latency and rewards of routes, and whether differences are certain.

    May be called as often as you like: the test is valid at every look.
    """
    from anabranch.cli.reports.experiment import experiments_text, only

    with options.client(home) as client:
        found = client.experiments(graph, error)
    options.show(only(found, "experiments", router), output, experiments_text)
