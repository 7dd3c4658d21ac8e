"""``experiment``: which routes of a graph's router nodes are better."""

from __future__ import annotations

from typing import Annotated

import typer

from anabranch.cli import options
from anabranch.cli.options import add


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add(app, experiment, "experiment shop split")


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
    options.show(only(found, router), output, experiments_text)
